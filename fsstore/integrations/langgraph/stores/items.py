"""Items in a storage: got, searched, put in one commit, and removed when their time is over.

    item/LABEL/LABEL/KEY                an item; labels and key are percent-encoded

Owns the records. The items below a namespace are a range of ids, so that nothing else is looked at. An item that
expires says when, and after how many minutes without being used; being read moves that and is no update. Invariants:
- What one batch puts is one commit; its reads see what was there before.
- What can be read is read also where nothing can be written: the end of an item stays where it was.
- An item is removed for its age only if it is still that old, whoever reads it meanwhile.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any

from langgraph.store.base import GetOp, Item, ListNamespacesOp, Op, PutOp, SearchItem, SearchOp, validate_op_namespace

from fsstore.errors import StorageCorruptedError, StorageUnavailableError, StorageValidationError
from fsstore.integrations.langgraph.naming import ITEM
from fsstore.integrations.langgraph.shapes import checked, is_item
from fsstore.integrations.langgraph.stores.matching import check_conditions, check_filter, fulfils, is_within
from fsstore.integrations.parts import part
from fsstore.integrations.plain import plain
from fsstore.interfaces import IUnifiedStorage
from fsstore.model.mutations import AnyMutation, Mutation, deleting, saving
from fsstore.model.records import Filters, JsonObject, Records
from fsstore.model.times import format_time

_logger = logging.getLogger("fsstore")
_unreadable = logging.getLogger("fsstore.unreadable")

_ROOT = "item"
_AFTER_SLASH = "0"
"""The character after the slash: where the range of what is below a namespace ends."""
_EXPIRES = "data.metadata.expires_at"
_MOST_AT_ONCE = 500


class Items:
    """The items in one storage; `refreshes` and `omits_expired` are the settings of their lifetime."""

    def __init__(self, storage: IUnifiedStorage, *, refreshes: bool = False, omits_expired: bool = False) -> None:
        self._storage = storage
        self._refreshes = refreshes
        self._omits_expired = omits_expired

    async def batch(self, ops: Iterable[Op]) -> list[Any]:
        """Do what the operations say: the reads first, then what is put, of which the last of one key counts."""
        ops = list(ops)
        for op in ops:
            _check(op)
        results = [await self._read(op) for op in ops]
        puts = {_id_of(op.namespace, op.key): op for op in ops if isinstance(op, PutOp)}
        if puts:
            await self._storage.commit([self._putting(name, op) for name, op in puts.items()])
        return results

    async def sweep(self) -> int:
        """Remove the items whose time is over, and return how many."""
        now = self._now()
        found = await self._storage.list_metadata({"type": ITEM, _EXPIRES: {"$lte": now}})
        removed = 0
        for at in range(0, len(found), _MOST_AT_ONCE):
            removed += await self._remove_expired([summary["id"] for summary in found[at : at + _MOST_AT_ONCE]], now)
        return removed

    # -- reading ------------------------------------------------------------------------------------------------------

    async def _read(self, op: Op) -> Any:
        if isinstance(op, GetOp):
            return await self._get(op)
        if isinstance(op, SearchOp):
            return await self._search(op)
        return await self._namespaces(op) if isinstance(op, ListNamespacesOp) else None

    async def _get(self, op: GetOp) -> Item | None:
        record = await self._load(_id_of(op.namespace, op.key))
        if record is None or await self._is_over(record):
            return None
        await self._used([record], refresh=op.refresh_ttl)
        return Item(**_told(record))

    async def _search(self, op: SearchOp) -> list[SearchItem]:
        found: Records = []
        summaries = await self._summaries(op.namespace_prefix)
        # most recently updated first, as other lists are; those of one moment by their ids
        for summary in sorted(summaries, key=lambda summary: str(summary["updated_at"]), reverse=True):
            if len(found) >= op.offset + op.limit:
                break
            record = await self._listed(summary["id"])
            if record is not None and fulfils(record["data"]["value"], op.filter) and not await self._is_over(record):
                found.append(record)
        wanted = found[op.offset : op.offset + op.limit]
        await self._used(wanted, refresh=op.refresh_ttl)
        return [SearchItem(**_told(record)) for record in wanted]

    async def _load(self, name: str) -> JsonObject | None:
        """Return an item, None when there is none. Raises StorageCorruptedError."""
        record = await self._storage.load(name)
        return checked(record) if record is not None and record["type"] == ITEM else None

    async def _listed(self, name: str) -> JsonObject | None:
        """Return an item for a list, None for one that is gone, or cannot be read, with a warning."""
        try:
            return await self._load(name)
        except StorageCorruptedError as error:
            _unreadable.warning("the item %s is left out of a list: %s", name, error)
            return None

    async def _namespaces(self, op: ListNamespacesOp) -> list[tuple[str, ...]]:
        conditions = op.match_conditions or ()
        prefixes = [tuple(each.path) for each in conditions if each.match_type == "prefix" and "*" not in each.path]
        now = self._now()
        found = {
            tuple(summary["metadata"]["namespace"])
            for summary in await self._summaries(max(prefixes, key=len, default=()))
            if is_item(summary) and not (self._omits_expired and _is_over(summary["metadata"], now))
        }
        matching = {
            namespace[: op.max_depth]
            for namespace in found
            if all(is_within(namespace, each.match_type, each.path) for each in conditions)
        }
        return sorted(matching)[op.offset : op.offset + op.limit]

    async def _summaries(self, namespace: Sequence[str]) -> Records:
        """Return what the index has of the items below a namespace; in the order of their ids."""
        below = f"{_path_of(namespace)}/"
        wanted: Filters = {"type": ITEM, "id": {"$gt": below, "$lt": below[:-1] + _AFTER_SLASH}}
        return await self._storage.list_metadata(wanted, order_by="id")

    # -- lifetimes ----------------------------------------------------------------------------------------------------

    async def _is_over(self, record: JsonObject) -> bool:
        """Whether an item is not to be seen any more; it is removed then."""
        now = self._now()
        if not self._omits_expired or not _is_over(record["data"]["metadata"], now):
            return False
        with _reading_goes_on("an item whose time is over could not be removed"):
            await self._remove_expired([record["id"]], now)
        return True

    async def _remove_expired(self, names: Sequence[str], now: str) -> int:
        def rule(current: JsonObject | None) -> JsonObject | None:
            return None if current is None or _is_over(current["data"]["metadata"], now) else current

        outcomes = await self._storage.commit([Mutation(name, rule) for name in names])
        return sum(outcome.before > 0 and outcome.after == 0 for outcome in outcomes)

    async def _used(self, records: Records, *, refresh: bool) -> None:
        """Move the end of what was read, as far as it has one."""
        if not (refresh and self._refreshes):
            return

        def rule(current: JsonObject | None) -> JsonObject | None:
            if current is None or "ttl_minutes" not in current["data"]["metadata"]:
                return current
            metadata = current["data"]["metadata"]
            moved = {**metadata, "expires_at": self._end(metadata["ttl_minutes"])}
            return {**current, "data": {**current["data"], "metadata": moved}}

        expiring = [record["id"] for record in records if "ttl_minutes" in record["data"]["metadata"]]
        if expiring:
            # to be read is no update: the times stay
            with _reading_goes_on("items that were read expire as if they had not been"):
                await self._storage.commit([Mutation(name, rule, keep_times=True) for name in expiring])

    def _end(self, minutes: Any) -> str:
        try:
            return format_time(self._storage.clock() + timedelta(minutes=minutes))
        except (OverflowError, TypeError, ValueError) as error:
            raise StorageValidationError(
                reason=f"must be a number of minutes that end in this calendar, not {minutes!r}", path="ttl"
            ) from error

    def _now(self) -> str:
        return format_time(self._storage.clock())

    # -- putting ------------------------------------------------------------------------------------------------------

    def _putting(self, name: str, op: PutOp) -> AnyMutation:
        if op.value is None:
            return deleting(name)
        metadata: JsonObject = {"namespace": plain(list(op.namespace)), "key": plain(op.key)}
        if op.ttl is not None:
            metadata |= {"ttl_minutes": plain(op.ttl), "expires_at": self._end(op.ttl)}
        data = {"metadata": metadata, "value": plain(op.value)}
        return saving({"id": name, "type": ITEM, "data": data})


def _check(op: Op) -> None:
    """Raise InvalidNamespaceError, or StorageValidationError, for what cannot be done; before anything is."""
    if not isinstance(op, GetOp | SearchOp | ListNamespacesOp | PutOp):
        raise StorageValidationError(reason=f"unknown operation {type(op).__name__}", path="ops")
    validate_op_namespace(op)
    if isinstance(op, GetOp | PutOp) and not isinstance(op.key, str):
        raise StorageValidationError(reason=f"must be text, not {type(op.key).__name__}", path="key")
    if isinstance(op, PutOp) and not (op.value is None or isinstance(op.value, Mapping)):
        raise StorageValidationError(reason=f"must be a mapping, not {type(op.value).__name__}", path="value")
    if isinstance(op, SearchOp | ListNamespacesOp):
        for name, number in (("limit", op.limit), ("offset", op.offset)):
            if not isinstance(number, int) or number < 0:
                raise StorageValidationError(reason=f"must be a number, not negative: not {number!r}", path=name)
    if isinstance(op, ListNamespacesOp):
        check_conditions(op.match_conditions or ())
    if isinstance(op, SearchOp):
        check_filter(op.filter)
        if op.query:
            raise StorageValidationError(
                reason="there is no search by meaning here",
                path="query",
                advice="search by namespace and filter, or use a store that has vectors",
            )


@contextmanager
def _reading_goes_on(consequence: str) -> Iterator[None]:
    """Let a read succeed where the store cannot be written, such as on a full disk, with a warning."""
    try:
        yield
    except StorageUnavailableError as error:
        _logger.warning("%s: %s", consequence, error)


def _path_of(namespace: Sequence[str]) -> str:
    return "/".join([_ROOT, *map(part, namespace)])


def _id_of(namespace: Sequence[str], key: str) -> str:
    return f"{_path_of(namespace)}/{part(key)}"


def _is_over(metadata: Mapping[str, Any], now: str) -> bool:
    end = metadata.get("expires_at")
    return end is not None and end <= now


def _told(record: JsonObject) -> dict[str, Any]:
    """Return what an item is made of."""
    metadata = record["data"]["metadata"]
    return {
        "namespace": tuple(metadata["namespace"]),
        "key": metadata["key"],
        "value": record["data"]["value"],
        "created_at": datetime.fromisoformat(record["created_at"]),
        "updated_at": datetime.fromisoformat(record["updated_at"]),
    }
