import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from fsstore import FileStorage
from fsstore.errors import StorageClosedError
from fsstore.filesystem.write.jobs import Call, Commit, Job, Jobs, LookAfterLog, Stop
from fsstore.model.mutations import deleting

SECONDS = 20.0


def nothing() -> None:
    """Do nothing."""


def call() -> Call:
    return Call(nothing, Future(), 0.0)


def commit(changes: int) -> Commit:
    loop = asyncio.new_event_loop()
    try:
        return Commit([deleting(f"n{number}") for number in range(changes)], loop.create_future(), 0.0)
    finally:
        loop.close()


def test_a_wait_whose_time_is_over_before_it_begins_ends() -> None:
    jobs = Jobs("store")

    def wait_often() -> None:
        for _ in range(40_000):
            # one that is there already is taken without a wait
            jobs.put(call())
            assert jobs.next(None) is not None
            assert jobs.next(0.0000001) is None

    waiting = threading.Thread(target=wait_often, daemon=True)
    waiting.start()
    waiting.join(20)
    assert not waiting.is_alive()


def test_commits_that_wait_make_one_group_up_to_the_first_job_of_another_kind() -> None:
    jobs, first, second, other, later = Jobs("store"), commit(1), commit(2), call(), commit(1)
    for job in (first, second, other, later):
        jobs.put(job)

    taken = jobs.next(0)

    assert taken is first
    assert jobs.group(first) == ([first, second], other)
    assert list(jobs.left()) == [later]


def test_a_group_does_not_grow_for_ever() -> None:
    jobs, commits = Jobs("store"), [commit(40), commit(40), commit(1)]
    for job in commits[1:]:
        jobs.put(job)

    assert jobs.group(commits[0]) == (commits[:2], None)
    assert jobs.next(0) is commits[2]
    assert jobs.next(0.0000001) is None


@pytest.mark.parametrize("job", [call, lambda: commit(1), LookAfterLog])
def test_behind_the_last_job_only_the_writer_itself_puts_something(
    job: Callable[[], Call | Commit | LookAfterLog],
) -> None:
    jobs, own = Jobs("store"), call()
    jobs.stop(nothing)

    with pytest.raises(StorageClosedError):
        jobs.put(job())
    jobs.put_own(own)

    assert list(jobs.left()) == [Stop(nothing), own]


class Before:
    """A queue that does something before it takes the first job, as a signal handler or another thread may."""

    def __init__(self, queue: Any, first: Callable[[], object]) -> None:
        self._queue = queue
        self._first = iter([first])

    def put(self, job: Job) -> None:
        for first in self._first:
            first()
        self._queue.put(job)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._queue, name)


def test_another_thread_puts_a_job_while_a_caller_is_in_the_middle_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """A signal handler has interrupted that caller, and waits for the other thread."""
    jobs, job, other = Jobs("store"), call(), call()
    beside = threading.Thread(target=jobs.put, args=[other], daemon=True)

    def in_between() -> None:
        beside.start()
        beside.join(SECONDS)

    monkeypatch.setattr(jobs, "_queue", Before(jobs._queue, in_between))
    jobs.put(job)

    assert list(jobs.left()) == [other, job]


@pytest.mark.parametrize("stop", ["stop", "stop_later"])
async def test_what_was_being_put_when_a_writer_stopped_is_refused(
    stop: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with await FileStorage.open(tmp_path, fsync=False) as storage:
        writer = storage._store.writer
        assert writer is not None
        stopping = writer.stop if stop == "stop" else partial(writer.stop_later, nothing)
        monkeypatch.setattr(writer._jobs, "_queue", Before(writer._jobs._queue, stopping))

        with pytest.raises(StorageClosedError) as refused:
            async with asyncio.timeout(SECONDS):
                await storage.save({"id": "a", "type": "t", "data": {}})

        assert refused.value.outcome == "not applied"
        assert not (tmp_path / storage._documents.name("a")).exists()


async def test_a_writer_that_has_stopped_takes_no_more_jobs(tmp_path: Path) -> None:
    storage = await FileStorage.open(tmp_path, fsync=False)
    writer = storage._store.writer
    assert writer is not None
    await storage.close()
    with pytest.raises(StorageClosedError):
        writer.call(lambda: None)
    with pytest.raises(StorageClosedError):
        writer.commit([])
