"""Errors of a storage, worded for callers of sessions. Pure.

Below, everything is a record: an error names a document, and its JSON path starts at the record (`$.data.state`). Who
saves a session has written neither, so each error that leaves a class of sessions is reworded there.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from functools import wraps
from typing import Any, TypeVar

from fsstore.errors import StorageError

T = TypeVar("T")


def worded_for_sessions(kind: type[T]) -> type[T]:
    """Have the errors of a class's coroutines name sessions; a decorator of the class."""
    for name, method in list(vars(kind).items()):
        if inspect.iscoroutinefunction(method) and (not name.startswith("_") or name == "__aexit__"):
            setattr(kind, name, _worded(method))
    return kind


def _worded(method: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    @wraps(method)
    async def call(*args: Any, **options: Any) -> Any:
        try:
            return await method(*args, **options)
        except StorageError as error:
            error.word_for_sessions()
            raise

    return call
