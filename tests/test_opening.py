import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from fsstore import MemoryStorage, SessionService, open_sessions, open_storage
from fsstore.errors import StorageClosedError, StorageUnavailableError, StorageValidationError
from fsstore.interfaces import IUnifiedStorage
from fsstore.testing import HandClock


def entries(directory: Path) -> list[str]:
    return [entry.name for entry in directory.iterdir()]


async def test_a_store_is_opened_by_await_and_closed_by_hand() -> None:
    storage = await open_storage("memory:")
    assert await storage.save({"id": "a"}) == "a"

    await storage.close()

    with pytest.raises(StorageClosedError):
        await storage.load("a")


async def test_a_store_is_closed_at_the_end_of_its_block() -> None:
    async with open_storage("memory:") as storage:
        await storage.save({"id": "a"})
    with pytest.raises(StorageClosedError):
        await storage.load("a")

    async with open_sessions("memory:") as sessions:
        await sessions.save_session("a", {})
    with pytest.raises(StorageClosedError):
        await sessions.get_session("a")


async def test_a_block_that_is_left_by_an_exception_closes_the_store() -> None:
    opened: list[IUnifiedStorage] = []

    async def leave() -> None:
        async with open_storage("memory:") as storage:
            opened.append(storage)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await leave()

    with pytest.raises(StorageClosedError):
        await opened[0].load("a")


async def test_sessions_are_a_service_on_the_storage() -> None:
    async with open_sessions("memory:") as sessions:
        assert isinstance(sessions, SessionService)
        await sessions.save_session("a", {})
        assert (await sessions.storage.load("a") or {})["type"] == "session"


@pytest.mark.parametrize("url", ["memory:", "memory:/", "memory://"])
async def test_every_way_to_write_the_memory_store(url: str) -> None:
    async with open_storage(url) as storage:
        assert isinstance(storage, MemoryStorage)


async def test_options_reach_the_backend(tmp_path: Path) -> None:
    clock = HandClock()

    for url in ("memory:", str(tmp_path / "store")):
        async with open_storage(url, clock=clock) as storage:
            await storage.save({"id": "a"})
            assert (await storage.load("a") or {})["created_at"] == clock.text


SPELLINGS: dict[str, Callable[[Path], str | Path]] = {
    "a path": lambda path: path,
    "text": str,
    "a relative path": os.path.relpath,
    "a url": lambda path: path.as_uri(),
    "a url with the name of this machine": lambda path: path.as_uri().replace("file://", "file://localhost"),
}


@pytest.mark.parametrize("spelling", SPELLINGS)
@pytest.mark.parametrize("name", ["store", "my store", "größe", "a%20b", "a#b?c", "a:b"])
async def test_every_way_to_write_a_path_finds_the_same_directory(tmp_path: Path, name: str, spelling: str) -> None:
    path = tmp_path / name
    async with open_storage(path, fsync=False) as storage:
        await storage.save({"id": "a"})

    async with open_storage(SPELLINGS[spelling](path), create=False) as storage:
        assert await storage.exists("a")


async def test_a_scheme_may_stand_before_a_plain_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    async with open_storage("file:my store", fsync=False) as storage:
        await storage.save({"id": "a"})

    absolute = [f"file:{tmp_path}/my%20store", f"file:{tmp_path}/my store", f"file://{tmp_path}/my store"]
    for url in (*absolute, "file:./my store"):
        async with open_storage(url, create=False) as storage:
            assert await storage.exists("a")


@pytest.mark.parametrize("tail", ["?mode=ro", "#part"])
async def test_a_url_with_a_query_or_a_fragment_does_not_open_another_directory(tmp_path: Path, tail: str) -> None:
    with pytest.raises(StorageValidationError):
        await open_storage(f"file://{tmp_path}/store{tail}")

    assert entries(tmp_path) == []


@pytest.mark.parametrize(
    "url",
    ["", "file:", "file://", "redis://localhost", "sqlite:x.db", "memory:name", "memory://host/x", "file://host/share"],
)
async def test_a_url_of_no_store_is_refused(url: str) -> None:
    with pytest.raises(StorageValidationError) as caught:
        await open_storage(url)

    assert caught.value.path == "url"


@pytest.mark.parametrize("url", ["memory:", "store"])
async def test_an_unknown_option_is_refused(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    with pytest.raises(StorageValidationError, match="no_such_option"):
        await open_storage(url, no_such_option=1)

    assert entries(tmp_path) == []


async def test_nothing_is_opened_before_it_is_awaited(tmp_path: Path) -> None:
    open_sessions(tmp_path / "store")
    open_storage("redis://localhost")

    assert entries(tmp_path) == []


async def test_a_store_that_must_exist_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(StorageUnavailableError):
        await open_sessions(tmp_path / "store", create=False)

    assert entries(tmp_path) == []


@pytest.mark.skipif(sys.platform == "win32", reason="there a letter and a colon are a drive")
async def test_a_single_letter_before_a_colon_belongs_to_the_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    async with open_storage("c:store", fsync=False) as storage:
        await storage.save({"id": "a"})

    assert entries(tmp_path) == ["c:store"]
