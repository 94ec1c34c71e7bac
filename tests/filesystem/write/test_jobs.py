import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path

import pytest

from fsstore import FileStorage
from fsstore.errors import StorageClosedError
from fsstore.filesystem.write.jobs import Call, Commit, Jobs, LookAfterLog, Stop
from fsstore.model.mutations import deleting


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


async def test_a_writer_that_has_stopped_takes_no_more_jobs(tmp_path: Path) -> None:
    storage = await FileStorage.open(tmp_path, fsync=False)
    writer = storage._store.writer
    assert writer is not None
    await storage.close()
    with pytest.raises(StorageClosedError):
        writer.call(lambda: None)
    with pytest.raises(StorageClosedError):
        writer.commit([])
