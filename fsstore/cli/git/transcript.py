"""A document as people read it in a diff: its keys in an outline, its messages as a conversation. Pure: no I/O.

    session s-1
      version: 3
    data:
      metadata:
        status: "done"
    messages
    [user] 2026-01-31T09:15:00+00:00
        Where is my order?
      id: "m1"

Invariants:
- Equal records give equal text, and different ones different text: no change of a value is ever hidden.
- Nothing is numbered and nothing aligned, so that a change shows where it is and nowhere else.
- The text holds no control characters but line ends and tabs; a string with others is written as JSON.
"""

from __future__ import annotations

# not orjson, which takes longer to load than everything else here, and git loads this for each version
import json
import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    # pydantic, which it loads, would take most of the time that it takes to show a document
    from fsstore.model.records import JsonObject

FORM = 1
"""The number of this form. git keeps the texts that it was given under it: each change of the form needs a new one."""

_STEP = "  "
_PLAIN_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*\Z")
_LONGEST_INLINE = 80
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")


def transcript(record: JsonObject) -> str:
    """Return a record as text; O(its size). Raises ValueError for a number that is none in JSON."""
    data = record.get("data")
    envelope = {key: value for key, value in record.items() if key not in ("id", "type", "data")}
    lines = [f"{_text(record.get('type'))} {_text(record.get('id'))}", *_outline(envelope, _STEP)]
    messages = data.get("messages") if isinstance(data, dict) else None
    if not (isinstance(data, dict) and isinstance(messages, list) and messages):
        return _joined([*lines, *_named("data", data, "")])
    rest = {key: value for key, value in data.items() if key != "messages"}
    lines += _named("data", rest, "")
    lines.append("messages")
    for message in messages:
        lines += _message(message)
    return _joined(lines)


def _joined(lines: list[str]) -> str:
    return "".join(f"{line}\n" for line in lines)


def _message(message: Any) -> Iterator[str]:
    if not isinstance(message, dict) or not isinstance(message.get("role"), str):
        # a message of some other form
        yield from _item(message, "")
        return
    shown = {"role"}
    heading = f"[{_text(message['role'])}]"
    if isinstance(message.get("created_at"), str):
        heading += f" {_text(message['created_at'])}"
        shown.add("created_at")
    yield heading
    content = message.get("content")
    if isinstance(content, str) and not _CONTROLS.search(content):
        yield from _block(content, _STEP)
        shown.add("content")
    yield from _outline({key: value for key, value in message.items() if key not in shown}, _STEP)


def _outline(value: Mapping[str, Any], indent: str) -> Iterator[str]:
    for key in sorted(value):
        yield from _named(key if _PLAIN_KEY.match(key) else _json(key), value[key], indent)


def _named(name: str, value: Any, indent: str) -> Iterator[str]:
    if isinstance(value, str) and "\n" in value and not _CONTROLS.search(value):
        yield f"{indent}{name}: |"
        yield from _block(value, indent)
    elif _is_inline(value):
        yield f"{indent}{name}: {_json(value)}"
    elif isinstance(value, dict):
        yield f"{indent}{name}:"
        yield from _outline(value, indent + _STEP)
    else:
        yield f"{indent}{name}:"
        for item in value:
            yield from _item(item, indent + _STEP)


def _item(value: Any, indent: str) -> Iterator[str]:
    if isinstance(value, dict) and value:
        yield f"{indent}-"
        yield from _outline(value, indent + _STEP)
    else:
        yield from _named("-", value, indent)


def _block(text: str, indent: str) -> Iterator[str]:
    """Give the lines of a text, indented deeper than any key beside it."""
    yield from (f"{indent}{_STEP}{line}" for line in text.split("\n"))


def _is_inline(value: Any) -> bool:
    if isinstance(value, dict):
        return not value
    if isinstance(value, list):
        return not any(isinstance(item, dict | list) and item for item in value) and len(_json(value)) < _LONGEST_INLINE
    return True


def _text(value: Any) -> str:
    """Return a string as it is where nothing else can be written so, anything else as JSON."""
    if isinstance(value, str) and re.fullmatch(r"[\w.:+@/-]+", value):
        return value
    return _json(value)


def _json(value: Any) -> str:
    # \u escapes mean the same in JSON
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return _CONTROLS.sub(lambda found: f"\\u{ord(found[0]):04x}", text)
