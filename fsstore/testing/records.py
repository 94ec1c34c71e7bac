"""The contract of single records: saving, loading, patching, deleting, and closing."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import aclosing
from typing import Any

import pytest

from fsstore.errors import StorageClosedError, StorageNotFoundError, StorageValidationError
from fsstore.interfaces import IUnifiedStorage
from fsstore.model.clock import HandClock
from fsstore.testing.backend import BackendFixtures, OpenAgain, outlives_its_handle, refusal


async def _stream(storage: IUnifiedStorage) -> None:
    async with aclosing(storage.stream_list()) as batches:
        async for _ in batches:
            pass


CALLS: dict[str, Callable[[IUnifiedStorage], Awaitable[Any]]] = {
    "save": lambda storage: storage.save({"id": "a"}),
    "load": lambda storage: storage.load("a"),
    "update": lambda storage: storage.update("a", {"data": {}}),
    "delete": lambda storage: storage.delete("a"),
    "exists": lambda storage: storage.exists("a"),
    "list": lambda storage: storage.list(),
    "list_metadata": lambda storage: storage.list_metadata(),
    "stream_list": _stream,
    "count": lambda storage: storage.count(),
    "query": lambda storage: storage.query("SELECT id FROM documents"),
    "transaction": lambda storage: storage.transaction([{"type": "delete", "id": "a"}]),
    "batch_save": lambda storage: storage.batch_save([{"id": "a"}]),
    "batch_delete": lambda storage: storage.batch_delete(["a"]),
    "get_by_session": lambda storage: storage.get_by_session("s"),
    "get_by_thread": lambda storage: storage.get_by_thread("t"),
    "cleanup_old_data": lambda storage: storage.cleanup_old_data(1),
    "health_check": lambda storage: storage.health_check(),
}
"""Every operation of a storage, on a record `a`."""

MALFORMED_RECORDS: dict[str, tuple[dict[str, Any], str]] = {
    "type is a number": ({"type": 5}, "$.type"),
    "type is null": ({"type": None}, "$.type"),
    "session id is a number": ({"session_id": 5}, "$.session_id"),
    "thread id is a list": ({"thread_id": ["t"]}, "$.thread_id"),
    "created at no time": ({"created_at": "yesterday"}, "$.created_at"),
    "created at a number of seconds": ({"created_at": 1_769_850_900}, "$.created_at"),
    "updated at no time": ({"updated_at": "yesterday"}, "$.updated_at"),
}
"""Parts that no record may have, and the JSON path that the error names."""


BREAKING_UPDATES: list[tuple[Any, str]] = [
    ({"id": "b"}, "$.id"),
    ({"id": 5}, "$.id"),
    ({"type": None}, "$.type"),
    ({"data": None}, "$.data"),
    ({"session_id": {"s": 1}}, "$.session_id"),
    (["not", "an", "object"], "$"),
]
"""Patches after which a record would be none, and the JSON path that the error names."""


class RecordContract(BackendFixtures):
    """One record at a time."""

    # -- saving and loading -------------------------------------------------------------------------------------------

    async def test_a_saved_record_comes_back_with_its_envelope(
        self, storage: IUnifiedStorage, clock: HandClock
    ) -> None:
        assert await storage.save({"id": "a", "type": "note", "data": {"text": "hello"}}) == "a"

        assert await storage.load("a") == {
            "id": "a",
            "type": "note",
            "data": {"text": "hello"},
            "version": 1,
            "created_at": clock.text,
            "updated_at": clock.text,
        }

    async def test_keys_beyond_the_envelope_are_kept_as_they_are(self, storage: IUnifiedStorage) -> None:
        extra = {
            "session_id": "s",
            "thread_id": None,
            "metadata": {"tags": ["x"]},
            "colour": "red",
            "$odd key": [1],
        }

        await storage.save({"id": "a", "type": "note", "data": {}, **extra})

        loaded = await storage.load("a")
        assert loaded is not None
        assert {key: loaded[key] for key in extra} == extra

    async def test_data_may_be_any_json_value(self, storage: IUnifiedStorage) -> None:
        values: list[Any] = [None, 0, "", [], {}, [1, {"a": None}]]
        for data in values:
            await storage.save({"id": "a", "type": "note", "data": data})

            loaded = await storage.load("a")
            assert loaded is not None
            assert loaded["data"] == data

    async def test_a_missing_id_is_made(self, storage: IUnifiedStorage) -> None:
        first, second = await storage.save({"data": {"n": 1}}), await storage.save({"data": {"n": 2}})

        assert first != second
        assert [(await storage.load(made) or {})["data"]["n"] for made in (first, second)] == [1, 2]

    async def test_a_missing_type_and_missing_data_get_defaults(self, storage: IUnifiedStorage) -> None:
        loaded = await storage.load(await storage.save({}))

        assert loaded is not None
        assert (loaded["type"], loaded["data"]) == ("document", {})

    async def test_an_absent_record_loads_as_none(self, storage: IUnifiedStorage) -> None:
        assert await storage.load("nobody") is None
        assert await storage.exists("nobody") is False

    async def test_saving_again_replaces_the_whole_record(self, storage: IUnifiedStorage) -> None:
        await storage.save({"id": "a", "type": "note", "data": {"old": 1}, "colour": "red"})

        await storage.save({"id": "a", "type": "memo", "data": {"new": 2}})

        loaded = await storage.load("a")
        assert loaded is not None
        assert (loaded["type"], loaded["data"]) == ("memo", {"new": 2})
        assert "colour" not in loaded

    async def test_a_record_that_was_loaded_can_be_saved_as_it_is(self, storage: IUnifiedStorage) -> None:
        await storage.save({"id": "a", "data": {"n": 1}})
        loaded = await storage.load("a")
        assert loaded is not None

        await storage.save(loaded)

        assert await storage.load("a") == {**loaded, "version": 2}

    async def test_another_handle_sees_what_was_acknowledged(
        self, storage: IUnifiedStorage, open_again: OpenAgain
    ) -> None:
        await storage.save({"id": "a", "data": {"n": 1}})

        other = await open_again()

        shared = storage.guarantees.cross_process
        assert await other.load("a") == (await storage.load("a") if shared else None)
        assert await other.count() == (1 if shared else 0)

    async def test_a_store_that_outlives_its_handle_is_the_same_when_opened_again(
        self, storage: IUnifiedStorage, open_again: OpenAgain
    ) -> None:
        await storage.save({"id": "a", "data": {"n": 1}})
        await storage.save({"id": "b", "data": {"n": 2}})
        await storage.delete("b")
        saved = await storage.load("a")
        await storage.close()

        reopened = await open_again()

        assert await reopened.list() == ([saved] if outlives_its_handle(storage) else [])

    async def test_a_malformed_envelope_is_refused_with_its_path(self, storage: IUnifiedStorage) -> None:
        errors = {
            name: await refusal(storage.save({"id": "a", "data": {}, **parts}), StorageValidationError)
            for name, (parts, _) in MALFORMED_RECORDS.items()
        }

        places = {name: error and (error.id, error.path) for name, error in errors.items()}
        assert places == {name: ("a", path) for name, (_, path) in MALFORMED_RECORDS.items()}
        assert await storage.load("a") is None

    # -- patching -----------------------------------------------------------------------------------------------------

    async def test_an_update_is_a_merge_patch_of_the_record(self, storage: IUnifiedStorage) -> None:
        data = {"keep": 1, "drop": 2, "list": [1, 2], "inner": {"keep": 3, "drop": 4}, "scalar": 5}
        await storage.save({"id": "a", "type": "note", "data": data, "colour": "red"})

        patch = {"drop": None, "list": [3], "inner": {"drop": None, "new": 6}, "scalar": {"now": "an object"}}
        assert await storage.update("a", {"data": patch, "colour": None}) is True

        loaded = await storage.load("a")
        assert loaded is not None
        assert loaded["type"] == "note"
        assert "colour" not in loaded
        assert loaded["data"] == {
            "keep": 1,
            "list": [3],
            "inner": {"keep": 3, "new": 6},
            "scalar": {"now": "an object"},
        }

    async def test_updating_an_absent_record_raises_and_makes_nothing(self, storage: IUnifiedStorage) -> None:
        with pytest.raises(StorageNotFoundError) as caught:
            await storage.update("nobody", {"data": {"n": 1}})

        assert caught.value.id == "nobody"
        assert await storage.exists("nobody") is False

    async def test_an_update_that_breaks_the_record_is_refused_with_its_path(self, storage: IUnifiedStorage) -> None:
        await storage.save({"id": "a", "data": {"n": 1}})
        before = await storage.load("a")

        for updates, path in BREAKING_UPDATES:
            error = await refusal(storage.update("a", updates), StorageValidationError)
            assert (updates, error and error.path) == (updates, path)

        assert await storage.list() == [before]

    # -- deleting -----------------------------------------------------------------------------------------------------

    async def test_delete_tells_whether_the_record_was_there(self, storage: IUnifiedStorage) -> None:
        await storage.save({"id": "a"})

        assert await storage.exists("a") is True
        assert await storage.delete("a") is True
        assert await storage.exists("a") is False
        assert await storage.load("a") is None
        assert await storage.list() == []
        assert await storage.delete("a") is False

    # -- health and closing -------------------------------------------------------------------------------------------

    async def test_a_sound_store_reports_itself_healthy(self, storage: IUnifiedStorage) -> None:
        await storage.batch_save([{"id": "a"}, {"id": "b"}])

        report = await storage.health_check()

        assert (report["status"], report["documents"], report["corrupt"]) == ("ok", 2, [])

    async def test_closing_twice_is_allowed(self, storage: IUnifiedStorage) -> None:
        await storage.save({"id": "a"})

        await storage.close()
        await storage.close()

    async def test_leaving_the_block_closes_the_store(self, storage: IUnifiedStorage) -> None:
        async with storage as entered:
            assert entered is storage
            await storage.save({"id": "a"})

        with pytest.raises(StorageClosedError):
            await storage.load("a")

    async def test_every_operation_is_refused_after_close(self, storage: IUnifiedStorage) -> None:
        await storage.save({"id": "a"})
        await storage.close()

        errors = {name: await refusal(call(storage), StorageClosedError) for name, call in CALLS.items()}

        assert [name for name, error in errors.items() if error is None or error.outcome != "not applied"] == []
