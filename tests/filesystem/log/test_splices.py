"""What is appended is logged as splices, and recovery makes whole documents of them, whatever lies in their places."""

from __future__ import annotations

import asyncio
import errno
import json
import logging
from pathlib import Path
from typing import Any

import pytest

from fsstore import FileStorage, SessionService, StorageUnavailableError
from fsstore.filesystem.disk.files import Tree
from fsstore.filesystem.documents.codec import digest
from fsstore.filesystem.documents.layout import STAGING
from fsstore.filesystem.documents.text import Edit, Text
from fsstore.filesystem.log.log import Log
from fsstore.filesystem.log.records import (
    NO_DOCUMENT,
    NO_LIMIT,
    LoggedChange,
    Segment,
    Spliced,
    pack,
    pack_header,
    unpack,
)
from fsstore.filesystem.write import writer as writing
from tests.filesystem.faults import Faults, busy_writer, control, cut_off, first, place
from tests.filesystem.log.test_recovery import quarantined

BASE = Text.of(b"first " * 100)
LONG = "x" * 20_000


# -- the bytes of a splice ---------------------------------------------------------------------------------------------


def chain(*edits: Edit, text: Text = BASE) -> list[LoggedChange]:
    """Return the changes of a document that is logged whole, and then edited again and again."""
    changes = [LoggedChange("a", NO_DOCUMENT, text, durable=True)]
    for edit in edits:
        longer = text.edited([edit])
        changes.append(LoggedChange("a", text.digest, longer, durable=True, edits=longer.edits_of(text)))
        text = longer.compacted()
    return changes


def segment_of(*records: list[bytes | memoryview]) -> Segment:
    return unpack(1, pack_header(NO_LIMIT) + b"".join(map(b"".join, records)))


def spliced(*changes: LoggedChange) -> list[list[bytes | memoryview]]:
    """Return a record for each change, as a splice where there is one."""
    return [pack([change], durable=True, held={"a": change.before}) for change in changes]


def test_a_splice_holds_what_is_new_and_gives_the_whole() -> None:
    changes = chain(Edit(600, 0, b"second"), Edit(606, 0, b"third"), Edit(0, 5, b""))
    records = spliced(*changes)
    assert [sum(map(len, record)) < 150 for record in records] == [False, True, True, True]
    segment = segment_of(*records)
    assert segment.damage == ""
    assert [change.data for change in segment.changes] == [bytes(change.value or b"") for change in changes]
    assert [change.after for change in segment.changes] == [change.after for change in changes]
    assert [change.before for change in segment.changes] == [change.before for change in changes]


def test_a_change_of_most_of_a_document_is_logged_whole() -> None:
    (_, change) = chain(Edit(0, 500, b"y" * 400))
    (record,) = spliced(change)
    assert bytes(change.value or b"") in b"".join(record)


def test_a_document_that_the_segment_does_not_hold_is_logged_whole() -> None:
    (_, change) = chain(Edit(600, 0, b"second"))
    for held in ({}, {"b": change.before}, {"a": NO_DOCUMENT}):
        assert bytes(change.value or b"") in b"".join(pack([change], durable=True, held=held))


def test_a_splice_without_its_base_is_damage_and_what_comes_before_it_stays() -> None:
    first, second, third = spliced(*chain(Edit(600, 0, b"second"), Edit(606, 0, b"third")))
    segment = segment_of(first, third)
    assert "without what it is about" in segment.damage
    assert [change.data for change in segment.changes] == [bytes(BASE)]
    assert segment_of(second).changes == []
    assert segment_of(second).damage


def test_a_splice_is_put_upon_the_value_that_it_names_whatever_came_in_between() -> None:
    whole, splice = chain(Edit(600, 0, b"second"))
    other = LoggedChange("a", BASE.digest, b"of another process", durable=True)
    segment = segment_of(*spliced(whole), pack([other], durable=True), *spliced(splice))
    assert segment.damage == ""
    assert segment.changes[-1].data == bytes(BASE) + b"second"


def test_splices_that_do_not_give_what_they_say_are_damage_from_the_first_wrong_one_on() -> None:
    changes = chain(Edit(600, 0, b"second"), Edit(606, 0, b"third"), Edit(611, 0, b"last"))
    wrong = changes[2]._replace(edits=[Edit(606, 0, b"THIRD")])
    segment = segment_of(*spliced(changes[0], changes[1], wrong, changes[3]))
    assert "something else than they say" in segment.damage
    assert [change.data for change in segment.changes] == [bytes(BASE), bytes(BASE) + b"second"]
    assert len(segment.ends) == 2
    # a whole document makes all good again
    whole = LoggedChange("a", changes[3].after, b"whole", durable=True)
    segment = segment_of(*spliced(changes[0], wrong._replace(before=changes[0].after)), pack([whole], durable=True))
    assert segment.changes[-1].data == b"whole"


@pytest.mark.parametrize("cut", [1, 10, 17, 30])
def test_a_splice_that_is_cut_off_is_damage(cut: int) -> None:
    whole, splice = chain(Edit(600, 0, b"second"))
    (record,) = spliced(splice)
    body = b"".join(record[3:])[:-cut]
    kind_3 = LoggedChange("a", splice.before, body, durable=True)
    (record,) = [pack([kind_3], durable=True)]
    data = bytearray(b"".join(record))
    # it is told as whole bytes: as if it were a splice
    at = data.index(splice.before) - 3
    data[at] = 3
    assert segment_of(*spliced(whole), [with_checksum(bytes(data))]).damage


def with_checksum(record: bytes) -> bytes:
    from fsstore.filesystem.log import records  # noqa: PLC0415 - what no caller may make

    *head, _ = records._RECORD.unpack_from(record)
    body = record[records._RECORD.size :]
    return records._RECORD.pack(*head, records._checksum(head, body)) + body


def test_a_long_chain_is_made_whole_without_making_what_is_between() -> None:
    changes = chain(*(Edit(600 + at, 0, b".") for at in range(3000)))
    segment = segment_of(*spliced(*changes))
    assert segment.damage == ""
    assert segment.changes[-1].data == bytes(BASE) + b"." * 3000
    made = [change.value for change in segment.changes if type(change.value) is Spliced and change.value._data]
    assert len(made) == 1


# -- recovery ----------------------------------------------------------------------------------------------------------


def message(number: int) -> dict[str, Any]:
    return {"number": number, "text": "hello"}


async def grown(service: SessionService, items: range) -> list[bytes]:
    """Append items one by one, and return the file as it is after each."""
    path = place(Path(service.storage._tree.root), "a")  # type: ignore[attr-defined]
    seen = []
    for number in items:
        await service.append_session("a", [message(number)], metadata={"n": number})
        seen.append(path.read_bytes())
    return seen


async def begun(storage: FileStorage) -> SessionService:
    """Save a session with something large behind its list."""
    service = SessionService(storage)
    await service.save_session("a", {"messages": [message(0)], "metadata": {}, "state": {"large": LONG}})
    return service


async def numbers(store: Path) -> list[int]:
    async with await FileStorage.open(store) as storage:
        session = await SessionService(storage).get_session("a")
        assert session is not None
        assert session["state"] == {"large": LONG}
        return [item["number"] for item in session["messages"]]


@pytest.fixture
async def left(tmp_path: Path) -> tuple[Path, list[bytes]]:
    """Return a store as it lies right after some appends, with its log, and the file after each of them."""
    store = tmp_path / "store"
    async with await FileStorage.open(store) as storage:
        seen = await grown(await begun(storage), range(1, 6))
        return cut_off(storage, store, tmp_path / "left"), seen


def log_bytes(store: Path) -> int:
    return sum((store / ".fsstore/log" / name).stat().st_size for name in control(store, "log"))


async def test_only_what_is_new_is_logged_of_a_long_document(tmp_path: Path) -> None:
    async with await FileStorage.open(tmp_path) as storage:
        service = await begun(storage)
        await grown(service, range(1, 2))
        before = log_bytes(tmp_path)
        await grown(service, range(2, 12))
        # the item, the metadata and the envelope, and nothing of what stands behind the list
        assert log_bytes(tmp_path) - before < 10 * 1000


async def test_a_new_segment_begins_with_the_whole_document(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writing, "_IDLE_SECONDS", 3600.0)
    store = tmp_path / "store"
    async with await FileStorage.open(store) as storage:
        service = await begun(storage)
        await grown(service, range(1, 4))
        writer = storage._store.writer
        assert writer is not None
        await asyncio.wrap_future(writer.call(writer.checkpoints._checkpoint.seal))
        await grown(service, range(4, 6))
        left = cut_off(storage, store, tmp_path / "left")
    names = control(left, "log")
    (left / ".fsstore/log" / names[0]).unlink()
    place(left, "a").unlink()
    assert await numbers(left) == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize("there", [*range(5), "torn", "empty", None])
async def test_a_chain_is_put_in_place_over_each_older_version_and_over_none(
    left: tuple[Path, list[bytes]], there: int | str | None
) -> None:
    store, seen = left
    torn = seen[2][:1000]
    if there is None:
        place(store, "a").unlink()
    else:
        place(store, "a").write_bytes({"torn": torn, "empty": b""}[there] if isinstance(there, str) else seen[there])
    assert await numbers(store) == [0, 1, 2, 3, 4, 5]
    assert control(store, "log") == []
    assert quarantined(store) == ([torn] if there == "torn" else [])


async def test_an_edit_by_hand_after_a_chain_stays(left: tuple[Path, list[bytes]]) -> None:
    store, seen = left
    edited = json.loads(seen[-1])
    edited["data"]["messages"].append(message(77))
    place(store, "a").write_bytes(json.dumps(edited).encode())
    assert await numbers(store) == [0, 1, 2, 3, 4, 5, 77]
    assert quarantined(store) == [seen[-1]]


async def test_an_edit_by_hand_between_appends_is_where_the_next_chain_begins(tmp_path: Path) -> None:
    store = tmp_path / "store"
    async with await FileStorage.open(store) as storage:
        service = await begun(storage)
        (*_, last) = await grown(service, range(1, 4))
        # also back to bytes that the segment holds
        for there in (last.replace(b'"number": 2', b'"number": 22'), last):
            draft = store / "draft"
            draft.write_bytes(there)
            draft.replace(place(store, "a"))
            await grown(service, range(4, 6))
        left = cut_off(storage, store, tmp_path / "left")
    place(left, "a").unlink()
    assert await numbers(left) == [0, 1, 2, 3, 4, 5]
    assert quarantined(left) == []


async def test_two_open_stores_that_take_turns_leave_a_log_that_gives_all(tmp_path: Path) -> None:
    store = tmp_path / "store"
    async with await FileStorage.open(store) as one, await FileStorage.open(store) as other:
        services = [await begun(one), SessionService(other)]
        for at in range(6):
            await grown(services[at % 2], range(2 * at + 1, 2 * at + 3))
        left = cut_off(one, store, tmp_path / "left")
    place(left, "a").unlink()
    assert await numbers(left) == list(range(13))


async def test_appends_of_a_group_are_one_record_and_one_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    groups: list[list[LoggedChange]] = []
    append = Log.append

    def noted(log: Log, changes: list[LoggedChange], *rest: Any, **options: Any) -> int:
        groups.append(changes)
        return append(log, changes, *rest, **options)

    monkeypatch.setattr(Log, "append", noted)
    store = tmp_path / "store"
    async with await FileStorage.open(store) as storage:
        service = await begun(storage)
        await service.save_session("b", {"messages": [], "metadata": {}, "state": {"large": LONG}})
        groups.clear()
        made: list[str] = []
        write_new = type(storage._tree).write_new

        def counted(tree: Any, name: str, *parts: Any) -> Any:
            made.append(name)
            return write_new(tree, name, *parts)

        monkeypatch.setattr(type(storage._tree), "write_new", counted)
        with busy_writer(storage):
            appends = [asyncio.ensure_future(service.append_session("ab"[at % 2], [message(at)])) for at in range(40)]
            await asyncio.sleep(0)
        assert sorted(await asyncio.gather(*appends)) == sorted([*range(2, 22), *range(1, 21)])
        assert [[change.id for change in group] for group in groups] == [["a", "b"]]
        assert len([name for name in made if name.startswith(STAGING)]) == 2
        assert [json.loads(place(store, name).read_bytes())["id"] for name in "ab"] == ["a", "b"]
        left = cut_off(storage, store, tmp_path / "left")
    for name in "ab":
        place(left, name).unlink()
    async with await FileStorage.open(left) as storage:
        for name, expected in (("a", [0, *range(0, 40, 2)]), ("b", [*range(1, 40, 2)])):
            session = await SessionService(storage).get_session(name)
            assert session is not None
            assert [item["number"] for item in session["messages"]] == expected


async def test_a_failed_append_leaves_no_splice_that_later_ones_stand_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    faults = Faults(monkeypatch)
    store = tmp_path / "store"
    async with await FileStorage.open(store) as storage:
        service = await begun(storage)
        await grown(service, range(1, 3))
        for call in ("fdatasync", "write"):
            with faults.where(first(call)), pytest.raises(StorageUnavailableError):
                await service.append_session("a", [message(90)])
            await grown(service, range(3, 5))
        session = await service.get_session("a")
        left = cut_off(storage, store, tmp_path / "left")
    assert session is not None
    place(left, "a").unlink()
    assert await numbers(left) == [item["number"] for item in session["messages"]]


async def test_who_may_not_write_is_shown_what_a_chain_gives(
    left: tuple[Path, list[bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    store, seen = left
    monkeypatch.setattr(Tree, "is_writable", lambda _tree, _name: False)
    for there in (seen[0], seen[2][:1000], seen[3]):
        place(store, "a").write_bytes(there)
        assert await numbers(store) == [0, 1, 2, 3, 4, 5]
        assert place(store, "a").read_bytes() == there
    assert control(store, "log") != []


async def test_what_a_chain_gives_waits_whole_where_it_cannot_be_placed(
    left: tuple[Path, list[bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    store, seen = left
    path = place(store, "a")
    path.write_bytes(seen[0])
    faults = Faults(monkeypatch)
    with faults.where(lambda name, where: name == "replace" and Path(where[1]).name == "a.json", errno.EPERM):
        async with await FileStorage.open(store) as storage:
            with pytest.raises(StorageUnavailableError):
                await storage.load("a")
            (waiting,) = control(store, "waiting")
            found = unpack(0, (store / ".fsstore/waiting" / waiting).read_bytes())
            assert found.changes[-1].data == seen[-1]
            assert {digest(data) for data in seen[:-1]} <= {change.before for change in found.changes}
    assert await numbers(store) == [0, 1, 2, 3, 4, 5]


async def test_a_damaged_chain_is_reported_and_set_aside(
    left: tuple[Path, list[bytes]], caplog: pytest.LogCaptureFixture
) -> None:
    store, seen = left
    (name,) = control(store, "log")
    path = store / ".fsstore/log" / name
    segment = unpack(1, path.read_bytes())
    data = path.read_bytes()
    # the second splice is gone, and the later ones are whole
    path.write_bytes(data[: segment.ends[1]] + data[segment.ends[2] :])
    with caplog.at_level(logging.WARNING, "fsstore"):
        assert await numbers(store) == [0, 1, 2, 3, 4, 5]
    assert "without what it is about" in caplog.text
    assert place(store, "a").read_bytes() == seen[-1]
