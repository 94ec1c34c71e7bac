"""Records and entries of conversations as they stand in documents. Pure.

A conversation is a session: what its record says is in the metadata, where an index keeps it, and its entries are the
messages, in the order in which they were stored. The scope stands under `user_id`, by which sessions are listed, and
the time of the last save under `saved_at`, since a fork changes the document, too.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pydantic import TypeAdapter, ValidationError
from pydantic_ai.conversation_store import ConversationEntry, ConversationRecord
from pydantic_ai.messages import ModelMessagesTypeAdapter

from fsstore.errors import StorageCorruptedError, StorageValidationError
from fsstore.model.records import JsonObject
from fsstore.model.times import format_time
from fsstore.model.values import copy_value, write_json

_RECORD: TypeAdapter[ConversationRecord] = TypeAdapter(ConversationRecord)
_AS_THEY_ARE = (
    "conversation_id",
    "head_id",
    "usage",
    "forked_from",
    "forked_at",
    "branches",
    "revision",
    "format_version",
)
_DEFERRED = "deferred_tool_requests"


def metadata_of(record: ConversationRecord) -> JsonObject:
    """Return what a record says as metadata, with None for what it does not say. Raises StorageValidationError."""
    said = _dumped(_RECORD, record, "record")
    deferred = said[_DEFERRED]
    made = {
        **{key: said[key] for key in _AS_THEY_ARE},
        "user_id": said["scope"],
        "saved_at": format_time(record.updated_at),
        # a merge patch replaces a list, and would leave out what is null in an object
        _DEFERRED: None if deferred is None else [deferred],
    }
    checked: JsonObject = copy_value({"metadata": made})["metadata"]
    return checked


def record_of(name: str, metadata: Any) -> ConversationRecord:
    """Return the record that metadata stands for. Raises StorageCorruptedError where somebody else has changed it."""
    if type(metadata) is not dict:
        raise StorageCorruptedError(id=name, reason="its metadata is not that of a conversation")
    said = {key: metadata[key] for key in _AS_THEY_ARE if key in metadata}
    said |= {"head_id": metadata.get("head_id"), "scope": metadata.get("user_id")}
    said |= {"updated_at": metadata.get("saved_at"), _DEFERRED: _first(metadata.get(_DEFERRED))}
    try:
        return _RECORD.validate_json(write_json(said))
    except ValidationError as error:
        raise StorageCorruptedError(id=name, reason=f"its metadata is not that of a conversation: {error}") from error


def _first(wrapped: Any) -> Any:
    return wrapped[0] if type(wrapped) is list and wrapped else wrapped or None


def items_of(entries: Sequence[ConversationEntry]) -> list[JsonObject]:
    """Return entries as items of a list of messages. Raises StorageValidationError."""
    dumped = _dumped(ModelMessagesTypeAdapter, [entry.message for entry in entries], "messages")
    return [
        {"id": entry.id, "parent_id": entry.parent_id, "kind": entry.kind, "message": message}
        for entry, message in zip(entries, dumped, strict=True)
    ]


def _dumped(adapter: TypeAdapter[Any], value: Any, name: str) -> Any:
    try:
        return adapter.dump_python(value, mode="json")
    except (ValueError, RecursionError) as error:
        # what pydantic raises for objects, circles, and bytes that are no text
        raise StorageValidationError(reason=f"it cannot be stored as JSON: {error}", path=name) from error


def entries_of(name: str, items: Sequence[Mapping[str, Any]]) -> list[ConversationEntry]:
    """Return the entries that items stand for. Raises StorageCorruptedError where somebody else has changed them."""
    try:
        # as JSON, in which bytes are base64
        messages = ModelMessagesTypeAdapter.validate_json(write_json([item["message"] for item in items]))
        return [
            ConversationEntry(id=item["id"], parent_id=item["parent_id"], message=message, kind=item["kind"])
            for item, message in zip(items, messages, strict=True)
        ]
    except (KeyError, ValidationError) as error:
        raise StorageCorruptedError(id=name, reason=f"its messages are not those of Pydantic AI: {error}") from error


def replacing(old: Any, new: Any) -> Any:
    """Return the merge patch that puts a value in the place of another."""
    if type(old) is dict and type(new) is dict:
        return {key: replacing(old.get(key), new.get(key)) for key in old.keys() | new.keys()}
    return new


def given(values: Iterable[tuple[str, Any]]) -> JsonObject:
    """Return an object without what is None."""
    return {key: value for key, value in values if value is not None}
