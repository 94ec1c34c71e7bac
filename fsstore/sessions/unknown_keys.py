"""Filters that find nothing since no session has their key: a warning, with the nearest key that there is.

Owns which keys were looked for. Only a filter that found nothing is looked at, and each of its keys once, so a program
that asks again and again for what is not there yet does not pay for it again. Only keys of the metadata are looked for:
an index answers that without opening a document.
"""

from __future__ import annotations

import difflib
import logging
from collections.abc import Iterator, Mapping
from typing import Any

from fsstore.errors import StorageError
from fsstore.interfaces import IUnifiedStorage
from fsstore.model.records import Filters, JsonObject
from fsstore.model.times import TIME_KEYS
from fsstore.query.filters import parse
from fsstore.query.operands import LOGICAL_OPERATORS
from fsstore.query.steps import read_step, written_steps
from fsstore.sessions.words import record_path

_log = logging.getLogger("fsstore.filters")

_SAMPLE = 100
"""How many sessions show which keys there are."""
_MOST_KEYS = 1_000
_BARE_AND_DOTTED = "a bare key means metadata, a dotted one starts at the session, as in 'state.step'"
_STAMPED = frozenset({"session_id", *TIME_KEYS})
_SESSIONS: Filters = {"type": "session"}
_EMPTY: JsonObject = {"id": "", "type": "session", "data": {"metadata": {}}}


class UnknownKeys:
    """Which keys of filters were looked for in the sessions of one storage."""

    def __init__(self, storage: IUnifiedStorage) -> None:
        self._storage = storage
        self._looked_for: set[str] = set()

    async def warn(self, filters: Filters | None) -> None:
        """Warn of each key of a filter that found nothing if no session has it.

        Costs a list of 100 for a new key, and a search for it where none of these has it.
        """
        if not filters:
            return
        new = {step: path for step, path in _keys(filters) if step not in self._looked_for}
        if not new or len(self._looked_for) >= _MOST_KEYS:
            return
        self._looked_for.update(new)
        try:
            await self._look_for(new)
        except StorageError:
            # the list has its answer; who is interested in this one asks for it
            return

    async def _look_for(self, keys: Mapping[str, str]) -> None:
        sample = await self._storage.list_metadata(_SESSIONS, _SAMPLE)
        if not sample:
            # of an empty store nothing can be said: the keys may come with the first sessions
            self._looked_for.difference_update(keys)
            return
        known = {key for summary in sample if type(found := summary["metadata"]) is dict for key in found}
        for step, path in keys.items():
            if read_step(step) not in known and not await self._is_anywhere(step):
                _log.warning("%s", _warning(path, read_step(step), known - _STAMPED))

    async def _is_anywhere(self, step: str) -> bool:
        wanted = {"$and": [_SESSIONS, {f"data.metadata.{step}": {"$exists": True}}]}
        return bool(await self._storage.list_metadata(wanted, 1))


def _warning(path: str, key: str, known: set[str]) -> str:
    nearest = difflib.get_close_matches(key, known, n=1)
    advice = f"did you mean {nearest[0]!r}?" if nearest else _BARE_AND_DOTTED
    return f"nothing found: no session has the filter key {path!r} in its metadata; {advice}"


def _keys(filters: Filters) -> Iterator[tuple[str, str]]:
    """Give the first step in the metadata of each path that must be there for the filter to match, and the path."""
    for key, value in filters.items():
        if key in LOGICAL_OPERATORS:
            for part in value if key != "$nor" else ():
                yield from _keys(part)
            continue
        path = str(getattr(key, "value", key))
        written = written_steps(path)
        if len(written) > 1 and written[0] != "metadata":
            continue
        step = written[-1] if len(written) == 1 else written[1]
        if step not in _STAMPED and not _matches_nothing_there(written, path, value):
            yield step, path


def _matches_nothing_there(written: list[str], path: str, value: Any) -> bool:
    return parse({record_path(written, path): value}).matches(_EMPTY)
