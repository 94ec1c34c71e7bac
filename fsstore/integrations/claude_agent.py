"""Transcripts of the Claude Agent SDK in a store: `FsstoreSessionStore`.

    PROJECT/SESSION            the transcript of a session, and its summary
    PROJECT/SESSION/SUBPATH    the transcript of a subagent

A slash stands between parts only (see `parts`). A transcript is one document, `{"metadata": {…}, "entries": [...]}`.
Invariants:
- Entries and the summary that is folded from them are one commit, over the version that was folded.
- An entry whose uuid is there already is not stored again; in the summary it counts as said again, as in the SDK's own
  store.
- Deleting a session leaves no transcript of its subagents.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from itertools import groupby
from typing import TYPE_CHECKING, Any, Unpack, cast

from fsstore.errors import StorageConflictError, StorageCorruptedError, StorageValidationError
from fsstore.integrations import missing
from fsstore.integrations.open_stores import Holder, OpenStore
from fsstore.integrations.parts import part
from fsstore.integrations.plain import plain
from fsstore.interfaces import IUnifiedStorage
from fsstore.model.expected import Expected
from fsstore.model.mutations import Append, Delete
from fsstore.model.records import Filters, JsonObject, Records, version_of
from fsstore.model.times import format_time
from fsstore.options import FileOptions
from fsstore.query.columns import metadata_of
from fsstore.sessions.appending import appending_session
from fsstore.sessions.mutations import SESSION

try:
    from claude_agent_sdk import SessionStore, fold_session_summary
except ModuleNotFoundError as error:
    raise missing(error, "claude-agent-sdk>=0.2.189") from error

if TYPE_CHECKING:
    from claude_agent_sdk import SessionKey, SessionListSubkeysKey, SessionStoreEntry, SessionStoreListEntry
    from claude_agent_sdk.types import SessionSummaryEntry

SUBAGENT = "claude_agent.subagent"

_ENTRIES = "entries"
_AFTER_SLASH = "0"
"""The character after the slash: where the range of what is below a name ends."""


class FsstoreSessionStore(Holder, SessionStore):
    """The second home of transcripts, for `ClaudeAgentOptions(session_store=...)`.

    `url` is a path or URL, as `fsstore.open_storage` takes it, with the same options; without it the transcripts are in
    memory, and gone with the object. All stores of a process share one open store for each path. Any event loop may
    call. Close it, or use it with `with` or `async with`.
    """

    def __init__(self, url: str | os.PathLike[str] = "memory:", **options: Unpack[FileOptions]) -> None:
        self._store = OpenStore(url, **options)
        self._written_at = 0

    async def append(self, key: SessionKey, entries: list[SessionStoreEntry]) -> None:
        """Put entries at the end of a transcript, all of them or none; one commit.

        An entry whose `uuid` is there already is left out; null is none. Raises StorageValidationError for what is no
        JSON, and StorageCorruptedError where somebody has changed the summary by hand.
        """
        storage, own = self._store.storage, {"mtime": self._now()}
        if entries and _subpath(key) is None:
            await _append_folding(storage, key, entries, own)
        elif entries:
            await storage.commit(_appending(storage, key, entries, {**own, "subpath": key["subpath"]}))

    async def load(self, key: SessionKey) -> list[SessionStoreEntry] | None:
        """Return the entries of a transcript, the oldest first; None where there is none.

        Raises StorageCorruptedError where somebody has changed them by hand.
        """
        record = await self._store.storage.load(_document(key))
        if record is None or record["type"] != _type(key):
            return None
        entries: Any = record["data"].get(_ENTRIES, []) if type(record["data"]) is dict else None
        if type(entries) is not list or not all(type(entry) is dict for entry in entries):
            raise _changed(record["id"])
        loaded: list[SessionStoreEntry] = entries
        return loaded

    async def list_sessions(self, project_key: str) -> list[SessionStoreListEntry]:
        """Return the ids of the sessions of a project, and when each was written last, in milliseconds.

        The index answers, as for summaries and subkeys; no transcript is opened.
        """
        rows = await self._sessions(project_key)
        return [{"session_id": row["metadata"]["claude_session_id"], "mtime": row["metadata"]["mtime"]} for row in rows]

    async def list_session_summaries(self, project_key: str) -> list[SessionSummaryEntry]:
        """Return the summaries of the sessions of a project, as the SDK has folded them."""
        return [_summary(row["metadata"]) for row in await self._sessions(project_key)]

    async def delete(self, key: SessionKey) -> None:
        """Remove a transcript, if it is there; with that of a session those of its subagents."""
        document, kind = _document(key), _type(key)
        changes = [Delete(document, Expected(type=kind))]
        if kind == SESSION:
            changes += await self._deleting_subagents(document)
        while changes:
            await self._store.storage.commit(changes)
            # of a session also what was written meanwhile
            changes = await self._deleting_subagents(document) if kind == SESSION else []

    async def _deleting_subagents(self, document: str) -> list[Delete]:
        return [Delete(row["id"], Expected(type=SUBAGENT)) for row in await self._below(document, SUBAGENT)]

    async def list_subkeys(self, key: SessionListSubkeysKey) -> list[str]:
        """Return the subpaths of the subagents of a session."""
        rows = await self._below(_document(cast("SessionKey", key)), SUBAGENT)
        return [row["metadata"]["subpath"] for row in rows if _has(row["metadata"], subpath=str)]

    def _now(self) -> int:
        """Return the present in milliseconds; never the same twice, so that an order by it is that of the calls."""
        now = int(self._store.storage.clock().timestamp() * 1000)
        self._written_at = max(now, self._written_at + 1)
        return self._written_at

    async def _sessions(self, project_key: str) -> Records:
        rows = await self._below(part(project_key), SESSION)
        # others may keep sessions under such ids, and what was changed by hand breaks no list
        return [row for row in rows if _has(row["metadata"], claude_session_id=str, mtime=int)]

    async def _below(self, name: str, kind: str) -> Records:
        """Return what the index has of the documents below a name."""
        wanted: Filters = {"type": kind, "id": {"$gte": f"{name}/", "$lt": name + _AFTER_SLASH}}
        return await self._store.storage.list_metadata(wanted, order_by="id")


async def _append_folding(storage: IUnifiedStorage, key: SessionKey, entries: Any, own: JsonObject) -> None:
    """Append to the transcript of a session, and fold the entries into its summary in the same commit."""
    while True:
        there = await storage.load_fields(_document(key), ["id", "version", "data.metadata"])
        before = _summary_before(there)
        prev: SessionSummaryEntry = {"session_id": key["session_id"], "mtime": 0, "data": before}
        folded = plain(fold_session_summary(prev, key, entries)["data"])
        named = {"project_key": key["project_key"], "claude_session_id": key["session_id"]}
        summary = _difference(before, folded)
        first, *more = _appending(storage, key, entries, {**own, **named, "summary": summary})
        try:
            await storage.commit([first._replace(expected=Expected(version_of(there), SESSION)), *more])
            return
        except StorageConflictError as error:
            # without a reason somebody else has appended in between
            if error.reason is not None:
                raise


def _summary_before(there: JsonObject | None) -> JsonObject:
    """Return the summary in a part of a document; one that somebody has changed by hand is damage."""
    metadata = None if there is None else metadata_of(there)
    summary = {} if metadata is None else metadata.get("summary", {}) if type(metadata) is dict else None
    if type(summary) is not dict:
        raise _changed(None if there is None else there["id"])
    return summary


def _appending(storage: IUnifiedStorage, key: SessionKey, entries: Any, metadata: JsonObject) -> list[Append]:
    """Return the appends of a batch: one, and more where entries with null for a uuid stand among others."""
    document, kind, now = _document(key), _type(key), format_time(storage.clock())
    made: list[Append] = []
    for is_null, run in groupby(plain(entries), key=_has_null_for_a_uuid):
        patched, unique_by = None if made else metadata, None if is_null else "uuid"
        change = appending_session(document, run, now, path=_ENTRIES, metadata=patched, unique_by=unique_by)
        # any key may stand in a summary
        patch = change.patch and change.patch._replace(misread=())
        make = {"type": kind, "data": {"metadata": {}}}
        made.append(change._replace(patch=patch, make=make, expected=Expected(type=kind)))
    return made


def _has_null_for_a_uuid(entry: Any) -> bool:
    return type(entry) is dict and entry.get("uuid", "") is None


def _difference(before: JsonObject, after: JsonObject) -> JsonObject:
    """Return the merge patch that makes an object of another one."""
    changed = {
        key: _difference(before[key], value) if isinstance(value, dict) and isinstance(before.get(key), dict) else value
        for key, value in after.items()
    }
    return {**dict.fromkeys(before.keys() - after.keys()), **changed}


def _summary(metadata: Mapping[str, Any]) -> SessionSummaryEntry:
    return {
        "session_id": metadata["claude_session_id"],
        "mtime": metadata["mtime"],
        "data": metadata["summary"] if _has(metadata, summary=dict) else {},
    }


def _has(metadata: Any, **kinds: type) -> bool:
    return type(metadata) is dict and all(type(metadata.get(key)) is kind for key, kind in kinds.items())


def _changed(name: str | None) -> StorageCorruptedError:
    return StorageCorruptedError(id=name, reason="it is not a transcript of Claude")


def _subpath(key: SessionKey) -> str | None:
    subpath: str | None = key.get("subpath")
    if subpath == "":
        raise StorageValidationError(
            reason="must not be empty", path="key.subpath", advice="leave it out for the transcript of the session"
        )
    return subpath


def _type(key: SessionKey) -> str:
    return SESSION if _subpath(key) is None else SUBAGENT


def _document(key: SessionKey) -> str:
    subpath = _subpath(key)
    below = [] if subpath is None else subpath.split("/")
    return "/".join(map(part, [key["project_key"], key["session_id"], *below]))
