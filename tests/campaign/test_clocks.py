"""What a coarse clock hides: two states of a file with one inode number, one size and one time.

What is remembered of a file must not stand for another state of it. Each history is played on a fine clock and on
coarse ones; where a step takes less than a tick, nothing but the bytes tells two states apart.
"""

from __future__ import annotations

import json
import os
import random
from contextlib import suppress
from pathlib import Path

from fsstore import FileStorage, SessionService
from fsstore.errors import StorageConflictError, StorageCorruptedError, StorageError
from fsstore.model.records import JsonObject
from tests.campaign.conftest import Ground, Report
from tests.filesystem.faults import place
from tests.filesystem.rescan import contradictions

ROUNDS, DAMAGES = 300, 40
EDITED_STORES, EDITS = 3, 60
_HELD, _SPENT = 1000, 3000


# -- another process's write ------------------------------------------------------------------------------------------


async def test_no_transaction_overwrites_what_another_process_has_written_since_it_read(
    ground: Ground, report: Report
) -> None:
    found = []
    async with await _sessions(ground) as one, await _sessions(ground) as other:
        for turn in range(ROUNDS):
            await one.save_session("d", {"a": _HELD, "b": _HELD, "turn": turn})
            try:
                async with one.transaction() as transaction:
                    held = await transaction.get_session("d")
                    assert held is not None
                    await transaction.save_session("d", {**held, "a": _SPENT})
                    await _made_anew(other, {"a": _HELD, "b": _SPENT, "turn": turn})
            except StorageConflictError:
                continue
            found.append(f"round {turn}: the write of the other is gone: {await other.get_session('d')}")
    report(f"transactions beside another process, {ground.name}", ROUNDS, found)


async def test_no_update_builds_on_what_was_there_before_another_process_wrote(ground: Ground, report: Report) -> None:
    found = []
    async with await _sessions(ground) as one, await _sessions(ground) as other:
        for turn in range(ROUNDS):
            await one.save_session("d", {"a": _HELD, "b": _HELD, "turn": turn})
            await _made_anew(other, {"a": _HELD, "b": _SPENT, "turn": turn})
            await one.update_session("d", {"a": _SPENT})
            held = await other.get_session("d")
            if held is None or (held["a"], held["b"]) != (_SPENT, _SPENT):
                found.append(f"round {turn}: {held}")
    report(f"updates beside another process, {ground.name}", ROUNDS, found)


async def _sessions(ground: Ground) -> SessionService:
    return SessionService(await FileStorage.open(ground.store, fsync=False))


async def _made_anew(service: SessionService, data: dict[str, int]) -> None:
    # the file of the new document may get the inode number that the old one had
    await service.delete_session("d")
    await service.save_session("d", data)


# -- damage -----------------------------------------------------------------------------------------------------------


async def test_a_document_that_is_damaged_right_after_its_save_is_never_served(ground: Ground, report: Report) -> None:
    """Its id is another one now, in a file of the same size: each way of asking must see that."""
    found = []
    async with await FileStorage.open(ground.store, fsync=False) as storage:
        for turn in range(DAMAGES):
            name = f"doc-{turn:03}"
            await storage.save({"id": name, "type": "note", "data": {"turn": turn}})
            _write_over(place(ground.store, name), f'"{name}"'.encode(), b'"XYZ-XYZ"')
            found += [f"document {turn}: {line}" for line in await _served(storage, name)]
        found += [f"afterwards: {record['id']} is listed" for record in await storage.list()]
        found += [f"afterwards: {line}" for line in await _served(storage, "doc-000")]
    report(f"documents damaged right after a save, {ground.name}", DAMAGES, found)


async def _served(storage: FileStorage, name: str) -> list[str]:
    found = []
    with suppress(StorageCorruptedError):
        found.append(f"load gives {await storage.load(name)}")
    try:
        found.append(f"update gives {await storage.update(name, {'data': {'more': 1}})}")
    except StorageCorruptedError:
        pass
    except Exception as error:  # noqa: BLE001 - whatever is raised here is what the campaign looks for
        found.append(f"update raises {error!r}")
    return found


# -- edits ------------------------------------------------------------------------------------------------------------


async def test_edits_by_hand_show_at_once_and_are_built_upon(ground: Ground, report: Report) -> None:
    edits, found = 0, list[str]()
    for seed in range(EDITED_STORES):
        store = ground.store.with_name(f"store-{seed}")
        async with (
            await FileStorage.open(store, fsync=False) as one,
            await FileStorage.open(store, fsync=False) as other,
        ):
            editing = Editing(store, [one, other], random.Random(seed))
            await editing.run()
        edits += editing.edits
        found += [f"seed {seed}: {line}" for line in editing.wrong]
    report(f"edits by hand, {ground.name}", edits, found)


class Editing:
    """Two open stores and an editor, who take turns with a few documents; every value has the same length."""

    def __init__(self, store: Path, storages: list[FileStorage], chance: random.Random) -> None:
        self._store = store
        self._storages = storages
        self._chance = chance
        self._values: dict[str, str] = {}
        self._earlier: dict[str, bytes] = {}
        self._number = 1000
        self.edits = 0
        self.wrong: list[str] = []

    async def run(self) -> None:
        """Edit so many times, with own writes and looks in between."""
        while self.edits < EDITS:
            name = self._chance.choice("abc")
            step = self._chance.choice((self._save, self._update, self._edit, self._edit))
            try:
                told = await step(name)
                await self._look(f"{step.__name__.strip('_')} {told}", name)
            except StorageError as error:
                self.wrong.append(f"{step.__name__} of {name}: {error!r}")

    async def _save(self, name: str) -> str:
        storage = self._chance.choice(self._storages)
        if name in self._values and self._chance.random() < 0.3:
            await storage.delete(name)
            del self._values[name]
        if name in self._values or self._chance.random() < 0.8:
            self._values[name] = self._next()
            await storage.save(_record(name, self._values[name]))
        return name

    async def _update(self, name: str) -> str:
        """Patch a document: the part that is not patched must be what is there."""
        if name in self._values:
            extra = self._next()
            await self._chance.choice(self._storages).update(name, {"data": {"extra": extra}})
            held = json.loads(place(self._store, name).read_bytes())["data"]
            if held != {**_record(name, self._values[name])["data"], "extra": extra}:
                self.wrong.append(f"an update of {name} was built on {held}, not on {self._values[name]}")
        return name

    async def _edit(self, name: str) -> str:
        """Do what editors, git and cleaners do; the new bytes have the size of the old ones."""
        if name not in self._values:
            return name
        self.edits += 1
        path, way = place(self._store, name), self._chance.choice((_in_place, _beside, _anew, None))
        data = path.read_bytes()
        if way is None:
            path.unlink()
            del self._values[name]
            return f"{name} away"
        new = self._next()
        if name in self._earlier and self._chance.random() < 0.3:
            # as `git checkout` does
            data = self._earlier[name]
            new = json.loads(data)["data"]["metadata"]["status"]
            way(path, data)
        else:
            way(path, data.replace(self._values[name].encode(), new.encode()))
        self._earlier[name] = data
        self._values[name] = new
        return f"{name} {way.__name__.strip('_')}"

    async def _look(self, after: str, name: str) -> None:
        for number, storage in enumerate(self._storages):
            record = await storage.load(name)
            held = None if record is None else record["data"]["metadata"]["status"]
            if held != self._values.get(name):
                self.wrong.append(f"after {after} store {number} loads {held}, not {self._values.get(name)}")
        if self._chance.random() < 0.2:
            storage = self._chance.choice(self._storages)
            await storage.refresh()
            self.wrong += [f"after {after}: {line}" for line in await contradictions(storage, self._store)]

    def _next(self) -> str:
        self._number += 1
        return f"v{self._number}"


def _record(name: str, value: str) -> JsonObject:
    return {"id": name, "type": "note", "data": {"text": f"text {value}", "metadata": {"status": value}}}


def _in_place(path: Path, data: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY)
    os.pwrite(descriptor, data, 0)
    os.ftruncate(descriptor, len(data))
    os.close(descriptor)


def _beside(path: Path, data: bytes) -> None:
    draft = path.with_name(".draft")
    draft.write_bytes(data)
    draft.replace(path)


def _anew(path: Path, data: bytes) -> None:
    path.unlink()
    path.write_bytes(data)


def _write_over(path: Path, old: bytes, new: bytes) -> None:
    data = path.read_bytes()
    assert len(old) == len(new)
    assert data.count(old) == 1
    _in_place(path, data.replace(old, new))
