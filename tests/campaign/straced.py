"""The same by strace, as a cross-check of the library: kills at calls of the system, and compares what both have seen.

Run with the library of `interpose` loaded: `python -m tests.campaign.straced WORK DIRECTORY`; it writes the lines that
`calls` does. strace counts the calls of each thread by itself, and of one function at a time, so it reaches less.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import os
import re
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from tests.campaign.calls import Trial
from tests.campaign.interpose import Action, recorded
from tests.campaign.lives import Diary, Life
from tests.campaign.modes import Mode
from tests.campaign.works import WORKS

KILLED_AT = ("pwrite64", "write", "rename,renameat,renameat2", "fsync,fdatasync", "unlink,unlinkat", "mkdir,mkdirat")
_MOST_KILLS = 12
CLOSED = Mode("closed", Action.kill_after)
"""Nothing happens, since no step is given; the store is closed as long as the library watches, and strace does."""
# all that changes contents or names; the rest of the list must not happen, since the library does not know it
_KINDS = {
    "write": "write", "pwrite64": "write", "ftruncate": "resize", "fsync": "sync", "fdatasync": "sync",
    "syncfs": "syncfs", "rename": "rename", "renameat": "rename", "renameat2": "rename", "link": "link",
    "linkat": "link", "unlink": "unlink", "unlinkat": "unlink", "rmdir": "unlink", "mkdir": "mkdir", "mkdirat": "mkdir",
    "open": "open", "openat": "open", "creat": "open",
}  # fmt: skip
_UNKNOWN = (
    "openat2,truncate,fallocate,writev,pwritev,pwritev2,copy_file_range,sendfile,splice,symlink,symlinkat,mknod,mknodat"
    ",sync_file_range,msync"
)
_CALL = re.compile(r"^(?:\d+ +)?(?:<\.\.\. )?(\w+)(?:\(| resumed>)(.*)= (-?\d+)")
_SAME = {"create": "open", "truncate": "open", "rmdir": "unlink", "exchange": "rename"}


def kills(trial: Trial, name: str) -> Iterator[dict[str, Any]]:
    """Kill the work at each call of each kind that any of its threads makes."""
    for functions in KILLED_AT:
        for when in itertools.count(1):
            store = trial.copy("store")
            trial.diary.clear()
            inject = ["-e", f"trace={functions}", "-e", f"inject={functions}:signal=SIGKILL:when={when}"]
            ended = _straced(trial, name, store, inject, Path(os.devnull))
            if ended == 0 or when > _MOST_KILLS:
                break
            wrong = [] if ended in (-signal.SIGKILL, 128 + signal.SIGKILL) else [f"it ended with {ended}"]
            yield {"mode": "strace", "step": when, "call": functions, "wrong": wrong + trial.examine(store)}


def compared(trial: Trial, name: str) -> dict[str, Any]:
    """Do the work once, seen by both, and say which calls one has seen and the other has not."""
    store, seen = trial.copy("store"), trial.directory / "strace"
    trial.diary.clear()
    ended = _straced(trial, name, store, ["-y", "-e", f"trace={','.join(_KINDS)},{_UNKNOWN}"], seen)
    library = Counter(_SAME.get(call.name, call.name) for call in recorded(trial.trace))
    traced = Counter(_traced(seen.read_text(), str(store)))
    wrong = [] if ended == 0 else [f"it ended with {ended}"]
    if library != traced:
        wrong.append(f"the library has seen {dict(library)}, strace {dict(traced)}")
    return {"mode": "compared", "step": 0, "call": f"{library.total()} calls", "wrong": wrong}


def _traced(text: str, store: str) -> Iterator[str]:
    """Give the kinds of the calls that have changed something below a store, from where the library watched it."""
    begun: dict[str, str] = {}
    for line in text.splitlines():
        thread = line.split(" ", 1)[0]
        if "<unfinished" in line:
            begun[thread] = line
            continue
        if "resumed>" in line:
            line = begun.pop(thread).split(" <unfinished")[0] + line.split("resumed>", 1)[1]  # noqa: PLW2901 - one call
        found = _CALL.match(line)
        if found is None or found[3] == "-1" or store not in _place(found[2]):
            continue
        if found[1] in ("open", "openat") and not re.search(r"O_CREAT|O_TRUNC", line):
            continue
        yield _KINDS.get(found[1], found[1])


def _place(arguments: str) -> str:
    """Return the part of the arguments that tells which file it is: data may hold paths too."""
    return arguments.split(">", 1)[0] if arguments[:1].isdigit() and "AT_" not in arguments else arguments


def _straced(trial: Trial, name: str, store: Path, options: list[str], output: Path) -> int:
    command = ["strace", "-f", "-o", str(output), *options, sys.executable, "-m", "tests.campaign.straced", name]
    done = subprocess.run([*command, str(trial.directory), "--live", str(store)], check=False, timeout=120)
    return done.returncode


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("work", choices=WORKS)
    parser.add_argument("directory", type=Path)
    parser.add_argument("--live", type=Path)
    arguments = parser.parse_args()
    directory: Path = arguments.directory
    if arguments.live is not None:
        # strace sees all from the beginning, so the library must
        work = replace(WORKS[arguments.work], watched="opening")
        life = Life(work, CLOSED, arguments.live, Diary(directory / "diary"), fsync=True)
        asyncio.run(life.live(0, directory / "trace"))
        return
    trial = Trial(WORKS[arguments.work], directory, fsync=True)
    trial.learn()
    for result in (compared(trial, arguments.work), *kills(trial, arguments.work)):
        sys.stdout.write(json.dumps(result) + "\n")


if __name__ == "__main__":
    main()
