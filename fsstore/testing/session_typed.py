"""The contract of the typed view: every call speaks the model, and what does not fit it names session and path."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from datetime import datetime

import pytest
import pytest_asyncio
from pydantic import BaseModel

from fsstore.errors import StorageConflictError, StorageNotFoundError, StorageValidationError
from fsstore.model.clock import HandClock
from fsstore.sessions.models import SessionData
from fsstore.sessions.service import SessionService
from fsstore.sessions.typed import Session, TypedSessions
from fsstore.testing.sessions import SessionFixtures


class Step(BaseModel):
    """A part of a task."""

    name: str
    done: bool = False


class Task(BaseModel):
    """A caller's own model of a session."""

    title: str
    steps: list[Step] = []


class SessionTypedContract(SessionFixtures):
    """What `SessionService.typed` and `edit_model` promise."""

    @pytest_asyncio.fixture
    async def tasks(self, sessions: SessionService) -> AsyncGenerator[TypedSessions[Task]]:
        """Give the view of the sessions."""
        yield sessions.typed(Task)

    async def test_what_is_saved_is_got_with_its_version_and_times(
        self, tasks: TypedSessions[Task], clock: HandClock
    ) -> None:
        created = clock.turn()
        await tasks.save("a", Task(title="one", steps=[Step(name="x")]), expected_version=0)
        updated = clock.turn()
        await tasks.save("a", Task(title="two"), expected_version=1)

        found = await tasks.get("a")
        times = datetime.fromisoformat(created), datetime.fromisoformat(updated)
        assert found == Session("a", 2, *times, Task(title="two"))
        assert await tasks.get("none") is None
        with pytest.raises(StorageConflictError):
            await tasks.save("a", Task(title="three"), expected_version=1)

    async def test_an_edit_changes_the_model_in_place(
        self, sessions: SessionService, tasks: TypedSessions[Task]
    ) -> None:
        await tasks.save("a", Task(title="one"))
        saved = await tasks.edit("a", lambda task: task.steps.append(Step(name="x")))
        assert saved == Task(title="one", steps=[Step(name="x")])

        async def slowly(task: Task) -> Task:
            task.steps[0].done = True
            return task

        assert (await tasks.edit("a", slowly)).steps == [Step(name="x", done=True)]
        assert await tasks.edit("a", lambda _: Task(title="new"), replace=True) == Task(title="new")
        with pytest.raises(StorageValidationError, match="replace=True"):
            await tasks.edit("a", lambda _: Task(title="other"))
        with pytest.raises(StorageNotFoundError):
            await tasks.edit("none", lambda _: None)
        edited = await sessions.edit_model("a", lambda data: data.settings.update(x=1), SessionData)
        assert (edited.settings, edited.metadata.session_id) == ({"x": 1}, "a")
        # what the model does not know stays out of it, as `save` would leave it
        found = await tasks.get("a")
        assert found is not None
        assert (found.version, found.data) == (5, Task(title="new"))

    async def test_lists_pages_and_streams_speak_the_model(self, tasks: TypedSessions[Task], clock: HandClock) -> None:
        for name in "abc":
            clock.turn()
            await tasks.save(name, Task(title=name))

        assert [found.data.title for found in await tasks.list(order_by="session_id", limit=2)] == ["a", "b"]
        first = await tasks.page(limit=2)
        last = await tasks.page(limit=2, cursor=first.cursor)
        assert [[found.id for found in page.items] for page in (first, last)] == [["c", "b"], ["a"]]
        assert last.cursor is None
        async with aclosing(tasks.stream(batch_size=2)) as batches:
            assert [[found.data for found in batch] async for batch in batches] == [
                [Task(title="a"), Task(title="b")],
                [Task(title="c")],
            ]
        for limit in (0, 1.5):
            with pytest.raises(StorageValidationError):
                await tasks.page(limit=limit)  # type: ignore[arg-type]

    async def test_a_transaction_speaks_the_model(self, tasks: TypedSessions[Task]) -> None:
        await tasks.save("a", Task(title="one"))
        async with tasks.transaction() as transaction:
            task = await transaction.get("a")
            assert task == Task(title="one")
            await transaction.save("b", Task(title=f"after {task.title}"))
            assert await transaction.get("b") == Task(title="after one")
            await transaction.delete("a")
        assert [found.data.title for found in await tasks.list()] == ["after one"]

    async def test_a_session_that_does_not_fit_is_named_with_its_path(
        self, sessions: SessionService, tasks: TypedSessions[Task]
    ) -> None:
        await sessions.save_session("a", {"title": "one", "steps": [{"name": "x"}, {"name": 5}]})
        for call in (tasks.get("a"), tasks.list(), tasks.edit("a", lambda _: None)):
            with pytest.raises(StorageValidationError) as refused:
                await call
            assert (refused.value.id, refused.value.path) == ("a", "$.steps[1].name")

    async def test_a_session_that_is_no_object_is_named(
        self, sessions: SessionService, tasks: TypedSessions[Task]
    ) -> None:
        await sessions.storage.save({"id": "a", "type": "session", "data": "text"})
        for call in (
            sessions.get_model("a"),
            sessions.edit_model("a", lambda _: None, Task),
            tasks.get("a"),
            tasks.list(),
        ):
            with pytest.raises(StorageValidationError, match="should be an object") as refused:
                await call
            assert (refused.value.id, refused.value.path) == ("a", "$")
