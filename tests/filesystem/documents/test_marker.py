from __future__ import annotations

import errno
import tempfile
from pathlib import Path

import pytest

from fsstore import FileStorage
from fsstore.errors import StorageCorruptedError, StorageUnavailableError
from fsstore.filesystem.disk.files import Tree
from fsstore.filesystem.documents.layout import MARKER, Layout
from fsstore.filesystem.documents.marker import StoreRoot, read_marker
from fsstore.filesystem.documents.skeleton import open_skeleton
from tests.filesystem.crashing import as_another_user
from tests.filesystem.faults import below

MARKER_BYTES = b'{\n  "format": 1,\n  "shard_depth": 1\n}\n'


def test_a_marker_made_by_somebody_faster_counts_even_if_they_took_the_draft_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Tree.write_new

    def overtaken(tree: Tree, name: str, data: bytes) -> object:
        made = real(tree, name, data)
        if name.startswith(f".{MARKER}."):
            (tmp_path / MARKER).write_bytes(MARKER_BYTES.replace(b'"shard_depth": 1', b'"shard_depth": 2'))
            tree.unlink(name)
        return made

    monkeypatch.setattr(Tree, "write_new", overtaken)
    layout, _ = open_skeleton(Tree(tmp_path), create=True, shard_depth=1, allow_network=False)
    assert layout.shard_depth == 2


# -- a marker that is lost -------------------------------------------------------------------------------------------

IDS = ("plain", "S 1", "über", "con")


def put(root: Path, depth: int, *ids: str) -> None:
    for record_id in ids:
        path = root / Layout(depth).name(record_id)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("{}")


def refusal(root: Path, *, create: bool = True) -> StorageUnavailableError:
    before = below(root)
    with pytest.raises(StorageUnavailableError) as caught:
        open_skeleton(Tree(root), create=create, shard_depth=1, allow_network=False)
    assert below(root) == before
    return caught.value


def marker_in(advice: str) -> bytes:
    return advice[advice.index("{") : advice.index("}") + 1].encode()


@pytest.mark.parametrize("create", [True, False])
@pytest.mark.parametrize("depth", [1, 2])
async def test_the_advice_for_a_lost_marker_brings_every_document_back(
    tmp_path: Path, depth: int, *, create: bool
) -> None:
    async with await FileStorage.open(tmp_path, shard_depth=depth) as storage:
        await storage.batch_save([{"id": record_id} for record_id in IDS])
    (tmp_path / MARKER).unlink()
    error = refusal(tmp_path, create=create)
    assert "there are documents" in error.message
    (tmp_path / MARKER).write_bytes(marker_in(error.advice))
    async with await FileStorage.open(tmp_path) as storage:
        assert {record["id"] for record in await storage.list()} == {*IDS}


@pytest.mark.parametrize("most", [1, 2])
async def test_the_advice_for_a_mixed_tree_is_the_depth_of_most_and_a_repair(tmp_path: Path, most: int) -> None:
    for depth in (1, 2):
        async with await FileStorage.open(tmp_path / f"{depth}", shard_depth=depth) as storage:
            ids = [record_id for record_id in IDS if (record_id != "plain") == (depth == most)]
            await storage.batch_save([{"id": record_id} for record_id in ids])
        for path in sorted((tmp_path / f"{depth}").rglob("*.json")):
            if path.name != MARKER:
                target = tmp_path / "store" / path.relative_to(tmp_path / f"{depth}")
                target.parent.mkdir(parents=True, exist_ok=True)
                path.rename(target)
    error = refusal(tmp_path / "store")
    assert "3 documents lie at that depth and 1 at the other" in error.advice
    assert "`fsstore repair`" in error.advice
    (tmp_path / "store" / MARKER).write_bytes(marker_in(error.advice))
    async with await FileStorage.open(tmp_path / "store") as storage:
        assert storage._documents.layout.shard_depth == most
        await storage.repair()
        assert {record["id"] for record in await storage.list()} == {*IDS}


def test_where_no_name_tells_the_depth_none_is_advised(tmp_path: Path) -> None:
    (tmp_path / "ab").mkdir()
    (tmp_path / "ab" / "s-1 (conflicted copy).json").write_text("{}")
    error = refusal(tmp_path)
    assert "from git or a backup" in error.advice
    assert "shard_depth" not in error.advice


DAMAGED = (b"", b"garbage", b"[]", b"{}", b'{"format": 1, "shard_depth": 7}', b'{"format": "1"}', b"\0" * 100)


@pytest.mark.parametrize("damaged", DAMAGED)
@pytest.mark.parametrize("depth", [1, 2])
async def test_the_advice_for_a_damaged_marker_brings_every_document_back(
    tmp_path: Path, depth: int, damaged: bytes
) -> None:
    async with await FileStorage.open(tmp_path, shard_depth=depth) as storage:
        await storage.batch_save([{"id": record_id} for record_id in IDS])
    (tmp_path / MARKER).write_bytes(damaged)
    with pytest.raises(StorageCorruptedError, match=MARKER) as caught:
        await FileStorage.open(tmp_path)
    # it opens no store, and cannot mend what it does not open
    assert "fsstore repair" not in str(caught.value)
    (tmp_path / MARKER).write_bytes(marker_in(caught.value.advice))
    async with await FileStorage.open(tmp_path) as storage:
        assert {record["id"] for record in await storage.list()} == {*IDS}


async def test_the_advice_for_a_damaged_limit_keeps_the_marker(tmp_path: Path) -> None:
    (tmp_path / MARKER).write_text('{"format": 1, "shard_depth": 2, "max_bytes": "1 MB"}')
    with pytest.raises(StorageCorruptedError, match="max_bytes '1 MB'; write a positive whole number of bytes there"):
        await FileStorage.open(tmp_path)


def test_a_damaged_marker_beside_documents_that_cannot_be_listed_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / MARKER).write_text("garbage")

    def refuse(_tree: Tree, _name: str = "") -> list[str]:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Tree, "entries", refuse)
    with pytest.raises(StorageCorruptedError, match=rf"restore {MARKER} ") as caught:
        read_marker(Tree(tmp_path))
    assert "shard_depth" not in caught.value.advice


def test_directories_that_hold_no_documents_are_no_store_that_has_lost_its_marker(tmp_path: Path) -> None:
    (tmp_path / "ab" / "cd").mkdir(parents=True)
    (tmp_path / "ab" / "notes.txt").write_text("foreign")
    layout, _ = open_skeleton(Tree(tmp_path), create=True, shard_depth=2, allow_network=False)
    assert layout.shard_depth == 2
    assert (tmp_path / "ab" / "notes.txt").read_text() == "foreign"


# -- the root of an open store ---------------------------------------------------------------------------------------


def root_of(path: Path, depth: int = 1) -> StoreRoot:
    open_skeleton(Tree(path), create=True, shard_depth=depth, allow_network=False)
    root = StoreRoot(Tree(path), depth)
    root.check()
    return root


def trouble(root: StoreRoot) -> StorageUnavailableError:
    with pytest.raises(StorageUnavailableError) as caught:
        root.check()
    return caught.value


def test_a_root_has_one_identity_and_what_is_put_in_its_place_another(tmp_path: Path) -> None:
    store = tmp_path / "store"
    root, other = root_of(store), root_of(tmp_path / "other")
    before = root.check()
    assert root.check() == before
    store.rename(tmp_path / "away")
    (tmp_path / "other").rename(store)
    assert root.check() != before
    assert root.check() == StoreRoot(Tree(store), 1).check()
    assert trouble(other)


def test_a_marker_that_is_written_again_is_read_again(tmp_path: Path) -> None:
    root = root_of(tmp_path)
    for text, advice in [
        (MARKER_BYTES, ""),
        (MARKER_BYTES.replace(b'"shard_depth": 1', b'"shard_depth": 2'), "close the store and open it again"),
        (MARKER_BYTES.replace(b'"format": 1', b'"format": 9'), "use a newer fsstore"),
        (b"<<<<<<< in the middle of a merge", ""),
        (MARKER_BYTES + b" ", ""),
    ]:
        (tmp_path / MARKER).write_bytes(text)
        if advice:
            # not only the first time
            assert [trouble(root).advice, trouble(root).advice] == [advice, advice]
        else:
            root.check()


@pytest.mark.parametrize("depth", [1, 2])
def test_the_marker_of_an_open_store_can_be_written_as_the_advice_says(tmp_path: Path, depth: int) -> None:
    root = root_of(tmp_path, depth)
    (tmp_path / MARKER).unlink()
    (tmp_path / MARKER).write_bytes(marker_in(trouble(root).advice))
    root.check()


def test_a_root_that_may_not_be_entered_is_said_to_lack_the_permission() -> None:
    with tempfile.TemporaryDirectory() as directory:
        Path(directory).chmod(0o755)
        root = root_of(Path(directory) / "store")

        def look() -> None:
            assert "give this user the permission" in trouble(root).advice

        (Path(directory) / "store").chmod(0)
        try:
            if (ended := as_another_user(look)) is None:
                # this user is none who may do everything
                look()
            assert not ended
        finally:
            (Path(directory) / "store").chmod(0o700)


def test_a_directory_in_which_no_store_may_be_made_is_reported_without_the_name_of_a_draft() -> None:
    with tempfile.TemporaryDirectory() as directory:
        Path(directory).chmod(0o755)
        theirs = Path(directory) / "theirs"
        theirs.mkdir(mode=0o555)
        theirs.chmod(0o555)

        def make() -> None:
            with pytest.raises(PermissionError) as caught:
                open_skeleton(Tree(theirs), create=True, shard_depth=1, allow_network=False)
            assert caught.value.filename == str(theirs / MARKER)

        if (ended := as_another_user(make)) is None:
            # this user is none who may do everything
            make()
        assert not ended
