from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator
from contextvars import ContextVar

import pytest

from fsstore.sync.calls import Calls
from tests.filesystem.faults import descriptors

NAME: ContextVar[str] = ContextVar("name", default="nobody")


@pytest.fixture
def calls() -> Calls:
    return Calls()


async def soon(value: int) -> int:
    await asyncio.sleep(0)
    return value


async def at_once(value: int) -> int:
    return value


async def fails() -> int:
    await asyncio.sleep(0)
    raise LookupError("no")


def test_a_call_returns_or_raises_what_the_coroutine_does(calls: Calls) -> None:
    assert calls.run(lambda: soon(1)) == 1
    assert [calls.read(lambda: at_once(2)), calls.read(lambda: soon(3))] == [2, 3]
    for run in (calls.run, calls.read):
        with pytest.raises(LookupError):
            run(fails)


def test_a_read_that_waits_is_told_of_errors_where_it_waits(calls: Calls) -> None:
    async def patient() -> str:
        try:
            await asyncio.wait_for(asyncio.Event().wait(), 0.001)
        except TimeoutError:
            return "in vain"
        return ""

    async def outer() -> str:
        await asyncio.sleep(0)
        return await patient()

    assert calls.read(outer) == "in vain"


def test_a_thread_keeps_one_loop_and_leaves_nothing(calls: Calls) -> None:
    before, loops = descriptors(), set[int]()

    async def loop() -> int:
        return id(asyncio.get_running_loop())

    def work() -> None:
        loops.update(calls.run(loop) for _ in range(3))

    for _ in range(3):
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        assert descriptors() == before
    assert threading.active_count() == threading.active_count()
    assert loops


def test_a_call_inside_a_running_loop_runs_in_the_same_thread_and_context(calls: Calls) -> None:
    async def who() -> tuple[str, int]:
        await asyncio.sleep(0)
        return NAME.get(), threading.get_ident()

    async def outer() -> tuple[str, int]:
        NAME.set("caller")
        own = asyncio.get_running_loop(), asyncio.current_task()
        found = calls.run(who)
        assert calls.read(who) == found
        assert (asyncio.get_running_loop(), asyncio.current_task()) == own
        # it goes on as if nothing had been
        await asyncio.wait_for(asyncio.sleep(0), 60)
        return found

    caller = "caller", threading.get_ident()
    assert asyncio.run(outer()) == caller
    assert calls.run(outer) == caller
    # in a callback no task is running
    loop, found = asyncio.new_event_loop(), []
    loop.call_soon(lambda: found.append(calls.run(who)))
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()
    assert found == [("nobody", threading.get_ident())]


def test_calls_within_calls_have_a_loop_each_and_keep_them(calls: Calls) -> None:
    loops: list[int] = []

    async def within(depth: int) -> int:
        await asyncio.sleep(0)
        loops.append(id(asyncio.get_running_loop()))
        return depth if depth == 5 else calls.run(lambda: within(depth + 1))

    assert [calls.run(lambda: within(0)) for _ in range(3)] == [5, 5, 5]
    assert len({*loops}) == 6
    assert loops == loops[:6] * 3


def test_what_a_call_has_started_has_ended_with_it(calls: Calls) -> None:
    done: list[int] = []

    async def beside() -> None:
        await asyncio.sleep(0.01)
        done.append(1)

    async def begins() -> asyncio.Task[None]:
        return asyncio.create_task(beside())

    assert calls.run(begins).done()
    assert done == [1]


def test_an_interrupted_call_is_cancelled_and_the_next_one_works(calls: Calls) -> None:
    ended: list[str] = []

    async def interrupted() -> None:
        try:
            asyncio.get_running_loop().call_soon(_interrupt)
            await asyncio.Event().wait()
        finally:
            ended.append("cleanly")

    def _interrupt() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        calls.run(interrupted)
    assert ended == ["cleanly"]
    assert calls.run(lambda: soon(5)) == 5


def test_an_interrupt_before_a_call_has_its_loop_leaves_the_next_one_as_the_first(
    calls: Calls, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(asyncio, "new_event_loop", interrupt)
        for _ in range(2):
            with pytest.raises(KeyboardInterrupt):
                calls.run(lambda: soon(1))
    assert calls.run(lambda: soon(2)) == 2
    assert len(calls._loops.loops) == 1


def test_an_interrupt_at_the_very_end_of_a_call_does_not_end_the_next_one(calls: Calls) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    async def ending() -> None:
        # it comes when the call is over, before the loop knows
        asyncio.get_running_loop().call_soon(interrupt)

    for _ in range(5):
        with pytest.raises(KeyboardInterrupt):
            calls.run(ending)
        assert calls.run(lambda: soon(1)) == 1


@pytest.mark.parametrize("times", [2, 3, 7])
def test_interrupts_that_follow_each_other_do_not_end_the_next_call(calls: Calls, times: int) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    async def ending() -> None:
        for _ in range(times):
            asyncio.get_running_loop().call_soon(interrupt)

    async def hanging() -> None:
        await ending()
        await asyncio.Event().wait()

    for call in (ending, hanging):
        with pytest.raises(KeyboardInterrupt):
            calls.run(call)
        assert calls.run(lambda: soon(1)) == 1


def test_a_generator_is_closed_with_its_iterator(calls: Calls) -> None:
    ended: list[str] = []

    async def numbers() -> AsyncGenerator[int]:
        try:
            for number in range(5):
                yield await soon(number)
        finally:
            ended.append("closed")

    assert list(calls.iterate(numbers())) == list(range(5))
    items = calls.iterate(numbers())
    assert next(items) == 0
    items.close()  # type: ignore[attr-defined]  # it is a generator
    assert ended == ["closed", "closed"]
