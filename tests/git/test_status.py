"""Nothing that belongs to one machine gets into git, whatever is going on."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from fsstore import FileStorage, SessionService
from tests.filesystem.faults import busy_writer, control
from tests.git.conftest import Repository, assert_right, open_store


def tracked(repository: Repository) -> set[str]:
    return set(repository.git("ls-files").splitlines())


async def documents(storage: FileStorage, count: int) -> None:
    await SessionService(storage).batch_save_sessions({f"s-{number}": {"x": number} for number in range(count)})


async def test_a_new_store_shows_its_marker_and_its_documents_alone(repository: Repository) -> None:
    async with await open_store(repository.store) as storage:
        await documents(storage, 3)
        await storage.list()
        place = {str(repository.place(f"s-{number}").relative_to(repository.root)) for number in range(3)}
        assert set(repository.status().splitlines()) == {f"?? {path}" for path in {*place, "store/fsstore.json"}}
        assert control(repository.store, ".")
        repository.git("add", "-A")
        assert tracked(repository) == {*place, "store/fsstore.json"}
    assert not any(line.startswith("??") for line in repository.status().splitlines())


@pytest.mark.parametrize("fsync", [True, False])
async def test_an_open_store_with_all_its_files_is_clean_for_git(repository: Repository, *, fsync: bool) -> None:
    async with await FileStorage.open(repository.store, fsync=fsync) as storage:
        await documents(storage, 5)
        repository.commit()
        await storage.list()
        with busy_writer(storage):
            # what is under way, and what quarantine holds, too
            (repository.store / ".fsstore/staging/0123").mkdir()
            (repository.store / ".fsstore/staging/0123/s-1.json").write_text("{}")
            (repository.store / ".fsstore/quarantine").mkdir(exist_ok=True)
            (repository.store / ".fsstore/quarantine/s-1.json").write_text("{")
            assert (repository.store / ".fsstore/index.sqlite3").exists()
            assert repository.status() == ""
            repository.git("add", "-A")
            assert not any(".fsstore/" in path for path in tracked(repository))
        await storage.repair()
        assert repository.status() == ""
    assert repository.status() == ""


async def test_a_store_at_the_root_of_the_repository_is_clean_too(repository: Repository) -> None:
    async with await open_store(repository.root) as storage:
        await documents(storage, 2)
        repository.commit()
        await storage.list()
        assert repository.status() == ""
        assert not any(path.startswith(".fsstore/") for path in tracked(repository))


async def test_git_clean_finds_nothing_to_remove_in_an_open_store(repository: Repository) -> None:
    async with await open_store(repository.store) as storage:
        await documents(storage, 3)
        repository.commit()
        await storage.list()
        assert repository.git("clean", "-fdn") == ""
        repository.git("clean", "-fdq")
        repository.git("stash", "--include-untracked", "-q")
        await documents(storage, 4)
        await assert_right(storage, repository.store)


async def test_a_clone_of_an_open_store_is_clean_before_and_after_it_is_opened(
    repository: Repository, tmp_path: Path
) -> None:
    async with await open_store(repository.store) as storage:
        await documents(storage, 3)
        repository.commit()
        clone = repository.clone(tmp_path / "clone")
        assert not (clone.store / ".fsstore").exists()
        async with await open_store(clone.store) as cloned:
            await assert_right(cloned, clone.store)
            assert clone.status() == ""
            await documents(cloned, 3)
            assert {line[:2] for line in clone.status().splitlines()} == {" M"}
        assert {line[:2] for line in clone.status().splitlines()} == {" M"}


async def test_git_never_sees_a_file_of_ours_while_stores_are_made_and_written(repository: Repository) -> None:
    """Asks all the time, and may meet `.gitignore` itself: it looked for one just before that was made."""
    seen: set[str] = set()
    done = asyncio.Event()

    async def ask() -> None:
        while not done.is_set():
            seen.update((await asyncio.to_thread(repository.status)).splitlines())

    asking = asyncio.create_task(ask())
    for number in range(5):
        path = repository.root / f"store{number}"
        async with await open_store(path) as storage:
            await documents(storage, 20)
            await storage.list()
            (await storage.update("s-1", {"data": {"x": "more"}}))
    done.set()
    await asking
    assert not [line for line in seen if "/.fsstore/" in line and not line.endswith("/.fsstore/.gitignore")]
    assert seen


async def test_git_clean_with_x_under_an_open_store_loses_no_document(repository: Repository) -> None:
    async with await open_store(repository.store) as storage:
        await documents(storage, 3)
        repository.commit()
    repository.git("clean", "-fdxq")
    assert not (repository.store / ".fsstore").exists()
    async with await open_store(repository.store) as storage:
        assert await storage.count() == 3
        await assert_right(storage, repository.store)
    assert repository.status() == ""
