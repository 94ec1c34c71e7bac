"""The statements of a commit of one record that was drafted of what is remembered: one exchange, mostly one statement.

Each of them does nothing where the record, or the store, is not as it was remembered; then the commit is made in the
usual way. None of them waits for a record that another commit has locked: it is taken for changed. One that is being
made by another commit is waited for as long as a call may take.
"""

from __future__ import annotations

import hashlib
from uuid import UUID

from psycopg import sql

from fsstore.postgres.commits.draft import Stored, Written
from fsstore.postgres.commits.remembered import Guess
from fsstore.postgres.commits.writes import SYNCHRONOUS, Settings, Step, change_of
from fsstore.postgres.schema.rows import FOUND_COLUMNS, row_of
from fsstore.postgres.schema.tables import FORMAT, Names

_CASTS = {
    "created_at": "timestamptz",
    "updated_at": "timestamptz",
    "metadata": "jsonb",
    "top_metadata": "jsonb",
    "tags": "text[]",
}
_CHANGE = ("key", "commit", "writer", "id", "before", "after", "known", "is_whole")
_NOTED = """noted AS (
    INSERT INTO {changes} (key, commit, writer, id, before, after, known, is_whole)
    SELECT %(key)s, %(commit)s, %(writer)s, %(id)s, %(before)s, %(after)s, %(known)s, %(is_whole)s FROM placed)
    SELECT count(*), set_config('synchronous_commit', {synchronous}, true),
        CASE WHEN %(notifies)s AND count(*) > 0 THEN pg_notify({channel}, '') END FROM placed"""
_STORE = "s.format = {format} AND (s.whole_until > now()) = %(is_whole)s"


class AtOnce:
    """The statements of one store."""

    def __init__(self, names: Names, settings: Settings) -> None:
        written = [*FOUND_COLUMNS[1:], "record"]
        places: dict[str, sql.Composable] = {
            "documents": names.documents,
            "changes": names.changes,
            "store": names.store,
            "format": sql.Literal(FORMAT),
            "channel": sql.Literal(names.channel),
            "synchronous": sql.SQL(SYNCHRONOUS) if settings.durable else sql.Literal("off"),
            "milliseconds": sql.Literal(settings.milliseconds),
            "columns": sql.SQL(", ").join(map(sql.Identifier, ["key", "id", *written])),
            "values": sql.SQL(", ").join(map(_value, ["key", "id", *written])),
            "setting": sql.SQL(", ").join(
                sql.SQL("{} = {}").format(sql.Identifier(column), _value(column)) for column in written
            ),
        }
        # where a server gives another isolation by default, the second statement would see no more than this one
        self._make = (
            sql.SQL(
                "WITH placed AS (INSERT INTO {documents} ({columns}) SELECT {values} FROM {store} AS s,"
                " (SELECT set_config('lock_timeout', {milliseconds}, true)) AS patience"
                f" WHERE {_STORE} AND s.floor = %(floor)s"
                " AND current_setting('transaction_isolation') = 'read committed'"
                f" ON CONFLICT (key) DO NOTHING RETURNING key), {_NOTED}"
            )
            .format(**places)
            .as_bytes(None)
        )
        self._renew = (
            sql.SQL(
                "WITH held AS (SELECT d.key FROM {documents} AS d, {store} AS s WHERE d.key = %(key)s AND d.id = %(id)s"
                f" AND d.version = %(before)s AND sha256(convert_to(d.record, 'UTF8')) = %(seen)s AND {_STORE}"
                " FOR UPDATE OF d SKIP LOCKED),"
                " placed AS (UPDATE {documents} AS d SET {setting} FROM held WHERE d.key = held.key RETURNING d.key),"
                f" {_NOTED}"
            )
            .format(**places)
            .as_bytes(None)
        )
        self._check_floor = sql.SQL("SELECT 1 / (floor = %s)::integer FROM {store}").format(**places).as_bytes(None)

    def steps(
        self, written: Written, made: Stored, commit: UUID, writer: UUID, guess: Guess, *, notifies: bool
    ) -> list[Step]:
        """Return what puts a record in place if the store is as it was guessed; the first one gives how many it put.

        The floor is looked at once more when a record was made: one of that id may have come and gone meanwhile.
        """
        row = (*row_of(made.part), made.data.decode())
        change = change_of(written, commit, writer, whole=guess.state.is_whole)
        values = dict(zip((*FOUND_COLUMNS, "record"), row, strict=True)) | dict(zip(_CHANGE, change, strict=True))
        values |= {"notifies": notifies, "floor": guess.state.floor}
        if guess.found is None:
            return [(self._make, values), (self._check_floor, (guess.state.floor,))]
        return [(self._renew, values | {"seen": hashlib.sha256(guess.found.data).digest()})]


def _value(column: str) -> sql.Composable:
    cast = sql.SQL(f"::{_CASTS[column]}" if column in _CASTS else "")
    return sql.SQL("{}{}").format(sql.Placeholder(column), cast)
