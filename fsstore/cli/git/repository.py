"""A git repository, as far as its stores need it: where they lie, and how git is configured for them.

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

from fsstore.cli.git.attributes import ATTRIBUTES, DRIVER, IN_CONFLICT, with_lines, without_lines
from fsstore.cli.git.transcript import FORM
from fsstore.errors import StorageCorruptedError, StorageUnavailableError, StorageValidationError
from fsstore.filesystem.documents.codec import NotARecordError, decode_marker
from fsstore.filesystem.documents.layout import MARKER, SHARD_DEPTHS

_NAME = "sessions of fsstore, key by key"
_SHOWN = f"refs/notes/textconv/{DRIVER}"
_GONE = "fsstore cannot be started; run `fsstore git install` again"
_HEADINGS = r"^\[.*$"


@dataclass(frozen=True, slots=True)
class GitStore:
    """A store in a repository: its directory, and what its marker says."""

    root: Path
    shard_depth: int


class Repository:
    """The work tree of a repository."""

    def __init__(self, root: Path) -> None:
        self.root = root

    @classmethod
    def around(cls, directory: Path) -> Repository:
        """Return the repository that a directory is in. Raises StorageValidationError if git knows none."""
        done = run_git("-C", os.fspath(directory), "rev-parse", "--show-toplevel")
        if done.returncode != 0:
            raise StorageValidationError(
                reason=_complaint(done.stderr) or "git finds no work tree here",
                path=os.fspath(directory),
                advice="name a directory in the work tree of a git repository, or make one with `git init`",
            )
        return cls(Path(os.fsdecode(done.stdout.removesuffix(b"\n"))))

    def stores(self) -> list[GitStore]:
        """Return the stores that git tracks or would track, in order; one pass of git over the work tree.

        Raises StorageCorruptedError when a marker cannot be read.
        """
        listed = self._git("ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", f":(glob)**/{MARKER}")
        names = sorted({os.fsdecode(name) for name in listed.stdout.split(b"\0") if name})
        return [store for name in names if (store := _store_at(self.root / name)) is not None]

    # -- the configuration ------------------------------------------------------------------------------------------

    def configure(self) -> None:
        """Tell this clone how sessions are shown and merged; to do it again does no harm."""
        for key, value in _settings(_interpreter()).items():
            self._git("config", "--local", "--replace-all", key, value)
        # it may hold files as they are, from when fsstore could not be started
        self._forget_shown()

    def configuration_problem(self) -> str:
        """Return what is wrong with that in this clone; empty if nothing is."""
        wanted = _settings(_interpreter())
        found = {}
        for key in wanted:
            # 1: it is not there
            done = self._git("config", "--local", "--get", key, accepted=(0, 1))
            if done.returncode == 0:
                found[key] = os.fsdecode(done.stdout.removesuffix(b"\n"))
        if not found:
            return "fsstore is not installed"
        return "" if found == wanted else "it names another fsstore, which may be gone, or an older one"

    def forget(self) -> None:
        """Take that back, and what git has kept of it; other settings of the same sections stay."""
        for key in _settings(""):
            # 5: it was not there
            self._git("config", "--local", "--unset-all", key, accepted=(0, 5))
        self._forget_shown()

    def _forget_shown(self) -> None:
        """Remove the texts that git has kept of documents that it has shown."""
        if self._git("rev-parse", "--verify", "--quiet", _SHOWN, accepted=(0, 1)).returncode == 0:
            self._git("update-ref", "-d", _SHOWN)

    def _git(self, *arguments: str, accepted: Sequence[int] = (0,)) -> subprocess.CompletedProcess[bytes]:
        done = run_git("-C", os.fspath(self.root), *arguments)
        if done.returncode not in accepted:
            raise StorageUnavailableError(
                reason=_complaint(done.stderr) or f"git {arguments[0]} ended with {done.returncode}",
                path=os.fspath(self.root),
                advice=f"see what `git {arguments[0]}` says there, and try again",
            )
        return done


def run_git(*arguments: str) -> subprocess.CompletedProcess[bytes]:
    """Run git and return what it said. Raises StorageUnavailableError when there is no git."""
    program = shutil.which("git")
    if program is None:
        raise StorageUnavailableError(
            reason="there is no such command", path="git", advice="install git, or put it on PATH, and try again"
        )
    return subprocess.run([program, *arguments], capture_output=True, check=False)  # noqa: S603 - no shell, our words


def has_attributes(store: GitStore) -> bool:
    """Whether the store's `.gitattributes` holds our lines."""
    try:
        text = (store.root / ATTRIBUTES).read_bytes()
    except FileNotFoundError:
        return False
    return with_lines(text, store.shard_depth) == text


def set_attributes(store: GitStore, *, installed: bool) -> bool:
    """Put our lines into the store's `.gitattributes`, or take them out; return whether the file changed.

    The file is replaced as a whole; one that holds nothing else is removed. Raises StorageUnavailableError for a link.
    """
    path = store.root / ATTRIBUTES
    if path.is_symlink():
        raise StorageUnavailableError(
            reason="it is a symbolic link, which git does not follow", path=os.fspath(path), advice="make it a file"
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
        raise StorageCorruptedError(path=os.fspath(marker), reason=str(error)) from error
    depth = found.get("shard_depth")
    return GitStore(marker.parent, depth) if "format" in found and depth in SHARD_DEPTHS else None


def _settings(python: str) -> dict[str, str]:
    """Return the configuration of git; `python` is the interpreter that has fsstore.

    Where that is gone, a diff shows the files as they are, and a merge is a conflict with both versions in the file.
    """
    # -P: git runs it in the root of a work tree, whose modules must not pass for ours
    run = f"{shlex.quote(python)} -P -m fsstore.cli.git.driver"
    # in a driver, git takes a % for the beginning of a name of its own
    merges = run.replace("%", "%%")
    return {
        f"diff.{DRIVER}.textconv": (
            f'f() {{ {run} show {FORM} "$1" 2>/dev/null || '
            f"{{ echo 'fsstore: a session is shown as JSON: {_GONE}' >&2; cat \"$1\"; }}; }}; f"
        ),
        f"diff.{DRIVER}.cachetextconv": "true",
        f"diff.{DRIVER}.xfuncname": _HEADINGS,
        f"merge.{DRIVER}.name": _NAME,
        f"merge.{DRIVER}.driver": (
            f'f() {{ {merges} merge "$@"; case $? in 0) exit 0;; {IN_CONFLICT}) exit 1;; esac; '
            # without a base every line that differs is in conflict, and none is merged
            ': > "$2"; git merge-file --quiet --marker-size="$1" -L ours -L base -L theirs "$3" "$2" "$4"; '
            f"echo \"fsstore: $5: not merged:\" '{_GONE}, then git checkout --merge on that file' >&2; exit 1; }}; "
            "f %L %O %A %B %P"
        ),
    }


def _interpreter() -> str:
    """Return the path of this interpreter, as a shell of any system takes it; without it there is no environment."""
    return sys.executable.replace("\\", "/") if os.sep == "\\" else sys.executable


def _complaint(text: bytes) -> str:
    first, *_ = [*text.decode(errors="replace").splitlines(), ""]
    return first.removeprefix("fatal: ").removeprefix("error: ")
