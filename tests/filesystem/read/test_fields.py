"""Parts of documents, and which of them the index gives without any document being opened."""

from __future__ import annotations

import json
import os
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from fsstore import FileStorage, SessionService
from fsstore.filesystem.disk import trust
from fsstore.filesystem.disk.files import Tree
from tests.filesystem.faults import place

LARGE = ["x" * 1000] * 100
FIELDS = ["status", "user_id", "tags", "session_id", "created_at", "updated_at", "metadata.plan.name"]


class Opened:
    """Counts the documents that are opened, by whatever way the engine has to read a file."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.names: list[str] = []
        for method in ("open", "read", "read_cached"):
            monkeypatch.setattr(Tree, method, self._between(getattr(Tree, method)))

    def _between(self, method: Any) -> Any:
        def call(tree: Tree, name: str, *arguments: Any, **options: Any) -> Any:
            if name.endswith(".json") and not name.startswith("."):
                self.names.append(name)
            return method(tree, name, *arguments, **options)

        return call

    @contextmanager
    def none(self) -> Iterator[None]:
        """Assert that no document is opened in a block."""
        self.names.clear()
        yield
        assert self.names == []


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> Opened:
    return Opened(monkeypatch)


@pytest.fixture
async def sessions(tmp_path: Path) -> AsyncGenerator[SessionService]:
    """Give a store that is opened anew, and keeps nothing in memory, with files that have long been as they are."""
    async with SessionService(await FileStorage.open(tmp_path)) as filling:
        for name in "abc":
            metadata = {"status": "open", "user_id": name, "tags": ["t"], "plan": {"name": "p", "n": 1}}
            await filling.save_session(name, {"metadata": metadata, "messages": LARGE})
        for name in "abc":
            os.utime(place(tmp_path, name), (1e9, 1e9))
    async with SessionService(await FileStorage.open(tmp_path)) as found:
        await found.count_sessions()
        yield found


def settle(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let what was changed a moment ago count as settled: a ctime cannot be set back."""
    monkeypatch.setattr(trust, "RACY_NS", 0)


async def test_a_list_of_what_the_index_has_opens_no_document(sessions: SessionService, opened: Opened) -> None:
    with opened.none():
        listed = await sessions.list_sessions({"status": "open"}, order_by="-user_id", fields=FIELDS)
        page = await sessions.list_page(limit=2, fields=FIELDS)
        async with aclosing(sessions.stream_sessions(batch_size=2, fields=FIELDS)) as batches:
            streamed = [part async for batch in batches for part in batch]
    assert [part["metadata"]["user_id"] for part in listed] == ["c", "b", "a"]
    assert len(page.items) == 2
    assert streamed == listed[::-1]
    assert streamed[0]["metadata"].keys() == {*FIELDS} - {"metadata.plan.name"} | {"plan"}
    whole = await sessions.list_sessions(order_by="user_id")
    assert [part["metadata"]["plan"] for part in streamed] == [{"name": "p"}] * 3
    assert opened.names
    for part, session in zip(streamed, whole, strict=True):
        assert {**part["metadata"], "plan": session["metadata"]["plan"]} == session["metadata"]


async def test_what_the_index_does_not_have_is_read(sessions: SessionService, opened: Opened) -> None:
    asked: list[tuple[list[str], dict[str, str] | None]] = [
        (["messages.role"], None),
        (["status"], {"messages.0": "y"}),
        ([".metadata", ".messages"], None),
    ]
    for fields, filters in asked:
        opened.names.clear()
        await sessions.list_sessions(filters, fields=fields)
        assert len(opened.names) >= 3, fields


async def test_one_large_session_is_not_opened_for_what_the_index_has(
    sessions: SessionService, opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    settle(monkeypatch)
    with opened.none():
        part = await sessions.get_session("a", fields=["status", "plan"])
    assert part == {"metadata": {"session_id": "a", "status": "open", "plan": {"name": "p", "n": 1}}}
    await sessions.get_session("a", fields=["status", ".messages"])
    assert opened.names


async def test_one_large_session_is_believed_only_as_long_as_its_file_is_that_of_the_row(
    sessions: SessionService, opened: Opened, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settle(monkeypatch)
    path = place(tmp_path, "a")
    record = json.loads(path.read_text("utf-8"))
    record["data"]["metadata"]["status"] = "by hand"
    path.write_text(json.dumps(record), "utf-8")
    assert (await sessions.get_session("a", fields=["status"]) or {})["metadata"]["status"] == "by hand"
    assert opened.names
    place(tmp_path, "b").unlink()
    assert await sessions.get_session("b", fields=["status"]) is None
    await sessions.update_session("c", {"metadata": {"status": "updated"}})
    assert (await sessions.get_session("c", fields=["status"]) or {})["metadata"]["status"] == "updated"


async def test_one_large_session_that_was_changed_a_moment_ago_is_read(
    sessions: SessionService, opened: Opened, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trust, "RACY_NS", 10**15)
    assert (await sessions.get_session("a", fields=["status"]) or {})["metadata"]["status"] == "open"
    assert {*opened.names} == {str(place(tmp_path, "a").relative_to(tmp_path))}


async def test_asking_for_a_part_of_one_session_waits_for_no_index(tmp_path: Path, opened: Opened) -> None:
    async with SessionService(await FileStorage.open(tmp_path)) as sessions:
        await sessions.save_session("a", {"metadata": {"status": "open"}, "messages": LARGE})
    async with SessionService(await FileStorage.open(tmp_path)) as sessions:
        opened.names.clear()
        assert (await sessions.get_session("a", fields=["status"]) or {})["metadata"]["status"] == "open"
        assert sessions.storage._reading.fresh_index.reconciled is None  # type: ignore[attr-defined]
