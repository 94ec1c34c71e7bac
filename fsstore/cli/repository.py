"""A git repository, as far as its stores need it: where they lie, and what git is told about them.

Only the configuration of this one clone is written, never the user's own. git answers in codes and NUL-separated names;
its words are only passed on.
"""

from __future__ import annotations

import os
import secrets
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from fsstore.cli.attributes import ATTRIBUTES, DRIVER, with_lines, without_lines
from fsstore.errors import StorageCorruptedError, StorageUnavailableError
from fsstore.filesystem.documents.codec import NotARecordError, decode_marker
from fsstore.filesystem.documents.layout import MARKER, SHARD_DEPTHS

_NAME = "sessions of fsstore, key by key"
_HEADINGS = r"^\[.*$"


@dataclass(frozen=True, slots=True)
class GitStore:
    """A store in a repository: its directory, and what its marker tells."""

    root: Path
    shard_depth: int


class Repository:
    """The work tree of a repository."""

    def __init__(self, root: Path) -> None:
        self.root = root

    @classmethod
    def around(cls, directory: Path) -> Repository:
        """Return the repository that a directory is in. Raises StorageUnavailableError if git knows none."""
        done = run_git("-C", os.fspath(directory), "rev-parse", "--show-toplevel")
        if done.returncode != 0:
            raise StorageUnavailableError(
                _complaint(done.stderr) or "git finds no work tree here",
                path=os.fspath(directory),
                advice="name a directory in the work tree of a git repository, or make one with `git init`",
            )
        return cls(Path(os.fsdecode(done.stdout.removesuffix(b"\n"))))

    def stores(self) -> list[GitStore]:
        """Return the stores that git tracks or would track, in order; one pass of git over the work tree.

        Raises StorageCorruptedError when a marker can not be read.
        """
        listed = self._git("ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", f":(glob)**/{MARKER}")
        names = sorted({os.fsdecode(name) for name in listed.stdout.split(b"\0") if name})
        return [store for name in names if (store := _store_at(self.root / name)) is not None]

    # -- what git is told ---------------------------------------------------------------------------------------------

    def configure(self) -> None:
        """Tell this clone how sessions are shown and merged; to do it again does no harm."""
        for key, value in _settings(_command()).items():
            self._git("config", "--local", "--replace-all", key, value)

    def forget(self) -> None:
        """Take that back; other settings of the same sections stay."""
        for key in _settings([]):
            # 5: it was not there
            self._git("config", "--local", "--unset-all", key, accepted=(0, 5))

    def _git(self, *arguments: str, accepted: Sequence[int] = (0,)) -> subprocess.CompletedProcess[bytes]:
        done = run_git("-C", os.fspath(self.root), *arguments)
        if done.returncode not in accepted:
            raise StorageUnavailableError(
                _complaint(done.stderr) or f"git {arguments[0]} ended with {done.returncode}",
                path=os.fspath(self.root),
                advice=f"see what `git {arguments[0]}` says there, and try again",
            )
        return done


def run_git(*arguments: str) -> subprocess.CompletedProcess[bytes]:
    """Run git and return what it said. Raises StorageUnavailableError when there is no git."""
    program = shutil.which("git")
    if program is None:
        raise StorageUnavailableError(
            "there is no such command", path="git", advice="install git, or put it on PATH, and try again"
        )
    return subprocess.run([program, *arguments], capture_output=True, check=False)  # noqa: S603 - no shell, our words


def set_attributes(store: GitStore, *, installed: bool) -> bool:
    """Put our lines into the store's `.gitattributes`, or take them out; return whether the file changed.

    The file is replaced as a whole; one that holds nothing else is removed. Raises StorageUnavailableError for a link.
    """
    path = store.root / ATTRIBUTES
    if path.is_symlink():
        raise StorageUnavailableError(
            "it is a symbolic link, which git does not follow", path=os.fspath(path), advice="make it a file"
        )
    before = path.read_bytes() if path.exists() else b""
    after = with_lines(before, store.shard_depth) if installed else without_lines(before)
    if after == before:
        return False
    if after:
        _replace(path, after)
    else:
        path.unlink()
    return True


def _replace(path: Path, data: bytes) -> None:
    draft = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
    try:
        draft.write_bytes(data)
        if path.exists():
            shutil.copymode(path, draft)
        draft.replace(path)
    finally:
        with suppress(FileNotFoundError):
            draft.unlink()


def _store_at(marker: Path) -> GitStore | None:
    """Return the store of a marker; None for one that is gone, or means something else."""
    try:
        found = decode_marker(marker.read_bytes())
    except FileNotFoundError:
        return None
    except NotARecordError as error:
        raise StorageCorruptedError(None, path=os.fspath(marker), reason=str(error)) from error
    depth = found.get("shard_depth")
    return GitStore(marker.parent, depth) if "format" in found and depth in SHARD_DEPTHS else None


def _settings(command: list[str]) -> dict[str, str]:
    """Return what git is told; `command` is how fsstore is started.

    Where it can not be started any more, a diff shows the files as they are, and git merges them by lines.
    """
    run = shlex.join(command)
    is_there = f"command -v {shlex.join(command[:1])} >/dev/null 2>&1"
    by_lines = "git merge-file --marker-size=%L -L ours -L base -L theirs %A %O %B"
    # in a driver, git takes a % for the beginning of a name of its own
    is_there, runs = is_there.replace("%", "%%"), run.replace("%", "%%")
    return {
        f"diff.{DRIVER}.textconv": f'f() {{ {run} git show "$1" 2>/dev/null || cat "$1"; }}; f',
        f"diff.{DRIVER}.xfuncname": _HEADINGS,
        f"merge.{DRIVER}.name": _NAME,
        f"merge.{DRIVER}.driver": (
            f"if {is_there}; then {runs} git merge --marker-size=%L -- %O %A %B %P; else {by_lines}; fi"
        ),
    }


def _command() -> list[str]:
    """Return how a shell starts fsstore: by its name, which goes along with PATH, or else by this interpreter."""
    return ["fsstore"] if shutil.which("fsstore") else [sys.executable, "-m", "fsstore"]


def _complaint(text: bytes) -> str:
    first, *_ = [*text.decode(errors="replace").splitlines(), ""]
    return first.removeprefix("fatal: ").removeprefix("error: ")
