"""What may be written where a directory or a file is named: a path, and what is none.

Knows the home of a user, and that a URL is no path. Invariants:
- Text that begins like a URL (`s3://…`, `postgresql+asyncpg://…`) is never taken for a path. Who wants such a directory
  writes `./s3://…`, or gives a `pathlib.Path`.
- No message holds more of a URL than its scheme: the rest may hold a password.
- `~` and `~user` are homes, in text and in path objects; `./~` is a path.
"""

from __future__ import annotations

import os
import re

from fsstore.errors import StorageUnavailableError, StorageValidationError

_SEPARATOR = re.compile(r"[/\\]")
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*\Z")
# without slashes a colon may belong to a name, as in `run-12:30`; such heads are schemes all the same
_BARE_SCHEME = re.compile(r"(?:[^\W\d_]{2,}|[A-Za-z][A-Za-z0-9.-]*(?:\+[A-Za-z][A-Za-z0-9.-]*)+)\Z")


def split_url(text: str) -> tuple[str, str] | None:
    """Return the scheme of a URL, in lower case, and what stands after its colon; None where the text is a path.

    The scheme is empty where something else than one stands before `://`. A single letter and a colon are a drive.
    """
    head, colon, rest = text.partition(":")
    if colon and _BARE_SCHEME.match(head):
        return head.lower(), rest
    scheme = foreign_scheme(text)
    return None if scheme is None else (scheme, "//" + text.partition("://")[2])


def foreign_scheme(text: str) -> str | None:
    """Return the scheme of what has `://` in its first part, empty where it is none; None for a path."""
    head, slashes, _ = text.partition("://")
    if not slashes or _SEPARATOR.search(head):
        return None
    # a variable of the environment may come with blanks, or with its quotes
    scheme = head.strip()
    return scheme.lower() if _SCHEME.match(scheme) else ""


def path_of(given: object, *, name: str = "path") -> str:
    """Return the path that text or a path object is, with the home in place of `~`, without touching the disk.

    Raises StorageValidationError for a URL, for what holds no name or a NUL, for an unknown user, and for anything that
    is neither text nor a path object. `name` is what the error calls it.
    """
    if isinstance(given, str):
        if (scheme := foreign_scheme(given)) is not None:
            raise _not_a_path(scheme, name)
        return usable(given, name=name)
    if isinstance(given, os.PathLike):
        return usable(os.fsdecode(given), name=name)
    advice = "decode it by os.fsdecode" if isinstance(given, bytes) else "give text or a pathlib.Path"
    raise StorageValidationError(reason=f"a path must be text, not {type(given).__name__}", path=name, advice=advice)


def usable(path: str, *, name: str) -> str:
    """Return a path that a system takes, with the home in place of `~`. Raises StorageValidationError."""
    if not path.strip():
        raise StorageValidationError(
            reason="the path is empty", path=name, advice="give the name of a directory or a file"
        )
    if "\0" in path:
        raise StorageValidationError(
            reason=f"the path {path!r} holds the character U+0000", path=name, advice="take it out: no name can hold it"
        )
    try:
        os.fsencode(path)
    except UnicodeEncodeError as error:
        from fsstore.model.values import lone_surrogate  # noqa: PLC0415 - only an error needs it

        raise StorageValidationError(
            reason=f"the path {path!r} holds {lone_surrogate(path) or f'a character that is not in {error.encoding}'}",
            path=name,
            advice="correct the path",
        ) from None
    expanded = os.path.expanduser(path)  # noqa: PTH111 - a Path would take ./~ for the home
    if expanded.startswith("~"):
        user = _SEPARATOR.split(path)[0]
        raise StorageValidationError(
            reason=f"there is no home directory for {user!r}",
            path=name,
            advice=f"correct the user, or write ./{user} for a directory of that name",
        )
    return expanded


def absolute(path: str) -> str:
    """Return a path from the root on. Raises StorageUnavailableError where the current directory was removed."""
    try:
        return os.path.abspath(path)  # noqa: PTH100 - this joins strings and touches no disk
    except FileNotFoundError as error:
        raise StorageUnavailableError(
            reason="the current directory was removed", path=path, errno=error.errno, advice="give an absolute path"
        ) from error


def _not_a_path(scheme: str, name: str) -> StorageValidationError:
    which = f"a URL of the scheme {scheme!r}" if scheme else "a URL"
    return StorageValidationError(
        reason=f"it is {which}, and a path is expected",
        path=name,
        advice="give a path; write ./ before one that looks like a URL",
    )
