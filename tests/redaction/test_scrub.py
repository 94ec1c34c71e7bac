import copy
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from fsstore import Redaction, find_secrets, open_sessions, redact_secrets
from fsstore.errors import StorageConflictError, StorageCorruptedError, StorageUnavailableError, StorageValidationError
from fsstore.filesystem.storage import FileStorage
from fsstore.interfaces import IUnifiedStorage
from fsstore.memory import MemoryStorage
from fsstore.model.mutations import AnyMutation
from fsstore.model.records import Outcomes, Records
from fsstore.redaction.scrub import Exposure, Scrubbed
from fsstore.sessions.service import SessionService

SETTINGS = {"settings": {"password": "hunter2"}}
HIDDEN = {"settings": {"password": "[redacted]"}}


@pytest.fixture(params=["memory", "directory"])
async def storage(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[IUnifiedStorage]:
    async with MemoryStorage() if request.param == "memory" else await FileStorage.open(tmp_path / "store") as opened:
        yield opened


@pytest.fixture
def sessions(storage: IUnifiedStorage) -> SessionService:
    return SessionService(storage)


async def found(sessions: SessionService, rules: Redaction | None = None) -> list[Exposure]:
    batches = find_secrets(sessions) if rules is None else find_secrets(sessions, rules)
    return [exposure async for batch in batches for exposure in batch]


async def scrubbed(sessions: SessionService, *ids: str) -> list[Scrubbed]:
    return [one async for one in redact_secrets(sessions, ids)]


async def test_secrets_are_told_with_document_and_path(sessions: SessionService) -> None:
    await sessions.save_session("b", {**SETTINGS, "text": "Bearer abc123def456ghi7"})
    await sessions.save_session("a", {"metadata": {"api_key": "k-1"}})
    await sessions.save_session("c", {"text": "nothing"})
    assert [(one.id, one.path, one.rule) for one in await found(sessions)] == [
        ("a", "$.data.metadata.api_key", "name of the key"),
        *(("b", "$.data.settings.password", "name of the key"), ("b", "$.data.text", "credential in a header")),
    ]
    assert await found(sessions, Redaction.of(secrets=True, ignored=["api_key", "settings", "$.data.text"])) == []


async def test_documents_of_every_type_are_looked_at_and_all_of_each(sessions: SessionService) -> None:
    await sessions.storage.save(
        {"id": "note", "type": "note", "data": {"password": "x1"}, "metadata": {"secret": "x2"}}
    )
    await sessions.save_session("s", {})
    await sessions.storage.update("s", {"extra": {"password": "x3"}, "data": {"password": "x4"}})
    paths = [(one.id, one.path) for one in await found(sessions)]
    assert paths == [
        *(("note", "$.data.password"), ("note", "$.metadata.secret")),
        *(("s", "$.data.password"), ("s", "$.extra.password")),
    ]
    assert await scrubbed(sessions, "note", "s") == [Scrubbed("note", 2), Scrubbed("s", 2)]
    assert await found(sessions) == []
    note, session = await sessions.storage.load("note"), await sessions.storage.load("s")
    assert note is not None
    assert session is not None
    assert (note["data"], note["metadata"], note["type"]) == (
        {"password": "[redacted]"},
        {"secret": "[redacted]"},
        "note",
    )
    assert (session["data"]["password"], session["extra"]) == ("[redacted]", {"password": "[redacted]"})


async def test_no_more_than_a_batch_is_held(sessions: SessionService, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(120):
        await sessions.storage.save({"id": f"n{number:03}", "data": SETTINGS})
    sizes: list[int] = []
    stream_list = sessions.storage.stream_list

    async def counting(filters: Any = None, batch_size: int = 100) -> AsyncIterator[Records]:
        async for batch in stream_list(filters, batch_size):
            sizes.append(len(batch))
            yield batch

    monkeypatch.setattr(sessions.storage, "stream_list", counting)
    progress: list[int] = []
    batches = [len(batch) async for batch in find_secrets(sessions, progress=progress.append)]
    assert batches == sizes == [50, 50, 20]
    # a caller who stops early has made nothing go on
    assert progress == [50, 100, 120]


async def test_a_replacement_is_an_ordinary_edit_of_a_session(sessions: SessionService) -> None:
    await sessions.save_session(
        "a", {**SETTINGS, "metadata": {"thread_id": "t", "status": "x"}, "messages": [{"n": 1}]}
    )
    before = copy.deepcopy(await sessions.get_record("a"))
    assert before is not None
    assert await scrubbed(sessions, "a") == [Scrubbed("a", 1)]
    after = await sessions.get_record("a")
    assert after is not None
    assert after["version"] == before["version"] + 1
    assert after["updated_at"] == after["data"]["metadata"]["updated_at"] > before["updated_at"]
    assert after["data"]["settings"] == {"password": "[redacted]"}
    for record in (before, after):
        del (
            record["version"],
            record["updated_at"],
            record["data"]["metadata"]["updated_at"],
            record["data"]["settings"],
        )
    assert after == before
    # and nothing is written where there is nothing to replace
    assert await scrubbed(sessions, "a", "absent") == [Scrubbed("a"), Scrubbed("absent")]
    assert (await sessions.get_record("a") or {})["version"] == 2


@pytest.mark.parametrize("kind", ["session", "note"])
async def test_a_document_that_changes_meanwhile_is_read_again(
    sessions: SessionService, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    await sessions.storage.save({"id": "a", "type": kind, "data": SETTINGS})
    load, tries = sessions.storage.load, []

    async def changed_after_reading(id: str) -> Any:
        record = await load(id)
        tries.append(id)
        if len(tries) < 3:
            data = {"count": len(tries), "more": {"password": f"x{len(tries)}"}}
            await sessions.storage.update("a", {"data": data})
        return record

    monkeypatch.setattr(sessions.storage, "load", changed_after_reading)
    assert await scrubbed(sessions, "a") == [Scrubbed("a", 2)]
    document = await sessions.storage.load("a")
    assert document is not None
    assert {key: document["data"][key] for key in ("settings", "count", "more")} == {
        **HIDDEN,
        "count": 2,
        "more": {"password": "[redacted]"},
    }


async def test_a_document_that_changes_all_the_time_is_given_with_the_conflict(
    sessions: SessionService, monkeypatch: pytest.MonkeyPatch
) -> None:
    await sessions.save_session("a", SETTINGS)
    await sessions.save_session("b", SETTINGS)
    commit = sessions.storage.commit

    async def contended(changes: list[AnyMutation]) -> Outcomes:
        if changes[0].id == "a":
            raise StorageConflictError(id="a", expected=1, actual=2)
        return await commit(changes)

    monkeypatch.setattr(sessions.storage, "commit", contended)
    first, second = await scrubbed(sessions, "a", "b")
    assert (first.replaced, type(first.error)) == (0, StorageConflictError)
    assert second == Scrubbed("b", 1)


async def test_a_full_disk_stops_it(sessions: SessionService, monkeypatch: pytest.MonkeyPatch) -> None:
    await sessions.save_session("a", SETTINGS)

    async def full(_: object) -> Outcomes:
        raise StorageUnavailableError(reason="No space left on device", path="store")

    monkeypatch.setattr(sessions.storage, "commit", full)
    with pytest.raises(StorageUnavailableError):
        await scrubbed(sessions, "a")


async def test_what_was_edited_by_hand_does_not_keep_the_others_from_it(tmp_path: Path) -> None:
    async with await FileStorage.open(tmp_path) as storage:
        sessions = SessionService(storage)
        for name in ("a", "b", "c", "d"):
            await sessions.save_session(name, {**SETTINGS, "n": "7" * 9})
        for name in ("a", "b"):
            (document,) = tmp_path.glob(f"??/{name}.json")
            text = document.read_text()
            document.write_text("{" if name == "a" else text.replace(f'"{"7" * 9}"', "7" * 30))
        assert [one.id for one in await found(sessions)] == ["b", "c", "d"]
        outcomes = await scrubbed(sessions, "a", "b", "c", "d")
        assert [type(one.error) for one in outcomes] == [
            *(StorageCorruptedError, StorageValidationError, type(None), type(None))
        ]
        assert [one.id for one in await found(sessions)] == ["b"]


def test_an_exposure_is_told_as_json() -> None:
    assert Exposure("a", "$.data.x", "GitHub token", "ghp_…, 40 characters", stays=False).as_json() == {
        "id": "a",
        "path": "$.data.x",
        "rule": "GitHub token",
        "hint": "ghp_…, 40 characters",
        "replaceable": True,
    }


async def test_what_is_in_quarantine_is_looked_at_too_and_stays(tmp_path: Path) -> None:
    secret = "sk-" + "ant-api03-" + "x9Kd" * 20
    async with open_sessions(tmp_path) as service:
        await service.save_session("a", {"messages": []})
        quarantine = tmp_path / ".fsstore" / "quarantine"
        quarantine.mkdir(mode=0o700)
        (quarantine / "torn").write_text(f'{{"id": "b", "data": {{"key": "{secret}')
        (quarantine / "whole").write_text(json.dumps({"id": "c", "data": {"note": f"my key is {secret}"}}))
        (quarantine / "directory").mkdir()

        found = [each async for batch in find_secrets(service) for each in batch]

        assert [(each.id, each.path, each.stays) for each in found] == [
            (".fsstore/quarantine/torn", "$.text", True),
            (".fsstore/quarantine/whole", "$.data.note", True),
        ]
        assert secret not in str(found)
