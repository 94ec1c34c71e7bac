"""Secrets in a store: finding them in every document, and replacing them.

Documents of every type are looked at, and all of each, and files in quarantine; memory is bounded by a batch. A
document that cannot be read is left out here, as in every list, and `health_check` names it. Invariants:

- Nothing that is given out holds a secret: it says where, by which rule, and how long.
- A replacement is an ordinary commit on what was read: a document that changed in between is read again, and looked at
  again. What a session is stays as it is: its `updated_at` becomes that of the replacement.
- One document that cannot be changed does not keep the others from it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import aclosing
from dataclasses import dataclass
from typing import TypeAlias

from pydantic_core import from_json

from fsstore.errors import StorageConflictError, StorageCorruptedError, StorageValidationError
from fsstore.model.expected import Expected
from fsstore.model.mutations import Save
from fsstore.model.records import JsonObject
from fsstore.model.times import format_time
from fsstore.redaction.redact import Match, find, hide
from fsstore.redaction.rules import Redaction
from fsstore.sessions.mutations import editing_session
from fsstore.sessions.service import SessionService

Progress: TypeAlias = Callable[[int], None]
"""Called after each batch with the documents done so far."""

SECRETS = Redaction(secrets=True)

_BATCH_DOCUMENTS = 50
_TRIES = 10


@dataclass(frozen=True, slots=True)
class Exposure:
    """One thing in a document that looks like a secret, without the secret."""

    id: str
    path: str
    """The JSON path from the document on, as in `$.data.settings.api_key`; keys that look like secrets are masked."""
    rule: str
    hint: str
    stays: bool
    """It cannot be replaced: it is a key, the id or a time, or stands in a file in quarantine, whose name is `id`."""

    def as_json(self) -> JsonObject:
        """Return it as a JSON object."""
        return {"id": self.id, "path": self.path, "rule": self.rule, "hint": self.hint, "replaceable": not self.stays}


@dataclass(frozen=True, slots=True)
class Scrubbed:
    """What became of one document: how many values were replaced, or why none was."""

    id: str
    replaced: int = 0
    error: StorageConflictError | StorageCorruptedError | StorageValidationError | None = None


async def find_secrets(
    service: SessionService, rules: Redaction = SECRETS, *, progress: Progress | None = None
) -> AsyncGenerator[list[Exposure]]:
    """Give what the rules find in all documents, a batch at a time, in the order of their ids; O(bytes in the store).

    Empty batches are given too. Raises StorageUnavailableError and the like, but not for an unreadable document.
    """
    done = 0
    async with aclosing(service.storage.stream_list(batch_size=_BATCH_DOCUMENTS)) as batches:
        async for batch in batches:
            # looking takes its time, and other tasks must not wait for it
            yield await asyncio.to_thread(_exposed, rules, batch)
            done += len(batch)
            if progress is not None:
                progress(done)
    async with aclosing(service.storage.set_aside()) as files:
        async for name, data in files:
            yield await asyncio.to_thread(_exposed_aside, rules, name, data)


async def redact_secrets(
    service: SessionService, ids: Iterable[str], rules: Redaction = SECRETS, *, progress: Progress | None = None
) -> AsyncGenerator[Scrubbed]:
    """Replace what the rules find in these documents by `[redacted]`, one commit each; give what became of each.

    A document that is gone, or holds nothing of it any more, counts as none replaced. One that cannot be saved, can
    not be read, or changes faster than it can be replaced, is given with its error and stays as it is.
    """
    for done, record_id in enumerate(ids, 1):
        try:
            yield Scrubbed(record_id, await _redact(service, record_id, rules))
        except (StorageConflictError, StorageCorruptedError, StorageValidationError) as error:
            yield Scrubbed(record_id, error=error)
        if progress is not None:
            progress(done)


def _exposed(rules: Redaction, records: list[JsonObject]) -> list[Exposure]:
    return [_exposure(record["id"], match) for record in records for match in find(rules, record)]


def _exposed_aside(rules: Redaction, name: str, data: bytes) -> list[Exposure]:
    """Return what is found in a file that was set aside, which nothing replaces."""
    try:
        found = from_json(data)
    except ValueError:
        found = None
    # what is torn, or no document, is looked at as text
    record = found if isinstance(found, dict) else {"text": data.decode(errors="replace")}
    return [Exposure(name, match.path, match.rule, match.hint, stays=True) for match in find(rules, record)]


def _exposure(record_id: str, match: Match) -> Exposure:
    return Exposure(record_id, match.path, match.rule, match.hint, match.stays)


async def _redact(service: SessionService, record_id: str, rules: Redaction) -> int:
    tries_left = _TRIES
    while True:
        seen = await service.storage.load(record_id)
        if seen is None:
            return 0
        hidden, count = hide(seen, await asyncio.to_thread(find, rules, seen))
        if not count:
            return 0
        try:
            await service.storage.commit([_replacing(seen, hidden, format_time(service.storage.clock()))])
            return count
        except StorageConflictError:
            tries_left -= 1
            if not tries_left:
                raise


def _replacing(seen: JsonObject, hidden: JsonObject, now: str) -> Save:
    """Put the record without its secrets in the place of what was seen, if that is still what is there."""
    if seen["type"] != "session":
        return Save(seen["id"], hidden, Expected(seen=seen))
    mutation, _ = editing_session(seen["id"], hidden["data"], now, seen=seen)
    # what the caller put beside the data may have held secrets too
    beside = {key: value for key, value in hidden.items() if value is not seen[key] and key != "data"}
    return mutation._replace(record=mutation.record | beside)
