"""What the scanner finds that no event reports; each step is made by hand, at a moment of the test's choosing."""

import os
import shutil
import threading
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest

from fsstore import FileStorage
from fsstore.errors import StorageUnavailableError
from fsstore.filesystem.disk.files import Signature, Tree
from fsstore.filesystem.watch import scanner
from fsstore.filesystem.watch.known_files import KnownFiles, mark_of
from fsstore.filesystem.watch.scanner import Pace, Scanner
from fsstore.watching.ledger import KnownState, Ledger
from tests.filesystem.faults import place
from tests.filesystem.watched import name_of, put, told

NAMES = {name_of(f"n{number}") for number in range(4)}


class Looking:
    """A scanner in a test's hand: every step is due."""

    def __init__(self, storage: FileStorage) -> None:
        self.documents = storage._store.documents
        self.known = KnownFiles(Ledger("here"))
        self.scanner = Scanner(self.documents, self.known)
        self._moments = count(1_000.0, 1_000.0)

    def step(self) -> set[str]:
        """Make one step, and return what differs."""
        return set(self.scanner.step(next(self._moments)))

    def look(self) -> set[str]:
        """Compare the directories, and all files of those that differ."""
        found = self.step()
        while self.scanner._suspected:
            found |= self.step()
        return found

    def sweep(self) -> set[str]:
        """Compare all files, and no directory."""
        self.scanner._next_look = float("inf")
        found: set[str] = set()
        # the first one only finds out what there is
        for _ in range(2):
            began = self.scanner._sweep_began
            while self.scanner._sweep_began == began:
                found |= self.step()
        self.scanner._next_look = 0.0
        return found

    def learn(self) -> None:
        """Take the files as they are."""
        for name in self.look():
            self.known.adopt(name, KnownState(name, 1, b""), mark_of(self.documents.tree.signature(name)))


@pytest.fixture
def looking(storage: FileStorage, store: Path) -> Looking:
    # long ago, or each directory would be compared at every look
    for shard in {place(store, f"n{number}").parent for number in range(4)}:
        os.utime(shard, (1, 1))
    return Looking(storage)


def test_the_first_look_names_every_document(looking: Looking) -> None:
    assert looking.look() == NAMES
    assert {directory for directory, _ in looking.scanner.directories} == {"", *(name[:2] for name in NAMES)}


def test_what_is_known_and_still_there_is_not_named(looking: Looking) -> None:
    looking.learn()
    assert looking.look() == looking.sweep() == set()


def test_a_look_names_what_came_and_what_went(looking: Looking, store: Path) -> None:
    looking.learn()
    put(store, "x")
    place(store, "n1").unlink()
    shutil.rmtree(place(store, "n2").parent)

    assert looking.look() == {name_of("x"), *(name for name in NAMES if not (store / name).exists())}


def test_only_a_sweep_names_an_edit_in_place(looking: Looking, store: Path) -> None:
    looking.learn()
    before = place(store, "n1").parent.stat().st_mtime_ns
    put(store, "n1", "edited")
    assert place(store, "n1").parent.stat().st_mtime_ns == before

    assert looking.look() == set()
    assert looking.sweep() == {name_of("n1")}


def test_a_suspected_directory_is_compared_at_once(looking: Looking, store: Path) -> None:
    looking.learn()
    put(store, "n1", "edited")
    looking.scanner.suspect(name_of("n1").partition("/")[0])

    assert set(looking.scanner.step(0.0)) == {name_of("n1")}


def test_a_directory_that_has_just_changed_is_compared_once_more(looking: Looking, store: Path) -> None:
    """Within a tick of the clock it may change again and have the same time."""
    looking.learn()
    os.utime(place(store, "n1").parent)
    looking.look()
    put(store, "n1", "edited")

    assert looking.look() == {name_of("n1")}


def test_a_look_that_fails_leaves_everything_to_be_looked_at(looking: Looking, monkeypatch: pytest.MonkeyPatch) -> None:
    """Or the store would be taken for compared, and watching would begin too early."""

    def refuse(_tree: Tree, _name: str = "") -> None:
        raise StorageUnavailableError(reason="too many open files")

    looking.scanner.suspect_all()
    with monkeypatch.context() as refusing:
        refusing.setattr(Tree, "moment", refuse)
        with pytest.raises(StorageUnavailableError):
            looking.scanner.step(500.0)
        assert not looking.scanner.is_done(500.0)

    assert looking.look() == NAMES


def test_when_everything_is_suspect_what_is_gone_is_named_too(looking: Looking, store: Path) -> None:
    looking.learn()
    looking.scanner.suspect_all()
    for name in NAMES:
        (store / name).unlink()

    assert looking.look() == NAMES


def test_the_bounds_are_those_that_are_documented() -> None:
    """As `FileStorage.watch` and the README state them."""
    assert Pace(look_seconds=0.5, sweep_seconds=5.0, share=0.02) == scanner.BESIDE_EVENTS
    assert Pace(look_seconds=0.25, sweep_seconds=0.5, share=0.1) == scanner.WITHOUT_EVENTS


@pytest.mark.usefixtures("silent")
async def test_a_directory_that_can_not_be_entered_keeps_no_other_waiting(
    storage: FileStorage, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, closed = Tree.signatures, name_of("n1").partition("/")[0]
    is_closed = threading.Event()
    is_closed.set()

    def signatures(tree: Tree, name: str) -> Iterator[tuple[str, Signature | None]]:
        if name == closed and is_closed.is_set():
            raise PermissionError(13, "Permission denied", name)
        return real(tree, name)

    await storage.list()
    monkeypatch.setattr(Tree, "signatures", signatures)
    async with storage.watch() as changes:
        put(store, "n1", "edited")
        put(store, "n2", "edited")
        assert await told(changes, 1) == [("updated", "n2", "external")]
        is_closed.clear()
        assert await told(changes, 1) == [("updated", "n1", "external")]
