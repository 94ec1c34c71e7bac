import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fsstore.filesystem.watch.events import EventBatch, Events, Hint
from tests.filesystem.faults import until


async def test_events_come_from_the_directories_that_are_followed_last(tmp_path: Path) -> None:
    reported: list[EventBatch] = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    events = Events(reported.append)

    def paths() -> set[str]:
        return {Path(hint.path).name for one in reported for hint in one.hints}

    events.follow([str(tmp_path / "a")])
    await until(lambda: any(one.begun for one in reported))
    (tmp_path / "a" / "one").touch()
    await until(lambda: "one" in paths())
    reported.clear()
    events.follow([str(tmp_path / "b")])
    await until(lambda: any(one.begun for one in reported))
    (tmp_path / "b" / "two").touch()
    await until(lambda: "two" in paths())
    await until(lambda: sum(thread.name == "fsstore-events" for thread in threading.enumerate()) == 1)
    (tmp_path / "a" / "three").touch()
    (tmp_path / "b" / "four").touch()
    await until(lambda: "four" in paths())
    assert "three" not in paths()
    events.close()
    assert not any(thread.name == "fsstore-events" for thread in threading.enumerate())


async def test_a_source_that_can_not_begin_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reported: list[EventBatch] = []
    events = Events(reported.append)
    events.follow([str(tmp_path / "nowhere")])
    await until(lambda: reported)
    assert "No such file" in reported[0].error

    def refuse(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    events.follow([str(tmp_path)])
    assert reported[1].error == "can't start new thread"
    events.close()


async def test_nothing_is_reported_while_nothing_happens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each report wakes the watcher, and each look for events is a wake of its own."""
    asked: list[dict[str, Any]] = []
    turns: tuple[set[tuple[int, str]], ...] = (set(), set(), {(1, "x")}, set())

    def watch(*_paths: str, **options: Any) -> Iterator[set[tuple[int, str]]]:
        asked.append(options)
        yield from turns

    monkeypatch.setattr("watchfiles.watch", watch)
    reported: list[EventBatch] = []
    events = Events(reported.append)
    events.follow([str(tmp_path)])
    await until(lambda: not any(thread.name == "fsstore-events" for thread in threading.enumerate()))
    assert reported == [EventBatch([], begun=True), EventBatch([Hint("x", is_written=False)])]
    assert asked[0]["step"] >= 25
    events.close()
