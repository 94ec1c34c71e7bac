"""The synchronous faces, made asynchronous again, each call in a thread, so that the contract can call them."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncGenerator, Callable, Iterator
from typing import Any, Self

from fsstore.interfaces import IUnifiedStorage
from fsstore.model.records import Clock, Guarantees
from fsstore.sync import SessionService, Storage
from fsstore.sync.faces import SessionMethods, StorageMethods, TransactionMethods, TypedMethods, TypedTransactionMethods

_END = object()


def _called(name: str) -> Callable[..., Any]:
    async def call(self: Any, *arguments: Any, **options: Any) -> Any:
        return await asyncio.to_thread(getattr(self._face, name), *arguments, **options)

    return call


def _given(name: str) -> Callable[..., Any]:
    async def give(self: Any, *arguments: Any, **options: Any) -> AsyncGenerator[Any]:
        items: Iterator[Any] = getattr(self._face, name)(*arguments, **options)
        try:
            while (item := await asyncio.to_thread(next, items, _END)) is not _END:
                yield item
        finally:
            await asyncio.to_thread(items.close)  # type: ignore[attr-defined]  # it is a generator

    return give


def turned(methods: type) -> dict[str, Callable[..., Any]]:
    """Return an asynchronous method for each one of a face."""
    return {
        name: (_given if str(inspect.signature(method).return_annotation).startswith("Iterator") else _called)(name)
        for name, method in vars(methods).items()
        if inspect.isfunction(method)
    }


class _TurnedStorage:
    """A storage whose every call goes through the synchronous face."""

    def __init__(self, face: Storage) -> None:
        self._face = face

    @property
    def guarantees(self) -> Guarantees:
        return self._face.guarantees

    @property
    def clock(self) -> Clock:
        return self._face.clock

    @clock.setter
    def clock(self, clock: Clock) -> None:
        self._face._inner.clock = clock

    async def close(self) -> None:
        await asyncio.to_thread(self._face.close)


class _TurnedTransaction:
    """A transaction whose every call goes through the synchronous face."""

    def __init__(self, face: Any) -> None:
        self._face = face

    async def __aenter__(self) -> Self:
        await asyncio.to_thread(self._face.__enter__)
        return self

    async def __aexit__(self, *raised: object) -> None:
        await asyncio.to_thread(self._face.__exit__, *raised)


class _TurnedSessions:
    """Sessions whose every call goes through the synchronous face."""

    def __init__(self, storage: Any) -> None:
        self.storage = storage
        self._face = SessionService(storage._face)

    def transaction(self) -> Any:
        return TurnedTransaction(self._face.transaction())

    def typed(self, model: Any) -> Any:
        return TurnedTyped(self._face.typed(model))

    async def close(self) -> None:
        await asyncio.to_thread(self._face.close)

    async def __aenter__(self) -> Self:
        await asyncio.to_thread(self._face.__enter__)
        return self

    async def __aexit__(self, *raised: object) -> None:
        await asyncio.to_thread(self._face.__exit__, *raised)


class _TurnedTyped:
    """A typed view whose every call goes through the synchronous face."""

    def __init__(self, face: Any) -> None:
        self._face = face

    def transaction(self) -> Any:
        return TurnedTypedTransaction(self._face.transaction())


TurnedStorage: Any = type("TurnedStorage", (_TurnedStorage, IUnifiedStorage), turned(StorageMethods))
TurnedTransaction: Any = type("TurnedTransaction", (_TurnedTransaction,), turned(TransactionMethods))
TurnedSessions: Any = type("TurnedSessions", (_TurnedSessions,), turned(SessionMethods))
TurnedTyped: Any = type("TurnedTyped", (_TurnedTyped,), turned(TypedMethods))
TurnedTypedTransaction: Any = type("TurnedTypedTransaction", (_TurnedTransaction,), turned(TypedTransactionMethods))
