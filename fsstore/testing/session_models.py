"""The contract of typed sessions: pydantic models in and out, nothing lost on the way."""

from __future__ import annotations

import pytest
from pydantic import BaseModel

from fsstore.clock import HandClock
from fsstore.errors import StorageValidationError
from fsstore.models import SessionData, SessionMetadata
from fsstore.service import SessionService
from fsstore.testing.backend import refusal
from fsstore.testing.examples import REFUSED_VALUES
from fsstore.testing.sessions import SessionFixtures, names


class Conversation(BaseModel):
    """A caller's own model of a session, stricter than `SessionData`."""

    state: dict[str, int]


class SessionModelContract(SessionFixtures):
    """`get_model`, and `save_session` with a model."""

    async def test_a_session_can_be_read_and_saved_as_a_model(self, sessions: SessionService) -> None:
        await sessions.save_session("a", {"metadata": {"tags": ["x"], "mine": 1}, "state": {"n": 1}, "extra": [True]})

        model = await sessions.get_model("a")
        assert isinstance(model, SessionData)
        assert (model.metadata.session_id, model.metadata.tags, model.state) == ("a", ["x"], {"n": 1})
        model.metadata.status = "closed"
        await sessions.save_session("a", model)

        saved = await sessions.get_session("a")
        assert saved is not None
        assert (saved["extra"], saved["metadata"]["mine"], saved["metadata"]["status"]) == (
            [True],
            1,
            "closed",
        )
        assert saved["metadata"]["tags"] == ["x"]

    async def test_what_is_put_into_an_empty_list_of_a_model_is_saved(self, sessions: SessionService) -> None:
        await sessions.save_session("a", {})
        model = await sessions.get_model("a")
        assert model is not None

        model.messages.append({"role": "user"})
        model.state["step"] = 1
        model.metadata.tags.append("x")
        await sessions.save_session("a", model)

        saved = await sessions.get_session("a")
        assert saved is not None
        assert (saved["messages"], saved["state"]) == ([{"role": "user"}], {"step": 1})
        assert saved["metadata"]["tags"] == ["x"]

    async def test_a_model_made_by_the_caller_can_be_saved(self, sessions: SessionService, clock: HandClock) -> None:
        await sessions.save_session("a", SessionData(metadata=SessionMetadata(user_id="zoe"), state={"n": 1}))
        await sessions.save_session("b", Conversation(state={"n": 2}))

        assert names(await sessions.list_sessions({"user_id": "zoe"})) == ["a"]
        model = await sessions.get_model("b", Conversation)
        assert model is not None
        assert model.state == {"n": 2}
        assert (await sessions.get_session("a") or {})["metadata"]["created_at"] == clock.text

    async def test_a_session_that_does_not_fit_the_model_names_the_place(self, sessions: SessionService) -> None:
        await sessions.save_session("a", {"state": {"n": "many"}})

        with pytest.raises(StorageValidationError) as caught:
            await sessions.get_model("a", Conversation)

        assert (caught.value.id, caught.value.path) == ("a", "$.state.n")

    async def test_a_model_that_holds_no_json_is_refused(self, sessions: SessionService) -> None:
        for name in ("any object", "not a number", "lone surrogate", "integer above 64 bits"):
            model = SessionData(state={"list": [REFUSED_VALUES[name]]})
            assert await refusal(sessions.save_session("a", model), StorageValidationError), name

        assert await sessions.session_exists("a") is False
