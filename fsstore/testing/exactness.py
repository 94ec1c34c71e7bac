"""The contract of values: a round trip is exact or refused, nothing is shared with the caller, hostile ids are safe."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from fsstore.errors import StorageValidationError
from fsstore.interfaces import IUnifiedStorage
from fsstore.model.mutations import Append, saving
from fsstore.testing.backend import BackendFixtures, OpenAgain, outlives_its_handle, refusal
from fsstore.testing.examples import (
    ENDLESS_PATCHES,
    EXACT_VALUES,
    HOSTILE_IDS,
    REFUSED_IDS,
    REFUSED_VALUES,
    exact_texts,
)

WAYS_IN: dict[str, Callable[[IUnifiedStorage, Any], Awaitable[Any]]] = {
    "save": lambda storage, data: storage.save({"id": "a", "data": data}),
    "update": lambda storage, data: storage.update("a", {"data": data}),
    "batch_save": lambda storage, data: storage.batch_save([{"id": "b"}, {"id": "a", "data": data}]),
    "saving in a transaction": lambda storage, data: storage.transaction(
        [{"type": "save", "data": {"id": "b"}}, {"type": "save", "data": {"id": "a", "data": data}}]
    ),
    "updating in a transaction": lambda storage, data: storage.transaction(
        [{"type": "save", "data": {"id": "b"}}, {"type": "update", "id": "a", "data": {"data": data}}]
    ),
}
"""Every way by which data of a record `a` gets into a store; a batch brings a `b` before it."""

USES_OF_AN_ID: dict[str, Callable[[IUnifiedStorage, Any], Awaitable[Any]]] = {
    "save": lambda storage, record_id: storage.save({"id": record_id}),
    "load": lambda storage, record_id: storage.load(record_id),
    "update": lambda storage, record_id: storage.update(record_id, {"data": {}}),
    "delete": lambda storage, record_id: storage.delete(record_id),
    "exists": lambda storage, record_id: storage.exists(record_id),
    "batch_save": lambda storage, record_id: storage.batch_save([{"id": "b"}, {"id": record_id}]),
    "batch_delete": lambda storage, record_id: storage.batch_delete(["a", record_id]),
    "saving in a transaction": lambda storage, record_id: storage.transaction(
        [{"type": "save", "data": {"id": record_id}}]
    ),
    "deleting in a transaction": lambda storage, record_id: storage.transaction(
        [{"type": "delete", "id": "a"}, {"type": "delete", "id": record_id}]
    ),
    "appending": lambda storage, record_id: storage.commit([Append(record_id, [1], ("data", "items"))]),
    "appending to several": lambda storage, record_id: storage.commit(
        [Append(each, [1], ("data", "items")) for each in ("a", record_id)]
    ),
}
"""Every operation that takes an id; where it takes several, the one at fault comes last."""


class ExactnessContract(BackendFixtures):
    """What goes in comes out, or does not go in."""

    # -- round trips --------------------------------------------------------------------------------------------------

    async def test_a_round_trip_is_exact(self, storage: IUnifiedStorage) -> None:
        for name, value in EXACT_VALUES.items():
            await storage.save({"id": name, "data": {"value": value}})

        loaded = {name: (await storage.load(name) or {})["data"]["value"] for name in EXACT_VALUES}
        listed = {record["id"]: record["data"]["value"] for record in await storage.list()}
        assert exact_texts(loaded) == exact_texts(EXACT_VALUES)
        assert exact_texts(listed) == exact_texts(EXACT_VALUES)

    async def test_a_patch_brings_values_exactly(self, storage: IUnifiedStorage) -> None:
        values = {name: value for name, value in EXACT_VALUES.items() if value is not None}
        for name, value in values.items():
            await storage.save({"id": name, "data": {"kept": value}})
            await storage.update(name, {"data": {"value": value}})

        for part in ("kept", "value"):
            found = {record["id"]: record["data"][part] for record in await storage.list()}
            assert exact_texts(found) == exact_texts(values)

    async def test_metadata_comes_back_exactly(self, storage: IUnifiedStorage) -> None:
        values = {**EXACT_VALUES, "deepest": EXACT_VALUES["deepest"][0]}
        for name, value in values.items():
            await storage.save({"id": name, "data": {"metadata": {"value": value}}})
            await storage.save({"id": f"own {name}", "metadata": {"value": value}})

        found = {view["id"]: view["metadata"]["value"] for view in await storage.list_metadata()}
        expected = values | {f"own {name}": value for name, value in values.items()}
        assert exact_texts(found) == exact_texts(expected)

    async def test_exact_values_are_still_exact_when_the_store_is_opened_again(
        self, storage: IUnifiedStorage, open_again: OpenAgain
    ) -> None:
        await storage.batch_save([{"id": name, "data": {"value": value}} for name, value in EXACT_VALUES.items()])
        await storage.close()

        reopened = await open_again()

        found = {record["id"]: record["data"]["value"] for record in await reopened.list()}
        assert exact_texts(found) == (exact_texts(EXACT_VALUES) if outlives_its_handle(storage) else {})

    # -- refusals -----------------------------------------------------------------------------------------------------

    @pytest.mark.parametrize("way", WAYS_IN)
    async def test_what_is_not_json_is_refused_with_its_path(self, storage: IUnifiedStorage, way: str) -> None:
        await storage.save({"id": "a", "data": {"n": 1}})
        before = await storage.load("a")

        errors = {
            name: await refusal(WAYS_IN[way](storage, {"list": [0, value]}), StorageValidationError)
            for name, value in REFUSED_VALUES.items()
        }

        found = {name: error and (error.id, error.outcome, str(error.path)[:14]) for name, error in errors.items()}
        assert found == dict.fromkeys(REFUSED_VALUES, ("a", "not applied", "$.data.list[1]"))
        assert await storage.list() == [before]

    async def test_what_cannot_be_stored_is_refused_whatever_is_there(self, storage: IUnifiedStorage) -> None:
        await storage.save({"id": "a"})
        taken = saving({"id": "a", "type": "t", "data": {}}, expected_version=0)
        wrong = saving({"id": "b", "type": "t", "data": {"x": REFUSED_VALUES["lone surrogate"]}}, expected_version=7)

        for changes in ([wrong], [taken, wrong]):
            with pytest.raises(StorageValidationError) as refused:
                await storage.commit(changes)
            assert (refused.value.id, refused.value.path) == ("b", "$.data.x")

    async def test_a_patch_without_end_is_refused(self, storage: IUnifiedStorage) -> None:
        await storage.save({"id": "a", "data": {"n": 1}})
        before = await storage.load("a")

        errors = {
            name: await refusal(storage.update("a", {"data": patch}), StorageValidationError)
            for name, patch in ENDLESS_PATCHES.items()
        }

        places = {name: error and str(error.path)[:15] for name, error in errors.items()}
        assert places == dict.fromkeys(ENDLESS_PATCHES, "$.data.in.in.in")
        assert await storage.list() == [before]

    async def test_what_is_not_json_is_refused_at_the_top_of_a_record(self, storage: IUnifiedStorage) -> None:
        with pytest.raises(StorageValidationError) as caught:
            await storage.save({"id": "a", "colour": ("red",)})
        assert caught.value.path == "$.colour"

        record: dict[Any, Any] = {"id": "a", 5: "five"}
        with pytest.raises(StorageValidationError):
            await storage.save(record)

        assert await storage.count() == 0

    @pytest.mark.parametrize("use", USES_OF_AN_ID)
    async def test_what_is_not_an_id_is_refused(self, storage: IUnifiedStorage, use: str) -> None:
        await storage.save({"id": "a"})
        before = await storage.load("a")

        errors = {
            name: await refusal(USES_OF_AN_ID[use](storage, record_id), StorageValidationError)
            for name, record_id in REFUSED_IDS.items()
        }

        places = {name: error and error.path for name, error in errors.items()}
        assert places == dict.fromkeys(REFUSED_IDS, "$.id")
        assert await storage.list() == [before]

    async def test_what_is_not_an_object_is_refused(self, storage: IUnifiedStorage) -> None:
        records: list[Any] = [None, "a", 5, ["id", "a"], [("id", "a")]]

        for record in records:
            assert await refusal(storage.save(record), StorageValidationError)
            assert await refusal(storage.batch_save([{"id": "a"}, record]), StorageValidationError)
            operations = [{"type": "delete", "id": "a"}, record]
            assert await refusal(storage.transaction(operations), StorageValidationError)

        assert await storage.count() == 0

    # -- isolation ----------------------------------------------------------------------------------------------------

    async def test_saving_leaves_the_callers_record_alone(self, storage: IUnifiedStorage) -> None:
        record = {"data": {"list": [1, {"a": None}]}, "type": "note"}
        patch = {"data": {"list": [{"b": 1}], "gone": None}}
        operations = [
            {"type": "save", "data": {"data": {"n": 1}}},
            {"type": "update", "id": "a", "data": {"data": {"n": 2}}},
        ]
        inputs = [record, patch, operations]
        before = copy.deepcopy(inputs)

        await storage.save({"id": "a"})
        await storage.save(record)
        await storage.update("a", patch)
        await storage.batch_save([record, record])
        await storage.transaction(operations)

        assert inputs == before

    async def test_what_a_caller_does_to_a_saved_record_does_not_reach_the_store(
        self, storage: IUnifiedStorage
    ) -> None:
        record: dict[str, Any] = {"id": "a", "data": {"list": [1], "inner": {"n": 1}}}
        patch: dict[str, Any] = {"data": {"patched": {"n": 1}}}
        await storage.save(record)
        await storage.update("a", patch)
        before = copy.deepcopy(await storage.load("a"))

        record["data"]["list"].append(2)
        record["data"]["inner"]["n"] = 2
        patch["data"]["patched"]["n"] = 2

        assert await storage.load("a") == before

    async def test_a_change_is_saved_as_it_was_when_the_call_began(self, storage: IUnifiedStorage) -> None:
        await storage.batch_save([{"id": "patched"}, {"id": "batched"}])
        data: dict[str, Any] = {"list": [0] * 1000, "inner": {"n": 0}}
        before = copy.deepcopy(data)
        tasks = [
            asyncio.create_task(call)
            for call in (
                storage.save({"id": "saved", "data": data}),
                storage.update("patched", {"data": data}),
                storage.batch_save([{"id": "batched", "data": data}]),
            )
        ]

        # the calls have begun, and perhaps not ended
        await asyncio.sleep(0)
        data["list"].clear()
        data["inner"]["n"] = 1
        await asyncio.gather(*tasks)

        assert [record["data"] for record in await storage.list()] == [before] * 3

    async def test_what_a_caller_does_to_a_loaded_record_does_not_reach_the_store(
        self, storage: IUnifiedStorage
    ) -> None:
        await storage.save({"id": "a", "data": {"list": [1], "metadata": {"tags": ["x"]}}, "session_id": "s"})
        before = copy.deepcopy(await storage.load("a"))
        assert before is not None

        for loaded in (await storage.load("a"), *await storage.list(), *await storage.get_by_session("s")):
            assert loaded is not None
            loaded["data"]["list"].append(2)
            loaded["data"]["metadata"]["tags"].append("y")
            loaded["version"] = 99
        async for batch in storage.stream_list():
            batch[0]["data"]["list"].append(3)
        for summary in await storage.list_metadata():
            summary["metadata"]["tags"].append("z")

        assert await storage.load("a") == before
        assert await storage.list() == [before]
        assert [view["metadata"] for view in await storage.list_metadata()] == [before["data"]["metadata"]]

    async def test_what_a_caller_does_to_a_loaded_record_is_no_part_of_the_next_change(
        self, storage: IUnifiedStorage
    ) -> None:
        await storage.save({"id": "a", "data": {"list": [1], "metadata": {"tags": ["x"]}}})

        for turn in range(2):
            loaded = await storage.load("a")
            assert loaded is not None
            loaded["data"]["list"].append(2)
            loaded["data"]["metadata"]["tags"].append("y")
            loaded["data"]["more"] = True
            await storage.update("a", {"data": {"turn": turn}})

        changed = await storage.load("a")
        assert changed is not None
        assert changed["data"] == {"list": [1], "metadata": {"tags": ["x"]}, "turn": 1}

    # -- ids ----------------------------------------------------------------------------------------------------------

    async def test_hostile_ids_name_different_records(self, storage: IUnifiedStorage) -> None:
        for number, record_id in enumerate(HOSTILE_IDS):
            await storage.save({"id": record_id, "data": {"number": number}})

        for number, record_id in enumerate(HOSTILE_IDS):
            loaded = await storage.load(record_id)
            assert loaded is not None
            assert (loaded["id"], loaded["data"], loaded["version"]) == (record_id, {"number": number}, 1)
        assert [record["id"] for record in await storage.list(order_by="id")] == sorted(HOSTILE_IDS)

    async def test_hostile_ids_can_be_changed_and_deleted_alone(self, storage: IUnifiedStorage) -> None:
        await storage.batch_save([{"id": record_id} for record_id in HOSTILE_IDS])
        doomed, kept = HOSTILE_IDS[::2], HOSTILE_IDS[1::2]

        for record_id in kept:
            await storage.update(record_id, {"data": {"kept": record_id}})
        assert await storage.batch_delete(doomed) == len(doomed)

        assert [await storage.exists(record_id) for record_id in doomed] == [False] * len(doomed)
        found = {record["id"]: record["data"]["kept"] for record in await storage.list()}
        assert found == {record_id: record_id for record_id in kept}

    async def test_hostile_ids_are_found_by_filters_and_queries(self, storage: IUnifiedStorage) -> None:
        await storage.batch_save([{"id": record_id, "session_id": record_id} for record_id in HOSTILE_IDS])

        for name in HOSTILE_IDS:
            assert [record["id"] for record in await storage.get_by_session(name)] == [name]
            assert [record["id"] for record in await storage.list({"id": name})] == [name]
            assert await storage.query("SELECT id FROM documents WHERE id = ?", [name]) == [{"id": name}]
