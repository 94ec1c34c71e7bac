"""The store that Pydantic AI knows: `FsstoreConversationStore`.

Owns who reads which documents, and what is one commit. Invariants:
- A record, its new entries, and the note in the conversation that a fork begins in become true in one commit, which is
  refused unless the revision is the expected one: no save is lost, and no fork is without its history.
- A conversation that is deleted takes along what no other needs, in the same commit.

A crash leaves the conversation as it was before a save, or after it.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence
from typing import Any, Unpack

from pydantic_ai.conversation_store import (
    ConversationConflict,
    ConversationEntry,
    ConversationRecord,
    ConversationStore,
)

from fsstore.errors import StorageConflictError, StorageCorruptedError, StorageNotFoundError
from fsstore.integrations.open_stores import Holder, OpenStore
from fsstore.integrations.parts import part
from fsstore.integrations.pydantic_ai.conversions import (
    entries_of,
    given,
    items_of,
    metadata_of,
    record_of,
    replacing,
)
from fsstore.integrations.pydantic_ai.sharing import (
    KEPT,
    SHARES,
    check_items,
    deleting,
    is_ours,
    items_in,
    metadata_in,
    neighbours,
    shared_with,
    tips_of,
)
from fsstore.interfaces import IUnifiedStorage
from fsstore.model.expected import Expected
from fsstore.model.mutations import AnyMutation, Check, Delete, Patch
from fsstore.model.records import Filters, JsonObject
from fsstore.model.times import format_time
from fsstore.options import FileOptions
from fsstore.sessions.appending import appending_session
from fsstore.sessions.mutations import SESSION, saving_session

_unreadable = logging.getLogger("fsstore.unreadable")

_NEWEST = "-data.metadata.saved_at"
_HEAD = ("type", "version", "data.metadata")
_TRIES = 100
"""How often others may change what a save or a delete has seen before it gives up."""
_MOST_TIPS = 10_000
"""How many ends of histories an object remembers the conversations of."""


class EntryNotFoundError(StorageNotFoundError, LookupError):
    """There is no entry with that id: a LookupError, as Pydantic AI expects it."""

    _noun = "entry"
    _usual_advice = "load the conversation again"


class FsstoreConversationStore(Holder, ConversationStore):
    """Conversations of Pydantic AI, each a session that people can read; a fork shares what it began with.

    `url` is a path or URL, as `fsstore.open_storage` takes it, with the same options; without it the conversations are
    in memory, and gone with the object. All stores of a process share one open store for each path. Objects may be used
    from several event loops and threads. Close it, or use it with `with` or `async with`.

    `delete` removes the messages that no other conversation needs.
    """

    def __init__(self, url: str | os.PathLike[str] = "memory:", **options: Unpack[FileOptions]) -> None:
        self._store = OpenStore(url, **options)
        self._tips: dict[str, str] = {}
        self._seen: tuple[str, JsonObject | None] = ("", None)

    # -- records ------------------------------------------------------------------------------------------------------

    async def read_record(self, conversation_id: str) -> ConversationRecord | None:
        """Return the record of a conversation, None when there is none; the messages are not parsed."""
        name = part(conversation_id)
        head = await self._head(name)
        # mostly it is read in order to be written, which need not look again: the commit does
        self._seen = (name, head)
        return None if head is None or not is_ours(head) else self._noted(name, metadata_in(head))

    async def read_records(self, *, scope: str | None = None, limit: int | None = None) -> Sequence[ConversationRecord]:
        """Return the records, or those of a scope, the last saved first; an index answers that without a document.

        What cannot be read is left out, with a warning.
        """
        wanted: Filters = {"type": SESSION, "data.metadata.revision": {"$exists": True}}
        if scope is not None:
            wanted = {**wanted, "data.metadata.user_id": scope}
        records: list[ConversationRecord] = []
        at = 0
        while True:
            left = None if limit is None else limit - len(records)
            found = await self._storage.list_metadata(wanted, left, order_by=_NEWEST, offset=at)
            for summary in found:
                try:
                    records.append(self._noted(summary["id"], summary["metadata"]))
                except StorageCorruptedError as error:
                    _unreadable.warning("the conversation %s is left out of a list: %s", summary["id"], error)
            at += len(found)
            if limit is None or not found or len(records) == limit:
                return records

    async def write_record(
        self,
        record: ConversationRecord,
        *,
        new_entries: Sequence[ConversationEntry] = (),
        expected_revision: str | None,
    ) -> None:
        """Store a record and its new entries; one commit, an append.

        Raises ConversationConflict, and StorageValidationError for what is not JSON.
        """
        name, metadata, items = part(record.conversation_id), metadata_of(record), items_of(new_entries)

        async def changes(head: JsonObject | None) -> list[AnyMutation]:
            sources = await self._sources(name, head, metadata, items)
            before = metadata_in(head) if head else {}
            shares = sorted({*before.get(SHARES, ()), *(source["id"] for source in sources)})
            own = self._changed(name, head, {**metadata, SHARES: shares or None}, items)
            return [*(shared_with(source, name) for source in sources), own]

        await self._commit(record.conversation_id, expected_revision, changes)
        self._noted(name, metadata)

    async def delete_record(self, conversation_id: str, *, expected_revision: str) -> None:
        """Remove a conversation, and the entries that no other needs; one commit.

        It reads the conversation's forks, and what it was forked from. Raises ConversationConflict.
        """
        name = part(conversation_id)

        async def changes(head: JsonObject | None) -> list[AnyMutation]:
            if head is None:
                raise ConversationConflict(conversation_id)
            seen = Expected(head["version"])
            family = await self._family(name) if neighbours(head) else {}
            return [Check(name, seen), *deleting(family, name)] if family else [Delete(name, seen)]

        await self._commit(conversation_id, expected_revision, changes)

    async def _commit(self, conversation_id: str, revision: str | None, changes: Callable[..., Any]) -> None:
        """Commit what follows from the conversation as it is, while it has that revision, whoever else changes it."""
        name = part(conversation_id)
        (seen, head), self._seen = self._seen, ("", None)
        if seen != name or _revision_of(head) != revision:
            head = await self._head(name)
        for attempt in range(1, _TRIES + 1):
            if _revision_of(head) != revision:
                raise ConversationConflict(conversation_id)
            try:
                await self._storage.commit(await changes(head))
                return
            except (StorageConflictError, StorageNotFoundError):
                # somebody has saved it, which the next look finds, or has begun a fork in it
                if attempt == _TRIES:
                    raise
            head = await self._head(name)

    def _changed(
        self, name: str, head: JsonObject | None, metadata: JsonObject, items: list[JsonObject]
    ) -> AnyMutation:
        now = format_time(self._storage.clock())
        if head is None:
            session = {"metadata": given(metadata.items()), "messages": items}
            return saving_session(name, session, now, expected_version=0)
        before = {key: metadata_in(head)[key] for key in metadata.keys() & metadata_in(head).keys()}
        patch = Patch(name, {"data": {"metadata": replacing(before, metadata)}})
        append = appending_session(name, items, now, create=False, expected_version=head["version"])
        return append._replace(patch=patch)

    async def _sources(
        self, name: str, head: JsonObject | None, metadata: JsonObject, items: list[JsonObject]
    ) -> list[JsonObject]:
        """Return the other documents in which the history begins, where it begins in others than it did."""
        new = {item["id"] for item in items}
        wanted = {metadata["head_id"], *(item["parent_id"] for item in items)} - new - {None}
        wanted -= set(tips_of(metadata_in(head)) if head else ())
        if not wanted:
            return []
        origin = metadata["forked_from"]
        known = {} if head is None and origin is None else await self._family(name if head else part(origin))
        for entry in wanted - {item["id"] for record in known.values() for item in items_in(record)}:
            found = await self._found(entry)
            known |= {} if found is None else await self._family(found)
        owners = {item["id"]: record for record in known.values() for item in items_in(record)}
        if wanted - owners.keys():
            raise ConversationConflict(metadata["conversation_id"])
        sources = {owners[entry]["id"]: owners[entry] for entry in wanted}
        return [sources[source] for source in sorted(sources.keys() - {name})]

    async def _family(self, name: str) -> dict[str, JsonObject]:
        """Return a document with all that can be reached from it: forks, and what they were forked from."""
        family: dict[str, JsonObject] = {}
        waiting, seen = [name], {name}
        while waiting:
            record = await self._storage.load(waiting.pop())
            if record is None or not is_ours(record):
                continue
            family[record["id"]] = record
            more = set(neighbours(record)) - seen
            seen |= more
            waiting += more
        return family

    async def _head(self, name: str) -> JsonObject | None:
        return await self._storage.load_fields(name, _HEAD)

    def _noted(self, name: str, metadata: JsonObject) -> ConversationRecord:
        """Return the record, and remember whose its ends are, by which a history is asked for."""
        record = record_of(name, metadata)
        if len(self._tips) > _MOST_TIPS:
            self._tips.clear()
        self._tips.update(dict.fromkeys(tips_of(metadata), name))
        return record

    # -- entries ------------------------------------------------------------------------------------------------------

    async def read_entry(self, entry_id: str) -> ConversationEntry:
        """Return an entry; one that is not the end of a history that this object has seen is looked for in documents.

        Raises a LookupError where there is none.
        """
        (entry,) = await self.read_history(entry_id, limit=1)
        return entry

    async def read_history(self, head_id: str | None, *, limit: int | None = None) -> list[ConversationEntry]:
        """Return the entries up to one, the oldest first, or the last `limit` of them: then only these are parsed.

        Raises a LookupError where there is no such entry, or where one before it is lost.
        """
        if head_id is None or (limit is not None and limit <= 0):
            return []
        noted = self._tips.get(head_id)
        if noted is not None and (line := await self._line(noted, head_id, limit)) is not None:
            return entries_of(noted, line)
        # what is noted may be deleted, and what it left is elsewhere
        found = await self._found(head_id)
        line = None if found is None else await self._line(found, head_id, limit)
        if found is None or line is None:
            raise EntryNotFoundError(id=head_id)
        return entries_of(found, line)

    async def _line(self, name: str, head_id: str, limit: int | None) -> list[JsonObject] | None:
        """Return the entries up to one, found in a document and those that it shares; None where one is missing."""
        if limit is not None:
            tail = await self._storage.load_tail(name, ("data", "messages"), limit)
            last = tail.tail.items if tail else []
            check_items(name, last)
            line, entry = _followed({item["id"]: item for item in last}, head_id, limit)
            if entry is None or len(line) == limit:
                return line[::-1]
        items: dict[str, JsonObject] = {}
        line, entry, waiting, seen = [], head_id, [name], {name}
        while waiting:
            record = await self._storage.load(waiting.pop(0))
            if record is None or not is_ours(record):
                continue
            items |= {item["id"]: item for item in items_in(record)}
            more, entry = _followed(items, entry, None if limit is None else limit - len(line))
            line += more
            if entry is None or len(line) == limit:
                return line[::-1]
            waiting += [source for source in metadata_in(record).get(SHARES, ()) if source not in seen]
            seen.update(waiting)
        return None

    async def _found(self, entry_id: str) -> str | None:
        """Return a document that has an entry: by the index where a history ends with it, else by reading them."""
        ends: list[Filters] = [{"data.metadata.head_id": entry_id}, {"data.metadata.branches": entry_id}]
        for wanted in (*ends, {"data.messages.id": entry_id}):
            found = await self._storage.list_metadata({"type": {"$in": [SESSION, KEPT]}, **wanted}, 1)
            if found:
                return str(found[0]["id"])
        return None

    @property
    def _storage(self) -> IUnifiedStorage:
        return self._store.storage


def _revision_of(head: JsonObject | None) -> str | None:
    """Return the revision of a conversation, None for none; an empty text where something else is in its place."""
    if head is None:
        return None
    return str(metadata_in(head)["revision"]) if is_ours(head) else ""


def _followed(items: dict[str, JsonObject], entry_id: Any, limit: int | None) -> tuple[list[JsonObject], str | None]:
    """Return the entries from one backwards, as far as they are there, and which one is wanted next.

    They are taken out: a line that somebody has bent into a circle ends.
    """
    line: list[JsonObject] = []
    while entry_id in items and len(line) != limit:
        line.append(items.pop(entry_id))
        entry_id = line[-1]["parent_id"]
    return line, entry_id
