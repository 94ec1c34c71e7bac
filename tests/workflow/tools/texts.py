"""Tools for text and tables: count, compare, parse, reshape."""

import csv
import difflib
import io
import re
from typing import Any

from langchain_core.tools import ToolException

Row = dict[str, Any]

_WIDE = re.compile(r"[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff]")
_WORD = re.compile(r"[A-Za-z0-9]+(?:['\u2019-][A-Za-z0-9]+)*")
_SENTENCE_END = re.compile("[.!?\u3002\uff01\uff1f]+")
_WORDS_A_MINUTE = 230
_WIDE_CHARACTERS_A_MINUTE = 420


def count_words(text: str) -> Row:
    """Count words, CJK characters, sentences and paragraphs, and estimate the reading time in minutes."""
    words, wide = len(_WORD.findall(text)), len(_WIDE.findall(text))
    minutes = words / _WORDS_A_MINUTE + wide / _WIDE_CHARACTERS_A_MINUTE
    return {
        "words": words,
        "cjk_characters": wide,
        "characters": len(text),
        "sentences": len(_SENTENCE_END.findall(text)),
        "paragraphs": len([part for part in text.split("\n") if part.strip()]),
        "reading_minutes": round(minutes, 2),
    }


def compare_texts(before: str, after: str) -> Row:
    """Compare two texts line by line; returns a unified diff without its header, and a similarity of 0 to 1."""
    old, new = before.splitlines(), after.splitlines()
    diff = list(difflib.unified_diff(old, new, lineterm="", n=1))[2:]
    ratio = difflib.SequenceMatcher(None, before, after, autojunk=False).ratio()
    return {"diff": diff, "similarity": round(ratio, 4)}


def read_csv(text: str) -> list[Row]:
    """Read CSV with a header line into rows; columns that hold only numbers become numbers."""
    reader = csv.DictReader(io.StringIO(text), restkey="_extra")
    rows: list[Row] = []
    for number, row in enumerate(reader, start=2):
        if "_extra" in row or None in row.values():
            message = f"line {number} does not have {len(reader.fieldnames or [])} columns"
            raise ToolException(message)
        rows.append({key: _number_or_text(value) for key, value in row.items()})
    return rows


def transform_json(rows: list[Row], steps: list[Row]) -> list[Row]:
    """Apply steps to a list of objects, in order.

    A step is one of {"op": "pick", "fields": [..]}, {"op": "rename", "from": .., "to": ..},
    {"op": "where", "field": .., "equals": ..}, {"op": "sort", "field": .., "descending": bool},
    {"op": "total", "by": .., "field": ..}.
    """
    for step in steps:
        operation = _OPERATIONS.get(str(step.get("op")))
        if operation is None:
            message = f"unknown op {step.get('op')!r}; known: {', '.join(_OPERATIONS)}"
            raise ToolException(message)
        rows = operation(rows, step)
    return rows


def _pick(rows: list[Row], step: Row) -> list[Row]:
    return [{name: _cell(row, name, at) for name in step["fields"]} for at, row in enumerate(rows)]


def _rename(rows: list[Row], step: Row) -> list[Row]:
    old, new = step["from"], step["to"]
    for at, row in enumerate(rows):
        _cell(row, old, at)
    return [{(new if name == old else name): value for name, value in row.items()} for row in rows]


def _where(rows: list[Row], step: Row) -> list[Row]:
    return [row for at, row in enumerate(rows) if _cell(row, step["field"], at) == step["equals"]]


def _sort(rows: list[Row], step: Row) -> list[Row]:
    keys = [_cell(row, step["field"], at) for at, row in enumerate(rows)]
    try:
        order = sorted(range(len(rows)), key=keys.__getitem__, reverse=step.get("descending", False))
    except TypeError as error:
        kinds = sorted({type(key).__name__ for key in keys})
        message = f"field {step['field']!r} mixes {' and '.join(kinds)} and has no order"
        raise ToolException(message) from error
    return [rows[at] for at in order]


def _total(rows: list[Row], step: Row) -> list[Row]:
    sums: dict[Any, float] = {}
    for at, row in enumerate(rows):
        key = _cell(row, step["by"], at)
        sums[key] = round(sums.get(key, 0) + _cell(row, step["field"], at), 2)
    return [{step["by"]: key, step["field"]: total} for key, total in sums.items()]


_OPERATIONS = {"pick": _pick, "rename": _rename, "where": _where, "sort": _sort, "total": _total}


def _cell(row: Row, name: str, at: int) -> Any:
    try:
        return row[name]
    except KeyError as error:
        message = f"row {at} has no field {name!r}; it has {', '.join(sorted(row))}"
        raise ToolException(message) from error


def _number_or_text(text: str) -> int | float | str:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
