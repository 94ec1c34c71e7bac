"""The contract of commits: all or nothing, in order, nothing lost between tasks, nothing young cleaned away."""

from __future__ import annotations

from typing import Any

import pytest

from fsstore.errors import StorageConflictError, StorageNotFoundError, StorageTransactionError, StorageValidationError
from fsstore.interfaces import IUnifiedStorage
from fsstore.model.clock import HandClock
from fsstore.model.mutations import AnyMutation, Mutation, deleting, patching, saving, unchanged
from fsstore.model.records import Outcome
from fsstore.testing.backend import BackendFixtures, refusal

MALFORMED_OPERATIONS: dict[str, tuple[dict[str, Any], str]] = {
    "no type": ({"id": "a"}, "$[1].type"),
    "unknown type": ({"type": "upsert", "data": {"id": "a"}}, "$[1].type"),
    "type is a list": ({"type": ["save"], "data": {"id": "a"}}, "$[1].type"),
    "save without data": ({"type": "save", "id": "a"}, "$[1].data"),
    "update without id": ({"type": "update", "data": {}}, "$[1].id"),
    "update without data": ({"type": "update", "id": "a"}, "$[1].data"),
    "delete without id": ({"type": "delete"}, "$[1].id"),
}
"""What is no operation, and the JSON path that the error names when it is the second."""


CONFLICTS: list[tuple[AnyMutation, int, int]] = [
    (saving({"id": "a", "type": "note", "data": {}}, expected_version=0), 0, 2),
    (saving({"id": "a", "type": "note", "data": {}}, expected_version=1), 1, 2),
    (patching("a", {"data": {"n": 9}}, expected_version=3), 3, 2),
    (deleting("a", expected_version=1), 1, 2),
    (deleting("b", expected_version=1), 1, 0),
    (saving({"id": "b", "type": "note", "data": {}}, expected_version=1), 1, 0),
    (patching("b", {"data": {}}, expected_version=1), 1, 0),
]
"""Changes that expect another version than 2 of `a` and none of `b`, with the expected and the actual one."""


class TransactionContract(BackendFixtures):
    """Many changes that become true together."""

    # -- transactions -------------------------------------------------------------------------------------------------

    async def test_a_transaction_applies_every_operation(self, storage: IUnifiedStorage, clock: HandClock) -> None:
        await storage.batch_save([{"id": "a", "data": {"n": 1}}, {"id": "b"}])
        clock.turn()

        done = await storage.transaction(
            [
                {"type": "update", "id": "a", "data": {"data": {"n": 2}}},
                {"type": "delete", "id": "b"},
                {"type": "save", "data": {"id": "c", "data": {"n": 3}}},
                {"type": "delete", "id": "nobody"},
            ]
        )

        assert done is True
        found = {record["id"]: (record["data"], record["version"]) for record in await storage.list()}
        assert found == {"a": ({"n": 2}, 2), "c": ({"n": 3}, 2)}
        assert {record["updated_at"] for record in await storage.list()} == {clock.text}

    async def test_an_empty_transaction_changes_nothing(self, storage: IUnifiedStorage) -> None:
        assert await storage.transaction([]) is True
        assert await storage.batch_save([]) == []
        assert await storage.batch_delete([]) == 0
        assert await storage.commit([]) == []
        assert await storage.count() == 0

    async def test_a_transaction_that_fails_in_the_middle_applies_nothing(self, storage: IUnifiedStorage) -> None:
        await storage.batch_save([{"id": "a", "data": {"n": 1}}, {"id": "b", "data": {"n": 1}}])
        before = await storage.list()

        with pytest.raises(StorageTransactionError) as caught:
            await storage.transaction(
                [
                    {"type": "save", "data": {"id": "new"}},
                    {"type": "delete", "id": "b"},
                    {"type": "update", "id": "nobody", "data": {"data": {}}},
                    {"type": "update", "id": "a", "data": {"data": {"n": 2}}},
                ]
            )

        assert (caught.value.index, caught.value.id, caught.value.outcome) == (2, "nobody", "not applied")
        assert isinstance(caught.value.__cause__, StorageNotFoundError)
        assert await storage.list() == before
        assert await storage.exists("new") is False

    async def test_operations_on_one_record_are_applied_in_their_order(
        self, storage: IUnifiedStorage, clock: HandClock
    ) -> None:
        await storage.save({"id": "a", "data": {"n": 0}, "colour": "red"})
        clock.turn()

        await storage.transaction(
            [
                {"type": "save", "data": {"id": "a", "data": {"n": 1}}},
                {"type": "update", "id": "a", "data": {"data": {"m": 2}}},
                {"type": "delete", "id": "a"},
                {"type": "save", "data": {"id": "a", "data": {"n": 3}}},
                {"type": "update", "id": "a", "data": {"data": {"m": 4}}},
            ]
        )

        loaded = await storage.load("a")
        assert loaded is not None
        assert (loaded["data"], loaded["version"], loaded["created_at"]) == ({"n": 3, "m": 4}, 5, clock.text)
        assert await storage.list() == [loaded]

    async def test_a_record_made_and_deleted_in_one_transaction_was_never_there(self, storage: IUnifiedStorage) -> None:
        await storage.transaction([{"type": "save", "data": {"id": "a"}}, {"type": "delete", "id": "a"}])

        assert await storage.load("a") is None
        assert await storage.list() == []

    async def test_the_index_is_that_of_the_operation_at_fault(self, storage: IUnifiedStorage) -> None:
        await storage.save({"id": "a"})

        with pytest.raises(StorageTransactionError) as caught:
            await storage.transaction(
                [
                    {"type": "update", "id": "a", "data": {"data": {"n": 1}}},
                    {"type": "delete", "id": "a"},
                    {"type": "update", "id": "a", "data": {"data": {"n": 2}}},
                ]
            )

        assert (caught.value.index, caught.value.id) == (2, "a")

    async def test_a_malformed_operation_is_refused_with_its_place(self, storage: IUnifiedStorage) -> None:
        first = {"type": "save", "data": {"id": "first"}}

        errors = {
            name: await refusal(storage.transaction([first, operation]), StorageValidationError)
            for name, (operation, _) in MALFORMED_OPERATIONS.items()
        }

        places = {name: error and error.path for name, error in errors.items()}
        assert places == {name: path for name, (_, path) in MALFORMED_OPERATIONS.items()}
        assert await storage.count() == 0

    # -- batches ------------------------------------------------------------------------------------------------------

    async def test_batch_save_returns_the_ids_in_order(self, storage: IUnifiedStorage) -> None:
        ids = await storage.batch_save([{"id": "b", "data": {"n": 1}}, {"data": {"n": 2}}, {"id": "a"}])

        assert (ids[0], ids[2], len(set(ids))) == ("b", "a", 3)
        assert (await storage.load(ids[1]) or {})["data"] == {"n": 2}

    async def test_the_last_record_of_an_id_wins_in_a_batch(self, storage: IUnifiedStorage) -> None:
        await storage.batch_save([{"id": "a", "data": {"n": 1}}, {"id": "a", "data": {"n": 2}}])

        loaded = await storage.load("a")
        assert loaded is not None
        assert (loaded["data"], loaded["version"]) == ({"n": 2}, 2)

    async def test_batches_may_be_any_iterable(self, storage: IUnifiedStorage) -> None:
        await storage.batch_save({"id": str(number)} for number in range(3))

        assert await storage.batch_delete(str(number) for number in range(1, 5)) == 2
        assert [record["id"] for record in await storage.list()] == ["0"]

    async def test_batch_delete_counts_a_record_once(self, storage: IUnifiedStorage) -> None:
        await storage.save({"id": "a"})

        assert await storage.batch_delete(["a", "nobody", "a"]) == 1

    async def test_a_large_batch_is_one_commit(self, storage: IUnifiedStorage) -> None:
        names = [f"{number:03}" for number in range(300)]
        records = [{"id": name, "data": {"n": number}} for number, name in enumerate(names)]

        await storage.batch_save(records)
        with pytest.raises(StorageValidationError):
            await storage.batch_save([*({**record, "data": {}} for record in records), {"id": "x", "data": (1,)}])

        assert [record["data"]["n"] for record in await storage.list(order_by="id")] == list(range(300))
        assert await storage.batch_delete(names[:299]) == 299
        assert await storage.count() == 1

    # -- the commit itself --------------------------------------------------------------------------------------------

    async def test_a_commit_tells_the_versions_before_and_after(self, storage: IUnifiedStorage) -> None:
        await storage.save({"id": "a"})
        seen = await storage.load("a")

        outcomes = await storage.commit(
            [
                unchanged("a", seen),
                saving({"id": "a", "type": "note", "data": {}}, expected_version=1),
                patching("a", {"data": {"n": 1}}, expected_version=2),
                deleting("b", expected_version=0),
                deleting("a", expected_version=3),
            ]
        )

        assert outcomes == [
            Outcome("a", 1, 1),
            Outcome("a", 1, 2),
            Outcome("a", 2, 3),
            Outcome("b", 0, 0),
            Outcome("a", 3, 0),
        ]
        assert await storage.exists("a") is False

    async def test_what_one_commit_deletes_and_makes_again_begins_above_it(self, storage: IUnifiedStorage) -> None:
        note = {"type": "note", "data": {}}
        await storage.batch_save([{"id": "a"}, {"id": "b"}])
        await storage.save({"id": "a"})

        outcomes = await storage.commit([deleting("a"), saving({"id": "a", **note}), saving({"id": "c", **note})])
        assert outcomes == [Outcome("a", 2, 0), Outcome("a", 0, 3), Outcome("c", 0, 3)]

        # what is refused has deleted nothing
        await refusal(storage.commit([deleting("a"), deleting("b", expected_version=9)]), StorageConflictError)
        await storage.save({"id": "d"})
        assert (await storage.load("d") or {})["version"] == 3

    async def test_a_version_that_is_not_the_expected_one_is_a_conflict(self, storage: IUnifiedStorage) -> None:
        await storage.save({"id": "a"})
        await storage.save({"id": "a", "data": {"n": 1}})
        before = await storage.list()
        other = saving({"id": "c", "type": "note", "data": {}})

        for mutation, expected, actual in CONFLICTS:
            error = await refusal(storage.commit([other, mutation]), StorageConflictError)
            assert error is not None
            assert (error.id, error.expected, error.actual) == (mutation.id, expected, actual)
            assert error.outcome == "not applied"

        assert await storage.list() == before

    async def test_a_rule_that_returns_its_argument_leaves_the_record_as_it_is(
        self, storage: IUnifiedStorage, clock: HandClock
    ) -> None:
        await storage.save({"id": "a"})
        before = await storage.load("a")
        clock.turn()

        outcomes = await storage.commit(
            [Mutation("a", lambda current: current), Mutation("b", lambda current: current)]
        )

        assert outcomes == [Outcome("a", 1, 1), Outcome("b", 0, 0)]
        assert await storage.list() == [before]

    async def test_an_import_keeps_the_times_it_gives(self, storage: IUnifiedStorage, clock: HandClock) -> None:
        times = {"created_at": "2020-01-01T00:00:00+00:00", "updated_at": "2021-01-01T00:00:00+00:00"}
        record = {"type": "note", "data": {}}

        await storage.commit(
            [
                saving({"id": "a", **record, **times}, keep_times=True),
                saving({"id": "b", **record}, keep_times=True),
            ]
        )

        kept, stamped = await storage.load("a"), await storage.load("b")
        assert kept is not None
        assert stamped is not None
        assert kept["created_at"] == "2020-01-01T00:00:00.000000+00:00"
        assert kept["updated_at"] == "2021-01-01T00:00:00.000000+00:00"
        assert stamped["created_at"] == stamped["updated_at"] == clock.text
