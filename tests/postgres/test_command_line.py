"""The commands over a store in PostgreSQL, which they take by its URL alone."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql

from fsstore.cli import main
from fsstore.postgres.schema import making, tables
from fsstore.postgres.schema.tables import Names
from tests.postgres.stores import prefix_of

ROOT = Path(__file__).parents[2]


class Commands:
    """Runs commands in this process, against one URL."""

    def __init__(self, url: str, capsys: pytest.CaptureFixture[str]) -> None:
        self.url = url
        self._capsys = capsys

    def __call__(self, *arguments: str) -> tuple[int, str, str]:
        code = main(list(arguments))
        out, err = self._capsys.readouterr()
        return code, out, err


@pytest.fixture
def url(postgres_url: str, tmp_path: Path) -> str:
    mark = "&" if "?" in postgres_url else "?"
    return f"{postgres_url}{mark}prefix={prefix_of(tmp_path)}"


@pytest.fixture
def run(url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Commands:
    monkeypatch.setenv("FSSTORE_STORE", url)
    return Commands(url, capsys)


def test_a_store_is_made_and_used_by_its_url(run: Commands, tmp_path: Path) -> None:
    code, _, err = run("get", "a")
    assert (code, "fsstore init URL" in err) == (5, True)
    assert run("init")[0] == 0
    assert run("init")[0] == 0

    session = tmp_path / "session.json"
    session.write_text(json.dumps({"metadata": {"status": "open", "tags": ["x"]}, "messages": []}), "utf-8")
    assert run("put", "a", str(session))[:2] == (0, "a\n")
    (tmp_path / "items.json").write_text('[{"role": "user"}]', "utf-8")
    assert run("append", "a", str(tmp_path / "items.json"))[0] == 0
    assert run("update", "a", "--set", "status=done")[0] == 0
    code, out, _ = run("get", "a")
    assert json.loads(out)["metadata"]["status"] == "done"
    assert json.loads(out)["messages"] == [{"role": "user"}]
    assert run("count", "--where", "status=done")[:2] == (0, "1\n")
    assert "done" in run("ls")[1]
    code, out, _ = run("health", "--format", "json")
    assert (code, json.loads(out)["backend"], json.loads(out)["documents"]) == (0, "postgresql", 1)
    code, out, _ = run("stats", "--format", "json")
    assert (code, json.loads(out)["status"]) == (0, [{"status": "done", "sessions": 1}])
    assert json.loads(out)["user_id"] == [{"user_id": None, "sessions": 1}]
    assert run("export", str(tmp_path / "out.jsonl"))[0] == 0
    assert run("rm", "a", "--yes")[0] == 0
    assert run("import", str(tmp_path / "out.jsonl"))[0] == 0
    assert run("import", "--no-fsync", str(tmp_path / "out.jsonl"))[0] == 0
    assert run("count")[:2] == (0, "1\n")


@pytest.mark.parametrize("command", ["verify", "repair"])
def test_what_only_files_need_says_so(run: Commands, command: str) -> None:
    run("init")
    code, _, err = run(command)

    assert code == 2
    assert f"this store cannot {command}: it keeps no files" in err


def test_no_command_prints_a_user_or_a_password(run: Commands) -> None:
    with_password = run.url.replace("postgres@", "postgres:hunter2@")
    code, out, err = run("init", with_password)
    assert (code, "is ready" in err) == (0, True)
    refused = run("get", "a", "--store", "postgresql://admin:hunter2@127.0.0.1:1/db")
    assert refused[0] == 5

    assert "hunter2" not in out + err + "".join(refused[1:])


def test_init_prints_what_to_grant(run: Commands) -> None:
    code, out, _ = run("init", "--grants", "app")

    assert code == 0
    assert 'GRANT SELECT, INSERT, UPDATE, DELETE ON "public"' in out
    assert all(line.endswith(";") for line in out.splitlines())
    code, _, err = run("init", "memory:", "--grants", "app")
    assert (code, "only a store in a database has rights to grant" in err) == (2, True)


def test_init_upgrades_tables_of_an_older_format(
    run: Commands, postgres_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run("init")
    names = Names(prefix=prefix_of(tmp_path))
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(sql.SQL("UPDATE {} SET format = 0").format(names.store))
        code, _, err = run("count")
        assert (code, "format 0" in err) == (5, True)
        code, _, err = run("init")
        assert (code, "format 0" in err) == (5, True)

        for module in (making, tables):
            monkeypatch.setattr(module, "UPGRADES", {0: "ALTER TABLE {documents} ADD COLUMN more text"})
        assert run("init")[0] == 0
        assert run("count")[:2] == (0, "0\n")
        connection.execute(sql.SQL("SELECT more FROM {}").format(names.documents))


def test_without_psycopg_the_error_says_what_to_install(tmp_path: Path) -> None:
    """In a process of its own, which is told that there is no psycopg."""
    program: Any = (
        "import sys; sys.modules['psycopg'] = None; from fsstore.cli import main; "
        "sys.exit(main(['count', '--store', 'postgresql://u:hunter2@h/d']))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, cwd=tmp_path, timeout=60
    )

    assert done.returncode == 5
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["optional-dependencies"]
    (requirement,) = extras["postgres"]
    assert "postgresql: PostgreSQL is reached by psycopg, which cannot be imported here: " in done.stderr
    assert f"pip install '{requirement.replace('psycopg', 'psycopg[binary]')}'" in done.stderr
    assert "hunter2" not in done.stderr
