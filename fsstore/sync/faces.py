"""The synchronous faces of sessions, of a storage, and of a transaction.

Written by `python -m tests.sync_face` from the asynchronous classes, whose methods they run: change those, and write
this anew. `calls` says how a coroutine runs without an event loop; what is written by hand is in `opening`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Generic, TypeVar, overload

from fsstore.interfaces import IUnifiedStorage, Progress, TailRecord
from fsstore.model.lists import Tail
from fsstore.model.mutations import AnyMutation
from fsstore.model.patch import Steps
from fsstore.model.records import Filters, Ids, JsonObject, Outcomes, Page, Records
from fsstore.sessions import service, transaction, typed
from fsstore.sessions.appending import MESSAGES
from fsstore.sessions.inputs import SESSION_DATA, SessionInput
from fsstore.sessions.typed import Batch, ModelEdit, Session, SessionPage
from fsstore.sync.calls import Calls
from fsstore.watching.changes import Absorbed

if TYPE_CHECKING:
    from pydantic import BaseModel

    from fsstore.sessions.models import SessionData

M = TypeVar("M", bound="BaseModel")


class SessionMethods:
    """The methods of `SessionService`, for programs without an event loop."""

    _inner: service.SessionService
    _calls: Calls

    def save_session(self, session_id: str, session_data: SessionInput, *, expected_version: int | None = None) -> None:
        """Insert or replace a session; O(its size), one commit.

        `expected_version` is the version that must be there, 0 for none; else StorageConflictError. Without it a
        session that is damaged or too large to be read is replaced, and its bytes go to quarantine first.
        """
        self._calls.run(lambda: self._inner.save_session(session_id, session_data, expected_version=expected_version))

    def get_session(self, session_id: str, *, fields: Iterable[str] | None = None) -> JsonObject | None:
        """Return the session, None when there is none. Raises StorageCorruptedError when it cannot be read.

        `fields` asks for these parts alone, in their places: paths as in filters, where a bare key means metadata, and
        `.messages`, with the dot, a whole part of the session. `metadata.session_id` is always among them, and what is
        not there is left out. A large session is not opened for what the index knows, which is all of the metadata.
        """
        return self._calls.read(lambda: self._inner.get_session(session_id, fields=fields))

    def get_record(self, session_id: str) -> JsonObject | None:
        """Return the whole record of a session: `version`, times, and the session itself under `data`."""
        return self._calls.read(lambda: self._inner.get_record(session_id))

    @overload
    def get_model(self, session_id: str) -> SessionData | None: ...

    @overload
    def get_model(self, session_id: str, model: type[M]) -> M | None: ...

    def get_model(self, session_id: str, model: type[BaseModel] = SESSION_DATA) -> BaseModel | None:
        """Return the session as a pydantic model, None when there is none.

        What was saved as a model comes back equal, but for `session_id`, `created_at` and `updated_at` in its metadata.
        Raises StorageValidationError, with the JSON path, when the session does not fit the model. The cost is a read
        and a validation of JSON text.
        """
        return self._calls.read(lambda: self._inner.get_model(session_id, model))

    def session_exists(self, session_id: str) -> bool:
        """Whether there is a document with that id, of whatever type; O(1), where the storage need not read it."""
        return self._calls.read(lambda: self._inner.session_exists(session_id))

    def update_session(
        self, session_id: str, updates: Mapping[str, Any], *, expected_version: int | None = None
    ) -> None:
        """Apply an RFC 7396 merge patch to a session, atomically. Raises StorageNotFoundError when it is absent.

        A patch writes the fields themselves: what was meant as an operator (`$set`) or as a dotted path raises
        StorageValidationError, unless the session has that very key.
        """
        self._calls.run(lambda: self._inner.update_session(session_id, updates, expected_version=expected_version))

    def delete_session(
        self, session_id: str, *, expected_version: int | None = None, keep_damaged: bool = False
    ) -> None:
        """Remove a session for good. Raises StorageNotFoundError when it is absent.

        Without `expected_version` a session that is damaged or too large to be read goes, too; with `keep_damaged` its
        bytes go to quarantine.
        """
        self._calls.run(
            lambda: self._inner.delete_session(session_id, expected_version=expected_version, keep_damaged=keep_damaged)
        )

    def edit_session(
        self,
        session_id: str,
        fn: Callable[[JsonObject], SessionInput | None],
        *,
        timeout_seconds: float = 30.0,
        replace: bool = False,
    ) -> JsonObject:
        """Read a session, let `fn` change it, and save it if nobody wrote in between; else do it again.

        `fn` gets a draft of the session, changes it in place and returns nothing, or the draft; it may be async, and
        runs once a try. With `replace=True` it may also return another session, as a mapping or a model. What it writes
        to the same session in any other way is refused at once: change the draft. Returns the session as saved.

        `timeout_seconds` bounds everything that is awaited: the wait for other tasks that edit the session, an async
        `fn`, which is then cancelled, all tries and the commit. 0 is one try that waits for no other task.

        Raises StorageNotFoundError; StorageValidationError, when `fn` returns something else; StorageConflictError,
        when no try won in time; StorageTimeoutError, when waiting or `fn` took the time: its `outcome` is "unknown"
        where the commit was under way, else "not applied".
        """
        return self._calls.run(
            lambda: self._inner.edit_session(session_id, fn, timeout_seconds=timeout_seconds, replace=replace)
        )

    def edit_model(
        self, session_id: str, fn: ModelEdit[M], model: type[M], *, timeout_seconds: float = 30.0, replace: bool = False
    ) -> M:
        """Do the same with the session as a pydantic model, which `fn` changes in place; returns it as saved."""
        return self._calls.run(
            lambda: self._inner.edit_model(session_id, fn, model, timeout_seconds=timeout_seconds, replace=replace)
        )

    def append_session(
        self,
        session_id: str,
        items: Iterable[Any],
        *,
        path: str = MESSAGES,
        metadata: Mapping[str, Any] | None = None,
        create: bool = True,
        unique_by: str | None = None,
        expected_version: int | None = None,
    ) -> int:
        """Put items at the end of a list of a session, and return how many it has then; one commit.

        `path` leads to the list (`messages`, `state.log`), which is made if it is not there; so is the session, unless
        `create` is False: then StorageNotFoundError. `metadata` is a merge patch of the metadata in the same commit.
        With `unique_by`, the name of a key, an item whose value under that key is in the list already is left out.
        Items are JSON values or pydantic models. Raises StorageValidationError, also where something else than a list
        stands at the path, and StorageConflictError for another version than is expected.
        """
        return self._calls.run(
            lambda: self._inner.append_session(
                session_id,
                items,
                path=path,
                metadata=metadata,
                create=create,
                unique_by=unique_by,
                expected_version=expected_version,
            )
        )

    def batch_append(
        self,
        items: Mapping[str, Iterable[Any]],
        *,
        path: str = MESSAGES,
        create: bool = True,
        unique_by: str | None = None,
    ) -> dict[str, int]:
        """Append to several sessions, all or nothing; returns the length of each list by session id."""
        return self._calls.run(lambda: self._inner.batch_append(items, path=path, create=create, unique_by=unique_by))

    def read_tail(self, session_id: str, n: int, path: str = MESSAGES, *, before: int | None = None) -> Tail:
        """Return the newest items of a list of a session, at most `n`, and how long the list is.

        For the page before, pass the `start` of what came as `before`. A list that is not there is empty. Raises
        StorageNotFoundError, and StorageValidationError where something else than a list stands at the path.
        """
        return self._calls.run(lambda: self._inner.read_tail(session_id, n, path, before=before))

    def pop_last(self, session_id: str, path: str = MESSAGES) -> Any:
        """Take the last item of a list of a session away and return it; None when the list is empty.

        Raises StorageNotFoundError, StorageValidationError as `read_tail` does, and StorageConflictError when others
        changed the end of the list at every try.
        """
        return self._calls.run(lambda: self._inner.pop_last(session_id, path))

    def rotate_session(self, session_id: str, new_session_id: str, *, path: str = MESSAGES, keep_last: int = 0) -> None:
        """Continue a session that has grown large in a new one: all of it but the list, of which the last items stay.

        The metadata of the new one says `continues`, that of the old one `continued_by`; both in one commit. Raises
        StorageNotFoundError, and StorageConflictError when there is a session of the new id, or the old one changed.
        """
        self._calls.run(lambda: self._inner.rotate_session(session_id, new_session_id, path=path, keep_last=keep_last))

    def list_sessions(
        self,
        filters: Filters | None = None,
        limit: int | None = None,
        *,
        order_by: str | None = None,
        offset: int = 0,
        fields: Iterable[str] | None = None,
    ) -> list[JsonObject]:
        """Return the matching sessions, by default the most recently updated first, ties by id.

        `fields` asks for parts of them alone: see `get_session`. Where these are metadata, as filter and order are, the
        index answers, and no document is opened; else each one that is returned is read all the same.

        All of them are in memory at once, some 9 KB for a session of 4 KB, and Python keeps much of that for later use
        after they are dropped: where there may be many thousands, give a limit, or use `stream_sessions`.

        Where nothing matches, a key of the filter that no session has in its metadata is logged as a warning, once; so
        is such a key of the order, or of the fields.
        """
        return self._calls.run(
            lambda: self._inner.list_sessions(filters, limit, order_by=order_by, offset=offset, fields=fields)
        )

    def list_metadata(
        self, filters: Filters | None = None, limit: int | None = None, *, order_by: str | None = None, offset: int = 0
    ) -> list[JsonObject]:
        """Return the `metadata` objects of the matching sessions; where there is an index, no document is opened."""
        return self._calls.run(lambda: self._inner.list_metadata(filters, limit, order_by=order_by, offset=offset))

    def list_page(
        self,
        filters: Filters | None = None,
        limit: int = 50,
        cursor: str | None = None,
        *,
        fields: Iterable[str] | None = None,
    ) -> Page:
        """Return one page of the matching sessions, the most recently updated first, and the cursor of the next.

        Paging by key: a page costs the same wherever it lies, and a session that does not change is given exactly once.
        `fields` asks for parts of them alone, at the cost of `list_sessions` with `fields`.
        """
        return self._calls.run(lambda: self._inner.list_page(filters, limit, cursor, fields=fields))

    def stream_sessions(
        self, filters: Filters | None = None, batch_size: int = 100, *, fields: Iterable[str] | None = None
    ) -> Iterator[list[JsonObject]]:
        """Give the matching sessions in batches, in the order of their ids; memory is bounded by a batch.

        `fields` asks for parts of them alone, at the cost of `list_sessions` with `fields`.
        """
        return self._calls.iterate(self._inner.stream_sessions(filters, batch_size, fields=fields))

    def count_sessions(self, filters: Filters | None = None) -> int:
        """Return how many sessions match."""
        return self._calls.run(lambda: self._inner.count_sessions(filters))

    def batch_save_sessions(self, sessions: Mapping[str, SessionInput], *, keep_times: bool = False) -> None:
        """Insert or replace sessions, all or nothing. `keep_times` keeps the instants in their metadata."""
        self._calls.run(lambda: self._inner.batch_save_sessions(sessions, keep_times=keep_times))

    def batch_delete_sessions(self, session_ids: Iterable[str], *, keep_damaged: bool = False) -> None:
        """Remove sessions, all or nothing; absent ones are passed over. `keep_damaged` as in `delete_session`."""
        self._calls.run(lambda: self._inner.batch_delete_sessions(session_ids, keep_damaged=keep_damaged))

    def refresh(self, progress: Progress | None = None) -> Absorbed:
        """Find external edits now, and return what was found; one stat a session, one read for each that differs.

        `progress` is called, in another thread, with the steps that are done and the steps that there are.
        """
        return self._calls.run(lambda: self._inner.refresh(progress))

    def unreadable(self) -> list[JsonObject]:
        """Return what lists leave out since it cannot be read, sessions or not: `file` and `reason` of each."""
        return self._calls.run(self._inner.unreadable)

    def health_check(self) -> dict[str, Any]:
        """Return the storage's report."""
        return self._calls.run(self._inner.health_check)


class StorageMethods:
    """The methods of `IUnifiedStorage`, for programs without an event loop."""

    _inner: IUnifiedStorage
    _calls: Calls

    def load(self, id: str) -> JsonObject | None:
        """Return the whole record, None when there is none. Raises StorageCorruptedError when it cannot be read."""
        return self._calls.read(lambda: self._inner.load(id))

    def stream_list(self, filters: Filters | None = None, batch_size: int = 100) -> Iterator[Records]:
        """Give the matching records in batches, in the order of their ids; memory is bounded by a batch.

        A record that is there and matches all the while is given exactly once. Unreadable ones are left out and counted
        by `health_check`.
        """
        return self._calls.iterate(self._inner.stream_list(filters, batch_size))

    def commit(self, changes: Sequence[AnyMutation]) -> Outcomes:
        """Apply mutations, in order, as one: all of them become true together, or none does and the error says why.

        StorageNotFoundError and StorageConflictError carry, as `index`, the position of the mutation that is refused.
        """
        return self._calls.run(lambda: self._inner.commit(changes))

    def health_check(self) -> dict[str, Any]:
        """Return a report: `status` ("ok" or "degraded"), `documents`, `corrupt` (a list), and the backend's own."""
        return self._calls.run(self._inner.health_check)

    def save(self, record: Mapping[str, Any]) -> str:
        """Insert or replace a record and return its id, which is made when missing; a missing type is "document".

        `created_at` and `updated_at` may be given as datetimes or ISO 8601 text; naive ones are local time, as
        `datetime.now()` gives it. `created_at` counts for a new record and survives; `updated_at` is checked, and then
        stamped, with a time that is never before what it was. Both are kept in UTC. Raises StorageValidationError with
        the path of what cannot be stored. What is there and is damaged, or too large to be read, is replaced; it is set
        aside first. StorageCorruptedError is raised, and nothing changed, where git has left a conflict in it.
        """
        return self._calls.run(lambda: self._inner.save(record))

    def update(self, id: str, updates: Mapping[str, Any]) -> bool:
        """Apply an RFC 7396 merge patch to a record. Raises StorageNotFoundError when it is absent.

        A patch writes the fields themselves: what was meant as an operator (`$set`) or as a dotted path raises
        StorageValidationError, unless the record has that very key.
        """
        return self._calls.run(lambda: self._inner.update(id, updates))

    def delete(self, id: str, *, keep_damaged: bool = False) -> bool:
        """Remove a record for good; False when it is absent.

        What is there and is damaged, or too large to be read, is removed, too; with `keep_damaged` it is set aside.
        """
        return self._calls.run(lambda: self._inner.delete(id, keep_damaged=keep_damaged))

    def load_tail(self, id: str, steps: Steps, count: int, before: int | None = None) -> TailRecord | None:
        """Return a record's type and version, and the last items of a list in it; None when there is no record.

        `steps` lead to the list, which may be absent; `before` asks for the items before that position. Raises
        StorageValidationError where something else than a list stands there.
        """
        return self._calls.run(lambda: self._inner.load_tail(id, steps, count, before))

    def exists(self, id: str) -> bool:
        """Whether there is a record with that id."""
        return self._calls.read(lambda: self._inner.exists(id))

    def load_fields(self, id: str, fields: Iterable[str]) -> JsonObject | None:
        """Return these parts of a record, None when there is none; fields are paths, as in filters.

        What is not there is left out: see `fsstore.query.fields`. Raises what `load` does, and StorageValidationError
        for what is no path.
        """
        return self._calls.read(lambda: self._inner.load_fields(id, fields))

    def list(
        self, filters: Filters | None = None, limit: int | None = None, *, order_by: str | None = None, offset: int = 0
    ) -> Records:
        """Return the matching records; by default the most recently updated first, ties by id.

        `order_by` is a path into the record, `-` before it turns the order round. At `created_at` and `updated_at`,
        also those of `data.metadata`, filters and orders compare instants, whatever form the text has; operands are
        datetimes or ISO 8601 text.
        """
        return self._calls.run(lambda: self._inner.list(filters, limit, order_by=order_by, offset=offset))

    def list_metadata(
        self, filters: Filters | None = None, limit: int | None = None, *, order_by: str | None = None, offset: int = 0
    ) -> Records:
        """Like `list`, without the data: the envelope of each record, and its metadata under `metadata`."""
        return self._calls.run(lambda: self._inner.list_metadata(filters, limit, order_by=order_by, offset=offset))

    def list_fields(
        self,
        fields: Iterable[str],
        filters: Filters | None = None,
        limit: int | None = None,
        *,
        order_by: str | None = None,
        offset: int = 0,
    ) -> Records:
        """Like `list`, with these parts of each record alone; `fields` as in `load_fields`."""
        return self._calls.run(
            lambda: self._inner.list_fields(fields, filters, limit, order_by=order_by, offset=offset)
        )

    def stream_fields(
        self, fields: Iterable[str], filters: Filters | None = None, batch_size: int = 100
    ) -> Iterator[Records]:
        """Like `stream_list`, with these parts of each record alone; `fields` as in `load_fields`."""
        return self._calls.iterate(self._inner.stream_fields(fields, filters, batch_size))

    def count(self, filters: Filters | None = None) -> int:
        """Return how many records match."""
        return self._calls.run(lambda: self._inner.count(filters))

    def query(self, query: str, params: Sequence[Any] | Mapping[str, Any] | None = None) -> Records:
        """Run one read-only SELECT over the relation `documents`; anything else raises StorageValidationError.

        Columns: id, type, version, created_at, updated_at, session_id, thread_id, metadata (JSON text).
        Times are text in UTC; a datetime among the parameters is compared as such a text. It runs in another thread,
        and what it may cost is bounded: see `fsstore.query.limits`. Raises StorageTimeoutError.
        """
        return self._calls.run(lambda: self._inner.query(query, params))

    def unreadable(self) -> Records:
        """Return what lists leave out since it cannot be read: `file` and `reason` of each."""
        return self._calls.run(self._inner.unreadable)

    def floor(self) -> int:
        """Return the highest version that was ever deleted, above which new records begin; 0 where nobody counts that.

        What is moved to another store takes it along, so that no version of a record comes twice (`raising_floor`).
        """
        return self._calls.run(self._inner.floor)

    def get_by_session(self, session_id: str) -> Records:
        """Return the records that carry this session id."""
        return self._calls.run(lambda: self._inner.get_by_session(session_id))

    def get_by_thread(self, thread_id: str) -> Records:
        """Return the records that carry this thread id."""
        return self._calls.run(lambda: self._inner.get_by_thread(thread_id))

    def transaction(self, operations: Sequence[Mapping[str, Any]]) -> bool:
        """Apply operations, all or nothing.

        One is `{"type": "save", "data": record}`, `{"type": "update", "id": ..., "data": patch}` or
        `{"type": "delete", "id": ...}`. Raises StorageTransactionError, with the operation's index, when one of them
        cannot be applied to what is there, and StorageValidationError when one is malformed.
        """
        return self._calls.run(lambda: self._inner.transaction(operations))

    def batch_save(self, records: Iterable[Mapping[str, Any]]) -> Ids:
        """Insert or replace records in one transaction and return their ids."""
        return self._calls.run(lambda: self._inner.batch_save(records))

    def batch_delete(self, ids: Iterable[str], *, keep_damaged: bool = False) -> int:
        """Remove records in one transaction and return how many were there; `keep_damaged` as in `delete`."""
        return self._calls.run(lambda: self._inner.batch_delete(ids, keep_damaged=keep_damaged))

    def cleanup_old_data(self, retention_days: float) -> int:
        """Remove what was last updated more than that many days ago, and return how many; never anything younger.

        One commit a batch. A record that changes in the meantime stays.
        """
        return self._calls.run(lambda: self._inner.cleanup_old_data(retention_days))

    def refresh(self, progress: Progress | None = None) -> Absorbed:
        """Find what other programs have changed; where none can, there is nothing to find."""
        return self._calls.run(lambda: self._inner.refresh(progress))

    def set_aside(self) -> Iterator[tuple[str, bytes]]:
        """Give the names and bytes of what was set aside when it could not be kept in its place; nothing in memory."""
        return self._calls.iterate(self._inner.set_aside())


class TransactionMethods:
    """The methods of `SessionTransaction`, for programs without an event loop."""

    _inner: transaction.SessionTransaction
    _calls: Calls

    def get_session(self, session_id: str) -> JsonObject | None:
        """Return a session as this transaction sees it."""
        return self._calls.read(lambda: self._inner.get_session(session_id))

    def get_record(self, session_id: str) -> JsonObject | None:
        """Return the whole record of a session as this transaction sees it; it must not be changed."""
        return self._calls.read(lambda: self._inner.get_record(session_id))

    def save_session(self, session_id: str, session_data: SessionInput) -> None:
        """Insert or replace a session at the end."""
        self._calls.run(lambda: self._inner.save_session(session_id, session_data))

    def update_session(self, session_id: str, updates: Mapping[str, Any]) -> None:
        """Patch a session at the end. Raises StorageNotFoundError when it is absent."""
        self._calls.run(lambda: self._inner.update_session(session_id, updates))

    def append_session(
        self,
        session_id: str,
        items: Iterable[Any],
        *,
        path: str = MESSAGES,
        metadata: Mapping[str, Any] | None = None,
        create: bool = True,
        unique_by: str | None = None,
    ) -> int:
        """Put items at the end of a list of a session at the end; returns how many it has then."""
        return self._calls.run(
            lambda: self._inner.append_session(
                session_id, items, path=path, metadata=metadata, create=create, unique_by=unique_by
            )
        )

    def delete_session(self, session_id: str) -> None:
        """Remove a session at the end. Raises StorageNotFoundError when it is absent."""
        self._calls.run(lambda: self._inner.delete_session(session_id))


class TypedMethods(Generic[M]):
    """The methods of `TypedSessions`, for programs without an event loop."""

    _inner: typed.TypedSessions[M]
    _calls: Calls

    def save(self, session_id: str, data: M, *, expected_version: int | None = None) -> None:
        """Insert or replace a session; see `SessionService.save_session`."""
        self._calls.run(lambda: self._inner.save(session_id, data, expected_version=expected_version))

    def get(self, session_id: str) -> Session[M] | None:
        """Return a session, None when there is none."""
        return self._calls.read(lambda: self._inner.get(session_id))

    def edit(self, session_id: str, fn: ModelEdit[M], *, timeout_seconds: float = 30.0, replace: bool = False) -> M:
        """Let `fn` change the model of a session; see `SessionService.edit_session`. Returns it as saved."""
        return self._calls.run(
            lambda: self._inner.edit(session_id, fn, timeout_seconds=timeout_seconds, replace=replace)
        )

    def list(
        self, filters: Filters | None = None, limit: int | None = None, *, order_by: str | None = None, offset: int = 0
    ) -> Batch[M]:
        """Return the matching sessions; see `SessionService.list_sessions`."""
        return self._calls.run(lambda: self._inner.list(filters, limit, order_by=order_by, offset=offset))

    def page(self, filters: Filters | None = None, limit: int = 50, cursor: str | None = None) -> SessionPage[M]:
        """Return one page of the matching sessions; see `SessionService.list_page`."""
        return self._calls.run(lambda: self._inner.page(filters, limit, cursor))

    def stream(self, filters: Filters | None = None, batch_size: int = 100) -> Iterator[Batch[M]]:
        """Give the matching sessions in batches; see `SessionService.stream_sessions`."""
        return self._calls.iterate(self._inner.stream(filters, batch_size))


class TypedTransactionMethods(Generic[M]):
    """The methods of `TypedTransaction`, for programs without an event loop."""

    _inner: typed.TypedTransaction[M]
    _calls: Calls

    def get(self, session_id: str) -> M | None:
        """Return a session as this transaction sees it, None when there is none."""
        return self._calls.read(lambda: self._inner.get(session_id))

    def save(self, session_id: str, data: M) -> None:
        """Insert or replace a session at the end."""
        self._calls.run(lambda: self._inner.save(session_id, data))

    def delete(self, session_id: str) -> None:
        """Remove a session at the end. Raises StorageNotFoundError when it is absent."""
        self._calls.run(lambda: self._inner.delete(session_id))
