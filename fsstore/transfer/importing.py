"""Sessions into a store, batch by batch.

Whatever stops an import (a bad line, a full disk, a crash), the batches committed before stay, the one under way is not
there at all, and importing the same source again gives the same store. Where what is invalid, or cannot be put in its
place, is left out, a batch that is refused for it is tried again in halves, so that nothing but that is missing.
"""

from __future__ import annotations

import errno as numbers
import os
import re
from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing
from typing import NoReturn, TypeAlias

from fsstore.errors import (
    StorageCorruptedError,
    StorageError,
    StorageTooLargeError,
    StorageUnavailableError,
    StorageValidationError,
)
from fsstore.sessions.service import SessionService
from fsstore.transfer.candidates import Candidate, Candidates
from fsstore.transfer.lines import Progress, TransferReport
from fsstore.transfer.sources import Entry
from fsstore.transfer.sources import entries as read_entries

OnSkip: TypeAlias = Callable[[str], None]
"""Called for each session that is left out, with where it stands and why."""

_BATCH_SESSIONS, _BATCH_BYTES = 100, 4 * 1024 * 1024
_MOST_SKIPS = 100
_MOST_REFUSED_IN_A_ROW = 100
_OF_A_DOCUMENT = {
    number
    for name in ("EACCES", "EPERM", "EBUSY", "EXDEV", "EIO", "EISDIR", "ENOTDIR", "ELOOP")
    if (number := getattr(numbers, name, None)) is not None
}
_CORRECT = "correct it there"
_HOW_TO_WRITE_LINES = "write each session as one line, as `jq -c .` does (`jq -c '.[]'` where the file is a list)"
_LINE = re.compile(r", line \d+\Z")
_IS_NO_LINE = ("it is not JSON: EOF", "it is a JSON list")
_HOW_TO_REPLACE = "correct it there, or import with replace_surrogates (--replace-surrogates)"


async def import_sessions(
    service: SessionService | Callable[[], Awaitable[SessionService]],
    source: str | os.PathLike[str],
    *,
    skip_invalid: bool = False,
    skip_refused: bool = False,
    replace_surrogates: bool = False,
    progress: Progress | None = None,
    on_skip: OnSkip | None = None,
) -> TransferReport:
    """Save the sessions of a JSON lines file, of standard input (`-`), or of a folder in the old flat layout.

    A session that is there already is replaced; times in the metadata are kept. One commit a batch (100 sessions or
    4 MB). Raises StorageValidationError, with file and line, at the first line that is not a session the store can
    hold; the error says how many sessions were imported until then, and they stay. `service` may be a function that
    opens the store; it is called for each batch, and not before the first one is read.

    `skip_invalid` leaves such lines and files out, counts them in the report, and reports each to `on_skip`.
    `skip_refused` does so with sessions whose documents the system does not let be replaced, or that hold conflicts of
    git, unless that is so of all. Other errors of the system and of the store are raised. `replace_surrogates` puts
    U+FFFD for each lone surrogate; what would make two keys of an object, or two ids, the same is invalid.
    """
    work = _Import(service, progress, on_skip, skips=skip_invalid, skips_refused=skip_refused)
    try:
        await work.run(os.fspath(source), Candidates(replace_surrogates=replace_surrogates))
        work.check_refusals(1)
    except StorageError as error:
        if work.sessions:
            error.advise(f"{work.sessions} sessions were imported before that and stay, importing again is safe")
        raise
    return work.report


class _Import:
    """One import under way: what it has done so far."""

    def __init__(
        self,
        service: SessionService | Callable[[], Awaitable[SessionService]],
        progress: Progress | None,
        on_skip: OnSkip | None,
        *,
        skips: bool,
        skips_refused: bool,
    ) -> None:
        self._service = service
        self._progress = progress
        self._on_skip = on_skip
        self._may_skip = skips
        self._may_skip_refused = skips_refused
        self._skips: list[str] = []
        # in a row, without one that was saved in between
        self._refusals: list[StorageError] = []
        self._bytes_read = 0
        self.sessions = self.bytes = self.skipped = self.refused = self.replaced = 0

    @property
    def report(self) -> TransferReport:
        return TransferReport(
            self.sessions,
            self.bytes,
            skipped=self.skipped,
            refused=self.refused,
            skips=tuple(self._skips),
            replaced=self.replaced,
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
        # not within the try: what keeps the store from being opened is no fault of a session
        service = await self._service() if callable(self._service) else self._service
        try:
            await service.batch_save_sessions({found.id: found.session for found in batch}, keep_times=True)
        except (StorageCorruptedError, StorageUnavailableError) as error:
            if not self._may_skip_refused or not _is_of_a_document(error):
                raise
            if len(batch) > 1:
                await self._save_halves(batch)
            else:
                self._leave_refused(batch[0].place, error)
            return
        except StorageValidationError as error:
            if self._may_skip and len(batch) > 1:
                await self._save_halves(batch)
                return
            at = {found.id: found.place for found in batch}
            place = batch[0].place if len(batch) == 1 else at.get(error.id or "")
            if place is None:
                raise
            reason = error.reason or error.message
            self._leave_out(place, f"{error.path}: {reason}" if error.path else reason, error)
            return
        self._refusals.clear()
        self.sessions += len(batch)
        self.bytes += sum(found.size for found in batch)
        self.replaced += sum(found.replaced for found in batch)

    async def _save_halves(self, batch: Sequence[Candidate]) -> None:
        # one commit for each half that is good, whatever the error says about whose fault it is
        middle = len(batch) // 2
        await self._save(batch[:middle])
        await self._save(batch[middle:])

    def _leave_refused(self, place: str, error: StorageError) -> None:
        self._refusals.append(error)
        self.check_refusals(_MOST_REFUSED_IN_A_ROW)
        self.refused += 1
        self._tell(f"{place}: {error}")

    def check_refusals(self, most: int) -> None:
        """Raise the last error where so many sessions were refused, and nothing says that not all would be."""
        if len(self._refusals) >= (most if not self.sessions else _MOST_REFUSED_IN_A_ROW):
            raise self._refusals[-1]

    def _leave_out(self, place: str, reason: str, error: ValueError) -> None:
        """Count a session that cannot be imported. Raises StorageValidationError unless it may be left out."""
        if not self._may_skip:
            _refuse(place, reason, error)
        self.skipped += 1
        self._tell(f"{place}: {reason}")

    def _tell(self, text: str) -> None:
        if len(self._skips) < _MOST_SKIPS:
            self._skips.append(text)
        if self._on_skip is not None:
            self._on_skip(text)


def _is_of_a_document(error: StorageError) -> bool:
    """Whether an error may be one document's own, so that others can be saved all the same."""
    return isinstance(error, StorageCorruptedError | StorageTooLargeError) or error.errno in _OF_A_DOCUMENT


def _refuse(place: str, reason: str, error: ValueError) -> NoReturn:
    record_id = error.id if isinstance(error, StorageValidationError) else None
    advice = _HOW_TO_REPLACE if "surrogate" in reason else _CORRECT
    if _LINE.search(place) and reason.startswith(_IS_NO_LINE):
        advice = _HOW_TO_WRITE_LINES
    raise StorageValidationError(reason=f"{place}: {reason}", id=record_id, advice=advice) from error
