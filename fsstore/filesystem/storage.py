"""`FileStorage`: the contract on top of the engine; one hop per call.

A save goes to the writer thread and comes back when it is committed. A get reads the file in the event loop when its
pages are cached, else in a reader thread. A list asks the index in a reader thread. Nothing here waits for the disk in
the event loop, but for a name that the system has forgotten: a get opens the file there, and `exists` looks at it. The
loop's default executor is never used.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncGenerator, Mapping, Sequence
from concurrent.futures import Future
from datetime import datetime
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from fsstore.errors import StorageClosedError, StorageUnavailableError, StorageValidationError
from fsstore.filesystem.care.repair import repair
from fsstore.filesystem.care.report import RepairReport, VerifyReport
from fsstore.filesystem.care.verify import verify
from fsstore.filesystem.disk.files import Tree
from fsstore.filesystem.documents.layout import CONTROL, QUARANTINE
from fsstore.filesystem.documents.sealed import seal
from fsstore.filesystem.index.index import Index
from fsstore.filesystem.index.rows import Row
from fsstore.filesystem.open_store import OpenStore, Options
from fsstore.filesystem.read.consistency import Reading
from fsstore.filesystem.read.listing import Listing
from fsstore.filesystem.threads import in_own_thread
from fsstore.filesystem.write.writer import Writer
from fsstore.interfaces import IUnifiedStorage, Progress, check_batch_size, check_bounds
from fsstore.model.mutations import AnyMutation
from fsstore.model.records import Clock, Filters, Guarantees, JsonObject, Outcomes, Records, check_id
from fsstore.model.times import format_time, utc_now
from fsstore.paths import absolute, path_of
from fsstore.query.conditions import Condition
from fsstore.query.filters import parse, parse_order
from fsstore.watching.changes import Absorbed
from fsstore.watching.watch import MAX_QUEUED, Watch

if TYPE_CHECKING:
    from fsstore.filesystem.watch.source import FileChangeSource

_logger = logging.getLogger("fsstore")

MAX_BYTES = 16 << 20


class FileStorage(IUnifiedStorage):
    """A directory of JSON documents. Open it with `FileStorage.open` or `fsstore.open_storage`."""

    def __init__(self, tree: Tree, options: Options, clock: Clock) -> None:
        """Use `FileStorage.open`; this does no I/O."""
        self._tree = tree
        self._options = options
        self.clock = clock
        self.guarantees = Guarantees(
            durable=options.fsync, cross_process=True, isolated_batches=True, external_edits=True, watching=True
        )
        self._closed = False
        self._closing: Future[None] | None = None
        self._change_source: FileChangeSource | None = None
        self._going_live: asyncio.Task[None] | None = None

    @classmethod
    async def open(
        cls,
        path: str | os.PathLike[str],
        *,
        create: bool = True,
        fsync: bool = True,
        file_mode: int = 0o600,
        max_bytes: int = MAX_BYTES,
        lock_timeout_seconds: float = 10.0,
        reconcile: Literal["first-use", "off"] = "first-use",
        shard_depth: int = 1,
        allow_network: bool = False,
        live: bool = False,
        polling: bool = False,
        clock: Clock = utc_now,
    ) -> FileStorage:
        """Open the store in a directory; O(1), however many documents it has.

        `path` is no URL (see `open_storage`), and `~` in it is the home. `create` makes the store when there is none,
        with `shard_depth` (2 for millions of documents). `fsync=False` acknowledges writes that survive the process but
        not a power cut. `file_mode` is for new files; directories follow from it. `max_bytes` bounds a document.
        `lock_timeout_seconds` bounds the wait for another process's commit. `reconcile="off"` trusts the index as it is
        found. `allow_network` opens a store on a network file system all the same. `live` watches the files from the
        beginning, so that lists are right within a second of an edit by another program, without `refresh`. `polling`
        watches without the system's events, by looking alone, for mounts where they do not come (see `watch`). `clock`
        gives the present, aware.

        Raises StorageUnavailableError when there is no store, or the system refuses it, StorageCorruptedError when the
        marker is damaged, StorageValidationError for an option out of range, or what is no path.
        """
        if reconcile not in ("first-use", "off"):
            raise StorageValidationError(reason=f"must be 'first-use' or 'off', not {reconcile!r}", path="reconcile")
        options = Options(
            create=create,
            fsync=fsync,
            max_bytes=max_bytes,
            lock_timeout_seconds=lock_timeout_seconds,
            reconcile=reconcile,
            shard_depth=shard_depth,
            allow_network=allow_network,
            live=live,
            polling=polling,
        )
        root = Path(absolute(path_of(path)))
        storage = cls(Tree(root, file_mode=file_mode, trusted=f"{CONTROL}/"), options, clock)
        opening = asyncio.wrap_future(in_own_thread(storage._assemble))
        try:
            await asyncio.shield(opening)
            await storage._recover_if_needed()
        except BaseException:
            # also when cancelled, and in a task of its own, since whoever cancels may do so again
            await asyncio.shield(asyncio.ensure_future(storage._abandon(opening)))
            raise
        if live:
            storage._go_live()
        return storage

    # -- opening and closing ------------------------------------------------------------------------------------------

    async def _abandon(self, opening: asyncio.Future[None]) -> None:
        """Close again what is being opened."""
        await asyncio.wait([opening])
        if opening.exception() is None:
            await self.close()

    def _assemble(self) -> None:
        # the clock is looked up at each call, since it may be turned while the store is open
        self._store = OpenStore(self._tree, self._options, lambda: self.clock())  # noqa: PLW0108
        self._documents = self._store.documents
        self._counters = self._store.counters
        self._reading = Reading(self._store)
        self._listing = Listing(self._documents, self._reading.reread)

    async def _recover_if_needed(self) -> None:
        """Recover if the last writer died, or nobody has kept the store open since."""
        if self._store.writer is None:
            return
        if self._store.recovery.is_due(self._counters.read()):
            # taking the lock is all it needs: whoever takes it recovers first
            await self._reading.under_lock(lambda: None)
        else:
            await self._reading.recover_if_left()
        if not self._counters.read().log_is_empty:
            # any job makes the writer look after a log that somebody has left
            self._store.writer.call(lambda: None)

    def _check_open(self) -> None:
        if self._closed:
            raise StorageClosedError(path=str(self._tree.root))
        if self._store.process != os.getpid():
            # threads and connections do not come along in a fork: the child opens its own, and must not even close its
            # parent's, so they are kept
            self._inherited = self._store, self._change_source, self._going_live
            self._change_source = self._going_live = None
            self._assemble()
            if self._options.live:
                self._go_live()

    async def close(self) -> None:
        """Finish what is queued, sync it and empty the log; O(documents written since the last checkpoint).

        Cancelling the caller does not stop it. Whoever calls it again waits for the same end.
        """
        if self._store.process != os.getpid():
            self._closed = True
            return
        if self._closing is None:
            self._closing, self._closed = in_own_thread(self._shut), True
            if self._going_live is not None:
                self._going_live.cancel()
        await asyncio.shield(asyncio.wrap_future(self._closing))

    def _shut(self) -> None:
        if self._change_source is not None:
            self._change_source.stop()
        self._store.close()

    # -- the primitives -----------------------------------------------------------------------------------------------

    async def load(self, id: str) -> JsonObject | None:
        """Return the whole record, None when there is none; O(its size), one open and one read."""
        self._check_open()
        check_id(id)
        if self._counters.applying() != self._reading.applied or self._documents.waiting:
            await self._reading.await_applied(id)
        try:
            return self._documents.read_cached(id)
        except BlockingIOError:
            document = await self._reading.in_thread(partial(self._documents.read, id))
            return None if document is None else document.record

    async def commit(self, changes: Sequence[AnyMutation]) -> Outcomes:
        """Apply mutations as one; O(bytes). Commits of many tasks share one lock, one sync and one index update.

        Cancelling the caller does not cancel the commit.
        """
        self._check_open()
        writer = self._writer()
        if not changes:
            return []
        for change in changes:
            check_id(change.id)
        # before anything is waited for: what the caller gave may change then
        now, max_bytes = cache(lambda: format_time(self.clock())), self._options.max_bytes
        outcomes: Outcomes = await writer.commit([seal(change, now, max_bytes=max_bytes) for change in changes])
        return outcomes

    def _writer(self) -> Writer:
        if self._store.writer is None:
            raise StorageUnavailableError(
                reason="the store cannot be written",
                path=str(self._tree.root),
                advice="open it where its directory and medium allow writing",
            )
        return self._store.writer

    async def stream_list(self, filters: Filters | None = None, batch_size: int = 100) -> AsyncGenerator[Records]:
        """Give the matching records in batches, in the order of their ids; O(documents), memory bounded by a batch."""
        self._check_open()
        check_batch_size(batch_size)
        condition = parse(filters)
        after = ""
        while True:
            rows, records = await self._reading.ask(partial(self._batch, condition, after, batch_size), whole=True)
            if records:
                yield records
            if len(rows) < batch_size:
                return
            after = rows[-1].id
            self._check_open()

    def _batch(self, condition: Condition, after: str, size: int, index: Index) -> tuple[list[Row], Records]:
        rows = index.following(condition, after, size)
        return rows, self._listing.batch(rows, condition)

    async def health_check(self) -> dict[str, Any]:
        """Return a report; O(documents), since it reconciles first. `corrupt` lists what cannot be read, and why."""
        self._check_open()
        trouble = self._store.writer.checkpoints.error if self._store.writer is not None else ""
        found: dict[str, Any] = {"documents": None, "document_bytes": None, "corrupt": []}
        try:
            await self._reading.refresh()
            found = await self._reading.ask(_found)
        except StorageUnavailableError as error:
            # health is reported also when it is bad
            trouble = trouble or str(error)
        return await self._reading.in_thread(partial(self._report, found, trouble))

    def _report(self, found: dict[str, Any], trouble: str) -> dict[str, Any]:
        writer = self._store.writer
        return {
            "status": "degraded" if found["corrupt"] or self._documents.waiting or trouble else "ok",
            "backend": "filesystem",
            "path": str(self._tree.root),
            **found,
            "writable": writer is not None,
            "durable": self.guarantees.durable,
            "shard_depth": self._documents.layout.shard_depth,
            "log_segments": len(self._store.log.numbers()),
            "waiting": sorted(self._documents.waiting),
            "quarantined": len(self._tree.entries(QUARANTINE)),
            "trouble": trouble or None,
            "index": "memory" if self._store.index_file.in_memory else "file",
        }

    # -- derived methods, faster --------------------------------------------------------------------------------------

    async def exists(self, id: str) -> bool:
        """Whether there is a document with that id; one stat, in the event loop, and it is not read."""
        self._check_open()
        check_id(id)
        if self._counters.applying() != self._reading.applied or self._documents.waiting:
            await self._reading.await_applied(id)
        return self._documents.has(id)

    async def list(
        self,
        filters: Filters | None = None,
        limit: int | None = None,
        *,
        order_by: str | None = None,
        offset: int = 0,
    ) -> Records:
        """Return the matching records; flat in the number of documents where filter and order are indexed."""
        self._check_open()
        check_bounds(limit, offset)
        condition, order = parse(filters), parse_order(order_by)
        return await self._reading.ask(
            partial(self._listing.records, condition=condition, order=order, limit=limit, offset=offset), whole=True
        )

    async def list_metadata(
        self,
        filters: Filters | None = None,
        limit: int | None = None,
        *,
        order_by: str | None = None,
        offset: int = 0,
    ) -> Records:
        """Like `list`, without the data, and answered by the index alone where it can judge the filter."""
        self._check_open()
        check_bounds(limit, offset)
        condition, order = parse(filters), parse_order(order_by)
        found = await self._reading.ask(lambda index: index.summaries(condition, order, limit=limit, offset=offset))
        if found is None:
            return await super().list_metadata(filters, limit, order_by=order_by, offset=offset)
        return found

    async def count(self, filters: Filters | None = None) -> int:
        """Return how many records match; answered by the index alone where it can judge the filter."""
        self._check_open()
        condition = parse(filters)
        counted = await self._reading.ask(lambda index: index.count(condition))
        return await super().count(filters) if counted is None else counted

    async def query(self, query: str, params: Sequence[Any] | Mapping[str, Any] | None = None) -> Records:
        """Run one read-only SELECT over the index."""
        self._check_open()
        rows: Records = await self._reading.ask(lambda index: index.query(query, params))
        return rows

    async def refresh(self, progress: Progress | None = None) -> Absorbed:
        """Find external edits: compare every document with the index and read again what differs; one stat a document.

        Returns what was found. `progress` is called, in a reader thread, with shards done and shards in all.
        """
        self._check_open()
        absorbed = await self._reading.refresh(progress)
        if self._change_source is not None:
            changed = map(self._documents.name, absorbed.changed)
            self._change_source.suspect({*changed, *absorbed.removed, *absorbed.corrupt})
        return absorbed

    def watch(
        self,
        filters: Filters | None = None,
        since: datetime | str | None = None,
        *,
        max_queued: int = MAX_QUEUED,
    ) -> Watch:
        """Return the changes of the records that match, each once, whoever makes them: see `Watch`, `Change`, `Gap`.

        The first watch of an open store reconciles the index, then keeps about 500 bytes a document, and one thread
        that takes the system's events and looks for itself. Own writes are reported as they are committed, one by one.
        What others do is reported when it is found, usually within 100 ms: several changes of one document in quick
        succession may be reported as one, the last, and what an own write has replaced before it was found is not.

        Events of the system are not relied on. With them, what they miss is found after half a second (names that come
        and go) or five (edits in place); with `polling`, and where there are none, after a quarter and a half. To these
        comes the time it takes to compare all documents, divided by 2 % or by 10 % of one core: with 100 000 documents
        about 30 s and 6 s. Where something was found late that no event has reported, it looks for ten minutes as it
        does without events. A document that cannot be read is in `health_check`, and is reported once it becomes
        readable.
        """
        self._check_open()
        return Watch(self._watched(), parse(filters), filters or {}, since, max_queued=max_queued)

    def _watched(self) -> FileChangeSource:
        if self._change_source is None:
            from fsstore.filesystem.watch.source import FileChangeSource  # noqa: PLC0415 - only those who watch pay for loading it

            self._change_source = FileChangeSource(self, self._store, self._reading, polling=self._options.polling)
        return self._change_source

    def _go_live(self) -> None:
        """Begin to watch, beside everything else."""
        self._going_live = asyncio.ensure_future(self._watched().ready())
        self._going_live.add_done_callback(self._hear_live)

    def _hear_live(self, going: asyncio.Task[None]) -> None:
        error = None if going.cancelled() else going.exception()
        if error is not None and not self._closed:
            # the first watch tries again
            _logger.warning("%s is not live: %s", self._tree.root, error)

    async def verify(self, *, hash: bool = False, progress: Progress | None = None) -> VerifyReport:
        """Hold everything on disk against what should be there, and change nothing; reads every document once.

        The index is looked at as it is: `refresh` is not called first. `hash` also compares each document's bytes and
        metadata with what was indexed, which finds bit rot that size and times do not show. Commits go on meanwhile.
        `progress` is called with directories done and directories in all. Memory is bounded by the largest directory,
        a segment of the log, and what is found. Raises StorageUnavailableError, StorageTimeoutError.
        """
        self._check_open()
        return await verify(self._store, self._reading, hashed=hash, progress=progress)

    async def repair(self, *, progress: Progress | None = None) -> RepairReport:
        """Move what cannot be read as the document of its name out of the way, and make the index anew.

        Nothing is deleted: such files go to `.fsstore/quarantine/`, and a whole document in the wrong place to its
        right one where that is free. Reads every document twice, and calls `progress` over again for the second time;
        waits a second for files that were changed a moment ago. To do it again does no harm. Raises
        StorageUnavailableError when the store cannot be written, StorageTimeoutError.
        """
        self._check_open()
        self._writer()
        return await repair(self._store, self._reading, progress=progress)


def _found(index: Index) -> dict[str, Any]:
    return {
        "documents": index.count(parse(None)),
        "document_bytes": index.total_bytes(),
        "corrupt": [{"file": problem.name, "reason": problem.reason} for problem in index.inventory.problems()],
    }
