"""Conditions and orders as SQL terms over one ordinary row of `entry`, exactly.

Invariants:
- Every term is true or false, never NULL, so that NOT turns it round.
- Text of the caller's is bound as a value, never written into a statement.
- Where SQLite cannot see what Python sees, the term asks Python about that one row (`judge`): at an array on the way
  of a path, at an array of more than strings, booleans, null and 64-bit integers, whether objects or arrays are equal,
  and at a time that is not in the store's form (texts in that form compare as the instants do). A float is read by
  Python (`exact`), since SQLite may read its last digit otherwise.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import orjson
from pydantic_core import from_json

from fsstore.filesystem.index.schema import NESTED, NULL_SESSION, NULL_THREAD, OTHER_TIMES
from fsstore.model.times import TIME_PATHS
from fsstore.query.columns import ENVELOPE, METADATA, TOP_METADATA, Location, locate, tags_asked
from fsstore.query.conditions import (
    COMPARISONS,
    All,
    Compares,
    Condition,
    Either,
    Field,
    Matches,
    Not,
    OneOf,
    Order,
    Path,
    Present,
    TimeField,
)
from fsstore.query.patterns import pattern_of

_NULL_FLAGS = {"session_id": NULL_SESSION, "thread_id": NULL_THREAD}
_SQL_OPERATORS = {"$gt": ">", "$gte": ">=", "$lt": "<", "$lte": "<="}
_AS_RECORD = {
    METADATA: """'{"data":{"metadata":' || entry.metadata || '}}'""",
    TOP_METADATA: """'{"metadata":' || entry.top_metadata || '}'""",
}
# these characters are escaped in JSON, or end a quoted key of a JSON path: versions of SQLite differ about them
_UNADDRESSABLE = re.compile(r'["\\\x00-\x1f]')
_ELEMENT_TYPES = ("text", "integer", "true", "false", "null")
_COLUMN_KINDS = {"text": "'text'", "integer": "'integer', 'real'"}
_CONTAINER_PLACE, _FALSE_PLACE, _TRUE_PLACE = b"\0", b"\1", b"\2"


class Terms:
    """Writes the terms of one statement and collects what they refer to.

    `values` are bound by name. `asked` are the conditions that `judge` is asked about: terms name them by identity, so
    they must be kept while the statement runs.
    """

    def __init__(self) -> None:
        self.values: dict[str, Any] = {}
        self.asked: list[Condition] = []
        # bound, since SQLite would take a statement with a plain 0 apart and then miss the index that it must read
        self._never = self.bind(0)

    def bind(self, value: Any) -> str:
        """Return a name that stands for a value."""
        if type(value) is int and value >= 2**63:
            # ordinary rows hold nothing as large, so that what is larger still compares the same
            value = float(value)
        name = f"v{len(self.values)}"
        self.values[name] = value
        return f":{name}"

    def judged(self, condition: Condition, record: str) -> str:
        """Return a term that asks Python about a record, given as JSON."""
        self.asked.append(condition)
        return f"judge({self.bind(id(condition))}, {record})"

    def all_of(self, conditions: Iterable[Condition]) -> str:
        """Return the terms of several conditions, joined."""
        return "".join(f" AND {self.term(condition)}" for condition in conditions)

    def term(self, condition: Condition) -> str:
        """Return one term for a condition whose paths are all located."""
        if isinstance(condition, All):
            return f"(1{self.all_of(condition.parts)})"
        if isinstance(condition, Either):
            return f"({' OR '.join([self._never, *map(self.term, condition.parts)])})"
        if isinstance(condition, Not):
            # of a column without a value nothing is true, nor false
            return f"NOT coalesce({self.term(condition.part)}, 0)"
        return self._leaf(condition)

    def _leaf(self, condition: Field | Present) -> str:
        location = locate(condition.path)
        if location is None:
            raise ValueError(f"the index does not know {condition.path}")
        if isinstance(condition, Present):
            return self._present(condition, location)
        if strings := tags_asked(condition):
            return self._tagged(strings)
        cases = self._cases(condition.test)
        if location.column is not None:
            is_equal = isinstance(condition.test, OneOf)
            return _column_term(f"entry.{location.column}", cases, is_equal=is_equal) or self._never
        return self._document_term(condition, location, cases)

    # -- what a test means, by the type of the value ------------------------------------------------------------------

    def _cases(self, test: OneOf | Compares | Matches) -> dict[str, str]:
        """Return, by SQLite's name of a JSON type, the term for a scalar of that type, written `VALUE`."""
        if isinstance(test, Matches):
            return {"text": f"found({self.bind(test.pattern.text)}, VALUE)"}
        if isinstance(test, Compares):
            return self._compares(test)
        cases = {}
        if strings := [value for kind, value in test.scalars if kind == "string"]:
            cases["text"] = self._one_of(strings)
        if numbers := [value for kind, value in test.scalars if kind == "number"]:
            cases["integer"] = cases["real"] = self._one_of(numbers)
        if ("null", None) in test.scalars:
            cases["null"] = cases["missing"] = "1"
        cases |= {str(value).lower(): "1" for kind, value in test.scalars if kind == "boolean"}
        return cases

    def _compares(self, test: Compares) -> dict[str, str]:
        if isinstance(test.operand, bool):
            holds = COMPARISONS[test.comparison]
            return {str(value).lower(): "1" for value in (False, True) if holds(value, test.operand)}
        term = f"VALUE {_SQL_OPERATORS[test.comparison]} {self.bind(test.operand)}"
        return {"text": term} if isinstance(test.operand, str) else {"integer": term, "real": term}

    def _one_of(self, values: list[Any]) -> str:
        names = [self.bind(value) for value in values]
        return f"VALUE = {names[0]}" if len(names) == 1 else f"VALUE IN ({', '.join(names)})"

    # -- columns and tags ---------------------------------------------------------------------------------------------

    def _tagged(self, strings: list[str]) -> str:
        wanted = self._one_of(strings).replace("VALUE", "tag.tag")
        return f"EXISTS (SELECT 1 FROM tag WHERE {wanted} AND tag.entry = entry.entry)"  # noqa: S608 - values are bound

    # -- JSON ---------------------------------------------------------------------------------------------------------

    def _document_term(self, condition: Field, location: Location, cases: Mapping[str, str]) -> str:
        judged = self._judged(condition, location)
        if not _is_addressable(location):
            return judged
        document, path = f"entry.{location.document}", self._json_path(location.steps)
        value = f"json_extract({document}, {path})"
        whens = {
            kind: term.replace("VALUE", _exact(document, path) if kind == "real" else value)
            for kind, term in cases.items()
        }
        if isinstance(condition.test, OneOf) and condition.test.containers:
            whens["object"] = whens["array"] = judged
        elif elements := {kind: cases[kind] for kind in _ELEMENT_TYPES if kind in cases}:
            found = _switch("item.type", {kind: term.replace("VALUE", "item.value") for kind, term in elements.items()})
            plain = f"EXISTS (SELECT 1 FROM json_each({document}, {path}) AS item WHERE {found})"  # noqa: S608 - the same
            whens["array"] = f"CASE WHEN entry.flags & {NESTED} THEN {judged} ELSE {plain} END"
        if through := self._through_array(location):
            whens["missing"] = f"CASE WHEN {through} THEN {judged} ELSE {cases.get('missing', '0')} END"
        term = _switch(f"coalesce(json_type({document}, {path}), 'missing')", whens) if whens else self._never
        if isinstance(condition, TimeField):
            return f"CASE WHEN entry.flags & {OTHER_TIMES} THEN {judged} ELSE {term} END"
        return term

    def _present(self, condition: Present, location: Location) -> str:
        if location.document is None:
            flag = _NULL_FLAGS.get(str(location.column))
            return f"(entry.{location.column} IS NOT NULL OR entry.flags & {flag} <> 0)" if flag else "1"
        if not _is_addressable(location):
            return self._judged(condition, location)
        there = f"json_type(entry.{location.document}, {self._json_path(location.steps)}) IS NOT NULL"
        if through := self._through_array(location):
            return f"CASE WHEN {there} THEN 1 WHEN {through} THEN {self._judged(condition, location)} ELSE 0 END"
        return f"({there})"

    def _judged(self, condition: Condition, location: Location) -> str:
        return self.judged(condition, _AS_RECORD[str(location.document)])

    def _through_array(self, location: Location) -> str:
        """Return a term that tells whether an array is on the way; empty when there is no way."""
        prefixes = [location.steps[:end] for end in range(1, len(location.steps))]
        return " OR ".join(
            f"json_type(entry.{location.document}, {self._json_path(prefix)}) IS 'array'" for prefix in prefixes
        )

    def _json_path(self, steps: Path) -> str:
        return self.bind("$" + "".join(f'."{step}"' for step in steps))

    # -- order --------------------------------------------------------------------------------------------------------

    def place(self, order: Order) -> str | None:
        """Return an expression that SQLite orders as `Order.key` does; None when only the documents tell."""
        location = locate(order.path)
        if location is None or not _is_addressable(location):
            return None
        if location.column is not None:
            return f"entry.{location.column}"
        document, path = f"entry.{location.document}", self._json_path(location.steps)
        value = f"json_extract({document}, {path})"
        places = {"text": value, "integer": value, "real": _exact(document, path)}
        places |= dict.fromkeys(("array", "object"), _blob(_CONTAINER_PLACE))
        places |= {"false": _blob(_FALSE_PLACE), "true": _blob(_TRUE_PLACE)}
        place = _switch(f"json_type({document}, {path})", places, otherwise="NULL")
        if order.path in TIME_PATHS:
            other = self._place_of(order, _AS_RECORD[str(location.document)])
            return f"CASE WHEN entry.flags & {OTHER_TIMES} THEN {other} ELSE {place} END"
        return place

    def odd_place(self, order: Order) -> str:
        """Return the same for an odd row."""
        if order.path[0] in ENVELOPE:
            return f"entry.{order.path[0]}"
        return self._place_of(order, "entry.odd")

    def _place_of(self, order: Order, record: str) -> str:
        # as JSON, since a step may hold whatever would join them
        return f"place_of({self.bind(orjson.dumps(order.path).decode())}, {record})"


def _column_term(column: str, cases: Mapping[str, str], *, is_equal: bool) -> str:
    """Return the term for a column, which has no affinity: what is equal there is of one type, and is not asked for it.

    To ask for the type makes a count of 250 rows take twice as long.
    """
    parts = []
    for kind, types in _COLUMN_KINDS.items():
        if kind in cases:
            term = cases[kind].replace("VALUE", column)
            parts.append(term if is_equal else f"(typeof({column}) IN ({types}) AND {term})")
    if "missing" in cases:
        parts.append(f"{column} IS NULL")
    return f"({' OR '.join(parts)})" if parts else ""


def _is_addressable(location: Location) -> bool:
    """Whether a JSON path of SQLite can name the steps."""
    return not any(map(_UNADDRESSABLE.search, location.steps))


def functions(asked: Mapping[int, Condition]) -> dict[str, tuple[int, Callable[..., Any]]]:
    """Return, by name, what the terms call: how many arguments it takes, and what it does.

    `asked` finds a condition by its identity.
    """
    return {
        "judge": (2, lambda key, text: asked[key].matches({} if text is None else from_json(text))),
        "found": (2, lambda pattern, text: isinstance(text, str) and pattern_of(pattern).is_in(text)),
        "exact": (1, lambda text: None if text is None else orjson.loads(text)[0]),
        "place_of": (2, _place_of),
    }


def _place_of(steps: str, text: str) -> Any:
    """Return a value by which SQLite orders as `Order.place` does: NULL, numbers, text, then blobs."""
    value: Any = from_json(text)
    rank, place = Order(tuple(from_json(steps)), descending=False).place(value)
    if isinstance(place, bool):
        return _TRUE_PLACE if place else _FALSE_PLACE
    return _CONTAINER_PLACE if place is None and rank else place


def _switch(on: str, cases: Mapping[str, str], otherwise: str = "0") -> str:
    return (
        f"CASE {on} "
        + " ".join(f"WHEN '{kind}' THEN {term}" for kind, term in cases.items())
        + f" ELSE {otherwise} END"
    )


def _exact(document: str, path: str) -> str:
    # of two paths json_extract makes an array, in which a number is written as it stands in the document
    return f"exact(json_extract({document}, {path}, {path}))"


def _blob(value: bytes) -> str:
    return f"x'{value.hex()}'"
