"""Values of LangGraph as JSON that people can read, and back, bit by bit.

The serializer of a saver gives a type and bytes. Its msgpack is written out as JSON, without building any object: so
loading hands the same msgpack to the serializer, whose list of allowed classes holds. What JSON cannot carry is marked:

- `{"$ext": 5, "value": [...]}` is an object of a class: module, name, and what it is made of;
- `{"$map": [[key, value], ...]}` is a mapping with keys that are no text, or begin with `$`;
- `{"$bytes": "..."}` is base64, `{"$float": "nan"}` a number that JSON has not;
- `{"$typed": "...", "base64": "..."}` is all that is not msgpack, such as encrypted values, or would not come back the
  same.

The order of the keys of a mapping is not kept, as nowhere in a store.
"""

from __future__ import annotations

import math
from base64 import b64decode, b64encode
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import ormsgpack

_MOST_DEPTH = 150
"""How deep a value may be; a store takes 200, and some are above it."""


class _Ext(NamedTuple):
    """What an extension type holds, not looked at."""

    code: int
    data: bytes


class _NotCarriedError(Exception):
    """It has no form in JSON."""


class NotWrittenError(Exception):
    """Nothing was ever written in this form."""


def written(typed: tuple[str, bytes]) -> Any:
    """Return what a serializer gave as JSON."""
    kind, data = typed
    if kind == "null":
        return None
    if kind == "msgpack":
        try:
            tree = _to_json(_unpacked(data), 0)
            if _packed(tree) == data:
                return tree
        except (_NotCarriedError, ormsgpack.MsgpackEncodeError, ValueError, TypeError):
            # it is kept as it is
            pass
    return {"$typed": kind, "base64": b64encode(data).decode("ascii")}


def read(tree: Any) -> tuple[str, bytes]:
    """Return what the serializer had given. Raises NotWrittenError, as where somebody has edited it."""
    if tree is None:
        return "null", b""
    try:
        if type(tree) is dict and "$typed" in tree:
            return tree["$typed"], b64decode(tree["base64"])
        return "msgpack", _packed(tree)
    except (KeyError, TypeError, ValueError, OverflowError, ormsgpack.MsgpackEncodeError) as error:
        raise NotWrittenError(f"a value in it was not written so: {error!r}") from error


def _unpacked(data: bytes) -> Any:
    return ormsgpack.unpackb(data, ext_hook=_Ext, option=ormsgpack.OPT_NON_STR_KEYS)


def _packed(tree: Any) -> bytes:
    packed: bytes = ormsgpack.packb(_from_json(tree), option=ormsgpack.OPT_NON_STR_KEYS)
    return packed


def _to_json(value: Any, depth: int) -> Any:
    kind = type(value)
    if kind in _PLAIN:
        return value
    if depth > _MOST_DEPTH or kind not in _WRITERS:
        raise _NotCarriedError
    return _WRITERS[kind](value, depth)


def _written_map(value: dict[Any, Any], depth: int) -> Any:
    if all(type(key) is str and key[:1] != "$" for key in value):
        return {key: _to_json(item, depth + 1) for key, item in value.items()}
    # below the mark there are two lists, of the pairs and of each pair
    return {"$map": [[_to_json(key, depth + 3), _to_json(item, depth + 3)] for key, item in value.items()]}


def _written_list(value: list[Any] | tuple[Any, ...], depth: int) -> Any:
    return [_to_json(item, depth + 1) for item in value]


def _written_float(value: float, _depth: int) -> Any:
    return value if math.isfinite(value) else {"$float": repr(value)}


def _written_bytes(value: bytes, _depth: int) -> Any:
    return {"$bytes": b64encode(value).decode("ascii")}


def _written_ext(value: _Ext, depth: int) -> Any:
    return {"$ext": value.code, "value": _to_json(_unpacked(value.data), depth + 1)}


_PLAIN = frozenset({str, int, bool, type(None)})
_WRITERS: Mapping[type, Callable[[Any, int], Any]] = {
    dict: _written_map,
    list: _written_list,
    tuple: _written_list,
    float: _written_float,
    bytes: _written_bytes,
    _Ext: _written_ext,
}


def _from_json(tree: Any) -> Any:
    kind = type(tree)
    if kind is list:
        return [_from_json(item) for item in tree]
    if kind is not dict:
        return tree
    # a mark stands alone, or with one other key
    if len(tree) <= _MOST_MARKED:
        for mark, revive in _READERS.items():
            if mark in tree:
                return revive(tree)
    return {key: _from_json(item) for key, item in tree.items()}


_MOST_MARKED = 2
_READERS: Mapping[str, Callable[[Any], Any]] = {
    "$ext": lambda tree: ormsgpack.Ext(tree["$ext"], _packed(tree["value"])),
    "$map": lambda tree: {_key(_from_json(key)): _from_json(item) for key, item in tree["$map"]},
    "$bytes": lambda tree: b64decode(tree["$bytes"]),
    "$float": lambda tree: float(tree["$float"]),
}


def _key(key: Any) -> Any:
    """Return what can be a key: a tuple for a list."""
    return tuple(map(_key, key)) if type(key) is list else key
