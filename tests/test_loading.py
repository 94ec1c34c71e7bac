from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from fsstore.loading import is_loaded, loaded


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
    "fsstore.loading",
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
