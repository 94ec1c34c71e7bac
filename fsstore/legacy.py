"""The old synchronous interface, for callers that have no event loop, or are inside one in which they cannot await.

`ISessionStore` is that interface; `LegacySessionStoreAdapter` brings it to a store, by `fsstore.sync`, or to a session
service that somebody else has opened, which it calls on the loop on which that lives (`sync.on_loop`). Invariants:

- what the adapter has opened itself ends with it: at `close`, when nobody has the adapter any more, or with the
  program, whichever comes first; a service that was handed over is never closed;
- an acknowledged call is committed, so a program that ends without `close`, or is killed, loses nothing;
- a child of fork goes on with the same service, and closes nothing of its parent's.
"""

from __future__ import annotations

import asyncio
import os
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, Self, TypeVar

from fsstore.errors import StorageError, StorageNotFoundError, StorageValidationError
from fsstore.model.records import Filters, JsonObject, check_ids
from fsstore.sessions.inputs import SessionInput
from fsstore.sessions.interfaces import ISessionService
from fsstore.sync.calls import Calls
from fsstore.sync.on_loop import LoopCalls, running_loop
from fsstore.sync.opening import open_sessions

T = TypeVar("T")
Call = Callable[[], Awaitable[T]]


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

    Over a path or URL, calls run as those of `fsstore.sync` do. Over a service, they run on its loop while that runs:
    the `loop` that is given, else the one in which a `SessionService` was made, as long as it runs, else the one in
    which the adapter is made; where none runs, on a loop of the adapter's own, in a thread of its own. In the very loop
    of the service every call raises StorageError at once, since it would wait for itself.

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
        self._calls: Calls | LoopCalls
        self._close: Callable[[], None]
        if isinstance(session_service, str | os.PathLike):
            # a store needs no loop, so `loop` is an option that it does not know
            wanted = options if loop is None else {"loop": loop, **options}
            store = open_sessions(session_service, **wanted)
            self._service: ISessionService = store._inner  # noqa: SLF001 - another face over the same class
            self._calls, self._close = store._calls, store.close  # noqa: SLF001 - the same
        else:
            self._service = _checked(session_service, options)
            self._calls = calls = LoopCalls(loop or _loop_it_lives_on(session_service))
            self._close = calls.close

    # -- the old interface --------------------------------------------------------------------------------------------

    def save_session(self, session_id: str, session_data: SessionInput) -> bool:
        """Insert or replace a session; True, or an error."""
        # the Protocol speaks of dicts; here as below a service is given what the caller gave, and judges it itself
        self._call(lambda: self._service.save_session(session_id, session_data))  # type: ignore[arg-type]
        return True

    def get_session(self, session_id: str) -> JsonObject | None:
        """Return the session, None when there is none."""
        return self._calls.read(lambda: self._service.get_session(session_id))

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
        self._close()

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
        return self._calls.run(call)


def _loop_it_lives_on(service: object) -> asyncio.AbstractEventLoop | None:
    """Return the loop in which a service was made, as far as it says; else the one in which this is called."""
    made_in = getattr(service, "loop", None)
    loop = made_in if isinstance(made_in, asyncio.AbstractEventLoop) else None
    # a loop that has ended can wait for nothing: the service then lives where it is used
    return loop if loop is not None and loop.is_running() else running_loop() or loop


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
