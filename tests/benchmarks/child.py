"""A process of its own, for what must be measured in one: `python -m tests.benchmarks.child JSON`.

Says "ready" when everything is loaded, waits for a line, does its task, and prints the result as JSON.
"""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

from tests.benchmarks.documents import belongs_to, session, session_name
from tests.benchmarks.peers import named
from tests.benchmarks.peers.store import Store, UnsupportedError

_RESUMED_PAGE = 20


@dataclass(frozen=True, kw_only=True)
class Task:
    """What a process is to do, and with which store."""

    do: str
    store: str
    directory: str
    durable: bool
    documents: int
    size_kb: int
    page: int
    seconds: float
    number: int = 0


class Child:
    """A process that is loaded and waits for the word; use it with `async with`."""

    def __init__(self, task: Task) -> None:
        self._task = task

    async def __aenter__(self) -> Self:
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "tests.benchmarks.child",
            json.dumps(asdict(self._task)),
            cwd=Path(__file__).parents[2],
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        await self._line()
        return self

    async def result(self) -> Any:
        """Let it go, and return what it found."""
        assert self._process.stdin is not None
        self._process.stdin.write(b"go\n")
        answer = await self._line()
        if "refused" in answer:
            raise UnsupportedError(answer["refused"])
        return answer["result"]

    async def _line(self) -> Any:
        assert self._process.stdout is not None
        line = await self._process.stdout.readline()
        if not line:
            raise UnsupportedError(f"its process ended with status {await self._process.wait()}")
        return json.loads(line)

    async def __aexit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        # one that was never let go ends when nobody is there to say so
        self._process.stdin.close()
        await self._process.communicate()


def main() -> None:
    """Do a task."""
    task = Task(**json.loads(sys.argv[1]))
    try:
        answer = {"result": asyncio.run(_do(task))}
    except UnsupportedError as error:
        answer = {"refused": str(error)}
    _say(answer)


async def _do(task: Task) -> Any:
    kind = named(task.store)
    await _warm_up(kind, task)
    store = kind(Path(task.directory), durable=task.durable)
    store.names = [session_name(number) for number in range(task.documents)]
    prepared = [session(number, task.size_kb) for number in range(50)] if task.do == "save" else []
    _say({"ready": task.number})
    if not sys.stdin.readline():
        raise UnsupportedError("nobody let it go")
    before = _memory("VmRSS")
    started = time.perf_counter()
    await store.open()
    try:
        match task.do:
            case "open" | "resume":
                assert await store.get(session_name(0)) is not None
                if task.do == "resume":
                    assert await store.list_sessions(*belongs_to(0), _RESUMED_PAGE)
                return time.perf_counter() - started
            case "list":
                assert len(await store.list_sessions("active", "user-0", task.page))
            case "stream":
                assert sum([1 async for _ in store.stream()]) == task.documents
            case "save":
                return await _save(store, prepared, task)
        return _memory("VmHWM") - before
    finally:
        await store.close()


async def _warm_up(kind: type[Store], task: Task) -> None:
    """Use an empty store, so that what opening imports is not taken for its cost."""
    directory = tempfile.mkdtemp(prefix="warm-", dir=Path(task.directory).parent)
    store = kind(Path(directory), durable=task.durable)
    await store.open()
    await store.save("s", session(0, 1))
    await store.close()
    # the peak so far is of the imports
    clear = Path("/proc/self/clear_refs")
    if clear.exists():
        clear.write_text("5")


async def _save(store: Store, prepared: list[dict[str, Any]], task: Task) -> int:
    end = time.perf_counter() + task.seconds
    saved = 0
    while time.perf_counter() < end:
        await store.save(f"p{task.number}-{saved}", prepared[saved % len(prepared)])
        saved += 1
    return saved


def _memory(field: str) -> float:
    """Return a figure of this process's memory, in MB."""
    status = Path("/proc/self/status")
    if not status.exists():
        return float("nan")
    (line,) = (line for line in status.read_text().splitlines() if line.startswith(f"{field}:"))
    return int(line.split()[1]) / 1024


def _say(what: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
