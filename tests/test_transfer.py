import asyncio
import io
import json
import os
import stat
import sys
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from fsstore.errors import StorageConflictError, StorageUnavailableError, StorageValidationError
from fsstore.filesystem.storage import FileStorage
from fsstore.interfaces import IUnifiedStorage
from fsstore.memory import MemoryStorage
from fsstore.model.records import Outcomes
from fsstore.redaction.rules import Redaction
from fsstore.sessions.service import SessionService
from fsstore.transfer import TransferReport, export_sessions, import_sessions, importing, session_line, sources

EARLY, LATE = "2026-01-02T03:04:05.000000+00:00", "2026-02-03T04:05:06.000000+00:00"


class CountingStorage(MemoryStorage):
    """Remembers how large each commit was."""

    def __init__(self) -> None:
        super().__init__()
        self.commits: list[int] = []

    async def commit(self, changes: Any) -> Outcomes:
        self.commits.append(len(changes))
        return await super().commit(changes)


@pytest.fixture(params=["memory", "directory"])
async def storage(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[IUnifiedStorage]:
    async with MemoryStorage() if request.param == "memory" else await FileStorage.open(tmp_path / "store") as opened:
        yield opened


@pytest.fixture
def sessions(storage: IUnifiedStorage) -> SessionService:
    return SessionService(storage)


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """Write a JSON lines file; text is encoded, anything else is dumped first."""

    def write(*lines: Any, end: str = "\n") -> Path:
        source = tmp_path / "sessions.jsonl"
        texts = [line if isinstance(line, bytes | str) else json.dumps(line) for line in lines]
        source.write_bytes(
            b"".join(text if isinstance(text, bytes) else text.encode() + end.encode() for text in texts)
        )
        return source

    return write


def session(session_id: str, **metadata: Any) -> dict[str, Any]:
    times = {"created_at": EARLY, "updated_at": LATE}
    return {"metadata": {"session_id": session_id, **times, **metadata}, "messages": [{"role": "user", "text": "hi"}]}


async def ids(sessions: SessionService) -> list[str]:
    return sorted(found["session_id"] for found in await sessions.list_metadata())


# -- there and back ---------------------------------------------------------------------------------------------------


async def test_what_is_exported_is_one_sorted_compact_line_a_session(sessions: SessionService, tmp_path: Path) -> None:
    await sessions.batch_save_sessions({"b": session("b", mood="😀é"), "a": session("a")}, keep_times=True)
    report = await export_sessions(sessions, tmp_path / "out.jsonl")
    text = (tmp_path / "out.jsonl").read_bytes()
    assert (
        text
        == "".join(
            json.dumps(found, sort_keys=True, ensure_ascii=False, separators=(",", ":")) + "\n"
            for found in (session("a"), session("b", mood="😀é"))
        ).encode()
    )
    assert report == TransferReport(sessions=2, bytes=len(text))


async def test_an_import_of_an_export_gives_the_same_sessions(sessions: SessionService, tmp_path: Path) -> None:
    kept = session("odd/id ☃", numbers=[2**64 - 1, -(2**63), 0.1, 1e-300, -0.0], nothing=None, text='\u2028\x7f\\"')
    await sessions.batch_save_sessions({"odd/id ☃": kept, "b": session("b")}, keep_times=True)
    await export_sessions(sessions, tmp_path / "out.jsonl")
    copy = SessionService(MemoryStorage())
    assert (await import_sessions(copy, tmp_path / "out.jsonl")).sessions == 2
    assert await copy.list_sessions() == await sessions.list_sessions()
    assert session_line(await copy.get_session("odd/id ☃") or {}) == session_line(kept)


async def test_what_was_written_by_hand_and_can_not_be_saved_is_exported_as_it_is(tmp_path: Path) -> None:
    # a document from elsewhere is read exactly, also where a save would refuse it
    text = '{"metadata":{"session_id":"a"},"n":[123456789012345678901234567890,0.5],"text":"\u2028é"}\n'
    assert session_line(json.loads(text)) == text.encode()
    not_even_an_object: Any = ["x"]
    assert session_line(not_even_an_object) == b'["x"]\n'

    async with await FileStorage.open(tmp_path / "store") as opened:
        sessions = SessionService(opened)
        await sessions.save_session("a", session("a", status="7" * 9))
        (document,) = (tmp_path / "store").glob("??/a.json")
        document.write_text(document.read_text().replace(f'"{"7" * 9}"', "7" * 30))
        assert (await export_sessions(sessions, tmp_path / "out.jsonl")).sessions == 1
    assert json.loads((tmp_path / "out.jsonl").read_text())["metadata"]["status"] == int("7" * 30)


def test_what_no_writer_follows_down_is_refused_and_not_a_crash() -> None:
    deep: list[Any] = []
    # newer versions of Python follow down further than older ones
    for _ in range(100_000):
        deep = [deep]
    several: list[Any] = [{"session_id": "a"}, {"session_id": 5}, {}, []]
    for metadata in several:
        name = "document 'a': " if metadata == {"session_id": "a"} else ""
        with pytest.raises(StorageValidationError, match=f"^{name}.*it cannot be written as JSON"):
            session_line({"metadata": metadata, "deep": deep})


async def test_an_export_holds_only_what_the_filter_wants(sessions: SessionService, tmp_path: Path) -> None:
    await sessions.batch_save_sessions({"a": session("a", status="failed"), "b": session("b", status="done")})
    report = await export_sessions(sessions, tmp_path / "out.jsonl", {"status": "failed"})
    assert report.sessions == 1
    assert json.loads((tmp_path / "out.jsonl").read_text())["metadata"]["session_id"] == "a"


async def test_what_is_redacted_does_not_leave_the_store_and_stays_in_it(
    sessions: SessionService, tmp_path: Path
) -> None:
    kept = {
        "settings": {"api_key": "k-1", "mode": "x"},
        "messages": [{"text": "call 555-1234"}, {"text": "password=hunter2"}],
    }
    await sessions.batch_save_sessions({name: {**session(name), **kept} for name in ("a", "b")}, keep_times=True)
    before = await sessions.list_sessions()
    rules = Redaction.of(["settings.api_key", "absent.key"], ["555-[0-9]{4}", "absent"], secrets=True)
    report = await export_sessions(sessions, tmp_path / "out.jsonl", redact=rules)
    text = (tmp_path / "out.jsonl").read_text()
    assert not any(hidden in text for hidden in ("k-1", "555-1234", "hunter2"))
    assert [json.loads(line)["messages"] for line in text.splitlines()] == [
        [{"text": "call [redacted]"}, {"text": "password=[redacted]"}]
    ] * 2
    assert (report.sessions, report.redacted, report.unredacted) == (2, 6, 0)
    assert report.unmatched == ("absent.key", "/absent/")
    assert report.bytes == len(text.encode())
    assert await sessions.list_sessions() == before
    copy = SessionService(MemoryStorage())
    assert (await import_sessions(copy, tmp_path / "out.jsonl")).sessions == 2


async def test_what_a_redaction_could_not_hide_is_counted(sessions: SessionService, tmp_path: Path) -> None:
    await sessions.batch_save_sessions({"alice": session("alice", by="alice"), "bob": session("bob", by="alice")})
    report = await export_sessions(sessions, tmp_path / "out.jsonl", redact=Redaction.of(patterns=["alice"]))
    assert (report.redacted, report.unredacted, report.unmatched) == (2, 1, ())
    assert (await export_sessions(sessions, tmp_path / "out.jsonl")).redacted == 0


async def test_progress_tells_the_bytes_and_sessions_done_so_far(
    sessions: SessionService, write: Callable[..., Path], tmp_path: Path
) -> None:
    source = write(*[session(f"s{number:03}") for number in range(250)])
    seen: list[tuple[int, int]] = []
    report = await import_sessions(sessions, source, progress=lambda size, count: seen.append((size, count)))
    assert [count for _, count in seen] == [100, 200, 250]
    assert seen[-1] == (source.stat().st_size, 250) == (report.bytes, report.sessions)
    seen.clear()
    await export_sessions(sessions, tmp_path / "out.jsonl", progress=lambda size, count: seen.append((size, count)))
    assert seen[-1] == ((tmp_path / "out.jsonl").stat().st_size, 250)


# -- in ---------------------------------------------------------------------------------------------------------------


async def test_an_import_keeps_the_times_it_is_given(sessions: SessionService, write: Callable[..., Path]) -> None:
    await import_sessions(sessions, write(session("a")))
    record = await sessions.get_record("a")
    assert record is not None
    assert (record["created_at"], record["updated_at"]) == (EARLY, LATE)
    assert record["data"] == session("a")


async def test_each_batch_is_one_commit(write: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    storage = CountingStorage()
    source = write(*[session(f"s{number}") for number in range(250)])
    await import_sessions(SessionService(storage), source)
    assert storage.commits == [100, 100, 50]
    monkeypatch.setattr(importing, "_BATCH_BYTES", source.stat().st_size // 5)
    storage.commits.clear()
    await import_sessions(SessionService(storage), source)
    assert len(storage.commits) == 5


@pytest.mark.parametrize("chunk_bytes", [1, 7, 1 << 20])
async def test_line_ends_blank_lines_and_a_byte_order_mark_make_no_difference(
    sessions: SessionService, write: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, chunk_bytes: int
) -> None:
    monkeypatch.setattr(sources, "_CHUNK_BYTES", chunk_bytes)
    lines = (
        b"\xef\xbb\xbf",
        b"\r\n",
        b"  \n",
        session_line(session("a")),
        b"\n",
        b'{"metadata":{"session_id":"b"}}\r\n\r\n',
    )
    report = await import_sessions(sessions, write(*lines, b'  {"metadata":{"session_id":"c"}} '))
    assert report.sessions == 3
    assert await ids(sessions) == ["a", "b", "c"]


async def test_an_empty_file_is_an_import_of_nothing(sessions: SessionService, write: Callable[..., Path]) -> None:
    assert await import_sessions(sessions, write()) == TransferReport()


async def test_of_lines_with_the_same_id_the_last_one_counts(
    sessions: SessionService, write: Callable[..., Path]
) -> None:
    filler = [session(f"s{number}") for number in range(150)]
    source = write(session("a", status="1"), session("a", status="2"), *filler, session("a", status="3"))
    assert (await import_sessions(sessions, source)).sessions == 153
    found = await sessions.get_session("a")
    assert found is not None
    assert found["metadata"]["status"] == "3"


async def test_an_import_can_be_repeated(sessions: SessionService, write: Callable[..., Path]) -> None:
    source = write(*[session(f"s{number}") for number in range(5)])
    await import_sessions(sessions, source)
    first = await sessions.list_sessions()
    await import_sessions(sessions, source)
    assert await sessions.list_sessions() == first


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"not json", "it is not JSON: expected"),
        (b'{"metadata": {"session_id": "x"}', "it is not JSON: EOF while parsing an object at column 32"),
        (b'{"metadata": {"session_id": "x"}} {}', "it is not JSON: trailing characters"),
        (b'{"metadata": {"session_id": "\xff"}}', "it is not JSON: invalid unicode"),
        (b'{"metadata": {"session_id": "\\ud800"}}', "$.metadata.session_id: the string holds the lone"),
        (b'{"metadata": {"session_id": "x"}, "n": NaN}', "it is not JSON"),
        (b'{"metadata": {"session_id": "x"}, "n": Infinity}', "it is not JSON"),
        (b'{"metadata": {"session_id": "x"}, "n": ' + b"9" * 5000 + b"}", "it is not JSON: number out of range"),
        (b"[" * 100_000, "it is not JSON: recursion limit"),
        ('{"metadata": {"session_id": "x"}}'.encode("utf-16"), "it is not UTF-8 but UTF-16"),
        (b"\x00\x00\x00", "it is not JSON"),
        (b"[1, 2]", "it is a JSON list, a session is an object"),
        (b"null", "it is a JSON NoneType"),
        (b"{}", "it has no id"),
        (b'{"metadata": []}', "it has no id"),
        (b'{"metadata": {"session_id": 7}}', "it has no id"),
        (b'{"metadata": {"session_id": ""}}', "it has no id"),
        (b'{"metadata": {"session_id": "x"}, "n": 1e400}', "$.n: inf"),
        (b'{"metadata": {"session_id": "x"}, "n": 123456789012345678901234567890}', "64 bits"),
        (b'{"metadata": {"session_id": "a\\nb"}}', "must not hold the character U+000A"),
        (b'{"metadata": {"session_id": "x", "updated_at": "yesterday"}}', "must be an ISO 8601 time"),
        (b'{"metadata": {"session_id": "x", "updated_at": 5}}', "must be an ISO 8601 time"),
        (
            b'{"metadata": {"session_id": "x"}, "deep": ' + b"[" * 199 + b"1" + b"]" * 199 + b"}",
            "nested deeper than 200",
        ),
    ],
)
async def test_a_bad_line_stops_the_import_and_is_named(
    sessions: SessionService, write: Callable[..., Path], line: bytes, reason: str
) -> None:
    good = [session(f"s{number:03}") for number in range(150)]
    source = write(*good, line + b"\n", session("after"))
    with pytest.raises(StorageValidationError) as caught:
        await import_sessions(sessions, source)
    text = str(caught.value)
    assert f"{source}, line 151: " in text
    assert reason in text
    assert "100 sessions were imported before that and stay" in text
    assert await ids(sessions) == [f"s{number:03}" for number in range(100)]


@pytest.mark.parametrize(
    "text", [b'{\n "metadata": {"session_id": "a"}\n}\n', b'[{"metadata": {"session_id": "a"}}]\n']
)
async def test_sessions_that_are_not_one_a_line_are_shown_the_way_to_be(
    sessions: SessionService, tmp_path: Path, text: bytes
) -> None:
    (tmp_path / "in.json").write_bytes(text)
    with pytest.raises(StorageValidationError, match=r"line 1: .*; write each session as one line, as `jq -c .` does"):
        await import_sessions(sessions, tmp_path / "in.json")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "a.json").write_bytes(b'{"metadata": ')
    with pytest.raises(StorageValidationError, match=r"a\.json: it is not JSON: .*; correct it there$"):
        await import_sessions(sessions, tmp_path / "folder")


async def test_a_line_longer_than_the_cap_is_refused_before_it_is_held(
    sessions: SessionService, write: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sources, "MAX_LINE_BYTES", 1000)
    monkeypatch.setattr(sources, "_CHUNK_BYTES", 100)
    source = write(session("a"), b'{"metadata": {"session_id": "b"}, "x": "' + b"y" * 2000)
    with pytest.raises(StorageValidationError, match=r"line 2: it is longer than 1000 bytes"):
        await import_sessions(sessions, source)


async def test_an_error_of_the_store_tells_how_much_was_imported(write: Callable[..., Path]) -> None:
    storage = MemoryStorage()
    await storage.save({"id": "s120", "type": "document", "data": {}})
    with pytest.raises(StorageConflictError, match="100 sessions were imported before that and stay"):
        await import_sessions(SessionService(storage), write(*[session(f"s{number}") for number in range(150)]))


async def test_a_source_that_is_not_there_is_named(sessions: SessionService, tmp_path: Path) -> None:
    with pytest.raises(StorageValidationError, match=r"absent\.jsonl: there is no such file") as caught:
        await import_sessions(sessions, tmp_path / "absent.jsonl")
    assert "imported before that" not in str(caught.value)


@pytest.mark.parametrize("name", ["x" * 300, "\0", "", "s3://bucket/x", "~nobody-of-that-name"])
async def test_a_source_that_can_not_be_named_is_an_error_of_ours(sessions: SessionService, name: str) -> None:
    for move in (import_sessions, export_sessions):
        with pytest.raises((StorageValidationError, StorageUnavailableError)):
            await move(sessions, name)


async def test_importing_from_standard_input_reads_until_its_end(
    sessions: SessionService, monkeypatch: pytest.MonkeyPatch
) -> None:
    reading, writing = os.pipe()
    with os.fdopen(reading) as stdin, os.fdopen(writing, "wb") as out:
        monkeypatch.setattr("sys.stdin", stdin)
        task = asyncio.create_task(import_sessions(sessions, "-"))
        for number in range(3):
            out.write(session_line(session(f"s{number}")))
            out.flush()
            await asyncio.sleep(0)
        out.close()
        assert (await task).sessions == 3


async def test_waiting_for_standard_input_can_be_cancelled(
    sessions: SessionService, monkeypatch: pytest.MonkeyPatch
) -> None:
    reading, writing = os.pipe()
    with os.fdopen(reading) as stdin, os.fdopen(writing, "wb"):
        monkeypatch.setattr("sys.stdin", stdin)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(import_sessions(sessions, "-"), timeout=0.01)


async def test_a_file_may_stand_for_standard_input(
    sessions: SessionService, monkeypatch: pytest.MonkeyPatch, write: Callable[..., Path]
) -> None:
    with write(session("a")).open() as stdin:
        monkeypatch.setattr("sys.stdin", stdin)
        assert (await import_sessions(sessions, "-")).sessions == 1
    with Path(os.devnull).open() as stdin:  # noqa: ASYNC230 - nothing else runs
        monkeypatch.setattr("sys.stdin", stdin)
        assert (await import_sessions(sessions, "-")).sessions == 0


async def test_closed_standard_input_is_told(sessions: SessionService, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", None)
    with pytest.raises(StorageUnavailableError, match="standard input: it is closed"):
        await import_sessions(sessions, "-")


# -- the old flat layout ----------------------------------------------------------------------------------------------


@pytest.fixture
def flat(tmp_path: Path) -> Path:
    folder = tmp_path / "flat"
    (folder / "sub").mkdir(parents=True)
    (folder / "one.json").write_text(json.dumps(session("one"), indent=4))
    (folder / "two.json").write_text(json.dumps({"metadata": {"status": "old"}, "messages": []}))
    (folder / "file-name.json").write_text(json.dumps(session("inner name")))
    (folder / "notes.txt").write_text("not a session")
    (folder / "sub" / "three.json").write_text("{}")
    (folder / "four.json").mkdir()
    return folder


async def test_a_flat_folder_is_imported_and_left_as_it_is(sessions: SessionService, flat: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in flat.rglob("*")}
    report = await import_sessions(sessions, flat)
    assert report.sessions == 3
    assert await ids(sessions) == ["inner name", "one", "two"]
    assert {path: path.stat().st_mtime_ns for path in flat.rglob("*")} == before


@pytest.mark.parametrize("text", ["", "   ", "{", "[]", '"x"'])
async def test_a_damaged_file_in_a_flat_folder_is_named(sessions: SessionService, flat: Path, text: str) -> None:
    (flat / "torn.json").write_text(text)
    with pytest.raises(StorageValidationError, match=r"torn\.json: it is") as caught:
        await import_sessions(sessions, flat)
    assert "imported before that" not in str(caught.value)


async def test_a_file_in_a_flat_folder_has_the_same_cap_as_a_line(
    sessions: SessionService, flat: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sources, "MAX_LINE_BYTES", 50)
    with pytest.raises(StorageValidationError, match=r"file-name\.json: it is longer than 50 bytes"):
        await import_sessions(sessions, flat)


async def test_a_folder_without_json_is_no_source_and_an_empty_one_is_an_import_of_nothing(
    sessions: SessionService, tmp_path: Path
) -> None:
    (tmp_path / "old").mkdir()
    assert (await import_sessions(sessions, tmp_path / "old")).sessions == 0
    (tmp_path / "old" / "inner").mkdir()

    with pytest.raises(StorageValidationError, match=r"old holds no \.json file; name the folder in which"):
        await import_sessions(sessions, tmp_path / "old")


async def test_a_store_is_not_taken_for_a_flat_folder(sessions: SessionService, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "fsstore.json").write_text('{"format": 1, "shard_depth": 1}')
    with pytest.raises(StorageValidationError, match="is a store"):
        await import_sessions(sessions, tmp_path / "other")


# -- what is invalid --------------------------------------------------------------------------------------------------

HUGE = b"1" * 5000
INVALID: dict[str, tuple[bytes, str]] = {
    "no JSON": (b"not json", "it is not JSON"),
    "half a line": (b'{"metadata": {"session_id": "x"', "it is not JSON: EOF"),
    "latin-1": (b'{"metadata": {"session_id": "\xe9"}}', "it is not JSON: invalid unicode"),
    "UTF-16": ('{"metadata": {"session_id": "x"}}'.encode("utf-16-be"), "save it as UTF-8"),
    "a list": (b"[1, 2]", "it is a JSON list"),
    "no id": (b'{"metadata": {}}', "it has no id"),
    "an id that is a number": (b'{"metadata": {"session_id": 7}}', "it has no id"),
    "an id that is too long": (b'{"metadata": {"session_id": "' + b"x" * 2000 + b'"}}', "1 to 1024 characters"),
    "a control in the id": (b'{"metadata": {"session_id": "a\\nb"}}', "U+000A"),
    "NaN": (b'{"metadata": {"session_id": "x"}, "n": NaN}', "it is not JSON"),
    "infinity": (b'{"metadata": {"session_id": "x"}, "n": 1e400}', "$.n: inf"),
    "a big integer": (b'{"metadata": {"session_id": "x"}, "n": 18446744073709551616}', "64 bits"),
    "a huge integer": (b'{"metadata": {"session_id": "x"}, "n": ' + HUGE + b"}", "number out of range"),
    "too deep": (
        b'{"metadata": {"session_id": "x"}, "deep": ' + b"[" * 199 + b"1" + b"]" * 199 + b"}",
        "deeper than 200",
    ),
    "deeper than any reader": (b"[" * 100_000, "it is not JSON: recursion limit"),
    "a time that is none": (b'{"metadata": {"session_id": "x", "updated_at": "yesterday"}}', "ISO 8601"),
    "too large for a line": (b'{"metadata": {"session_id": "x"}, "t": "' + b"y" * 150_000 + b'"}', "it is longer than"),
    "too large for a document": (b'{"metadata": {"session_id": "x"}, "t": "' + b"y" * 40_000 + b'"}', "allowed"),
    "a lone surrogate": (
        b'{"metadata": {"session_id": "x"}, "messages": [{"text": "ab\\ud83dc"}]}',
        "it holds what is no text: $.messages[0].text: the string holds the lone surrogate U+D83D at offset 2",
    ),
    "a lone surrogate in a key": (
        b'{"metadata": {"session_id": "x"}, "state": {"k\\udc00": 1}}',
        "$.state: the key 'k\\udc00' holds the lone surrogate U+DC00 at offset 1",
    ),
    "a lone surrogate as bytes": (b'{"metadata": {"session_id": "x"}, "t": "\xed\xa0\x80"}', "$.t: the string holds"),
}
"""Lines that no store can hold, and what is said of them."""


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "MAX_LINE_BYTES", 120_000)
    monkeypatch.setattr(sources, "_CHUNK_BYTES", 1000)


@pytest.fixture
async def limited(tmp_path: Path) -> AsyncIterator[SessionService]:
    async with await FileStorage.open(tmp_path / "limited", fsync=False, max_bytes=30_000) as storage:
        yield SessionService(storage)


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("place", [0, 1, 99, 150])
@pytest.mark.parametrize("name", INVALID)
async def test_what_is_invalid_is_left_out_alone_and_named(
    limited: SessionService, write: Callable[..., Path], name: str, place: int
) -> None:
    line, reason = INVALID[name]
    good: list[Any] = [session(f"s{number:03}") for number in range(150)]
    told: list[str] = []

    source = write(*good[:place], line + b"\n", *good[place:])
    report = await import_sessions(limited, source, skip_invalid=True, on_skip=told.append)

    assert await ids(limited) == [f"s{number:03}" for number in range(150)]
    assert (report.sessions, report.skipped, report.skips) == (150, 1, tuple(told))
    assert told[0].startswith(f"{source}, line {place + 1}: ")
    assert reason in told[0]
    with pytest.raises(StorageValidationError) as caught:
        await import_sessions(limited, source)
    assert told[0] in str(caught.value)


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("name", INVALID)
async def test_an_invalid_file_of_a_flat_folder_is_left_out_alone(
    limited: SessionService, tmp_path: Path, name: str
) -> None:
    folder = tmp_path / "flat"
    folder.mkdir()
    for number in range(5):
        (folder / f"s{number}.json").write_text(json.dumps(session(f"s{number}")))
    text, reason = INVALID[name]
    (folder / "s2x.json").write_bytes(text)

    report = await import_sessions(limited, folder, skip_invalid=True)

    # a file has its name for an id
    is_valid = name == "no id"
    assert await ids(limited) == ["s0", "s1", "s2", *(["s2x"] if is_valid else []), "s3", "s4"]
    assert report.skipped == (not is_valid)
    assert all(told.startswith(f"{folder / 's2x.json'}: ") and reason in told for told in report.skips)


@pytest.mark.usefixtures("small")
async def test_a_source_of_nothing_but_what_is_invalid_is_an_import_of_nothing(
    limited: SessionService, write: Callable[..., Path]
) -> None:
    source = write(*(line + b"\n" for line, _ in INVALID.values()))

    report = await import_sessions(limited, source, skip_invalid=True)

    assert (report.sessions, report.skipped, report.bytes) == (0, len(INVALID), 0)
    assert {told.partition(": ")[0] for told in report.skips} == {
        f"{source}, line {number + 1}" for number in range(len(INVALID))
    }


async def test_of_very_many_only_the_first_are_kept_and_all_are_counted(
    sessions: SessionService, write: Callable[..., Path]
) -> None:
    told: list[str] = []
    report = await import_sessions(sessions, write(*["x"] * 250), skip_invalid=True, on_skip=told.append)

    assert (report.skipped, len(report.skips), len(told)) == (250, 100, 250)


@pytest.mark.parametrize("bad_first", [False, True])
async def test_an_invalid_line_does_not_take_a_valid_one_of_the_same_id_with_it(
    sessions: SessionService, write: Callable[..., Path], *, bad_first: bool
) -> None:
    lines = [{**session("a"), "text": "good"}, {**session("a"), "n": 2**70}]
    report = await import_sessions(sessions, write(*(lines[::-1] if bad_first else lines)), skip_invalid=True)

    assert (await sessions.get_session("a") or {})["text"] == "good"
    assert report.skipped == (not bad_first)  # what a later line replaces need not be valid


async def test_what_is_wrong_with_the_store_is_not_left_out(write: Callable[..., Path]) -> None:
    storage = MemoryStorage()
    await storage.save({"id": "s1", "type": "document", "data": {}})
    with pytest.raises(StorageConflictError):
        await import_sessions(SessionService(storage), write(session("s0"), session("s1")), skip_invalid=True)


REPLACED: dict[str, tuple[bytes, Any, int]] = {
    "high alone": (rb'"a\ud800b"', "a\ufffdb", 1),
    "low alone": (rb'"\udc00"', "\ufffd", 1),
    "the wrong way round": (rb'"\udc00\ud800"', "\ufffd\ufffd", 2),
    "upper case": (rb'"\uD800"', "\ufffd", 1),
    "a pair is text": (rb'"\ud83d\ude00"', "\U0001f600", 0),
    "a pair after one alone": (rb'"\ud83d\ud83d\ude00"', "\ufffd\U0001f600", 1),
    "an escaped backslash": (rb'"\\ud800"', "\\ud800", 0),
    "as bytes": (b'"\xed\xa0\x80"', "\ufffd", 1),
    "a pair as bytes": (b'"\xed\xa0\xbd\xed\xb8\x80"', "\U0001f600", 0),
    "a key": (rb'{"a\ud800": 1}', {"a\ufffd": 1}, 1),
    "keys and values": (rb'{"\ud800": ["\udfff", {"x": "\ud800"}]}', {"\ufffd": ["\ufffd", {"x": "\ufffd"}]}, 3),
    "beside U+FFFD": (rb'["\ufffd", "\ud800"]', ["\ufffd", "\ufffd"], 1),
    "beside numbers": (
        rb'["\ud800", 18446744073709551615, 0.1, -0.0, null]',
        ["\ufffd", 2**64 - 1, 0.1, -0.0, None],
        1,
    ),
    "beside NUL and others": (rb'"\u0000\ud800\uffff"', "\x00\ufffd\uffff", 1),
    "the same key twice": (rb'{"\ud800": 1, "\ud800": 2}', {"\ufffd": 2}, 1),
}


@pytest.mark.parametrize("name", REPLACED)
async def test_lone_surrogates_are_replaced_where_that_is_wanted(
    sessions: SessionService, tmp_path: Path, name: str
) -> None:
    text, value, count = REPLACED[name]
    (tmp_path / "flat").mkdir()
    for source in (tmp_path / "lines.jsonl", tmp_path / "flat/x.json"):
        source.write_bytes(b'\xef\xbb\xbf{"metadata": {"session_id": "x"}, "value": ' + text + b"}")
        report = await import_sessions(
            sessions, source if source.suffix == ".jsonl" else source.parent, replace_surrogates=True
        )
        assert (report.sessions, report.replaced, report.skipped) == (1, count, 0)
        assert (await sessions.get_session("x") or {})["value"] == value


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (rb'{"k\ud800": 1, "k\udfff": 2}', "two keys that would both become 'k\ufffd', in the object at $.value"),
        (rb'[{"\ufffd": 1, "\ud800": 2}]', "two keys that would both become '\ufffd', in the object at $.value[0]"),
        (rb'{"\ud800": 1, "\ufffd": 2}', "two keys"),
        (rb'{"a": {"\ud800\ud801": 1, "\ud801\ud800": 2}}', "in the object at $.value.a"),
        (rb'["\ud800", NaN]', "it is not JSON"),
        (rb'["\ud800", 1e400]', "inf"),
        (rb'["\ud800", 18446744073709551616]', "64 bits"),
        (rb'"\ud800', "it is not JSON"),
        (b'"\\ud800\xff"', "it is not JSON"),
        (b'["\\ud800", ' + b"[" * 300 + b"]" * 300 + b"]", "deeper than 200"),
        (b'["\\ud800", ' + b"[" * 100_000, "it is not JSON"),
    ],
)
async def test_what_replacing_does_not_mend_is_invalid_all_the_same(
    sessions: SessionService, write: Callable[..., Path], text: bytes, reason: str
) -> None:
    source = write(session("a"), b'{"metadata": {"session_id": "x"}, "value": ' + text + b"}\n", session("b"))
    with pytest.raises(StorageValidationError) as caught:
        await import_sessions(sessions, source, replace_surrogates=True)
    assert f"{source}, line 2: " in str(caught.value)
    assert reason in str(caught.value)

    report = await import_sessions(sessions, source, replace_surrogates=True, skip_invalid=True)

    assert (report.sessions, report.skipped) == (2, 1)
    assert await ids(sessions) == ["a", "b"]


async def test_two_ids_never_become_one(sessions: SessionService, write: Callable[..., Path]) -> None:
    named = [rb"a\ud800", rb"a\ud801", rb"a\ufffd", rb"a\ud800"]
    lines = [b'{"metadata": {"session_id": "%b"}, "n": %d}\n' % (name, at) for at, name in enumerate(named)]

    report = await import_sessions(sessions, write(*lines), replace_surrogates=True, skip_invalid=True)

    assert (report.sessions, report.skipped, report.replaced) == (2, 2, 2)
    assert all("so has another session" in told for told in report.skips)
    assert (await sessions.get_session("a\ufffd") or {})["n"] == 3  # of the same id the later one counts


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere names are text")
async def test_a_file_whose_name_is_no_text_is_named_or_its_id_replaced(
    sessions: SessionService, tmp_path: Path
) -> None:
    (tmp_path / "flat").mkdir()
    (tmp_path / "flat" / os.fsdecode(b"caf\xe9.json")).write_text("{}")
    with pytest.raises(StorageValidationError, match=r"U\+DCE9"):
        await import_sessions(sessions, tmp_path / "flat")

    await import_sessions(sessions, tmp_path / "flat", replace_surrogates=True)

    assert await ids(sessions) == ["caf\ufffd"]


# -- out --------------------------------------------------------------------------------------------------------------


async def failing_export(sessions: SessionService, target: Path) -> None:
    def stop(_size: int, _sessions: int) -> None:
        raise RuntimeError

    with pytest.raises(RuntimeError):
        await export_sessions(sessions, target, progress=stop)


async def test_an_export_that_fails_leaves_the_old_file_and_nothing_else(
    sessions: SessionService, tmp_path: Path
) -> None:
    await sessions.save_session("a", session("a"))
    folder = tmp_path / "out"
    folder.mkdir()
    await failing_export(sessions, folder / "sessions.jsonl")
    assert list(folder.iterdir()) == []
    (folder / "sessions.jsonl").write_text("old")
    await failing_export(sessions, folder / "sessions.jsonl")
    assert [path.read_text() for path in folder.iterdir()] == ["old"]


async def test_an_export_is_readable_by_its_owner_only_and_keeps_the_rights_of_a_file_that_is_there(
    sessions: SessionService, tmp_path: Path
) -> None:
    target = tmp_path / "out.jsonl"
    await export_sessions(sessions, target)
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    target.chmod(0o644)
    await export_sessions(sessions, target)
    assert stat.S_IMODE(target.stat().st_mode) == 0o644


async def test_an_export_through_a_link_replaces_the_file_behind_it(sessions: SessionService, tmp_path: Path) -> None:
    await sessions.save_session("a", session("a"))
    (tmp_path / "link").symlink_to(tmp_path / "behind")
    await export_sessions(sessions, tmp_path / "link")
    assert (tmp_path / "link").is_symlink()
    assert b'"session_id":"a"' in (tmp_path / "behind").read_bytes()


async def test_an_export_into_a_pipe_does_not_replace_it(sessions: SessionService, tmp_path: Path) -> None:
    await sessions.save_session("a", session("a"))
    os.mkfifo(tmp_path / "pipe")
    reading = asyncio.create_task(asyncio.to_thread((tmp_path / "pipe").read_bytes))
    await export_sessions(sessions, tmp_path / "pipe")
    assert b'"session_id":"a"' in await reading
    assert stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode)


async def test_a_target_that_can_not_be_written_is_named(sessions: SessionService, tmp_path: Path) -> None:
    with pytest.raises(StorageUnavailableError, match=f"{tmp_path}: Is a directory"):
        await export_sessions(sessions, tmp_path)
    with pytest.raises(StorageValidationError, match="there is no such file or folder"):
        await export_sessions(sessions, tmp_path / "absent" / "out.jsonl")


async def test_a_full_disk_is_told_as_such(sessions: SessionService) -> None:
    await sessions.save_session("a", {"text": "x" * 100_000})
    with pytest.raises(StorageUnavailableError, match="No space left on device"):
        await export_sessions(sessions, "/dev/full")


async def test_an_export_to_standard_output_writes_bytes_whatever_the_locale(
    sessions: SessionService, monkeypatch: pytest.MonkeyPatch
) -> None:
    await sessions.save_session("a", session("a", mood="😀"))
    written = io.BytesIO()
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(written, encoding="ascii"))
    await export_sessions(sessions, "-")
    assert "😀".encode() in written.getvalue()


# -- times ------------------------------------------------------------------------------------------------------------


async def test_times_from_elsewhere_are_imported_as_the_instants_they_are(
    sessions: SessionService, write: Callable[..., Path]
) -> None:
    local = datetime(2026, 1, 5, 10, 0, 2, tzinfo=UTC).astimezone().replace(tzinfo=None).isoformat()
    written = {
        "a": "2026-01-05T10:00:00Z",
        "b": "2026-01-05T15:30:00.5+05:30",
        "c": "20260105T100001Z",
        "d": local,
        "e": "2026-01-06",
    }
    lines = [session(name, created_at=value, updated_at=value) for name, value in written.items()]
    await import_sessions(sessions, write(*lines, {"metadata": {"session_id": "new", "created_at": "2026-01"}}))

    for key in ("created_at", "updated_at"):
        found = await sessions.list_sessions({key: {"$gt": "2026-01-05T10:00:00+00:00", "$lt": "2027"}}, order_by=key)
        assert [item["metadata"]["session_id"] for item in found if item["metadata"]["session_id"] != "new"] == [
            *"bcde"
        ]
        assert await sessions.count_sessions({key: "2026-01-05T11:00:01+01:00"}) == 1
    kept = (await sessions.get_session("d") or {})["metadata"]
    assert kept["created_at"] == kept["updated_at"] == "2026-01-05T10:00:02.000000+00:00"
    recent = [item["metadata"]["session_id"] for item in await sessions.list_sessions()]
    assert [name for name in recent if name != "new"] == [*"edcba"]


async def test_a_bad_time_in_an_import_is_blamed_on_its_own_key(
    sessions: SessionService, write: Callable[..., Path]
) -> None:
    for key in ("created_at", "updated_at"):
        with pytest.raises(StorageValidationError) as caught:
            await import_sessions(sessions, write(session("a", **{key: "yesterday"})))
        assert f"line 1: $.metadata.{key}: must be an ISO 8601 time" in str(caught.value)
