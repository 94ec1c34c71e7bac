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
import threading
import warnings
import weakref
from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import aclosing, suppress
from dataclasses import replace
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from fsstore.errors import StorageClosedError, StorageUnavailableError, StorageValidationError
from fsstore.filesystem.disk.files import Tree
from fsstore.filesystem.documents.layout import CONTROL, QUARANTINE
from fsstore.filesystem.documents.sealed import seal
from fsstore.filesystem.documents.skeleton import refusal_of_writing
from fsstore.filesystem.open_store import OpenStore, Options
from fsstore.filesystem.read.consistency import Reading
from fsstore.filesystem.read.listing import Listing
from fsstore.filesystem.threads import in_own_thread
from fsstore.filesystem.write.writer import Writer
from fsstore.forking import tell_child
from fsstore.interfaces import IUnifiedStorage, Progress, TailRecord
from fsstore.loops import check_loop, loaded
from fsstore.model.mutations import AnyMutation
from fsstore.model.patch import Steps
from fsstore.model.records import Clock, FileMode, Filters, Guarantees, JsonObject, Outcomes, Records, check_id
from fsstore.model.times import Moment, utc_now
from fsstore.options import check_clock
from fsstore.paths import absolute, path_of
from fsstore.query.fields import check_fields, parse_fields
from fsstore.query.filters import parse
from fsstore.query.orders import check_batch_size, check_bounds, parse_order
from fsstore.query.relation import clock_while_wanted
from fsstore.watching.changes import Absorbed
from fsstore.watching.watch import MAX_QUEUED, Watch

if TYPE_CHECKING:
    from fsstore.filesystem.care.report import RepairReport, VerifyReport
    from fsstore.filesystem.watch.source import FileChangeSource

_logger = logging.getLogger("fsstore")

_READ_AT_ONCE_BYTES = 64 << 10
"""Up to this size reading a document is faster than asking the index in another thread."""


class FileStorage(IUnifiedStorage):
    """A directory of JSON documents. Open it with `FileStorage.open` or `fsstore.open_storage`, and close it.

    One that is dropped instead causes a ResourceWarning, and then finishes what is queued by itself. A child of fork
    may go on using it: it is opened again there, and closing it there closes nothing of the parent's.
    """

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
        self._once = _Once()

    @classmethod
    async def open(
        cls,
        path: str | os.PathLike[str],
        *,
        create: bool = True,
        fsync: bool = True,
        file_mode: int = FileMode(0o600),
        max_bytes: int | None = None,
        lock_timeout_seconds: float = 10.0,
        reconcile: Literal["first-use", "off"] = "first-use",
        shard_depth: int = 1,
        allow_network: bool = False,
        live: bool = False,
        polling: bool = False,
        read_only: bool = False,
        clock: Clock = utc_now,
    ) -> FileStorage:
        """Open the store in a directory; O(1), however many documents it has.

        `path` is no URL (see `open_storage`), and `~` in it is the home. `create` makes the store when there is none,
        with `shard_depth` (2 for millions of documents). `fsync=False` acknowledges writes that survive the process but
        not a power cut. `file_mode` is for new files; directories follow from it. `max_bytes` bounds the documents that
        are written: without it the `max_bytes` of the marker does, and where there is none 64 MiB. Larger ones that are
        there are read, listed and deleted all the same, up to 256 MiB, or `max_bytes` where that is more; what is
        larger still is left out of lists, and can be deleted or replaced. No limit is recorded.
        `lock_timeout_seconds` bounds the wait for another process's commit. `reconcile="off"` trusts the index as it is
        found, unless it is known to lack commits, as after a crash. `allow_network` opens a store on a network file
        system all the same. `live` watches the files from the beginning, so that lists are right within a second of an
        edit by another program, without `refresh`. `polling` watches without the system's events, by looking alone, for
        mounts where they do not come (see `watch`). `read_only` changes nothing in the directory, whoever may: writes
        raise StorageUnavailableError, and the index is in memory, about 1 KB a document. `clock` gives the present,
        aware.

        Raises StorageUnavailableError when there is no store, or the system refuses it, StorageCorruptedError when the
        marker is damaged, StorageValidationError for an option out of range, or what is no path.
        """
        check_loop()
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
            read_only=read_only,
        )
        if not isinstance(file_mode, int) or isinstance(file_mode, bool) or file_mode < 0:
            raise StorageValidationError(reason=f"must be permissions as 0o600, not {file_mode!r}", path="file_mode")
        check_clock(clock)
        root = Path(absolute(path_of(path)))
        storage = cls(Tree(root, file_mode=file_mode, trusted=f"{CONTROL}/"), options, clock)
        await storage._start()
        return storage

    # -- opening and closing ------------------------------------------------------------------------------------------

    async def _start(self) -> None:
        opening = asyncio.wrap_future(in_own_thread(self._assemble))
        try:
            await asyncio.shield(opening)
            await self._recover_if_needed()
        except GeneratorExit:
            # nobody waits for it any more, and nobody can: what is open ends by itself
            raise
        except BaseException:
            # also when cancelled, and in a task of its own, since whoever cancels may do so again
            await asyncio.shield(asyncio.ensure_future(self._abandon(opening)))
            raise
        if self._options.live:
            self._go_live()

    async def _abandon(self, opening: asyncio.Future[None]) -> None:
        """Close what is being opened."""
        await asyncio.wait([opening])
        if opening.exception() is None:
            await self.close()

    def _assemble(self) -> None:
        store = OpenStore(self._tree, self._options, _clock_of(self))
        self._end = weakref.finalize(self, _end_dropped, store)
        # a program that ends is the business of the store itself, which then is waited for
        self._end.atexit = False
        self._documents = store.documents
        self._counters = store.counters
        self._reading = Reading(store)
        # a child of fork finds a store, or none: it makes no empty one where the directory has gone meanwhile
        self._options = replace(self._options, create=False)
        self._listing = Listing(self._documents, self._reading.commits.reread)
        # last, since by it other threads of a child of fork see that it is open again
        self._store = store

    async def _recover_if_needed(self) -> None:
        """Recover if the last writer died, or nobody has kept the store open since."""
        if self._store.writer is None:
            return
        if self._store.recovery.is_due(self._counters.read()):
            # taking the lock is all it needs: whoever takes it recovers first
            await self._reading.executor.under_lock(lambda: None)
        else:
            await self._reading.commits.recover_if_left()
        if not self._counters.read().log_is_empty:
            self._store.writer.look_after_log()

    def _check_open(self) -> None:
        check_loop()
        self._check_not_closed()

    def _check_not_closed(self) -> None:
        if self._closed:
            raise StorageClosedError(path=str(self._tree.root))
        if self._store.process != os.getpid():
            with self._once.lock:
                if self._store.process != os.getpid():
                    self._open_again()

    def _open_again(self) -> None:
        """Open everything again in a child of fork, where nothing of the parent's works; see `forking`."""
        self._end.detach()
        # kept, since a task that is dropped before its end complains
        self._of_parent = self._going_live
        self._change_source = self._going_live = None
        self._assemble()
        if self._options.live:
            # a watch that is made outside of a loop goes live itself
            with suppress(RuntimeError):
                asyncio.get_running_loop()
                self._go_live()

    async def close(self) -> None:
        """Finish what is queued, sync it and empty the log; O(documents written since the last checkpoint).

        Cancelling the caller does not stop it. Whoever calls it again waits for the same end.
        """
        if self._store.process != os.getpid():
            self._closed = True
            return
        check_loop()
        with self._once.lock:
            if self._closing is None:
                self._end.detach()
                self._closing, self._closed = in_own_thread(self._store.close), True
                if self._going_live is not None:
                    # in another loop, it may be one that was closed before that could go live
                    with suppress(RuntimeError):
                        self._going_live.cancel()
        await asyncio.shield(asyncio.wrap_future(self._closing))

    # -- the primitives -----------------------------------------------------------------------------------------------

    async def load(self, id: str) -> JsonObject | None:
        """Return the whole record, None when there is none; O(its size), one open and one read."""
        self._check_open()
        check_id(id)
        if self._reading.commits.is_unsettled():
            await self._reading.commits.await_applied(id)
        try:
            return self._documents.read_cached(id)
        except BlockingIOError:
            document = await self._reading.executor.in_thread(partial(self._documents.read, id))
            return None if document is None else document.record

    async def load_tail(self, id: str, steps: Steps, count: int, before: int | None = None) -> TailRecord | None:
        """Do the same, in the bytes of what this process has written lately: O(bytes from there to the list's end)."""
        self._check_open()
        check_id(id)
        if self._reading.commits.is_unsettled():
            await self._reading.commits.await_applied(id)
        try:
            found = self._documents.tail(id, steps, count, before, at_once=True)
        except BlockingIOError:
            found = await self._reading.executor.in_thread(partial(self._documents.tail, id, steps, count, before))
        if found is None:
            return await super().load_tail(id, steps, count, before)
        record, tail = found
        return TailRecord(record["type"], record["version"], tail)

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
        now, max_bytes = Moment(self.clock), self._documents.max_bytes
        outcomes: Outcomes = await writer.commit([seal(change, now, max_bytes=max_bytes) for change in changes])
        return outcomes

    def _writer(self) -> Writer:
        if self._store.writer is None:
            if not self._options.read_only:
                raise refusal_of_writing(self._tree)
            raise StorageUnavailableError(
                reason="the store is open with read_only=True",
                path=str(self._tree.root),
                advice="open it without read_only",
            )
        return self._store.writer

    async def stream_list(self, filters: Filters | None = None, batch_size: int = 100) -> AsyncGenerator[Records]:
        """Give the matching records in batches, in the order of their ids; O(documents), memory bounded by a batch."""
        self._check_open()
        check_batch_size(batch_size)
        condition = parse(filters)
        after = ""
        while True:
            last, records = await self._reading.ask_whole(
                partial(self._listing.batch, condition=condition, after=after, size=batch_size), goes_on=bool(after)
            )
            if records:
                yield records
            if last is None:
                return
            after = last
            self._check_open()

    async def set_aside(self) -> AsyncGenerator[tuple[str, bytes]]:
        """Give what is in quarantine, one file at a time; what is no file, or cannot be read, is passed over."""
        self._check_open()
        for base in sorted(await self._reading.executor.in_thread(partial(self._tree.entries, QUARANTINE))):
            name = f"{QUARANTINE}/{base}"
            with suppress(StorageUnavailableError):
                data, _ = await self._reading.executor.in_thread(
                    partial(self._tree.read, name, max_bytes=self._documents.read_bytes)
                )
                yield name, data

    async def floor(self) -> int:
        """Return the highest version that was ever deleted here; O(1), but for a log that cannot be replayed."""
        self._check_open()
        known = self._store.overlay or self._counters
        return await self._reading.executor.in_thread(known.floor)

    async def health_check(self) -> dict[str, Any]:
        """Return a report; O(documents), since it reconciles first.

        `corrupt` lists what cannot be read, damaged or refused by the system, and `too_large` the documents that have
        more bytes than are read; each with `file` and `reason`. `refused` repeats what the system refuses, with the
        `advice`.
        """
        self._check_open()
        care = await loaded("fsstore.filesystem.care.health")
        report: dict[str, Any] = await care.health(self._store, self._reading)
        return report

    async def unreadable(self) -> Records:
        """Return what lists leave out, as the index and earlier reads know it, by name: `file` and `reason` of each.

        O(what is left out), and what a list costs where the index is not up to date.
        """
        self._check_open()
        care = await loaded("fsstore.filesystem.care.health")
        found: Records = await care.unreadable(self._store, self._reading)
        return found

    # -- derived methods, faster --------------------------------------------------------------------------------------

    async def exists(self, id: str) -> bool:
        """Whether there is a document with that id; one stat, in the event loop, and it is not read."""
        self._check_open()
        check_id(id)
        if self._reading.commits.is_unsettled():
            await self._reading.commits.await_applied(id)
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
        return await self._reading.ask_whole(
            partial(self._listing.records, condition=condition, order=order, limit=limit, offset=offset)
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
        found = await self._reading.ask(
            lambda index: index.summaries(
                condition, order, limit=limit, offset=offset, without=self._documents.unreadable.documents()
            )
        )
        if found is None:
            return await super().list_metadata(filters, limit, order_by=order_by, offset=offset)
        return found

    async def load_fields(self, id: str, fields: Iterable[str]) -> JsonObject | None:
        """Return these parts of a record, None when there is none; O(1) where the index keeps all of them.

        These are the envelope and the metadata. The index is asked as it is, and believed if the document's file is
        surely the one that its row was made of; else the document is read. So is one of up to 64 KB: that is faster.
        """
        self._check_open()
        check_id(id)
        wanted = parse_fields(fields)
        if wanted.is_indexed and self._documents.is_larger(id, _READ_AT_ONCE_BYTES):
            if self._reading.commits.is_unsettled():
                await self._reading.commits.await_applied(id)
            known = await self._reading.ask_as_it_is(partial(self._listing.known_part, record_id=id))
            if known is not None:
                return wanted.of(known)
        record = await self.load(id)
        return None if record is None else wanted.of(record)

    async def list_fields(
        self,
        fields: Iterable[str],
        filters: Filters | None = None,
        limit: int | None = None,
        *,
        order_by: str | None = None,
        offset: int = 0,
    ) -> Records:
        """Like `list`, with these parts of each record alone.

        Answered by the index alone where it keeps all of them, the envelope and the metadata, and can judge filter and
        order. Else one read for each document returned, as for `list`.
        """
        self._check_open()
        check_bounds(limit, offset)
        wanted = parse_fields(fields)
        if wanted.is_indexed:
            condition, order = parse(filters), parse_order(order_by)
            found = await self._reading.ask(
                lambda index: index.parts(
                    condition, order, limit=limit, offset=offset, without=self._documents.unreadable.documents()
                )
            )
            if found is not None:
                return list(map(wanted.of, found))
        records = await self.list(filters, limit, order_by=order_by, offset=offset)
        return list(map(wanted.of, records))

    async def stream_fields(
        self, fields: Iterable[str], filters: Filters | None = None, batch_size: int = 100
    ) -> AsyncGenerator[Records]:
        """Like `stream_list`, with these parts of each record alone; answered as `list_fields` answers."""
        self._check_open()
        check_batch_size(batch_size)
        paths = check_fields(fields)
        wanted, beyond = parse_fields(paths), filters
        if not wanted.is_indexed:
            async with aclosing(super().stream_fields(paths, filters, batch_size)) as batches:
                async for batch in batches:
                    yield batch
            return
        parse(filters)
        while found := await self.list_fields([*paths, "id"], beyond, batch_size, order_by="id"):
            yield list(map(wanted.of, found))
            if len(found) < batch_size:
                return
            after: Filters = {"id": {"$gt": found[-1]["id"]}}
            beyond = {"$and": [filters, after]} if filters else after

    async def count(self, filters: Filters | None = None) -> int:
        """Return how many records match; answered by the index alone where it can judge the filter."""
        self._check_open()
        condition = parse(filters)
        counted = await self._reading.ask(
            lambda index: index.count(condition, without=self._documents.unreadable.documents())
        )
        if counted is None:
            return await self._reading.ask_whole(partial(self._listing.count, condition=condition))
        return counted

    async def query(self, query: str, params: Sequence[Any] | Mapping[str, Any] | None = None) -> Records:
        """Run one read-only SELECT over the index; what nobody waits for any more is ended."""
        self._check_open()
        with clock_while_wanted() as clock:
            rows: Records = await self._reading.ask(
                lambda index: index.query(query, params, without=self._documents.unreadable.documents(), clock=clock)
            )
        return rows

    async def refresh(self, progress: Progress | None = None) -> Absorbed:
        """Find external edits: compare every document with the index and read again what differs; one stat a document.

        Returns what was found. `progress` is called, in a reader thread, with shards done and shards in all.
        """
        self._check_open()
        absorbed = await self._reading.fresh_index.refresh(progress)
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
        readable. While the directory is gone (unmounted, moved away) nothing is reported, and `health_check` says so.
        """
        # outside of a loop, too: it is waited for later
        self._check_not_closed()
        return Watch(self._watched(), parse(filters), filters or {}, since, max_queued=max_queued)

    def _watched(self) -> FileChangeSource:
        with self._once.lock:
            if self._change_source is None:
                from fsstore.filesystem.watch.source import FileChangeSource  # noqa: PLC0415 - only those who watch pay for loading it

                # the writer reports to one, and would report no commit to another
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
        care = await loaded("fsstore.filesystem.care.verify")
        report: VerifyReport = await care.verify(self._store, self._reading, hashed=hash, progress=progress)
        return report

    async def repair(self, *, progress: Progress | None = None) -> RepairReport:
        """Move what cannot be read as the document of its name out of the way, and make the index anew.

        Nothing is deleted: such files go to `.fsstore/quarantine/`, and a whole document in the wrong place to its
        right one where that is free: of several copies the newest, and the report says why. Reads every document twice,
        and calls `progress` over again for the second time; waits a second for files that were changed a moment ago. To
        do it again does no harm. Raises StorageUnavailableError when the store cannot be written, StorageTimeoutError.
        """
        self._check_open()
        self._writer()
        care = await loaded("fsstore.filesystem.care.repair")
        report: RepairReport = await care.repair(self._store, self._reading, progress=progress)
        return report


class _Once:
    """Holds the lock under which is done what must be done once, and makes a new one in each child of fork."""

    def __init__(self) -> None:
        # of a thread, not of a call: a signal handler may come in between
        self.lock = threading.RLock()
        tell_child(self)

    def in_child(self) -> None:
        """Make a lock that no thread of the parent has taken."""
        self.lock = threading.RLock()


def _clock_of(storage: FileStorage) -> Clock:
    """Return the clock of a storage, which may be turned while it is open, without keeping the storage."""
    opened, found = storage.clock, weakref.ref(storage)

    def now() -> datetime:
        there = found()
        return (opened if there is None else there.clock)()

    return now


def _end_dropped(store: OpenStore) -> None:
    """End a store that nobody has any more, and that nobody has closed."""
    if store.process == os.getpid():
        store.end_later()
        warnings.warn(f"the store {store.tree.root} was not closed", ResourceWarning, stacklevel=2)
