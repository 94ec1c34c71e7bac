import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from fsstore.filesystem.index.connection import (
    IndexDamagedError,
    IndexUnavailableError,
    connect,
    prepare,
    translated,
    understood,
    verify,
)
from fsstore.filesystem.index.schema import SCHEMA_NUMBER
from fsstore.filesystem.open_store import _READERS


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    with closing(connect(str(tmp_path / "a ?#%41.sqlite3"))) as opened:
        prepare(opened)
        yield opened


def test_a_path_of_any_characters_names_its_own_file(connection: sqlite3.Connection, tmp_path: Path) -> None:
    assert (tmp_path / "a ?#%41.sqlite3").is_file()
    verify(connection)


def test_it_is_set_up_for_many_readers_and_power_cuts(connection: sqlite3.Connection) -> None:
    settings = {name: connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("journal_mode", "synchronous")}
    assert settings == {"journal_mode": "wal", "synchronous": 1}


def test_the_connections_of_an_open_store_keep_few_pages(connection: sqlite3.Connection) -> None:
    """Each of its threads has one, and fills what it may keep within minutes."""
    kib = -connection.execute("PRAGMA cache_size").fetchone()[0]
    assert 0 < kib * (_READERS + 1) <= 24 * 1024


def test_preparing_again_changes_nothing(connection: sqlite3.Connection) -> None:
    connection.execute("INSERT INTO meta VALUES ('key', 'value')")
    prepare(connection)
    assert connection.execute("SELECT value FROM meta").fetchall() == [("value",)]


@pytest.mark.parametrize(
    "change",
    [
        f"PRAGMA user_version = {SCHEMA_NUMBER + 1}",
        "DROP INDEX entry_recent",
        "DROP TRIGGER tags_of_new",
        "ALTER TABLE entry ADD COLUMN theirs",
        "CREATE TRIGGER theirs AFTER INSERT ON entry BEGIN DELETE FROM tag; END",
        "CREATE TABLE theirs (x)",
    ],
)
def test_whatever_somebody_altered_is_damage(connection: sqlite3.Connection, change: str) -> None:
    connection.execute(change)
    with pytest.raises(IndexDamagedError):
        verify(connection)


@pytest.mark.parametrize(
    ("statement", "error"),
    [
        ("SELECT * FROM none", IndexDamagedError),
        ("SELECT none FROM entry", IndexDamagedError),
        ("SELECT json_extract('{', '$.a')", IndexDamagedError),
        ("INSERT INTO meta VALUES ('a', 1), ('a', 2)", IndexUnavailableError),
    ],
)
def test_damage_is_told_from_what_may_pass(connection: sqlite3.Connection, statement: str, error: type) -> None:
    with pytest.raises(error), translated():
        connection.execute(statement)


def test_a_connection_that_another_keeps_locked_is_unavailable(connection: sqlite3.Connection, tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "a ?#%41.sqlite3", isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        connection.execute("PRAGMA busy_timeout = 1")
        with pytest.raises(IndexUnavailableError), translated():
            connection.execute("INSERT INTO meta VALUES ('a', 1)")


def test_a_closed_connection_stays_an_error_of_its_own(tmp_path: Path) -> None:
    opened = connect(str(tmp_path / "x"))
    opened.close()
    with pytest.raises(sqlite3.ProgrammingError), translated():
        opened.execute("SELECT 1")


@pytest.mark.parametrize("error", [ValueError("x"), TypeError("x"), KeyError("x"), AttributeError("x")])
def test_a_value_that_no_row_can_have_is_damage(error: Exception) -> None:
    with pytest.raises(IndexDamagedError), understood():
        raise error
