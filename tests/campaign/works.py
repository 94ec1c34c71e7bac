"""The pieces of work that the campaign interrupts, each with the store it begins with.

A piece of work is made of rounds, a round of operations that are asked for at once and become one group of commits. No
two operations touch the same document, so what became of each can be told from its documents alone.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from fsstore import FileStorage
from fsstore.filesystem.log.checkpoint import Checkpoint
from fsstore.filesystem.write import writer as writing
from fsstore.model.mutations import AnyMutation, Append, Patch, deleting, patching, saving
from fsstore.testing import HandClock
from tests.campaign.interpose import Action, Interposer
from tests.filesystem.crashing import in_child, must_be_killed, note
from tests.filesystem.faults import control, place, until

NAMES = [f"doc-{number}" for number in range(6)]
LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)
_IDLE_SECONDS = 0.002
_LOCK_TIMEOUT_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Operation:
    """A call of the store, and the documents that it changes together: afterwards all are old, or all are new."""

    run: Callable[[FileStorage], Awaitable[object]]
    ids: Sequence[str] = ()
    is_refused: bool = False
    """Whether it is refused by the rules, faults or none."""


@dataclass(frozen=True, slots=True)
class Work:
    """What is done to a store that `prepare` has made. `watched` is from where on faults may fall.

    `warm` is done before that by the same process, and belongs to what was there before.
    """

    prepare: Callable[[Path, bool], None]
    rounds: Sequence[Sequence[Operation]]
    watched: Literal["opening", "rounds", "closing"] = "rounds"
    warm: Callable[[FileStorage], Awaitable[object]] | None = None


async def opened(store: Path, *, fsync: bool, now: datetime | None = None) -> FileStorage:
    """Open a store whose clock stands still, so that equal work gives equal bytes."""
    return await FileStorage.open(
        store,
        fsync=fsync,
        clock=HandClock(now) if now else HandClock(),
        lock_timeout_seconds=_LOCK_TIMEOUT_SECONDS,
        # spares each run a look at all mounts
        allow_network=True,
    )


# -- the stores -------------------------------------------------------------------------------------------------------


async def _fill(store: Path, *, fsync: bool) -> None:
    async with await opened(store, fsync=fsync, now=LONG_AGO) as storage:
        await storage.batch_save(note(name, "old") for name in NAMES[:2])
    async with await opened(store, fsync=fsync) as storage:
        await storage.batch_save(note(name, "old") for name in NAMES[2:])
        await storage.list()


def filled(store: Path, fsync: bool) -> None:  # noqa: FBT001 - every store is prepared with these two
    """Make six documents, two of them of long ago."""
    if in_child(lambda: asyncio.run(_fill(store, fsync=fsync))) != 0:
        raise AssertionError("the store was not made")


def empty(store: Path, fsync: bool) -> None:  # noqa: ARG001, FBT001 - the same
    """Make a directory and nothing in it."""
    store.mkdir()


def half_placed(store: Path, fsync: bool) -> None:  # noqa: FBT001 - the same
    """Leave a batch whose writer died after two of its documents were in place."""
    filled(store, fsync)
    interposer = Interposer()

    async def die() -> None:
        storage = await opened(store, fsync=fsync)
        interposer.watch(store)
        interposer.only(["renameat2"])
        interposer.at(3, Action.kill_before)
        await _batch(storage)

    must_be_killed(lambda: asyncio.run(die()))


def edited_meanwhile(store: Path, fsync: bool) -> None:  # noqa: FBT001 - the same
    """Do the same, and then edit one of its documents by hand, and tear another one."""
    half_placed(store, fsync)
    edited = place(store, NAMES[1])
    edited.write_bytes(edited.read_bytes().replace(b'"x', b'"by hand x'))
    os.truncate(place(store, NAMES[0]), 100)


def three_segments(store: Path, fsync: bool) -> None:  # noqa: FBT001 - the same
    """Leave a log of three segments, whose process is gone."""
    filled(store, fsync)

    async def leave() -> None:
        storage = await opened(store, fsync=fsync)
        parts = storage._store
        checkpoint = Checkpoint(parts.documents, parts.log, parts.counters)
        for name in NAMES[:3]:
            await storage.save(note(name, "logged"))
            assert parts.writer is not None
            await asyncio.wrap_future(parts.writer.call(checkpoint.seal))
        os._exit(0)

    if in_child(lambda: asyncio.run(leave())) != 0 or len(control(store, "log")) != 3:
        raise AssertionError("there are no three segments")


def spliced(store: Path, fsync: bool) -> None:  # noqa: FBT001 - the same
    """Leave a log of splices, alone and in a batch, whose writer died before the last ones were in place."""
    filled(store, fsync)
    interposer = Interposer()

    async def die() -> None:
        storage = await opened(store, fsync=fsync)
        await _lengthen(storage)
        interposer.watch(store)
        interposer.only(["renameat2"])
        interposer.at(3, Action.kill_before)
        await storage.commit([_append(NAMES[0], "alone")])
        await storage.commit([_append(name, "in a batch") for name in NAMES[:4]])

    must_be_killed(lambda: asyncio.run(die()))


def edited(store: Path, fsync: bool) -> None:  # noqa: FBT001 - the same
    """Change, add, remove and damage documents after the index was made."""
    filled(store, fsync)
    changed = place(store, NAMES[0])
    changed.write_bytes(changed.read_bytes().replace(b'"old"', b'"edited"'))
    added = place(store, "added")
    added.parent.mkdir(exist_ok=True)
    added.write_bytes(changed.read_bytes().replace(NAMES[0].encode(), b"added"))
    place(store, NAMES[1]).unlink()
    place(store, NAMES[2]).write_bytes(b"{torn")


def damaged_index(store: Path, fsync: bool) -> None:  # noqa: FBT001 - the same
    """Put something into the place of the index that is none."""
    filled(store, fsync)
    (store / ".fsstore/index.sqlite3").write_bytes(b"no index at all" * 1000)


# -- the operations ---------------------------------------------------------------------------------------------------


def _append(name: str, text: str = "new") -> Append:
    patch = Patch(name, {"data": {"metadata": {"status": "new"}}})
    return Append(name, [{"text": text}], ("data", "log"), patch)


async def _lengthen(storage: FileStorage) -> None:
    """Make documents long that the log holds whole, so that appends to them are splices."""
    for name in NAMES:
        await storage.commit([Append(name, [{"text": "long " * 500}], ("data", "log"))])


async def _batch(storage: FileStorage) -> None:
    changes: list[AnyMutation] = [saving(note(name, "new")) for name in (NAMES[0], "added")]
    changes += [saving(note(NAMES[1], "new")), patching(NAMES[2], {"data": {"metadata": {"status": "new"}}})]
    changes += [_append(NAMES[5])]
    await storage.commit([*changes, deleting(NAMES[3]), deleting(NAMES[4])])


async def _checkpoint(storage: FileStorage) -> None:
    """Let the writer find out that it is idle, and wait for what comes of it."""
    writer = storage._store.writer
    assert writer is not None
    writing._IDLE_SECONDS = _IDLE_SECONDS
    await asyncio.wrap_future(writer.call(lambda: None))
    await until(lambda: writer.checkpoints.error or not control(storage._tree.root, "log"))


async def _look(storage: FileStorage) -> None:
    await storage.refresh()
    await storage.list({"data.metadata.status": "old"})


SAVE_NEW = Operation(lambda storage: storage.save(note("added", "new")), ["added"])
REPLACE = Operation(lambda storage: storage.save(note(NAMES[0], "new")), [NAMES[0]])
UPDATE = Operation(
    lambda storage: storage.update(NAMES[1], {"data": {"metadata": {"status": "new"}, "text": None}}), [NAMES[1]]
)
DELETE = Operation(lambda storage: storage.delete(NAMES[2]), [NAMES[2]])
BATCH = Operation(_batch, ["added", *NAMES])
CLEANUP = Operation(lambda storage: storage.cleanup_old_data(365), NAMES[:2])
APPEND = Operation(lambda storage: storage.commit([_append(NAMES[5])]), NAMES[5:])
APPEND_BATCH = Operation(lambda storage: storage.commit([_append(name) for name in NAMES[3:5]]), NAMES[3:5])
APPEND_ALL = [
    Operation(lambda storage, name=name: storage.commit([_append(name)]), [name])  # type: ignore[misc]
    for name in NAMES[:3]
]
REFUSED = Operation(lambda storage: storage.update("missing", {"data": {}}), is_refused=True)
CHECKPOINT = Operation(_checkpoint)
LOOK = Operation(_look)

WORKS: dict[str, Work] = {
    "put, update, delete": Work(filled, [[SAVE_NEW], [REPLACE], [UPDATE], [DELETE], [APPEND]]),
    "batch": Work(filled, [[BATCH]]),
    "group": Work(filled, [[REPLACE, REFUSED, UPDATE, DELETE, APPEND]]),
    "cleanup": Work(filled, [[CLEANUP]]),
    "checkpoint": Work(three_segments, [[UPDATE], [APPEND], [CHECKPOINT]]),
    "appends": Work(filled, [[APPEND], [APPEND_BATCH], APPEND_ALL], warm=_lengthen),
    "recovery of appends": Work(spliced, [[LOOK]], "opening"),
    "recovery": Work(half_placed, [[LOOK]], "opening"),
    "recovery after edits": Work(edited_meanwhile, [[LOOK]], "opening"),
    "reconcile": Work(edited, [[LOOK]], "opening"),
    "index renewal": Work(damaged_index, [[LOOK], [REPLACE], [APPEND]]),
    "first opening": Work(empty, [[SAVE_NEW]], "opening"),
    "close": Work(filled, [[REPLACE], [DELETE], [APPEND]], "closing"),
}
