"""The clock of a file system as a test wants it: one that counts in seconds.

`count_coarsely` is the switch for everything that runs the engine, also in a process of its own. For a real file
system with such a clock see `images`.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fsstore.filesystem.disk import files, trust
from fsstore.filesystem.disk.signatures import Signature

TICK_NS = 1_000_000_000

Put = Callable[[Any, str, Any], None]


def count_coarsely(put: Put = setattr, *, tick_ns: int = TICK_NS) -> None:
    """Have the times of all files count in ticks, and the engine know it.

    So a file that is changed twice in a tick, in place or with the same inode number, has the same signature again.
    """
    real = vars(files)["signature_in"]

    def coarse(found: os.stat_result) -> Signature:
        inode, size, mtime_ns, ctime_ns = real(found)
        return Signature(inode, size, mtime_ns - mtime_ns % tick_ns, ctime_ns - ctime_ns % tick_ns)

    put(files, "signature_in", coarse)
    put(trust, "shows_every_change", lambda _tree, _name: False)


def await_tick(directory: Path) -> None:
    """Wait until a change of a file shows another time than all changes until now: 10 ms, or a second, at most."""
    probe = directory / "tick"
    probe.touch()
    before = vars(files)["signature_in"](probe.stat()).ctime_ns
    while vars(files)["signature_in"](probe.stat()).ctime_ns == before:
        probe.chmod(0o600)
    probe.unlink()
