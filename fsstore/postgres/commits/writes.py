"""The statements of commits, and of single records. Pure.

Every statement about one record names its key, and compares its id beside it. What a commit does is one list of
statements, sent together: their order is that in which every commit takes its locks, so that two of them never wait for
each other. `check_floor` fails, and the whole commit with it, where the floor has risen since it was read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias
from uuid import UUID

import orjson
from psycopg import sql

from fsstore.postgres.commits.draft import Draft, Stored, Written
from fsstore.postgres.schema.rows import FOUND_COLUMNS, key_of, row_of
from fsstore.postgres.schema.tables import Names
from fsstore.query.columns import known_part

Step: TypeAlias = tuple[bytes, Sequence[Any] | Mapping[str, Any]]
"""A statement and its values."""

BEGIN = b"BEGIN ISOLATION LEVEL READ COMMITTED"
COMMIT = b"COMMIT"
READ_ALL = b"BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
"""Begins a transaction whose statements all see the same state."""

SYNCHRONOUS = """CASE current_setting('synchronous_commit') WHEN 'off' THEN 'on'
    ELSE current_setting('synchronous_commit') END"""
"""What synchronous_commit is for a durable commit: what the server has, if it waits at all."""

_SETTING = f"""SELECT set_config('statement_timeout', %s, true), set_config('lock_timeout', '0', true),
    set_config('idle_in_transaction_session_timeout', %s, true),
    CASE WHEN current_setting('transaction_timeout', true) IS NOT NULL
        THEN set_config('transaction_timeout', %s, true) END,
    set_config('synchronous_commit', CASE WHEN %s THEN {SYNCHRONOUS} ELSE 'off' END, true)""".encode()

_COLUMNS = ("key", *FOUND_COLUMNS, "record")


class State(NamedTuple):
    """The row of `store`, as a commit sees it."""

    format: int
    floor: int
    is_whole: bool
    """Whether changes are to hold whole records."""


class Settings(NamedTuple):
    """What holds within each transaction of a store."""

    timeout_seconds: float
    durable: bool

    @property
    def milliseconds(self) -> str:
        """How long a statement may take; 0 would be no limit at all."""
        return str(max(1, round(self.timeout_seconds * 1000)))

    def step(self) -> Step:
        """Return what sets it, until the transaction ends; a client that went away in it does not keep its locks."""
        one = self.milliseconds
        return _SETTING, (one, one, str(2 * int(one)), self.durable)


class Writes:
    """The statements of one store."""

    def __init__(self, names: Names) -> None:
        self._names = names
        columns = sql.SQL(", ").join(map(sql.Identifier, _COLUMNS))
        places = sql.SQL(", ").join([sql.Placeholder()] * len(_COLUMNS))
        setting = sql.SQL(", ").join(
            sql.SQL("{} = %s").format(sql.Identifier(column)) for column in _COLUMNS if column not in ("key", "id")
        )
        self.load = self._made("SELECT record FROM {documents} WHERE key = %s AND id = %s")
        self.look = self._made(
            "SELECT s.format, s.floor, s.whole_until > now(), d.record FROM {store} AS s"
            " LEFT JOIN {documents} AS d ON d.key = %s AND d.id = %s"
        )
        self.exists = self._made("SELECT 1 FROM {documents} WHERE key = %s AND id = %s")
        self._lock_one = self._made("SELECT key, id, version, record FROM {documents} WHERE key = %s FOR UPDATE")
        self._lock = self._made(
            "SELECT key, id, version, record FROM {documents} WHERE key = ANY(%s) ORDER BY key FOR UPDATE"
        )
        self.state = self._made("SELECT format, floor, whole_until > now() FROM {store}")
        self._insert = self._made(
            "INSERT INTO {documents} ({columns}) VALUES ({places})", columns=columns, places=places
        )
        self._update = self._made("UPDATE {documents} SET {setting} WHERE key = %s AND id = %s", setting=setting)
        self._delete = self._made("DELETE FROM {documents} WHERE key = %s AND id = %s")
        self._set_aside = self._made(
            "INSERT INTO {damaged} (key, id, version, record)"
            " SELECT key, id, version, record FROM {documents} WHERE key = %s AND id = %s"
        )
        self._hold = self._made(
            "INSERT INTO {documents} (key, id, version, created_at, updated_at, marks, record)"
            " VALUES (%s, %s, 0, now(), now(), 0, '')"
        )
        self._note = self._made(
            'INSERT INTO {changes} (key, commit, writer, id, "before", "after", known, is_whole)'
            " VALUES (%s, %s, %s, %s, %s, %s, %s, %s)"
        )
        self._raise_floor = self._made("UPDATE {store} SET floor = %s WHERE floor < %s")
        self._check_floor = self._made("SELECT 1 / (floor <= %s)::integer FROM {store}")
        self._void = self._made(
            "INSERT INTO {changes} (key, commit, writer, id) VALUES (%s, %s, %s, %s)"
            " ON CONFLICT (key, commit) DO NOTHING"
        )
        self.notify = sql.SQL("SELECT pg_notify({}, '')").format(sql.Literal(names.channel)).as_bytes(None)
        self._is_void = self._made('SELECT "after" IS NULL FROM {changes} WHERE key = %s AND commit = %s')

    def _made(self, text: str, **more: sql.Composable) -> bytes:
        names = self._names
        places = {"documents": names.documents, "changes": names.changes, "store": names.store, **more}
        return sql.SQL(text).format(damaged=names.damaged, **places).as_bytes(None)

    def one(self, record_id: str) -> tuple[bytes, str]:
        """Return the values by which a statement finds one record."""
        return key_of(record_id), record_id

    def lock(self, ids: Sequence[str]) -> Step:
        """Return what locks the records of these ids, in the order of their keys, and gives them."""
        keys = sorted(map(key_of, ids))
        return (self._lock_one, (keys[0],)) if len(keys) == 1 else (self._lock, (keys,))

    def steps(self, draft: Draft, commit: UUID, writer: UUID, state: State) -> list[Step]:
        """Return what makes a draft true, which was made above the floor of that state."""
        written = draft.written()
        if not written:
            return []
        held = draft.absent() if len(draft.outcomes) > 1 else []
        placed = {each.key: self._place(each) for each in written}
        placed |= {key_of(each): (self._hold, self.one(each)) for each in held}
        steps: list[Step] = [(self._set_aside, (each.key, each.id)) for each in written if each.sets_aside]
        steps += [placed[key] for key in sorted(placed)]
        steps += [(self._delete, self.one(each)) for each in held]
        steps += [(self._note, change_of(each, commit, writer, whole=state.is_whole)) for each in written]
        if any(not each.found for each in written):
            steps.append((self._check_floor, (state.floor,)))
        if draft.floor > state.floor:
            steps.append((self._raise_floor, (draft.floor, draft.floor)))
        return steps

    def void(self, first: Written, commit: UUID, writer: UUID) -> list[Step]:
        """Return what declares a commit void unless it was applied; it waits for the commit, and tells what it is."""
        return [
            (self._void, (first.key, commit, writer, first.id)),
            (self._is_void, (first.key, commit)),
        ]

    def _place(self, each: Written) -> Step:
        if each.made is None:
            return self._delete, (each.key, each.id)
        values = (*row_of(each.made.part), each.made.data.decode())
        return (self._update, (*values[1:], each.key, each.id)) if each.found else (self._insert, (each.key, *values))


def change_of(each: Written, commit: UUID, writer: UUID, *, whole: bool) -> Sequence[Any]:
    """Return what a commit notes of a record that it has changed."""
    known = None if each.made is None else _known(each.made, whole=whole)
    return each.key, commit, writer, each.id, each.before, each.after, known, whole


def _known(made: Stored, *, whole: bool) -> str:
    return (made.data if whole else orjson.dumps(known_part(made.part))).decode()
