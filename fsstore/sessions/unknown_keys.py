"""Filters, orders and fields that mean nothing since no session has their key: a warning, with the nearest key.

Owns which keys were looked for. Only a filter that found nothing is looked at, and only an order or a field whose key
none of the sessions has that were found. Each key is looked for once, so a program that asks again and again for what
is not there yet does not pay for it again. Only keys of the metadata are looked for: an index answers that without
opening a document.
"""

from __future__ import annotations

import difflib
import logging
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

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
_METADATA = ["data", "metadata"]
_STAMPED = frozenset({"session_id", *TIME_KEYS})
_SESSIONS: Filters = {"type": "session"}
_EMPTY: JsonObject = {"id": "", "type": "session", "data": {"metadata": {}}}


class _Use(NamedTuple):
    """What a key is for: what comes of one that no session has, and what it is called."""

    effect: str
    name: str


_FILTER, _ORDER, _FIELD = (
    _Use("nothing found", "filter key"),
    _Use("put in no order", "sort key"),
    _Use("left out", "field"),
)


class UnknownKeys:
    """Which keys were looked for in the sessions of one storage."""

    def __init__(self, storage: IUnifiedStorage) -> None:
        self._storage = storage
        self._looked_for: set[str] = set()

    async def warn(self, filters: Filters | None) -> None:
        """Warn of each key of a filter that found nothing if no session has it.

        Costs a list of 100 for a new key, and a search for it where none of these has it.
        """
        if filters:
            await self._warn_of({step: path for step, path in _keys(filters) if step not in self._looked_for}, _FILTER)

    async def warn_of_order(self, order: str | None, found: Iterable[Any]) -> None:
        """Warn of the key of an order if no session has it. The order is one of records, `found` are sessions.

        Costs nothing where one of these has it, else what `warn` costs.
        """
        if order is not None:
            await self._warn_of(self._missed([order.removeprefix("-")], found), _ORDER)

    async def warn_of_fields(self, fields: Iterable[str], found: Iterable[Any]) -> None:
        """Warn of each field that no session has, at the cost of `warn_of_order`; they are fields of records."""
        await self._warn_of(self._missed(fields, found), _FIELD)

    def _missed(self, paths: Iterable[str], found: Iterable[Any]) -> dict[str, str]:
        """Return the new keys of the metadata that none of the sessions has, each with its path."""
        new = {
            step: path.removeprefix("data.metadata.")
            for path in paths
            for step in _metadata_step(path)
            if step not in self._looked_for
        }
        is_any = False
        for session in found if new else ():
            is_any = True
            metadata = session.get("metadata") if type(session) is dict else None
            if type(metadata) is dict:
                new = {step: path for step, path in new.items() if read_step(step) not in metadata}
            if not new:
                break
        return new if is_any else {}

    async def _warn_of(self, keys: Mapping[str, str], use: _Use) -> None:
        if not keys or len(self._looked_for) >= _MOST_KEYS:
            return
        self._looked_for.update(keys)
        try:
            await self._look_for(keys, use)
        except StorageError:
            # the list has its answer; who is interested in this one asks for it
            return

    async def _look_for(self, keys: Mapping[str, str], use: _Use) -> None:
        sample = await self._storage.list_metadata(_SESSIONS, _SAMPLE)
        if not sample:
            # of an empty store nothing can be said: the keys may come with the first sessions
            self._looked_for.difference_update(keys)
            return
        known = {key for summary in sample if type(found := summary["metadata"]) is dict for key in found}
        for step, path in keys.items():
            if read_step(step) not in known and not await self._is_anywhere(step):
                _log.warning("%s", _warning(path, read_step(step), known, use))

    async def _is_anywhere(self, step: str) -> bool:
        wanted = {"$and": [_SESSIONS, {f"data.metadata.{step}": {"$exists": True}}]}
        return bool(await self._storage.list_metadata(wanted, 1))


def _warning(path: str, key: str, known: set[str], use: _Use) -> str:
    operator = f"${key.lower()}"
    nearest = [operator] if operator in LOGICAL_OPERATORS else difflib.get_close_matches(key, known, n=1)
    advice = f"did you mean {nearest[0]!r}?" if nearest else _BARE_AND_DOTTED
    return f"{use.effect}: no session has the {use.name} {path!r} in its metadata; {advice}"


def _metadata_step(path: str) -> Iterator[str]:
    """Give the first step in the metadata of a path of records, where it goes there and may be missing."""
    written = written_steps(path)
    if written[:2] == _METADATA and len(written) > len(_METADATA) and written[2] not in _STAMPED:
        yield written[2]


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
