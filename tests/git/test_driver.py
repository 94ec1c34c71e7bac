from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from fsstore import FileStorage, SessionService
from fsstore.cli.git import repository as configuring
from fsstore.errors import StorageConflictError, StorageCorruptedError
from fsstore.filesystem.documents.codec import decode, encode
from tests.git.conftest import Repository, assert_right, open_store


@pytest_asyncio.fixture
async def project(repository: Repository) -> Repository:
    """Return a repository with one session in a store, for which fsstore is installed."""
    await repository.save("s-1", metadata={"status": "open"}, messages=[{"role": "user", "content": "hello"}])
    repository.fsstore("git", "install")
    repository.commit("first")
    return repository


def contents(repository: Repository, session_id: str = "s-1") -> list[str]:
    data = json.loads(repository.place(session_id).read_bytes())["data"]
    return [message["content"] for message in data["messages"]]


def assert_canonical(path: Path) -> None:
    assert path.read_bytes() == encode(decode(path.read_bytes()), max_bytes=1 << 20)


async def on_branch(repository: Repository, branch: str, session_id: str, *messages: str) -> None:
    """Append messages to a session on a new branch, and come back."""
    repository.git("switch", "-qc", branch)
    await repository.append(session_id, *messages)
    repository.commit(f"work on {branch}")
    repository.git("switch", "-q", "-")


async def test_messages_of_both_branches_are_merged_and_the_open_store_answers(project: Repository) -> None:
    await on_branch(project, "other", "s-1", "from the other")
    async with await open_store(project.store) as storage:
        await project.append("s-1", "from main")
        project.commit()
        await assert_right(storage, project.store)
        project.git("merge", "-q", "other")
        await assert_right(storage, project.store)
    assert contents(project) == ["hello", "from main", "from the other"]
    assert_canonical(project.place("s-1"))
    assert project.status() == ""
    assert json.loads(project.place("s-1").read_bytes())["version"] == 3


async def test_messages_with_times_stand_in_their_order(project: Repository) -> None:
    async def say(second: int, text: str) -> None:
        async with await open_store(project.store) as storage:
            message = {"content": text, "created_at": f"2026-01-01T00:00:0{second}+00:00"}
            await SessionService(storage).edit_session("s-1", lambda data: data["messages"].append(message))

    project.git("switch", "-qc", "other")
    await say(1, "1")
    await say(4, "4")
    project.commit()
    project.git("switch", "-q", "main")
    await say(2, "2")
    await say(3, "3")
    project.commit()
    project.git("merge", "-q", "other")
    assert contents(project) == ["hello", "1", "2", "3", "4"]


@pytest.mark.parametrize("way", ["rebase", "cherry-pick", "stash"])
async def test_rebase_cherry_pick_and_stash_merge_in_the_same_way(project: Repository, way: str) -> None:
    async with await open_store(project.store) as storage:
        await storage.list()
        if way == "stash":
            await project.append("s-1", "from the other")
            project.git("stash", "-q")
            await assert_right(storage, project.store)
        else:
            await on_branch(project, "other", "s-1", "from the other")
        await project.append("s-1", "from main")
        project.commit()
        if way == "rebase":
            project.git("switch", "-q", "other")
            project.git("rebase", "-q", "main")
        else:
            project.git(*(("cherry-pick", "other") if way == "cherry-pick" else ("stash", "pop", "-q")))
        await assert_right(storage, project.store)
    assert contents(project) == ["hello", "from main", "from the other"]


# -- conflicts --------------------------------------------------------------------------------------------------------


async def conflict(project: Repository) -> None:
    """Leave a conflict in s-1, with messages of both sides, beside a whole session s-2."""
    await project.save("s-2", metadata={"status": "open"}, messages=[])
    project.commit()
    for branch, status in (("other", "failed"), ("main", "done")):
        project.git("switch", "-q", *(["-c"] if branch == "other" else []), branch)
        await project.append("s-1", f"from {branch}")
        async with await open_store(project.store) as storage:
            await SessionService(storage).update_session("s-1", {"metadata": {"status": status}})
        project.commit()
    project.git("merge", "-q", "other", code=1)


async def test_a_real_conflict_names_its_path_and_everything_else_is_merged(project: Repository) -> None:
    await conflict(project)
    place = project.place("s-1")
    assert project.status() == f"UU {place.relative_to(project.root)}\n"
    text = place.read_text()
    assert (
        """\
<<<<<<< ours $.data.metadata.status
      "status": "done",
=======
      "status": "failed",
>>>>>>> theirs $.data.metadata.status
"""
        in text
    )
    assert text.count("<<<<<<<") == 1
    assert text.index("from main") < text.index("from other")


async def test_git_is_told_of_the_conflict_in_one_line(project: Repository, tmp_path: Path) -> None:
    versions = []
    for name, status in (("base", "open"), ("ours", "done"), ("theirs", "failed")):
        versions.append(tmp_path / name)
        record = decode(project.place("s-1").read_bytes())
        record["data"]["metadata"].update(status=status, **{f"key {number}": status for number in range(3)})
        versions[-1].write_bytes(encode(record, max_bytes=1 << 20))
    printed, said = project.fsstore("git", "merge", *map(str, versions), "3f/s-1.json", "--marker-size=9", code=1)
    assert printed == ""
    assert said == (
        "fsstore: 3f/s-1.json: conflict at $.data.metadata['key 0'], $.data.metadata['key 1'], "
        "$.data.metadata['key 2'] and 1 more; choose a side in an editor, take the marker lines out, and git add it\n"
    )
    assert (tmp_path / "ours").read_text().count("<" * 9 + " ours $.data.metadata") == 4


async def test_a_document_in_conflict_is_corrupt_until_it_is_solved_and_lists_go_on(project: Repository) -> None:
    async with await open_store(project.store) as storage:
        sessions = SessionService(storage)
        await storage.list()
        await conflict(project)
        with pytest.raises(StorageCorruptedError) as caught:
            await sessions.get_session("s-1")
        assert str(caught.value).endswith(
            "it holds git's conflict markers: keep one side of each conflict, take the marker lines out, "
            "and git add it; or take one side of the whole file with `git checkout --ours` or `--theirs`"
        )
        with pytest.raises(StorageCorruptedError):
            await sessions.save_session("s-1", {})
        assert await sessions.session_exists("s-1")
        await storage.refresh()
        assert [session["metadata"]["session_id"] for session in await sessions.list_sessions()] == ["s-2"]
        assert await sessions.count_sessions() == 1
        (corrupt,) = (await sessions.health_check())["corrupt"]
        assert corrupt["file"] == os.fspath(project.place("s-1").relative_to(project.store))
        assert "git add" in corrupt["reason"]
        report = await storage.verify()
        assert [finding.kind for finding in report.damage] == ["in_conflict"]

        kept = [line for line in project.place("s-1").read_text().splitlines() if line[:7] not in MARKERS]
        project.place("s-1").write_text("\n".join(line for line in kept if '"done"' not in line))
        project.git("commit", "-qam", "solved")
        await assert_right(storage, project.store)
        assert (await sessions.get_session("s-1") or {})["metadata"]["status"] == "failed"


MARKERS = ("<" * 7, "=" * 7, ">" * 7)


async def test_a_save_while_git_waits_for_the_solution_takes_no_side(project: Repository) -> None:
    await conflict(project)
    before = project.place("s-1").read_bytes()
    for change in ({"metadata": {"status": "new"}}, {}):
        with pytest.raises((StorageCorruptedError, StorageConflictError)):
            await project.save("s-1", **change)
    assert project.place("s-1").read_bytes() == before


async def test_a_repair_leaves_a_conflict_to_whoever_solves_it(project: Repository) -> None:
    await conflict(project)
    before = project.place("s-1").read_bytes()
    os.utime(project.place("s-1"), (1_700_000_000, 1_700_000_000))
    report = json.loads(project.fsstore("repair", "--store", "store", "--format", "json", code=4)[0])
    assert report["moved"] == []
    assert [(finding["kind"], finding["damage"]) for finding in report["left"]] == [("in_conflict", True)]
    assert project.place("s-1").read_bytes() == before
    assert project.status().startswith("UU ")


@pytest.mark.parametrize("side", ["ours", "theirs"])
async def test_git_checkout_takes_a_whole_side(project: Repository, side: str) -> None:
    await conflict(project)
    project.git("checkout", f"--{side}", "--", "store")
    async with await open_store(project.store) as storage:
        await assert_right(storage, project.store)
    assert contents(project) == ["hello", "from main" if side == "ours" else "from other"]


# -- what git asks beside ---------------------------------------------------------------------------------------------


async def test_a_session_that_both_have_made_is_merged(project: Repository) -> None:
    for branch in ("other", "main"):
        project.git("switch", "-q", *(["-c"] if branch == "other" else []), branch)
        await project.save("new", metadata={branch: True}, messages=[{"content": "same"}, {"content": branch}])
        project.commit()
    project.git("merge", "-q", "other")
    async with await open_store(project.store) as storage:
        session: Any = await SessionService(storage).get_session("new")
    assert [message["content"] for message in session["messages"]] == ["same", "main", "other"]
    assert session["metadata"]["main"] is session["metadata"]["other"] is True
    assert_canonical(project.place("new"))


async def test_a_session_that_one_has_deleted_and_one_has_changed_is_left_to_git(project: Repository) -> None:
    await on_branch(project, "other", "s-1", "more")
    await delete(project, "s-1")
    project.commit()
    project.git("merge", "-q", "other", code=1)
    assert project.status().startswith("DU ")
    async with await open_store(project.store) as storage:
        await assert_right(storage, project.store)
    assert contents(project) == ["hello", "more"]


async def delete(project: Repository, session_id: str) -> None:
    async with await open_store(project.store) as storage:
        await SessionService(storage).delete_session(session_id)


@pytest.mark.parametrize("deletes", ["ours", "theirs"])
async def test_a_session_is_never_mixed_with_one_that_git_takes_for_its_new_name(
    project: Repository, deletes: str
) -> None:
    await project.save("s-1", messages=[{"content": "long"} for _ in range(50)])
    project.commit()
    await on_branch(project, "other", "s-1", "for s-1 only")
    await delete(project, "s-1")
    await project.save("s-9", messages=[{"content": "long"} for _ in range(50)])
    project.commit()
    if deletes == "theirs":
        project.git("branch", "renaming")
        project.git("switch", "-q", "other")
    project.git("merge", "-q", "other" if deletes == "ours" else "renaming", code=1)
    text = project.place("s-9").read_text()
    sides = text.partition("\n=======\n")
    assert "\n<<<<<<< ours $\n" in f"\n{text}"
    assert ["for s-1 only" in side for side in (sides[0], sides[2])] == [deletes == "theirs", deletes == "ours"]
    async with await open_store(project.store) as storage:
        with pytest.raises(StorageCorruptedError):
            await storage.load("s-9")


@pytest.mark.parametrize("text", ["{not json\n", "[1]\n", '{"id": "s-1"}\n', '{"id": 1}\n'])
async def test_what_is_no_document_is_merged_by_lines(project: Repository, text: str) -> None:
    foreign = project.store / "3f" / "foreign.json"
    foreign.parent.mkdir(exist_ok=True)
    foreign.write_text("a\n" + text + "b\n")
    project.commit()
    project.git("switch", "-qc", "other")
    foreign.write_text("a\n" + text + "b\nother\n")
    project.commit()
    project.git("switch", "-q", "main")
    foreign.write_text("main\na\n" + text + "b\n")
    project.commit()
    project.git("merge", "-q", "other")
    assert foreign.read_text() == "main\na\n" + text + "b\nother\n"


async def test_lines_in_conflict_are_told_with_the_reason(project: Repository, tmp_path: Path) -> None:
    names = [str(tmp_path / name) for name in ("base", "ours", "theirs")]
    for name, text in zip(names, ("", '{"id": "a\n', '{"id": "b\n'), strict=True):
        Path(name).write_text(text)
    _, said = project.fsstore("git", "merge", *names, "store/3f/a.json", code=1)
    assert said.startswith("fsstore: store/3f/a.json: merged by lines, since ")
    assert Path(names[1]).read_text().startswith("<<<<<<< ours\n")


async def test_numbers_that_the_store_could_not_write_are_merged_by_lines(project: Repository) -> None:
    place = project.place("s-1")
    huge = place.read_text().replace('"status": "open"', f'"big": {10**30},\n      "status": "open"')
    place.write_text(huge)
    project.commit()
    project.git("switch", "-qc", "other")
    place.write_text(huge.replace("hello", "good bye"))
    project.commit()
    project.git("switch", "-q", "main")
    place.write_text(huge.replace('"version": 1', '"version": 2'))
    project.commit()
    project.git("merge", "-q", "other")
    merged = decode(place.read_bytes())
    assert (merged["data"]["metadata"]["big"], merged["version"]) == (10**30, 2)
    assert merged["data"]["messages"][0]["content"] == "good bye"


async def test_a_store_in_a_directory_with_an_odd_name_is_merged_from_anywhere(repository: Repository) -> None:
    odd = Repository(repository.root / 'it\'s an $odd "náme" %O;', repository.environment)
    odd.root.mkdir()
    await odd.save("s-1", metadata={}, messages=[])
    repository.fsstore("git", "install")
    odd.commit()
    await on_branch(odd, "other", "s-1", "from the other")
    await odd.append("s-1", "from main")
    odd.commit()
    odd.git("merge", "-q", "other")
    assert contents(odd) == ["from main", "from the other"]


async def test_an_interpreter_in_a_directory_with_an_odd_name_is_started(
    repository: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    interpreter = tmp_path / "it's 100%A $py" / "python"
    interpreter.parent.mkdir()
    interpreter.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    interpreter.chmod(0o755)
    await repository.save("s-1", metadata={}, messages=[])
    repository.fsstore("git", "install")
    monkeypatch.setattr(sys, "executable", str(interpreter))
    monkeypatch.setattr("shutil.which", lambda name: None if name == "fsstore" else f"/usr/bin/{name}")
    configuring.Repository.around(repository.root).configure()
    repository.commit()
    await on_branch(repository, "other", "s-1", "from the other")
    await repository.append("s-1", "from main")
    repository.commit()
    assert "+    - " not in repository.git("log", "-p", "-1")
    assert "+[user]\n+    from main\n" in repository.git("log", "-p", "-1")
    repository.git("merge", "-q", "other")
    assert contents(repository) == ["from main", "from the other"]


async def test_a_merge_that_can_not_be_written_is_an_error(project: Repository, tmp_path: Path) -> None:
    document = str(project.place("s-1"))
    _, said = project.fsstore("git", "merge", document, str(tmp_path / "absent"), document, "x.json", code=2)
    assert "there is no file" in said


async def test_what_git_has_merged_can_be_saved_over(project: Repository) -> None:
    await on_branch(project, "other", "s-1", "from the other")
    await project.append("s-1", "from main")
    project.commit()
    async with await open_store(project.store) as storage:
        sessions = SessionService(storage)
        seen: Any = await sessions.get_record("s-1")
        project.git("merge", "-q", "other")
        with pytest.raises(StorageConflictError):
            await sessions.update_session("s-1", {"x": 1}, expected_version=seen["version"])
        await sessions.update_session("s-1", {"x": 1}, expected_version=seen["version"] + 1)
        assert isinstance(storage, FileStorage)
        await assert_right(storage, project.store)
