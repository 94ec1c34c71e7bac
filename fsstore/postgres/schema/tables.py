"""The tables of a store in PostgreSQL: their names, what makes and upgrades them, and the rights they need. Pure.

Invariants:
- `documents` has one row a record. `record` is the text that a file would hold; every other column repeats a part of
  it, so that it can be found. What decides is the text.
- Every statement about one record carries its `key`, the first 16 bytes of SHA-256 of its id, and compares the `id`
  beside it: an id may be longer than an entry of a B-tree. So the table can be spread over servers by `key`. For the
  same reason the index of ids holds their beginnings, and long texts are in no other column (`rows`).
- The indexes of users, statuses and types hold what counts of sessions ask besides, so that no row is read for these.
- What the columns hold, and which rows are ODD, `rows` says. Ids cannot hold NUL (`check_id`).
- `created_at` and `updated_at` have the microseconds of the record's own, and are the same instants.
- `changes` has one row for each record that a commit has changed: what watches are given, and how a commit is known to
  have been applied whose answer was lost. It is spread as `documents` is. A row without `after` is a commit that was
  declared void before it came. Rows are removed after a while.
- `damaged` holds the texts of rows that somebody had changed by hand, so that they were no records any more, and over
  which a save went, or a delete that was to keep them. Nothing reads or removes them but the operator.
- `store` has one row: the format, the highest version that was ever deleted, how far `changes` was removed, and until
  when changes are to hold whole records, since a watch asks for more of them than what an index knows.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from psycopg import sql

from fsstore.errors import StorageValidationError
from fsstore.postgres.schema.rows import INDEXED_CHARACTERS, ODD
from fsstore.postgres.schema.view import RELATION

FORMAT = 1
SCHEMA, PREFIX = "public", "fsstore_"
MAX_NAME_BYTES = 63
"""Longer names are cut by PostgreSQL, in silence."""

_UNUSABLE = re.compile("[\0%\ud800-\udfff]")
"""What no name can hold, and what would stand for a value in each statement."""


@dataclass(frozen=True, slots=True)
class Names:
    """What the tables of one store are called: `{schema}.{prefix}documents` and so on."""

    schema: str = SCHEMA
    prefix: str = PREFIX

    def __post_init__(self) -> None:
        for name, value in (("schema", self.schema), ("prefix", self.prefix)):
            if not isinstance(value, str) or _UNUSABLE.search(value) or (name == "schema" and not value):
                raise StorageValidationError(reason=f"must be text without %, not {value!r}", path=name)
        # the longest names that are made of it
        for made in (self.schema, f"{self.prefix}documents_by_updated_at"):
            if len(made.encode(errors="replace")) > MAX_NAME_BYTES:
                raise StorageValidationError(
                    reason=f"{made!r} has more than the {MAX_NAME_BYTES} bytes of a name in PostgreSQL",
                    path="schema" if made == self.schema else "prefix",
                    advice="choose a shorter one",
                )

    def table(self, name: str) -> sql.Identifier:
        """Return a table, view or index, with its schema, as a statement names it."""
        return sql.Identifier(self.schema, self.prefix + name)

    def bare(self, name: str) -> sql.Identifier:
        """Return the name of an index, which is made where its table is, and takes no schema."""
        return sql.Identifier(self.prefix + name)

    @property
    def documents(self) -> sql.Identifier:
        """The table of the records."""
        return self.table("documents")

    @property
    def changes(self) -> sql.Identifier:
        """The table of what commits have changed."""
        return self.table("changes")

    @property
    def damaged(self) -> sql.Identifier:
        """The table of what could not be read, and has given way."""
        return self.table("damaged")

    @property
    def store(self) -> sql.Identifier:
        """The table of the format and the floor."""
        return self.table("store")

    @property
    def relation(self) -> sql.Identifier:
        """The view that callers may question."""
        return self.table("relation")

    @property
    def json_extract(self) -> sql.Identifier:
        """The function that stands for SQLite's there."""
        return self.table("json_extract")

    @property
    def channel(self) -> str:
        """The channel by which commits notify watches."""
        return f"{self.prefix}changes"


_TABLES = """
CREATE TABLE {documents} (
    key bytea PRIMARY KEY,
    id text COLLATE "C" NOT NULL,
    type text COLLATE "C",
    version bigint NOT NULL,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    session_id text COLLATE "C",
    thread_id text COLLATE "C",
    user_id text COLLATE "C",
    status text COLLATE "C",
    tags text[],
    marks smallint NOT NULL,
    metadata jsonb,
    top_metadata jsonb,
    record text NOT NULL
);
CREATE INDEX {by_id} ON {documents} (left(id, {characters}));
CREATE INDEX {by_updated_at} ON {documents} (updated_at DESC);
CREATE INDEX {by_session_id} ON {documents} (session_id) WHERE session_id IS NOT NULL;
CREATE INDEX {by_thread_id} ON {documents} (thread_id) WHERE thread_id IS NOT NULL;
CREATE INDEX {by_user_id} ON {documents} (user_id, updated_at DESC) INCLUDE (type, marks) WHERE user_id IS NOT NULL;
CREATE INDEX {by_status} ON {documents} (status, updated_at DESC) INCLUDE (type, marks) WHERE status IS NOT NULL;
CREATE INDEX {by_tags} ON {documents} USING gin (tags) WHERE tags IS NOT NULL;
CREATE INDEX {by_type} ON {documents} (type, updated_at DESC) INCLUDE (marks);
CREATE INDEX {odd} ON {documents} (updated_at DESC) WHERE marks >= {odd_mark};

CREATE TABLE {changes} (
    key bytea NOT NULL,
    commit uuid NOT NULL,
    seq bigint GENERATED BY DEFAULT AS IDENTITY,
    xid xid8 NOT NULL DEFAULT pg_current_xact_id(),
    made_at timestamptz NOT NULL DEFAULT now(),
    writer uuid NOT NULL,
    id text COLLATE "C" NOT NULL,
    before bigint,
    after bigint,
    known text,
    is_whole boolean NOT NULL DEFAULT false,
    PRIMARY KEY (key, commit)
);
CREATE INDEX {changes_by_xid} ON {changes} (xid);

CREATE TABLE {damaged} (
    key bytea NOT NULL,
    id text COLLATE "C" NOT NULL,
    version bigint NOT NULL,
    set_aside_at timestamptz NOT NULL DEFAULT now(),
    record text NOT NULL
);

CREATE TABLE {store} (
    is_one boolean PRIMARY KEY DEFAULT true CHECK (is_one),
    format integer NOT NULL,
    floor bigint NOT NULL DEFAULT 0,
    pruned xid8 NOT NULL DEFAULT '0',
    whole_until timestamptz NOT NULL DEFAULT '-infinity'
);
INSERT INTO {store} (format) VALUES ({format});
"""

_GRANTS = """
GRANT USAGE ON SCHEMA {schema} TO {role};
GRANT SELECT, INSERT, UPDATE, DELETE ON {documents} TO {role};
GRANT SELECT, INSERT, DELETE ON {changes} TO {role};
GRANT INSERT ON {damaged} TO {role};
GRANT SELECT, UPDATE (floor, pruned, whole_until) ON {store} TO {role};
"""

UPGRADES: Mapping[int, str] = {}
"""What makes of the tables of a format those of the next one, by the older format."""


def statements(text: str, names: Names, **more: sql.Composable) -> list[sql.Composed]:
    """Return the statements of a text, with the names of a store in their places."""
    of_texts = ("by_id", "by_session_id", "by_thread_id", "by_user_id", "by_status", "by_type")
    places: dict[str, sql.Composable] = {
        "documents": names.documents,
        "changes": names.changes,
        "damaged": names.damaged,
        "store": names.store,
        "schema": sql.Identifier(names.schema),
        "relation": names.relation,
        "json_extract": names.json_extract,
        "changes_by_xid": names.bare("changes_by_xid"),
        "characters": sql.Literal(INDEXED_CHARACTERS),
        "odd_mark": sql.Literal(ODD),
        "format": sql.Literal(FORMAT),
        **{index: names.bare(f"documents_{index}") for index in (*of_texts, "by_updated_at", "by_tags", "odd")},
        **more,
    }
    # the texts above are constants
    return [sql.SQL(part.strip()).format(**places) for part in text.split(";\n") if part.strip()]


def creating(names: Names) -> list[sql.Composed]:
    """Return what makes the tables of a store, in a schema that is there; all of it in one transaction."""
    return statements(_TABLES + RELATION, names)


def upgrading(names: Names, from_format: int) -> list[sql.Composed]:
    """Return what makes of the tables of an older format those of this one; all of it in one transaction.

    Raises KeyError for a format from which there is no way.
    """
    made = [part for number in range(from_format, FORMAT) for part in statements(UPGRADES[number], names)]
    return [*made, *statements(f"UPDATE {{store}} SET format = {FORMAT}", names)]


def grants(names: Names, role: str) -> list[sql.Composed]:
    """Return what gives a role that did not make the tables the rights that reading, writing and watching need."""
    return statements(_GRANTS, names, role=sql.Identifier(role))
