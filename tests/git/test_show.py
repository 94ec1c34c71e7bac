from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.git.conftest import Repository, open_store

ROOT = Path(__file__).parents[2]


async def test_a_diff_and_a_log_show_messages(repository: Repository) -> None:
    await repository.save("s-1", metadata={"status": "open"}, messages=[{"role": "user", "content": "hello"}])
    repository.fsstore("git", "install")
    repository.commit()
    await repository.append("s-1", "It is late.\nVery late.")
    for shown in (repository.git("diff"), committed(repository)):
        assert "+[user]\n+    It is late.\n+    Very late.\n" in shown
        assert "-  version: 1\n" in shown
        assert "+  version: 2\n" in shown
        assert '"content"' not in shown


def committed(repository: Repository) -> str:
    repository.commit()
    return repository.git("log", "-p", "-1")


async def test_the_heading_of_a_hunk_is_the_message_it_is_in(repository: Repository) -> None:
    lines = [f"line {number}" for number in range(20)]
    await repository.save("s-1", messages=[{"role": "user", "created_at": "noon", "content": "\n".join(lines)}])
    repository.fsstore("git", "install")
    repository.commit()
    await repository.save("s-1", messages=[{"role": "user", "created_at": "noon", "content": "\n".join([*lines, "x"])}])
    assert "@@ [user] noon\n" in repository.git("diff")


@pytest.mark.parametrize(
    "text", ["{", "[]\n", '{"id": "s-1"}\n', "\udcff\udcfe", "<<<<<<< ours\n=======\n>>>>>>> theirs\n"]
)
async def test_what_is_no_document_is_shown_as_it_is(repository: Repository, text: str) -> None:
    await repository.save("s-1")
    repository.fsstore("git", "install")
    repository.commit()
    repository.place("s-1").write_bytes(text.encode(errors="surrogateescape"))
    shown = repository.git("diff")
    for line in text.splitlines():
        assert f"+{line}\n" in shown


async def test_a_number_that_the_store_could_not_write_is_shown(repository: Repository) -> None:
    await repository.save("s-1", x=1)
    place = repository.place("s-1")
    place.write_text(place.read_text().replace('"x": 1', f'"x": {10**30}'))
    assert repository.fsstore("git", "show", str(place))[0] == place.read_text()


def test_a_file_that_is_not_there_is_an_error(repository: Repository) -> None:
    assert "there is no file absent" in repository.fsstore("git", "show", "absent", code=2)[1]


async def test_the_sample_store_is_shown(repository: Repository) -> None:
    shutil.copytree(ROOT / "sample_data" / "store", repository.store, ignore=shutil.ignore_patterns(".fsstore"))
    repository.fsstore("git", "install")
    repository.commit()
    async with await open_store(repository.store) as storage:
        (record,) = await storage.list({"type": "session"}, 1)
        await storage.update(record["id"], {"data": {"metadata": {"status": "reviewed"}}})
    assert '+    status: "reviewed"\n' in repository.git("diff")
