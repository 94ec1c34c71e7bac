"""The classes of the calling system run on fsstore as they stand: those that need nothing but a storage of records."""

import asyncio
import inspect
import types
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Union, get_args, get_origin, get_type_hints

import pytest

import fsstore.legacy
from fsstore import FileStorage, LegacySessionStoreAdapter, MemoryStorage, SessionService
from fsstore.errors import StorageConflictError, StorageCorruptedError, StorageError, StorageNotFoundError
from fsstore.interfaces import IUnifiedStorage
from fsstore.sessions import interfaces as ours
from tests import calling_system
from tests.calling_system import COPY, SYSTEMS, CallingSystem

ACTIVE = {"n": 1, "metadata": {"status": "active", "tags": ["a", "b"]}}


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


# -- the facts ------------------------------------------------------------------------------------------------------


def shape(annotation: Any) -> Any:
    """Return a type so that its old and new spellings are equal."""
    origin, inner = get_origin(annotation), tuple(shape(part) for part in get_args(annotation))
    if origin in (Union, types.UnionType):
        return frozenset(inner)
    return (origin, *inner) if origin is not None else annotation


def facts(method: Any) -> list[tuple[Any, ...]]:
    """Return names, defaults and types of a method's arguments, and the type of its result."""
    hints = get_type_hints(method)
    arguments = [
        (name, argument.kind, argument.default, shape(hints.get(name)))
        for name, argument in inspect.signature(method).parameters.items()
    ]
    return [*arguments, ("", inspect.iscoroutinefunction(method), shape(hints.get("return")))]


def methods(kind: type) -> dict[str, Any]:
    """Return the public methods that a class of the document defines."""
    return {name: value for name, value in vars(kind).items() if inspect.isfunction(value) and not name.startswith("_")}


PLAIN = [name for name in COPY.classes() if name not in ("metadata", "data")]


@pytest.mark.parametrize("name", PLAIN)
def test_the_copy_of_the_facts_says_what_the_document_says(name: str, system: CallingSystem) -> None:
    there, here = methods(system.classes()[name]), methods(COPY.classes()[name])

    assert {method: facts(value) for method, value in there.items()} == {
        method: facts(value) for method, value in here.items()
    }


def test_our_interfaces_are_those_of_the_document(system: CallingSystem) -> None:
    pairs = [
        (system.old_store, fsstore.legacy.ISessionStore),
        (system.store, ours.ISessionStore),
        (system.protocol, ours.ISessionService),
    ]
    for theirs, mine in pairs:
        assert {name: facts(method) for name, method in methods(mine).items()} == {
            name: facts(method) for name, method in methods(theirs).items()
        }


def test_our_classes_take_what_the_interfaces_of_the_document_take(system: CallingSystem) -> None:
    for theirs, mine in (
        (system.old_store, LegacySessionStoreAdapter),
        (system.store, SessionService),
        (system.protocol, SessionService),
        (system.adapter, fsstore.SessionStorageAdapter),
    ):
        for name, method in methods(theirs).items():
            wanted = list(inspect.signature(method).parameters.values())
            got = list(inspect.signature(getattr(mine, name)).parameters.values())
            assert [(one.name, one.default) for one in got[: len(wanted)]] == [
                (one.name, one.default) for one in wanted
            ]
            # whatever we have beyond it may be left out
            assert all(one.default is not one.empty for one in got[len(wanted) :])
            assert inspect.iscoroutinefunction(getattr(mine, name)) == inspect.iscoroutinefunction(method)


def test_our_classes_complete_the_abstract_ones_of_the_document(system: CallingSystem) -> None:
    service_kind: Any = type("Service", (SessionService, system.store), {})
    old_kind: Any = type("Old", (LegacySessionStoreAdapter, system.old_store), {})
    service = service_kind(MemoryStorage())
    with old_kind(service) as old:
        assert isinstance(service, system.store)
        assert isinstance(old, system.old_store)
        assert old.save_session("a", {}) is True


def checked_by_mypy(storage: IUnifiedStorage) -> list[ours.ISessionService]:
    """Fit what the document defines into our Protocol, and ours into its: a type checker reads this."""
    theirs: calling_system.ISessionService = SessionService(storage)
    assert theirs
    return [calling_system.SessionService(storage), calling_system.SessionStorageAdapter(storage)]


def test_the_services_of_the_document_satisfy_our_protocol(system: CallingSystem) -> None:
    for kind in (system.service, system.adapter):
        assert isinstance(kind(MemoryStorage()), ours.ISessionService)
    assert all(isinstance(service, ours.ISessionService) for service in checked_by_mypy(MemoryStorage()))
    assert not isinstance(MemoryStorage(), ours.ISessionService)


# -- the service ----------------------------------------------------------------------------------------------------


async def test_its_service_saves_gets_updates_and_deletes(system: CallingSystem, storage: IUnifiedStorage) -> None:
    service = system.service(storage)

    assert await service.save_session("a", ACTIVE) is None
    assert await service.get_session("a") == ACTIVE
    assert await service.update_session("a", {"n": None, "state": {"step": 2}, "metadata": {"status": "done"}}) is None
    assert await service.get_session("a") == {"state": {"step": 2}, "metadata": {"status": "done", "tags": ["a", "b"]}}
    assert (await service.session_exists("a"), await service.session_exists("b")) == (True, False)
    assert await service.delete_session("a") is None
    assert await service.get_session("a") is None


async def test_its_service_keeps_a_copy_of_the_metadata_at_the_top_of_the_record(
    system: CallingSystem, storage: IUnifiedStorage
) -> None:
    await system.service(storage).save_session("a", ACTIVE)
    record = await storage.load("a")

    assert record is not None
    assert (record["type"], record["data"], record["metadata"]) == ("session", ACTIVE, ACTIVE["metadata"])
    assert record["version"] == 1
    assert record["created_at"].endswith("+00:00")


async def test_its_service_lists_by_paths_that_start_at_the_record(
    system: CallingSystem, storage: IUnifiedStorage
) -> None:
    """`{"status": ...}` there means the key `status` of the record, of which it has none."""
    service = system.service(storage)
    await service.save_session("a", ACTIVE)
    await service.save_session("b", {"n": 2, "metadata": {"status": "done"}})
    await storage.save({"id": "note", "type": "note", "metadata": {"status": "active"}})

    assert await service.list_sessions() == [{"n": 2, "metadata": {"status": "done"}}, ACTIVE]
    assert await service.list_sessions(limit=1) == [{"n": 2, "metadata": {"status": "done"}}]
    assert await service.list_sessions({"status": "active"}) == []
    assert await service.list_sessions({"metadata.status": "active"}) == [ACTIVE]
    assert await service.list_sessions({"data.metadata.tags": "b"}, 5) == [ACTIVE]


async def test_a_filter_of_its_service_may_name_another_type(system: CallingSystem, storage: IUnifiedStorage) -> None:
    """Its own condition is a key like any other, and a second one takes its place; in ours `type` is metadata."""
    await storage.save({"id": "note", "type": "note", "data": {"n": 1}})

    assert await system.service(storage).list_sessions({"type": "note"}) == [{"n": 1}]
    assert await SessionService(storage).list_sessions({"type": "note"}) == []


async def test_our_service_lists_by_the_metadata_of_sessions(storage: IUnifiedStorage) -> None:
    service = SessionService(storage)
    await service.save_session("a", ACTIVE)
    await service.save_session("b", {"metadata": {"status": "done"}})

    assert [session["n"] for session in await service.list_sessions({"status": "active"})] == [1]


async def test_its_service_says_which_session_was_not_found(system: CallingSystem, storage: IUnifiedStorage) -> None:
    service = system.service(storage)

    assert await service.get_session("x") is None
    with pytest.raises(StorageNotFoundError, match=r"^Session not found: x$"):
        await service.delete_session("x")
    with pytest.raises(StorageNotFoundError) as caught:
        await service.update_session("x", {"n": 1})
    assert caught.value.id == "x"


async def test_a_record_of_another_type_exists_and_is_no_session(
    system: CallingSystem, storage: IUnifiedStorage
) -> None:
    await storage.save({"id": "note", "type": "note", "data": {"n": 1}})

    for service in (system.service(storage), system.adapter(storage), SessionService(storage)):
        assert await service.session_exists("note") is True
        assert await service.get_session("note") is None
        assert await service.list_sessions() == []


async def test_our_service_does_not_overwrite_a_record_of_another_type(storage: IUnifiedStorage) -> None:
    """The services of the document do, since a save of the storage does."""
    await storage.save({"id": "note", "type": "note", "data": {"n": 1}})

    with pytest.raises(StorageConflictError, match="choose another id for the session"):
        await SessionService(storage).save_session("note", {})


async def test_our_service_leaves_the_dict_of_the_caller_alone(storage: IUnifiedStorage) -> None:
    session: dict[str, Any] = {"n": 1}
    updates: dict[str, Any] = {"n": 2}
    await SessionService(storage).save_session("a", session)
    await SessionService(storage).update_session("a", updates)
    await SessionService(storage).batch_save_sessions({"b": session})

    assert (session, updates) == ({"n": 1}, {"n": 2})


async def test_our_batch_of_deletes_passes_over_absent_sessions(storage: IUnifiedStorage) -> None:
    service = SessionService(storage)
    await service.batch_save_sessions({"a": {}, "b": {}})
    await service.batch_delete_sessions(["a", "nobody"])

    assert [await service.session_exists(name) for name in "ab"] == [False, True]


# -- the adapter, where it saves nothing ----------------------------------------------------------------------------


async def test_its_adapter_wraps_the_absence_in_an_update(system: CallingSystem, storage: IUnifiedStorage) -> None:
    """Its interface says StorageNotFoundError; what it raises is made of one, and ours raises it."""
    with pytest.raises(StorageError, match=r"^Failed to update session x: there is no document 'x'; ") as caught:
        await system.adapter(storage).update_session("x", {"n": 1})

    assert type(caught.value) is StorageError
    assert isinstance(caught.value.__context__, StorageNotFoundError)
    with pytest.raises(StorageNotFoundError):
        await SessionService(storage).update_session("x", {"n": 1})


async def test_its_adapter_raises_the_absence_in_a_delete(system: CallingSystem, storage: IUnifiedStorage) -> None:
    with pytest.raises(StorageNotFoundError, match=r"^Session not found: x$"):
        await system.adapter(storage).delete_session("x")


async def test_its_adapter_takes_a_damaged_session_for_an_absent_one_and_ours_does_not(
    system: CallingSystem, tmp_path: Path
) -> None:
    async with await FileStorage.open(tmp_path / "store") as storage:
        await storage.save({"id": "a", "type": "session"})
        (file,) = (tmp_path / "store").glob("??/a.json")
        file.write_text("{")

        assert await system.adapter(storage).get_session("a") is None
        for service in (SessionService(storage), system.service(storage)):
            with pytest.raises(StorageCorruptedError):
                await service.get_session("a")


async def test_its_adapter_names_the_call_that_failed(system: CallingSystem, storage: IUnifiedStorage) -> None:
    adapter = system.adapter(storage)

    with pytest.raises(StorageError, match=r"^Failed to save session a: document 'a': "):
        await adapter.save_session("a", {"n": float("nan")})
    with pytest.raises(StorageError, match=r"^Failed to list sessions: .*\$near"):
        await adapter.list_sessions({"status": {"$near": 1}})
    with pytest.raises(StorageError, match=r"^Failed to delete session : "):
        await adapter.delete_session("")
    with pytest.raises(StorageError, match=r"^Failed to batch save sessions: "):
        await adapter.batch_save_sessions({"a": {}, "b": {"n": float("nan")}})
    with pytest.raises(StorageError, match=r"^Failed to batch delete sessions: "):
        await adapter.batch_delete_sessions([""])
    assert await storage.count() == 0


async def test_its_adapter_removes_batches_and_passes_over_absent_ones(
    system: CallingSystem, storage: IUnifiedStorage
) -> None:
    await storage.batch_save([{"id": name, "type": "session"} for name in "abc"])

    assert await system.adapter(storage).batch_delete_sessions(["a", "nobody", "c"]) is None
    assert [await storage.exists(name) for name in "abc"] == [False, True, False]


# -- the old interface ----------------------------------------------------------------------------------------------


def completed(system: CallingSystem) -> Any:
    """Return its legacy adapter with the four methods that the document leaves to its reader."""

    def wrapping(name: str, absent: Any) -> Any:
        def method(self: Any, *arguments: Any) -> Any:
            try:
                answer = asyncio.run(getattr(self._session_service, name)(*arguments))
            except Exception:  # noqa: BLE001 - as in the method that it has
                return absent
            return True if answer is None and absent is False else answer

        return method

    rest: dict[str, Any] = {"get_session": None, "delete_session": False, "list_sessions": [], "session_exists": False}
    return type("Completed", (system.legacy,), {name: wrapping(name, absent) for name, absent in rest.items()})


@pytest.mark.parametrize("kind", KINDS)
def test_its_old_interface_runs_each_call_in_a_loop_of_its_own(
    kind: str, system: CallingSystem, tmp_path: Path
) -> None:
    storage = asyncio.run(opened(kind, tmp_path))
    store = completed(system)(system.service(storage))

    assert isinstance(store, system.old_store)
    assert store.save_session("a", ACTIVE) is True
    assert store.get_session("a") == ACTIVE
    assert store.save_session("a", {"n": float("nan")}) is False
    assert (store.session_exists("a"), store.session_exists("x")) == (True, False)
    assert store.list_sessions() == [ACTIVE]
    assert (store.delete_session("a"), store.delete_session("a")) == (True, False)
    asyncio.run(storage.close())


async def test_its_old_interface_says_false_inside_a_loop_where_ours_is_an_error(
    system: CallingSystem, storage: IUnifiedStorage
) -> None:
    """A lost write and an absent session are one to it; ours raises whatever is not absence."""
    service = system.service(storage)
    with pytest.warns(RuntimeWarning, match="never awaited"):
        assert completed(system)(service).save_session("a", ACTIVE) is False
    with pytest.raises(StorageError, match="would wait for itself"):
        LegacySessionStoreAdapter(service).save_session("a", ACTIVE)

    assert await storage.count() == 0


@pytest.mark.parametrize("kind", KINDS)
def test_our_old_interface_goes_through_every_method_of_its_service(
    kind: str, system: CallingSystem, tmp_path: Path
) -> None:
    storage = asyncio.run(opened(kind, tmp_path))
    with LegacySessionStoreAdapter(system.service(storage)) as store:
        assert store.save_session("a", ACTIVE) is True
        assert store.get_session("a") == ACTIVE
        assert (store.session_exists("a"), store.session_exists("x")) == (True, False)
        assert (store.update_session("a", {"n": 2}), store.update_session("x", {"n": 2})) == (True, False)
        assert store.batch_save_sessions({"b": {"n": 3}, "c": {"n": 4}}) is True
        assert store.batch_save_sessions({"d": {"n": 5}, "e": {"n": float("nan")}}) is False
        assert [session["n"] for session in store.list_sessions()] == [5, 4, 3, 2]
        assert store.batch_delete_sessions(["d", "x"]) is True
        assert (store.delete_session("a"), store.delete_session("a")) == (True, False)
        assert [session["n"] for session in store.list_sessions()] == [4, 3]
        with pytest.raises(StorageError):
            store.save_session("a", {"n": float("nan")})
    asyncio.run(storage.close())
