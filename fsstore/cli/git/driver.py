"""What git runs: a document as text for a diff, and three versions of one merged. Started by `repository`'s settings.

    python -P -m fsstore.cli.git.driver show FORM FILE
    python -P -m fsstore.cli.git.driver merge MARKER_SIZE BASE OURS THEIRS PATH

git starts a process for each version that it shows, so `show` loads nothing but JSON and the outline. What cannot be
done is left to what git does without us: a file that is no document is shown as it is, and merged by lines.

Invariants:
- A merge ends with 0 or IN_CONFLICT only if its result is in OURS; with anything else the shell that has started it
  leaves both versions in the file, between markers.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from fsstore.cli.git.attributes import IN_CONFLICT

if TYPE_CHECKING:
    from pathlib import Path

_FAILED = 70
_NAMED_PATHS = 3
# git's own files are already in memory when a driver runs, so there is nothing to protect from a large one
_ANY_SIZE = sys.maxsize
# as the store writes them, so that they need not be read as times
_STAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}\+00:00\Z")
_LONG_NUMBER = re.compile(rb"[0-9]{19}")
_PLAIN_ID = re.compile(r"[ -~]{1,1024}\Z")
_LARGEST_VERSION = 2**63


def main(arguments: Sequence[str]) -> int:
    """Do what git asks for, and return the exit code; errors are reported in one line."""
    try:
        match arguments:
            case ["show", _, file]:
                # bytes: the locale has no say
                with open(file, "rb") as shown_file:  # noqa: PTH123 - pathlib takes as long to load as all the rest
                    data = shown(shown_file.read())
                sys.stdout.buffer.write(data)
                sys.stdout.buffer.flush()
                return 0
            case ["merge", marker_size, base, ours, theirs, path]:
                from pathlib import Path  # noqa: PLC0415 - only a merge needs it

                code = merge_files(Path(base), Path(ours), Path(theirs), path, marker_size=int(marker_size))
                return IN_CONFLICT if code else 0
            case _:
                sys.stderr.write("fsstore: error: this is started by git; run `fsstore git install` again\n")
                return _FAILED
    except Exception as error:  # noqa: BLE001 - the last frame: the shell that started this does without it
        sys.stderr.write(f"fsstore: error: {type(error).__name__}: {error}\n")
        return _FAILED


def shown(data: bytes) -> bytes:
    """Return a document's bytes as text for people to read in a diff; as they are if they are none. O(its size)."""
    import json  # noqa: PLC0415 - a merge does without

    from fsstore.cli.git.transcript import transcript  # noqa: PLC0415 - the same

    try:
        record = json.loads(data.decode())
        if _is_plain(record) and not _LONG_NUMBER.search(data):
            return transcript(record).encode()
    except (ValueError, RecursionError):
        # it may be a document all the same, for who reads them with more care
        pass
    return _shown_with_care(data)


def _is_plain(record: Any) -> bool:
    """Whether it is a record as the store writes them; what is not may be one all the same."""
    return (
        type(record) is dict
        and "data" in record
        and type(record.get("id")) is str
        and _PLAIN_ID.match(record["id"]) is not None
        and type(record.get("type")) is str
        and type(record.get("version")) is int
        and 0 < record["version"] < _LARGEST_VERSION
        and all(isinstance(record.get(key), str | None) for key in ("session_id", "thread_id"))
        and all(_STAMP.match(str(record.get(key))) for key in ("created_at", "updated_at"))
    )


def _shown_with_care(data: bytes) -> bytes:
    """Do the same as the store reads, which takes ten times as long to load."""
    from orjson import JSONEncodeError, dumps  # noqa: PLC0415 - for few documents only

    from fsstore.cli.git.transcript import transcript  # noqa: PLC0415 - the same
    from fsstore.filesystem.documents.codec import NotARecordError, decode  # noqa: PLC0415 - the same

    try:
        record = decode(data)
        # one from elsewhere may be read and could not be written
        dumps(record)
        return transcript(record).encode()
    except (NotARecordError, JSONEncodeError, RecursionError):
        return data


def merge_files(base: Path, ours: Path, theirs: Path, path: str, *, marker_size: int) -> int:
    """Merge three versions of a document into `ours`; return 1 when a conflict is left in it, and report it."""
    from orjson import JSONEncodeError  # noqa: PLC0415 - showing does without

    from fsstore.cli.git.marking import mark  # noqa: PLC0415 - the same
    from fsstore.cli.output import say  # noqa: PLC0415 - the same
    from fsstore.errors import StorageValidationError  # noqa: PLC0415 - the same
    from fsstore.filesystem.documents.codec import NotARecordError, decode, encode  # noqa: PLC0415 - the same
    from fsstore.merging.merge import merge  # noqa: PLC0415 - the same

    try:
        # an empty file is how git says that both sides have made the document
        ancestor = decode(data) if (data := base.read_bytes()) else None
        merged = merge(ancestor, decode(ours.read_bytes()), decode(theirs.read_bytes()))
        conflicts = merged.conflicts
        if not conflicts:
            ours.write_bytes(encode(merged.value, max_bytes=_ANY_SIZE))
            return 0
        marked = mark(merged, marker_size=marker_size)
    except (NotARecordError, StorageValidationError, JSONEncodeError, RecursionError) as error:
        reason = "it is nested too deep" if isinstance(error, RecursionError) else str(error)
        return _merge_lines((ours, base, theirs), path, reason, marker_size=marker_size)
    ours.write_bytes(marked)
    named = ", ".join(conflict.label for conflict in conflicts[:_NAMED_PATHS])
    more = f" and {len(conflicts) - _NAMED_PATHS} more" if len(conflicts) > _NAMED_PATHS else ""
    say(f"{path}: conflict at {named}{more}; choose a side in an editor, take the marker lines out, and git add it")
    return 1


def _merge_lines(files: tuple[Path, Path, Path], path: str, reason: str, *, marker_size: int) -> int:
    """Let git merge what is no document, as it would have without us."""
    from fsstore.cli.git.repository import run_git  # noqa: PLC0415 - the same
    from fsstore.cli.output import say  # noqa: PLC0415 - showing does without

    labels = ["-L", "ours", "-L", "base", "-L", "theirs"]
    done = run_git("merge-file", "--quiet", f"--marker-size={marker_size}", *labels, *map(os.fspath, files))
    if done.returncode == 0:
        return 0
    say(f"{path}: merged by lines, since {reason}; solve the conflict in an editor, and git add it")
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
