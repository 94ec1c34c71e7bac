"""Emptying the system's file caches."""

from __future__ import annotations

import os
from pathlib import Path

from tests.benchmarks.peers.store import UnsupportedError

_CONTROL = Path("/proc/sys/vm/drop_caches")


def drop_caches(*, allowed: bool) -> None:
    """Write out what is dirty and forget what is clean. Raises UnsupportedError where we may not."""
    if not allowed:
        raise UnsupportedError("caches are not dropped in this run")
    os.sync()
    try:
        _CONTROL.write_text("3")
    except OSError as error:
        raise UnsupportedError(f"the caches cannot be dropped here: {error}") from error
