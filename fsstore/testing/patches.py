"""The contract of patches that were meant as something else: operators of MongoDB, and dotted paths."""

from __future__ import annotations

import pytest

from fsstore.errors import StorageNotFoundError, StorageValidationError
from fsstore.interfaces import IUnifiedStorage
from fsstore.model.patch import merge_patch
from fsstore.model.records import JsonObject
from fsstore.sessions.service import SessionService
from fsstore.testing.backend import BackendFixtures, refusal
from fsstore.testing.sessions import SessionFixtures

SESSION: JsonObject = {
    "messages": [],
    "state": {"step": 1, "a": {"b": 1}},
    "metadata": {"status": "open", "tags": ["x"], "model": "m"},
}
MISREAD: dict[str, tuple[JsonObject, str, str]] = {
    "$set": ({"$set": {"metadata.status": "done"}}, "$.data['$set']", "{'metadata': {'status': ...}}"),
    "$set of nothing": ({"$set": {}}, "$.data['$set']", "{'metadata': {'status': ...}}"),
    "$push": ({"$push": {"messages": {}}}, "$.data['$push']", "edit_session"),
    "$unset": ({"$unset": None}, "$.data['$unset']", "null removes a key"),
    "an operator nobody knows": ({"$appendTo": {"messages": {}}}, "$.data['$appendTo']", "write the fields themselves"),
    "$push below": ({"metadata": {"tags": {"$push": "y"}}}, "$.data.metadata.tags['$push']", "edit_session"),
    "$inc below": ({"state": {"step": {"$inc": 1}}}, "$.data.state.step['$inc']", "edit_session"),
    "$set in the metadata": (
        {"metadata": {"$set": {"status": "x"}, "model": "n"}},
        "$.data.metadata['$set']",
        "{'metadata': {'status': ...}}",
    ),
    "$each in what is new": ({"new": {"list": {"$each": []}}}, "$.data.new.list['$each']", "edit_session"),
    "a dotted key": ({"metadata.status": "done"}, "$.data['metadata.status']", "{'metadata': {'status': ...}}"),
    "a dotted key to remove": ({"state.step": None}, "$.data['state.step']", "{'state': {'step': ...}}"),
    "a dotted key to nowhere": ({"x.y.z": 1}, "$.data['x.y.z']", "{'x': {'y': {'z': ...}}}"),
    "a dotted key beside its first": ({"state": {"a.b": 2}}, "$.data.state['a.b']", "{'state': {'a': {'b': ...}}}"),
    "one in the metadata": ({"metadata": {"status.x": 2}}, "$.data.metadata['status.x']", "{'status': {'x': ...}}"),
    # what reaches into an object would put one in the place of the list
    "an element of a list": ({"messages.0.role": "x"}, "$.data['messages.0.role']", "'messages' is a list"),
    "one of a list below": ({"metadata": {"tags.0": 2}}, "$.data.metadata['tags.0']", "'metadata.tags' is a list"),
    "one of a list, by its whole path": ({"metadata.tags.0": 2}, "$.data['metadata.tags.0']", "with edit_session"),
    "a key of the elements": ({"messages.role": "x"}, "$.data['messages.role']", "with edit_session"),
}
"""Patches of a session, the path of what is wrong, and what to do instead."""

TAKEN: dict[str, JsonObject] = {
    "a key with a dot": {"metadata": {"gpt-4.1": 1}},
    "a key with a dot in what is new": {"usage": {"gpt-4.1": 5, "x.y": {"z.z": 1}}},
    "a key with a dollar below": {"state": {"$ref": "#/x"}},
    "an operator among other keys": {"state": {"$set": 1, "step": 1}},
    "a key with both": {"state": {"$a.b": 1}},
    "operators in arrays": {"messages": [{"$push": 1, "a.b": 2}]},
    "dots that join nothing": {"...": 1, "e.g.": 2, ".": {"": 3}},
    "data and metadata of the session's own": {"data": {"metadata": {"n": 1}}},
}
"""Patches that mean what they say."""


class PatchContract(BackendFixtures):
    """`update` and `transaction` of a storage."""

    async def test_a_patch_of_a_record_that_was_meant_otherwise_is_refused(self, storage: IUnifiedStorage) -> None:
        await storage.save({"id": "a", "data": SESSION})
        before = await storage.load("a")
        patches: dict[str, tuple[JsonObject, str]] = {
            **{name: ({"data": patch}, path) for name, (patch, path, _) in MISREAD.items()},
            "an operator on the record": ({"$set": {"data.state.step": 2}}, "$['$set']"),
            "a path into the record": ({"data.state.step": 2}, "$['data.state.step']"),
            "an operator in the metadata": ({"data": {"metadata": {"$ref": 1}}}, "$.data.metadata['$ref']"),
            "a dotted key in the metadata": ({"data": {"metadata": {"x.y": 1}}}, "$.data.metadata['x.y']"),
        }

        for name, (patch, path) in patches.items():
            operations: list[JsonObject] = [
                {"type": "save", "data": {"id": "b"}},
                {"type": "update", "id": "a", "data": patch},
            ]
            for call in (storage.update("a", patch), storage.transaction(operations)):
                error = await refusal(call, StorageValidationError)
                assert error is not None, name
                assert (name, error.id, error.path, error.outcome) == (name, "a", path, "not applied")
        assert await storage.load("a") == before
        assert await storage.exists("b") is False
        assert await refusal(storage.update("nobody", {"$set": {}}), StorageNotFoundError)

    async def test_a_path_into_a_list_is_not_answered_with_what_replaces_the_list(
        self, storage: IUnifiedStorage
    ) -> None:
        await storage.save({"id": "a", "tags": ["x"], "data": {"messages": [{"role": "x"}]}})

        for patch, place in (({"data.messages.0.role": "y"}, "data.messages"), ({"tags.0": "y"}, "tags")):
            error = await refusal(storage.update("a", patch), StorageValidationError)
            assert error is not None
            assert error.advice.startswith(f"{place!r} is a list, which a merge patch replaces as a whole")

    async def test_a_key_that_a_record_has_is_patched_whatever_it_looks_like(self, storage: IUnifiedStorage) -> None:
        odd = {"a.b": 1, "$set": 1, "plain": 1}
        await storage.save({"id": "a", **odd, "data": {**odd, "deep": {**odd}, "metadata": {**odd}}})
        new = {"a.b": 2, "$set": None}

        await storage.update("a", {"data": {"metadata": new}})
        await storage.update("a", {**new, "data": {**new, "deep": new}})

        left = {"a.b": 2, "plain": 1}
        record = await storage.load("a")
        assert record is not None
        assert {key: record[key] for key in ("a.b", "plain", "data")} == {
            **left,
            "data": {**left, "deep": left, "metadata": left},
        }
        assert "$set" not in record


class SessionPatchContract(SessionFixtures):
    """`update_session`, alone and in a transaction."""

    @pytest.mark.parametrize("name", MISREAD)
    async def test_a_patch_that_was_meant_otherwise_is_refused_with_the_remedy(
        self, sessions: SessionService, name: str
    ) -> None:
        await sessions.save_session("a", SESSION)
        before = await sessions.get_record("a")
        patch, path, remedy = MISREAD[name]

        async def in_transaction() -> None:
            async with sessions.transaction() as transaction:
                await transaction.update_session("a", patch)

        for call in (sessions.update_session("a", patch), in_transaction()):
            error = await refusal(call, StorageValidationError)
            assert error is not None
            assert (error.id, error.path) == ("a", "$" + path.removeprefix("$.data"))
            assert remedy in error.advice
        assert await sessions.get_record("a") == before

    async def test_what_is_data_is_patched(self, sessions: SessionService) -> None:
        for name, patch in TAKEN.items():
            await sessions.save_session("a", SESSION)
            await sessions.update_session("a", patch)
            await sessions.update_session("a", patch)
            found = await sessions.get_session("a")
            assert found is not None
            assert (name, merge_patch(found, patch)) == (name, found)
            assert (found["metadata"]["status"], found["state"]["step"]) == ("open", 1)

    async def test_a_key_with_a_dot_can_be_saved_found_ordered_and_patched(self, sessions: SessionService) -> None:
        await sessions.save_session("a", {"metadata": {"a.b": 1, "$ref": "x"}, "state": {"c.d": {"e": 5}}})
        await sessions.save_session("b", {"metadata": {"a.b": 3, "a": {"b": 1}}})
        await sessions.update_session("b", {"metadata": {"a.b": 2}})

        async def ids(filters: JsonObject | None, order_by: str | None = None) -> list[str]:
            found = await sessions.list_metadata(filters, order_by=order_by)
            listed = await sessions.list_sessions(filters, order_by=order_by)
            assert [session["metadata"] for session in listed] == found
            assert await sessions.count_sessions(filters) == len(found)
            return [metadata["session_id"] for metadata in found]

        assert await ids({r"a\.b": 1}) == ["a"]
        assert await ids({r"metadata.a\.b": {"$gt": 1}}) == ["b"]
        assert await ids({"metadata.a.b": 1}) == ["b"]
        assert await ids({r"\$ref": "x"}) == ["a"]
        assert await ids({r"state.c\.d.e": 5}) == ["a"]
        assert await ids(None, r"a\.b") == ["a", "b"]
        assert await ids(None, r"-a\.b") == ["b", "a"]
