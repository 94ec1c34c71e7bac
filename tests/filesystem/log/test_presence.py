"""Who is alone with a store, and who is not."""

import errno
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from fsstore import FileStorage
from fsstore.errors import StorageTimeoutError
from fsstore.filesystem.disk.files import Tree
from fsstore.filesystem.documents.layout import CONTROL
from fsstore.filesystem.log import presence as module
from fsstore.filesystem.log.presence import Presence
from tests.filesystem.crashing import in_child

ROOT = Path(__file__).parents[3]


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    tree = Tree(tmp_path)
    tree.make_directory(CONTROL)
    return tree


@pytest.fixture
def present(tree: Tree) -> Iterator[Callable[[], Presence]]:
    """Return what makes another one who may come in."""
    made: list[Presence] = []

    def make() -> Presence:
        made.append(Presence(tree))
        return made[-1]

    yield make
    for presence in made:
        presence.leave()


def comes_in_alone(presence: Presence) -> bool:
    """Let somebody come in; whether they are alone."""
    alone: list[bool] = []
    assert presence.enter(lambda: alone.append(True), timeout_seconds=5)
    return bool(alone)


def test_the_first_is_alone_and_those_who_come_while_anybody_is_there_are_not(
    present: Callable[[], Presence],
) -> None:
    first, second, third, fourth = (present() for _ in range(4))

    assert comes_in_alone(first)
    assert not comes_in_alone(second)
    first.leave()
    assert not comes_in_alone(third)
    second.leave()
    third.leave()
    assert comes_in_alone(fourth)


def test_nobody_comes_in_while_somebody_who_is_alone_does_what_is_to_be_done_then(
    present: Callable[[], Presence],
) -> None:
    first, second = present(), present()
    came: list[str] = []

    def look() -> None:
        with pytest.raises(StorageTimeoutError):
            second.enter(lambda: came.append("second"), timeout_seconds=0.05)
        came.append("first")

    assert first.enter(look, timeout_seconds=5)
    assert came == ["first"]
    assert not comes_in_alone(second)


def test_many_who_come_in_at_once_all_come_in_and_never_two_of_them_alone_at_a_time(
    present: Callable[[], Presence],
) -> None:
    alone: list[int] = []
    overlaps: list[int] = []

    def visit(presence: Presence) -> None:
        def look() -> None:
            alone.append(1)
            overlaps.append(len(alone))
            alone.pop()

        for _ in range(50):
            assert presence.enter(look, timeout_seconds=20)
            presence.leave()

    threads = [threading.Thread(target=visit, args=[present()]) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not any(thread.is_alive() for thread in threads)
    assert overlaps
    assert set(overlaps) == {1}


def test_what_goes_wrong_for_one_who_is_alone_leaves_nobody_present(present: Callable[[], Presence]) -> None:
    def fail() -> None:
        raise OSError(errno.EIO, "no")

    with pytest.raises(OSError, match="no"):
        present().enter(fail, timeout_seconds=5)
    assert comes_in_alone(present())


def test_a_file_that_was_removed_no_longer_shows_who_is_present(tree: Tree, present: Callable[[], Presence]) -> None:
    first = present()
    assert comes_in_alone(first)
    named = [first.is_named]
    tree.unlink(f"{CONTROL}/open")
    named.append(first.is_named)
    assert comes_in_alone(present())
    named.append(first.is_named)
    assert named == [True, False, False]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork")
def test_a_child_is_not_present_by_its_parents_lock(present: Callable[[], Presence]) -> None:
    parent = present()
    assert comes_in_alone(parent)
    (begun, begin), (end, ends) = os.pipe(), os.pipe()
    child = os.fork()
    if child == 0:
        os.close(ends)
        os.write(begin, b".")
        # lives until its parent says that it may end
        os.read(end, 1)
        os._exit(0)
    try:
        os.close(end)
        os.read(begun, 1)
        other = present()
        assert not comes_in_alone(other)
        other.leave()
        parent.leave()
        assert comes_in_alone(present())
    finally:
        os.close(ends)
        os.waitpid(child, 0)
        os.close(begun)
        os.close(begin)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork")
def test_who_is_killed_is_present_no_more(tree: Tree, present: Callable[[], Presence]) -> None:
    def work() -> None:
        assert comes_in_alone(Presence(tree))
        os.kill(os.getpid(), signal.SIGKILL)

    assert in_child(work) == -signal.SIGKILL
    assert comes_in_alone(present())


@pytest.mark.parametrize("without", ["fcntl", "a file system that can"])
def test_where_there_are_no_shared_locks_nobody_is_known_to_be_alone(
    present: Callable[[], Presence], monkeypatch: pytest.MonkeyPatch, without: str
) -> None:
    def refuse(_descriptor: int, _kind: int) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    if without == "fcntl":
        monkeypatch.setattr(module, "_EXCLUSIVE", 0)
        monkeypatch.setattr(module, "_SHARED", 0)
    else:
        monkeypatch.setattr("fcntl.flock", refuse)
    called: list[Any] = []
    assert not present().enter(lambda: called.append(1), timeout_seconds=5)
    assert called == []


async def test_whoever_opens_a_store_for_writing_is_present_until_it_is_closed(
    tmp_path: Path, present: Callable[[], Presence]
) -> None:
    async with await FileStorage.open(tmp_path):
        first = present()
        assert not comes_in_alone(first)
        first.leave()
    assert comes_in_alone(present())


VISIT = """
import asyncio, sys
from fsstore import FileStorage

async def visit():
    async with await FileStorage.open(sys.argv[1]):
        print("open", flush=True)
        sys.stdin.readline()

asyncio.run(visit())
"""


def test_another_process_that_has_the_store_open_is_present(tmp_path: Path, present: Callable[[], Presence]) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", VISIT, str(tmp_path)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "open\n"
        first = present()
        assert not comes_in_alone(first)
        first.leave()
        process.kill()
        process.wait()
    assert comes_in_alone(present())
