"""Opens a store after a power cut and tells what it holds, once all ways of asking agree."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from fsstore import FileStorage
from fsstore.errors import StorageCorruptedError, StorageError
from fsstore.filesystem.disk import files, system
from fsstore.filesystem.log import records
from tests.campaign.promises import TORN, Contents, History, document, is_whole, number_in

_NEW = 1_000_000


def boot(name: str) -> None:
    """Let this process believe that the system was started anew."""
    for module in (records, system):
        vars(module)["boot_id"] = lambda: name


def beginning(*, same_boot: bool) -> Callable[[str], None]:
    """Return what a process does to begin after a cut: where the host stayed and only the medium went, nothing."""
    return (lambda _name: None) if same_boot else boot


def age(store: Path, history: History) -> None:
    """Give documents the times at which they were written, and let this process take these for what nobody can set."""
    for path in _documents(store):
        with suppress(ValueError, TypeError, KeyError):
            work = history.works.get(number_in(json.loads(path.read_bytes())["data"]))
            if work is not None:
                os.utime(path, ns=(work.begun_ns, work.begun_ns))
    signature = vars(files)["signature_in"]
    vars(files)["signature_in"] = lambda found: signature(found)._replace(ctime_ns=found.st_mtime_ns)


async def look(store: Path, history: History, *, durable: bool = True) -> tuple[Contents, list[str]]:
    """Open a store twice and write to it; return what it holds, and what is wrong, a line each."""
    first, wrong = await _opened(store, history, durable=durable, writes=True)
    wrong += history.violations(first)
    second, more = await _opened(store, history, durable=durable)
    wrong += more
    if first != second:
        wrong.append(f"the second opening finds {_difference(first, second)}")
    return first, wrong + _left_over(
        store, overtaken=history.edits or not all(work.durable for work in history.works.values())
    )


async def _opened(store: Path, history: History, *, durable: bool, writes: bool = False) -> tuple[Contents, list[str]]:
    wrong: list[str] = []
    async with await FileStorage.open(store, fsync=durable) as storage:
        found = {key: held for key in sorted(history.ids()) if (held := await _held(storage, key, wrong)) is not None}
        wrong += await _disagreements(storage, store, found, history.ids())
        corrupt = (await storage.health_check())["corrupt"]
        if len(corrupt) != list(found.values()).count(TORN):
            wrong.append(f"the report tells of {corrupt}, but load of {found}")
        if writes:
            # with the first handle, and soon: what is wrong with the log after a cut may mend itself in a second
            wrong += await _write_on(storage)
    return found, wrong


async def _held(storage: FileStorage, record_id: str, wrong: list[str]) -> int | None:
    """Return which work wrote a document, None when it is absent."""
    try:
        record = await storage.load(record_id)
    except StorageCorruptedError:
        return TORN
    if record is None:
        return None
    number = number_in(record["data"])
    if not is_whole(record_id, record["data"]):
        wrong.append(f"{record_id} is a mixture: {record}")
    return number


async def _disagreements(storage: FileStorage, store: Path, found: Contents, ids: Iterable[str]) -> list[str]:
    there = {key: held for key, held in found.items() if held != TORN}
    wanted = set(ids)
    views = {
        "list": {record["id"]: number_in(record["data"]) for record in await storage.list()},
        "list_metadata": {
            record["id"]: _number(record["metadata"]) for record in await storage.list_metadata(order_by="id")
        },
        "query": {
            row["id"]: _number(row["metadata"]) for row in await storage.query("SELECT id, metadata FROM documents")
        },
        "the files": _scanned(store),
    }
    wrong = []
    for name, seen in views.items():
        known = {key: held for key, held in seen.items() if key in wanted}
        if known != there:
            wrong.append(f"{name} and load disagree: {_difference(there, known)}")
    return wrong


def _number(metadata: Any) -> int:
    found = json.loads(metadata) if isinstance(metadata, str) else metadata
    return int(str(found["status"]).removeprefix("n"))


def _scanned(store: Path) -> Contents:
    found = {}
    for path in _documents(store):
        try:
            record = json.loads(path.read_bytes())
            found[record["id"]] = number_in(record["data"])
        except (ValueError, TypeError, KeyError):
            # torn: `load` must say so too
            continue
    return found


def _documents(store: Path) -> list[Path]:
    return [*store.glob("[0-9a-f][0-9a-f]/*.json"), *store.glob("[0-9a-f][0-9a-f]/[0-9a-f][0-9a-f]/*.json")]


async def _write_on(storage: FileStorage) -> list[str]:
    """Write with this handle, and take it back."""
    try:
        await storage.batch_save([document("after-1", _NEW), document("after-2", _NEW)])
        await storage.save(document("after-1", _NEW + 1))
        held = [await storage.load(f"after-{at}") for at in (1, 2)]
        await storage.batch_delete(["after-1", "after-2"])
    except StorageError as error:
        return [f"it cannot be written to: {error}"]
    found = [record and record["data"]["number"] for record in held]
    return [] if found == [_NEW + 1, _NEW] else [f"what is written afterwards is {found}"]


def _left_over(store: Path, *, overtaken: bool) -> list[str]:
    """Say what should not be there; whole documents are set aside only where some had been put there unsynced."""
    control = store / ".fsstore"
    wrong = [f"{path.relative_to(store)} is left" for part in ("staging", "log") for path in (control / part).iterdir()]
    wrong += [f"{path.name} is left" for path in store.glob(".fsstore.json.*")]
    for path in (control / "quarantine").glob("*"):
        if not overtaken and _is_whole(path.read_bytes()):
            wrong.append(f"{path.name} is in quarantine, and whole")
    return wrong


def _is_whole(data: bytes) -> bool:
    try:
        record = json.loads(data)
        return is_whole(record["id"], record["data"])
    except (ValueError, TypeError, KeyError):
        return False


def _difference(one: Contents, other: Contents) -> str:
    keys = sorted({*one, *other})
    return ", ".join(f"{key}: {one.get(key)} / {other.get(key)}" for key in keys if one.get(key) != other.get(key))
