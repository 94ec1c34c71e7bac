"""Sessions into a store, batch by batch.

Whatever stops an import (a bad line, a full disk, a crash), the batches committed before stay, the one under way is not
there at all, and importing the same source again gives the same store. Where what is invalid is left out, a batch that
is refused for it is tried again in halves, so that nothing but that is missing.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import aclosing
from typing import NoReturn, TypeAlias

from fsstore.errors import StorageError, StorageValidationError
from fsstore.sessions.service import SessionService
from fsstore.transfer.candidates import Candidate, Candidates
from fsstore.transfer.lines import Progress, TransferReport
from fsstore.transfer.sources import Entry
from fsstore.transfer.sources import entries as read_entries

OnSkip: TypeAlias = Callable[[str], None]
"""Called for each session that is left out, with where it stands and why."""

_BATCH_SESSIONS, _BATCH_BYTES = 100, 4 * 1024 * 1024
_MOST_SKIPS = 100
_CORRECT = "correct it there"
_HOW_TO_REPLACE = "correct it there, or import with replace_surrogates (--replace-surrogates)"


async def import_sessions(
    service: SessionService,
    source: str | os.PathLike[str],
    *,
    skip_invalid: bool = False,
    replace_surrogates: bool = False,
    progress: Progress | None = None,
    on_skip: OnSkip | None = None,
) -> TransferReport:
    """Save the sessions of a JSON lines file, of standard input (`-`), or of a folder in the old flat layout.

    A session that is there already is replaced; times in the metadata are kept. One commit a batch (100 sessions or
    4 MB). Raises StorageValidationError, with file and line, at the first line that is not a session the store can
    hold; the error says how many sessions were imported until then, and they stay.

    `skip_invalid` leaves such lines and files out, counts them in the report, and reports each to `on_skip`. Errors of
    the system and of the store are raised all the same. `replace_surrogates` puts U+FFFD for each lone surrogate; what
    would make two keys of an object, or two ids, the same is invalid.
    """
    work = _Import(service, progress, on_skip, skips=skip_invalid)
    try:
        await work.run(os.fspath(source), Candidates(replace_surrogates=replace_surrogates))
    except StorageError as error:
        if work.sessions:
            error.advise(f"{work.sessions} sessions were imported before that and stay, importing again is safe")
        raise
    return work.report


class _Import:
    """One import under way: what it has done so far."""

    def __init__(
        self, service: SessionService, progress: Progress | None, on_skip: OnSkip | None, *, skips: bool
    ) -> None:
        self._service = service
        self._progress = progress
        self._on_skip = on_skip
        self._may_skip = skips
        self._skips: list[str] = []
        self._bytes_read = 0
        self.sessions = self.bytes = self.skipped = self.replaced = 0

    @property
    def report(self) -> TransferReport:
        return TransferReport(
            self.sessions, self.bytes, skipped=self.skipped, skips=tuple(self._skips), replaced=self.replaced
        )

    async def run(self, source: str, candidates: Candidates) -> None:
        batch, size = list[Candidate](), 0
        async with aclosing(read_entries(source)) as entries:
            async for entry in entries:
                self._bytes_read += entry.size
                if (found := self._candidate(entry, candidates)) is not None:
                    batch.append(found)
                    size += found.size
                if len(batch) >= _BATCH_SESSIONS or size >= _BATCH_BYTES:
                    await self._commit(batch)
                    batch, size = [], 0
        await self._commit(batch)

    def _candidate(self, entry: Entry, candidates: Candidates) -> Candidate | None:
        """Return the session of an entry; None when it is none, and left out."""
        try:
            return candidates.read(entry)
        except ValueError as error:
            self._leave_out(entry.place, f"it {error}", error)
            return None

    async def _commit(self, batch: Sequence[Candidate]) -> None:
        await self._save(batch)
        if self._progress is not None:
            self._progress(self._bytes_read, self.sessions)

    async def _save(self, batch: Sequence[Candidate]) -> None:
        try:
            await self._service.batch_save_sessions({found.id: found.session for found in batch}, keep_times=True)
        except StorageValidationError as error:
            if self._may_skip and len(batch) > 1:
                # one commit for each half that is good, whatever the error says about whose fault it is
                middle = len(batch) // 2
                await self._save(batch[:middle])
                await self._save(batch[middle:])
                return
            at = {found.id: found.place for found in batch}
            place = batch[0].place if len(batch) == 1 else at.get(error.id or "")
            if place is None:
                raise
            reason = error.reason or error.message
            self._leave_out(place, f"{error.path}: {reason}" if error.path else reason, error)
            return
        self.sessions += len(batch)
        self.bytes += sum(found.size for found in batch)
        self.replaced += sum(found.replaced for found in batch)

    def _leave_out(self, place: str, reason: str, error: ValueError) -> None:
        """Count a session that cannot be imported. Raises StorageValidationError unless it may be left out."""
        if not self._may_skip:
            _refuse(place, reason, error)
        self.skipped += 1
        text = f"{place}: {reason}"
        if len(self._skips) < _MOST_SKIPS:
            self._skips.append(text)
        if self._on_skip is not None:
            self._on_skip(text)


def _refuse(place: str, reason: str, error: ValueError) -> NoReturn:
    record_id = error.id if isinstance(error, StorageValidationError) else None
    advice = _HOW_TO_REPLACE if "surrogate" in reason else _CORRECT
    raise StorageValidationError(reason=f"{place}: {reason}", id=record_id, advice=advice) from error
