"""The line that a session is outside of a store, and what both directions share: reports, and errors of the system."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeAlias

from fsstore.errors import StorageError, StorageUnavailableError, StorageValidationError
from fsstore.model.json_text import read_exact
from fsstore.model.records import JsonObject
from fsstore.model.values import write_json

Progress: TypeAlias = Callable[[int, int], None]
"""Called after each batch with the bytes and the sessions done so far."""

STANDARD_STREAM = "-"


@dataclass(frozen=True, slots=True)
class TransferReport:
    """What was moved. An id that an import met twice counts twice; the later one is what the store holds."""

    sessions: int = 0
    bytes: int = 0
    skipped: int = 0
    """Sessions that an import has left out, since the store cannot hold them."""
    refused: int = 0
    """Sessions that an import has left out, since the system does not let their documents be replaced."""
    skips: tuple[str, ...] = ()
    """Where these stand, and why: the first hundred of them."""
    replaced: int = 0
    """Lone surrogates for which an import has put U+FFFD."""
    redacted: int = 0
    """Values that an export has hidden."""
    unredacted: int = 0
    """What rules have found and an export could not hide: ids, times, and keys."""
    unmatched: tuple[str, ...] = ()
    """Rules that have found nothing."""


def session_line(session: JsonObject) -> bytes:
    """Return a session as one line of an export, with its newline. `session` is as the store gave it.

    What was edited by hand beyond what can be saved is written as it stands. Raises StorageValidationError when that
    is nested too deep to be written at all.
    """
    named = id_in(session)
    return write_json(session, record_id=named if isinstance(named, str) else None)


def id_in(session: Any) -> Any:
    """Return what a session says its id is; None when it says nothing."""
    # a document edited by hand may hold anything
    metadata = session.get("metadata") if isinstance(session, dict) else None
    return metadata.get("session_id") if isinstance(metadata, dict) else None


def read_line(text: bytes) -> JsonObject:
    """Return the session that a line is. Raises ValueError when it is none: see `read_exact`."""
    try:
        session = read_exact(text)
    except ValueError as error:
        # which line it is, the source knows; the kind of the error stays
        error.args = (str(error).replace(" at line 1 column ", " at column "),)
        raise
    if type(session) is not dict:
        raise ValueError(f"is a JSON {type(session).__name__}, a session is an object")
    return session


@contextmanager
def system_errors(path: str) -> Iterator[None]:
    """Turn what the system says about a file into errors of ours; a closed pipe is the caller's business."""
    try:
        yield
    except (StorageError, BrokenPipeError):
        raise  # a timeout of the store is an OSError too
    except FileNotFoundError as error:
        raise StorageValidationError(
            reason="there is no such file or folder", path=path, advice="check the path"
        ) from error
    except OSError as error:
        raise StorageUnavailableError(reason=error.strerror or str(error), path=path, errno=error.errno) from error
