"""The contract of typed sessions: what `get_model` returns is what was saved, or saving was refused."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import count
from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, ConfigDict, Field, SecretStr, computed_field

from fsstore.errors import StorageValidationError
from fsstore.model.clock import HandClock
from fsstore.sessions.models import SessionData, SessionMetadata
from fsstore.sessions.service import SessionService
from fsstore.testing.backend import refusal
from fsstore.testing.examples import REFUSED_VALUES
from fsstore.testing.sessions import SessionFixtures, names

_NUMBERS = count(1)
_YEAR = datetime(2026, 1, 1, tzinfo=UTC)


class Conversation(BaseModel):
    """A caller's own model of a session, stricter than `SessionData`."""

    state: dict[str, int]


class Said(BaseModel):
    """A message with an id that is made anew where none is stored, and a tag that is a default."""

    id: str = Field(default_factory=lambda: f"message-{next(_NUMBERS)}")
    kind: Literal["said"] = "said"
    text: str
    calls: list[str] = []


class Shown(BaseModel):
    """A message that is stored by its alias, and does not take its computed field back."""

    model_config = ConfigDict(extra="forbid")

    kind: Literal["shown"] = "shown"
    address: str = Field(alias="url")

    @computed_field  # type: ignore[prop-decorator]  # as pydantic documents it
    @property
    def length(self) -> int:
        """How long the address is."""
        return len(self.address)


class Title(BaseModel):
    """Metadata that refuses what is stamped."""

    model_config = ConfigDict(extra="forbid")

    title: str = "untitled"
    status: str = "active"


class Transcript(BaseModel):
    """A session of messages of several kinds."""

    metadata: Title = Title()
    messages: list[Annotated[Said | Shown, Field(discriminator="kind")]] = []
    key: SecretStr | None = None


def session(**parts: Any) -> SessionData:
    """Return a session of the contract's model, with these keys in its metadata or beside it."""
    known = {key: parts.pop(key) for key in ("user_id", "status", "tags") if key in parts}
    metadata = SessionMetadata(session_id="", created_at=_YEAR, updated_at=_YEAR, **known)
    return SessionData(metadata=metadata, **parts)


class SessionModelContract(SessionFixtures):
    """`get_model`, and `save_session` with a model."""

    async def test_a_session_can_be_read_and_saved_as_a_model(self, sessions: SessionService) -> None:
        given = {"metadata": {"tags": ["x"], "mine": 1}, "workflow_state": {"n": 1}, "extra": [True]}
        await sessions.save_session("a", given)

        model = await sessions.get_model("a")
        assert isinstance(model, SessionData)
        assert (model.metadata.session_id, model.metadata.tags, model.workflow_state) == ("a", ["x"], {"n": 1})
        model.metadata.status = "closed"
        await sessions.save_session("a", model)

        saved = await sessions.get_session("a")
        assert saved is not None
        assert (saved["extra"], saved["metadata"]["mine"], saved["metadata"]["status"]) == ([True], 1, "closed")
        assert saved["metadata"]["tags"] == ["x"]
        assert await sessions.get_model("a") == model

    async def test_what_is_put_into_an_empty_list_of_a_model_is_saved(self, sessions: SessionService) -> None:
        await sessions.save_session("a", {})
        model = await sessions.get_model("a")
        assert model is not None

        model.workflow_state["step"] = 1
        model.metadata.tags.append("x")
        await sessions.save_session("a", model)

        saved = await sessions.get_session("a")
        assert saved is not None
        assert (saved["workflow_state"], saved["metadata"]["tags"]) == ({"step": 1}, ["x"])

    async def test_a_model_made_by_the_caller_can_be_saved(self, sessions: SessionService, clock: HandClock) -> None:
        await sessions.save_session("a", session(user_id="zoe", settings={"n": 1}))
        await sessions.save_session("b", Conversation(state={"n": 2}))

        assert names(await sessions.list_sessions({"user_id": "zoe"})) == ["a"]
        model = await sessions.get_model("b", Conversation)
        assert model == Conversation(state={"n": 2})
        assert (await sessions.get_session("b") or {})["metadata"]["created_at"] == clock.text

    async def test_a_filter_finds_what_a_model_has_by_default(self, sessions: SessionService) -> None:
        await sessions.save_session("a", session())
        await sessions.save_session("b", Transcript())

        assert names(await sessions.list_sessions({"status": "unknown", "tags": []})) == ["a"]
        assert names(await sessions.list_sessions({"status": "active", "title": "untitled"})) == ["b"]

    async def test_a_model_comes_back_as_it_was_saved_by_every_way_in(self, sessions: SessionService) -> None:
        said = Said(text="hi")
        said.calls.append("call")
        transcript = Transcript(messages=[said, Shown(url="x")])

        await sessions.save_session("saved", transcript)
        await sessions.batch_save_sessions({"batch": transcript})
        async with sessions.transaction() as transaction:
            await transaction.save_session("transaction", transcript)

        for session_id in ("saved", "batch", "transaction"):
            assert await sessions.get_model(session_id, Transcript) == transcript, session_id

    async def test_what_would_not_come_back_is_refused_with_its_path(self, sessions: SessionService) -> None:
        hidden = Transcript(key=SecretStr("hush"))

        async def in_a_transaction() -> None:
            async with sessions.transaction() as transaction:
                await transaction.save_session("a", hidden)

        for way in (
            sessions.save_session("a", hidden),
            sessions.batch_save_sessions({"b": {}, "a": hidden}),
            in_a_transaction(),
        ):
            with pytest.raises(StorageValidationError) as caught:
                await way
            assert (caught.value.id, caught.value.path) == ("a", "$.key")
            assert "hush" not in str(caught.value)

        assert await sessions.count_sessions() == 0

    async def test_a_session_that_does_not_fit_the_model_names_the_place(self, sessions: SessionService) -> None:
        await sessions.save_session("a", {"state": {"n": "many"}})

        with pytest.raises(StorageValidationError) as caught:
            await sessions.get_model("a", Conversation)

        assert (caught.value.id, caught.value.path) == ("a", "$.state.n")

    async def test_a_model_that_holds_no_json_is_refused(self, sessions: SessionService) -> None:
        for name in ("any object", "not a number", "lone surrogate", "integer above 64 bits"):
            model = session(settings={"list": [REFUSED_VALUES[name]]})
            error = await refusal(sessions.save_session("a", model), StorageValidationError)
            assert isinstance(error, StorageValidationError), name
            assert error.path == "$.settings.list[0]", name

        assert await sessions.session_exists("a") is False
