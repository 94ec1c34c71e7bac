"""Errors of a storage, worded for callers of sessions. Pure.

Below, everything is a record: an error names a document, and its JSON path starts at the record (`$.data.state`). Who
saves a session has written neither, so each error that leaves a class of sessions is reworded there.
"""

from __future__ import annotations

import inspect
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from functools import wraps
from typing import Any, TypeVar

from fsstore.errors import StorageError

T = TypeVar("T")

_BLOCKS = frozenset({"__aenter__", "__aexit__"})


def worded_for_sessions(kind: type[T]) -> type[T]:
    """Have the errors of a class's calls, coroutines, streams and blocks name sessions; a decorator of the class."""
    for name, method in list(vars(kind).items()):
        if inspect.isfunction(method) and (not name.startswith("_") or name in _BLOCKS):
            setattr(kind, name, _worded(method))
    return kind


def _worded(method: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(method)
    async def call(*args: Any, **options: Any) -> Any:
        with _WORDING:
            return await method(*args, **options)

    @wraps(method)
    async def stream(*args: Any, **options: Any) -> AsyncGenerator[Any]:
        with _WORDING:
            async with aclosing(method(*args, **options)) as items:
                async for item in items:
                    yield item

    @wraps(method)
    def call_at_once(*args: Any, **options: Any) -> Any:
        with _WORDING:
            return method(*args, **options)

    if inspect.iscoroutinefunction(method):
        return call
    return stream if inspect.isasyncgenfunction(method) else call_at_once


class _Wording:
    """Words the errors that leave its block."""

    def __enter__(self) -> None: ...

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        if isinstance(error, StorageError):
            error.word_for_sessions()


_WORDING = _Wording()
