"""The old interface over a service that somebody else has opened: which loop runs a call, and what ends it."""

import asyncio
import errno
import gc
import os
import subprocess
import sys
import threading
import warnings
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import pytest

from fsstore import LegacySessionStoreAdapter, MemoryStorage, SessionService, open_sessions
from fsstore.errors import (
    StorageClosedError,
    StorageError,
    StorageNotFoundError,
    StorageTimeoutError,
    StorageUnavailableError,
    StorageValidationError,
)
from fsstore.legacy import ISessionStore
from fsstore.sessions.interfaces import ISessionService
from fsstore.sync import on_loop
from tests.filesystem.forks import ended
from tests.test_legacy import left_behind

T = TypeVar("T")


class Kept:
    """A service of six methods and no batches, as the calling system has them; it notes the loop of each call."""

    def __init__(self, failing: dict[str, Exception] | None = None) -> None:
        self.sessions: dict[str, dict[str, Any]] = {}
        self.loops: list[asyncio.AbstractEventLoop] = []
        self.failing = failing or {}

    def _note(self, session_id: str = "") -> None:
        self.loops.append(asyncio.get_running_loop())
        if session_id in self.failing:
            raise self.failing[session_id]

    def _find(self, session_id: str) -> None:
        if session_id not in self.sessions:
            raise StorageNotFoundError(f"Session not found: {session_id}")

    async def save_session(self, session_id: str, session_data: dict[str, Any]) -> None:
        self._note(session_id)
        self.sessions[session_id] = session_data

    async def get_session(self, session_id: str) -> dict[str, Any] | None:
        self._note(session_id)
        return self.sessions.get(session_id)

    async def delete_session(self, session_id: str) -> None:
        self._note(session_id)
        self._find(session_id)
        del self.sessions[session_id]

    async def list_sessions(
        self, filters: dict[str, Any] | None = None, limit: int | None = None
    ) -> list[dict[str, Any]]:
        self._note()
        assert filters is None
        return list(self.sessions.values())[:limit]

    async def session_exists(self, session_id: str) -> bool:
        self._note(session_id)
        return session_id in self.sessions

    async def update_session(self, session_id: str, updates: dict[str, Any]) -> None:
        self._note(session_id)
        self._find(session_id)
        self.sessions[session_id] |= updates


class Stuck(Kept):
    """One whose saves wait until they are let go; `begun` says that one waits."""

    def __init__(self) -> None:
        super().__init__()
        self.begun = threading.Event()

    async def save_session(self, session_id: str, session_data: dict[str, Any]) -> None:
        self.begun.set()
        await asyncio.Event().wait()
        await super().save_session(session_id, session_data)


def use(store: LegacySessionStoreAdapter) -> None:
    """Go once through every method."""
    assert store.save_session("a", {"n": 1}) is True
    assert (store.get_session("a") or {})["n"] == 1
    assert store.get_session("nobody") is None
    assert (store.session_exists("a"), store.session_exists("nobody")) == (True, False)
    assert (store.update_session("a", {"n": 2}), store.update_session("nobody", {})) == (True, False)
    assert store.batch_save_sessions({"b": {"n": 3}, "c": {"n": 4}}) is True
    assert sorted(session["n"] for session in store.list_sessions()) == [2, 3, 4]
    assert len(store.list_sessions(limit=2)) == 2
    assert (store.delete_session("a"), store.delete_session("a")) == (True, False)
    assert store.batch_delete_sessions(["b", "nobody"]) is True
    assert [session["n"] for session in store.list_sessions()] == [4]


@contextmanager
def running_loop() -> Iterator[asyncio.AbstractEventLoop]:
    """Run a loop in a thread beside the test."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield loop
    finally:
        if not loop.is_closed():
            loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def made_in(loop: asyncio.AbstractEventLoop, make: Callable[[], T]) -> T:
    """Return what is made in a loop that runs in another thread."""

    async def work() -> T:
        return make()

    return asyncio.run_coroutine_threadsafe(work(), loop).result()


# -- the loop of a call ---------------------------------------------------------------------------------------------


def test_it_is_the_old_interface_over_anything_with_the_six_methods() -> None:
    assert isinstance(Kept(), ISessionService)
    with LegacySessionStoreAdapter(Kept()) as store:
        assert isinstance(store, ISessionStore)
        use(store)


def test_calls_run_on_the_loop_in_which_the_adapter_was_made() -> None:
    service = Kept()
    with running_loop() as loop:
        store = made_in(loop, lambda: LegacySessionStoreAdapter(service))
        use(store)
        with ThreadPoolExecutor(4) as threads:
            list(threads.map(lambda number: store.save_session(str(number), {}), range(40)))

    assert set(service.loops) == {loop}


def test_calls_run_on_the_loop_that_is_given() -> None:
    service = Kept()
    with running_loop() as loop:
        use(LegacySessionStoreAdapter(service, loop=loop))

    assert set(service.loops) == {loop}


def test_calls_run_on_the_loop_in_which_our_service_was_made() -> None:
    seen = []

    class Noting(MemoryStorage):
        async def commit(self, changes: Any) -> Any:
            seen.append(asyncio.get_running_loop())
            return await super().commit(changes)

    with running_loop() as loop:
        service = made_in(loop, lambda: SessionService(Noting()))
        use(LegacySessionStoreAdapter(service))

    assert set(seen) == {loop}


async def test_calls_from_a_thread_of_the_loop_that_runs_the_service_are_served_by_it(tmp_path: Path) -> None:
    async with open_sessions(tmp_path / "store") as sessions:
        store = LegacySessionStoreAdapter(sessions)
        await asyncio.gather(
            asyncio.to_thread(use, store), sessions.save_session("beside", {"n": 4}), return_exceptions=True
        )
        await asyncio.to_thread(store.save_session, "z", {"n": 9})

        assert (await sessions.get_session("z") or {})["n"] == 9


def test_a_call_inside_another_loop_runs_on_the_loop_of_the_service() -> None:
    service = Kept()

    async def main(store: LegacySessionStoreAdapter) -> None:
        use(store)

    with running_loop() as loop:
        asyncio.run(main(LegacySessionStoreAdapter(service, loop=loop)))

    assert set(service.loops) == {loop}


async def test_an_adapter_made_inside_another_loop_runs_on_the_loop_of_the_service() -> None:
    async with open_sessions("memory:") as sessions:

        async def in_another_loop() -> bool:
            return LegacySessionStoreAdapter(sessions).save_session("a", {})

        assert await asyncio.to_thread(lambda: asyncio.run(in_another_loop())) is True
        with pytest.raises(StorageError, match="would wait for itself"):
            LegacySessionStoreAdapter(sessions).save_session("a", {})


async def test_a_service_without_a_loop_is_used_inside_one_that_is_not_its_own() -> None:
    service = Kept()
    with await asyncio.to_thread(LegacySessionStoreAdapter, service) as store:
        use(store)

    assert asyncio.get_running_loop() not in service.loops
    assert len(set(service.loops)) == 1


def test_where_the_loop_of_the_service_has_ended_the_adapter_has_one_of_its_own(tmp_path: Path) -> None:
    before = threading.enumerate()

    async def main() -> SessionService:
        return await open_sessions(tmp_path / "store")

    service = asyncio.run(main())
    with LegacySessionStoreAdapter(service) as store:
        use(store)
    # what was handed over is as open as before
    assert asyncio.run(service.count_sessions()) == 1
    asyncio.run(service.close())

    assert left_behind(before) == []


CALLS: dict[str, Callable[[LegacySessionStoreAdapter], Any]] = {
    "save_session": lambda store: store.save_session("a", {}),
    "get_session": lambda store: store.get_session("a"),
    "session_exists": lambda store: store.session_exists("a"),
    "update_session": lambda store: store.update_session("a", {}),
    "delete_session": lambda store: store.delete_session("a"),
    "list_sessions": lambda store: store.list_sessions(),
    "batch_save_sessions": lambda store: store.batch_save_sessions({"a": {}}),
    "batch_delete_sessions": lambda store: store.batch_delete_sessions(["a"]),
}
each_call = pytest.mark.parametrize("call", CALLS.values(), ids=list(CALLS))


@each_call
async def test_in_the_loop_of_the_service_every_call_is_an_error_at_once(
    call: Callable[[LegacySessionStoreAdapter], Any],
) -> None:
    service = Kept()
    store = LegacySessionStoreAdapter(service)

    with pytest.raises(StorageError, match=r"would wait for itself; .*asyncio\.to_thread") as caught:
        call(store)

    assert (type(caught.value), caught.value.outcome, service.loops) == (StorageError, "not applied", [])


# -- answers --------------------------------------------------------------------------------------------------------


def test_an_adapter_that_is_closed_in_its_own_loop_is_an_error_and_stays_open() -> None:
    class Closing(Kept):
        async def session_exists(self, session_id: str) -> bool:
            store.close()
            return bool(session_id)

    with LegacySessionStoreAdapter(Closing()) as store:
        with pytest.raises(StorageError, match="would wait for itself"):
            store.session_exists("a")
        assert store.get_session("a") is None


def test_other_failures_than_absence_raise() -> None:
    timeout = StorageTimeoutError("the service took too long")
    service = Kept({"slow": timeout, "odd": KeyError("odd")})
    with LegacySessionStoreAdapter(service) as store:
        for call in (
            lambda: store.save_session("slow", {}),
            lambda: store.get_session("slow"),
            lambda: store.update_session("slow", {}),
            lambda: store.delete_session("slow"),
            lambda: store.session_exists("slow"),
        ):
            with pytest.raises(StorageTimeoutError) as caught:
                call()
            assert caught.value is timeout
        with pytest.raises(KeyError):
            store.save_session("odd", {})


def wrapped(inner: Exception, kind: type[StorageError] = StorageError) -> StorageError:
    """Return an error as the calling system's adapter makes it of another one."""
    error = kind(f"Failed to update session a: {inner}")
    # raised in the `except` of the inner one, and not `from` it
    error.__context__ = inner
    return error


@pytest.mark.parametrize(
    ("error", "is_absence"),
    [
        (wrapped(StorageNotFoundError("Session not found: a")), True),
        (wrapped(StorageTimeoutError("late")), False),
        (wrapped(KeyError("a")), False),
        (wrapped(StorageNotFoundError("Session not found: a"), StorageUnavailableError), False),
        (StorageError("Failed"), False),
    ],
)
def test_absence_that_a_service_wraps_is_absence_and_nothing_else_is(error: StorageError, *, is_absence: bool) -> None:
    with LegacySessionStoreAdapter(Kept({"a": error})) as store:
        for call in (CALLS["update_session"], CALLS["delete_session"]):
            if is_absence:
                assert call(store) is False
            else:
                with pytest.raises(StorageError):
                    call(store)
        assert store.batch_delete_sessions(["a"]) is is_absence


def test_without_batches_of_its_own_a_service_is_asked_for_one_after_the_other() -> None:
    service = Kept({"bad": StorageUnavailableError(reason="disk full", path="store")})
    with LegacySessionStoreAdapter(service) as store:
        assert store.batch_save_sessions({"a": {}, "bad": {}, "b": {}}) is False
        assert sorted(service.sessions) == ["a", "b"]
        assert store.batch_delete_sessions(["a", "bad", "b"]) is False
        assert service.sessions == {}


def test_a_service_whose_methods_are_not_asynchronous_is_an_error_and_no_hang() -> None:
    class Synchronous(Kept):
        def save_session(self, session_id: str, session_data: dict[str, Any]) -> Any:
            return session_id, session_data

        def get_session(self, session_id: str) -> Any:
            raise ZeroDivisionError(session_id)

    with LegacySessionStoreAdapter(Synchronous()) as store:
        with pytest.raises(TypeError):
            store.save_session("a", {})
        with pytest.raises(ZeroDivisionError):
            store.get_session("a")


@pytest.mark.parametrize("given", [MemoryStorage(), open_sessions("memory:"), None, 7, b"path"])
def test_what_is_no_service_and_no_path_is_refused(given: Any) -> None:
    with pytest.raises(StorageValidationError, match="must be a session service, a path or a URL") as caught:
        LegacySessionStoreAdapter(given)

    assert caught.value.path == "session_service"


def test_options_are_for_what_is_opened() -> None:
    with pytest.raises(StorageValidationError, match="takes no options"):
        LegacySessionStoreAdapter(Kept(), fsync=False)
    with running_loop() as loop, pytest.raises(StorageValidationError, match="loop"):
        LegacySessionStoreAdapter("memory:", loop=loop)


# -- ends -----------------------------------------------------------------------------------------------------------


async def test_closing_leaves_a_service_open_that_was_handed_over(tmp_path: Path) -> None:
    async with open_sessions(tmp_path / "store") as sessions:
        store = await asyncio.to_thread(LegacySessionStoreAdapter, sessions)
        await asyncio.to_thread(store.save_session, "a", {})
        store.close()
        store.close()

        assert await sessions.session_exists("a")
        with pytest.raises(StorageClosedError):
            await asyncio.to_thread(store.session_exists, "a")


@each_call
def test_after_close_every_call_is_refused(call: Callable[[LegacySessionStoreAdapter], Any]) -> None:
    service = Kept()
    store = LegacySessionStoreAdapter(service)
    store.close()

    with pytest.raises(StorageClosedError, match="the store is closed"):
        call(store)
    assert service.loops == []


def waiting_call(store: LegacySessionStoreAdapter) -> Future[bool]:
    """Begin a save in a thread of its own."""
    answer: Future[bool] = Future()

    def call() -> None:
        try:
            answer.set_result(store.save_session("a", {}))
        except StorageError as error:
            answer.set_exception(error)

    # a daemon: one that waits for ever must not keep the tests from their end
    threading.Thread(target=call, daemon=True).start()
    return answer


def test_a_call_that_waits_ends_when_the_loop_of_the_service_stops() -> None:
    service = Stuck()
    with running_loop() as loop:
        answer = waiting_call(LegacySessionStoreAdapter(service, loop=loop))
        service.begun.wait()
    # it runs no more, and what it has begun will never be done
    with pytest.raises(StorageClosedError, match="ended before the call did") as caught:
        answer.result(timeout=30)
    assert caught.value.outcome == "unknown"


def test_a_call_that_waits_ends_when_the_loop_of_the_service_is_run_to_its_end() -> None:
    service = Stuck()

    async def main() -> Future[bool]:
        answer = waiting_call(LegacySessionStoreAdapter(service))
        await asyncio.to_thread(service.begun.wait)
        return answer

    with pytest.raises(StorageClosedError, match="the call was cancelled") as caught:
        asyncio.run(main()).result(timeout=30)
    assert caught.value.outcome == "unknown"


def test_a_system_that_gives_no_event_loop_is_an_error_and_no_hang(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> asyncio.AbstractEventLoop:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    store = LegacySessionStoreAdapter(Kept())
    with monkeypatch.context() as patch:
        patch.setattr(asyncio.events, "new_event_loop", refuse)
        with pytest.raises(StorageUnavailableError, match="no event loop") as caught:
            waiting_call(store).result(timeout=30)
    assert caught.value.errno == errno.EMFILE
    assert store.save_session("a", {})
    store.close()


def test_a_call_that_waits_ends_when_the_adapter_is_closed() -> None:
    service = Stuck()
    store = LegacySessionStoreAdapter(service)
    answer = waiting_call(store)
    service.begun.wait()
    store.close()

    with pytest.raises(StorageClosedError):
        answer.result(timeout=30)


def test_a_call_that_a_stopped_loop_never_began_was_not_applied() -> None:
    """The loop claims to run, as one does that is stopped in the very moment of the call."""
    loop = asyncio.new_event_loop()
    looks = iter([True])
    loop.is_running = lambda: next(looks, False)  # type: ignore[method-assign]
    service = Kept()

    with pytest.raises(StorageClosedError) as caught:
        LegacySessionStoreAdapter(service, loop=loop).save_session("a", {})
    assert caught.value.outcome == "not applied"

    loop.run_until_complete(asyncio.sleep(0))
    loop.close()
    assert service.sessions == {}


def test_an_adapter_that_two_threads_close_at_once_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    store = LegacySessionStoreAdapter(Kept())
    store.save_session("a", {})
    look = on_loop.running_loop

    def look_late() -> asyncio.AbstractEventLoop | None:
        monkeypatch.setattr(on_loop, "running_loop", look)
        store.close()
        return look()

    monkeypatch.setattr(on_loop, "running_loop", look_late)
    store.close()
    with pytest.raises(StorageClosedError):
        store.save_session("a", {})


def test_an_adapter_that_nobody_has_any_more_ends_its_thread(tmp_path: Path) -> None:
    before = threading.enumerate()
    store = LegacySessionStoreAdapter(tmp_path / "store")
    store.save_session("a", {})
    dropped = weakref.ref(store)

    with warnings.catch_warnings(record=True, action="always", category=ResourceWarning) as warned:
        del store
        gc.collect()
    assert [str(warning.message) for warning in warned] == [f"the store {tmp_path / 'store'} was not closed"]

    assert dropped() is None
    assert left_behind(before) == []


# -- programs that forget to close ----------------------------------------------------------------------------------

OPENED = """
import os, signal, sys, threading
from fsstore import LegacySessionStoreAdapter, StorageClosedError
# whoever began the tests may have had it ignored
signal.signal(signal.SIGINT, signal.default_int_handler)
store = LegacySessionStoreAdapter(sys.argv[1])
store.save_session("a", {"n": 1})
"""
WRAPPED = """
import asyncio, os, signal, sys, threading
from fsstore import LegacySessionStoreAdapter, StorageClosedError, open_sessions
# whoever began the tests may have had it ignored
signal.signal(signal.SIGINT, signal.default_int_handler)
async def opened():
    return await open_sessions(sys.argv[1])
store = LegacySessionStoreAdapter(asyncio.run(opened()))
store.save_session("a", {"n": 1})
"""
SAVES_ON = """
begun = threading.Event()

def save_on():
    try:
        while True:
            store.save_session("c", {})
            begun.set()
    except StorageClosedError:
        pass

def interrupt():
    # in the middle of one of many calls
    threading.Thread(target=lambda: (begun.wait(), os.kill(os.getpid(), signal.SIGINT)), daemon=True).start()

"""
ENDINGS = {
    "at its end": ("", 0, ""),
    "by sys.exit": ("sys.exit(3)", 3, ""),
    "by an exception": ("1 / 0", 1, "ZeroDivisionError"),
    "by Ctrl-C": ("os.kill(os.getpid(), signal.SIGINT); threading.Event().wait(30)", -2, "KeyboardInterrupt"),
    "with threads that go on": (
        "threading.Thread(target=lambda: [store.save_session('b', {'n': n}) for n in range(50)]).start()",
        0,
        "",
    ),
    "with threads that go on to many sessions": (
        "threading.Thread(target=lambda: [store.save_session(f's{n}', {}) for n in range(50)]).start()",
        0,
        "",
    ),
    "in another thread": ("threading.Thread(target=store.list_sessions).start()", 0, ""),
    "by Ctrl-C in a call": (SAVES_ON + "interrupt(); save_on()", -2, "KeyboardInterrupt"),
    "by an exception beside a thread in a call": (
        SAVES_ON + "threading.Thread(target=save_on, daemon=True).start(); begun.wait(); 1 / 0",
        1,
        "ZeroDivisionError",
    ),
    "by a signal": ("os.kill(os.getpid(), signal.SIGTERM); threading.Event().wait(30)", -15, ""),
    "with a call at exit": (
        "import atexit; atexit.register(store.save_session, 'b', {'n': 49}); atexit.register(store.list_sessions)",
        0,
        "",
    ),
}


@pytest.mark.skipif(os.name == "nt", reason="signals are another matter there")
@pytest.mark.parametrize("program", [OPENED, WRAPPED], ids=["opened", "wrapped"])
@pytest.mark.parametrize(("last", "code", "said"), ENDINGS.values(), ids=list(ENDINGS))
def test_a_program_that_forgets_to_close_ends_with_everything_saved(
    program: str, last: str, code: int, said: str, tmp_path: Path
) -> None:
    path = tmp_path / "store"
    done = subprocess.run(
        [sys.executable, "-c", program + last, path], capture_output=True, text=True, timeout=120, check=False
    )

    assert done.returncode == code, done.stderr
    assert said in done.stderr
    assert said or not done.stderr
    with LegacySessionStoreAdapter(path) as store:
        assert (store.get_session("a") or {})["n"] == 1
        assert "save_session('b'" not in last or (store.get_session("b") or {})["n"] == 49


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_a_program_that_forgets_to_close_leaves_the_store_as_a_closed_one(tmp_path: Path) -> None:
    path = tmp_path / "store"
    subprocess.run([sys.executable, "-c", OPENED, path], timeout=60, check=True)

    assert [found.name for found in (path / ".fsstore" / "log").iterdir()] == []


FORKED = """
child = os.fork()
if child == 0:
    store.save_session("b", {})
    print(store.session_exists("a"), len(store.list_sessions()) > 1, flush=True)
    store.close()
    try:
        store.get_session("a")
    except StorageClosedError:
        sys.exit(0)
    sys.exit(1)
store.save_session("c", {})
print(os.waitpid(child, 0)[1], len(store.list_sessions()), store.session_exists("b"), flush=True)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
@pytest.mark.parametrize("program", [OPENED, WRAPPED], ids=["opened", "wrapped"])
def test_a_forked_child_goes_on_for_itself_and_closes_nothing_of_its_parent(program: str, tmp_path: Path) -> None:
    said, errors = ended("-W", "ignore", "-c", program + FORKED, tmp_path / "store", seconds=120)

    assert (said.splitlines(), errors) == (["True True", "0 3 True"], "")


IN_A_HANDLER = """
class Stuck:
    async def get_session(self, session_id):
        await asyncio.Event().wait()
    save_session = delete_session = list_sessions = session_exists = update_session = get_session

def fork(*_):
    global child
    child = os.fork()
    if child:
        raise KeyboardInterrupt

signal.signal(signal.SIGALRM, fork)
store = LegacySessionStoreAdapter(Stuck())
signal.setitimer(signal.ITIMER_REAL, 0.05)
try:
    store.get_session("a")
except KeyboardInterrupt:
    os._exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
except StorageClosedError as error:
    print(error.outcome, flush=True)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_a_call_in_which_a_signal_handler_forks_is_an_error_in_the_child(tmp_path: Path) -> None:
    said, _ = ended("-W", "ignore", "-c", WRAPPED + IN_A_HANDLER, tmp_path / "store", seconds=120)

    assert said == "unknown\n"
