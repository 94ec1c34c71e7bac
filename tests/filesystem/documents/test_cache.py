"""What a process has placed it does not read again, and never takes it for what somebody else has put there."""

from __future__ import annotations

import json
import os
import threading
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from fsstore import Change, FileStorage, SessionService, StorageCorruptedError, StorageNotFoundError
from fsstore.filesystem.disk.files import Tree
from fsstore.filesystem.disk.signatures import Signature
from fsstore.filesystem.documents import cache, lists
from fsstore.filesystem.documents.cache import CachedDocument, DocumentCache
from fsstore.filesystem.documents.codec import decode_examined, encode
from fsstore.filesystem.documents.documents import Document, Documents
from fsstore.filesystem.documents.lists import ListText, count_items
from fsstore.filesystem.documents.text import Text
from fsstore.filesystem.write import draft
from fsstore.model.mutations import Mutation, patching
from fsstore.model.records import JsonObject
from tests.filesystem.faults import place

pytestmark = pytest.mark.usefixtures("file_clock")

SESSION: JsonObject = {"metadata": {"status": "open", "tags": ["a"]}, "messages": [{"role": "user"}], "state": {"n": 1}}


def signature(size: int = 10, mtime_ns: int = 1_000_000_001, ctime_ns: int = 1_000_000_001) -> Signature:
    return Signature(1, size, mtime_ns, ctime_ns)


@pytest.fixture(params=[True, False], ids=["durable", "no fsync"])
async def storage(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[FileStorage]:
    async with await FileStorage.open(tmp_path, fsync=request.param) as storage:
        yield storage


@pytest.fixture
def sessions(storage: FileStorage) -> SessionService:
    return SessionService(storage)


@pytest.fixture
def parsed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Tell which documents the writer parses."""
    names: list[str] = []
    reading = Documents.read_in_turn

    def note(documents: Documents, record_id: str) -> Document | CachedDocument | None:
        found = reading(documents, record_id)
        if isinstance(found, Document):
            names.append(record_id)
        return found

    monkeypatch.setattr(Documents, "read_in_turn", note)
    return names


# -- how much is kept --------------------------------------------------------------------------------------------------


def test_the_last_that_was_placed_is_kept_until_it_is_forgotten() -> None:
    kept = DocumentCache()
    kept.placed("a", {"id": "a"}, Text.of(b"old"), signature(3), is_sure=True)
    kept.placed("a", {"id": "a", "n": 1}, Text.of(b"new"), signature(4), is_sure=False)
    assert kept.get("a") == CachedDocument(Text.of(b"new"), signature(4), is_sure=False, part={"id": "a", "n": 1})
    kept.forget("a")
    kept.forget("a")
    assert kept.get("a") is None


def test_what_was_used_longest_ago_goes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "_MOST_BYTES", 30)
    kept = DocumentCache()
    for name in "abc":
        kept.placed(name, {}, Text.of(b"0123456789"), signature(), is_sure=True)
    assert kept.get("a") is not None
    kept.placed("d", {}, Text.of(b"0123456789"), signature(), is_sure=True)
    assert [name for name in "abcd" if kept.get(name) is None] == ["b"]
    kept.placed("e", {}, Text.of(bytes(30)), signature(), is_sure=True)
    assert [name for name in "abcde" if kept.get(name) is not None] == ["e"]


def test_room_is_made_though_another_thread_forgets_what_was_to_go(monkeypatch: pytest.MonkeyPatch) -> None:
    class Forgetting(OrderedDict[str, CachedDocument]):
        def __len__(self) -> int:
            found = super().__len__()
            if found > 1:
                for name in "ab":
                    kept.forget(name)
            return found

    monkeypatch.setattr(cache, "_MOST_BYTES", 10)
    kept = DocumentCache()
    kept._kept = Forgetting()
    for _ in range(2):
        for name in "ab":
            kept.placed(name, {}, Text.of(b"0123456789"), signature(), is_sure=True)
    assert kept.get("b") is None
    kept.placed("c", {}, Text.of(b"0123456789"), signature(), is_sure=True)
    assert kept.get("c") is not None


def test_what_is_larger_than_all_that_is_kept_stands_alone_up_to_twice_as_much(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "_MOST_BYTES", 10)
    kept = DocumentCache()
    kept.placed("a", {}, Text.of(bytes(10)), signature(), is_sure=True)
    kept.placed("huge", {}, Text.of(bytes(21)), signature(), is_sure=True)
    assert [name for name in ("a", "huge") if kept.get(name) is not None] == ["a"]
    for size in (11, 20):
        kept.placed("large", {}, Text.of(bytes(size)), signature(), is_sure=True)
        assert [name for name in ("a", "large") if kept.get(name) is not None] == ["large"]
    kept.placed("b", {}, Text.of(b"1"), signature(), is_sure=True)
    assert [name for name in ("large", "b") if kept.get(name) is not None] == ["b"]


async def test_an_append_to_a_document_larger_than_all_that_is_kept_does_not_read_it(
    sessions: SessionService, parsed: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache, "_MOST_BYTES", 10_000)
    await sessions.save_session("a", {**SESSION, "state": {"text": "x" * 15_000}})
    for number in range(3):
        await sessions.append_session("a", [number])
    assert parsed == []
    assert (await sessions.read_tail("a", 3)).items == [0, 1, 2]


def test_what_is_read_again_and_the_same_is_sure_and_keeps_its_part() -> None:
    kept = DocumentCache()
    kept.placed("a", {"id": "a"}, Text.of(b"{}"), signature(), is_sure=False)
    kept.was_read("a", bytearray(b"{}"), signature(ctime_ns=5))
    assert kept.get("a") == CachedDocument(Text.of(b"{}"), signature(ctime_ns=5), is_sure=True, part={"id": "a"})
    kept.was_read("a", bytearray(b"[]"), signature())
    assert kept.get("a") == CachedDocument(Text.of(b"[]"), signature(), is_sure=True)


async def test_where_a_list_stands_is_kept_in_mind_also_when_every_item_is_there_already(
    sessions: SessionService, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted, parsed = list[int](), list[int]()

    def count(found: ListText) -> int:
        counted.append(found.end)
        return count_items(found)

    def parse(data: bytes) -> Any:
        parsed.append(len(data))
        return decode_examined(data)

    await sessions.save_session("a", {"messages": [{"id": 1}, {"id": 2}]})
    monkeypatch.setattr(lists, "count_items", count)
    monkeypatch.setattr(draft, "decode_examined", parse)
    for known in (1, 2):
        assert await sessions.append_session("a", [{"id": known}], unique_by="id") == 2
    assert await sessions.append_session("a", [{"id": 2}, {"id": 3}], unique_by="id") == 3
    assert (len(counted), parsed) == (1, [])


# -- what is read, and what is not -------------------------------------------------------------------------------------


async def test_a_document_that_was_just_placed_is_not_parsed_to_change_it(
    sessions: SessionService, parsed: list[str]
) -> None:
    await sessions.save_session("a", SESSION)
    parsed.clear()
    await sessions.update_session("a", {"state": {"n": 2}})
    await sessions.save_session("a", SESSION, expected_version=2)
    await sessions.edit_session("a", lambda session: session["state"].update(n=3))
    await sessions.delete_session("a", expected_version=4)
    assert parsed == []
    with pytest.raises(StorageNotFoundError):
        await sessions.update_session("a", {})


async def test_without_a_hand_in_between_it_is_as_if_it_had_been_read(tmp_path: Path, storage: FileStorage) -> None:
    """The same changes, by one that has kept everything in mind and by ones that have just been opened."""
    changes: list[JsonObject] = [
        {"z": 1, "state": {"b": [1.0, {}], "a": None}},
        {"messages": None, "m": {"x": -0.0}},
        {"metadata": {"t": 1}},
    ]
    sessions = SessionService(storage)
    await sessions.save_session("kept", SESSION)
    for change in changes:
        await sessions.update_session("kept", change)
    await sessions.save_session("read", SESSION)
    for change in changes:
        async with await FileStorage.open(tmp_path, fsync=False) as other:
            await SessionService(other).update_session("read", change)
    kept, read = await sessions.get_record("kept"), await sessions.get_record("read")
    assert kept is not None
    assert read is not None
    for data in (kept["data"], read["data"]):
        for key in ("session_id", "created_at", "updated_at"):
            del data["metadata"][key]
    assert repr(kept["data"]) == repr(read["data"])
    assert (kept["version"], read["version"]) == (4, 4)


# -- other hands -------------------------------------------------------------------------------------------------------


def in_place(path: Path) -> None:
    """Write other bytes of the same number into the same file, and put its mtime back."""
    before = path.stat()
    data = path.read_bytes().replace(b'"open"', b'"shut"')
    with path.open("r+b") as file:
        file.write(data)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def renamed_over(path: Path) -> None:
    draft = path.with_name("draft")
    draft.write_bytes(path.read_bytes().replace(b'"open"', b'"shut"'))
    draft.replace(path)


@pytest.mark.parametrize("edit", [in_place, renamed_over])
async def test_an_edit_by_other_hands_is_what_a_change_is_made_on(
    tmp_path: Path, sessions: SessionService, edit: Callable[[Path], None]
) -> None:
    await sessions.save_session("a", SESSION)
    edit(place(tmp_path, "a"))
    await sessions.update_session("a", {"state": {"n": 2}})
    session = await sessions.get_session("a")
    assert session is not None
    assert (session["metadata"]["status"], session["state"]) == ("shut", {"n": 2})


async def test_who_was_faster_than_the_look_at_what_was_placed_is_not_taken_for_it(
    tmp_path: Path, sessions: SessionService, monkeypatch: pytest.MonkeyPatch
) -> None:
    looking = Tree._signature_at

    def edit_and_look(tree: Tree, base: str, parent: int | None) -> Signature | None:
        if base == "a.json":
            renamed_over(place(tmp_path, "a"))
        return looking(tree, base, parent)

    with monkeypatch.context() as patch:
        patch.setattr(Tree, "_signature_at", edit_and_look)
        await sessions.save_session("a", SESSION)
    await sessions.update_session("a", {"state": {"n": 2}})
    session = await sessions.get_session("a")
    assert session is not None
    assert session["metadata"]["status"] == "shut"


def doubled(text: str) -> str:
    return text.replace('"data": {', '"data": {\n    "total": 0,')


def with_a_longer_number(text: str) -> str:
    return text.replace("1.5\n", "1.50\n")


@pytest.mark.parametrize("edit", [doubled, with_a_longer_number])
async def test_what_was_read_in_the_form_of_others_is_written_in_our_own(
    tmp_path: Path, storage: FileStorage, edit: Callable[[str], str]
) -> None:
    record: JsonObject = {"id": "a", "type": "note", "data": {"metadata": {"status": "open"}, "total": 1.5}}
    await storage.save(record)
    path = place(tmp_path, "a")
    path.write_text(edit(path.read_text()))
    found = await storage.load("a")
    # read again, from what was kept of it
    assert await storage.load("a") == found
    await storage.commit([patching("a", {"data": {"metadata": {"status": "shut"}}})])
    assert found is not None
    changed = await storage.load("a")
    assert changed == json.loads(path.read_bytes())
    assert changed is not None
    assert path.read_bytes() == encode(changed, max_bytes=1 << 20)
    assert (changed["data"]["total"], changed["version"]) == (1.5, 2)


async def test_a_document_that_somebody_took_away_is_gone(tmp_path: Path, sessions: SessionService) -> None:
    await sessions.save_session("a", SESSION)
    place(tmp_path, "a").unlink()
    with pytest.raises(StorageNotFoundError):
        await sessions.update_session("a", {})
    await sessions.save_session("a", SESSION, expected_version=0)


@pytest.mark.parametrize("make", [lambda path: path.symlink_to("/etc/hostname"), os.mkdir, os.mkfifo])
async def test_what_is_no_file_any_more_is_reported_and_moved_aside_by_a_save(
    tmp_path: Path, sessions: SessionService, make: Callable[[Path], None]
) -> None:
    await sessions.save_session("a", SESSION)
    path = place(tmp_path, "a")
    path.unlink()
    make(path)
    with pytest.raises(StorageCorruptedError):
        await sessions.update_session("a", {})
    mode = path.lstat().st_mode
    await sessions.save_session("a", SESSION)
    assert await sessions.get_session("a") is not None
    (kept,) = (tmp_path / ".fsstore/quarantine").iterdir()
    assert kept.lstat().st_mode == mode


async def test_another_process_has_the_last_word(tmp_path: Path, sessions: SessionService) -> None:
    async with await FileStorage.open(tmp_path, fsync=False) as other:
        for turn in range(3):
            await sessions.save_session("a", SESSION)
            await SessionService(other).update_session("a", {"state": {"other": turn}})
            await sessions.update_session("a", {"state": {"own": turn}})
            session = await sessions.get_session("a")
            assert session is not None
            assert session["state"] == {"n": 1, "other": turn, "own": turn}


# -- what callers hold -------------------------------------------------------------------------------------------------


def spoil(value: Any) -> None:
    """Change everything in a value."""
    for part in value.values() if isinstance(value, dict) else value:
        if isinstance(part, dict | list):
            spoil(part)
    if isinstance(value, dict):
        value["spoilt"] = True
    else:
        value.append("spoilt")


async def states(sessions: SessionService) -> bool:
    """Change a session again, and tell whether it is what it should be."""
    await sessions.update_session("a", {"new": 1})
    session = await sessions.get_session("a")
    assert session is not None
    return "spoilt" not in repr(session)


async def test_what_callers_do_with_what_they_gave_or_got_changes_nothing(
    storage: FileStorage, sessions: SessionService
) -> None:
    mine = {"metadata": {"tags": ["a"]}, "messages": [{}], "state": {}}
    patch = {"state": {"deep": [{}]}, "metadata": {"more": {}}}
    async with sessions.watch() as changes:
        await sessions.save_session("a", mine)
        spoil(mine)
        assert await states(sessions)
        await sessions.update_session("a", patch)
        spoil(patch)
        assert await states(sessions)
        spoil(await sessions.edit_session("a", lambda session: session["messages"].append({})))
        assert await states(sessions)
        seen = await sessions.get_record("a")
        spoil(seen)
        assert await states(sessions)
        change = await anext(changes)
        assert isinstance(change, Change)
        spoil(change.metadata)
        assert await states(sessions)
    record = {"id": "a", "type": "session", "data": {"x": [{}]}}
    await storage.save(record)
    spoil(record)
    assert await states(sessions)


async def test_a_rule_of_the_callers_own_gets_and_gives_nothing_that_is_kept(
    storage: FileStorage, sessions: SessionService
) -> None:
    theirs: JsonObject = {"id": "a", "type": "session", "data": {"x": [{}]}}
    held: list[Any] = []

    def hold(current: JsonObject | None) -> JsonObject | None:
        held.append(current)
        return current

    await storage.commit([Mutation("a", lambda _: theirs)])
    spoil(theirs["data"])
    assert await states(sessions)
    await storage.commit([Mutation("a", hold)])
    spoil(held[-1])
    assert await states(sessions)
    theirs = {"id": "a", "type": "session", "data": {"x": [{}]}}
    # on what a rule of theirs has given, and before one that keeps what it gets, in one commit
    patch = patching("a", {"more": 1})
    await storage.commit([Mutation("a", lambda _: theirs), patch, Mutation("a", hold)])
    spoil(theirs["data"])
    spoil(held[-1]["data"])
    assert await states(sessions)
    await storage.commit([patch, Mutation("a", hold)])
    spoil(held[-1]["data"])
    assert await states(sessions)


def test_nobody_waits_for_a_thread_that_is_busy_with_what_is_kept() -> None:
    """A signal handler may have interrupted it, and wait for this one."""
    kept = DocumentCache()
    kept.was_read("3f/a.json", b"a", signature())
    kept.was_read("3f/b.json", b"b", signature())
    busy, over = threading.Event(), threading.Event()

    def hold() -> None:
        with kept._changing() as is_alone:
            assert is_alone
            busy.set()
            over.wait(20)

    def use() -> None:
        found = kept.get("3f/a.json")
        assert found is not None
        assert kept.joined("3f/a.json", found) == b"a"
        kept.knowing("3f/a.json", found, found.places)
        kept.placed("3f/a.json", {}, Text.of(b"c"), signature(), is_sure=True)
        kept.forget("3f/b.json")

    holding, using = threading.Thread(target=hold), threading.Thread(target=use)
    holding.start()
    assert busy.wait(20)
    using.start()
    using.join(20)
    assert not using.is_alive()
    over.set()
    holding.join()
    assert kept.get("3f/a.json") is None, "what was there before is not there any more"
    assert kept.get("3f/b.json") is None


def test_what_was_forgotten_makes_room_for_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "_MOST_BYTES", 10)
    kept = DocumentCache()
    for number in range(100):
        kept.was_read(f"3f/{number}.json", b"12345", signature())
        kept.was_read("3f/other.json", b"12345", signature())
        kept.forget(f"3f/{number}.json")
    kept.was_read("3f/a.json", b"12345", signature())
    assert kept.get("3f/a.json") is not None
    assert kept.get("3f/other.json") is not None
