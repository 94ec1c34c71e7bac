"""`FsstoreSaver` with LangGraph at hand."""

from __future__ import annotations

import asyncio
import datetime as dt
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from enum import Enum
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from langchain_core.messages import AIMessage, HumanMessage
from langgraph.checkpoint.base import BaseCheckpointSaver, empty_checkpoint
from langgraph.checkpoint.serde.encrypted import EncryptedSerializer
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from langgraph.checkpoint.serde.types import _DeltaSnapshot

import fsstore
import fsstore.sync
from fsstore.errors import StorageCorruptedError, StorageValidationError
from fsstore.integrations.langgraph import FsstoreSaver
from fsstore.integrations.langgraph.savers.checkpoints import Checkpoints
from fsstore.integrations.langgraph.savers.pruning import Pruning
from fsstore.integrations.langgraph.savers.values import read, written
from tests.integrations.checks.interrupted import Interrupted

ROOT = Path(__file__).parents[3]
SERDE = JsonPlusSerializer()


class Colour(Enum):
    red = "red"


@dataclass
class Point:
    x: int
    y: float


@pytest.fixture
def saver(quick: Path) -> Iterator[FsstoreSaver]:
    with FsstoreSaver(quick, fsync=False) as opened:
        yield opened


def config(thread: str = "t-1", namespace: str = "", checkpoint: str | None = None) -> Any:
    named = {"checkpoint_id": checkpoint} if checkpoint else {}
    return {"configurable": {"thread_id": thread, "checkpoint_ns": namespace, **named}}


def put(saver: FsstoreSaver, values: dict[str, Any], to: Any = None, **metadata: Any) -> Any:
    checkpoint: Any = {**empty_checkpoint(), "channel_values": values, "channel_versions": dict.fromkeys(values, 1)}
    return saver.put(to or config(), checkpoint, {"source": "loop", "step": 1, **metadata}, {})


def types_in(directory: Path) -> dict[str, int]:
    with fsstore.sync.open_storage(directory) as storage:
        records = storage.list()
    found: dict[str, int] = {}
    for record in records:
        found[record["type"]] = found.get(record["type"], 0) + 1
    return found


# -- values -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "value",
    [
        *(None, True, 0, 2**63, -(2**63), 1.0, -0.0, "text", "", b"bytes", bytearray(b"array")),
        *([], {}, [1, [2, {"a": None}]], {"$ext": 5, "value": 1}, {"$blob": "x"}, {"$typed": "x", "base64": ""}),
        *({1: "int", (1, 2): "tuple", None: 1}, {"a": float("inf")}, {"deep": b"\0\xff"}),
        *(HumanMessage("hi", id="1"), AIMessage("ho", tool_calls=[{"name": "f", "args": {"q": 1.5}, "id": "2"}])),
        *(dt.datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=dt.UTC), dt.date(2026, 1, 1), dt.timedelta(seconds=1.5)),
        *(UUID(int=1), Decimal("1.10"), Colour.red, Point(1, 2.0), Path("/a/b"), {1, 2}, frozenset({"a"})),
        *(_DeltaSnapshot([HumanMessage("hi", id="1")]), [HumanMessage(str(n), id=str(n)) for n in range(200)]),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_value_comes_back_equal(saver: FsstoreSaver, value: Any) -> None:
    put(saver, {"channel": value, "large": ["x" * 5000, value]})
    found = saver.get_tuple(config())
    assert found is not None
    back = found.checkpoint["channel_values"]
    assert (back["channel"], type(back["channel"])) == (value, type(value))
    assert back["large"] == ["x" * 5000, value]


def test_a_number_that_is_none_comes_back(saver: FsstoreSaver) -> None:
    put(saver, {"channel": float("nan")})
    found = saver.get_tuple(config())
    assert found is not None
    assert str(found.checkpoint["channel_values"]["channel"]) == "nan"


# one that is no number may be any of many, and only the usual one is written as such
floats = st.floats(allow_nan=False) | st.just(float("nan"))
scalars = st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | floats | st.text() | st.binary()
trees = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text() | st.integers(-5, 5), inner, max_size=4),
    max_leaves=20,
)


@settings(max_examples=300, deadline=None)
@given(trees)
def test_any_tree_is_written_in_json_and_read_bit_by_bit(value: Any) -> None:
    typed = SERDE.dumps_typed(value)
    tree = written(typed)
    assert read(tree) == typed
    assert not (isinstance(tree, dict) and "base64" in tree) or typed[0] == "bytes"


def test_what_is_too_deep_for_json_is_kept_as_it_is(saver: FsstoreSaver) -> None:
    deep: Any = 1
    for _ in range(180):
        deep = [deep]
    put(saver, {"channel": deep})
    found = saver.get_tuple(config())
    assert found is not None
    assert found.checkpoint["channel_values"]["channel"] == deep


@pytest.mark.parametrize("kind", ["list", "map", "map of tuples", "object"])
def test_a_value_of_any_depth_comes_back(saver: FsstoreSaver, kind: str) -> None:
    nest: dict[str, Callable[[Any], Any]] = {
        "list": lambda inner: [inner],
        "map": lambda inner: {1: inner},
        "map of tuples": lambda inner: {(1,): [inner]},
        "object": lambda inner: _DeltaSnapshot([inner]),
    }
    deep: Any = 1
    for _ in range(120):
        deep = nest[kind](deep)
        put(saver, {"channel": deep})
        found = saver.get_tuple(config())
        assert found is not None
        assert found.checkpoint["channel_values"]["channel"] == deep


def test_encrypted_values_are_no_secret_of_the_store(quick: Path) -> None:
    pytest.importorskip("langgraph.checkpoint.serde.encrypted")

    class Turning:
        """A cipher for tests."""

        def encrypt(self, plaintext: bytes) -> tuple[str, bytes]:
            return "turned", bytes(byte ^ 0x5A for byte in plaintext)

        def decrypt(self, ciphername: str, ciphertext: bytes) -> bytes:
            assert ciphername == "turned"
            return bytes(byte ^ 0x5A for byte in ciphertext)

    cipher: Any = Turning()
    messages = [HumanMessage(f"secret {n}", id=str(n)) for n in range(100)]
    with FsstoreSaver(quick, serde=EncryptedSerializer(cipher)) as saver:
        put(saver, {"messages": messages})
        found = saver.get_tuple(config())
        assert found is not None
        assert found.checkpoint["channel_values"]["messages"] == messages
    assert not any(b"secret 1" in path.read_bytes() for path in quick.rglob("*.json"))


def test_the_list_of_allowed_classes_of_the_serializer_holds(quick: Path) -> None:
    with FsstoreSaver(quick) as saver:
        put(saver, {"point": Point(1, 2.0)})
    with FsstoreSaver(quick, serde=JsonPlusSerializer(allowed_msgpack_modules=None)) as strict:
        found = strict.get_tuple(config())
        assert found is not None
        # not built: what it was made of
        assert found.checkpoint["channel_values"]["point"] == {"x": 1, "y": 2.0}


def test_messages_are_readable_in_the_file(saver: FsstoreSaver, quick: Path) -> None:
    put(saver, {"messages": [HumanMessage("où est le pont?", id="1")]})
    (text,) = [path.read_text("utf-8") for path in quick.rglob("*.json") if "channel_values" in path.read_text("utf-8")]
    assert '"content": "où est le pont?"' in text
    assert '"HumanMessage"' in text


# -- what is kept -----------------------------------------------------------------------------------------------------


def test_a_list_that_grows_is_stored_once(saver: FsstoreSaver, quick: Path) -> None:
    messages: list[Any] = [HumanMessage("x" * 100, id=f"before-{number}") for number in range(64)]
    for turn in range(66):
        messages.append(HumanMessage("x" * 100, id=str(turn)))
        put(saver, {"messages": messages})
    assert types_in(quick) == {"langgraph.checkpoint": 66, "langgraph.blob": 2, "session": 1}
    found = saver.get_tuple(config())
    assert found is not None
    assert found.checkpoint["channel_values"]["messages"] == messages


def test_records_are_found_by_the_command_line(saver: FsstoreSaver, quick: Path) -> None:
    put(saver, {"a": 1}, source="input", step=-1)
    put(saver, {"a": 2}, step=4, run_id="r-1")

    def ls(*arguments: str) -> list[str]:
        command = [sys.executable, "-m", "fsstore", "ls", "--store", str(quick), "--format", "ids", *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        return done.stdout.splitlines()

    assert ls() == ["t-1/thread"]
    assert len(ls("--type", "langgraph.checkpoint")) == 2
    (found,) = ls("--type", "langgraph.checkpoint", "--where", "source=loop", "--where", "step>=1")
    assert found.startswith("t-1//")
    assert ls("--type", "langgraph.checkpoint", "--where", "source=input", "--where", "step>=1") == []


@pytest.mark.parametrize("thread", ["a/b", "a%2Fb", "ä", "a b", "x" * 900, "~", "a~b", "blob", "thread"])
def test_any_name_of_a_thread_is_its_own(saver: FsstoreSaver, thread: str) -> None:
    for name in (thread, thread + "2"):
        for namespace in ("", "blob", "a/b|c:d"):
            put(saver, {"name": name + namespace}, config(name, namespace))
    for namespace in ("", "blob", "a/b|c:d"):
        found = saver.get_tuple(config(thread, namespace))
        assert found is not None
        assert found.checkpoint["channel_values"] == {"name": thread + namespace}
        assert found.config["configurable"]["thread_id"] == thread
    saver.delete_thread(thread)
    assert saver.get_tuple(config(thread)) is None
    others: Any = {"configurable": {"thread_id": thread + "2"}}
    assert len(list(saver.list(others))) == 3


def test_a_thread_that_an_application_keeps_under_the_same_name_is_not_touched(
    saver: FsstoreSaver, quick: Path
) -> None:
    with fsstore.sync.open_sessions(quick) as sessions:
        sessions.save_session("t-1", {"metadata": {"thread_id": "t-1"}})
        put(saver, {"a": 1})
        saver.delete_thread("t-1")
        assert sessions.session_exists("t-1")
    assert types_in(quick) == {"session": 1}


# -- what is removed --------------------------------------------------------------------------------------------------


def test_what_is_removed_frees_the_disk_at_once(saver: FsstoreSaver, quick: Path) -> None:
    messages = [HumanMessage("x" * 100, id=str(n)) for n in range(64)]
    first = put(saver, {"messages": [*messages, "a"], "large": "a" * 5000}, run_id="r-1")
    saver.put_writes(first, [("a", 1)], "task-1")
    second = put(saver, {"messages": [*messages, "b"], "large": "b" * 5000}, first, run_id="r-2")
    saver.put_writes(second, [("a", 2)], "task-1")
    saver.prune(["t-1"])
    assert types_in(quick) == {"langgraph.checkpoint": 1, "langgraph.writes": 1, "langgraph.blob": 2, "session": 1}
    found = saver.get_tuple(config())
    assert found is not None
    assert found.checkpoint["channel_values"]["large"] == "b" * 5000
    saver.delete_for_runs(["r-2", "r-3"])
    assert types_in(quick) == {}
    with pytest.raises(StorageValidationError, match="strategy"):
        saver.prune(["t-1"], strategy="all")


def test_any_number_of_runs_is_removed_whatever_names_them(saver: FsstoreSaver) -> None:
    run: Any = uuid4()
    put(saver, {"a": 1}, run_id=str(run))
    kept = put(saver, {"a": 2}, run_id="kept")
    saver.delete_for_runs([*(f"no-run-{number}" for number in range(30_000)), run])
    assert [found.config for found in saver.list(None)] == [kept]


def test_what_was_written_after_no_checkpoint_is_refused(saver: FsstoreSaver, quick: Path) -> None:
    with pytest.raises(StorageValidationError, match=r"configurable\.checkpoint_id"):
        saver.put_writes(config(), [("a", 1)], "task-1")
    assert types_in(quick) == {}


SHARED = [HumanMessage("x" * 50, id=str(number)) for number in range(64)]


async def with_a_blob_of_an_older_checkpoint(saver: FsstoreSaver) -> None:
    """Leave a thread whose older checkpoint alone refers to a blob."""
    for values in ({"messages": [*SHARED, "first"]}, {"messages": ["second"]}):
        await saver.aput(config(), {**empty_checkpoint(), "channel_values": values}, {}, {})


async def messages_in(saver: FsstoreSaver) -> Any:
    found = await saver.aget_tuple(config("t-1", "other"))
    assert found is not None
    return found.checkpoint["channel_values"]["messages"]


async def test_a_put_brings_a_blob_again_that_was_pruned_meanwhile(saver: FsstoreSaver) -> None:
    await with_a_blob_of_an_older_checkpoint(saver)
    storage: Any = Interrupted(saver._store.storage, lambda: saver.aprune(["t-1"]))
    checkpoint = {**empty_checkpoint(), "channel_values": {"messages": [*SHARED, "third"]}}
    await Checkpoints(storage, saver.serde).put(config("t-1", "other"), checkpoint, {})
    assert await messages_in(saver) == [*SHARED, "third"]


async def test_pruning_leaves_a_blob_that_was_put_to_use_meanwhile(saver: FsstoreSaver) -> None:
    await with_a_blob_of_an_older_checkpoint(saver)
    checkpoint: Any = {**empty_checkpoint(), "channel_values": {"messages": [*SHARED, "third"]}}
    put_meanwhile = partial(saver.aput, config("t-1", "other"), checkpoint, {}, {})
    storage: Any = Interrupted(saver._store.storage, put_meanwhile)
    await Pruning(Checkpoints(storage, saver.serde)).prune(["t-1"], "keep_latest")
    assert await messages_in(saver) == [*SHARED, "third"]
    assert len(list(saver.list(None))) == 2


@pytest.mark.parametrize("strategy", ["keep_latest", "delete"])
async def test_a_thread_that_goes_while_a_checkpoint_is_put_is_begun_again(saver: FsstoreSaver, strategy: str) -> None:
    await with_a_blob_of_an_older_checkpoint(saver)
    storage: Any = Interrupted(saver._store.storage, lambda: saver.aprune(["t-1"], strategy=strategy))
    checkpoint = {**empty_checkpoint(), "channel_values": {"messages": SHARED * 2}}
    await Checkpoints(storage, saver.serde).put(config("t-1", "other"), checkpoint, {})
    assert await messages_in(saver) == SHARED * 2
    with fsstore.sync.open_sessions(saver._store.url, fsync=False) as sessions:
        assert [session["metadata"]["session_id"] for session in sessions.list_sessions()] == ["t-1/thread"]


async def test_pruning_never_takes_a_blob_from_a_checkpoint_that_is_being_put(quick: Path) -> None:
    shared = [HumanMessage("x" * 50, id=str(n)) for n in range(64)]
    with FsstoreSaver(quick, fsync=False) as saver:

        async def write(name: str) -> None:
            for turn in range(40):
                # every second one lets go of the blob that the others share
                values: Any = {"messages": [*shared, turn] if turn % 2 else [turn]}
                checkpoint: Any = {**empty_checkpoint(), "channel_values": values}
                await saver.aput(config("t-1", name), checkpoint, {"step": turn}, {})

        async def prune() -> None:
            for _ in range(40):
                await saver.aprune(["t-1"])

        await asyncio.gather(write("a"), write("b"), prune(), prune())
        for name in "ab":
            found = await saver.aget_tuple(config("t-1", name))
            assert found is not None
            assert found.checkpoint["channel_values"]["messages"] == [*shared, 39]


def test_a_copy_has_everything_and_belongs_to_itself(saver: FsstoreSaver) -> None:
    messages = [HumanMessage("x" * 100, id=str(n)) for n in range(70)]
    first = put(saver, {"messages": messages}, config("t-1", "inner"))
    saver.put_writes(first, [("a", 1)], "task-1", "path")
    saver.copy_thread("t-1", "t-2")
    saver.delete_thread("t-1")
    found = saver.get_tuple(config("t-2", "inner"))
    assert found is not None
    assert found.checkpoint["channel_values"]["messages"] == messages
    assert found.pending_writes == [("task-1", "a", 1)]


def test_a_blob_that_is_lost_is_named_and_never_taken_for_absence(saver: FsstoreSaver, quick: Path) -> None:
    put(saver, {"large": "a" * 5000})
    with fsstore.sync.open_storage(quick) as storage:
        (blob,) = storage.list({"type": "langgraph.blob"})
        storage.delete(blob["id"])
        with pytest.raises(StorageCorruptedError, match="t-1/blob/"):
            saver.get_tuple(config())


def test_a_damaged_blob_is_written_anew_by_the_next_checkpoint_that_has_its_content(
    saver: FsstoreSaver, quick: Path, caplog: pytest.LogCaptureFixture
) -> None:
    put(saver, {"large": "a" * 5000})
    (file,) = [path for path in quick.glob("??/*.json") if "langgraph.blob" in path.read_text("utf-8")]
    file.write_text("{", encoding="utf-8")
    with pytest.raises(StorageCorruptedError):
        saver.get_tuple(config())
    small = put(saver, {"small": 1})
    # one bad document never breaks a list
    assert [found.config for found in saver.list(config())] == [small]
    assert "is left out of a list" in caplog.text
    put(saver, {"large": "a" * 5000})
    assert [found.checkpoint["channel_values"] for found in saver.list(config())] == [
        {"large": "a" * 5000},
        {"small": 1},
        {"large": "a" * 5000},
    ]
    assert len(list((quick / ".fsstore" / "quarantine").iterdir())) == 1


# -- lists ------------------------------------------------------------------------------------------------------------


def test_nothing_is_held_while_a_list_is_paused(saver: FsstoreSaver) -> None:
    for step in range(5):
        put(saver, {"a": step}, step=step)
    listed = saver.list(config())
    first = next(listed)
    put(saver, {"a": 5}, step=5)
    saver.prune(["t-1"])
    # those that were removed meanwhile are left out
    assert [first.metadata["step"], *(found.metadata["step"] for found in listed)] == [4]


@pytest.mark.parametrize(
    ("wanted", "steps"),
    [
        ({"source": "input"}, [0]),
        ({"step": 1}, [1]),
        ({"step": True}, [1]),
        ({"user": {"id": "u"}}, [1]),
        ({"user.id": "u"}, [1]),
        ({"none": None}, [1, 0]),
        ({"x') OR 1=1 --": 1}, []),
        ({"created_at": "x"}, [1]),
        ({"thread_id": "of another"}, [1]),
        ({"checkpoint_id": "of another"}, [1]),
        ({5: "five"}, [1]),
    ],
)
def test_a_filter_compares_the_metadata(saver: FsstoreSaver, wanted: dict[Any, Any], steps: list[int]) -> None:
    put(saver, {}, source="input", step=0)
    others: Any = {"thread_id": "of another", "checkpoint_id": "of another", 5: "five"}
    checkpoint: Any = {**empty_checkpoint(), "channel_values": {}}
    saver.put(config(), checkpoint, {"step": 1, "user": {"id": "u"}, "created_at": "x", **others}, {})
    assert [found.metadata["step"] for found in saver.list(None, filter=wanted)] == steps


# -- many callers -----------------------------------------------------------------------------------------------------


PUTTING = """
import asyncio, sys
from fsstore.integrations.langgraph import FsstoreSaver
from langgraph.checkpoint.base import empty_checkpoint

path, name, count = sys.argv[1], sys.argv[2], int(sys.argv[3])

async def main():
    with FsstoreSaver(path, fsync=False) as saver:
        to = {"configurable": {"thread_id": "t-1", "checkpoint_ns": ""}}
        for number in range(count):
            checkpoint = {**empty_checkpoint(), "channel_values": {"list": list(range(100)), "n": f"{name}-{number}"}}
            to = await saver.aput(to, checkpoint, {"step": number, "run_id": name}, {})
            await saver.aput_writes(to, [("n", number)], name)
            print(f"{name}-{number}", flush=True)

asyncio.run(main())
"""


def start(*arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", PUTTING, *arguments], stdout=subprocess.PIPE, text=True)


def test_four_processes_that_put_into_one_thread_lose_nothing(quick: Path) -> None:
    processes = [start(str(quick), f"p{number}", "50") for number in range(4)]
    for process in processes:
        process.communicate(timeout=300)
        assert process.returncode == 0
    with FsstoreSaver(quick) as saver:
        found = list(saver.list(config()))
    assert {each.checkpoint["channel_values"]["n"] for each in found} == {
        f"p{number}-{turn}" for number in range(4) for turn in range(50)
    }
    assert all(len(each.pending_writes or ()) == 1 for each in found)


def test_a_kill_leaves_every_checkpoint_that_was_acknowledged(quick: Path) -> None:
    process = start(str(quick), "p", "100000")
    assert process.stdout is not None
    told = [process.stdout.readline().strip() for _ in range(20)]
    os.kill(process.pid, signal.SIGKILL)
    told += [line.strip() for line in process.communicate()[0].splitlines() if line.startswith("p-")]
    with FsstoreSaver(quick) as saver:
        found = {each.checkpoint["channel_values"]["n"]: each for each in saver.list(config())}
    assert set(told) <= found.keys()
    assert len(found) - len(told) <= 1
    assert all(found[name].checkpoint["channel_values"]["list"] == list(range(100)) for name in told)


async def test_plain_calls_work_in_a_running_loop_and_in_threads(saver: FsstoreSaver) -> None:
    assert isinstance(saver, BaseCheckpointSaver)
    put(saver, {"a": 0})
    threads = [threading.Thread(target=put, args=(saver, {"a": number})) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(list(saver.list(config()))) == 5
    assert len([found async for found in saver.alist(config())]) == 5


def test_tasks_of_one_checkpoint_do_not_meet(saver: FsstoreSaver) -> None:
    to = put(saver, {})
    tasks = [str(uuid4()) for _ in range(5)]
    threads = [threading.Thread(target=saver.put_writes, args=(to, [("a", task), ("b", 1)], task)) for task in tasks]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = saver.get_tuple(to)
    assert found is not None
    assert sorted(value for _, channel, value in found.pending_writes or () if channel == "a") == sorted(tasks)


def test_the_example_resumes_in_a_new_process(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.examples.langgraph_trip", str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[0].startswith("first: stopped and asks")
    assert lines[1] == "second: booked Lisbon, with 4 messages in its history"
    assert "remembered: {'city': 'Lisbon'}" in lines
