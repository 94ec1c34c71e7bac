"""Documents as editors on Windows save them: with a byte order mark, in UTF-16, with CRLF."""

import codecs
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from fsstore import FileStorage, SessionService
from fsstore.errors import StorageCorruptedError
from fsstore.filesystem.documents.codec import NotARecordError, decode, decode_marker, encode
from fsstore.filesystem.documents.sealed import part_of
from fsstore.filesystem.documents.splice import spliced
from fsstore.filesystem.documents.text import Text
from fsstore.fixtures.updates import _says_the_same
from fsstore.model.records import JsonObject

MARK = codecs.BOM_UTF8
TIME = "2026-01-21T09:15:00.000000+00:00"


def document(**data: Any) -> bytes:
    record = {"id": "s", "type": "session", "version": 3, "created_at": TIME, "updated_at": TIME}
    metadata = {"session_id": "s", "status": "by hand", "created_at": TIME, "updated_at": TIME}
    return encode(
        {**record, "data": {"metadata": metadata, "messages": [{"text": "größe"}], **data}}, max_bytes=1 << 20
    )


WRITTEN_BY_HAND: dict[str, Callable[[bytes], bytes]] = {
    "a mark": lambda data: MARK + data,
    "a mark and CRLF": lambda data: MARK + data.replace(b"\n", b"\r\n"),
    "CRLF": lambda data: data.replace(b"\n", b"\r\n"),
    "a mark and one line": lambda data: MARK + json.dumps(json.loads(data)).encode(),
    "a mark and blanks": lambda data: MARK + b" \r\n\t" + data + b"\r\n",
    "a mark and keys in another order": lambda data: (
        MARK + json.dumps(dict(reversed(json.loads(data).items()))).encode()
    ),
    "a mark and no newline at the end": lambda data: MARK + data.rstrip(),
    "a mark and escapes": lambda data: MARK + json.dumps(json.loads(data), ensure_ascii=True, indent=4).encode(),
    "a mark and a long number": lambda data: MARK + data.replace(b"[\n", b"[\n18446744073709551615,", 1),
    "a mark and another spelling of a time": lambda data: MARK + data.replace(b".000000+00:00", b"Z"),
}

ANOTHER_ENCODING = {
    "Notepad's Unicode": ("\ufeff", "utf-16-le"),
    "Notepad's Unicode big endian": ("\ufeff", "utf-16-be"),
    "UTF-16 LE without a mark": ("", "utf-16-le"),
    "UTF-16 BE without a mark": ("", "utf-16-be"),
    "UTF-32 LE": ("\ufeff", "utf-32-le"),
    "UTF-32 BE": ("\ufeff", "utf-32-be"),
    "UTF-32 LE without a mark": ("", "utf-32-le"),
    "UTF-32 BE without a mark": ("", "utf-32-be"),
}


def in_encoding(name: str) -> bytes:
    mark, encoding = ANOTHER_ENCODING[name]
    return (mark + document().decode()).encode(encoding)


@pytest.fixture
async def sessions(tmp_path: Path) -> AsyncIterator[SessionService]:
    async with await FileStorage.open(tmp_path / "store", fsync=False) as storage:
        yield SessionService(storage)


async def write(sessions: SessionService, data: bytes) -> Path:
    """Put bytes in the place of the session `s`, as an editor does."""
    await sessions.save_session("s", {"metadata": {"status": "saved"}})
    (path,) = Path((await sessions.health_check())["path"]).glob("[0-9a-f][0-9a-f]/s.json")
    path.write_bytes(data)
    await sessions.storage.refresh()
    return path


@pytest.mark.parametrize("name", WRITTEN_BY_HAND)
def test_a_document_written_by_hand_is_read(name: str) -> None:
    record = decode(WRITTEN_BY_HAND[name](document()), "s")

    assert record["data"]["metadata"]["status"] == "by hand"
    assert record["created_at"] == TIME


@pytest.mark.parametrize("name", ANOTHER_ENCODING)
def test_another_encoding_is_named_and_so_is_the_remedy(name: str) -> None:
    with pytest.raises(NotARecordError, match="UTF-16 or UTF-32: save it as UTF-8"):
        decode(in_encoding(name), "s")


@pytest.mark.parametrize(
    "data", [MARK * 2 + document(), b" " + MARK + document(), document() + MARK, MARK, b"\0" * 512]
)
def test_a_mark_is_passed_over_at_the_beginning_only(data: bytes) -> None:
    with pytest.raises(NotARecordError) as caught:
        decode(data, "s")
    assert "UTF-16" not in str(caught.value)


def test_a_conflict_that_git_has_left_behind_a_mark_is_known() -> None:
    both = b'<<<<<<< HEAD\n{"id": "a"}\n=======\n{"id": "b"}\n>>>>>>> other\n'
    with pytest.raises(NotARecordError, match="take the marker lines out"):
        decode(MARK + both)


def test_a_marker_of_a_store_may_have_a_mark() -> None:
    assert decode_marker(MARK + b'{"format": 1, "shard_depth": 1}\r\n') == {"format": 1, "shard_depth": 1}
    with pytest.raises(NotARecordError, match="save it as UTF-8"):
        decode_marker('\ufeff{"format": 1}'.encode("utf-16-le"))


def test_nothing_is_spliced_into_bytes_with_a_mark() -> None:
    before = decode(document())
    after = {**before, "version": 4}
    text = Text.of(document())
    edits = spliced(text, part_of(before), part_of(after))
    assert bytes(text.edited(edits or [])) == encode(after, max_bytes=1 << 20)
    assert spliced(Text.of(MARK + document()), part_of(before), part_of(after)) is None


def test_fixtures_that_differ_in_a_mark_alone_say_the_same() -> None:
    assert _says_the_same(document(), MARK + document())
    assert not _says_the_same(document(), MARK + document(state={"step": 2}))


@pytest.mark.parametrize("name", WRITTEN_BY_HAND)
async def test_a_store_reads_lists_and_verifies_it(sessions: SessionService, tmp_path: Path, name: str) -> None:
    path = await write(sessions, WRITTEN_BY_HAND[name](document()))
    for _ in range(2):  # what is read twice may come from memory
        assert (await sessions.get_session("s") or {})["metadata"]["status"] == "by hand"
        assert [found["session_id"] for found in await sessions.list_metadata({"status": "by hand"})] == ["s"]
        assert len(await sessions.list_sessions({"messages.text": "größe"})) == 1
        assert await sessions.count_sessions() == 1
    report = await sessions.storage.verify()  # type: ignore[attr-defined]
    assert report.findings == []
    assert path.read_bytes() == WRITTEN_BY_HAND[name](document())
    await sessions.close()
    async with await FileStorage.open(tmp_path / "store", fsync=False) as storage:
        assert await storage.count({"data.metadata.status": "by hand"}) == 1


async def edit(sessions: SessionService) -> None:
    await sessions.edit_session("s", lambda session: session["metadata"].update(status="changed"))


async def save_twice(sessions: SessionService) -> None:
    for _ in range(2):
        await sessions.save_session("s", {"metadata": {"status": "changed"}, "messages": [{"text": "größe"}]})


async def update_after_reading(sessions: SessionService) -> None:
    await sessions.get_session("s")
    await sessions.update_session("s", {"metadata": {"status": "changed"}})
    await sessions.update_session("s", {"metadata": {"status": "changed"}})


async def update_in_a_batch(sessions: SessionService) -> None:
    async with sessions.transaction() as transaction:
        await transaction.save_session("other", {})
        await transaction.update_session("s", {"metadata": {"status": "changed"}})


CHANGES: dict[str, Callable[[SessionService], Awaitable[None]]] = {
    "update": lambda sessions: sessions.update_session("s", {"metadata": {"status": "changed"}}),
    "update of one version": lambda sessions: sessions.update_session(
        "s", {"metadata": {"status": "changed"}}, expected_version=3
    ),
    "update after reading": update_after_reading,
    "edit": edit,
    "saves": save_twice,
    "batch": update_in_a_batch,
}


@pytest.mark.parametrize("change", CHANGES)
async def test_the_next_change_writes_it_without_the_mark(sessions: SessionService, change: str) -> None:
    path = await write(sessions, MARK + document())

    await CHANGES[change](sessions)

    data, record = path.read_bytes(), await sessions.get_record("s")
    assert record is not None
    assert record["data"]["metadata"]["status"] == "changed"
    assert record["data"]["messages"] == [{"text": "größe"}]
    assert data == encode(record, max_bytes=1 << 20)


async def test_a_mark_added_to_what_was_written_here_is_no_other_record(sessions: SessionService) -> None:
    await sessions.save_session("s", {"metadata": {"status": "saved"}, "messages": ["a", "b"]})
    (path,) = Path((await sessions.health_check())["path"]).glob("[0-9a-f][0-9a-f]/s.json")
    await sessions.update_session("s", {"metadata": {"status": "cached"}})
    before: JsonObject | None = await sessions.get_record("s")
    path.write_bytes(MARK + path.read_bytes())

    assert await sessions.get_record("s") == before
    await sessions.update_session("s", {"metadata": {"status": "again"}})

    assert path.read_bytes().startswith(b"{\n")
    assert (await sessions.get_session("s") or {})["messages"] == ["a", "b"]


async def test_a_document_in_utf_16_is_corrupt_for_a_clear_reason_and_stays(sessions: SessionService) -> None:
    path = await write(sessions, in_encoding("Notepad's Unicode"))
    with pytest.raises(StorageCorruptedError, match="save it as UTF-8"):
        await sessions.get_session("s")
    assert path.read_bytes() == in_encoding("Notepad's Unicode")
    report = await sessions.storage.verify()  # type: ignore[attr-defined]
    assert "save it as UTF-8" in str(report)


async def test_a_store_whose_marker_was_saved_by_notepad_opens(tmp_path: Path) -> None:
    for number in range(2):
        async with await FileStorage.open(tmp_path / "store", fsync=False, shard_depth=2) as storage:
            await storage.save({"id": f"{number}"})
        marker = tmp_path / "store/fsstore.json"
        marker.write_bytes(MARK + marker.read_bytes().removeprefix(MARK).replace(b"\n", b"\r\n"))
    async with await FileStorage.open(tmp_path / "store") as storage:
        assert await storage.count() == 2
        assert (await storage.health_check())["shard_depth"] == 2
