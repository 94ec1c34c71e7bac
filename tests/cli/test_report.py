import errno
from collections.abc import Callable
from pathlib import Path

import pytest

from fsstore.errors import StorageUnavailableError
from fsstore.filesystem.read.fresh_index import FreshIndex
from tests.cli.conftest import Run, Terminal
from tests.filesystem.refused import Bad

Save = Callable[..., None]


def fill(save: Save) -> None:
    for number in range(6):
        save(f"s{number}", status="done" if number < 4 else "failed", user_id=f"user{number % 2}")
    save("plain")


def test_stats_count_by_status_and_user(fsstore: Run, save: Save) -> None:
    fill(save)
    report = fsstore("stats", "--format", "json").json()
    assert report["status"] == [
        {"status": "done", "sessions": 4},
        {"status": "failed", "sessions": 2},
        {"status": None, "sessions": 1},
    ]
    assert {row["user_id"]: row["sessions"] for row in report["user_id"]} == {"user0": 3, "user1": 3, None: 1}
    assert report["store"]["documents"] == report["store"]["sessions"] == 7
    assert report["store"]["corrupt"] == 0


def test_stats_name_only_the_users_with_the_most_sessions(fsstore: Run, save: Save) -> None:
    for number in range(12):
        save(f"s{number}", user_id=f"user{number}")
    save("more", user_id="user7")
    users = fsstore("stats", "--format", "json").json()["user_id"]
    assert len(users) == 10
    assert users[0] == {"user_id": "user7", "sessions": 2}


def test_stats_as_text_are_pairs_of_words(fsstore: Run, save: Save) -> None:
    fill(save)
    blocks = [block.split("\n") for block in fsstore("stats").out.strip().split("\n\n")]
    assert "documents\t7" in blocks[0]
    assert "writable\tyes" in blocks[0]
    assert blocks[1] == ["status\tsessions", "done\t4", "failed\t2", "-\t1"]
    assert blocks[2][0] == "user\tsessions"


def test_health_lists_corrupt_documents_and_ends_with_4(fsstore: Run, save: Save, store: Path) -> None:
    fill(save)
    assert fsstore("health").code == 0
    (path,) = store.glob("??/s3.json")
    path.write_text("{")
    result = fsstore("health")
    assert result.code == 4
    assert "corrupt\t1\n" in result.out
    assert f"\t{path.parent.name}/s3.json: " in result.out
    result = fsstore("health", "--format", "json")
    assert result.code == 4
    assert [problem["file"] for problem in result.json()["corrupt"]] == [f"{path.parent.name}/s3.json"]
    assert fsstore("stats", "--format", "json").json()["store"]["corrupt"] == 1
    assert "s3" not in fsstore("ls", "--format", "ids").out.split()


@pytest.mark.parametrize("form", ["table", "json"])
def test_health_that_cannot_count_says_so_and_ends_with_5(
    fsstore: Run, save: Save, monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    async def refused(*_: object) -> None:
        raise StorageUnavailableError(reason="Input/output error", path="store", errno=errno.EIO)

    fill(save)
    monkeypatch.setattr(FreshIndex, "refresh", refused)
    result = fsstore("health", "--format", form)
    assert result.code == 5
    assert "Input/output error" in result.out
    assert "degraded" in result.out


def test_health_and_stats_name_what_the_disk_cannot_read(
    fsstore: Run, save: Save, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(save)
    (path,) = store.glob("??/s3.json")
    path.write_text(path.read_text() + " ")
    Bad(monkeypatch).bases = {"s3.json"}
    result = fsstore("health")
    assert result.code == 4
    assert "corrupt\t0\n" in result.out
    assert "refused\t1\n" in result.out
    assert "s3.json: Input/output error; check the medium" in result.out
    report = fsstore("health", "--format", "json").json()
    assert [problem["file"] for problem in report["corrupt"]] == [problem["file"] for problem in report["refused"]]
    assert f"\t{path.parent.name}/s3.json: Input/output error" in result.out
    result = fsstore("stats")
    assert (result.code, "documents\t6" in result.out) == (0, True)
    assert "corrupt\t0\n" in result.out
    assert "refused\t1\n" in result.out
    assert f"1 file cannot be read and is left out: {path.parent.name}/s3.json" in result.err


@pytest.mark.parametrize("arguments", [["ls"], ["count"], ["health"], ["stats"], ["verify"], ["ls", "--format", "ids"]])
def test_names_that_would_steer_a_terminal_are_shown_escaped(save: Save, store: Path, arguments: list[str]) -> None:
    save("s1")
    (shard,) = {path.parent for path in store.glob("*/*.json")}
    (shard / "\x1b]0;owned\x07\u202e.json").write_text("{}")
    # no colours, which are sequences of our own
    _, shown = Terminal(*arguments, env={"NO_COLOR": "1", "TERM": "dumb"}).finish()

    assert r"\x1b]0;owned\x07\u202e.json" in "".join(shown.split())
    assert not {"\x1b", "\x07", "\u202e"} & set(shown)
