"""The threads that wait for the disk: each call is answered once, by its own loop, and none is forgotten."""

from __future__ import annotations

import asyncio
import threading
import weakref
from collections.abc import Iterator
from functools import partial

import pytest

from fsstore.errors import StorageClosedError, StorageUnavailableError
from fsstore.filesystem.threads import Readers
from tests.filesystem.faults import threads_of_the_store, until

SECONDS = 20.0


@pytest.fixture
def readers() -> Iterator[Readers]:
    made = Readers(2, root="somewhere")
    yield made
    made.shutdown()


async def test_calls_are_answered_with_what_they_return_or_raise(readers: Readers) -> None:
    def fail() -> None:
        raise KeyError("no")

    assert await asyncio.gather(*(readers.submit(partial(int, at)) for at in range(50))) == list(range(50))
    with pytest.raises(KeyError, match="no"):
        await readers.submit(fail)
    with pytest.raises(RuntimeError, match="StopIteration"):
        await readers.submit(lambda: next(iter(())))


async def test_no_more_threads_work_than_are_allowed_and_they_work_at_once(readers: Readers) -> None:
    together = threading.Barrier(2)
    calls = [readers.submit(lambda: together.wait(20)) for _ in range(4)]
    await asyncio.gather(*calls)
    names = {await readers.submit(lambda: threading.current_thread().name) for _ in range(20)}
    assert names <= {"fsstore-reader_0", "fsstore-reader_1"}


async def test_a_call_that_nobody_waits_for_any_more_harms_no_other(readers: Readers) -> None:
    go = threading.Event()
    running = [readers.submit(lambda: go.wait(20)) for _ in range(2)]
    ran: list[int] = []
    waiting = readers.submit(lambda: ran.append(1))
    waiting.cancel()
    running[0].cancel()
    go.set()
    assert await running[1]
    assert await readers.submit(lambda: 5) == 5
    assert ran == []


def test_a_loop_that_was_closed_is_not_answered(readers: Readers) -> None:
    go = threading.Event()

    async def begin() -> None:
        readers.submit(lambda: go.wait(20))

    async def ask() -> int:
        return await readers.submit(lambda: 7)

    asyncio.run(begin())
    go.set()
    assert asyncio.run(ask()) == 7


async def test_after_the_end_calls_are_refused_and_what_was_queued_is_done() -> None:
    readers = Readers(1, root="somewhere")
    ran: list[int] = []
    calls = [readers.submit(partial(ran.append, at)) for at in range(20)]
    readers.shutdown()
    with pytest.raises(StorageClosedError):
        readers.submit(lambda: None)
    await asyncio.gather(*calls)
    assert ran == list(range(20))


class Answer:
    """What can be watched going."""


async def test_an_idle_thread_keeps_nothing_of_its_last_answer(readers: Readers) -> None:
    gone = weakref.ref(await readers.submit(Answer))
    await until(lambda: gone() is None)


async def test_a_system_without_threads_is_an_error_of_the_store(
    readers: Readers, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        with pytest.raises(StorageUnavailableError, match="no thread"):
            readers.submit(lambda: 1)
    assert await readers.submit(lambda: 2) == 2


async def test_a_call_is_answered_while_its_caller_is_in_the_middle_of_another_one(readers: Readers) -> None:
    """As a signal handler is that has interrupted it."""
    with readers._guard:
        for value in range(5):
            assert await asyncio.wait_for(readers.submit(partial(int, value)), SECONDS) == value


async def test_a_thread_whose_beginning_was_interrupted_ends_with_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    readers, start = Readers(2, root="root"), threading.Thread.start

    def interrupted(thread: threading.Thread) -> None:
        start(thread)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", interrupted)
        with pytest.raises(KeyboardInterrupt):
            readers.submit(threading.get_ident)
    both = threading.Barrier(2)
    assert len(set(await asyncio.gather(*(readers.submit(lambda: both.wait(SECONDS)) for _ in range(2))))) == 2
    ending = threading.Thread(target=readers.shutdown, daemon=True)
    ending.start()
    await asyncio.to_thread(ending.join, SECONDS)
    assert not ending.is_alive()
    await until(lambda: not threads_of_the_store())
