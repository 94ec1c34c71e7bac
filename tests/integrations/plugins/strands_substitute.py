"""A pytest plugin: Strands' own tests get the classes of fsstore where they ask for those in memory."""

from __future__ import annotations

import tempfile
from importlib import import_module
from typing import Any

import strands.storage
from places import place

from fsstore.integrations.strands import FsstoreRepository, FsstoreStorage

_room = tempfile.TemporaryDirectory(prefix="fsstore-strands-", ignore_cleanup_errors=True)


class Storage(FsstoreStorage):
    """Takes the arguments of `InMemoryStorage`."""

    def __init__(self, *, search_strategy: Any = None) -> None:
        where, options = place(tempfile.mkdtemp(dir=_room.name))
        super().__init__(where, search_strategy=search_strategy, **options)


class Repository(FsstoreRepository):
    """Is made without arguments."""

    def __init__(self) -> None:
        where, options = place(tempfile.mkdtemp(dir=_room.name))
        super().__init__(where, **options)


def pytest_collection() -> None:
    """Put the repository in the place of that in the tests, which can only be imported now."""
    fixture = import_module("tests.fixtures.mock_session_repository")
    vars(fixture)["MockedSessionRepository"] = Repository


vars(strands.storage)["InMemoryStorage"] = Storage
