"""Every public call of a store and of its sessions, with what it must give while one document is in trouble.

A call that reads many returns the ids that it gave: those of all other documents, and maybe that of the one in trouble.
A call that writes to others changes the `Model` as it changes the store. `test_unreadable` holds the names against the
public classes, so that no method is forgotten.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from pathlib import Path
from typing import Any

from fsstore import FileStorage, SessionData, SessionService
from fsstore.errors import StorageError
from fsstore.model.mutations import saving
from fsstore.model.records import JsonObject
from fsstore.transfer import export_sessions

VICTIM = "victim"
_OLD, _NEW = "old", "new"
_WRITTEN = 12
OTHERS = [f"other-{number}" for number in range(_WRITTEN)]


class Model:
    """Which value each of the other documents has, and of which it is not known; what is absent is not there."""

    def __init__(self) -> None:
        self.values = dict.fromkeys(OTHERS, _OLD)
        self.unknown: set[str] = set()


def session(name: str, value: str = _OLD) -> JsonObject:
    """Return the data of a session that shows its value."""
    return {"value": value, "metadata": {"status": "open", "session_id": name}}


def record(name: str, value: str = _OLD) -> JsonObject:
    """Return the record of such a session."""
    return {"id": name, "type": "session", "session_id": "s", "thread_id": "t", "data": session(name, value)}


def value_of(found: JsonObject | None) -> str | None:
    """Return the value of a record that was found, None of none."""
    return None if found is None else str(found["data"]["value"])


class Calls:
    """The calls on one open store."""

    def __init__(self, storage: FileStorage, model: Model, directory: Path) -> None:
        self._storage = storage
        self._service = SessionService(storage)
        self._model, self._values = model, model.values
        self._export = directory / "export.jsonl"
        self.found: dict[str, Callable[[], Awaitable[Iterable[str]]]] = {
            "list": lambda: _ids(storage.list()),
            "list with a filter on the data": lambda: _ids(storage.list({"data.value": {"$in": [_OLD, _NEW]}})),
            "list_metadata": lambda: _ids(storage.list_metadata()),
            "list_fields": lambda: _ids(storage.list_fields(["id", "data.metadata.status"])),
            "stream_fields": lambda: _streamed(storage.stream_fields(["id"], batch_size=5), lambda found: found["id"]),
            "query": lambda: _ids(storage.query("SELECT id FROM documents")),
            "get_by_session": lambda: _ids(storage.get_by_session("s")),
            "get_by_thread": lambda: _ids(storage.get_by_thread("t")),
            "stream_list": lambda: _streamed(storage.stream_list(batch_size=5), lambda found: found["id"]),
            "list_sessions": lambda: _sessions(self._service.list_sessions()),
            "list_metadata of sessions": self._metadata,
            "list_page": self._page,
            "stream_sessions": lambda: _streamed(
                self._service.stream_sessions(), lambda found: found["metadata"]["session_id"]
            ),
            "export_sessions": self._exported,
        }
        """What finds many documents."""
        self.counted: dict[str, Callable[[], Awaitable[int]]] = {
            "count": storage.count,
            "count with a filter on the data": lambda: storage.count({"data.value": {"$in": [_OLD, _NEW]}}),
            "count_sessions": self._service.count_sessions,
        }
        self.asked: dict[str, Callable[[], Awaitable[Any]]] = {
            "refresh": storage.refresh,
            "health_check": storage.health_check,
            "verify": storage.verify,
            "load": lambda: self._has(storage.load(OTHERS[0])),
            "load_fields": lambda: self._has(storage.load_fields(OTHERS[0], ["id"])),
            "exists": lambda: self._has(storage.exists(OTHERS[0])),
            "get_session": lambda: self._has(self._service.get_session(OTHERS[0])),
            "get_record": lambda: self._has(self._service.get_record(OTHERS[0])),
            "get_model": lambda: self._has(self._service.get_model(OTHERS[0])),
            "load_tail": lambda: self._has(storage.load_tail(OTHERS[0], ("messages",), 1)),
            "read_tail": lambda: self._has(self._service.read_tail(OTHERS[0], 1)),
            "typed": lambda: self._has(self._service.typed(SessionData).get(OTHERS[0])),
            "unreadable": storage.unreadable,
            "floor": storage.floor,
            "set_aside": lambda: _given(storage.set_aside()),
            "session_exists": lambda: self._has(self._service.session_exists(OTHERS[0])),
        }
        """What must give an answer, and of a document that is there not that it is absent."""
        self.written: dict[str, Callable[[], Awaitable[None]]] = {
            "save": lambda: self._wrote(storage.save(record(OTHERS[1], _NEW)), [OTHERS[1]]),
            "update": lambda: self._wrote(storage.update(OTHERS[2], {"data": {"value": _NEW}}), [OTHERS[2]]),
            "delete": lambda: self._wrote(storage.delete(OTHERS[3]), [OTHERS[3]], there=False),
            "batch_save": lambda: self._wrote(
                storage.batch_save([record(name, _NEW) for name in (OTHERS[4], "more")]), [OTHERS[4], "more"]
            ),
            "batch_delete": lambda: self._wrote(storage.batch_delete([OTHERS[5]]), [OTHERS[5]], there=False),
            "transaction": lambda: self._wrote(
                storage.transaction([{"type": "save", "data": record(OTHERS[6], _NEW)}]), [OTHERS[6]]
            ),
            "commit": lambda: self._wrote(storage.commit([saving(record(OTHERS[7], _NEW))]), [OTHERS[7]]),
            "cleanup_old_data": lambda: self._wrote(storage.cleanup_old_data(365), []),
            "save_session": lambda: self._wrote(self._service.save_session("again", session("again", _NEW)), ["again"]),
            "update_session": lambda: self._wrote(
                self._service.update_session(OTHERS[8], {"value": _NEW}), [OTHERS[8]]
            ),
            "edit_session": lambda: self._wrote(self._service.edit_session(OTHERS[9], _edit), [OTHERS[9]]),
            "edit_model": lambda: self._wrote(
                self._service.edit_model(OTHERS[0], _edit_model, SessionData), [OTHERS[0]]
            ),
            "append_session": lambda: self._wrote(self._appended(), []),
            "batch_append": lambda: self._wrote(self._service.batch_append({OTHERS[0]: [1], OTHERS[1]: [2]}), []),
            "pop_last": lambda: self._wrote(self._service.pop_last(OTHERS[0]), []),
            "rotate_session": lambda: self._rotated(OTHERS[9], "fifth"),
            "delete_session": lambda: self._wrote(self._service.delete_session(OTHERS[10]), [OTHERS[10]], there=False),
            "batch_save_sessions": lambda: self._wrote(
                self._service.batch_save_sessions({"third": session("third", _NEW)}), ["third"]
            ),
            "batch_delete_sessions": lambda: self._wrote(
                self._service.batch_delete_sessions([OTHERS[11]]), [OTHERS[11]], there=False
            ),
            "transaction of sessions": lambda: self._wrote(self._transaction(), ["fourth"]),
            "repair": lambda: self._wrote(storage.repair(), []),
        }
        """What writes to others."""

    async def make(self) -> None:
        """Make them all, one after the other."""
        for call in (*self.found.values(), *self.counted.values(), *self.asked.values(), *self.written.values()):
            await call()

    async def _wrote(self, call: Awaitable[Any], names: Iterable[str], *, there: bool = True) -> None:
        try:
            await call
        except StorageError as error:
            if error.outcome == "unknown":
                self._model.unknown.update(names)
            raise
        for name in names:
            if there:
                self._values[name] = _NEW
            else:
                del self._values[name]

    async def _has(self, call: Awaitable[Any]) -> None:
        answer = await call
        assert answer, f"it gives {answer}"

    async def _appended(self) -> None:
        length = await self._service.append_session(OTHERS[0], ["item"])
        tail = await self._service.read_tail(OTHERS[0], 1)
        assert (tail.length, tail.items) == (length, ["item"]), f"what was appended is gone: {tail}"

    async def _rotated(self, name: str, following: str) -> None:
        value = self._values[name]
        await self._wrote(self._service.rotate_session(name, following), [following])
        self._values[following] = value

    async def _metadata(self) -> Iterable[str]:
        return [metadata["session_id"] for metadata in await self._service.list_metadata()]

    async def _page(self) -> Iterable[str]:
        page = await self._service.list_page()
        return [found["metadata"]["session_id"] for found in page.items]

    async def _exported(self) -> Iterable[str]:
        await export_sessions(self._service, self._export)
        text = self._export.read_text("utf-8")
        return {name for name in (*self._values, VICTIM) if f'"{name}"' in text}

    async def _transaction(self) -> None:
        async with self._service.transaction() as transaction:
            await transaction.get_session(OTHERS[0])
            await transaction.save_session("fourth", session("fourth", _NEW))


def victims(storage: FileStorage) -> dict[str, Callable[[], Awaitable[Any]]]:
    """Return the calls on the document in trouble: each is answered, or refused by an error of the store."""
    service = SessionService(storage)
    return {
        "load": lambda: storage.load(VICTIM),
        "exists": lambda: storage.exists(VICTIM),
        "get_session": lambda: service.get_session(VICTIM),
        "update": lambda: storage.update(VICTIM, {"data": {"value": _NEW}}),
        "edit_session": lambda: service.edit_session(VICTIM, _edit),
        "save": lambda: storage.save(record(VICTIM, _NEW)),
        "delete": lambda: storage.delete(VICTIM),
    }


def _edit(draft: JsonObject) -> None:
    draft["value"] = _NEW


def _edit_model(draft: SessionData) -> None:
    assert draft.model_extra is not None
    draft.model_extra["value"] = _NEW


async def _given(parts: AsyncIterator[Any]) -> None:
    async for _ in parts:
        pass


async def _ids(call: Awaitable[list[JsonObject]]) -> Iterable[str]:
    return [found["id"] for found in await call]


async def _sessions(call: Awaitable[list[JsonObject]]) -> Iterable[str]:
    return [found["metadata"]["session_id"] for found in await call]


async def _streamed(batches: AsyncIterator[list[JsonObject]], id_of: Callable[[JsonObject], str]) -> Iterable[str]:
    return [id_of(found) async for batch in batches for found in batch]
