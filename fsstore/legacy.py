"""The old synchronous interface, for callers that have no event loop, or are inside one they can not await in.

Owns one private thread with one event loop, on which the store lives. Results are bools; absence never raises.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Coroutine, Iterable, Mapping
from contextlib import ExitStack
from typing import Any, Self, TypeVar

from anyio.from_thread import start_blocking_portal

from fsstore.errors import StorageClosedError, StorageNotFoundError
from fsstore.models import Filters, JsonObject
from fsstore.opening import open_sessions
from fsstore.service import SessionService
from fsstore.sessions import SessionInput

T = TypeVar("T")


class LegacySessionStoreAdapter:
    """A session store with blocking methods, safe to call from any thread, inside and outside a running loop.

    A call blocks its thread for as long as the operation takes. `close` ends the private thread and its loop.
    """

    def __init__(self, url: str | os.PathLike[str], **options: Any) -> None:
        """Open the store; see `open_sessions` for the options and errors."""
        self._url = os.fspath(url)
        with ExitStack() as stack:
            self._portal = stack.enter_context(start_blocking_portal("asyncio"))
            self._sessions: SessionService = stack.enter_context(
                self._portal.wrap_async_context_manager(open_sessions(url, **options))
            )
            self._exit = stack.pop_all()
        self._closed = False

    def save_session(self, session_id: str, session_data: SessionInput) -> bool:
        """Insert or replace a session; always True."""
        self._call(lambda: self._sessions.save_session(session_id, session_data))
        return True

    def get_session(self, session_id: str) -> JsonObject | None:
        """Return the session, None when there is none."""
        return self._call(lambda: self._sessions.get_session(session_id))

    def session_exists(self, session_id: str) -> bool:
        """Whether there is a session with that id."""
        return self._call(lambda: self._sessions.session_exists(session_id))

    def update_session(self, session_id: str, updates: Mapping[str, Any]) -> bool:
        """Apply a merge patch; False when the session is absent."""
        return self._found(lambda: self._sessions.update_session(session_id, updates))

    def delete_session(self, session_id: str) -> bool:
        """Remove a session; False when it is absent."""
        return self._found(lambda: self._sessions.delete_session(session_id))

    def list_sessions(self, filters: Filters | None = None, limit: int | None = None) -> list[JsonObject]:
        """Return the matching sessions, the most recently updated first."""
        return self._call(lambda: self._sessions.list_sessions(filters, limit))

    def batch_save_sessions(self, sessions: Mapping[str, SessionInput]) -> bool:
        """Insert or replace sessions, all or nothing; always True."""
        self._call(lambda: self._sessions.batch_save_sessions(sessions))
        return True

    def batch_delete_sessions(self, session_ids: Iterable[str]) -> bool:
        """Remove sessions, all or nothing; always True, absent ones are passed over."""
        self._call(lambda: self._sessions.batch_delete_sessions(session_ids))
        return True

    def close(self) -> None:
        """Close the store and end the private thread. Closing twice is allowed."""
        if not self._closed:
            self._closed = True
            self._exit.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _found(self, call: Callable[[], Coroutine[Any, Any, None]]) -> bool:
        try:
            self._call(call)
        except StorageNotFoundError:
            return False
        return True

    def _call(self, call: Callable[[], Coroutine[Any, Any, T]]) -> T:
        if self._closed:
            raise StorageClosedError(path=self._url)
        result: T = self._portal.call(call)
        return result
