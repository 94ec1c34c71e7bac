"""The guide about PostgreSQL: its code and its commands run, on a directory and on a server alike."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

import fsstore
from fsstore.errors import StorageUnavailableError
from fsstore.integrations.open_stores import OpenStore
from tests.postgres.stores import prefix_of
from tests.test_guides import GUIDES, blocks, names_of

URL = "postgresql://app@db.example/sessions"


@pytest.fixture
def url(postgres_url: str, tmp_path: Path) -> str:
    sign = "&" if "?" in postgres_url else "?"
    return f"{postgres_url}{sign}prefix={prefix_of(tmp_path)}"


@pytest.mark.parametrize("kind", ["directory", "database"])
async def test_the_code_of_the_guide_runs_on_a_directory_and_on_a_database(kind: str, url: str, tmp_path: Path) -> None:
    place = str(tmp_path / "store") if kind == "directory" else url
    async with fsstore.open_sessions(place, create=True) as sessions:
        await names_of("postgres")["grown"](sessions)


def test_the_commands_of_the_guide_run(url: str, tmp_path: Path) -> None:
    (commands,) = (block.splitlines() for block in blocks("postgres", "text"))
    subprocess.run(
        [sys.executable, "-m", "fsstore", "import", "-", "--store", "my_sessions", "-q"],
        cwd=tmp_path,
        input=b'{"metadata": {"session_id": "a"}}',
        check=True,
    )

    for command in commands[1:]:
        arguments = [url if word == URL else word for word in shlex.split(command)[1:]]
        done = subprocess.run(
            [sys.executable, "-m", "fsstore", *arguments], cwd=tmp_path, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
    assert done.stdout == "1\n"


def test_the_tables_that_the_guide_spreads_are_those_that_there_are() -> None:
    (spread,) = blocks("postgres", "sql")
    named = re.findall(r"_table\('(\w+)'", spread)
    assert named == ["fsstore_documents", "fsstore_changes", "fsstore_damaged", "fsstore_store"]


def test_the_guide_says_of_each_engine_that_it_was_not_run() -> None:
    text = (GUIDES / "postgres.md").read_text("utf-8")
    engines = text.partition("## Engines")[2].partition("\n## ")[0]
    assert engines.count("Not run.") == len(re.findall(r"^\*\*(?!Only)", engines, re.MULTILINE)) == 4


# -- what the guides of frameworks say --------------------------------------------------------------------------------


def test_each_guide_of_a_framework_says_that_its_store_may_be_a_database() -> None:
    texts = {path.stem: " ".join(path.read_text("utf-8").split()) for path in GUIDES.glob("*.md")}
    of_frameworks = [topic for topic, text in texts.items() if "from fsstore.integrations." in text]
    assert len(of_frameworks) >= 7
    for topic in of_frameworks:
        assert "may be one of PostgreSQL, once `fsstore init URL` has made its tables" in texts[topic], topic


def test_a_framework_takes_the_url_of_a_database_once_its_tables_are_made(url: str) -> None:
    with pytest.raises(StorageUnavailableError, match=r"no store in the schema .* make it with `fsstore init URL`"):
        OpenStore(url)
    subprocess.run([sys.executable, "-m", "fsstore", "init", url], capture_output=True, check=True)

    held, again = OpenStore(url), OpenStore(url)
    assert held.storage is again.storage
    held.plain.save({"id": "a"})
    held.close()
    assert again.plain.exists("a")
    again.close()
