"""Stores for programs without an event loop: opened, used and closed by plain calls.

The same names, options, results and errors as `fsstore.open_sessions` and `fsstore.open_storage`. Any thread may call,
also at the same time: a read runs in its own thread, a write goes to the one writer of the open store.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Iterator
from datetime import datetime
from typing import TYPE_CHECKING, Any, Self, TypeVar, Unpack, overload

from fsstore import opening
from fsstore.errors import StorageTimeoutError
from fsstore.interfaces import IUnifiedStorage
from fsstore.model.records import Clock, Filters, Guarantees
from fsstore.options import FileOptions, Memory, MemoryOptions, NotOpened, PostgresOptions, showing_options
from fsstore.sessions import service, transaction, typed
from fsstore.sync.calls import Calls
from fsstore.sync.faces import SessionMethods, StorageMethods, TransactionMethods, TypedMethods, TypedTransactionMethods
from fsstore.watching import watch
from fsstore.watching.changes import Change, Gap
from fsstore.watching.watch import MAX_QUEUED

T = TypeVar("T")
if TYPE_CHECKING:
    from pydantic import BaseModel

M = TypeVar("M", bound="BaseModel")


@overload
def open_storage(  # pyright: ignore[reportOverlappingOverload] # it and the next differ in what they open
    url: Memory, **options: Unpack[MemoryOptions]
) -> Storage: ...


@overload
def open_storage(  # type: ignore[overload-overlap] # every URL is text, and this one is special
    url: Memory, **options: Unpack[FileOptions]
) -> NotOpened: ...


@overload
def open_storage(url: str | os.PathLike[str], **options: Unpack[FileOptions]) -> Storage: ...


@overload
def open_storage(url: str, **options: Unpack[PostgresOptions]) -> Storage: ...


@showing_options("Storage")
def open_storage(url: str | os.PathLike[str], **options: Any) -> Storage | NotOpened:
    """Open a store of records; close it, or use it with `with`. Options and errors: see `fsstore.open_storage`."""
    calls = Calls()
    return Storage(calls.run(lambda: opening.open_storage(url, **options)), calls)


@overload
def open_sessions(  # pyright: ignore[reportOverlappingOverload] # it and the next differ in what they open
    url: Memory, **options: Unpack[MemoryOptions]
) -> SessionService: ...


@overload
def open_sessions(  # type: ignore[overload-overlap] # as above
    url: Memory, **options: Unpack[FileOptions]
) -> NotOpened: ...


@overload
def open_sessions(url: str | os.PathLike[str], **options: Unpack[FileOptions]) -> SessionService: ...


@overload
def open_sessions(url: str, **options: Unpack[PostgresOptions]) -> SessionService: ...


@showing_options("SessionService")
def open_sessions(url: str | os.PathLike[str], **options: Any) -> SessionService | NotOpened:
    """Open a store of sessions; close it, or use it with `with`. Options and errors: see `fsstore.open_sessions`."""
    return SessionService(open_storage(url, **options))


class Storage(StorageMethods):
    """An open store of records."""

    def __init__(self, inner: IUnifiedStorage, calls: Calls | None = None) -> None:
        """Use `open_storage`; another open storage may be wrapped, while nothing else uses it."""
        self._inner = inner
        self._calls = calls or Calls()

    @property
    def guarantees(self) -> Guarantees:
        """What the store promises."""
        return self._inner.guarantees

    @property
    def clock(self) -> Clock:
        """What gives the present, aware."""
        return self._inner.clock

    def run(self, call: Callable[[Any], Awaitable[T]]) -> T:
        """Run what the asynchronous storage has beyond the contract, as in `run(lambda storage: storage.verify())`."""
        return self._calls.run(lambda: call(self._inner))

    def watch(
        self, filters: Filters | None = None, since: datetime | str | None = None, *, max_queued: int = MAX_QUEUED
    ) -> Watch:
        """Return the changes of the records that match, for `for`, each once: see `Watch`."""
        return Watch(self._inner.watch(filters, since, max_queued=max_queued), self._calls)

    def close(self) -> None:
        """Finish what is under way and release everything. Closing twice is allowed."""
        self._calls.run(self._inner.close)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class SessionService(SessionMethods):
    """Sessions in a store."""

    def __init__(self, storage: Storage) -> None:
        self.storage = storage
        self._inner = service.SessionService(storage._inner)  # noqa: SLF001 - one face over two classes
        self._calls = storage._calls  # noqa: SLF001 - the same

    def transaction(self) -> SessionTransaction:
        """Return a transaction, for `with`: reads are remembered, writes buffered and committed at its end."""
        return SessionTransaction(self._inner.transaction(), self._calls)

    def typed(self, model: type[M]) -> TypedSessions[M]:
        """Return a view of these sessions that speaks a pydantic model; see `TypedSessions`."""
        return TypedSessions(self._inner.typed(model), self._calls)

    def watch(
        self, filters: Filters | None = None, since: datetime | str | None = None, *, max_queued: int = MAX_QUEUED
    ) -> Watch:
        """Return the changes of the matching sessions, for `for`, each once: see `Watch`."""
        return Watch(self._inner.watch(filters, since, max_queued=max_queued), self._calls)

    def close(self) -> None:
        """Close the storage."""
        self.storage.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class SessionTransaction(TransactionMethods):
    """Reads and writes that become true together at the end of `with`, if nothing that was read has changed.

    Raises StorageConflictError at the end otherwise, and then nothing is applied. Leaving the block with an exception
    applies nothing.
    """

    def __init__(self, inner: transaction.SessionTransaction, calls: Calls) -> None:
        self._inner = inner
        self._calls = calls

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._calls.run(lambda: self._inner.__aexit__(kind))


class TypedSessions(TypedMethods[M]):
    """The sessions of a store as models of one class; `SessionService.typed` gives it."""

    def __init__(self, inner: typed.TypedSessions[M], calls: Calls) -> None:
        self._inner = inner
        self._calls = calls

    def transaction(self) -> TypedTransaction[M]:
        """Return a transaction that speaks the model; see `SessionService.transaction`."""
        return TypedTransaction(self._inner.transaction(), self._calls)


class TypedTransaction(TypedTransactionMethods[M]):
    """A `SessionTransaction` whose sessions are models of one class."""

    def __init__(self, inner: typed.TypedTransaction[M], calls: Calls) -> None:
        self._inner = inner
        self._calls = calls

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._calls.run(lambda: self._inner.__aexit__(kind))


class Watch:
    """The changes of a store, for `for`, which waits for each; use it with `with`, or close it.

    Watching begins with `with`, or with the first change that is asked for. It ends, without an error, when the watch
    or the store is closed, also by another thread.
    """

    def __init__(self, inner: watch.Watch, calls: Calls) -> None:
        self._inner = inner
        self._calls = calls

    def __iter__(self) -> Iterator[Change | Gap]:
        return self

    def __next__(self) -> Change | Gap:
        try:
            return self._calls.run(self._inner.__anext__)
        except StopAsyncIteration:
            raise StopIteration from None

    def next(self, timeout_seconds: float) -> Change | Gap:
        """Return the next change. Raises StorageTimeoutError when there is none in time, StopIteration at the end."""
        try:
            return self._calls.run(lambda: asyncio.wait_for(self._inner.__anext__(), timeout_seconds))
        except StopAsyncIteration:
            raise StopIteration from None
        except TimeoutError as error:
            raise StorageTimeoutError(
                reason="a change", timeout_seconds=timeout_seconds, advice="go on, and ask again"
            ) from error

    def close(self) -> None:
        """Receive nothing any more; a caller that waits for a change gets the end."""
        self._calls.run(self._inner.aclose)

    def __enter__(self) -> Self:
        self._calls.run(self._inner.started)
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
