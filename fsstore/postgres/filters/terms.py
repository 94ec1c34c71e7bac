"""Conditions as SQL terms over one ordinary row `d` of the table, exactly.

Invariants:
- A term is true, false, or NULL where PostgreSQL cannot tell and the record must be asked; NOT, AND and OR of SQL carry
  that as they must. It cannot tell at an array on the way of a path, and at a time that is not in the store's form.
- Text of the caller's is bound as a value, never written into a statement.
- Text compares by code points, as in Python: the columns are COLLATE "C", and so is text taken out of a document.
- Numbers compare as `numeric`, of which each operand is written exactly.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from fsstore.model.times import TIME_KEYS
from fsstore.postgres.schema.rows import (
    INDEXED_CHARACTERS,
    NULL_SESSION,
    NULL_THREAD,
    OTHER_TIMES,
    key_of,
)
from fsstore.query.columns import METADATA, TOP_METADATA, Location, locate, tags_asked
from fsstore.query.conditions import (
    All,
    Compares,
    Condition,
    Either,
    Field,
    Matches,
    Not,
    OneOf,
    Present,
    TimeField,
)

_NULL_MARKS = {"session_id": NULL_SESSION, "thread_id": NULL_THREAD}
_DOCUMENTS = {METADATA: "d.metadata", TOP_METADATA: "d.top_metadata"}
_SQL_OPERATORS = {"$gt": ">", "$gte": ">=", "$lt": "<", "$lte": "<="}
_EXACT = 2**53


class Terms:
    """Writes the terms of one statement and collects the values that they refer to, by name."""

    def __init__(self) -> None:
        self.values: dict[str, Any] = {}
        self.is_sure = True
        """Whether no term written so far can be NULL."""

    def bind(self, value: Any, kind: str) -> str:
        """Return what stands for a value of that type of PostgreSQL's."""
        name = f"v{len(self.values)}"
        self.values[name] = value
        return f"%({name})s::{kind}"

    def all_of(self, conditions: Iterable[Condition]) -> str:
        """Return the terms of several conditions, joined."""
        return " AND ".join(map(self.term, conditions)) or "TRUE"

    def term(self, condition: Condition) -> str:
        """Return one term for a condition whose paths are all located."""
        if isinstance(condition, All):
            return f"({self.all_of(condition.parts)})"
        if isinstance(condition, Either):
            return f"({' OR '.join(map(self.term, condition.parts)) or 'FALSE'})"
        if isinstance(condition, Not):
            return f"NOT {self.term(condition.part)}"
        return self._leaf(condition)

    def narrowed(self, conditions: Iterable[Condition]) -> str:
        """Return a term that every odd row fulfils which may match: what the columns of its envelope rule out."""
        parts = []
        for condition in conditions:
            location = locate(condition.path) if isinstance(condition, Field) else None
            if location is not None and location.document is None:
                term = self.term(condition)
                # NULL may stand for text with NUL, or for a long one
                unsure = location.column in (*_NULL_MARKS, "type")
                parts.append(f"(d.{location.column} IS NULL OR {term})" if unsure else term)
        return " AND ".join(parts) or "TRUE"

    def _leaf(self, condition: Field | Present) -> str:
        location = locate(condition.path)
        if location is None:
            raise ValueError(f"the table does not know {condition.path}")
        if isinstance(condition, Present):
            return self._present(location)
        if strings := tags_asked(condition):
            return self._tagged(strings)
        if location.document is None:
            return self._column_term(str(location.column), condition)
        if location.column is not None and (strings := strings_asked(condition)):
            # these columns hold text alone, and rows with an array there are odd
            return self._text_is(location.column, strings)
        return self._document_term(location, condition)

    # -- columns and tags ---------------------------------------------------------------------------------------------

    def _tagged(self, strings: list[str]) -> str:
        wanted = [text for text in strings if "\0" not in text and len(text) <= INDEXED_CHARACTERS]
        return f"(d.tags IS NOT NULL AND d.tags && {self.bind(wanted, 'text[]')})"

    def _column_term(self, column: str, condition: Field) -> str:
        if column in TIME_KEYS:
            return self._time_term(column, condition.test)
        if column == "version":
            return self._version_term(condition.test)
        if not isinstance(condition.test, OneOf):
            return self._text_compares(f"d.{column}", condition.test)
        parts = []
        if strings := strings_of(condition.test):
            parts.append(self._id_is(strings) if column == "id" else self._text_is(column, strings))
        if ("null", None) in condition.test.scalars and column in _NULL_MARKS:
            parts.append(f"d.{column} IS NULL")
        return f"({' OR '.join(parts) or 'FALSE'})"

    def _id_is(self, strings: list[str]) -> str:
        wanted = [text for text in strings if "\0" not in text]
        keys, ids = self.bind([key_of(text) for text in wanted], "bytea[]"), self.bind(wanted, "text[]")
        return f"(d.key = ANY({keys}) AND d.id = ANY({ids}))"

    def _text_is(self, column: str, strings: list[str]) -> str:
        # no other text stands in the columns of ordinary rows
        wanted = [text for text in strings if "\0" not in text and len(text) <= INDEXED_CHARACTERS]
        return f"(d.{column} IS NOT NULL AND d.{column} = {self._any(wanted, 'text')})"

    def _any(self, values: list[Any], kind: str) -> str:
        return self.bind(values[0], kind) if len(values) == 1 else f"ANY({self.bind(values, f'{kind}[]')})"

    def _time_term(self, column: str, test: Any) -> str:
        if isinstance(test, Compares):
            return f"d.{column} {_SQL_OPERATORS[test.comparison]} {self.bind(test.operand, 'timestamptz')}"
        times = strings_of(test)
        return f"d.{column} = ANY({self.bind(times, 'timestamptz[]')})"

    def _version_term(self, test: Any) -> str:
        if isinstance(test, Compares):
            if type(test.operand) not in (int, float):
                return "FALSE"
            return f"d.version {_SQL_OPERATORS[test.comparison]} {self.bind(_digits(test.operand), 'numeric')}"
        numbers = [_digits(value) for kind, value in test.scalars if kind == "number"]
        return f"d.version = ANY({self.bind(numbers, 'numeric[]')})"

    def _text_compares(self, column: str, test: Compares | Matches) -> str:
        if isinstance(test, Matches):
            raise _not_done(test)
        if type(test.operand) is not str:
            return "FALSE"
        term = f"({column} IS NOT NULL AND {self._compared(column, test)})"
        return f"({self._beginning(test)} AND {term})" if column == "d.id" else term

    def _beginning(self, test: Compares) -> str:
        """Return what a comparison of ids says of their beginnings, which is what an index has.

        It adds nothing: where one text comes before another, its beginning does, or is the same.
        """
        beginning = self.bind(test.operand.partition("\0")[0][:INDEXED_CHARACTERS], "text")
        operator = ">=" if test.comparison in ("$gt", "$gte") else "<="
        return f"left(d.id, {INDEXED_CHARACTERS}) {operator} {beginning}"

    def _compared(self, text: str, test: Compares) -> str:
        """Return how text compares; of what a row cannot hold, NUL, the text before it decides."""
        before, nul, _ = test.operand.partition("\0")
        if not nul:
            return f"{text} {_SQL_OPERATORS[test.comparison]} {self.bind(before, 'text')}"
        # the operand comes right after the text before its NUL, and before any other that begins so
        return f"{text} {'<=' if test.comparison in ('$lt', '$lte') else '>'} {self.bind(before, 'text')}"

    # -- JSON ---------------------------------------------------------------------------------------------------------

    def _present(self, location: Location) -> str:
        if location.document is None:
            mark = _NULL_MARKS.get(str(location.column))
            return f"(d.{location.column} IS NOT NULL OR d.marks & {mark} <> 0)" if mark else "TRUE"
        return self.unless_through_array(location, f"{self.value(location)} IS NOT NULL")

    def _document_term(self, location: Location, condition: Field) -> str:
        value, test = self.value(location), condition.test
        if isinstance(test, Matches):
            raise _not_done(test)
        term = self._one_of(value, test) if isinstance(test, OneOf) else self._compares(value, test)
        term = self.unless_through_array(location, term)
        if isinstance(condition, TimeField):
            self.is_sure = False
            return f"CASE WHEN d.marks & {OTHER_TIMES} = 0 THEN {term} END"
        return term

    def value(self, location: Location) -> str:
        """Return what stands there, as jsonb; NULL where nothing does, and not to be trusted after an array."""
        document = _DOCUMENTS[str(location.document)]
        if not location.steps:
            return document
        if any("\0" in step for step in location.steps):
            return "NULL::jsonb"
        return f"({document} #> {self.bind(list(location.steps), 'text[]')})"

    def unless_through_array(self, location: Location, term: str, otherwise: str = "NULL") -> str:
        """Return a term that is `otherwise` where an array is on the way."""
        document = _DOCUMENTS[str(location.document)]
        prefixes = [
            f"jsonb_typeof({document} #> {self.bind(list(location.steps[:end]), 'text[]')}) = 'array'"
            for end in range(1, len(location.steps))
            if not any("\0" in step for step in location.steps[:end])
        ]
        if not prefixes:
            return term
        self.is_sure = False
        return f"CASE WHEN {' OR '.join(prefixes)} THEN {otherwise} ELSE {term} END"

    def _one_of(self, value: str, test: OneOf) -> str:
        wanted = [item for item in (*(item for _, item in test.scalars), *test.containers) if not _has_nul(item)]
        texts = self.bind([_json(item) for item in wanted], "jsonb[]")
        missing = str(("null", None) in test.scalars).upper()
        return (
            f"CASE WHEN {value} IS NULL THEN {missing} WHEN {value} = ANY({texts}) THEN TRUE"
            f" WHEN jsonb_typeof({value}) = 'array' THEN EXISTS (SELECT FROM jsonb_array_elements({value}) AS item"
            f" WHERE item.value = ANY({texts})) ELSE FALSE END"
        )

    def _compares(self, value: str, test: Compares) -> str:
        kind, compared = self._kind_and_comparison(test)
        one = compared.replace("VALUE", value)
        item = compared.replace("VALUE", "item.value")
        return (
            f"CASE jsonb_typeof({value}) WHEN '{kind}' THEN {one} WHEN 'array' THEN EXISTS (SELECT FROM"
            f" jsonb_array_elements({value}) AS item WHERE CASE jsonb_typeof(item.value) WHEN '{kind}' THEN {item}"
            f" ELSE FALSE END) ELSE FALSE END"
        )

    def _kind_and_comparison(self, test: Compares) -> tuple[str, str]:
        operator = _SQL_OPERATORS[test.comparison]
        if type(test.operand) is str:
            return "string", self._compared("""(VALUE #>> '{}') COLLATE "C\"""", test)
        kind = "boolean" if type(test.operand) is bool else "number"
        return kind, f"VALUE {operator} {self.bind(_json(test.operand), 'jsonb')}"


def strings_asked(condition: Field) -> list[str]:
    """Return the strings one of which a condition wants, when that is all it says."""
    if not isinstance(condition.test, OneOf) or condition.test.containers:
        return []
    strings = strings_of(condition.test)
    return strings if len(strings) == len(condition.test.scalars) else []


def strings_of(test: OneOf) -> list[str]:
    """Return the strings that a test wants, in order, so that equal filters make equal statements."""
    return sorted(value for kind, value in test.scalars if kind == "string")


def _not_done(test: Matches) -> ValueError:
    return ValueError(f"PostgreSQL does not do {test}, which the plan leaves to the records")


def _has_nul(value: Any) -> bool:
    if type(value) is dict:
        return any(map(_has_nul, value)) or any(map(_has_nul, value.values()))
    return any(map(_has_nul, value)) if type(value) is list else type(value) is str and "\0" in value


def _json(value: Any) -> str:
    """Write an operand as JSON, its numbers exactly."""
    return json.dumps(_exact(value), ensure_ascii=False)


def _exact(value: Any) -> Any:
    if type(value) is dict:
        return {key: _exact(item) for key, item in value.items()}
    if type(value) is list:
        return [_exact(item) for item in value]
    # the shortest digits of a float as large may be those of another integer
    return int(value) if type(value) is float and abs(value) >= _EXACT else value


def _digits(number: float) -> str:
    return str(_exact(number))
