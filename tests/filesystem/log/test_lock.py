from __future__ import annotations

import errno
import itertools
import os
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from filelock import lock_descriptor

from fsstore.errors import StorageTimeoutError
from fsstore.filesystem.disk.files import Tree
from fsstore.filesystem.disk.system import NotAFileError
from fsstore.filesystem.documents.layout import CONTROL, COUNTERS, LOCK, STAGING
from fsstore.filesystem.log import lock as lock_module
from fsstore.filesystem.log.counters import Counters
from fsstore.filesystem.log.lock import StoreLock

ROOT = Path(__file__).parents[3]

HOLDING = """
import sys
from pathlib import Path
from fsstore.filesystem.disk.files import Tree
from fsstore.filesystem.log.counters import Counters
from fsstore.filesystem.log.lock import StoreLock

lock = StoreLock(tree := Tree(Path(sys.argv[1])), Counters(tree))
asked = []
# it asks again while it waits
lock._request = lambda: asked.append(0) or len(asked) > 1 or print("waiting", flush=True)
lock.acquire(10)
print("held", flush=True)
sys.stdin.read()
"""

FORKING = """
import os, sys
from pathlib import Path
from fsstore.errors import StorageTimeoutError
from fsstore.filesystem.disk.files import Tree
from fsstore.filesystem.log.counters import Counters
from fsstore.filesystem.log.lock import StoreLock

lock = StoreLock(tree := Tree(Path(sys.argv[1])), Counters(tree))
lock.acquire(10)
reading, writing = os.pipe()
child = os.fork()
if child == 0:
    try:
        lock.acquire(0)
        os.write(writing, b"yes")
    except StorageTimeoutError:
        os.write(writing, b"no")
    sys.stdin.read()
    os._exit(0)
print("does the child have it:", os.read(reading, 3).decode(), flush=True)
if sys.argv[2] == "release":
    lock.release()
    print("released", flush=True)
os.waitpid(child, 0)
"""


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    tree = Tree(tmp_path)
    tree.make_directory(CONTROL)
    return tree


@pytest.fixture
def lock(tree: Tree) -> Iterator[StoreLock]:
    lock = StoreLock(tree, Counters(tree))
    yield lock
    lock.close()


@pytest.fixture
def other(tree: Tree) -> Iterator[StoreLock]:
    """Return a lock that has nothing in common with `lock` but the file."""
    lock = StoreLock(tree, Counters(tree))
    yield lock
    lock.close()


@pytest.fixture
def start(tree: Tree) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Return what starts a process and waits for its first line."""
    started = []

    def start(script: str, *arguments: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-c", script, str(tree.root), *arguments],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def line_of(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[StoreLock]:
    """Return the locks that were requested, in order."""
    asked: list[StoreLock] = []

    def request(lock: StoreLock) -> None:
        asked.append(lock)

    monkeypatch.setattr(StoreLock, "_request", request)
    return asked


# -- one at a time --------------------------------------------------------------------------------------------------


def test_a_free_lock_is_had_at_once(lock: StoreLock, other: StoreLock, asked: list[StoreLock]) -> None:
    for taker in (lock, other, lock):
        taker.acquire(0)
        taker.release()

    assert asked == []


def test_a_lock_excludes_another_one_of_the_same_process(
    tree: Tree, lock: StoreLock, other: StoreLock, asked: list[StoreLock]
) -> None:
    lock.acquire(0)

    with pytest.raises(StorageTimeoutError) as caught:
        other.acquire(0.001)

    assert (caught.value.path, caught.value.timeout_seconds) == (tree.path(LOCK), 0.001)
    assert caught.value.outcome == "not applied"
    assert "the writer lock" in str(caught.value)
    assert asked == [other]


def test_a_lock_that_is_let_go_meanwhile_is_had_after_waiting(
    lock: StoreLock, other: StoreLock, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock.acquire(0)
    asked: list[StoreLock] = []

    def let_go(waiting: StoreLock) -> None:
        asked.append(waiting)
        lock.release()

    monkeypatch.setattr(StoreLock, "_request", let_go)
    other.acquire(10)

    assert asked == [other]
    with pytest.raises(StorageTimeoutError):
        lock.acquire(0)


def test_a_timeout_is_waited_out_in_small_steps(
    lock: StoreLock, other: StoreLock, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []
    clock = SimpleNamespace(sleep=pauses.append, monotonic=lambda: 1000 + sum(pauses))
    monkeypatch.setattr(lock_module, "time", clock)
    lock.acquire(0)

    with pytest.raises(StorageTimeoutError):
        other.acquire(2)

    assert 2 <= sum(pauses) < 2.01
    assert max(pauses[:3]) < 0.0005
    assert 0.001 < max(pauses) < 0.0031
    assert min(pauses) > 0


def test_whoever_waits_on_says_so_again(lock: StoreLock, other: StoreLock, monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    asked: list[float] = []
    clock = SimpleNamespace(sleep=pauses.append, monotonic=lambda: 1000 + sum(pauses))
    monkeypatch.setattr(lock_module, "time", clock)
    monkeypatch.setattr(StoreLock, "_request", lambda _: asked.append(sum(pauses)))
    lock.acquire(0)

    with pytest.raises(StorageTimeoutError):
        other.acquire(1)

    # a holder pauses for what was wished for during its own 20 ms, and its pause is 1 ms long
    assert max(later - earlier for earlier, later in itertools.pairwise(asked)) < 0.01
    assert max(pauses[-100:]) < 0.001


@pytest.fixture
def counters(tree: Tree, lock: StoreLock, other: StoreLock) -> Iterator[Counters]:
    """Open the counters of both locks, and return the first one's."""
    tree.make_directory(STAGING)
    for each in (lock, other):
        each._counters.open()
    yield lock._counters
    for each in (lock, other):
        each._counters.close()


def test_whoever_has_held_a_lock_that_was_requested_waits_until_another_has_had_it(
    lock: StoreLock, other: StoreLock, counters: Counters, monkeypatch: pytest.MonkeyPatch
) -> None:
    had: list[StoreLock] = []

    def pause(_seconds: float) -> None:
        if len(had) == 3:
            raise AssertionError("it waits on, though another has had the lock")
        had.append(other)
        if len(had) == 3:
            # whoever waits is not quick
            other.acquire(0)
            other.begin(counters.read())

    lock.acquire(0)
    lock.begin(counters.read())
    other._request()
    monkeypatch.setattr(lock_module, "time", SimpleNamespace(sleep=pause, monotonic=lambda: 1000.0))
    lock.release()

    assert had == [other] * 3
    assert other.is_held


def test_whoever_requested_a_lock_and_gave_up_is_not_waited_for_long(
    lock: StoreLock, other: StoreLock, counters: Counters, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []
    monkeypatch.setattr(lock_module, "time", SimpleNamespace(sleep=pauses.append, monotonic=lambda: 1000.0))
    for is_requested in (True, False):
        lock.acquire(0)
        lock.begin(counters.read())
        if is_requested:
            other._request()
        lock.release()

    # the second time nobody had requested it
    assert 0.01 < sum(pauses) < 0.1


def test_a_closed_lock_is_free_and_can_be_taken_again(lock: StoreLock, other: StoreLock) -> None:
    lock.acquire(0)
    lock.close()
    lock.close()

    other.acquire(0)
    other.close()
    lock.acquire(0)


def test_asking_who_holds_the_lock_disturbs_nobody(lock: StoreLock, other: StoreLock) -> None:
    assert not other.is_held_by_somebody()
    lock.acquire(0)

    assert other.is_held_by_somebody()
    assert lock.is_held_by_somebody()

    with pytest.raises(StorageTimeoutError):
        other.acquire(0)
    lock.release()
    assert not other.is_held_by_somebody()
    other.acquire(0)


# -- the file -------------------------------------------------------------------------------------------------------


def test_the_file_is_empty_and_stays(tree: Tree, lock: StoreLock) -> None:
    lock.acquire(0)
    lock.release()
    lock.close()

    signature = tree.signature(LOCK)
    assert signature is not None
    assert signature.size == 0


@pytest.mark.parametrize("again", [True, False], ids=["and made again", "for good"])
def test_whoever_waits_for_a_removed_file_gets_the_one_that_counts(
    tree: Tree, lock: StoreLock, other: StoreLock, monkeypatch: pytest.MonkeyPatch, *, again: bool
) -> None:
    third = StoreLock(tree, Counters(tree))
    lock.acquire(0)

    def remove_and_release(_: StoreLock) -> None:
        monkeypatch.undo()
        # `other` has the old file open by now
        tree.unlink(LOCK)
        if again:
            tree.write_new(LOCK, b"")
        lock.release()

    monkeypatch.setattr(StoreLock, "_request", remove_and_release)
    other.acquire(10)

    with pytest.raises(StorageTimeoutError):
        third.acquire(0)
    third.close()


@pytest.mark.skipif(os.name == "nt", reason="there an open file cannot be removed")
def test_whoever_holds_a_removed_file_still_excludes_others(tree: Tree, lock: StoreLock, other: StoreLock) -> None:
    tree.write_new(COUNTERS, b"")
    lock.acquire(0)
    tree.unlink(LOCK)

    assert other.is_held_by_somebody()
    with pytest.raises(StorageTimeoutError):
        other.acquire(0.01)
    lock.release()

    assert not other.is_held_by_somebody()
    other.acquire(0)
    with pytest.raises(StorageTimeoutError):
        lock.acquire(0.01)


def test_a_lock_on_a_removed_file_guards_nothing(tree: Tree, lock: StoreLock, other: StoreLock) -> None:
    lock.acquire(0)
    lock.release()
    tree.unlink(LOCK)
    other.acquire(0)

    with pytest.raises(StorageTimeoutError):
        lock.acquire(0)


def test_without_its_directory_there_is_no_lock(tree: Tree, lock: StoreLock) -> None:
    lock.acquire(0)
    lock.release()
    tree.unlink(LOCK)
    tree.remove_directory(CONTROL)

    for _ in range(2):
        with pytest.raises(FileNotFoundError):
            lock.acquire(0)
    with pytest.raises(FileNotFoundError):
        lock.is_held_by_somebody()
    tree.make_directory(CONTROL)
    lock.acquire(0)


def test_a_link_is_not_taken_for_the_file(tree: Tree, lock: StoreLock, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_bytes(b"")
    (tree.root / LOCK).symlink_to(tmp_path / "elsewhere")

    with pytest.raises(NotAFileError):
        lock.acquire(0)


def test_a_lock_whose_file_can_not_be_looked_at_is_let_go(
    lock: StoreLock, other: StoreLock, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(5, os.strerror(5))

    with monkeypatch.context() as patch:
        patch.setattr(os, "stat", fail)
        with pytest.raises(OSError, match=os.strerror(5)):
            lock.acquire(0)

    other.acquire(0)


# -- other processes ------------------------------------------------------------------------------------------------


def test_a_lock_excludes_another_process(lock: StoreLock, start: Callable[..., subprocess.Popen[str]]) -> None:
    process = start(HOLDING)
    assert line_of(process) == "held"

    assert lock.is_held_by_somebody()
    with pytest.raises(StorageTimeoutError):
        lock.acquire(0.01)

    process.communicate()
    lock.acquire(0)


def test_a_lock_ends_with_its_process(lock: StoreLock, start: Callable[..., subprocess.Popen[str]]) -> None:
    process = start(HOLDING)
    assert line_of(process) == "held"

    process.kill()
    process.wait()

    lock.acquire(0)


def test_a_process_waits_for_another(lock: StoreLock, start: Callable[..., subprocess.Popen[str]]) -> None:
    lock.acquire(0)
    process = start(HOLDING)
    assert line_of(process) == "waiting"

    lock.release()

    assert line_of(process) == "held"
    assert lock.is_held_by_somebody()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_a_child_of_fork_does_not_share_the_lock(lock: StoreLock, start: Callable[..., subprocess.Popen[str]]) -> None:
    process = start(FORKING, "release")
    assert line_of(process) == "does the child have it: no"
    assert line_of(process) == "released"

    # the child lives, and holds nothing
    lock.acquire(0)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_a_child_of_fork_does_not_outlive_the_lock(
    lock: StoreLock, start: Callable[..., subprocess.Popen[str]]
) -> None:
    process = start(FORKING, "die")
    assert line_of(process) == "does the child have it: no"
    assert lock.is_held_by_somebody()

    process.kill()
    process.wait()

    lock.acquire(0)


def test_what_is_locked_is_let_go_when_the_next_can_not_be_locked(
    tree: Tree, lock: StoreLock, other: StoreLock, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree.write_new(COUNTERS, b"")
    calls = itertools.count()

    def refusing(descriptor: int, *, blocking: bool) -> bool:
        if next(calls) == 1:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return lock_descriptor(descriptor, blocking=blocking)

    with monkeypatch.context() as patch:
        patch.setattr(lock_module, "lock_descriptor", refusing)
        with pytest.raises(OSError, match=os.strerror(errno.EIO)):
            lock.acquire(0)

    assert not other.is_held_by_somebody()


# -- the directory --------------------------------------------------------------------------------------------------

ADVISORY = pytest.mark.skipif(os.name == "nt", reason="there an open file cannot be removed")


@ADVISORY
@pytest.mark.parametrize("what", [(LOCK, COUNTERS), (LOCK, COUNTERS, CONTROL)], ids=["both files", "the directory"])
def test_whoever_removes_what_is_locked_makes_no_second_holder(
    tree: Tree, lock: StoreLock, other: StoreLock, what: tuple[str, ...]
) -> None:
    tree.write_new(COUNTERS, b"")
    lock.acquire(0)
    for name in what:
        tree.remove_directory(name) if name == CONTROL else tree.unlink(name)
    tree.make_directory(CONTROL)
    tree.write_new(COUNTERS, b"")

    assert lock.is_of_directory
    assert other.is_held_by_somebody()
    with pytest.raises(StorageTimeoutError):
        other.acquire(0.01)
    lock.release()
    other.acquire(0)


@ADVISORY
def test_a_lock_on_a_directory_that_was_moved_away_guards_nothing(
    tree: Tree, lock: StoreLock, other: StoreLock, tmp_path: Path
) -> None:
    lock.acquire(0)
    lock.release()
    moved = tmp_path.with_name("moved")
    tmp_path.rename(moved)
    tree.make_root()
    tree.make_directory(CONTROL)
    other.acquire(0)

    with pytest.raises(StorageTimeoutError):
        lock.acquire(0.01)


@ADVISORY
@pytest.mark.parametrize("number", [errno.EBADF, errno.ENOLCK, errno.ENOTSUP, errno.EINVAL])
def test_where_a_directory_cannot_be_locked_the_files_are(
    tree: Tree, lock: StoreLock, other: StoreLock, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def refusing(descriptor: int, *, blocking: bool) -> bool:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(number, os.strerror(number))
        return lock_descriptor(descriptor, blocking=blocking)

    tree.write_new(COUNTERS, b"")
    monkeypatch.setattr(lock_module, "lock_descriptor", refusing)
    lock.acquire(0)

    assert not lock.is_of_directory
    assert other.is_held_by_somebody()
    with pytest.raises(StorageTimeoutError):
        other.acquire(0.01)
    # with the counters, as far as two files can do it
    tree.unlink(LOCK)
    with pytest.raises(StorageTimeoutError):
        other.acquire(0.01)
    lock.release()
    other.acquire(0)


@ADVISORY
def test_where_a_directory_cannot_be_opened_the_files_are_locked(
    lock: StoreLock, other: StoreLock, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_tree: Tree) -> int:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    with monkeypatch.context() as patch:
        patch.setattr(Tree, "open_root", refuse)
        lock.acquire(0)
    assert not lock.is_of_directory
    with pytest.raises(StorageTimeoutError):
        # who can lock the directory locks the file too
        other.acquire(0.01)
