"""What becomes of checkpoints and items whose files are damaged, or edited by hand, with LangGraph at hand."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from langgraph.checkpoint.base import empty_checkpoint

import fsstore.sync
from fsstore.errors import StorageCorruptedError
from fsstore.integrations.langgraph import FsstoreSaver, FsstoreStore

LARGE = "x" * 5000


@pytest.fixture
def saver(quick: Path) -> Iterator[FsstoreSaver]:
    with FsstoreSaver(quick, fsync=False) as opened:
        yield opened


def config(thread: str = "t-1", namespace: str = "") -> Any:
    return {"configurable": {"thread_id": thread, "checkpoint_ns": namespace}}


def put(saver: FsstoreSaver, values: dict[str, Any], to: Any = None, **metadata: Any) -> Any:
    checkpoint: Any = {**empty_checkpoint(), "channel_values": values, "channel_versions": dict.fromkeys(values, 1)}
    return saver.put(to or config(), checkpoint, {"source": "loop", "step": 1, **metadata}, {})


def file_of(directory: Path, wanted: Callable[[Any], bool]) -> Path:
    """Return the file of the one document that is wanted."""
    (found,) = [path for path in directory.glob("??/*.json") if wanted(json.loads(path.read_text("utf-8")))]
    return found


def of_type(kind: str) -> Callable[[Any], bool]:
    return lambda document: bool(document["type"] == kind)


def at(named: Any) -> Callable[[Any], bool]:
    """Want the document of the checkpoint that a config names."""
    place = named["configurable"]
    return lambda document: bool(
        document["type"] == "langgraph.checkpoint" and place.items() <= document["data"]["metadata"].items()
    )


def edit(path: Path, change: Callable[[Any], None]) -> None:
    document = json.loads(path.read_text("utf-8"))
    change(document)
    path.write_text(json.dumps(document), "utf-8")


# -- the newest checkpoint --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("namespace", ["", "lasting", "with.dots/and|more"])
@pytest.mark.parametrize("reopens", [False, True], ids=["known", "opened again"])
def test_a_damaged_checkpoint_is_never_taken_for_one_that_never_was(
    quick: Path, namespace: str, *, reopens: bool
) -> None:
    saver = FsstoreSaver(quick, fsync=False)
    first = put(saver, {"n": 1}, config(namespace=namespace))
    second = put(saver, {"n": 2}, first)
    # a subgraph that ran afterwards
    put(saver, {"n": 3}, config(namespace="inner:task"))
    file_of(quick, at(second)).write_text("{", "utf-8")
    if reopens:
        saver.close()
        saver = FsstoreSaver(quick, fsync=False)
    with saver, pytest.raises(StorageCorruptedError):
        saver.get_tuple(config(namespace=namespace))


@pytest.mark.parametrize(
    "change",
    [
        lambda saver: saver.prune(["t-1"]),
        lambda saver: saver.copy_thread("t-1", "t-2"),
        lambda saver: saver.delete_for_runs(["r-1"]),
    ],
    ids=["prune", "copy", "delete_for_runs"],
)
def test_nothing_is_removed_or_copied_while_the_newest_checkpoint_is_damaged(
    saver: FsstoreSaver, quick: Path, change: Callable[[FsstoreSaver], None]
) -> None:
    first = put(saver, {"large": LARGE + "1"}, run_id="r-1")
    second = put(saver, {"large": LARGE + "2"}, first, run_id="r-2")
    file = file_of(quick, at(second))
    whole = file.read_bytes()
    file.write_text("{", "utf-8")
    with pytest.raises(StorageCorruptedError):
        change(saver)
    file.write_bytes(whole)
    for named, last in ((first, "1"), (second, "2")):
        found = saver.get_tuple(named)
        assert found is not None
        # its blob is there, too
        assert found.checkpoint["channel_values"]["large"][-1] == last


def test_a_thread_goes_with_its_newest_checkpoint_when_that_is_damaged(saver: FsstoreSaver, quick: Path) -> None:
    file_of(quick, at(put(saver, {"n": 1}, put(saver, {"n": 0})))).write_text("{", "utf-8")
    saver.delete_thread("t-1")
    assert list(quick.glob("??/*.json")) == []


def test_a_checkpoint_that_was_removed_is_not_missed(saver: FsstoreSaver) -> None:
    first = put(saver, {"n": 1}, run_id="r-1")
    put(saver, {"n": 2}, first, run_id="r-2")
    saver.delete_for_runs(["r-2"])
    found = saver.get_tuple(config())
    assert found is not None
    assert found.checkpoint["channel_values"] == {"n": 1}
    saver.copy_thread("t-1", "t-2")
    saver.prune(["t-1", "t-2"])
    assert len(list(saver.list(None))) == 2


# -- the line of a thread ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["{", "{}", ""])
def test_a_damaged_line_of_a_thread_is_begun_anew(saver: FsstoreSaver, quick: Path, text: str) -> None:
    first = put(saver, {"n": 1})
    file = file_of(quick, of_type("session"))
    file.write_text(text, "utf-8")
    found = saver.get_tuple(config())
    assert found is not None
    put(saver, {"n": 2}, first)
    with fsstore.sync.open_sessions(quick, fsync=False) as sessions:
        assert [session["metadata"]["step"] for session in sessions.list_sessions()] == [1]
    file.write_text(text, "utf-8")
    saver.prune(["t-1"])
    file.write_text(text, "utf-8")
    saver.copy_thread("t-1", "t-2")
    file.write_text(text, "utf-8")
    saver.delete_thread("t-1")
    assert [found.config["configurable"]["thread_id"] for found in saver.list(None)] == ["t-2"]
    with fsstore.sync.open_sessions(quick, fsync=False) as sessions:
        assert len(sessions.list_sessions()) == 1


# -- edited by hand ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [
        lambda document: document["data"].pop("checkpoint"),
        lambda document: document["data"].pop("checkpoint_metadata"),
        lambda document: document["data"].pop("channel_values"),
        lambda document: document["data"].pop("parent_checkpoint_id"),
        lambda document: document["data"].pop("metadata"),
        lambda document: document["data"]["metadata"].pop("checkpoint_ns"),
        lambda document: document["data"].update(checkpoint={"$ext": "five", "value": 1}),
        lambda document: document["data"].update(checkpoint_metadata={"$float": "few"}),
        lambda document: document["data"].update(channel_values=[]),
        lambda document: document["data"]["channel_values"].update(n={"$chunks": 5, "tail": []}),
        lambda document: document["data"]["channel_values"].update(n={"$blob": ["a"]}),
        lambda document: document["data"]["channel_values"].update(n={"$typed": "msgpack"}),
        lambda document: document["data"]["channel_values"].update(n={"$map": [1]}),
        lambda document: document["data"]["channel_values"].update(n={"$float": "much"}),
        lambda document: document.update(data=[]),
    ],
)
def test_what_is_no_checkpoint_any_more_is_reported_as_damaged(
    saver: FsstoreSaver, quick: Path, change: Callable[[Any], None]
) -> None:
    whole = put(saver, {"n": 0})
    named = put(saver, {"n": 1}, whole)
    edit(file_of(quick, at(named)), change)
    with pytest.raises(StorageCorruptedError, match="t-1//"):
        saver.get_tuple(named)
    with pytest.raises(StorageCorruptedError, match="t-1//"):
        saver.get_tuple(config())
    # one bad document never breaks a list
    assert [found.config for found in saver.list(config())] == [whole]


@pytest.mark.parametrize(
    "change",
    [
        lambda document: document["data"].pop("writes"),
        lambda document: document["data"].update(writes=[5]),
        lambda document: document["data"]["writes"][0].pop("task_path"),
        lambda document: document["data"]["writes"][0].update(value={"$ext": 5}),
        lambda document: document["data"]["metadata"].pop("task_id"),
    ],
)
def test_what_a_task_wrote_is_never_read_in_part(
    saver: FsstoreSaver, quick: Path, change: Callable[[Any], None]
) -> None:
    named = put(saver, {"n": 1})
    saver.put_writes(named, [("n", 2)], "task-1")
    edit(file_of(quick, of_type("langgraph.writes")), change)
    with pytest.raises(StorageCorruptedError, match="task-1"):
        saver.get_tuple(named)


@pytest.mark.parametrize("change", [None, lambda document: document.update(data={"metadata": {}})])
def test_a_history_whose_blob_is_lost_is_reported_as_damaged(
    saver: FsstoreSaver, quick: Path, change: Callable[[Any], None] | None
) -> None:
    newest = put(saver, {}, put(saver, {"large": LARGE}))
    blob = file_of(quick, of_type("langgraph.blob"))
    if change is None:
        blob.unlink()
    else:
        edit(blob, change)
    with pytest.raises(StorageCorruptedError, match="t-1/"):
        saver.get_delta_channel_history(config=newest, channels=["large"])


# -- items ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [
        lambda document: document["data"].pop("value"),
        lambda document: document["data"].update(value=[1]),
        lambda document: document["data"].pop("metadata"),
        lambda document: document["data"]["metadata"].update(namespace="a"),
        lambda document: document["data"]["metadata"].pop("namespace"),
        lambda document: document["data"]["metadata"].update(expires_at=5),
        lambda document: document["data"]["metadata"].update(ttl_minutes="soon"),
        lambda document: document.update(data=5),
    ],
)
def test_what_is_no_item_any_more_breaks_no_list(
    quick: Path, caplog: pytest.LogCaptureFixture, change: Callable[[Any], None]
) -> None:
    with FsstoreStore(quick, fsync=False, ttl={"default_ttl": 1, "omit_expired": True}) as store:
        store.put(("a",), "bad", {"n": 1})
        store.put(("a",), "good", {"n": 1})
        edit(file_of(quick, lambda document: document["id"] == "item/a/bad"), change)
        assert [item.key for item in store.search(("a",), filter={"n": 1})] == ["good"]
        assert "left out of a list" in caplog.text
        assert store.list_namespaces() == [("a",)]
        assert store.sweep_ttl() == 0
        with pytest.raises(StorageCorruptedError, match="item/a/bad"):
            store.get(("a",), "bad")
        store.put(("a",), "bad", {"n": 2})
        assert len(store.search(("a",))) == 2
