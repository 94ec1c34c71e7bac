"""A mirror on the level of storages: what one store receives is watched, and written to another one.

Run it with a directory: `python mirror.py DIRECTORY`.
"""

import asyncio
import sys
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

from pydantic import BaseModel

import fsstore


class Profile(BaseModel):
    metadata: fsstore.SessionMetadata
    name: str
    visits: int = 0


def fixed_clock() -> datetime:
    return datetime(2026, 1, 31, 9, tzinfo=UTC)


async def fill(storage: fsstore.IUnifiedStorage, count: int) -> list[str]:
    ids = [await storage.save({"id": "first", "type": "note", "data": {"text": "hello"}})]
    ids += await storage.batch_save({"id": f"n-{n}", "type": "note", "data": {"rank": n}} for n in range(count))
    await storage.transaction(
        [
            {"type": "update", "id": "first", "data": {"data": {"seen": True}}},
            {"type": "delete", "id": "n-0"},
        ]
    )
    return ids


async def ranked(storage: fsstore.IUnifiedStorage) -> AsyncIterator[tuple[str, int]]:
    async for batch in storage.stream_list({"data.rank": {"$gte": 2}}, batch_size=2):
        for record in batch:
            yield record["id"], record["data"]["rank"]


async def follow(source: fsstore.IUnifiedStorage, target: fsstore.IUnifiedStorage, wanted: int) -> int:
    seen = 0
    async with source.watch({"type": "session"}) as changes:
        await fsstore.SessionService(source).save_session("s-1", {"metadata": {}, "name": "Ada"})
        await fsstore.SessionService(source).save_session("s-2", {"metadata": {}, "name": "Bob"})
        async for change in changes:
            if isinstance(change, fsstore.Gap):
                print("dropped:", change.dropped)
                continue
            record = await source.load(change.id)
            if record is not None:
                await target.save(record)
            seen += 1
            if seen == wanted:
                break
    return seen


async def visit(storage: fsstore.IUnifiedStorage, session_id: str) -> tuple[int, int]:
    profiles = fsstore.SessionService(storage).typed(Profile)

    def count(profile: Profile) -> None:
        profile.visits += 1

    await profiles.edit(session_id, count)
    session = await profiles.get(session_id)
    if session is None:
        return 0, 0
    return session.data.visits, session.version


async def check(storage: fsstore.FileStorage) -> str:
    report = await storage.verify()
    if report.is_clean:
        return f"clean, {report.documents} documents"
    repaired = await storage.repair()
    return f"moved {len(repaired.moved)} files"


async def main(directory: Path) -> None:
    async with (
        fsstore.open_storage("memory:", clock=fixed_clock) as memory,
        await fsstore.FileStorage.open(directory / "mirror", fsync=False, shard_depth=1, live=False) as files,
    ):
        print("saved:", len(await fill(memory, 5)))
        print("ranked:", sorted([found async for found in ranked(memory)]))
        print("mirrored:", await follow(memory, files, 2), "of", await files.count({"type": "session"}))
        print("visits:", await visit(files, "s-1"))
        print("durable:", files.guarantees.durable, memory.guarantees.durable)
        print("check:", await check(files))
        (row,) = await files.query("select count(*) as n from documents where type = ?", ["session"])
        print("rows:", row["n"])
        try:
            await memory.update("absent", {"data": {}})
        except fsstore.StorageNotFoundError as error:
            print("not there:", error.id)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
