from __future__ import annotations

import errno
import os
import signal
import socket
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any, TypeAlias

import pytest

from fsstore.filesystem.disk import directories, files, syscalls
from fsstore.filesystem.disk.descriptors import sync_data
from fsstore.filesystem.disk.files import CREATE, KEEP, READ, WRITE, TooLargeError, Tree
from fsstore.filesystem.disk.system import NotAFileError
from tests.filesystem.refused import ANOTHER_USER

if not hasattr(os, "mkfifo"):
    pytest.skip("what stands in the way of a file here are things this system has not", allow_module_level=True)

LIMIT = 1 << 20
Lacks: TypeAlias = dict[tuple[ModuleType, str], Any]
NOT_A_DIRECTORY = r"[Nn]ot a directory"


def without_nofollow() -> Lacks:
    flags = [(files, name) for name in ("READ", "CREATE", "WRITE", "KEEP")]
    flags += [(directories, "COMMON"), (directories, "_PARENT")]
    return {(module, name): getattr(module, name) & ~os.O_NOFOLLOW for module, name in flags}


SYSTEMS: dict[str, Lacks] = {
    "as it is": {},
    "no dir_fd": {
        (directories, "_PINS"): False,
        (directories, "_LISTS_DESCRIPTORS"): False,
    },
    "no dir_fd, no O_NOFOLLOW, no O_DIRECTORY, no renameat2": {
        (directories, "_PINS"): False,
        (files, "_REFUSES_LINKS"): False,
        (directories, "_SYNCS_DIRECTORIES"): False,
        (directories, "_LISTS_DESCRIPTORS"): False,
        (syscalls, "_RENAMEAT2"): None,
        **without_nofollow(),
    },
}
"""What a system may lack; every test of a tree holds on each of them."""


@pytest.fixture(autouse=True)
def _soon() -> Iterator[None]:
    """End a test that blocks."""

    def give_up(*_: object) -> None:
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, give_up)
    signal.alarm(20)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture(params=SYSTEMS)
def tree(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Tree]:
    """Return the tree of a store that has one directory, `aa`; no descriptor may be left open in it."""
    for (module, name), value in SYSTEMS[request.param].items():
        monkeypatch.setattr(module, name, value)
    tree = Tree(tmp_path / "store")
    tree.make_root()
    tree.make_directory("aa")
    before = open_descriptors()
    yield tree
    assert open_descriptors() == before


def open_descriptors() -> set[int]:
    found = set()
    for descriptor in range(64):
        with suppress(OSError):
            os.fstat(descriptor)
            found.add(descriptor)
    return found


@pytest.fixture
def outside(tmp_path: Path) -> Iterator[Path]:
    """Return a directory that lies beside the store; nothing in it may change."""
    path = tmp_path / "outside"
    (path / "inner").mkdir(parents=True)
    (path / "there").write_bytes(b"secret")
    before = contents(path)
    yield path
    assert contents(path) == before


def contents(path: Path) -> dict[str, bytes | None]:
    return {str(inner): inner.read_bytes() if inner.is_file() else None for inner in path.rglob("*")}


# -- what stands where a file should be -----------------------------------------------------------------------------


def bind_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        # the full path may be too long for an address
        before = Path.cwd()
        os.chdir(path.parent)
        try:
            server.bind(path.name)
        finally:
            os.chdir(before)


OBSTACLES: dict[str, Callable[[Path, Path], object]] = {
    "link to a file": lambda path, outside: path.symlink_to(outside / "there"),
    "link to a directory": lambda path, outside: path.symlink_to(outside),
    "link to nothing": lambda path, outside: path.symlink_to(outside / "nothing"),
    "link to itself": lambda path, _: path.symlink_to(path),
    "fifo": lambda path, _: os.mkfifo(path),
    "directory": lambda path, _: path.mkdir(),
    "socket": lambda path, _: bind_socket(path),
}
each_obstacle = pytest.mark.parametrize("obstacle", OBSTACLES)


@each_obstacle
@pytest.mark.parametrize("name", ["file", "aa/file"])
def test_only_a_regular_file_is_read(tree: Tree, outside: Path, obstacle: str, name: str) -> None:
    OBSTACLES[obstacle](tree.root / name, outside)

    with pytest.raises(NotAFileError):
        tree.read(name, max_bytes=LIMIT)
    with pytest.raises(NotAFileError):
        tree.read_cached(name, max_bytes=LIMIT)
    with pytest.raises(NotAFileError):
        tree.signature(name)


@pytest.mark.parametrize("name", ["null", "zero", "full"])
@pytest.mark.skipif(not Path("/dev/zero").exists(), reason="there are no such devices")
def test_a_device_is_not_read(tree: Tree, name: str) -> None:
    devices = Tree(Path("/dev"), file_mode=tree.file_mode)

    for read in (devices.read, devices.read_cached):
        with pytest.raises(NotAFileError):
            read(name, max_bytes=LIMIT)


@each_obstacle
def test_nothing_is_written_where_something_stands(tree: Tree, outside: Path, obstacle: str) -> None:
    OBSTACLES[obstacle](tree.root / "aa" / "temp", outside)
    before = os.lstat(tree.path("aa/temp"))

    with pytest.raises(FileExistsError):
        tree.write_new("aa/temp", b"new")

    after = os.lstat(tree.path("aa/temp"))
    assert (after.st_ino, after.st_mode, after.st_size) == (before.st_ino, before.st_mode, before.st_size)


@pytest.mark.parametrize("obstacle", [name for name in OBSTACLES if "link" in name])
@pytest.mark.parametrize("flags", [READ, WRITE, KEEP], ids=["read", "write", "keep"])
def test_no_flags_open_a_link(tree: Tree, outside: Path, obstacle: str, flags: int) -> None:
    OBSTACLES[obstacle](tree.root / "aa" / "link", outside)

    with pytest.raises(NotAFileError):
        tree.open("aa/link", flags & ~os.O_NOFOLLOW if not files.READ & os.O_NOFOLLOW else flags)


def test_a_file_that_replaces_a_link_leaves_its_target_alone(tree: Tree, outside: Path) -> None:
    (tree.root / "aa" / "file").symlink_to(outside / "there")
    tree.write_new("new", b"new")

    tree.replace("new", "aa/file")

    assert tree.read("aa/file", max_bytes=LIMIT)[0] == b"new"


def test_a_link_that_is_unlinked_leaves_its_target_alone(tree: Tree, outside: Path) -> None:
    (tree.root / "aa" / "file").symlink_to(outside / "there")

    assert tree.unlink("aa/file") is True
    assert tree.entries("aa") == []


# -- what stands where a directory should be ------------------------------------------------------------------------

OPERATIONS: dict[str, Callable[[Tree, str], object]] = {
    "open": lambda tree, within: tree.open(f"{within}/there", READ),
    "create": lambda tree, within: tree.open(f"{within}/new", CREATE),
    "keep": lambda tree, within: tree.open(f"{within}/new", KEEP),
    "read": lambda tree, within: tree.read(f"{within}/there", max_bytes=LIMIT),
    "read, cached first": lambda tree, within: read_cached_first(tree, f"{within}/there"),
    "write_new": lambda tree, within: tree.write_new(f"{within}/new", b"new"),
    "replace, from": lambda tree, within: tree.replace(f"{within}/there", "taken"),
    "replace, to": lambda tree, within: tree.replace("own", f"{within}/there"),
    "unlink": lambda tree, within: tree.unlink(f"{within}/there"),
    "signature": lambda tree, within: tree.signature(f"{within}/there"),
    "make_directory": lambda tree, within: tree.make_directory(f"{within}/new"),
    "remove_directory": lambda tree, within: tree.remove_directory(f"{within}/inner"),
    "is_directory": lambda tree, within: tree.is_directory(f"{within}/inner"),
    "entries": lambda tree, within: tree.entries(within),
    "entries of an inner one": lambda tree, within: tree.entries(f"{within}/inner"),
    "signatures": lambda tree, within: list(tree.signatures(within)),
    "sync": lambda tree, within: tree.sync(f"{within}/there"),
    "sync_directory": lambda tree, within: tree.sync_directory(within),
    "sync_directory of an inner one": lambda tree, within: tree.sync_directory(f"{within}/inner"),
}


def read_cached_first(tree: Tree, name: str) -> object:
    """Read as documents are read: what would have to be waited for is read again by who may wait."""
    return tree.read_cached(name, max_bytes=LIMIT) or tree.read(name, max_bytes=LIMIT)


each_operation = pytest.mark.parametrize("operation", OPERATIONS)


def must_be_refused(operation: str) -> bool:
    return directories._SYNCS_DIRECTORIES or not operation.startswith("sync_directory")


@each_operation
@pytest.mark.parametrize("within", ["link", "aa/link"])
def test_no_directory_is_reached_through_a_link(tree: Tree, outside: Path, operation: str, within: str) -> None:
    tree.write_new("own", b"own")
    (tree.root / within).symlink_to(outside)

    if must_be_refused(operation):
        with pytest.raises(OSError, match=NOT_A_DIRECTORY):
            OPERATIONS[operation](tree, within)

    assert tree.read("own", max_bytes=LIMIT)[0] == b"own"


@each_operation
@pytest.mark.parametrize("within", ["file", "aa/file"])
def test_a_file_is_no_directory(tree: Tree, operation: str, within: str) -> None:
    tree.write_new("own", b"own")
    tree.write_new(within, b"")

    if must_be_refused(operation):
        with pytest.raises(OSError, match=NOT_A_DIRECTORY):
            OPERATIONS[operation](tree, within)


@each_obstacle
def test_in_a_trusted_directory_too_only_a_regular_file_is_read(tree: Tree, outside: Path, obstacle: str) -> None:
    trusting = Tree(tree.root, trusted="aa/")
    OBSTACLES[obstacle](tree.root / "aa" / "file", outside)

    with pytest.raises(NotAFileError):
        trusting.read("aa/file", max_bytes=LIMIT)


def test_only_names_in_the_trusted_directory_are_trusted(tree: Tree, outside: Path) -> None:
    trusting = Tree(tree.root, trusted="aa/")
    for within in ("link", "aab"):
        (tree.root / within).symlink_to(outside)

        with pytest.raises(OSError, match=NOT_A_DIRECTORY):
            trusting.read(f"{within}/there", max_bytes=LIMIT)

    signature = trusting.write_new("aa/file", b"12345")
    assert (trusting.entries("aa"), tree.signature("aa/file")) == (["file"], signature)


@pytest.mark.parametrize("within", ["bb", "aa/bb", "bb/cc"])
def test_a_directory_that_is_missing_is_empty(tree: Tree, within: str) -> None:
    assert tree.entries(within) == []
    assert list(tree.signatures(within)) == []
    assert tree.is_directory(within) is False
    assert tree.signature(f"{within}/file") is None
    assert tree.unlink(f"{within}/file") is False
    reads = ("read", "read, cached first")
    for operation in (*reads, "write_new", "replace, to", "make_directory", "remove_directory", "sync"):
        with pytest.raises(FileNotFoundError):
            OPERATIONS[operation](tree, within)


def test_a_directory_lists_its_names_and_what_is_a_file(tree: Tree, outside: Path) -> None:
    signature = tree.write_new("aa/file", b"12345")
    for name, plant in OBSTACLES.items():
        plant(tree.root / "aa" / name, outside)

    assert sorted(tree.entries("aa")) == sorted([*OBSTACLES, "file"])
    assert dict(tree.signatures("aa")) == {**dict.fromkeys(OBSTACLES), "file": signature}
    assert tree.entries() == ["aa"]


def test_a_directory_is_made_once(tree: Tree, outside: Path) -> None:
    (tree.root / "link").symlink_to(outside)
    tree.write_new("file", b"")

    assert tree.make_directory("bb") is True
    assert tree.make_directory("bb") is False
    assert tree.is_directory("bb") is True
    for taken in ("link", "file"):
        with pytest.raises(FileExistsError):
            tree.make_directory(taken)
    tree.remove_directory("bb")
    assert tree.is_directory("bb") is False


# -- reading --------------------------------------------------------------------------------------------------------


def test_bytes_come_with_the_signature_that_belongs_to_them(tree: Tree) -> None:
    for data in (b"", b"a", bytes(100_000)):
        written = tree.write_new("aa/file", data)

        assert tree.read("aa/file", max_bytes=LIMIT) == (data, written)
        assert tree.signature("aa/file") == written
        tree.unlink("aa/file")


def test_a_file_that_is_not_there_is_told_from_an_empty_one(tree: Tree) -> None:
    with pytest.raises(FileNotFoundError):
        tree.read("aa/file", max_bytes=LIMIT)
    with pytest.raises(FileNotFoundError):
        read_cached_first(tree, "aa/file")


def test_a_file_is_measured_before_it_is_read(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    tree.write_new("file", b"12345")
    assert tree.read("file", max_bytes=5)[0] == b"12345"

    for name in ("read", "pread", "preadv"):
        monkeypatch.setattr(os, name, None, raising=False)
    for read in (tree.read, tree.read_cached):
        with pytest.raises(TooLargeError, match="5 bytes, more than 4"):
            read("file", max_bytes=4)


@pytest.mark.parametrize(
    ("before", "after"), [(b"old", b"old and more"), (b"longer than new", b"new"), (b"old", b"new"), (b"old", b"")]
)
def test_a_file_written_over_while_it_is_read_is_read_again(
    tree: Tree, monkeypatch: pytest.MonkeyPatch, before: bytes, after: bytes
) -> None:
    tree.write_new("file", before)
    name = "pread" if hasattr(os, "pread") else "read"
    read, edits = getattr(os, name), iter([after])

    def reading(descriptor: int, *wanted: int) -> bytes:
        # the bytes are those of before, the file is the one of after
        data: bytes = read(descriptor, *wanted)
        for edit in edits:
            (tree.root / "file").write_bytes(edit)
            os.utime(tree.root / "file", ns=(1, 1))
        return data

    monkeypatch.setattr(os, name, reading)

    assert tree.read("file", max_bytes=LIMIT) == (after, tree.signature("file"))


@pytest.mark.parametrize(
    ("times", "finely"),
    [([1, 1, 1, 1], False), ([1, 1, 1_000_001, 1_000_001], False), ([1, 1_000_001, 1_000_051, 1_000_091], True)],
)
def test_a_clock_counts_finely_where_changes_show_that_lie_closer_than_ticks(
    tree: Tree, monkeypatch: pytest.MonkeyPatch, times: list[int], *, finely: bool
) -> None:
    looks, looking = iter(times), os.fstat

    def look(descriptor: int) -> os.stat_result:
        found = looking(descriptor)
        return os.stat_result((*found[:10], *[0.0] * 3, 0, 0, next(looks)))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fstat", look)
        assert tree.counts_finely("probe") is finely


def test_the_signature_of_a_directory_changes_with_the_names_in_it(tree: Tree) -> None:
    assert tree.moment("3f") is None
    tree.make_directory("3f")
    os.utime(tree.root / "3f", ns=(1, 1))
    before, found = tree.moment("3f"), (tree.root / "3f").stat()
    assert before == (found.st_ino, found.st_size, 1, found.st_ctime_ns)
    (tree.root / "3f" / "a.json").touch()
    assert tree.moment("3f") != before
    assert tree.moment() is not None


def _in_pieces(read: Callable[..., bytes], descriptor: int, size: int, *where: int) -> bytes:
    return read(descriptor, min(size, 3), *where)


def test_a_file_that_comes_in_pieces_is_read_whole(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    tree.write_new("file", b"0123456789")
    for name in ("read", "pread"):
        read = getattr(os, name, None)
        if read is not None:
            monkeypatch.setattr(os, name, partial(_in_pieces, read))

    assert tree.read("file", max_bytes=LIMIT)[0] == b"0123456789"


def test_cached_bytes_are_the_bytes_or_none(tree: Tree) -> None:
    for data in (b"", b"12345", bytes(50_000)):
        tree.write_new("aa/file", data)

        found = tree.read_cached("aa/file", max_bytes=LIMIT)
        assert found is None or (bytes(found[0]), found[1]) == (data, tree.signature("aa/file"))
        tree.unlink("aa/file")


@pytest.mark.skipif(not hasattr(os, "preadv"), reason="it reads through preadv")
@pytest.mark.parametrize(
    ("change", "is_read"),
    [
        (lambda _: None, True),
        (lambda path: path.write_bytes(b"123456"), False),
        (lambda path: path.write_bytes(b"54321"), False),
    ],
)
def test_a_file_that_has_just_changed_is_not_taken_from_the_cache(
    tree: Tree, monkeypatch: pytest.MonkeyPatch, change: Callable[[Path], object], *, is_read: bool
) -> None:
    before = tree.write_new("file", b"12345")
    flags_used, preadv = [], os.preadv

    def read(descriptor: int, buffers: list[bytearray], offset: int, flags: int) -> int:
        flags_used.append(flags)
        change(tree.root / "file")
        return preadv(descriptor, buffers, offset)

    monkeypatch.setattr(os, "preadv", read)
    monkeypatch.setattr(files, "_NOWAIT", 8)

    found = tree.read_cached("file", max_bytes=LIMIT)
    assert (None if found is None else (bytes(found[0]), found[1])) == ((b"12345", before) if is_read else None)
    assert flags_used == [8]


@pytest.mark.parametrize(
    ("number", "waits"),
    [
        *((number, True) for number in (errno.EAGAIN, errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS)),
        *((number, False) for number in (errno.EIO, errno.ESTALE)),
    ],
)
def test_a_read_that_would_have_to_wait_is_told_from_one_that_fails(
    tree: Tree, monkeypatch: pytest.MonkeyPatch, number: int, *, waits: bool
) -> None:
    tree.write_new("file", b"12345")
    monkeypatch.setattr(files, "_NOWAIT", 8)
    monkeypatch.setattr(os, "preadv", failing(number), raising=False)

    if waits:
        assert tree.read_cached("file", max_bytes=LIMIT) is None
    else:
        with pytest.raises(OSError, match=os.strerror(number)):
            tree.read_cached("file", max_bytes=LIMIT)


def test_nothing_is_cached_where_the_system_can_not_tell(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    tree.write_new("file", b"12345")
    monkeypatch.setattr(files, "_NOWAIT", 0)

    assert tree.read_cached("file", max_bytes=LIMIT) is None


# -- writing --------------------------------------------------------------------------------------------------------


def failing(number: int) -> Callable[..., Any]:
    """Return a call of the system that fails."""

    def fail(*_: object, **__: object) -> Any:
        raise OSError(number, os.strerror(number))

    return fail


def writing(*sizes: int, error: BaseException | None = None) -> Callable[[int, Any], int]:
    """Return a write that takes so many bytes at each call, then raises the error, or goes on as before."""
    write, left = os.write, list(sizes)

    def short(descriptor: int, data: Any) -> int:
        if not left and error is not None:
            raise error
        return write(descriptor, data[: left.pop(0)] if left else data)

    return short


def test_short_writes_are_gone_on_with(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "write", writing(1, 2, 3, 1))

    signature = tree.write_new("aa/file", b"0123456789")

    assert tree.read("aa/file", max_bytes=LIMIT) == (b"0123456789", signature)


@pytest.mark.parametrize(
    "error", [OSError(errno.ENOSPC, "full"), OSError(errno.EDQUOT, "quota"), KeyboardInterrupt()], ids=repr
)
@pytest.mark.parametrize("sizes", [(), (3,)], ids=["at once", "half way"])
def test_of_a_file_that_could_not_be_written_nothing_is_left(
    tree: Tree, monkeypatch: pytest.MonkeyPatch, error: BaseException, sizes: tuple[int, ...]
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", writing(*sizes, error=error))
        with pytest.raises(type(error)) as caught:
            tree.write_new("aa/file", b"0123456789")

    assert caught.value is error
    assert tree.entries("aa") == []


def test_a_failure_to_clean_up_does_not_hide_the_first_one(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "write", failing(errno.ENOSPC))
    monkeypatch.setattr(os, "unlink", failing(errno.EIO))

    with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)):
        tree.write_new("aa/file", b"0123456789")


@pytest.mark.parametrize(("source", "target"), [("new", "aa/file"), ("aa/new", "file"), ("aa/new", "aa/file")])
def test_a_file_takes_the_place_of_another_at_once(tree: Tree, source: str, target: str) -> None:
    tree.write_new(target, b"old")
    reader = tree.open(target, READ)
    signature = tree.write_new(source, b"new")

    tree.replace(source, target)

    data, found = tree.read(target, max_bytes=LIMIT)
    assert (data, found[:3]) == (b"new", signature[:3])
    assert tree.signature(source) is None
    # whoever has the old one open still reads all of it
    assert os.read(reader, 10) == b"old"
    os.close(reader)


def test_nothing_takes_the_place_of_a_file(tree: Tree) -> None:
    tree.write_new("aa/file", b"old")

    with pytest.raises(FileNotFoundError):
        tree.replace("aa/new", "aa/file")

    assert tree.read("aa/file", max_bytes=LIMIT)[0] == b"old"


@pytest.mark.parametrize(("violations", "succeeds"), [(3, True), (1000, False)])
def test_where_an_open_file_can_not_be_replaced_its_reader_is_waited_for(
    tree: Tree, monkeypatch: pytest.MonkeyPatch, violations: int, *, succeeds: bool
) -> None:
    tree.write_new("new", b"new")
    error, replace = PermissionError(errno.EACCES, "it is open"), os.replace
    pauses: list[float] = []
    setattr(error, "winerror", 32)  # noqa: B010 - an attribute that only one system has

    def replacing(*names: Any, **parents: Any) -> None:
        if len(pauses) < violations:
            raise error
        replace(*names, **parents)

    monkeypatch.setattr(os, "replace", replacing)
    monkeypatch.setattr(time, "sleep", pauses.append)

    if succeeds:
        tree.replace("new", "aa/file")
        assert tree.entries("aa") == ["file"]
    else:
        with pytest.raises(PermissionError):
            tree.replace("new", "aa/file")
    assert min(violations, 100) <= len(pauses) <= 200


def test_a_permission_that_is_missing_is_not_waited_for(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "replace", failing(errno.EACCES))
    monkeypatch.setattr(time, "sleep", None)

    with pytest.raises(PermissionError):
        tree.replace("new", "aa/file")


def test_a_file_gets_a_second_name_unless_that_is_taken(tree: Tree) -> None:
    tree.write_new("mine", b"mine")
    tree.write_new("other", b"other")

    tree.name_once("mine", "name")
    tree.name_once("other", "name")

    assert tree.read("name", max_bytes=LIMIT)[0] == b"mine"
    assert sorted(tree.entries()) == ["aa", "mine", "name", "other"]


def test_where_there_are_no_links_the_file_is_renamed(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "link", failing(errno.EPERM))
    tree.write_new("mine", b"mine")
    tree.write_new("other", b"other")

    tree.name_once("mine", "name")
    tree.name_once("other", "name")

    assert tree.read("name", max_bytes=LIMIT)[0] == b"mine"
    assert sorted(tree.entries()) == ["aa", "name", "other"]


# -- permissions ----------------------------------------------------------------------------------------------------


@pytest.fixture
def umask() -> Iterator[Callable[[int], int]]:
    before = os.umask(0)
    yield os.umask
    os.umask(before)


@pytest.mark.parametrize(
    ("file_mode", "mask", "expected"),
    [
        (0o600, 0, (0o600, 0o700)),
        (0o644, 0, (0o644, 0o755)),
        (0o640, 0, (0o640, 0o750)),
        (0o660, 0, (0o660, 0o770)),
        (0o644, 0o077, (0o600, 0o700)),
        (0o600, 0o022, (0o600, 0o700)),
    ],
)
def test_what_is_made_is_open_to_nobody_else_unless_asked_for(
    tmp_path: Path, umask: Callable[[int], int], file_mode: int, mask: int, expected: tuple[int, int]
) -> None:
    umask(mask)
    tree = Tree(tmp_path / "store", file_mode=file_mode)

    tree.make_root()
    tree.make_directory("aa")
    tree.write_new("aa/file", b"")
    os.close(tree.open("kept", KEEP))

    modes = {name: stat.S_IMODE((tree.root / name).stat().st_mode) for name in ("", "aa", "aa/file", "kept")}
    of_files, of_directories = expected
    assert modes == {"": of_directories, "aa": of_directories, "aa/file": of_files, "kept": of_files}
    assert tree.is_writable("aa")


@pytest.mark.skipif(os.geteuid() != 0, reason="root alone may give files to another user")
def test_what_root_makes_belongs_to_the_owner_of_the_store(tree: Tree) -> None:
    # made by root before, for whatever reason
    tree.write_new("mine", b"")
    os.chown(tree.root, ANOTHER_USER, ANOTHER_USER)
    theirs = Tree(tree.root)

    assert theirs.make_directory("bb")
    theirs.write_new("bb/file", b"")
    for name in ("kept", "kept", "mine"):
        os.close(theirs.open(name, KEEP))
    with pytest.raises(FileExistsError):
        theirs.write_new("mine", b"")

    found = {name: (tree.root / name).stat() for name in ("bb", "bb/file", "kept", "mine")}
    owners = {name: (each.st_uid, each.st_gid) for name, each in found.items()}
    another = (ANOTHER_USER, ANOTHER_USER)
    # of what was there it is not known whether it has another name elsewhere
    assert owners == {"bb": another, "bb/file": another, "kept": another, "mine": (0, 0)}


@pytest.mark.skipif(os.geteuid() != 0, reason="root alone may give files to another user")
def test_where_files_cannot_be_given_away_they_are_made_all_the_same(
    tree: Tree, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.chown(tree.root, ANOTHER_USER, ANOTHER_USER)
    theirs = Tree(tree.root)

    def refused(*_: object) -> None:
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(os, "fchown", refused)
    assert theirs.make_directory("bb")
    theirs.write_new("bb/file", b"all")
    assert theirs.read("bb/file", max_bytes=LIMIT)[0] == b"all"


def test_a_file_that_goes_while_root_opens_it_is_made_anew(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Tree, "_owner", (os.getuid(), os.getgid()))
    tree = Tree(tree.root)
    tree.write_new("kept", b"old")
    real = os.open

    def removing(path: Any, flags: int, *mode: Any, **at: Any) -> int:
        if str(path).endswith("kept") and not flags & os.O_CREAT:
            (tree.root / "kept").unlink(missing_ok=True)
        return real(path, flags, *mode, **at)

    monkeypatch.setattr(os, "open", removing)
    os.close(tree.open("kept", KEEP))
    assert (tree.root / "kept").read_bytes() == b""


def test_no_descriptor_is_inherited(tree: Tree) -> None:
    for flags in (KEEP, READ, WRITE):
        descriptor = tree.open("aa/file", flags)
        assert not os.get_inheritable(descriptor)
        os.close(descriptor)


# -- syncing --------------------------------------------------------------------------------------------------------


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return the inodes that are synced, in order."""
    inodes: list[int] = []
    for call in ("fsync", "fdatasync"):
        monkeypatch.setattr(os, call, lambda descriptor: inodes.append(os.fstat(descriptor).st_ino), raising=False)
    return inodes


def test_what_is_synced_is_what_was_named(tree: Tree, synced: list[int]) -> None:
    tree.make_directory("aa/bb")
    tree.write_new("aa/file", b"")

    tree.sync("aa/file")
    names = ("aa", "aa/bb", "") if directories._SYNCS_DIRECTORIES else ()
    for name in names:
        tree.sync_directory(name)

    assert synced == [(tree.root / name).stat().st_ino for name in ("aa/file", *names)]


def test_a_directory_is_not_synced_where_that_can_not_be_done(
    tree: Tree, synced: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(directories, "_SYNCS_DIRECTORIES", False)

    tree.sync_directory("aa")

    assert synced == []


def test_a_file_that_may_only_be_read_is_synced_too(
    tree: Tree, synced: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    signature = tree.write_new("file", b"")
    opened = os.open

    def opening(path: str, flags: int, *rest: Any, **parent: Any) -> int:
        if flags & os.O_RDWR:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        return opened(path, flags, *rest, **parent)

    monkeypatch.setattr(os, "open", opening)

    tree.sync("file")

    assert synced == [signature.inode]


def test_a_sync_that_fails_is_heard(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    tree.write_new("file", b"")
    monkeypatch.setattr(os, "fsync", failing(errno.EIO))

    names = ("aa", "") if directories._SYNCS_DIRECTORIES else ()
    for sync, name in ((tree.sync, "file"), *((tree.sync_directory, name) for name in names)):
        with pytest.raises(OSError, match=os.strerror(errno.EIO)):
            sync(name)


def test_data_is_synced_by_what_the_system_has(tree: Tree, synced: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    signature = tree.write_new("file", b"")
    descriptor = tree.open("file", WRITE)

    sync_data(descriptor)
    monkeypatch.delattr(os, "fdatasync", raising=False)
    sync_data(descriptor)
    os.close(descriptor)

    assert synced == [signature.inode] * 2


# -- exchanging ------------------------------------------------------------------------------------------------------


def test_an_exchange_that_can_not_be_taken_back_is_an_error(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    tree.write_new("draft", b"new")
    (tree.root / "aa" / "x").symlink_to("elsewhere")
    real, calls = vars(files)["exchange"], iter([True, False])
    if not real(str(tree.root / "draft"), str(tree.root / "draft"), None, None):
        assert tree.exchange("draft", "aa/x") is None
        return
    monkeypatch.setattr(files, "exchange", lambda *names: next(calls) and real(*names))

    with pytest.raises(OSError, match="somebody else"):
        tree.exchange("draft", "aa/x")


@pytest.mark.parametrize("has_descriptors", [True, False], ids=["in a descriptor", "by its path"])
def test_names_are_free_in_one_root_and_nothing_is_known_of_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, has_descriptors: bool
) -> None:
    tree = Tree(tmp_path / "store")
    tree.make_root()
    tree.write_new("there", b"")
    root = tree.root_identity()
    if not has_descriptors:
        monkeypatch.setattr(os, "supports_dir_fd", set())
    assert tree.are_free(["ab/absent", "absent"], root)
    assert not tree.are_free(["absent", "there"], root)
    # the root itself is there
    assert not tree.are_free([""], root)
    if has_descriptors:
        (tmp_path / "store").rename(tmp_path / "away")
        assert not tree.are_free(["absent"], root)
        (tmp_path / "store").mkdir()
        assert not tree.are_free(["there"], root)
