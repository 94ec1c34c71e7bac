"""Stores and the event loops that come and go: several in turn, closed ones, and those of others."""

from __future__ import annotations

import asyncio
import gc
import json
import subprocess
import sys
import threading
from collections.abc import Awaitable, Callable, Coroutine, Generator
from pathlib import Path
from typing import Any

import pytest

import fsstore
from fsstore import Change, FileStorage, MemoryStorage, SessionService, StorageError, sync
from fsstore.loops import is_loaded, loaded

SECONDS = 60.0
Calls = dict[str, Callable[[], Awaitable[Any]]]


def calls_of(sessions: SessionService) -> Calls:
    """Return calls of every kind: inline, through the writer, through a reader thread, and several of them."""

    async def streamed() -> list[Any]:
        return [batch async for batch in sessions.stream_sessions()]

    async def transact() -> None:
        async with sessions.transaction() as transaction:
            await transaction.get_session("a")
            await transaction.save_session("b", {})

    return {
        "save": lambda: sessions.save_session("a", {"messages": []}),
        "get": lambda: sessions.get_session("a"),
        "append": lambda: sessions.append_session("a", [1]),
        "edit": lambda: sessions.edit_session("a", lambda session: session.update(n=1)),
        "list": lambda: sessions.list_sessions({"status": "open"}),
        "count": sessions.count_sessions,
        "stream": streamed,
        "transaction": transact,
        "refresh": sessions.refresh,
        "health": sessions.health_check,
    }


@pytest.mark.parametrize("url", ["memory:", "store"])
def test_a_store_goes_on_in_the_next_loop(url: str, tmp_path: Path) -> None:
    place = url if url == "memory:" else str(tmp_path / url)

    async def opened() -> SessionService:
        sessions = await fsstore.open_sessions(place, live=True)
        for call in calls_of(sessions).values():
            await call()
        return sessions

    async def use(sessions: SessionService) -> list[Any]:
        async with sessions.watch({"status": "new"}) as changes:
            await sessions.save_session("c", {"metadata": {"status": "new"}})
            change = await asyncio.wait_for(anext(changes), SECONDS)
        assert isinstance(change, Change)
        for call in calls_of(sessions).values():
            await call()
        return [change.id, await sessions.count_sessions()]

    sessions = asyncio.run(opened())
    assert asyncio.run(use(sessions)) == ["c", 3]
    asyncio.run(sessions.delete_session("c"))
    assert asyncio.run(use(sessions)) == ["c", 3]
    asyncio.run(sessions.close())


def abandon(begin: Callable[[], Coroutine[Any, Any, Any]]) -> None:
    """Run a coroutine in a loop that is then closed over all that it has begun."""
    loop = asyncio.new_event_loop()
    loop.run_until_complete(begin())
    for task in asyncio.all_tasks(loop):
        # nobody is told of tasks that are left here on purpose
        task._log_destroy_pending = False  # type: ignore[attr-defined]
    loop.close()


@pytest.mark.parametrize("turns", [0, 1, 3])
def test_a_loop_that_is_closed_over_calls_harms_no_other(turns: int, tmp_path: Path) -> None:
    kept: list[Any] = []

    async def begin() -> None:
        sessions = await fsstore.open_sessions(tmp_path, live=True)
        await sessions.save_session("a", {"messages": []})
        watch = sessions.watch()

        async def slowly(_: dict[str, Any]) -> None:
            await asyncio.Event().wait()

        begun = [asyncio.ensure_future(call()) for call in calls_of(sessions).values() for _ in range(3)]
        begun += [asyncio.ensure_future(sessions.edit_session("a", slowly)), asyncio.ensure_future(anext(watch))]
        for _ in range(turns):
            await asyncio.sleep(0)
        kept.extend([sessions, watch, *begun])

    async def go_on() -> None:
        sessions: SessionService = kept[0]
        for name, call in calls_of(sessions).items():
            await asyncio.wait_for(call(), SECONDS)
            assert await sessions.session_exists("a"), name
        await asyncio.wait_for(sessions.close(), SECONDS)

    abandon(begin)
    asyncio.run(go_on())
    kept.clear()
    # what is collected with the loop complains of nothing: the tests take that for an error
    gc.collect()
    with sync.open_sessions(tmp_path) as again:
        # whatever was queued came before what this loop did
        assert (again.get_session("a") or {})["n"] == 1


def driven_by_hand(call: Awaitable[Any]) -> Any:
    """Await something as any other kind of loop does: whatever it waits for reaches this function."""
    steps: Generator[Any, Any, Any] = call.__await__()
    try:
        waits_for = steps.send(None)
    except StopIteration as done:
        return done.value
    raise AssertionError(f"it hands {waits_for!r} to a loop that does not know what that is")


def test_where_no_loop_of_asyncio_runs_every_call_is_refused_at_once(tmp_path: Path) -> None:
    sessions = asyncio.run(_opened(tmp_path))
    watch = sessions.watch()
    others: Calls = {
        "open_sessions": lambda: fsstore.open_sessions(tmp_path),
        "open_storage": lambda: fsstore.open_storage("memory:"),
        "open": lambda: FileStorage.open(tmp_path / "other"),
        "watch": lambda: anext(watch),
        "exists": lambda: sessions.session_exists("a"),
        "close": sessions.close,
    }
    for name, call in {**calls_of(sessions), **others}.items():
        with pytest.raises(StorageError, match="no event loop of asyncio") as refused:
            driven_by_hand(call())
        assert "fsstore.sync" in refused.value.advice, name
        assert refused.value.outcome == "not applied"
    assert not (tmp_path / "other").exists()
    # nothing has been begun
    assert asyncio.run(sessions.count_sessions()) == 0
    asyncio.run(sessions.close())


async def _opened(path: Path) -> SessionService:
    return await fsstore.open_sessions(path, fsync=False)


def test_a_store_in_memory_that_waits_for_nothing_needs_no_loop() -> None:
    sessions = SessionService(MemoryStorage())
    driven_by_hand(sessions.save_session("a", {}))
    assert driven_by_hand(sessions.count_sessions()) == 1


TRIO = """
import asyncio, sys, trio, fsstore, fsstore.sync

path = sys.argv[1]
sessions = asyncio.run(fsstore.open_sessions(path).__aenter__())

async def main():
    for call in (lambda: fsstore.open_sessions(path), lambda: sessions.save_session("a", {}),
                 lambda: sessions.get_session("a"), sessions.list_sessions, sessions.close):
        try:
            await call()
        except fsstore.StorageError as error:
            assert "trio" in error.advice, error
        else:
            raise SystemExit("it was not refused")
    with fsstore.sync.open_sessions(path) as blocking:
        blocking.save_session("a", {"n": 1})
        assert await trio.to_thread.run_sync(blocking.count_sessions) == 1

trio.run(main)
asyncio.run(sessions.close())
"""


def test_trio_is_refused_clearly_and_has_the_synchronous_face(tmp_path: Path) -> None:
    pytest.importorskip("trio", reason="the extra `test` has it")
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", TRIO, str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.fixture
def slow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Return the name of a module that notes the thread in which it is imported."""
    (tmp_path / "slow_to_load.py").write_text("import threading\nTHREAD = threading.get_ident()\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "slow_to_load", raising=False)
    return "slow_to_load"


async def test_a_module_is_imported_in_another_thread_once(slow: str) -> None:
    assert not is_loaded(slow)
    first, second = await asyncio.gather(loaded(slow), loaded(slow))
    assert is_loaded(slow)
    assert first is second is await loaded(slow)
    assert threading.get_ident() != first.THREAD


async def test_what_importing_raises_is_raised(slow: str) -> None:
    with pytest.raises(ModuleNotFoundError):
        await loaded(f"{slow}_and_absent")


async def test_where_no_thread_can_be_started_it_is_imported_at_once(
    slow: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    assert threading.get_ident() == (await loaded(slow)).THREAD


NOTES_IMPORTS = """
import asyncio, json, sys, threading

class Notes:
    by_thread = {}
    def find_spec(self, name, path=None, target=None):
        self.by_thread.setdefault(threading.get_ident(), []).append(name)

import fsstore

async def use(path):
    notes = Notes()
    # what the interpreter itself is made of is not what this is about
    sys.meta_path.insert(0, notes)
    here, told = threading.get_ident(), {}
    async def step(name, call):
        before = len(notes.by_thread.get(here, []))
        result = await call
        told[name] = notes.by_thread.get(here, [])[before:]
        return result
    opening = fsstore.open_sessions(path, fsync=False)
    sessions = await step("open", opening)
    told["open"] = notes.by_thread.get(here, [])
    await step("save", sessions.save_session("a", {"messages": []}))
    await step("get", sessions.get_session("a"))
    await step("append", sessions.append_session("a", [1]))
    await step("edit", sessions.edit_session("a", lambda session: None))
    await step("list", sessions.list_sessions({"status": "open"}))
    await step("model", sessions.get_model("a"))
    await step("verify", sessions.storage.verify())
    await sessions.close()
    print(json.dumps({"here": told, "elsewhere": [n for t, l in notes.by_thread.items() if t != here for n in l]}))

asyncio.run(use(sys.argv[1]))
"""

LIGHT = {
    "fsstore.opening",
    "fsstore.loops",
    "fsstore.errors",
    "fsstore.printing",
    "fsstore.options",
    "fsstore.paths",
}
"""What the first look at `fsstore.open_sessions` loads of fsstore, with the words of records."""


def test_the_event_loop_does_not_wait_for_what_the_first_store_is_made_of(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", NOTES_IMPORTS, str(tmp_path)], capture_output=True, text=True, check=True
    )
    told = json.loads(done.stdout)
    here = told["here"]
    assert {name for name in here["open"] if name.startswith("fsstore")} == {
        *LIGHT,
        "fsstore.model",
        "fsstore.model.records",
    }
    assert {"pydantic", "pydantic_core", "orjson", "sqlite3", "filelock", "re2"}.isdisjoint(here.pop("open"))
    assert {"fsstore.filesystem.storage", "fsstore.sessions.service", "pydantic"} <= set(told["elsewhere"])
    for name, imported in here.items():
        assert [each for each in imported if not each.startswith("encodings")] == [], name
