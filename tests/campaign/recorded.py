"""What is done to a store while every call is recorded: pieces of work, each with what it begins with.

The work goes through a `Shop`, which numbers it and marks its beginning and its end in the record (`promises`).
"""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from fsstore import FileStorage
from fsstore.errors import StorageUnavailableError
from fsstore.filesystem.documents.codec import encode
from fsstore.filesystem.documents.layout import Layout
from fsstore.filesystem.write import writer as writing
from fsstore.model.mutations import AnyMutation, Append, Patch, deleting, patching, saving
from fsstore.testing import HandClock
from tests.campaign.interpose import Action, Interposer
from tests.campaign.promises import begun, body, document, item, told

IDS = [f"doc-{number}" for number in range(4)]
_LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)
_SOON_SECONDS = 0.005
_SMALL_SEGMENT = 3000
_SYNCS = ("fsync", "fdatasync")
FOREVER = 1 << 40


class Shop:
    """Where work is done to one store, and told of in the record."""

    def __init__(
        self, store: Path, mark: Callable[[str], None], *, first: int, interposer: Interposer | None = None
    ) -> None:
        """Work has the numbers after `first`; `interposer` is there for work that lets calls fail."""
        self.store = store
        self.interposer = interposer
        self.number = first
        self._mark = mark
        # how many items each document has
        self._lengths: dict[str, int] = {}

    async def open(self, *, fsync: bool = True, shard_depth: int = 1, clock: HandClock | None = None) -> FileStorage:
        """Open the store."""
        clocks = {"clock": clock} if clock else {}
        return await FileStorage.open(self.store, fsync=fsync, shard_depth=shard_depth, **clocks)  # type: ignore[arg-type]

    def begin(self, changes: dict[str, bool], *, durable: bool = True, edit: bool = False) -> int:
        """Mark that work begins, and return its number."""
        self.number += 1
        self._mark(begun(self.number, changes, durable=durable, edit=edit))
        return self.number

    def tell(self, number: int, word: str) -> None:
        """Mark what became of work."""
        self._mark(told(number, word))

    async def save(self, storage: FileStorage, *ids: str) -> bool:
        """Save documents as one commit."""
        return await self.commit(storage, dict.fromkeys(ids, True))

    async def delete(self, storage: FileStorage, *ids: str) -> bool:
        """Delete documents as one commit."""
        return await self.commit(storage, dict.fromkeys(ids, False))

    async def commit(
        self, storage: FileStorage, changes: dict[str, bool], *, patch: bool = False, append: bool = False
    ) -> bool:
        """Save and delete documents as one commit; False when it failed."""
        number = self.begin(changes, durable=storage.guarantees.durable)
        for key in changes:
            self._lengths[key] = self._lengths.get(key, 0) + 1 if append else 0
        try:
            if append:
                await storage.commit([_appending(key, number, self._lengths[key] - 1) for key in changes])
            else:
                await storage.commit(
                    [_mutation(key, number, there=there, patch=patch) for key, there in changes.items()]
                )
        except StorageUnavailableError as error:
            self.tell(number, "refused" if error.outcome == "not applied" else "unsure")
            return False
        self.tell(number, "acknowledged")
        return True

    async def append(self, storage: FileStorage, *ids: str) -> bool:
        """Append an item to documents as one commit."""
        return await self.commit(storage, dict.fromkeys(ids, True), append=True)

    def edit(self, record_id: str, *, sync: bool) -> None:
        """Replace a document as an editor does, with care or without."""
        number = self.begin({record_id: True}, durable=sync, edit=True)
        self._lengths[record_id] = 0
        path = self.store / Layout(1).name(record_id)
        draft = path.with_name(".edited")
        times = dict.fromkeys(("created_at", "updated_at"), "2026-01-31T09:15:00.000000+00:00")
        draft.write_bytes(encode({**document(record_id, number), "version": 1, **times}, max_bytes=1 << 20))
        if sync:
            _sync(draft)
        draft.replace(path)
        if sync:
            _sync(path.parent)
            self.tell(number, "acknowledged")

    def fail(self, sync: int, action: Action = Action.fail, *, times: int = 1, seconds: float = 0.0) -> None:
        """Let a sync fail, counted from 1 and from now on, and the next ones, as many times as that in all.

        A failing one takes so many seconds, in which others go on.
        """
        assert self.interposer is not None
        self.interposer.only(_SYNCS)
        self.interposer.slow(seconds)
        self.interposer.at(self.interposer.calls + sync, action, error=errno.EIO, times=times)

    @property
    def has_failed(self) -> bool:
        """Whether a sync has failed that was to fail."""
        return self.interposer is not None and self.interposer.fired > 0

    async def emptied(self, storage: FileStorage) -> None:
        """Wait until an idle checkpoint has emptied the log."""
        while storage._store.log.numbers() or not storage._counters.read().log_is_empty:  # noqa: ASYNC110
            # what it waits for is on disk, and sends no event
            await asyncio.sleep(0.001)


def _mutation(record_id: str, number: int, *, there: bool, patch: bool) -> AnyMutation:
    if not there:
        return deleting(record_id)
    if patch:
        return patching(record_id, {"data": body(record_id, number)})
    return saving(document(record_id, number))


def _appending(record_id: str, number: int, at: int) -> AnyMutation:
    patch = Patch(record_id, {"data": {"metadata": body(record_id, number)["metadata"]}})
    return Append(record_id, [item(record_id, number, at)], ("data", "log"), patch)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    os.fsync(descriptor)
    os.close(descriptor)


@dataclass(frozen=True, slots=True)
class Recorded:
    """A piece of work. `durable` says whether what was acknowledged must be there after a power cut."""

    run: Callable[[Shop], Coroutine[Any, Any, None]]
    prepare: Callable[[Shop], Coroutine[Any, Any, None]]
    durable: bool = True
    then: Callable[[Shop], Coroutine[Any, Any, None]] | None = None
    """What another process does when the one that runs has ended, or was killed."""


async def _nothing(shop: Shop) -> None:
    pass


async def some(shop: Shop) -> None:
    """Save three documents."""
    async with await shop.open() as storage:
        await shop.save(storage, *IDS[:3])


async def _first(shop: Shop, *, shard_depth: int = 1) -> None:
    async with await shop.open(shard_depth=shard_depth) as storage:
        await shop.save(storage, IDS[0])
        await shop.save(storage, IDS[1])


async def _singles(shop: Shop) -> None:
    async with await shop.open() as storage:
        await shop.save(storage, IDS[0])
        await shop.save(storage, IDS[3])
        await shop.commit(storage, {IDS[1]: True}, patch=True)
        await shop.save(storage, IDS[3])


async def _same(shop: Shop) -> None:
    async with await shop.open() as storage:
        for change in (shop.save, shop.delete, shop.save, shop.save, shop.delete):
            await change(storage, IDS[0])
        await shop.delete(storage, IDS[1])


async def _flight(shop: Shop) -> None:
    async with await shop.open() as storage:
        for _ in range(2):
            await asyncio.gather(*(shop.save(storage, f"doc-{at % 24}") for at in range(64)))


async def _batches(shop: Shop) -> None:
    async with await shop.open() as storage:
        await shop.save(storage, *IDS)
        await shop.commit(storage, {IDS[0]: True, IDS[1]: False, "doc-9": True})
        await shop.delete(storage, IDS[0], IDS[2])


async def _checkpoints(shop: Shop) -> None:
    writing._IDLE_SECONDS = _SOON_SECONDS
    async with await shop.open() as storage:
        await shop.save(storage, IDS[0], IDS[3])
        await shop.emptied(storage)
        await shop.save(storage, IDS[0])
        await shop.delete(storage, IDS[1])
        await shop.emptied(storage)
        await shop.save(storage, IDS[1])


async def _segments(shop: Shop) -> None:
    writing._SEGMENT_BYTES = _SMALL_SEGMENT
    async with await shop.open() as storage:
        for at in range(7):
            await shop.save(storage, IDS[0], IDS[3])
            await (shop.delete if at % 2 else shop.save)(storage, IDS[1])
            await shop.delete(storage, IDS[3])


async def _sealed(shop: Shop) -> None:
    """Let one checkpoint delete several segments, the later of which undoes what the earlier did."""
    async with await shop.open() as storage:
        writer = storage._store.writer
        assert writer is not None
        for change in (shop.save, shop.delete):
            await change(storage, IDS[3])
            await asyncio.wrap_future(writer.call(writer.checkpoints._checkpoint.seal))


async def _two(shop: Shop) -> None:
    """Let two writers have the store open, whose checkpoints empty each other's log."""
    writing._SEGMENT_BYTES = _SMALL_SEGMENT
    async with await shop.open() as one, await shop.open() as other:
        for _ in range(3):
            await shop.save(one, IDS[0], IDS[1])
            await shop.delete(other, IDS[0])
            await asyncio.gather(shop.save(one, IDS[0]), shop.save(other, IDS[3]))
            await shop.delete(other, IDS[3])


async def _edited(shop: Shop) -> None:
    async with await shop.open() as storage:
        await shop.save(storage, IDS[0])
        shop.edit(IDS[0], sync=True)
        await shop.save(storage, IDS[1])
        shop.edit(IDS[1], sync=True)
        await shop.save(storage, IDS[1])


async def _overtaken(shop: Shop) -> None:
    """Save documents whose last change, by an editor, is not on the disk yet."""
    async with await shop.open() as storage:
        shop.edit(IDS[0], sync=False)
        await shop.save(storage, IDS[0])
        number = shop.begin({IDS[1]: False}, durable=False, edit=True)
        (shop.store / Layout(1).name(IDS[1])).unlink()
        shop.tell(number, "unsure")
        await shop.save(storage, IDS[1])


async def _appends(shop: Shop) -> None:
    """Append until splices stand on splices, alone and in batches, and after a save and an edit in between."""
    async with await shop.open() as storage:
        for _ in range(5):
            await shop.append(storage, IDS[0])
        await shop.append(storage, IDS[0], IDS[1])
        await shop.append(storage, IDS[0], IDS[1])
        await shop.save(storage, IDS[1])
        await shop.append(storage, IDS[1])
        await shop.append(storage, IDS[1])
        shop.edit(IDS[0], sync=True)
        await shop.append(storage, IDS[0])
        await shop.append(storage, IDS[0])


async def _appends_in_segments(shop: Shop) -> None:
    writing._SEGMENT_BYTES = 2 * _SMALL_SEGMENT
    async with await shop.open() as storage:
        for at in range(14):
            await shop.append(storage, IDS[0])
            if at % 3 == 0:
                await shop.append(storage, IDS[1], IDS[2])


async def _appends_in_turn(shop: Shop) -> None:
    """Let two writers append to the same documents in turn, and each to one of its own."""
    async with await shop.open() as one, await shop.open() as other:
        for _ in range(3):
            for storage, own in ((one, IDS[1]), (other, IDS[2])):
                await shop.append(storage, IDS[0])
                await shop.append(storage, IDS[0])
                await shop.append(storage, own)


async def _old(shop: Shop) -> None:
    async with await shop.open(clock=HandClock(_LONG_AGO)) as storage:
        await shop.save(storage, *IDS[:2])
    async with await shop.open() as storage:
        await shop.save(storage, IDS[2])


async def _cleanup(shop: Shop) -> None:
    async with await shop.open() as storage:
        number = shop.begin(dict.fromkeys(IDS[:2], False))
        await storage.cleanup_old_data(30)
        shop.tell(number, "acknowledged")
        await shop.save(storage, IDS[0])


async def _careless(shop: Shop) -> None:
    async with await shop.open(fsync=False) as storage:
        await shop.save(storage, IDS[0])
        await shop.save(storage, IDS[3])
        await shop.save(storage, IDS[1], IDS[2])
        await shop.delete(storage, IDS[0])


async def _mixed(shop: Shop) -> None:
    """Let a writer that syncs follow one that does not."""
    async with await shop.open(fsync=False) as careless, await shop.open() as careful:
        await shop.save(careful, IDS[0])
        await shop.save(careless, "doc-8", "doc-9")
        await shop.save(careless, IDS[0])
        await shop.save(careful, IDS[0])
        await shop.delete(careless, IDS[1])
        await shop.save(careful, IDS[1], "doc-8")


SCENARIOS: dict[str, Recorded] = {
    "first": Recorded(_first, _nothing),
    "first of depth 2": Recorded(partial(_first, shard_depth=2), _nothing),
    "singles": Recorded(_singles, some),
    "one document": Recorded(_same, some),
    "64 in flight": Recorded(_flight, some),
    "batches": Recorded(_batches, some),
    "checkpoints": Recorded(_checkpoints, some),
    "segments": Recorded(_segments, some),
    "segments deleted together": Recorded(_sealed, some),
    "two writers": Recorded(_two, some),
    "edits": Recorded(_edited, some),
    "overtaken edits": Recorded(_overtaken, some),
    "appends": Recorded(_appends, some),
    "appends in segments": Recorded(_appends_in_segments, some),
    "appends in turn": Recorded(_appends_in_turn, some),
    "cleanup": Recorded(_cleanup, _old),
    "without fsync": Recorded(_careless, some, durable=False),
    "with and without": Recorded(_mixed, some),
}
