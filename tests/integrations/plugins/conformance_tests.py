"""LangGraph's conformance suite for savers, test by test: 58 that every saver must pass, and 23 of what it may have.

It is run in the environment of the framework, by `python -m tests.integrations`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from langgraph.checkpoint.conformance.capabilities import Capability
from langgraph.checkpoint.sqlite import aio

SPECIFIED = [
    pytest.param(test, id=f"{capability.value}-{test.__name__.removeprefix('test_')}")
    for capability in Capability
    for name, tests in vars(import_module(f"langgraph.checkpoint.conformance.spec.test_{capability.value}")).items()
    if name.startswith("ALL_")
    for test in tests
]


@pytest.fixture
async def saver(tmp_path: Path) -> AsyncIterator[Any]:
    """Give a saver on disk: that of SQLite, or what a plugin has put in its place."""
    async with aio.AsyncSqliteSaver.from_conn_string(str(tmp_path / "checkpoints")) as opened:
        yield opened


@pytest.mark.parametrize("specified", SPECIFIED)
async def test_specified(specified: Any, saver: Any) -> None:
    """A test of the suite passes."""
    await specified(saver)
