"""The thread that lets the index know: nothing is forgotten, nothing comes late, and no failure is swallowed."""

from __future__ import annotations

import errno
import threading
import weakref
from collections.abc import Iterable, Iterator
from typing import Any

import pytest

from fsstore.filesystem.index.index import Described
from fsstore.filesystem.write import index_updates
from fsstore.filesystem.write.index_updates import Indexing
from tests.filesystem.faults import until


class Value:
    """What can be watched going."""


class FakeIndexFile:
    """Takes what it is told, where `gate` is open; fails with `error`."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.gate.set()
        self.busy = threading.Event()
        self.error: OSError | None = None
        self.told: list[tuple[list[Any], list[str]]] = []
        self.threads: set[str] = set()

    def record(self, documents: Iterable[Any], removed: Iterable[str]) -> None:
        self.threads.add(threading.current_thread().name)
        self.busy.set()
        assert self.gate.wait(20)
        if self.error is not None:
            raise self.error
        self.told.append((list(documents), list(removed)))


def row(*values: object) -> Described:
    return Described(values, b"")


@pytest.fixture
def index_file() -> FakeIndexFile:
    return FakeIndexFile()


@pytest.fixture
def telling(index_file: FakeIndexFile, monkeypatch: pytest.MonkeyPatch) -> Iterator[Indexing]:
    monkeypatch.setattr(index_updates, "_AT_ONCE", 2)
    monkeypatch.setattr(index_updates, "_MOST", 4)
    made: Any = Indexing(index_file)  # type: ignore[arg-type]
    made.start()
    yield made
    index_file.gate.set()
    made.drop()
    made.stop()


def place(telling: Indexing, *names: str) -> None:
    for name in names:
        telling.place(name, row(name))
        telling.proceed()


def test_what_was_placed_is_told_in_order_and_the_last_word_of_a_document_counts(
    telling: Indexing, index_file: FakeIndexFile
) -> None:
    telling.place("a", row("a", 1))
    telling.place("a", row("a", 2))
    telling.place("b", None)
    telling.settle()
    telling.place("a", None)
    telling.settle()
    telling.settle()

    assert index_file.told == [([row("a", 2)], ["b"]), ([], ["a"])]
    assert index_file.threads == {"fsstore-index"}


def test_few_documents_wait_and_many_are_told_while_the_writer_goes_on(
    telling: Indexing, index_file: FakeIndexFile
) -> None:
    index_file.gate.clear()
    place(telling, "a")
    assert not index_file.busy.is_set()
    place(telling, "b", "c", "d")
    assert index_file.busy.wait(20)
    assert index_file.told == []

    index_file.gate.set()
    telling.settle()
    assert index_file.told == [([row("a"), row("b")], []), ([row("c"), row("d")], [])]


def test_the_writer_waits_where_the_index_does_not_keep_up(telling: Indexing, index_file: FakeIndexFile) -> None:
    index_file.gate.clear()
    place(telling, "a", "b", "c", "d", "e")
    threading.Timer(0.05, index_file.gate.set).start()
    place(telling, "f")
    assert index_file.told[0] == ([row("a"), row("b")], [])


def test_settling_waits_for_the_end(telling: Indexing, index_file: FakeIndexFile) -> None:
    index_file.gate.clear()
    place(telling, "a", "b")
    threading.Timer(0.05, index_file.gate.set).start()
    telling.settle()
    assert index_file.told == [([row("a"), row("b")], [])]


def test_a_failure_is_told_to_whoever_settles_and_what_comes_after_is_not_lost(
    telling: Indexing, index_file: FakeIndexFile
) -> None:
    index_file.error = OSError(errno.EIO, "the counters")
    place(telling, "a", "b")
    with pytest.raises(OSError, match="the counters"):
        telling.settle()
    index_file.error = None
    place(telling, "c")
    telling.settle()
    assert index_file.told == [([row("c")], [])]


def test_what_is_dropped_is_not_told_and_what_is_being_told_has_ended(
    telling: Indexing, index_file: FakeIndexFile
) -> None:
    index_file.gate.clear()
    place(telling, "a", "b", "c")
    assert index_file.busy.wait(20)
    threading.Timer(0.05, index_file.gate.set).start()
    telling.drop()
    assert index_file.told == [([row("a"), row("b")], [])]
    telling.settle()
    assert len(index_file.told) == 1


def test_a_failure_that_is_dropped_is_heard_of_no_more(telling: Indexing, index_file: FakeIndexFile) -> None:
    index_file.error = OSError(errno.EIO, "the counters")
    place(telling, "a", "b")
    telling.drop()
    telling.settle()


def test_the_thread_ends_when_it_has_told_what_it_was_given(index_file: FakeIndexFile) -> None:
    telling: Any = Indexing(index_file)  # type: ignore[arg-type]
    telling.start()
    telling.place("a", None)
    telling.settle()
    telling.stop()
    assert index_file.told == [([], ["a"])]
    assert not telling._thread.is_alive()


async def test_an_idle_thread_keeps_nothing_of_what_it_told(telling: Indexing, index_file: FakeIndexFile) -> None:
    value = Value()
    gone = weakref.ref(value)
    telling.place("a", row(value))
    del value
    telling.settle()
    index_file.told.clear()
    await until(lambda: gone() is None)
