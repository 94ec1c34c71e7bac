"""Trees made to break a store: what is planted in them, and the ordeal that every method goes through then.

Whatever is planted, a method gives its answer or a StorageError, in time; anything else that is raised, and a wait
without end, is a violation. `planted` lets go of whoever hangs in a pipe, so that a test fails rather than hangs.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import stat
from collections.abc import Awaitable, Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fsstore import SessionService
from fsstore.errors import StorageError
from fsstore.filesystem.documents.layout import Layout
from fsstore.interfaces import IUnifiedStorage
from fsstore.model.records import JsonObject
from fsstore.transfer import export_sessions

PATIENCE_SECONDS = 15.0
TERABYTE = 1 << 40
BEFORE: JsonObject = {f"n{number}": "before" for number in range(5)}


class NoAnswerError(AssertionError):
    """A method neither answered nor raised in time."""


# -- what is planted --------------------------------------------------------------------------------------------------


def pipe(path: Path, _: Path) -> None:
    os.mkfifo(path)


def full_directory(path: Path, _: Path) -> None:
    (path / "inner/innermost").mkdir(parents=True)
    (path / "inner/file").write_text("text")


def link_to_a_file(path: Path, outside: Path) -> None:
    path.symlink_to(outside / "file")


def link_to_a_directory(path: Path, outside: Path) -> None:
    path.symlink_to(outside / "directory")


def link_to_nothing(path: Path, outside: Path) -> None:
    path.symlink_to(outside / "directory/nothing")


def terabyte(path: Path, _: Path) -> None:
    path.touch()
    os.truncate(path, TERABYTE)


def noise(path: Path, _: Path) -> None:
    path.write_bytes(bytes(range(256)))


Obstacle = Callable[[Path, Path], None]
OBSTACLES: tuple[Obstacle, ...] = (
    pipe,
    full_directory,
    link_to_a_file,
    link_to_a_directory,
    link_to_nothing,
    terabyte,
    noise,
)
"""Each makes something of a name; the second path is a directory outside of the store."""


@contextmanager
def planted(obstacle: Obstacle, path: Path, outside: Path) -> Iterator[None]:
    """Put something in the place of a file or directory, and see that nothing outside of the store is touched."""
    cleared(path)
    path.parent.mkdir(exist_ok=True)
    obstacle(path, outside)
    before = snapshot(outside)
    try:
        yield
    finally:
        release(path)
    assert snapshot(outside) == before


def cleared(path: Path) -> None:
    """Take away whatever has a name."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def release(path: Path) -> None:
    """Let go of whoever waits at a pipe."""
    if path.is_fifo():
        os.close(os.open(path, os.O_RDWR | os.O_NONBLOCK))


def snapshot(directory: Path) -> dict[str, tuple[int, bytes]]:
    """Return what lies below a directory: the mode and the bytes of each name."""
    found = {}
    for path in sorted(directory.rglob("*")):
        mode = path.lstat().st_mode
        found[str(path.relative_to(directory))] = mode, path.read_bytes() if stat.S_ISREG(mode) else b""
    return found


def outside_of(directory: Path) -> Path:
    """Make a directory with something to be careful of, and return it."""
    outside = directory / "outside"
    (outside / "directory").mkdir(parents=True)
    (outside / "file").write_text("secret")
    (outside / "directory/file").write_text("secret too")
    return outside


# -- the ordeal -------------------------------------------------------------------------------------------------------


def place(store: Path, record_id: str) -> Path:
    """Return where a document lies."""
    return store / Layout(1).name(record_id)


async def in_time(work: Awaitable[Any]) -> Any:
    """Return what comes of something, an error of the store included; everything else that is raised passes."""
    try:
        return await asyncio.wait_for(work, PATIENCE_SECONDS)
    except StorageError as error:
        return error
    except TimeoutError as error:
        raise NoAnswerError(f"no answer within {PATIENCE_SECONDS:g} s") from error


async def fill(storage: IUnifiedStorage) -> None:
    """Save what the ordeal expects."""
    await storage.batch_save([{"id": key, "type": "session", "data": {"is": value}} for key, value in BEFORE.items()])


async def ordeal(storage: IUnifiedStorage, export: Path, *, without: Collection[str] = ()) -> dict[str, Any]:
    """Call every method but those, and return what came of each: its answer or an error of the store."""

    async def stream() -> list[JsonObject]:
        return [record async for batch in storage.stream_list(batch_size=2) for record in batch]

    calls: dict[str, Callable[[], Awaitable[Any]]] = {
        "load": lambda: storage.load("n0"),
        "load absent": lambda: storage.load("absent"),
        "exists": lambda: storage.exists("n0"),
        "list": storage.list,
        "stream": stream,
        "count": storage.count,
        "metadata": storage.list_metadata,
        "query": lambda: storage.query("SELECT id FROM documents"),
        "save": lambda: storage.save({"id": "n1", "data": {"is": "after"}}),
        "save new": lambda: storage.save({"id": "new", "data": {"is": "after"}}),
        "update": lambda: storage.update("n2", {"data": {"is": "after"}}),
        "batch": lambda: storage.batch_save([{"id": key, "data": {"is": "after"}} for key in ("n3", "b")]),
        "delete": lambda: storage.delete("n4"),
        "health": storage.health_check,
        "cleanup": lambda: storage.cleanup_old_data(1),
        "export": lambda: export_sessions(SessionService(storage), export),
    }
    return {name: await in_time(call()) for name, call in calls.items() if name not in without}


WRITES = {"save": ["n1"], "save new": ["new"], "update": ["n2"], "batch": ["n3", "b"], "delete": ["n4"]}


def expected_after(came: dict[str, Any]) -> dict[str, set[str]]:
    """Return, for each document, the values that it may have after the ordeal; "absent" stands for none."""
    after: dict[str, set[str]] = {key: {str(value)} for key, value in BEFORE.items()} | {
        key: {"absent"} for key in ("new", "b")
    }
    for name, ids in WRITES.items():
        value = "absent" if name == "delete" else "after"
        for key in ids:
            if not isinstance(came[name], StorageError):
                after[key] = {value}
            elif came[name].outcome == "unknown":
                after[key] |= {value}
    return after


async def values_of(storage: IUnifiedStorage) -> dict[str, str]:
    """Return the value that each document of the ordeal has now."""
    found = {key: await storage.load(key) for key in (*BEFORE, "new", "b")}
    return {key: "absent" if record is None else record["data"]["is"] for key, record in found.items()}
