"""The examples run: each as its user runs it, without a network."""

from __future__ import annotations

import os
import runpy
import subprocess
import sys
from collections.abc import AsyncGenerator, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest

import fsstore
from fsstore.testing import HandClock
from tests.examples import chat_server

FOLDER = Path(__file__).parent
PROGRAMS = ("chat_server", "plain_script", "notebook_loop")


def run(program: str, *arguments: str, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, str(FOLDER / f"{program}.py"), *arguments],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


@pytest.mark.parametrize("program", PROGRAMS)
def test_an_example_is_short_and_linked(program: str) -> None:
    assert len((FOLDER / f"{program}.py").read_text("utf-8").splitlines()) <= 120
    readme = (FOLDER.parents[1] / "README.md").read_text("utf-8")
    assert f"(tests/examples/{program}.py)" in readme


# -- the chat server --------------------------------------------------------------------------------------------------


@pytest.fixture
async def client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncGenerator[httpx.AsyncClient]:
    monkeypatch.setenv("CHAT_STORE", str(tmp_path / "chats"))
    app = chat_server.app
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://chat") as client,
    ):
        yield client


async def test_a_chat_is_answered_and_kept(client: httpx.AsyncClient, tmp_path: Path) -> None:
    first = await client.post("/chats/c-1/messages", json={"text": "hello", "id": "m-1"})
    assert (first.status_code, first.json()["content"]) == (200, "You said: hello")
    await client.post("/chats/c-1/messages", json={"text": "and now", "id": "m-2"})

    page = (await client.get("/chats/c-1/messages", params={"limit": 3})).json()
    assert [message["content"] for message in page["messages"]] == ["You said: hello", "and now", "You said: and now"]
    older = (await client.get("/chats/c-1/messages", params={"before": page["start"]})).json()
    assert [message["id"] for message in older["messages"]] == ["m-1"]
    (path,) = (tmp_path / "chats").glob("*/c-1.json")
    assert "You said: and now" in path.read_text("utf-8")


async def test_a_request_that_is_sent_twice_is_stored_once(client: httpx.AsyncClient) -> None:
    for _ in range(2):
        await client.post("/chats/c-1/messages", json={"text": "hello", "id": "m-1"})

    assert (await client.get("/chats/c-1/messages")).json()["length"] == 2


async def test_chats_are_listed_page_by_page_and_forgotten(client: httpx.AsyncClient) -> None:
    for number in range(21):
        await client.post(f"/chats/c-{number}/messages", json={"text": "hello"})

    page = (await client.get("/chats", params={"status": "answered"})).json()
    rest = (await client.get("/chats", params={"status": "answered", "cursor": page["cursor"]})).json()
    assert (page["chats"][0]["session_id"], len(page["chats"])) == ("c-20", 20)
    assert ([chat["session_id"] for chat in rest["chats"]], rest["cursor"]) == (["c-0"], None)
    assert (await client.get("/chats", params={"status": "waiting"})).json()["chats"] == []
    assert (await client.delete("/chats/c-0")).status_code == 204
    assert (await client.get("/chats/c-0/messages")).status_code == 404


async def test_what_is_wrong_is_an_answer_too(client: httpx.AsyncClient) -> None:
    absent = await client.delete("/chats/nobody")
    assert absent.json() == {"detail": "there is no session 'nobody'", "outcome": "not applied"}
    assert absent.status_code == 404
    assert (await client.get("/chats", params={"cursor": "no"})).status_code == 422


# -- the plain script -------------------------------------------------------------------------------------------------


async def test_the_script_closes_what_is_stale_and_nothing_else(tmp_path: Path) -> None:
    clock = HandClock(datetime.now(UTC) - timedelta(days=10))
    async with fsstore.open_sessions(tmp_path / "store", clock=clock) as sessions:
        await sessions.save_session("old", {"metadata": {"status": "open"}})
        await sessions.save_session("done", {"metadata": {"status": "done"}})
        clock.turn(9 * 24 * 3600)
        await sessions.save_session("new", {"metadata": {"status": "open"}})

    printed = run("plain_script", str(tmp_path / "store"), "--days", "7")

    assert printed.splitlines() == ["closed 1: old", "    closed 1", "      done 1", "      open 1"]
    async with fsstore.open_sessions(tmp_path / "store") as sessions:
        closed = await sessions.list_metadata({"closed_because": "stale"})
        assert [metadata["session_id"] for metadata in closed] == ["old"]
    assert run("plain_script", str(tmp_path / "store"), "--days", "7").startswith("closed 0: none\n")


def test_the_script_makes_no_store_at_a_mistyped_path(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, FOLDER / "plain_script.py", tmp_path / "stoer"], capture_output=True, text=True, check=False
    )

    assert done.returncode != 0
    assert "there is no store here" in done.stderr
    assert not (tmp_path / "stoer").exists()


# -- the notebook -----------------------------------------------------------------------------------------------------

ANSWER = "The longest word has 12 letters.\nresearch-1 done 6 messages\n"


def test_the_notebook_goes_on_where_it_was(tmp_path: Path) -> None:
    store = tmp_path / "notebook"
    assert run("notebook_loop", NOTEBOOK_STORE=str(store)) == ANSWER
    # a kernel that was killed after a decision, before the result
    with fsstore.sync.open_sessions(store) as sessions:
        for _ in range(3):
            sessions.pop_last("research-1")
        assert sessions.read_tail("research-1", 1).items[0]["tool"] == "longest_word"

    assert run("notebook_loop", NOTEBOOK_STORE=str(store)) == ANSWER


async def test_the_notebook_runs_where_an_event_loop_runs_already(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("NOTEBOOK_STORE", str(tmp_path / "notebook"))

    in_loop: Callable[[str], object] = runpy.run_path
    in_loop(str(FOLDER / "notebook_loop.py"))

    assert capsys.readouterr().out == ANSWER
