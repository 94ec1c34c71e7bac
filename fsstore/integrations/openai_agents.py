"""Sessions of the OpenAI Agents SDK in a store: `FsstoreSession`.

One session is one document, `{"metadata": {…}, "messages": […]}`: the items as the SDK gives them. Every change is one
commit, so a crash leaves the history before it or after it. A caller that is cancelled waits until the change it asked
for is done, as with the SDK's own stores.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Unpack

from fsstore.errors import StorageConflictError, StorageNotFoundError
from fsstore.integrations import missing
from fsstore.integrations.open_stores import Holder, OpenStore, settled
from fsstore.integrations.plain import plain
from fsstore.options import FileOptions
from fsstore.sessions.service import SessionService

try:
    from agents.memory import SessionABC, SessionSettings
    from agents.memory.session_settings import coerce_session_settings, resolve_session_limit
except ModuleNotFoundError as error:
    raise missing(error, "openai-agents>=0.24.0") from error

if TYPE_CHECKING:
    from agents import TResponseInputItem

_MESSAGES = "messages"


class FsstoreSession(Holder, SessionABC):
    """The history of one conversation, for `Runner.run(..., session=...)`.

    `url` is a path or URL, as `fsstore.open_sessions` takes it; without it the session is in memory, and gone with the
    object. All sessions of a process share one open store for each path. `metadata` is patched into that of the
    session with the first items that this object adds: `status`, `user_id` and `tags` are shown by `fsstore ls`.
    Objects may be used from several event loops and threads.
    """

    session_settings: SessionSettings | None

    def __init__(
        self,
        session_id: str,
        url: str | os.PathLike[str] = "memory:",
        *,
        session_settings: SessionSettings | dict[str, Any] | None = None,
        metadata: Mapping[str, Any] | None = None,
        **options: Unpack[FileOptions],
    ) -> None:
        self.session_id = session_id
        self.session_settings = coerce_session_settings({} if session_settings is None else session_settings)
        self._metadata = plain(metadata or {})
        self._store = OpenStore(url, **options)

    async def get_items(self, limit: int | None = None) -> list[TResponseInputItem]:
        """Return the items, the oldest first; the newest `limit` of them where there is a limit.

        Without `limit` that of `session_settings` counts; a negative one is none. With a limit only
        these items are parsed.
        """
        limit = resolve_session_limit(limit, self.session_settings)
        sessions = self._sessions()
        if limit is None or limit < 0:
            session: Any = await sessions.get_session(self.session_id)
            if session is None:
                return []
            items = session.get(_MESSAGES, []) if type(session) is dict else None
            if type(items) is list:
                return items
            # something else stands there, and the error says what
            limit = sys.maxsize
        try:
            return (await sessions.read_tail(self.session_id, limit, _MESSAGES)).items
        except StorageNotFoundError:
            return []

    async def add_items(self, items: list[TResponseInputItem]) -> None:
        """Put items at the end, all of them or none; one commit.

        Raises StorageValidationError for what is not JSON.
        """
        sessions = self._sessions()
        if not items:
            return
        await settled(
            sessions.append_session(self.session_id, plain(items), path=_MESSAGES, metadata=self._metadata or None)
        )
        self._metadata = {}

    async def pop_item(self) -> TResponseInputItem | None:
        """Take the newest item away and return it; None where there is none."""
        try:
            return await settled(self._sessions().pop_last(self.session_id, _MESSAGES))
        except StorageNotFoundError:
            return None

    async def clear_session(self) -> None:
        """Remove the session, its metadata too."""
        await settled(self._sessions().batch_delete_sessions([self.session_id]))

    async def _atomic_replace_items(self, items: list[TResponseInputItem]) -> bool:
        """Replace all items in one commit, as compaction does; False where a subclass must do it by its own means."""
        if type(self) is not FsstoreSession:
            # its items may be stored in another form, such as encrypted
            return False
        await settled(self._replace(self._sessions(), items))
        return True

    async def _replace(self, sessions: SessionService, items: list[TResponseInputItem]) -> None:
        session = {_MESSAGES: plain(items)}
        while True:
            try:
                await sessions.update_session(self.session_id, session)
                return
            except StorageNotFoundError:
                pass
            try:
                await sessions.save_session(self.session_id, session, expected_version=0)
                return
            except StorageConflictError:
                # somebody else made the session in between
                continue

    def _sessions(self) -> SessionService:
        return SessionService(self._store.storage)
