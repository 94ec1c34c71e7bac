"""Sessions out of a store, in the order of their ids."""

from __future__ import annotations

import os
from contextlib import aclosing

from fsstore.models import Filters
from fsstore.service import SessionService
from fsstore.transfer.lines import Progress, TransferReport, session_line
from fsstore.transfer.targets import opened


async def export_sessions(
    service: SessionService,
    target: str | os.PathLike[str],
    filters: Filters | None = None,
    *,
    progress: Progress | None = None,
) -> TransferReport:
    """Write the matching sessions to a file, or to standard output for `-`, in the order of their ids.

    The file is readable by its owner only, unless it was there before with other rights. Raises StorageUnavailableError
    when it can not be written; BrokenPipeError passes through.
    """
    done = TransferReport()
    async with (
        opened(os.fspath(target)) as write,
        aclosing(service.stream_sessions(filters)) as batches,
    ):
        async for batch in batches:
            text = b"".join(map(session_line, batch))
            await write(text)
            done = TransferReport(done.sessions + len(batch), done.bytes + len(text))
            if progress is not None:
                progress(done.bytes, done.sessions)
    return done
