"""Sessions out of a store, in the order of their ids, without what must not be seen outside."""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from contextlib import aclosing

from fsstore.model.records import Filters, JsonObject
from fsstore.redaction.redact import find, hide
from fsstore.redaction.rules import Redaction
from fsstore.sessions.service import SessionService
from fsstore.transfer.lines import Progress, TransferReport, session_line
from fsstore.transfer.targets import opened


async def export_sessions(
    service: SessionService,
    target: str | os.PathLike[str],
    filters: Filters | None = None,
    *,
    redact: Redaction | None = None,
    progress: Progress | None = None,
) -> TransferReport:
    """Write the matching sessions to a file, or to standard output for `-`, in the order of their ids.

    The file is readable by its owner only, unless it was there before with other rights. What `redact` finds, made by
    `Redaction.of`, is replaced by `[redacted]`, and the report says how often, and which rule found nothing.
    Raises StorageUnavailableError when it cannot be written; BrokenPipeError passes through.
    """
    sessions = size = 0
    redactor = _Redactor(redact or Redaction())
    async with (
        opened(os.fspath(target)) as write,
        aclosing(service.stream_sessions(filters)) as batches,
    ):
        async for batch in batches:
            text = await redactor.lines(batch)
            await write(text)
            sessions, size = sessions + len(batch), size + len(text)
            if progress is not None:
                progress(size, sessions)
    return TransferReport(
        sessions, size, redacted=redactor.redacted, unredacted=redactor.unredacted, unmatched=redactor.unmatched
    )


class _Redactor:
    """Where sessions become lines, and what was done to them is counted."""

    def __init__(self, rules: Redaction) -> None:
        self._rules = rules
        self._found: Counter[str] = Counter()
        self.redacted = self.unredacted = 0

    @property
    def unmatched(self) -> tuple[str, ...]:
        return tuple(name for name in self._rules.named if not self._found[name])

    async def lines(self, batch: list[JsonObject]) -> bytes:
        if self._rules == Redaction():
            return b"".join(map(session_line, batch))
        # looking for patterns takes its time, and other tasks must not wait for it
        return await asyncio.to_thread(lambda: b"".join(session_line(self._hidden(session)) for session in batch))

    def _hidden(self, session: JsonObject) -> JsonObject:
        matches = find(self._rules, {"data": session})
        record, hidden = hide({"data": session}, matches)
        self._found.update(match.rule for match in matches)
        self.redacted += hidden
        self.unredacted += sum(match.stays for match in matches)
        without: JsonObject = record["data"]
        return without
