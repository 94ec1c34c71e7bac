"""What the tests of this folder share: an open store, a watch of it, and events that are lost."""

from collections.abc import AsyncGenerator
from pathlib import Path

import pytest
import pytest_asyncio

from fsstore import FileStorage, Watch
from fsstore.filesystem.watch import watcher
from fsstore.filesystem.watch.events import Report
from fsstore.filesystem.watch.scanner import Pace
from tests.filesystem.watched import Silent, document

QUICK = Pace(look_seconds=0.05, sweep_seconds=0.05, share=1.0)


@pytest_asyncio.fixture
async def storage(tmp_path: Path) -> AsyncGenerator[FileStorage]:
    """Give an open store with four documents."""
    async with await FileStorage.open(tmp_path / "store", fsync=False) as storage:
        await storage.batch_save([document(f"n{number}") for number in range(4)])
        yield storage


@pytest.fixture
def store(storage: FileStorage) -> Path:
    return storage._tree.root


@pytest_asyncio.fixture
async def changes(storage: FileStorage) -> AsyncGenerator[Watch]:
    async with storage.watch() as changes:
        yield changes


@pytest_asyncio.fixture
async def other(store: Path) -> AsyncGenerator[FileStorage]:
    """Give the same store, opened once more: for the first one it is as another process."""
    async with await FileStorage.open(store, fsync=False) as other:
        yield other


@pytest.fixture
def silent(monkeypatch: pytest.MonkeyPatch) -> list[Silent]:
    """Lose all events, and look often; returns the sources that were made."""
    made: list[Silent] = []

    def make(report: Report) -> Silent:
        made.append(Silent(report))
        return made[-1]

    monkeypatch.setattr(watcher, "Events", make)
    monkeypatch.setattr(watcher, "BESIDE_EVENTS", QUICK)
    monkeypatch.setattr(watcher, "WITHOUT_EVENTS", QUICK)
    return made
