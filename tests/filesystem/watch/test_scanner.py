"""What the scanner finds that no event reports; each step is made by hand, at a moment of the test's choosing."""

import os
import shutil
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from types import SimpleNamespace

import pytest

from fsstore import FileStorage
from fsstore.errors import StorageUnavailableError
from fsstore.filesystem.disk.files import Tree
from fsstore.filesystem.disk.signatures import Signature
from fsstore.filesystem.disk.trust import RACY_NS
from fsstore.filesystem.documents.scan import Scan
from fsstore.filesystem.watch import scanner
from fsstore.filesystem.watch.known_files import KnownFiles, mark_of
from fsstore.filesystem.watch.scanner import Pace, Scanner
from fsstore.watching.ledger import KnownState, Ledger
from tests.filesystem.clocks import await_tick
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
        await_tick(self.documents.tree.root)


@pytest.fixture
def looking(storage: FileStorage, monkeypatch: pytest.MonkeyPatch) -> Looking:
    # an hour later, or each directory would be compared at every look
    clock = SimpleNamespace(time_ns=lambda: time.time_ns() + 3_600_000_000_000, perf_counter=time.perf_counter)
    monkeypatch.setattr(scanner, "time", clock)
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


def test_a_directory_that_has_just_changed_is_compared_once_more(
    looking: Looking, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Within a tick of the clock it may change again and have the same time."""
    looking.learn()
    monkeypatch.setattr(scanner, "time", time)
    os.utime(place(store, "n1").parent)
    looking.look()
    put(store, "n1", "edited")

    assert looking.look() == {name_of("n1")}


@dataclass
class Turned:
    """A clock of a directory that a test turns by hand, and the present."""

    now_ns: int
    changed_ns: int = 0

    def moment(self, tree: Tree, name: str = "") -> Signature | None:
        found = REAL_MOMENT(tree, name)
        return None if found is None else found._replace(mtime_ns=self.changed_ns, ctime_ns=self.changed_ns)


REAL_MOMENT = Tree.moment


@pytest.fixture
def turned(monkeypatch: pytest.MonkeyPatch) -> Turned:
    """Let all directories have the same time, which a change in the same tick leaves."""
    turned = Turned(now_ns=2_000_000_000_000_000_000)
    turned.changed_ns = turned.now_ns
    monkeypatch.setattr(Tree, "moment", lambda tree, name="": turned.moment(tree, name))
    monkeypatch.setattr(scanner, "time", SimpleNamespace(time_ns=lambda: turned.now_ns, perf_counter=lambda: 0.0))
    return turned


def test_a_name_that_comes_in_the_tick_of_a_look_is_found_by_the_next(
    looking: Looking, store: Path, turned: Turned
) -> None:
    looking.learn()
    put(store, "n1", "edited")
    turned.now_ns += RACY_NS - 1
    assert looking.look() == {name_of("n1")}
    turned.now_ns += 1
    # once more: only what is compared from here on is sure
    assert looking.look() == {name_of("n1")}
    assert looking.look() == set()


def test_a_directory_whose_time_is_sure_is_not_compared_again(
    looking: Looking, turned: Turned, monkeypatch: pytest.MonkeyPatch
) -> None:
    looking.learn()
    turned.now_ns += RACY_NS
    looking.look()
    compared: list[str] = []
    real = Scan.signatures

    def signatures(scan: Scan, shard: str) -> dict[str, Signature | None]:
        compared.append(shard)
        return real(scan, shard)

    monkeypatch.setattr(Scan, "signatures", signatures)
    looking.look()
    assert compared == []
    turned.changed_ns += 1
    looking.look()
    assert compared != []


def test_the_present_is_taken_before_the_directories_are_looked_at(
    looking: Looking, store: Path, turned: Turned, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process may be stopped for a while between the two."""

    def stopped(tree: Tree, name: str = "") -> Signature | None:
        found = turned.moment(tree, name)
        turned.now_ns += RACY_NS
        return found

    with monkeypatch.context() as stopping:
        stopping.setattr(Tree, "moment", stopped)
        looking.learn()
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


def test_the_directories_are_the_same_set_as_long_as_there_is_no_other(looking: Looking, store: Path) -> None:
    """Every step of the watcher asks for them, and there may be tens of thousands."""
    looking.learn()
    looking.look()
    before = looking.scanner.directories
    looking.look()
    looking.sweep()
    assert looking.scanner.directories is before
    put(store, "x")
    looking.look()
    assert looking.scanner.directories == before | {(name_of("x")[:2], place(store, "x").parent.stat().st_ino)}
