"""Which documents have the entries of which conversation, and what becomes of them when one is deleted. Pure.

A fork begins in the entries of another conversation. Its document says in whose (`shares`), and theirs says so, too
(`shared_with`), so that nobody need be looked for. Invariants:
- Every entry that a conversation needs is in its own document, or in one of those that can be reached by `shares`.
- What outlives its conversation is `CONVERSATION/kept/REVISION`, of the type `pydantic_ai.entries`: the entries that
  others still need, and no more. It goes with the last of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from fsstore.errors import StorageCorruptedError
from fsstore.integrations.parts import part
from fsstore.model.expected import Expected
from fsstore.model.mutations import AnyMutation, Check, Delete, saving
from fsstore.model.records import JsonObject
from fsstore.sessions.mutations import SESSION

KEPT = "pydantic_ai.entries"
"""The type of entries whose conversation is deleted."""
SHARES, SHARED_WITH = "shares", "shared_with"


def is_ours(record: Mapping[str, Any] | None) -> bool:
    """Whether a record, or the part of it that has its type and metadata, is a conversation, or what one has left.

    Raises StorageCorruptedError for one of ours that somebody else has changed so that it cannot be followed.
    """
    if record is None or record["type"] not in (SESSION, KEPT):
        return False
    data = record.get("data")
    metadata = data.get("metadata") if type(data) is dict else None
    if type(metadata) is not dict or "revision" not in metadata:
        return False
    named = [metadata.get(key, []) for key in ("branches", SHARES, SHARED_WITH)]
    is_followed = all(type(names) is list and all(type(name) is str for name in names) for names in named)
    if not is_followed or type(metadata.get("head_id")) not in (str, type(None)):
        raise StorageCorruptedError(id=metadata.get("session_id"), reason="its metadata is not that of a conversation")
    check_items(record.get("id"), record["data"].get("messages", []))
    return True


def check_items(name: str | None, items: Any) -> None:
    """Raise StorageCorruptedError unless these are entries, each of which says what comes before it."""
    if type(items) is not list or not all(
        type(item) is dict and type(item.get("id")) is str and type(item.get("parent_id", 0)) in (str, type(None))
        for item in items
    ):
        raise StorageCorruptedError(id=name, reason="its messages are not those of a conversation")


def metadata_in(record: Mapping[str, Any]) -> JsonObject:
    """Return the metadata of a record of ours."""
    metadata: JsonObject = record["data"]["metadata"]
    return metadata


def items_in(record: Mapping[str, Any]) -> list[JsonObject]:
    """Return the entries of a record of ours."""
    items: list[JsonObject] = record["data"].get("messages", [])
    return items


def neighbours(record: Mapping[str, Any]) -> list[str]:
    """Return the documents whose entries a record needs, and those that need its own."""
    metadata = metadata_in(record)
    return [*metadata.get(SHARES, ()), *metadata.get(SHARED_WITH, ())]


def tips_of(metadata: Mapping[str, Any]) -> list[str]:
    """Return the newest entry of a conversation, and the last ones of the branches that it has left."""
    head = metadata.get("head_id")
    return [*([] if head is None else [head]), *metadata.get("branches", ())]


def shared_with(record: JsonObject, name: str) -> AnyMutation:
    """Return the change after which a record says that another document needs its entries, if it is as it was seen."""
    metadata = metadata_in(record)
    others = metadata.get(SHARED_WITH, ())
    if name in others:
        return _as_seen(record)
    return _rewritten(record, {**metadata, SHARED_WITH: sorted([*others, name])})


def deleting(family: Mapping[str, JsonObject], gone: str) -> list[AnyMutation]:
    """Return the changes that delete a conversation of a family, which is all that can be reached from it.

    They are refused where one of these documents is not as it was seen.
    """
    living = {name: record for name, record in family.items() if record["type"] == SESSION and name != gone}
    dead = {name: record for name, record in family.items() if name not in living}
    needed = _needed(living.values(), dead.values())
    whole = metadata_in(family[gone])
    kept_as = f"{gone}/kept/{part(whole['revision'])}"
    left = {
        kept_as if name == gone else name: [item for item in items_in(record) if item["id"] in needed]
        for name, record in dead.items()
    }
    after = {**{name: items_in(record) for name, record in living.items()}, **left}
    shares = _shares(after, {name: tips_of(metadata_in(record)) for name, record in living.items()})
    changes: list[AnyMutation] = [Delete(gone, Expected(family[gone]["version"]))]
    for name, items in after.items():
        metadata: JsonObject = {
            SHARES: shares[name],
            SHARED_WITH: sorted(other for other in after if name in shares[other]),
        }
        if name == kept_as:
            if items:
                metadata |= {key: whole[key] for key in ("conversation_id", "revision")}
                data = {"metadata": metadata, "messages": items}
                changes.append(saving({"id": name, "type": KEPT, "data": data}, expected_version=0))
        elif not items and name in dead:
            changes.append(Delete(name, Expected(family[name]["version"])))
        else:
            changes.append(_if_changed(family[name], metadata, items))
    return changes


def _needed(living: Iterable[JsonObject], dead: Iterable[JsonObject]) -> set[str]:
    """Return those entries of dead documents that living ones still reach."""
    parents = {item["id"]: item["parent_id"] for record in dead for item in items_in(record)}
    waiting = [found for record in living for found in _references(tips_of(metadata_in(record)), items_in(record))]
    needed: set[str] = set()
    while waiting:
        entry = waiting.pop()
        if entry in parents and entry not in needed:
            needed.add(entry)
            waiting.append(parents[entry])
    return needed


def _shares(after: Mapping[str, Sequence[JsonObject]], tips: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    """Return, for each document, the others whose entries it refers to."""
    owners = {item["id"]: name for name, items in after.items() for item in items}
    return {
        name: sorted({owners[found] for found in _references(tips.get(name, ()), items) if found in owners} - {name})
        for name, items in after.items()
    }


def _references(tips: Iterable[str], items: Iterable[JsonObject]) -> Iterator[str]:
    yield from tips
    yield from (item["parent_id"] for item in items if item["parent_id"] is not None)


def _if_changed(record: JsonObject, changed: JsonObject, items: list[JsonObject]) -> AnyMutation:
    before = metadata_in(record)
    if all(changed[key] == before.get(key, []) for key in changed) and items == items_in(record):
        return _as_seen(record)
    return _rewritten(record, {**before, **changed}, items)


def _as_seen(record: JsonObject) -> Check:
    return Check(record["id"], Expected(record["version"]))


def _rewritten(record: JsonObject, metadata: JsonObject, items: list[JsonObject] | None = None) -> AnyMutation:
    """Return a change of a record that is no update of its conversation; refused unless it is as it was seen."""
    data = {**record["data"], "metadata": metadata}
    if items is not None:
        data["messages"] = items
    return saving({**record, "data": data}, expected_version=record["version"], keep_times=True)
