from pathlib import Path

import pytest

from fsstore import FileStorage
from fsstore.filesystem.disk.files import Tree
from fsstore.filesystem.documents.layout import BATCHES, CONTROL, STAGING
from fsstore.filesystem.log import batches as noting
from fsstore.filesystem.log.batches import Batches


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    tree = Tree(tmp_path)
    tree.make_directory(CONTROL)
    tree.make_directory(STAGING)
    return tree


@pytest.fixture
def batches(tree: Tree) -> Batches:
    return Batches(tree)


def test_who_asks_gets_the_names_of_all_later_batches(batches: Batches) -> None:
    batches.note(1, ["3f/a.json", "40/b.json"])
    batches.note(3, ["40/b.json", "41/c.json"])
    batches.note(5, ["42/d.json"])

    assert batches.since(2, 6) == {"40/b.json", "41/c.json", "42/d.json"}
    assert batches.since(0, 2) >= {"3f/a.json", "40/b.json"}  # type: ignore[operator]
    assert batches.since(6, 6) == set()


@pytest.mark.parametrize("before", [6, 8])
def test_batches_that_nobody_has_noted_are_not_known(batches: Batches, before: int) -> None:
    """As when the counters have begun anew, or a writer could not write the file."""
    batches.note(1, ["3f/a.json"])
    batches.note(5, ["3f/a.json"])

    assert batches.since(0, 6) is None
    assert batches.since(4, 8) is None
    assert batches.since(before, 4) is None


def test_without_the_file_nothing_is_known(batches: Batches) -> None:
    assert batches.since(2, 4) is None


@pytest.mark.parametrize("torn", [b"\n3 40/b.json 41/c", b"\n3", b"\n3 40/b.json 41/c.json", b"\0\0\0", b"\n\xff ."])
def test_half_a_line_is_no_batch_and_spoils_none(tree: Tree, batches: Batches, torn: bytes) -> None:
    batches.note(1, ["3f/a.json"])
    tree.append(BATCHES, torn)
    batches.note(5, ["42/d.json"])

    assert batches.since(4, 6) == {"42/d.json"}
    assert batches.since(2, 6) is None


def test_a_line_that_cannot_be_written_leaves_nothing_that_passes_for_it(
    tree: Tree, batches: Batches, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Counters that a power cut has taken back use numbers again."""
    batches.note(3, ["3f/old.json"])

    def full(_name: str, _data: bytes) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(tree, "append", full)
        batches.note(3, ["3f/new.json"])

    assert batches.since(2, 4) is None


def test_the_file_is_kept_short_and_keeps_the_latest_batches(
    tree: Tree, batches: Batches, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(noting, "_MOST_BYTES", 2_000)
    monkeypatch.setattr(noting, "_KEPT_BYTES", 1_000)
    for number in range(1, 401, 2):
        batches.note(number, [f"3f/{number}.json"])

    assert (tree.root / BATCHES).stat().st_size < 2_100
    assert batches.since(398, 400) == {"3f/399.json"}
    assert batches.since(380, 400) == {f"3f/{number}.json" for number in range(381, 401, 2)}
    assert batches.since(0, 400) is None
    assert tree.entries(STAGING) == []


async def test_a_batch_is_noted_before_it_is_put_in_place_and_single_documents_are_not(tmp_path: Path) -> None:
    async with await FileStorage.open(tmp_path) as storage:
        before = storage._counters.applying()
        await storage.save({"id": "single"})
        await storage.batch_save([{"id": "a"}, {"id": "b"}])
        names = set(map(storage._documents.name, "ab"))

        assert storage._store.batches.since(before, storage._counters.applying()) == names
