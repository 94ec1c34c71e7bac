"""The records that this process has seen last, by which a commit may be drafted before the server is asked. No I/O.

What is remembered is never answered with. A commit that was drafted of it says so (`at_once`), and is applied only if
the text of the record is still that very text: so it is as if it had been read just now, whoever has changed the table,
and whatever a crash of the server has lost.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import NamedTuple

from fsstore.postgres.commits.draft import Stored
from fsstore.postgres.commits.writes import State

MAX_BYTES = 8 << 20
"""How many bytes of records are remembered, and a sixteenth of it of one."""


class Guess(NamedTuple):
    """What a commit of one record may find."""

    state: State
    found: Stored | None


class Remembered:
    """The records and the state of the store that were seen last; any thread may call."""

    def __init__(self) -> None:
        self._begin()

    def _begin(self) -> None:
        self._guard = threading.Lock()
        # as texts: what is made of them is several times as large, and may be shared with a caller
        self._records: OrderedDict[str, bytes] = OrderedDict()
        self._bytes = 0
        self._state: State | None = None

    def guess(self, record_id: str) -> Guess | None:
        """Return what may be there; None where nothing is known of the store."""
        with self._guard:
            state, data = self._state, self._records.get(record_id)
        return None if state is None else Guess(state, None if data is None else Stored(record_id, data))

    def see(self, record_id: str, data: bytes | None, state: State | None = None) -> None:
        """Remember the text of a record, None for none, and the state of the store."""
        with self._guard:
            self._state = state or self._state
            self._bytes -= len(self._records.pop(record_id, b""))
            if data is not None and len(data) <= MAX_BYTES // 16:
                self._records[record_id] = data
                self._bytes += len(data)
            while self._bytes > MAX_BYTES:
                _, oldest = self._records.popitem(last=False)
                self._bytes -= len(oldest)

    def in_child(self) -> None:
        """Begin anew: another thread may have been in the middle of something at the fork."""
        self._begin()
