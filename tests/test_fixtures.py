from __future__ import annotations

import fcntl
import os
import stat
from pathlib import Path

import pytest

from fsstore import FileStorage, fixtures
from fsstore.errors import StorageUnavailableError, StorageValidationError
from fsstore.fixtures import contents_of, copy_store, differences, locate
from tests.pytest_projects import make_store, session_in


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return make_store(tmp_path / "sessions", "a", "b", "Weird Ünïcode")


def files(path: Path) -> dict[str, bytes]:
    return {
        found.relative_to(path).as_posix(): found.read_bytes()
        for found in path.rglob("*")
        if found.is_file() and ".fsstore" not in found.parts
    }


def document(store: Path, session_id: str) -> Path:
    (found,) = store.glob(f"*/{session_id}.json")
    return found


# -- copying ----------------------------------------------------------------------------------------------------------


def test_a_copy_is_the_same_store(store: Path, tmp_path: Path) -> None:
    copy_store(store, tmp_path / "copy")

    assert files(tmp_path / "copy") == files(store)
    assert len(files(store)) == 4
    for name in ("a", "b", "Weird Ünïcode"):
        assert session_in(tmp_path / "copy", name) == session_in(store, name)


async def test_a_store_of_two_levels_is_copied_whole(tmp_path: Path) -> None:
    async with await FileStorage.open(tmp_path / "deep", shard_depth=2, fsync=False) as storage:
        await storage.batch_save([{"id": f"s{n}"} for n in range(30)])

    copy_store(tmp_path / "deep", tmp_path / "copy")

    async with await FileStorage.open(tmp_path / "copy", create=False, fsync=False) as storage:
        assert await storage.count() == 30


def test_nothing_but_marker_and_documents_is_copied(store: Path, tmp_path: Path) -> None:
    (store / "README").write_text("foreign")
    (store / ".git").mkdir()
    (store / ".git" / "config").touch()
    (store / "other").mkdir()
    (store / "other" / "x.json").touch()
    (document(store, "a").parent / ".a.json.swp").touch()
    assert (store / ".fsstore" / "lock").exists()

    copy_store(store, tmp_path / "copy")

    copied = {path.relative_to(tmp_path / "copy").as_posix() for path in (tmp_path / "copy").rglob("*")}
    assert copied == {
        "fsstore.json",
        *(path.relative_to(store).as_posix() for path in store.glob("[0-9a-f][0-9a-f]")),
        *(path.relative_to(store).as_posix() for path in store.glob("[0-9a-f][0-9a-f]/[!.]*.json")),
    }


def test_an_edit_in_place_stays_in_the_copy(store: Path, tmp_path: Path) -> None:
    before = files(store)
    copy_store(store, tmp_path / "copy")

    for path in (tmp_path / "copy").rglob("*.json"):
        assert path.stat().st_nlink == 1
        with path.open("r+b") as file:
            file.write(b"overwritten")

    assert files(store) == before


def test_copying_leaves_the_files_of_the_fixtures_untouched(store: Path, tmp_path: Path) -> None:
    """A changed ctime would have the index of the fixtures, and git's, read them again."""

    def signatures() -> list[tuple[str, int, int, int]]:
        found = sorted(path for path in store.rglob("*") if path.is_file())
        stats = [(path.name, path.stat()) for path in found]
        return [(name, seen.st_ino, seen.st_mtime_ns, seen.st_ctime_ns) for name, seen in stats]

    before = signatures()
    copy_store(store, tmp_path / "copy")
    contents_of(store)

    assert signatures() == before


def test_fixtures_that_may_not_be_written_give_a_copy_that_may(store: Path, tmp_path: Path) -> None:
    for path in store.rglob("*.json"):
        path.chmod(0o444)

    copy_store(store, tmp_path / "copy")

    assert {stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "copy").rglob("*.json")} == {0o600}
    assert stat.S_IMODE((tmp_path / "copy").stat().st_mode) == 0o700


def test_where_the_file_system_clones_nothing_is_read(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    requests = []

    def clone(target: int, request: int, source: int) -> int:
        requests.append(request)
        return os.sendfile(target, source, 0, 1 << 20)

    monkeypatch.setattr(fcntl, "ioctl", clone)
    monkeypatch.delattr(fixtures, "read")

    copy_store(store, tmp_path / "copy")

    # _IOW(0x94, 9, int) of linux/fs.h
    assert requests == [0x40049409] * 4
    assert files(tmp_path / "copy") == files(store)


def test_a_file_system_that_does_not_clone_is_asked_once(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    requests = []

    def refuse(_target: int, request: int, _source: int) -> int:
        requests.append(request)
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(fcntl, "ioctl", refuse)

    copy_store(store, tmp_path / "copy")

    assert len(requests) == 1
    assert files(tmp_path / "copy") == files(store)


def test_a_system_without_fcntl_copies(store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fixtures, "fcntl", None)

    copy_store(store, tmp_path / "copy")

    assert files(tmp_path / "copy") == files(store)


def test_a_link_in_the_fixtures_is_refused(store: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside.json"
    document(store, "a").rename(outside)
    (store / "27" / "a.json").symlink_to(outside)

    with pytest.raises(StorageUnavailableError, match=r"a\.json: it is not a regular file.*put the document itself"):
        copy_store(store, tmp_path / "copy")

    (store / "27" / "a.json").unlink()
    (store / "27").rmdir()
    (store / "27").symlink_to(tmp_path)
    with pytest.raises(StorageUnavailableError, match=r"27: it is not a directory.*or remove it"):
        copy_store(store, tmp_path / "copy again")


def test_what_the_system_refuses_is_an_error_of_the_store(store: Path, tmp_path: Path) -> None:
    with pytest.raises(StorageUnavailableError, match="File exists"):
        copy_store(store, tmp_path)


# -- finding ----------------------------------------------------------------------------------------------------------


def test_a_path_starts_beside_the_test(store: Path, tmp_path: Path) -> None:
    inner = tmp_path / "tests" / "inner"
    inner.mkdir(parents=True)

    assert locate("../../sessions", beside=inner, root=tmp_path) == store
    assert locate(store, beside=inner, root=tmp_path) == store
    with pytest.raises(StorageUnavailableError, match=r"no such directory; .*: write '../../sessions'"):
        locate("sessions", beside=inner, root=tmp_path)
    with pytest.raises(StorageUnavailableError, match=r"so it is no store; correct the path, or make the store"):
        locate(".", beside=inner, root=tmp_path / "elsewhere")


def test_two_ways_to_one_store_are_one(store: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(store)

    assert locate("link", beside=tmp_path, root=tmp_path) == locate("./sessions", beside=tmp_path, root=tmp_path)


# -- comparing --------------------------------------------------------------------------------------------------------


def test_differences_are_what_was_added_changed_and_removed(store: Path) -> None:
    given = contents_of(store)
    assert differences(store, given) == {}

    document(store, "a").write_bytes(b"changed")
    document(store, "b").unlink()
    (store / "00").mkdir(exist_ok=True)
    (store / "00" / "c.json").write_bytes(b"added")
    (store / "00" / "foreign.txt").write_bytes(b"foreign")
    (store / ".fsstore" / "x.json").write_bytes(b"foreign")

    found = differences(store, given)
    assert {name: now for name, (_, now) in found.items()} == {
        "27/a.json": b"changed",
        "96/b.json": None,
        "00/c.json": b"added",
    }
    assert {name: before for name, (before, _) in found.items()} == {
        "27/a.json": given["27/a.json"],
        "96/b.json": given["96/b.json"],
        "00/c.json": None,
    }


def test_a_store_without_marker_has_no_differences_but_an_error(store: Path) -> None:
    given = contents_of(store)
    (store / "fsstore.json").unlink()

    with pytest.raises(StorageUnavailableError, match="leave the store in place"):
        differences(store, given)


@pytest.mark.parametrize(
    "path", ["s3+x://u:hunter2@host/x", "postgres://u:hunter2@host", "", "~nobody-of-that-name/x", "a\0b"]
)
def test_what_is_no_path_names_no_fixtures_and_no_secret(tmp_path: Path, path: str) -> None:
    with pytest.raises(StorageValidationError) as caught:
        locate(path, beside=tmp_path, root=tmp_path)
    assert "hunter2" not in str(caught.value)


def test_fixtures_may_lie_in_the_home(store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(store.parent))
    assert locate(f"~/{store.name}", beside=tmp_path / "elsewhere", root=tmp_path) == store.resolve()
