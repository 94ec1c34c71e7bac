from __future__ import annotations

import os
import shutil
import sqlite3
from contextlib import closing, suppress
from pathlib import Path
from random import Random

import pytest
import pytest_asyncio

from fsstore import FileStorage
from fsstore.errors import StorageError
from fsstore.model.records import JsonObject
from tests.campaign.conftest import Report
from tests.filesystem.rescan import contradictions, documents

INDEX = ".fsstore/index.sqlite3"
PARTS = (INDEX, f"{INDEX}-wal", f"{INDEX}-shm")


def session(rng: Random) -> JsonObject:
    number = rng.randrange(24)
    metadata: JsonObject = {"status": rng.choice(["open", "done"]), "rank": rng.randrange(6)}
    if rng.random() < 0.5:
        metadata["tags"] = rng.sample(["red", "blue", "green"], 2)
    if rng.random() < 0.2:
        metadata["note"] = {"deep": rng.choice([None, 1, "a\0b"])}
    record: JsonObject = {"id": f"n{number}", "type": "session"}
    if rng.random() < 0.5:
        record["session_id"] = rng.choice(["s1", "s2"])
    return record | {"data": {"metadata": metadata, "text": f"text {rng.randrange(100)}"}}


async def some_work(storage: FileStorage, rng: Random) -> None:
    for _ in range(rng.randrange(4)):
        kind = rng.randrange(4)
        if kind == 0:
            await storage.save(session(rng))
        elif kind == 1:
            await storage.batch_save([session(rng) for _ in range(rng.randrange(1, 8))])
        elif kind == 2:
            await storage.delete(f"n{rng.randrange(24)}")
        else:
            await storage.batch_delete([f"n{rng.randrange(24)}" for _ in range(3)])


class Damage:
    """What happens to the index: to one of its files, in one way."""

    def __init__(self, store: Path, spare: Path, rng: Random) -> None:
        self.store = store
        self.spare = spare
        self.rng = rng
        self.name = rng.choice(PARTS)
        self.path = store / self.name

    def clear(self) -> None:
        if self.path.is_dir() and not self.path.is_symlink():
            self.path.rmdir()
        else:
            self.path.unlink(missing_ok=True)

    def is_plain(self) -> bool:
        return self.path.is_file() and not self.path.is_symlink()

    def keep_a_copy(self) -> None:
        for name in PARTS:
            if (self.store / name).is_file() and not (self.store / name).is_symlink():
                shutil.copy(self.store / name, self.spare / Path(name).name)

    def put(self, data: bytes) -> None:
        draft = self.store / ".fsstore/draft"
        draft.write_bytes(data)
        if self.path.is_dir():
            self.path.rmdir()
        draft.replace(self.path)

    def current(self) -> bytes:
        return self.path.read_bytes() if self.is_plain() else b""

    def deleted(self) -> None:
        self.clear()

    def deleted_all(self) -> None:
        for name in PARTS:
            self.path = self.store / name
            self.clear()

    def garbage(self) -> None:
        self.put(self.rng.randbytes(self.rng.choice([10, 5000, 40000])))

    def empty(self) -> None:
        self.put(b"")

    def cut(self) -> None:
        data = self.current()
        self.put(data[: self.rng.randrange(len(data) + 1)])

    def flipped_copy(self) -> None:
        data = bytearray(self.current())
        for _ in range(self.rng.choice([1, 20])):
            if data:
                data[self.rng.randrange(len(data))] ^= 1 << self.rng.randrange(8)
        self.put(bytes(data))

    def old_copy(self) -> None:
        if not self.path.exists():
            # SQLite replays a log that comes back after it was folded in, and nothing tells it from a true one
            self.path = self.store / INDEX
        copy = self.spare / self.path.name
        if copy.exists():
            self.put(copy.read_bytes())

    def old_copies(self) -> None:
        for name in PARTS:
            copy = self.spare / Path(name).name
            self.path = self.store / name
            if copy.exists():
                self.put(copy.read_bytes())
            else:
                self.clear()

    def of_another_store(self) -> None:
        copy = self.spare.parent / "spare/other"
        self.path = self.store / INDEX
        self.put(copy.read_bytes())

    def a_link(self) -> None:
        self.clear()
        self.path.symlink_to(self.spare.parent / "spare" / self.rng.choice(["other", "outside", "missing"]))

    def a_pipe(self) -> None:
        self.path.unlink(missing_ok=True)
        os.mkfifo(self.path)

    def a_directory(self) -> None:
        self.clear()
        self.path.mkdir()

    def in_place_old(self) -> None:
        copy = self.spare / Path(INDEX).name
        if copy.exists() and (self.store / INDEX).is_file():
            (self.store / INDEX).write_bytes(copy.read_bytes())

    def in_place_garbage(self) -> None:
        if self.name.endswith("shm") or not self.is_plain():
            return
        with self.path.open("r+b") as file:
            size = self.path.stat().st_size
            file.seek(self.rng.randrange(size + 1))
            file.write(self.rng.randbytes(self.rng.choice([1, 100, 8000])))

    def in_place_cut(self) -> None:
        if self.name.endswith("shm") or not self.is_plain():
            return
        os.truncate(self.path, self.rng.randrange(self.path.stat().st_size + 1))

    def shm_garbage(self) -> None:
        path = self.store / PARTS[2]
        if not path.is_file() or path.is_symlink():
            return
        with path.open("r+b") as file:
            file.seek(self.rng.randrange(32000))
            file.write(self.rng.randbytes(self.rng.choice([1, 100, 700])))

    def sql(self) -> None:
        statement = self.rng.choice(
            [
                "DELETE FROM entry WHERE abs(random()) % 3 = 0",
                "DROP INDEX entry_recent",
                "DROP TABLE tag",
                "DROP VIEW documents",
                "ALTER TABLE entry ADD COLUMN more",
                "CREATE TRIGGER t AFTER UPDATE ON entry BEGIN DELETE FROM entry; END",
                "PRAGMA user_version = 7",
                "PRAGMA user_version = 0",
                "UPDATE entry SET name = '../x' WHERE abs(random()) % 5 = 0 ",
                "UPDATE entry SET inode = 'x'",
                "UPDATE entry SET id = x'ff' WHERE abs(random()) % 5 = 0 ",
                "UPDATE entry SET metadata = 'x'",
                "INSERT INTO meta VALUES ('complete', 1)",
                "DELETE FROM meta",
                "VACUUM",
                "ANALYZE",
                "PRAGMA journal_mode = DELETE",
            ]
        )
        self.name = statement
        with (
            suppress(sqlite3.Error),
            closing(sqlite3.connect(self.store / INDEX, timeout=0, isolation_level=None)) as connection,
        ):
            connection.execute(statement)


NOT_DAMAGE = {"put", "current", "keep_a_copy", "clear", "is_plain"}
KINDS = sorted(name for name in vars(Damage) if not name.startswith("_") and name not in NOT_DAMAGE)
WITHIN_VALUES = {"in_place_garbage", "flipped_copy"}
"""Kinds that may change a value in the index and nothing else."""
RUNS_OF_EACH = 12
STEPS = 2


async def opened(store: Path) -> list[FileStorage]:
    return [await FileStorage.open(store, fsync=False) for _ in range(2)]


async def closed(stores: list[FileStorage]) -> None:
    for storage in stores:
        await storage.close()


def is_whole(store: Path) -> bool:
    """Whether SQLite sees nothing wrong with the index."""
    with suppress(sqlite3.Error), closing(sqlite3.connect(store / INDEX)) as connection:
        return connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    return False


async def prepare(stores: list[FileStorage], store: Path, damage: Damage, rng: Random) -> None:
    """Have documents changed and the index used, and maybe keep a copy of the index in between."""
    await some_work(rng.choice(stores), rng)
    if rng.random() < 0.5:
        await contradictions(rng.choice(stores), store)
    if rng.random() < 0.5:
        damage.keep_a_copy()
    await some_work(rng.choice(stores), rng)


async def judge(stores: list[FileStorage], store: Path, kind: str) -> list[str]:
    """Compare every answer of both with the documents."""
    wrong, before = [], documents(store)
    for storage in stores:
        if kind == "sql":
            # what another client of SQLite does by the rules is found by the next reconciliation
            await storage.refresh()
        found = await contradictions(storage, store)
        if found and kind in WITHIN_VALUES and is_whole(store):
            # SQLite has no checksums: a byte of a value is not seen, and goes with the index that it is in
            await storage.repair()
            found = await contradictions(storage, store)
        wrong += found
    return wrong if documents(store) == before else [*wrong, "documents were touched by a reader"]


async def attack(base: Path, kind: str, seed: int) -> list[str]:
    """Damage the index of two open stores, or of the closed one, again and again; return what was found wrong."""
    rng, store, spare = Random(seed), base / "store", base / "spare"
    outside, stores = contents_of(spare), await opened(store)
    try:
        for step in range(STEPS):
            damage = Damage(store, base / "copies", rng)
            await prepare(stores, store, damage, rng)
            before, is_closed = documents(store), rng.random() < 0.3
            if is_closed:
                await closed(stores)
            getattr(damage, kind)()
            if is_closed:
                stores = await opened(store)
            wrong = [] if documents(store) == before else ["documents were touched"]
            if rng.random() < 0.5:
                await some_work(rng.choice(stores), rng)
            wrong += await judge(stores, store, kind)
            if contents_of(spare) != outside:
                wrong.append("something outside was touched")
            if wrong:
                where = f"seed {seed} step {step}: {kind} {damage.name}, {'closed' if is_closed else 'open'}"
                return [f"{where}: {line}" for line in wrong]
    finally:
        await closed(stores)
    return []


def contents_of(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir()}


@pytest_asyncio.fixture
async def other(tmp_path: Path) -> Path:
    """Return the index of another store, which has documents of the same names."""
    async with await FileStorage.open(tmp_path / "other", fsync=False) as storage:
        await storage.batch_save(session(Random(number)) | {"id": f"n{number}"} for number in range(20))
        await storage.refresh()
    return tmp_path / "other" / INDEX


@pytest.mark.parametrize("kind", KINDS)
async def test_whatever_becomes_of_the_index_answers_are_those_of_the_documents(
    tmp_path: Path, other: Path, report: Report, kind: str
) -> None:
    violations: list[str] = []
    for seed in range(RUNS_OF_EACH):
        base = tmp_path / str(seed)
        for name in ("copies", "spare"):
            (base / name).mkdir(parents=True)
        shutil.copy(other, base / "spare/other")
        (base / "spare/outside").write_text("outside")
        try:
            violations += await attack(base, kind, seed)
        except (StorageError, sqlite3.Error, ValueError, TypeError) as error:
            violations.append(f"seed {seed}: {kind}: {error!r}")
        shutil.rmtree(base)
    report(f"index: {kind.replace('_', ' ')}", RUNS_OF_EACH, violations)
