"""Sessions into a store, batch by batch.

Whatever stops an import (a bad line, a full disk, a crash), the batches committed before stay, the one under way is not
there at all, and importing the same source again gives the same store.
"""

from __future__ import annotations

import os
from contextlib import aclosing
from dataclasses import dataclass, field

from fsstore.errors import StorageError, StorageValidationError
from fsstore.models import JsonObject
from fsstore.service import SessionService
from fsstore.transfer.lines import Progress, TransferReport, id_in, read_line
from fsstore.transfer.sources import Entry, refused
from fsstore.transfer.sources import entries as read_entries

_BATCH_SESSIONS, _BATCH_BYTES = 100, 4 * 1024 * 1024


async def import_sessions(
    service: SessionService, source: str | os.PathLike[str], *, progress: Progress | None = None
) -> TransferReport:
    """Save the sessions of a JSON lines file, of standard input (`-`), or of a folder in the old flat layout.

    A session that is there already is replaced; times in the metadata are kept. One commit a batch (100 sessions or
    4 MB). Raises StorageValidationError, with file and line, at the first line that is not a session the store can
    hold; the error tells how many sessions were imported until then, and they stay.
    """
    done, batch = TransferReport(), _Batch()
    try:
        async with aclosing(read_entries(os.fspath(source))) as entries:
            async for entry in entries:
                batch.add(entry)
                if batch.is_full:
                    done, batch = await _commit(service, batch, done, progress), _Batch()
        return await _commit(service, batch, done, progress)
    except StorageError as error:
        error.advise(f"{done.sessions} sessions were imported before that and stay, importing again is safe")
        raise


@dataclass(slots=True)
class _Batch:
    """Sessions that are saved by one commit, and where each came from."""

    sessions: dict[str, JsonObject] = field(default_factory=dict)
    places: dict[str, str] = field(default_factory=dict)
    count: int = 0
    bytes: int = 0

    @property
    def is_full(self) -> bool:
        return self.count >= _BATCH_SESSIONS or self.bytes >= _BATCH_BYTES

    def add(self, entry: Entry) -> None:
        session_id, session = _parse(entry)
        self.sessions[session_id] = session
        self.places[session_id] = entry.place
        self.count += 1
        self.bytes += entry.size


async def _commit(
    service: SessionService, batch: _Batch, done: TransferReport, progress: Progress | None
) -> TransferReport:
    try:
        await service.batch_save_sessions(batch.sessions, keep_times=True)
    except StorageValidationError as error:
        if error.id is None or error.id not in batch.places:
            raise
        at = f"{error.path}: " if error.path else ""
        raise refused(batch.places[error.id], at + (error.reason or error.message), record_id=error.id) from error
    done = TransferReport(done.sessions + batch.count, done.bytes + batch.bytes)
    if progress is not None:
        progress(done.bytes, done.sessions)
    return done


def _parse(entry: Entry) -> tuple[str, JsonObject]:
    try:
        session = read_line(entry.text)
    except ValueError as error:
        raise refused(entry.place, str(error)) from error
    named = id_in(session)
    session_id = entry.default_id if named is None else named
    if type(session_id) is not str or not session_id:
        raise refused(entry.place, "it has no id: metadata.session_id must be a string, and not empty")
    return session_id, session
