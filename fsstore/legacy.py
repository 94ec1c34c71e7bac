"""The old synchronous interface, for callers that have no event loop, or are inside one in which they cannot await.

`ISessionStore` is that interface; `LegacySessionStoreAdapter` brings it to a session service or to a store. A call runs
on the loop on which the service lives and blocks its own thread until it is done. Invariants:

- a call never waits for the loop that its own thread runs, nor for one that has ended: both are errors;
- what the adapter has opened itself, a store or a loop, ends with it: at `close`, when nobody has the adapter any more,
  or with the program, whichever comes first; a service that was handed over is never closed;
- an acknowledged call is committed, so a program that ends without `close`, or is killed, loses nothing;
- a child of fork goes on with the same service on a loop of its own: its parent's loops did not come along.
"""

from __future__ import annotations

import asyncio
import atexit
import os
import threading
import warnings
import weakref
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping
from concurrent.futures import Future, wait
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext, suppress
from typing import Any, Self, TypeVar

from fsstore.errors import (
    Outcome,
    StorageClosedError,
    StorageError,
    StorageNotFoundError,
    StorageUnavailableError,
    StorageValidationError,
)
from fsstore.forking import tell_child
from fsstore.model.records import Filters, JsonObject, check_ids
from fsstore.opening import open_sessions
from fsstore.sessions.inputs import SessionInput
from fsstore.sessions.interfaces import ISessionService
from fsstore.sessions.service import SessionService

T = TypeVar("T")
Call = Callable[[], Awaitable[T]]

_LOOK_SECONDS = 0.2
"""How often a call that waits looks whether its loop still runs; no call takes longer for it."""
_EXIT_SECONDS = 30.0
"""How long a program that ends waits for a store to be closed; what was acknowledged is safe without."""


class ISessionStore(ABC):
    """The synchronous session store that older callers were written against."""

    @abstractmethod
    def save_session(self, session_id: str, session_data: dict[str, Any]) -> bool:
        """Insert or replace a session; whether that was done."""

    @abstractmethod
    def get_session(self, session_id: str) -> dict[str, Any] | None:
        """Return the session, None when there is none."""

    @abstractmethod
    def delete_session(self, session_id: str) -> bool:
        """Remove a session; False when there is none."""

    @abstractmethod
    def list_sessions(self) -> list[dict[str, Any]]:
        """Return all sessions."""

    @abstractmethod
    def session_exists(self, session_id: str) -> bool:
        """Whether there is a session with that id."""


class LegacySessionStoreAdapter(ISessionStore):
    """A session store with blocking methods, over a service or a store; safe to call from any thread.

    Over a service, calls run on its loop while that runs: the `loop` that is given, else the one in which a
    `SessionService` was made, as long as it runs, else the one in which the adapter is made. Where none runs, and over
    a path or URL, they run on a loop of the adapter's own, in a thread of its own. In the very loop of the service
    every call raises StorageError at once, since it would wait for itself.

    True and False say whether a session was there: absence is never an error. Any other failure raises, so that a lost
    write is never taken for an absent session. All calls raise StorageClosedError after `close`, and when the loop ends
    before they do. A forked child may go on using the adapter, and close it for itself: see `fsstore.forking`.
    """

    def __init__(
        self,
        session_service: ISessionService | str | os.PathLike[str],
        *,
        loop: asyncio.AbstractEventLoop | None = None,
        **options: Any,
    ) -> None:
        """Wrap a service, or open a store with the options of `open_sessions`, whose errors are raised here."""
        self._closed = False
        # of a thread, not of a call: a signal handler may come in between
        self._guard = threading.RLock()
        self._own: _OwnLoop | None = None
        self._url: str | None = None
        self._home: asyncio.AbstractEventLoop | None = None
        tell_child(self)
        if isinstance(session_service, str | os.PathLike):
            self._url = os.fspath(session_service)
            # a store is opened on a loop of its own, so `loop` is an option that it does not know
            wanted = options if loop is None else {"loop": loop, **options}
            self._own = self._begin(open_sessions(session_service, **wanted))
            self._service = self._own.service
        else:
            self._service = _checked(session_service, options)
            self._home = loop or _loop_it_lives_on(session_service)

    # -- the old interface --------------------------------------------------------------------------------------------

    def save_session(self, session_id: str, session_data: SessionInput) -> bool:
        """Insert or replace a session; True, or an error."""
        # the Protocol speaks of dicts; here as below a service is given what the caller gave, and judges it itself
        self._call(lambda: self._service.save_session(session_id, session_data))  # type: ignore[arg-type]
        return True

    def get_session(self, session_id: str) -> JsonObject | None:
        """Return the session, None when there is none."""
        return self._call(lambda: self._service.get_session(session_id))

    def session_exists(self, session_id: str) -> bool:
        """Whether the service knows something by that id."""
        return bool(self._call(lambda: self._service.session_exists(session_id)))

    def delete_session(self, session_id: str) -> bool:
        """Remove a session; False when it is absent."""
        return self._found(lambda: self._service.delete_session(session_id))

    def list_sessions(self, filters: Filters | None = None, limit: int | None = None) -> list[JsonObject]:
        """Return the matching sessions, in the order of the service: the most recently updated first."""
        return self._call(lambda: self._service.list_sessions(filters, limit))  # type: ignore[arg-type]

    # -- and beyond it ------------------------------------------------------------------------------------------------

    def update_session(self, session_id: str, updates: Mapping[str, Any]) -> bool:
        """Apply a merge patch; False when the session is absent."""
        return self._found(lambda: self._service.update_session(session_id, updates))  # type: ignore[arg-type]

    def batch_save_sessions(self, sessions: Mapping[str, SessionInput]) -> bool:
        """Insert or replace sessions, all or nothing; True, or an error.

        A service without batches saves one after the other: not all or nothing, and False when one of them fails with a
        StorageError; the others are saved all the same.
        """
        batch = getattr(self._service, "batch_save_sessions", None)
        if batch is None:
            return self._call(lambda: _save_each(self._service, sessions))
        self._call(lambda: batch(sessions))
        return True

    def batch_delete_sessions(self, session_ids: Iterable[str]) -> bool:
        """Remove sessions, all or nothing; True, or an error. Absent ones are passed over.

        A service without batches removes one after the other: not all or nothing, and False when one of them fails with
        another StorageError than absence; the others are removed all the same.
        """
        ids = check_ids(session_ids, "session_ids")
        batch = getattr(self._service, "batch_delete_sessions", None)
        if batch is None:
            return self._call(lambda: _delete_each(self._service, ids))
        self._call(lambda: batch(ids))
        return True

    def close(self) -> None:
        """Close the store that was opened for this adapter, and end its thread; closing twice is allowed.

        A service that was handed over stays open: close it where it was opened.
        """
        if self._own is not None and _running_loop() is self._own.loop:
            raise _would_wait_for_itself()
        with self._guard:
            self._closed = True
            own, self._own = self._own, None
        if own is not None:
            own.end()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # -- running a call -----------------------------------------------------------------------------------------------

    def _found(self, call: Call[None]) -> bool:
        try:
            self._call(call)
        except StorageError as error:
            if _is_absence(error):
                return False
            raise
        return True

    def _call(self, call: Call[T]) -> T:
        loop = self._loop()
        if _running_loop() is loop:
            raise _would_wait_for_itself()
        return _answer(loop, _submit(loop, call))

    def _loop(self) -> asyncio.AbstractEventLoop:
        """Return the loop on which the service lives, or that of the adapter where none runs."""
        with self._guard:
            if self._closed:
                raise StorageClosedError(path=self._url)
            if self._home is not None and self._home.is_running():
                return self._home
            if self._own is None:
                # what was opened from a URL is here without its loop in a child of fork
                service = self._service
                self._own = self._begin(nullcontext(service) if self._url is None else _closing(service))
            return self._own.loop

    def in_child(self) -> None:
        """Leave the loops to the parent: none of them runs here, whatever they say, and the guard may be held."""
        self._guard = threading.RLock()
        self._own = self._home = None

    def _begin(self, opening: AbstractAsyncContextManager[ISessionService, Any]) -> _OwnLoop:
        own = _OwnLoop(opening, self._url)
        # whoever forgets to close must not keep a thread; at exit the loop itself takes care, and waits
        weakref.finalize(self, _end_dropped, own, self._url).atexit = False
        return own


class _OwnLoop:
    """A thread with an event loop, between the opening of a service and its closing.

    It knows nothing of the adapter, so that one which nobody has any more is collected. A daemon, since a program would
    wait for any other thread before it lets anybody close anything.
    """

    loop: asyncio.AbstractEventLoop
    service: ISessionService

    def __init__(self, opening: AbstractAsyncContextManager[ISessionService, Any], url: str | None) -> None:
        self.process = os.getpid()
        self.is_ending = False
        self._opening = opening
        self._begun: Future[None] = Future()
        self._ended: Future[None] = Future()
        thread = threading.Thread(target=self._run, name="fsstore-legacy", daemon=True)
        try:
            thread.start()
        except RuntimeError as error:
            raise StorageUnavailableError(
                reason=f"no thread could be started: {error}", path=url, advice="try again with fewer threads"
            ) from error
        self._thread = thread
        try:
            _result(self._begun)
        except BaseException:
            # Ctrl-C, say, while the store is being opened: it is closed as soon as it is open
            if not self._begun.cancel() and self._begun.exception() is None:
                self.ask_to_end()
            raise
        atexit.register(self._end_at_exit)

    def ask_to_end(self) -> None:
        """Have the service closed and the thread ended, without waiting: a collector of garbage may come this way."""
        self.is_ending = True
        if self.process == os.getpid():
            with suppress(RuntimeError):  # it has ended
                self.loop.call_soon_threadsafe(self._ending.set)

    def end(self) -> None:
        """Close the service and end the thread; raise what the closing raises."""
        if self.process == os.getpid():
            self.ask_to_end()
            _result(self._ended)
            self._thread.join()

    def _end_at_exit(self) -> None:
        if self.process == os.getpid():
            self.ask_to_end()
            self._thread.join(_EXIT_SECONDS)

    def _run(self) -> None:
        try:
            asyncio.run(self._live())
        except BaseException as error:  # noqa: BLE001 - handed to whoever waits for it
            (self._ended if self._begun.done() else self._begun).set_exception(error)
        else:
            self._ended.set_result(None)
        finally:
            atexit.unregister(self._end_at_exit)

    async def _live(self) -> None:
        self.loop = asyncio.get_running_loop()
        self._ending = asyncio.Event()
        async with self._opening as self.service:
            if self._begun.set_running_or_notify_cancel():
                self._begun.set_result(None)
                await self._ending.wait()


def _end_dropped(own: _OwnLoop, url: str | None) -> None:
    """End a loop whose adapter nobody has any more; a store that was opened for it should have been closed."""
    was_closed = own.is_ending or own.process != os.getpid()
    own.ask_to_end()
    if url is not None and not was_closed:
        warnings.warn(f"the store {url} was not closed", ResourceWarning, stacklevel=2)


def _submit(loop: asyncio.AbstractEventLoop, call: Call[T]) -> Future[T]:
    """Have a loop make a call; the answer may be cancelled until the call has begun, and then it does not begin."""
    answer: Future[T] = Future()

    async def run() -> T:
        return await call()

    def begin() -> None:
        if answer.set_running_or_notify_cancel():
            task = loop.create_task(run())
            task.add_done_callback(finish)
            # a loop alone lets a task be collected; whoever waits for the answer keeps this one
            answer.add_done_callback(lambda _: task)

    def finish(done: asyncio.Task[T]) -> None:
        if done.cancelled():
            reason = "the call was cancelled in the event loop on which it runs, as when that ends"
            answer.set_exception(_ended(reason, outcome="unknown"))
        elif (error := done.exception()) is not None:
            answer.set_exception(error)
        else:
            answer.set_result(done.result())

    try:
        loop.call_soon_threadsafe(begin)
    except RuntimeError as error:
        raise _ended(outcome="not applied") from error
    return answer


def _answer(loop: asyncio.AbstractEventLoop, answer: Future[T]) -> T:
    """Wait for an answer, as long as there is a loop that can give it."""
    looks, process = 0, os.getpid()
    try:
        # looked at twice: between two `run_until_complete` a loop stands still for a moment
        while not wait([answer], timeout=_LOOK_SECONDS).done and looks < 2:  # noqa: PLR2004
            # in a child that a signal handler has forked right here, it only seems to run
            looks = 0 if loop.is_running() and process == os.getpid() else looks + 1
    finally:
        # after Ctrl-C, too, a call that has not begun does not begin; one that has is not interrupted
        has_not_begun = answer.cancel()
    if not answer.done() or has_not_begun:
        raise _ended(outcome="not applied" if has_not_begun else "unknown")
    return answer.result()


def _result(future: Future[T]) -> T:
    """Return a result as soon as there is one; StorageClosedError in a child that was forked in the meantime."""
    process = os.getpid()
    while not wait([future], timeout=_LOOK_SECONDS).done:
        if process != os.getpid():
            raise _ended("it was called in the process that this one was forked from", outcome="unknown")
    return future.result()


@asynccontextmanager
async def _closing(service: ISessionService) -> AsyncGenerator[ISessionService]:
    """Close a service that is open already."""
    try:
        yield service
    finally:
        if isinstance(service, SessionService):
            await service.close()


def _ended(
    reason: str = "the event loop on which it runs ended before the call did", *, outcome: Outcome
) -> StorageClosedError:
    return StorageClosedError(
        reason=reason,
        advice="let the loop run until all calls are done; read the session to see what became of a write",
        outcome=outcome,
    )


def _would_wait_for_itself() -> StorageError:
    return StorageError(
        reason="a blocking call in the event loop on which the service runs would wait for itself",
        advice="await the service itself there, or call the adapter in another thread (asyncio.to_thread)",
    )


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


def _loop_it_lives_on(service: object) -> asyncio.AbstractEventLoop | None:
    """Return the loop in which a service was made, as far as it says; else the one in which this is called."""
    made_in = getattr(service, "loop", None)
    loop = made_in if isinstance(made_in, asyncio.AbstractEventLoop) else None
    # a loop that has ended can wait for nothing: the service then lives where it is used
    return loop if loop is not None and loop.is_running() else _running_loop() or loop


def _checked(service: Any, options: Mapping[str, Any]) -> ISessionService:
    if not isinstance(service, ISessionService):
        raise StorageValidationError(
            reason=f"must be a session service, a path or a URL, not {type(service).__name__}",
            path="session_service",
            advice="wrap a storage as SessionService(storage), and await open_sessions(...) before you hand it over",
        )
    if options:
        raise StorageValidationError(
            reason=f"a service that is open takes no options, as {min(options)!r}",
            path="options",
            advice="give them where the service is opened",
        )
    return service


def _is_absence(error: StorageError) -> bool:
    """Whether it says that a session is not there: itself, or as a service of the calling system wraps it."""
    inner = error.__cause__ or error.__context__
    return isinstance(error, StorageNotFoundError) or (
        # a subclass says more than that, and what it says is no absence
        type(error) is StorageError and isinstance(inner, StorageNotFoundError)
    )


async def _save_each(service: ISessionService, sessions: Mapping[str, SessionInput]) -> bool:
    is_done = True
    for session_id, session in sessions.items():
        try:
            await service.save_session(session_id, session)  # type: ignore[arg-type]
        except StorageError:
            is_done = False
    return is_done


async def _delete_each(service: ISessionService, session_ids: Iterable[str]) -> bool:
    is_done = True
    for session_id in session_ids:
        try:
            await service.delete_session(session_id)
        except StorageError as error:
            is_done = is_done and _is_absence(error)
    return is_done
