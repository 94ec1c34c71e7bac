"""A nightly job without an event loop: it writes a log of its runs, and reports what a store holds.

Run it with a directory: `python nightly_report.py DIRECTORY`.
"""

import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from pydantic import BaseModel

import fsstore.sync
from fsstore import StorageConflictError, StorageNotFoundError


class Step(BaseModel):
    name: str
    seconds: float


class Run(BaseModel):
    metadata: dict[str, Any] = {}
    title: str = ""
    steps: list[Step] = []


def begin(sessions: fsstore.sync.SessionService, run_id: str, title: str) -> None:
    try:
        sessions.save_session(
            run_id, {"metadata": {"status": "running", "tags": ["nightly"]}, "title": title}, expected_version=0
        )
    except StorageConflictError as error:
        print("begun before:", error.id)


def record(sessions: fsstore.sync.SessionService, run_id: str, names: list[str]) -> int:
    def one(name: str) -> int:
        step = Step(name=name, seconds=float(len(name)))
        return sessions.append_session(run_id, [step], path="steps", unique_by="name")

    with ThreadPoolExecutor(4) as threads:
        return max(threads.map(one, names))


def last_steps(sessions: fsstore.sync.SessionService, run_id: str) -> Iterator[str]:
    tail = sessions.read_tail(run_id, 2, "steps")
    while tail.items:
        yield from (str(step["name"]) for step in reversed(tail.items))
        tail = sessions.read_tail(run_id, 2, "steps", before=tail.start)


def finish(sessions: fsstore.sync.SessionService, run_id: str) -> str:
    def done(session: dict[str, Any]) -> None:
        session["metadata"]["status"] = "done"

    saved = sessions.edit_session(run_id, done, timeout_seconds=5.0)
    return str(saved["metadata"]["status"])


def rename(runs: fsstore.sync.TypedSessions[Run], run_id: str, title: str) -> str:
    def change(run: Run) -> None:
        run.title = title

    return runs.edit(run_id, change).title


def copy_run(sessions: fsstore.sync.SessionService, run_id: str, new_id: str) -> None:
    with sessions.transaction() as transaction:
        found = transaction.get_session(run_id)
        if found is None:
            raise StorageNotFoundError(id=run_id)
        transaction.save_session(new_id, found)
        transaction.append_session(new_id, [{"name": "copied", "seconds": 0.0}], path="steps")


def total_seconds(runs: fsstore.sync.TypedSessions[Run]) -> float:
    total = 0.0
    for batch in runs.stream({"tags": "nightly"}, batch_size=10):
        for session in batch:
            total += sum(step.seconds for step in session.data.steps)
    return total


def main(directory: Path) -> None:
    with fsstore.sync.open_sessions("memory:") as scratch:
        begin(scratch, "rehearsal", "in memory")
        print("rehearsed:", scratch.session_exists("rehearsal"))
    with fsstore.sync.open_sessions(directory / "runs", file_mode=0o640, max_bytes=1_000_000, fsync=False) as sessions:
        begin(sessions, "run-1", "the first")
        begin(sessions, "run-1", "again")
        print("steps:", record(sessions, "run-1", ["fetch", "clean", "count", "fetch", "store"]))
        print("last:", len(list(last_steps(sessions, "run-1"))))
        print("status:", finish(sessions, "run-1"))
        runs = sessions.typed(Run)
        print("title:", rename(runs, "run-1", "renamed"))
        copy_run(sessions, "run-1", "run-2")
        print("seconds:", total_seconds(runs))
        print("done:", [metadata["session_id"] for metadata in sessions.list_metadata({"status": "done"}, limit=5)])


if __name__ == "__main__":
    main(Path(sys.argv[1]))
