"""The ways in which a call of the system goes wrong: what happens, at calls of which functions, and how often."""

from __future__ import annotations

import errno
from dataclasses import dataclass

from tests.campaign.interpose import Action

FOREVER = 1 << 40
OPENS, WRITES, SYNCS = ("open",), ("write", "pwrite"), ("fsync", "fdatasync", "syncfs")
MAKES = ("open", "mkdirat", "linkat", "renameat2")
NAMES = (*MAKES, "unlinkat")


@dataclass(frozen=True, slots=True)
class Mode:
    """One way; `functions` are those it falls on, and is counted in: all when there are none."""

    name: str
    action: Action
    error: int = 0
    times: int = 1
    functions: tuple[str, ...] = ()
    reads: bool = False
    """Whether opening for reading is counted too."""

    @property
    def kills(self) -> bool:
        """Whether the process dies of it."""
        return self.action in (Action.kill_before, Action.kill_after)


NOTHING = Mode("nothing", Action.nothing)


def _fails(number: int, *functions: str, times: int = 1, reads: bool = False) -> Mode:
    often = {1: "once", FOREVER: "until it is mended"}.get(times, f"{times} times")
    where = " of syncs" if functions == SYNCS else ""
    return Mode(f"{errno.errorcode[number]}{where} {often}", Action.fail, number, times, functions, reads)


FAMILIES: dict[str, list[Mode]] = {
    "killed": [Mode("killed before", Action.kill_before), Mode("killed after", Action.kill_after)],
    "once": [
        _fails(errno.EIO),
        _fails(errno.ENOSPC, *MAKES, *WRITES, *SYNCS),
        _fails(errno.EROFS, *NAMES, *WRITES),
        _fails(errno.EACCES, *NAMES),
    ],
    "twice": [_fails(errno.EIO, times=2)],
    "for a while": [
        _fails(errno.EIO, times=FOREVER),
        _fails(errno.ENOSPC, *MAKES, *WRITES, times=FOREVER),
        _fails(errno.EROFS, *NAMES, *WRITES, "ftruncate", times=FOREVER),
        _fails(errno.EIO, *SYNCS, times=FOREVER),
    ],
    "no descriptors": [
        _fails(errno.EMFILE, *OPENS, reads=True),
        _fails(errno.EMFILE, *OPENS, times=FOREVER, reads=True),
    ],
    "short": [
        Mode("short write once", Action.short, functions=WRITES),
        Mode("short writes", Action.short, functions=WRITES, times=FOREVER),
    ],
}
