"""From what stands in a source to a session with an id, or the reason why it is none. Pure: no I/O.

Invariant: where lone surrogates become U+FFFD, two sessions never become one: of two ids that would be the same then,
the second is refused, as of two keys of one object.
"""

from __future__ import annotations

from typing import NamedTuple

from fsstore.errors import StorageValidationError
from fsstore.model.json_text import REPLACEMENT, LoneSurrogateError, read_lenient, replaced, replaced_text
from fsstore.model.records import JsonObject, check_id
from fsstore.transfer.lines import id_in, read_line
from fsstore.transfer.sources import Entry


class Candidate(NamedTuple):
    """A session that was read, where it stands, and how many lone surrogates were replaced in it."""

    id: str
    session: JsonObject
    place: str
    size: int
    replaced: int


class Candidates:
    """Reads the entries of one source."""

    def __init__(self, *, replace_surrogates: bool) -> None:
        self._replaces = replace_surrogates
        # as they stood in the source, of those ids alone that could have been another one
        self._origins: dict[str, str] = {}

    def read(self, entry: Entry) -> Candidate:
        """Return the session of an entry. Raises ValueError with the reason, which goes on from `it`."""
        if entry.fault:
            raise ValueError(entry.fault)
        session, original, count = self._read(entry.text)
        session_id, named = id_in(session), id_in(original)
        if session_id is None and entry.default_id is not None:
            session_id, named = entry.default_id, entry.default_id
            if self._replaces:
                session_id, in_name = replaced_text(session_id)
                count += in_name
        if type(session_id) is not str or not session_id:
            raise ValueError("has no id: metadata.session_id must be a string, and not empty")
        try:
            check_id(session_id)
        except StorageValidationError as error:
            raise ValueError(f"has no id: {error.reason}") from error
        if REPLACEMENT in session_id and self._origins.setdefault(session_id, named) != named:
            raise ValueError(f"has an id that would become {session_id!r}, and so has another session")
        return Candidate(session_id, session, entry.place, entry.size, count)

    def _read(self, text: bytes) -> tuple[JsonObject, JsonObject, int]:
        """Return the session of a text, as it is and as it stood there, and how many surrogates were replaced."""
        try:
            session = read_line(text)
        except LoneSurrogateError:
            if not self._replaces:
                raise
            original = read_lenient(text)
            session, count = replaced(original)
            return session, original, count
        return session, session, 0
