"""What the adapter of the calling system saves, with the naive local times that it gives, and its models."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

import fsstore
from fsstore import FileStorage, LegacySessionStoreAdapter, MemoryStorage, SessionService
from fsstore.errors import StorageError
from fsstore.interfaces import IUnifiedStorage
from tests.calling_system import SYSTEMS, CallingSystem


@pytest.fixture(params=list(SYSTEMS))
def system(request: pytest.FixtureRequest) -> CallingSystem:
    return SYSTEMS[request.param]


async def opened(kind: str, tmp_path: Path) -> IUnifiedStorage:
    return MemoryStorage() if kind == "memory" else await FileStorage.open(tmp_path / "store")


KINDS = ("memory", "files")


@pytest.fixture(params=KINDS)
async def storage(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[IUnifiedStorage]:
    async with await opened(request.param, tmp_path) as storage:
        yield storage


def session(status: str, **more: Any) -> dict[str, Any]:
    return {"metadata": {"status": status}, **more}


async def test_its_adapter_saves_gets_updates_and_deletes(system: CallingSystem, storage: IUnifiedStorage) -> None:
    adapter, given = system.adapter(storage), session("active", n=1)

    assert await adapter.save_session("a", given) is None
    # it has put its times into what it was given
    assert given["metadata"].keys() == {"status", "created_at", "updated_at"}
    assert await adapter.get_session("a") == given
    assert await adapter.update_session("a", {"n": 2, "metadata": {"status": "done"}}) is None
    updated = await adapter.get_session("a")
    assert (updated["n"], updated["metadata"]["status"]) == (2, "done")
    assert updated["metadata"]["created_at"] == given["metadata"]["created_at"]
    assert (await adapter.session_exists("a"), await adapter.session_exists("x")) == (True, False)
    assert await adapter.delete_session("a") is None
    assert await adapter.get_session("a") is None


async def test_its_times_are_instants_of_the_record(system: CallingSystem, storage: IUnifiedStorage) -> None:
    """A naive time is local time, as `datetime.now()` gives it."""
    adapter, given = system.adapter(storage), session("active")
    await adapter.save_session("a", given)
    first = await storage.load("a")
    await adapter.save_session("a", session("active"))
    second = await storage.load("a")

    assert first is not None
    assert second is not None
    created = datetime.fromisoformat(first["created_at"])
    assert created == datetime.fromisoformat(given["metadata"]["created_at"]).astimezone(UTC)
    assert timedelta(0) <= datetime.now(UTC) - created < timedelta(minutes=1)
    assert (second["created_at"], second["version"]) == (first["created_at"], 2)
    assert second["updated_at"] >= first["updated_at"]


async def test_its_adapter_lists_by_metadata(system: CallingSystem, storage: IUnifiedStorage) -> None:
    adapter = system.adapter(storage)
    for number, status in enumerate(["active", "done", "active"]):
        await adapter.save_session(f"s{number}", session(status, n=number))
    await storage.save({"id": "note", "type": "note", "data": session("active")})

    assert [found["n"] for found in await adapter.list_sessions()] == [2, 1, 0]
    assert [found["n"] for found in await adapter.list_sessions({"status": "active"})] == [2, 0]
    assert [found["n"] for found in await adapter.list_sessions({"status": "active"}, 1)] == [2]
    assert await adapter.list_sessions({"status": "failed"}) == []


async def test_its_batches_are_all_or_nothing(system: CallingSystem, storage: IUnifiedStorage) -> None:
    adapter = system.adapter(storage)

    assert await adapter.batch_save_sessions({name: session("active", name=name) for name in "abc"}) is None
    with pytest.raises(StorageError, match=r"^Failed to batch save sessions: .*\$\.data\.n"):
        await adapter.batch_save_sessions({"a": session("done"), "z": session("done", n=float("nan"))})
    assert sorted(found["name"] for found in await adapter.list_sessions({"status": "active"})) == ["a", "b", "c"]
    assert await adapter.batch_delete_sessions(["a", "nobody", "b"]) is None
    assert [found["name"] for found in await adapter.list_sessions()] == ["c"]


async def test_our_service_reads_what_its_adapter_saves_and_the_other_way(
    system: CallingSystem, storage: IUnifiedStorage
) -> None:
    theirs, ours = system.adapter(storage), SessionService(storage)
    await theirs.save_session("a", session("active", n=1))
    await ours.save_session("b", session("active", n=2))

    assert [found["n"] for found in await ours.list_sessions({"status": "active"})] == [2, 1]
    assert [found["n"] for found in await theirs.list_sessions({"status": "active"})] == [2, 1]
    await ours.update_session("a", {"n": 3})
    assert (await theirs.get_session("a"))["n"] == 3


@pytest.mark.parametrize("kind", KINDS)
def test_its_old_interface_saves_through_its_adapter(kind: str, system: CallingSystem, tmp_path: Path) -> None:
    # the rest of the class is abstract: what the document leaves out is not called
    saving: Any = type(
        "Saving", (system.legacy,), dict.fromkeys(system.old_store.__abstractmethods__ - {"save_session"})
    )
    storage = asyncio.run(opened(kind, tmp_path))
    adapter = system.adapter(storage)

    assert saving(adapter).save_session("a", session("active", n=1)) is True
    assert saving(adapter).save_session("b", session("active", n=float("nan"))) is False
    assert asyncio.run(adapter.get_session("a"))["n"] == 1
    asyncio.run(storage.close())


@pytest.mark.parametrize("kind", KINDS)
def test_our_old_interface_goes_through_every_method_of_its_adapter(
    kind: str, system: CallingSystem, tmp_path: Path
) -> None:
    storage = asyncio.run(opened(kind, tmp_path))
    with LegacySessionStoreAdapter(system.adapter(storage)) as store:
        assert store.save_session("a", session("active", n=1)) is True
        assert (store.get_session("a") or {})["n"] == 1
        assert (store.session_exists("a"), store.session_exists("x")) == (True, False)
        # its adapter wraps the absence in an update
        assert (store.update_session("a", {"n": 2}), store.update_session("x", {"n": 2})) == (True, False)
        assert store.batch_save_sessions({"b": session("done", n=3)}) is True
        assert [found["n"] for found in store.list_sessions({"status": "active"})] == [2]
        assert store.batch_delete_sessions(["b", "x"]) is True
        assert (store.delete_session("a"), store.delete_session("a")) == (True, False)
        assert store.list_sessions() == []
        with pytest.raises(StorageError, match=r"^Failed to save session a: "):
            store.save_session("a", session("active", n=float("nan")))
    asyncio.run(storage.close())


# -- its models -----------------------------------------------------------------------------------------------------


def fields(model: type[BaseModel]) -> dict[str, tuple[bool, Any]]:
    """Return the fields of a model: whether they must be given, and their defaults."""
    return {
        name: (field.is_required(), None if field.is_required() else field.get_default(call_default_factory=True))
        for name, field in model.model_fields.items()
    }


@pytest.mark.parametrize("name", ["metadata", "data"])
def test_our_models_have_the_fields_and_the_defaults_of_its_models(name: str, system: CallingSystem) -> None:
    ours: dict[str, type[BaseModel]] = {"metadata": fsstore.SessionMetadata, "data": fsstore.SessionData}
    theirs = fields(system.classes()[name])
    mine = fields(ours[name])

    assert {field: mine.get(field) for field in theirs} == theirs
    # what is beside them, for what frameworks add, need not be given
    assert [field for field, (is_required, _) in mine.items() if is_required and field not in theirs] == []


async def test_its_models_are_saved_and_read_again(system: CallingSystem, storage: IUnifiedStorage) -> None:
    now = datetime.now(UTC)
    given: Any = system.data(metadata=system.metadata(session_id="a", created_at=now, updated_at=now))
    service = SessionService(storage)
    await service.save_session("a", given)

    read: Any = await service.get_model("a", system.data)
    assert (read.metadata.session_id, read.metadata.status, read.metadata.tags) == ("a", "unknown", [])
    assert read.model_dump(exclude={"metadata"}) == given.model_dump(exclude={"metadata"})
    # a filter finds the default, too
    assert len(await service.list_sessions({"status": "unknown"})) == 1
