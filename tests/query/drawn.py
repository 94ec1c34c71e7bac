"""Records, filters and orders made to be nasty, drawn from a seed."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta, timezone
from random import Random
from typing import Any

from fsstore.model.records import JsonObject
from fsstore.model.times import TIME_PATHS
from fsstore.query.conditions import ABSENT, Order, reached
from fsstore.query.filters import parse_path
from fsstore.query.orders import parse_order

SCALARS: list[Any] = [
    None, True, False, 0, 1, -1, 2, 1.0, 0.0, -0.0, 0.1, 0.5, 2.5, 1e300, -1e300, 5e-324, 0.30000000000000004,
    2**53, 2**53 + 1, float(2**53), 2**63 - 1, 2**63, 2**64 - 1, 2**64 - 2, -(2**63), float(2**63), float(2**64), 1e19,
    "", "a", "A", "b", "ab", "0", "1", "true", "null", "a\0b", "\0", "é", "\uffff", "𝄞", "\U0010ffff", "a'b", 'a"b',
    "a\\b", "a.b", "[0]", "\n", "\x7f", "2026-01-01", "s1", "open",
]  # fmt: skip
KEYS = [
    "a",
    "b",
    "0",
    "1",
    "status",
    "user_id",
    "tags",
    "é",
    "𝄞",
    'q"q',
    "d.d",
    "data.metadata",
    "[0]",
    "b\\s",
    "b\\.s",
    "l\nf",
    "$x",
    "i's",
    "",
    "#",
    "n\0",
]
STEPS = [
    "a",
    "b",
    "0",
    "1",
    "2",
    "01",
    "status",
    "user_id",
    "tags",
    "é",
    "𝄞",
    'q"q',
    "d.d",
    "$x",
    "$in",
    "[0]",
    "b\\s",
    "b\\.s",
    "l\nf",
    "i's",
    "#",
    "n\0",
]
ENVELOPE = ["id", "type", "version", "created_at", "updated_at", "session_id", "thread_id"]
TIMES = [f"2026-01-0{day}T00:00:00.000000+00:00" for day in range(1, 5)]
WRITTEN_TIMES: list[Any] = [
    *(
        TIMES[1],
        "2026-01-02T00:00:00Z",
        "2026-01-02T05:30:00+05:30",
        "2026-01-02",
        "20260102T000000",
        "2026-01-02T00:00:00.5Z",
    ),
    *("2026-01-02T00:00:00,25Z", "2026-W01-5", "2026", "2026-01", "0001-01-02", "2026-01-31T09:15:00.000000+00:00"),
    *("yesterday", "", "?", "2026-13", "a\0b", 5, 2026, 2**64 - 1, True, None, ["2026-01-02", "soon"], [], {"a": 1}),
]
"""What may stand where a time is expected."""
OPERAND_TIMES: list[Any] = [
    *(value for value in WRITTEN_TIMES[:12]),
    *TIMES,
    datetime(2026, 1, 2, tzinfo=UTC),
    datetime(2026, 1, 2, 5, 30, 0, 500_000, tzinfo=timezone(timedelta(hours=5, minutes=30))),
    datetime(2026, 1, 2),  # noqa: DTZ001 - that it is naive is the point
]
TIME_PATH_NAMES = [".".join(path) for path in sorted(TIME_PATHS)]
PATTERNS = ["a", "^a", "b$", "(?i)^A", "\\.", "^$", "[0-9]", "é|𝄞", "\0", "."]
FIELD_OPERATORS = ["$eq", "$ne", "$in", "$nin", "$all", "$gt", "$gte", "$lt", "$lte", "$exists", "$regex", "$not"]


_ESCAPED = re.compile(r"[.\\, ]|\A[$+]")


def write_path(steps: Iterable[str]) -> str:
    """Return the path, in the words of filters, that names these keys."""
    return ".".join(_ESCAPED.sub(lambda found: "\\" + found[0], step) for step in steps)


def some_value(rng: Random, depth: int = 0) -> Any:
    kind = rng.random()
    if depth > 2 or kind < 0.6:
        return rng.choice(SCALARS)
    if kind < 0.8:
        return [some_value(rng, depth + 1) for _ in range(rng.randrange(4))]
    return {rng.choice(KEYS): some_value(rng, depth + 1) for _ in range(rng.randrange(4))}


def some_metadata(rng: Random) -> Any:
    if rng.random() < 0.1:
        return some_value(rng)
    metadata = {rng.choice(KEYS): some_value(rng) for _ in range(rng.randrange(5))}
    if rng.random() < 0.7:
        metadata["status"] = rng.choice(["open", "done", "open", "a", None])
    for key in ("created_at", "updated_at"):
        if rng.random() < 0.6:
            metadata[key] = rng.choice([TIMES[1], TIMES[2], *WRITTEN_TIMES])
    if rng.random() < 0.5:
        metadata["tags"] = rng.choice([["a", "b"], ["a"], [], "a", None, ["a", "a"], ["b", {"a": "a"}], [["a"], "ab"]])
    return metadata


def some_record(rng: Random, at: int) -> JsonObject:
    record: JsonObject = {
        "id": f"{rng.choice(['a', 'B', 'é', '𝄞', ''])}{at}",
        "type": rng.choice(["session", "session", "note", "a\0b"]),
        "version": rng.choice([1, 2, 3, 2**53 + 1, 2**63 - 1]),
        "created_at": rng.choice(TIMES),
        "updated_at": rng.choice(TIMES),
    }
    for key in ("session_id", "thread_id"):
        if rng.random() < 0.7:
            record[key] = rng.choice([None, "s1", "s2", "", "a\0b", "é"])
    data: Any = {"state": some_value(rng)}
    if rng.random() < 0.9:
        data["metadata"] = some_metadata(rng)
    if rng.random() < 0.1:
        data = rng.choice([None, "text", 1, [data, 3, [data]], [data, {"metadata": some_metadata(rng)}]])
    record["data"] = data
    if rng.random() < 0.3:
        record["metadata"] = some_metadata(rng)
    return record


def some_path(rng: Random) -> str:
    root = rng.choice(["data.metadata"] * 12 + ["metadata"] * 2 + ["envelope"] * 4 + ["data.state", "data", "other"])
    if root == "envelope":
        return rng.choice([*ENVELOPE, "id.a", "session_id.0"])
    steps = [rng.choice(STEPS) for _ in range(rng.choice([0, 1, 1, 1, 1, 2, 2, 3]))]
    if rng.random() < 0.15:
        return rng.choice(TIME_PATH_NAMES)
    if root == "data.metadata" and rng.random() < 0.3:
        steps = [rng.choice(["status", "user_id", "tags"])]
    if root == "data.metadata" and rng.random() < 0.02:
        root = r"data\.metadata"
    return f"{root}.{write_path(steps)}" if steps else root


def met_path(rng: Random, record: JsonObject) -> str:
    """Return a path that leads somewhere in a record, sometimes past the arrays on the way."""
    value: Any = record
    steps: list[str] = []
    while rng.random() < 0.85 or len(steps) < 2:
        if isinstance(value, list) and value:
            at = rng.randrange(len(value))
            value = value[at]
            if rng.random() < 0.5:
                steps.append(str(at))
        elif isinstance(value, dict) and (keys := [key for key in value if key]):
            likely = [key for key in ("data", "metadata") if key in keys and rng.random() < 0.8]
            step = rng.choice(likely or keys)
            value = value[step]
            steps.append(step)
        else:
            break
    return write_path(steps)


def met_value(rng: Random, record: JsonObject, path: str) -> Any:
    """Return a value that a path leads to, or one like it."""
    found = [value for value in reached(record, parse_path(path)) if value is not ABSENT]
    value = rng.choice(found or SCALARS)
    if isinstance(value, list) and value and rng.random() < 0.6:
        value = rng.choice(value)
    if type(value) in (int, float, bool) and rng.random() < 0.2:
        value = rng.choice([int(value) if abs(value) < 2**64 else 1, bool(value), str(value), float(value)])
    return value


def some_operand(rng: Random, operator: str, value: Callable[[], Any]) -> Any:
    if operator in ("$in", "$nin", "$all"):
        return [value() for _ in range(rng.randrange(4))]
    if operator in ("$gt", "$gte", "$lt", "$lte"):
        ordered = [made for made in (value(), value(), "a") if isinstance(made, str | int | float | datetime)]
        return ordered[0]
    if operator == "$exists":
        return rng.random() < 0.5
    if operator == "$regex":
        return rng.choice(PATTERNS)
    if operator == "$not":
        return some_operators(rng, value)
    return value()


def some_operators(rng: Random, value: Callable[[], Any]) -> JsonObject:
    operators = rng.choices(FIELD_OPERATORS, k=rng.choice([1, 1, 2]))
    return {operator: some_operand(rng, operator, value) for operator in operators}


def some_filter(rng: Random, records: list[JsonObject], depth: int = 0) -> JsonObject:
    if depth < 3 and rng.random() < 0.3:
        parts = [some_filter(rng, records, depth + 1) for _ in range(rng.choice([1, 2, 2, 3]))]
        return {rng.choice(["$and", "$and", "$or", "$nor"]): parts}
    wanted: JsonObject = {}
    for _ in range(rng.choice([0, 1, 1, 1, 1, 2])):
        path = met_path(rng, rng.choice(records)) if rng.random() < 0.6 else some_path(rng)

        def value(path: str = path) -> Any:
            if path in TIME_PATH_NAMES:
                return rng.choice(OPERAND_TIMES)
            if rng.random() < 0.7:
                return met_value(rng, rng.choice(records), path)
            return rng.choice([*SCALARS, *TIMES, ["a", "b"], {"a": 1}, some_value(rng)])

        if path in TIME_PATH_NAMES and rng.random() < 0.1:
            wanted[path] = None
            continue
        wanted[path] = {"$eq": value()} if rng.random() < 0.4 else some_operators(rng, value)
        if rng.random() < 0.2 and not isinstance(wanted[path].get("$eq", []), dict | list):
            wanted[path] = wanted[path]["$eq"]
    return wanted


def some_order(rng: Random, records: list[JsonObject]) -> Order:
    if rng.random() < 0.2:
        return parse_order(None)
    path = rng.choice([*ENVELOPE, some_path(rng), *(met_path(rng, rng.choice(records)) for _ in range(5))])
    return parse_order(rng.choice(["", "-"]) + path)
