from __future__ import annotations

import base64
import json
import os
import struct
import tempfile
import zlib
from pathlib import Path

import pytest
from filelock import lock_descriptor

from fsstore import FileStorage
from fsstore.errors import StorageCorruptedError, StorageError, StorageUnavailableError
from fsstore.filesystem.disk.files import Tree
from fsstore.filesystem.documents import skeleton as skeleton_module
from fsstore.filesystem.documents.layout import (
    CONTROL,
    CONTROL_MARKER,
    COUNTERS,
    IGNORE,
    LOCK,
    LOG,
    MARKER,
    STAGING,
    Layout,
)
from fsstore.filesystem.documents.skeleton import StoreRoot, open_skeleton
from fsstore.filesystem.log.counters import State
from tests.filesystem.crashing import as_another_user
from tests.filesystem.faults import below

MARKER_BYTES = b'{\n  "format": 1,\n  "shard_depth": 1\n}\n'


def skeleton(root: Path) -> None:
    open_skeleton(Tree(root), create=True, shard_depth=1, allow_network=False)


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the paths that are synced from now on."""
    found: list[str] = []
    real = os.fsync

    def fsync(descriptor: int) -> None:
        found.append(str(Path(f"/proc/self/fd/{descriptor}").readlink()))
        real(descriptor)

    if not Path("/proc/self/fd").is_dir():
        pytest.skip("what a descriptor is open for is told by /proc alone")
    monkeypatch.setattr(os, "fsync", fsync)
    return found


def test_a_skeleton_whose_maker_may_have_died_is_synced_by_who_opens_it_next(tmp_path: Path, synced: list[str]) -> None:
    (tmp_path / MARKER).write_bytes(MARKER_BYTES)
    for directory in (LOG, STAGING):
        (tmp_path / directory).mkdir(parents=True)
    skeleton(tmp_path)
    assert {str(tmp_path / MARKER), str(tmp_path / ".fsstore"), str(tmp_path), str(tmp_path.parent)} <= {*synced}
    assert (tmp_path / IGNORE).read_bytes() == b"*\n"


def test_a_skeleton_that_is_complete_is_not_synced_again(tmp_path: Path, synced: list[str]) -> None:
    skeleton(tmp_path)
    synced.clear()
    skeleton(tmp_path)
    assert synced == []


def test_a_skeleton_is_complete_only_when_its_directories_are_synced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    skeleton(tmp_path)
    (tmp_path / LOG).rmdir()

    def refuse(*_arguments: object) -> None:
        raise OSError(5, "no")

    monkeypatch.setattr(Tree, "sync_directory", refuse)
    with pytest.raises(OSError, match="no"):
        skeleton(tmp_path)
    assert (tmp_path / LOG).is_dir()
    assert (tmp_path / IGNORE).read_bytes() == b"*", "the next opening would not sync the directory"


def test_git_sees_no_file_of_a_control_directory_that_is_being_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, made = Tree.write_new, list[str]()

    def write_new(tree: Tree, name: str, data: bytes) -> object:
        if name.startswith(f"{CONTROL}/"):
            assert name == IGNORE or (tmp_path / IGNORE).read_bytes().strip() == b"*"
            made.append(name)
        return real(tree, name, data)

    monkeypatch.setattr(Tree, "write_new", write_new)
    skeleton(tmp_path)
    assert made[0] == IGNORE
    assert len(made) > 1
    (tmp_path / LOG).rmdir()
    skeleton(tmp_path)
    assert (tmp_path / IGNORE).read_bytes() == b"*\n"


def test_drafts_of_a_marker_do_not_stay(tmp_path: Path) -> None:
    draft = tmp_path / f".{MARKER}.0123456789abcdef"
    draft.write_bytes(b"{")
    skeleton(tmp_path)
    assert not draft.exists()


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


# -- the format of the control directory ------------------------------------------------------------------------------

SEGMENT_OF_FORMAT_1 = zlib.decompress(
    base64.b64decode(
        "eNpLKy4uyS9K1c3JT9c15GKAAAcVhiRzAzPTJMsUXTNzg0RdExNzM91Eo7Q03WSzlERTYxPLVBNTs0U3JrJ89QniYgRqOQfVuqbJd3nsrTcSqluU"
        "WRlZGNDBeiidnp+XWs2loKCUXJSaWJKaEp9YomSloGRkYGSma2ioa2wQYmhiZWpiZWCuZ2hmbm5soG1gYGVgoKQD0pOSWJIIVF1dC+ZlpoB0ggyE"
        "yJZUFqSCRFLyk0tzU/NKIKKlBSkk21OWWlScmZ8H1GDIVcsF8+kdqBcCF10B+5T1/fZ9WHy6F0pnpxaUEOtTSzNDY1NsPgWygTyISxQUkP0NMp5C"
        "f2PYit3f8lAPtfzbvQLk7zV97klMLAw2p85Gsh9684Fx0YsTWoLH/zEgxTAAN0qSHQ=="
    )
)
"""What fsstore 0.1.0 had in its log: `gone` saved, `kept` saved, `gone` deleted; nothing of it was synced in place."""


def control_of_format_1(root: Path) -> None:
    """Make what a process of fsstore 0.1.0 leaves that was killed."""
    (root / MARKER).write_bytes(MARKER_BYTES)
    for directory in (LOG, CONTROL_MARKER):
        (root / directory).mkdir(parents=True)
    (root / IGNORE).write_bytes(b"*\n")
    (root / LOCK).write_bytes(b"")
    (root / LOG / "000000000001.log").write_bytes(SEGMENT_OF_FORMAT_1)
    counters = State(applying=0, indexing=3, stale=1, newest=1, lock_acquisitions=1)
    (root / COUNTERS).write_bytes(struct.pack("<9Q", *counters[:9]))
    (root / CONTROL_MARKER / "0123").write_bytes(b"{")


async def test_a_control_directory_of_format_1_is_taken_over(tmp_path: Path) -> None:
    control_of_format_1(tmp_path)
    async with await FileStorage.open(tmp_path) as storage:
        assert [(record["id"], record["data"]) for record in await storage.list()] == [("kept", {"n": 1})]
        await storage.save({"id": "new"})
        assert await storage.count() == 2
    assert json.loads((tmp_path / CONTROL_MARKER).read_bytes())["format"] == 2
    assert list((tmp_path / STAGING).iterdir()) == []
    assert list((tmp_path / LOG).iterdir()) == []
    async with await FileStorage.open(tmp_path) as storage:
        assert await storage.count() == 2


def test_a_control_directory_in_which_an_older_version_writes_is_not_taken_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    control_of_format_1(tmp_path)
    monkeypatch.setattr(skeleton_module, "_LOCK_PAUSE_SECONDS", 0)
    for name in (LOCK, COUNTERS):
        with (tmp_path / name).open("rb+") as file:
            assert lock_descriptor(file.fileno(), blocking=False)
            with pytest.raises(StorageUnavailableError, match="older version") as caught:
                skeleton(tmp_path)
            assert "close the programs" in caught.value.advice
    assert (tmp_path / CONTROL_MARKER / "0123").exists()
    skeleton(tmp_path)
    assert (tmp_path / CONTROL_MARKER).is_file()


def test_what_an_older_version_expects_to_be_a_directory_is_a_file_that_says_why(tmp_path: Path) -> None:
    """What fsstore 0.1.0 does first: it makes `.fsstore/txn`, and passes over one that is a directory."""
    skeleton(tmp_path)
    with pytest.raises(FileExistsError):
        (tmp_path / ".fsstore" / "txn").mkdir()
    marker = tmp_path / ".fsstore" / "txn"
    assert marker.is_file()
    assert not marker.is_symlink()
    assert json.loads(marker.read_bytes()) == {"format": 2, "note": skeleton_module._NOTE}


@pytest.mark.parametrize(
    ("text", "error", "words"),
    [
        ('{"format": 3}', StorageUnavailableError, "format 3"),
        ('{"format": 1}', StorageCorruptedError, "declares no format"),
        ('{"format": "2"}', StorageCorruptedError, "declares no format"),
        ("", StorageCorruptedError, "declares no format"),
        ("[]", StorageCorruptedError, "declares no format"),
    ],
)
def test_a_control_directory_of_another_format_is_refused_and_stays_as_it_is(
    tmp_path: Path, text: str, error: type[StorageError], words: str
) -> None:
    (tmp_path / MARKER).write_bytes(MARKER_BYTES)
    (tmp_path / ".fsstore").mkdir()
    (tmp_path / CONTROL_MARKER).write_text(text)

    with pytest.raises(error, match=words) as caught:
        skeleton(tmp_path)

    assert caught.value.advice
    assert [path.name for path in (tmp_path / ".fsstore").iterdir()] == ["txn"]


async def test_an_older_version_that_makes_a_removed_control_directory_anew_is_seen(tmp_path: Path) -> None:
    async with await FileStorage.open(tmp_path) as storage:
        await storage.save({"id": "a"})
        # in one step, since the writer may be busy in it
        (tmp_path / ".fsstore").rename(tmp_path / "removed")
        (tmp_path / CONTROL_MARKER).mkdir(parents=True)
        await storage.save({"id": "b"})
        assert (tmp_path / CONTROL_MARKER).is_file()
        assert await storage.count() == 2
