"""How an open store is, in short: what `health_check` and `unreadable` report.

The index knows what was damaged when it was last brought up to date, and the open store what it could not read since.
A store in trouble is reported as such: `health` raises nothing for that.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial
from operator import attrgetter
from typing import Any

from fsstore.errors import StorageUnavailableError
from fsstore.filesystem.disk.system import unavailable
from fsstore.filesystem.disk.unreadable import Refusal
from fsstore.filesystem.documents.layout import QUARANTINE
from fsstore.filesystem.index.index import Index
from fsstore.filesystem.open_store import OpenStore
from fsstore.filesystem.read.consistency import Reading
from fsstore.model.records import Records
from fsstore.query.filters import parse


async def health(store: OpenStore, reading: Reading) -> dict[str, Any]:
    """Return the report of `health_check`; O(documents), since it reconciles first."""
    trouble = store.writer.checkpoints.error if store.writer is not None else ""
    found: dict[str, Any] = {"documents": None, "document_bytes": None, **_by_kind(_refused(store))}
    try:
        await reading.fresh_index.refresh()
        found = await reading.ask(partial(_found, store))
    except StorageUnavailableError as error:
        # health is reported also when it is bad
        trouble = trouble or str(error)
    # which of those under `corrupt` may be whole, since the system refuses to read them
    found["refused"] = [
        {"file": each.name, "reason": each.reason, "advice": each.advice}
        for each in store.documents.unreadable.all()
        if not each.is_too_large
    ]
    return await reading.executor.in_thread(partial(_report, store, found, trouble))


async def unreadable(store: OpenStore, reading: Reading) -> Records:
    """Return what lists leave out, as the index and earlier reads know it, by name."""
    left_out = await reading.ask(partial(_left_out, store))
    return _problems(left_out.values())


def _found(store: OpenStore, index: Index) -> dict[str, Any]:
    return {
        "documents": index.count(parse(None), without=store.documents.unreadable.documents()),
        "document_bytes": index.total_bytes(),
        **_by_kind(_left_out(store, index)),
    }


def _left_out(store: OpenStore, index: Index) -> dict[str, Refusal]:
    damaged = (Refusal(problem.name, problem.reason, False) for problem in index.inventory.problems())
    # what cannot be read now may have been damaged when it could
    return {problem.name: problem for problem in damaged} | _refused(store)


def _refused(store: OpenStore) -> dict[str, Refusal]:
    return {refusal.name: refusal for refusal in store.documents.unreadable.all()}


def _by_kind(left_out: Mapping[str, Refusal]) -> dict[str, Records]:
    return {
        "corrupt": _problems(refusal for refusal in left_out.values() if not refusal.is_too_large),
        "too_large": _problems(refusal for refusal in left_out.values() if refusal.is_too_large),
    }


def _problems(refusals: Iterable[Refusal]) -> Records:
    return [{"file": each.name, "reason": each.reason} for each in sorted(refusals, key=attrgetter("name"))]


def _report(store: OpenStore, found: dict[str, Any], trouble: str) -> dict[str, Any]:
    writer, segments, quarantined = store.writer, None, None
    waiting = sorted(store.documents.waiting)
    try:
        segments, quarantined = len(store.log.numbers()), len(store.tree.entries(QUARANTINE))
    except OSError as error:
        trouble = trouble or str(unavailable(error, str(store.tree.root)))
    return {
        "status": "degraded" if found["corrupt"] or found["too_large"] or waiting or trouble else "ok",
        "backend": "filesystem",
        "path": str(store.tree.root),
        **found,
        "writable": writer is not None,
        "durable": store.options.fsync,
        "shard_depth": store.documents.layout.shard_depth,
        "log_segments": segments,
        "waiting": waiting,
        "quarantined": quarantined,
        "trouble": trouble or None,
        "lock": None if writer is None else "directory" if writer.section.locks_directory() else "file",
        "index": "memory" if store.index_file.in_memory else "file",
    }
