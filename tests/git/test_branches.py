"""What git does to the files of an open store: after a refresh every answer is what the files say."""

from __future__ import annotations

import asyncio
import os
from typing import Any

import pytest

from fsstore import SessionService
from fsstore.filesystem.disk import files, trust
from fsstore.filesystem.disk.signatures import Signature
from tests.git.conftest import Repository, assert_right, open_store

HOUR_NS = 3_600_000_000_000


def session(number: int, branch: str) -> dict[str, Any]:
    """Return a session of the same size on every branch whose name is as long."""
    status = "open" if (number + len(branch) + ord(branch[0])) % 2 else "done"
    return {
        "metadata": {"status": status, "tags": ["red", branch], "rank": number},
        "state": {"step": number},
        "text": f"{branch} {number}",
    }


async def fill(repository: Repository, branch: str, numbers: range) -> None:
    async with await open_store(repository.store) as storage:
        await SessionService(storage).batch_save_sessions({f"s{number}": session(number, branch) for number in numbers})


async def branches(repository: Repository) -> None:
    """Make main and side: they share some sessions, differ in others, and each has some of its own."""
    await fill(repository, "base", range(12))
    repository.commit("base")
    repository.git("switch", "-qc", "side")
    await fill(repository, "side", range(6))
    await fill(repository, "side", range(20, 24))
    repository.commit("side")
    repository.git("switch", "-q", "main")
    async with await open_store(repository.store) as storage:
        await storage.batch_delete(["s6", "s7"])
    await fill(repository, "main", range(8, 10))
    await fill(repository, "main", range(30, 33))
    repository.commit("main")


async def test_switching_branches_under_an_open_store(repository: Repository) -> None:
    await branches(repository)
    async with await open_store(repository.store) as storage:
        await assert_right(storage, repository.store)
        for branch in ("side", "main", "side", "HEAD~1", "main"):
            repository.git("checkout", "-q", branch)
            await assert_right(storage, repository.store)
        assert repository.status() == ""


@pytest.mark.parametrize(
    "steps",
    [
        [("merge", "-q", "side")],
        [("merge", "-q", "--no-ff", "side"), ("reset", "-q", "--hard", "HEAD~1"), ("merge", "-q", "side")],
        [("rebase", "-q", "side")],
        [("cherry-pick", "side")],
        [("merge", "-q", "--squash", "side"), ("commit", "-qm", "squashed"), ("revert", "--no-edit", "HEAD")],
    ],
    ids=["merge", "merge and reset", "rebase", "cherry-pick", "squash and revert"],
)
async def test_history_is_rewritten_under_an_open_store(repository: Repository, steps: list[tuple[str, ...]]) -> None:
    await branches(repository)
    async with await open_store(repository.store) as storage:
        await storage.list()
        for step in steps:
            repository.git(*step)
            await assert_right(storage, repository.store)
        assert await storage.load("s20") is not None or steps[-1][0] == "revert"


async def test_a_stash_and_its_return_under_an_open_store(repository: Repository) -> None:
    await branches(repository)
    async with await open_store(repository.store) as storage:
        sessions = SessionService(storage)
        await sessions.save_session("s1", session(1, "mine"))
        await sessions.save_session("new", session(2, "mine"))
        await sessions.delete_session("s2")
        repository.git("stash", "-q", "--include-untracked")
        await assert_right(storage, repository.store)
        assert await sessions.get_session("new") is None
        assert await sessions.get_session("s2") is not None
        repository.git("stash", "pop", "-q")
        await assert_right(storage, repository.store)
        assert (await sessions.get_session("new") or {})["text"] == "mine 2"
        assert await sessions.get_session("s2") is None


async def test_single_files_are_restored_under_an_open_store(repository: Repository) -> None:
    await branches(repository)
    async with await open_store(repository.store) as storage:
        await SessionService(storage).batch_save_sessions({f"s{number}": {} for number in range(4)})
        await storage.delete("s8")
        await storage.refresh()
        repository.git("checkout", "-q", "--", "store")
        await assert_right(storage, repository.store)
        repository.git("checkout", "-q", "side", "--", "store")
        await assert_right(storage, repository.store)


async def test_documents_are_saved_into_directories_that_git_has_removed(repository: Repository) -> None:
    await branches(repository)
    repository.git("switch", "-q", "side")
    shard = repository.place("s20").parent
    async with await open_store(repository.store) as storage:
        await storage.list()
        assert shard.is_dir()
        repository.git("switch", "-q", "main")
        assert not shard.exists()
        assert await storage.load("s20") is None
        await SessionService(storage).save_session("s20", session(20, "main"))
        await assert_right(storage, repository.store)
        await SessionService(storage).batch_save_sessions({f"s{number}": {} for number in range(20, 24)})
        await assert_right(storage, repository.store)


async def test_git_removes_every_directory_and_brings_them_back(repository: Repository) -> None:
    await fill(repository, "base", range(30))
    repository.commit()
    async with await open_store(repository.store) as storage:
        await storage.list()
        repository.git("rm", "-rq", "--", ":(glob)store/??/*.json")
        assert list(repository.store.glob("??")) == []
        await assert_right(storage, repository.store)
        assert await storage.count() == 0
        repository.git("reset", "-q", "--hard")
        await assert_right(storage, repository.store)
        assert await storage.count() == 30


# -- flip-flop --------------------------------------------------------------------------------------------------------


async def twins(repository: Repository, count: int) -> None:
    """Make two branches, `one` and `two`, whose documents have the same names and sizes."""
    await fill(repository, "one", range(count))
    repository.commit("one")
    repository.git("branch", "-m", "one")
    repository.git("switch", "-qc", "two")
    for path in repository.store.glob("??/*.json"):
        text = path.read_text()
        changed = text.replace("one", "two")
        # of the same size
        path.write_text(changed.replace('"open"', '"????"').replace('"done"', '"open"').replace('"????"', '"done"'))
        assert path.stat().st_size == len(text.encode())
    repository.commit("two")


@pytest.mark.parametrize("inode", ["kept", "free"])
async def test_a_flip_flop_within_one_tick_of_the_clock_gives_no_stale_answer(
    repository: Repository, monkeypatch: pytest.MonkeyPatch, inode: str
) -> None:
    """A tick of an hour, and a file system that may give the number of a removed file to the next one."""
    real = vars(files)["signature_in"]

    def coarse(found: os.stat_result) -> Signature:
        number, size, *times = real(found)
        is_document = 300 < size < 4000
        # the tick that ends in the future: for the store everything was changed just now
        return Signature(
            1 if inode == "kept" and is_document else number, size, *(time - time % HOUR_NS + HOUR_NS for time in times)
        )

    monkeypatch.setattr(files, "signature_in", coarse)
    monkeypatch.setattr(trust, "shows_every_change", lambda _tree, _name: False)
    await twins(repository, 8)
    async with await open_store(repository.store) as storage:
        for turn in range(6):
            branch = ("one", "two")[turn % 2]
            repository.git("checkout", "-q", branch)
            await assert_right(storage, repository.store)
            assert {record["data"]["metadata"]["tags"][1] for record in await storage.list()} == {branch}
            assert (await storage.health_check())["corrupt"] == []


async def test_a_flip_flop_as_fast_as_git_can_gives_no_stale_answer(repository: Repository) -> None:
    await twins(repository, 20)
    async with await open_store(repository.store) as storage:
        for turn in range(10):
            repository.git("checkout", "-q", ("one", "two")[turn % 2])
            await storage.refresh()
            listed = await SessionService(storage).list_metadata()
            assert {metadata["tags"][1] for metadata in listed} == {("one", "two")[turn % 2]}
        await assert_right(storage, repository.store)


async def test_who_reads_while_git_switches_meets_no_corruption_and_no_foreign_text(repository: Repository) -> None:
    await twins(repository, 60)
    seen: set[str] = set()
    async with await open_store(repository.store) as storage:
        sessions = SessionService(storage)
        done = asyncio.Event()

        async def read() -> None:
            number = 0
            while not done.is_set():
                number = (number + 1) % 60
                # git takes a file away before it writes the other one, so it may be absent for a moment
                session = await sessions.get_session(f"s{number}")
                seen.add("absent" if session is None else session["text"].partition(" ")[0])
                for listed in await sessions.list_sessions({"status": "open"}, 5):
                    assert listed["metadata"]["status"] == "open"

        reading = asyncio.create_task(read())
        for turn in range(12):
            await asyncio.to_thread(repository.git, "checkout", "-q", ("one", "two")[turn % 2])
        done.set()
        await reading
        assert {"one", "two"} <= seen <= {"one", "two", "absent"}
        await assert_right(storage, repository.store)
        assert (await storage.health_check())["corrupt"] == []
    assert repository.status() == ""
