from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import fsstore
from fsstore.filesystem.documents.codec import decode, encode
from fsstore.filesystem.documents.layout import Layout

SAMPLES = Path(__file__).parents[1] / "sample_data"


def documents() -> Iterator[Path]:
    return (SAMPLES / "store").glob("[0-9a-f][0-9a-f]/*.json")


def cli(*arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "fsstore", *arguments], capture_output=True, text=True, encoding="utf-8", check=False
    )
    assert done.returncode in (0, 1), done.stderr
    return done.stdout


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """Return a copy of the store in git, as a clone has it."""
    return Path(shutil.copytree(SAMPLES / "store", tmp_path / "store", ignore=shutil.ignore_patterns(".fsstore")))


def test_there_is_as_much_as_the_readme_needs() -> None:
    assert len(list(documents())) == 30
    assert len((SAMPLES / "sessions.jsonl").read_text("utf-8").splitlines()) == 400
    assert sum(path.stat().st_size for path in SAMPLES.rglob("*") if path.is_file()) < 6_000_000


def test_reading_and_writing_every_document_again_changes_no_byte() -> None:
    for path in documents():
        data = path.read_bytes()
        assert encode(decode(data), max_bytes=1 << 24) == data, path


def test_every_document_lies_where_its_id_leads() -> None:
    layout = Layout(1)
    for path in documents():
        assert layout.name(decode(path.read_bytes())["id"]) == path.relative_to(SAMPLES / "store").as_posix()


def test_importing_and_filtering_gives_what_a_short_script_gives(tmp_path: Path) -> None:
    store = str(tmp_path / "imported")
    cli("import", str(SAMPLES / "sessions.jsonl"), "--store", store)

    listed = [
        json.loads(line)
        for line in cli("ls", "--store", store, "--where", "status=failed", "--format", "jsonl").splitlines()
    ]

    lines = (SAMPLES / "sessions.jsonl").read_text("utf-8").splitlines()
    failed = [session for session in map(json.loads, lines) if session["metadata"]["status"] == "failed"]
    failed.sort(key=lambda session: session["metadata"]["session_id"])
    failed.sort(key=lambda session: session["metadata"]["updated_at"], reverse=True)
    assert len(failed) > 20
    assert listed == failed


def test_the_control_directory_of_a_closed_store_can_be_deleted(store: Path) -> None:
    questions = [
        ("ls", "--format", "jsonl"),
        ("ls", "--where", "status=completed", "--format", "ids"),
        ("ls", "--where", "tags=demo", "--sort", "updated_at", "--format", "json"),
        ("count",),
        ("stats", "--format", "json"),
        ("health", "--format", "json"),
        ("get", "no-such-session"),
    ]

    def answers() -> list[str]:
        return [cli(*question, "--store", str(store)) for question in questions]

    before = answers()
    shutil.rmtree(store / ".fsstore")

    assert answers() == before
    assert len(before[0].splitlines()) == 30


async def test_a_store_can_be_moved_and_copied(store: Path, tmp_path: Path) -> None:
    async with fsstore.open_sessions(store) as sessions:
        before = await sessions.list_sessions()
    moved = store.rename(tmp_path / "moved")
    copied = shutil.copytree(moved, tmp_path / "copied")
    for place in (moved, copied):
        async with fsstore.open_sessions(place) as sessions:
            assert await sessions.list_sessions() == before
            await sessions.save_session("another", {})
            assert await sessions.count_sessions() == 31


def test_the_samples_have_the_shape_of_the_contract() -> None:
    sessions = [json.loads(line) for line in (SAMPLES / "sessions.jsonl").read_text("utf-8").splitlines()]
    sessions += [decode(path.read_bytes())["data"] for path in documents()]
    sessions += [json.loads(path.read_text("utf-8")) for path in (SAMPLES / "legacy").glob("*.json")]

    for session in sessions:
        model = fsstore.SessionData.model_validate(session)
        assert model.thread_configs.keys() == {session["metadata"]["thread_id"]}
        assert model.workflow_state
        assert model.settings["recursion_limit"] > 0
        assert model.metadata.workflow_config_path is not None
