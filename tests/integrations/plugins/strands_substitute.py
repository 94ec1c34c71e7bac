"""A pytest plugin: Strands' own tests get the classes of fsstore where they ask for those in memory."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import strands.storage

from fsstore.integrations.strands import FsstoreRepository, FsstoreStorage


class Storage(FsstoreStorage):
    """Takes the arguments of `InMemoryStorage`."""

    def __init__(self, *, search_strategy: Any = None) -> None:
        super().__init__(search_strategy=search_strategy)


def pytest_collection() -> None:
    """Put the repository in the place of that in the tests, which can only be imported now."""
    fixture = import_module("tests.fixtures.mock_session_repository")
    vars(fixture)["MockedSessionRepository"] = FsstoreRepository


vars(strands.storage)["InMemoryStorage"] = Storage
