"""What a watch asks of the table `changes`: statements, and where in the order of transactions one has come. Pure.

A position is a snapshot of PostgreSQL's: which transactions had ended. What has become visible since is what the
present snapshot shows and that one did not, however long ago a transaction began, so nothing that commits late is
skipped. Of what became visible together the rows of one record have the order in which they were written (`seq`): each
was written under the lock of its row. Changes that were removed in the meantime are noticed by the highest number of a
transaction of which some were (`pruned`). Numbers that this server has not come to yet are those of another one, from
which the tables were brought here: they say nothing, and go when changes are removed.
"""

from __future__ import annotations

from typing import Any, NamedTuple
from uuid import UUID

from psycopg import sql

from fsstore.model.values import MAX_DEPTH, MAX_INT
from fsstore.postgres.schema.tables import Names
from fsstore.query.columns import ENVELOPE, METADATA, TOP_METADATA
from fsstore.query.conditions import Condition
from fsstore.query.plan import Abilities, plan

FETCH = b"FETCH 500 FROM fsstore_rows"
CLOSE = b"CLOSE fsstore_rows"

KEPT_HOURS = 1
"""How long a change is kept; whoever has not looked for longer compares all records."""
PRUNED_ROWS = 1_000
_NEXT = "pg_snapshot_xmax(pg_current_snapshot())"
"""Above all numbers of transactions of which anything is visible."""


_KNOWN = Abilities(
    parts=frozenset({*ENVELOPE, METADATA, TOP_METADATA}),
    starts=frozenset(),
    in_order=frozenset(),
    max_nesting=MAX_DEPTH,
    max_parts=MAX_INT,
    max_values=MAX_INT,
)
"""What a change tells of a record: all that an index would know."""


def asks_for_more(condition: Condition) -> bool:
    """Whether a condition asks for more of a record than what an index knows."""
    return plan(condition, _KNOWN).residue is not None


class Moved(NamedTuple):
    """One row of `changes`: a record before and after a commit, 0 where there was none."""

    id: str
    before: int
    after: int
    writer: UUID
    known: str | None
    """The record, or what an index knows of it; None where it is gone."""
    is_whole: bool


class Following:
    """The statements of one store."""

    def __init__(self, names: Names) -> None:
        self._names = names
        self.now = self._made("SELECT pg_current_snapshot()::text, pruned::text FROM {store}")
        # of what was removed below the highest number, a position may lack what was under way then and has ended since
        self.lost = self._made(
            f"SELECT pruned < {_NEXT} AND (NOT pg_visible_in_snapshot(pruned, %(since)s::pg_snapshot)"
            " OR EXISTS (SELECT FROM pg_snapshot_xip(%(since)s::pg_snapshot) AS under_way (xid)"
            " WHERE xid <= pruned AND pg_visible_in_snapshot(xid, pg_current_snapshot()))) FROM {store}"
        )
        self.states = self._made("DECLARE fsstore_rows NO SCROLL CURSOR FOR SELECT id, version FROM {documents}")
        self.listen = sql.SQL("LISTEN {}").format(sql.Identifier(names.channel)).as_bytes(None)
        self.records = self._made("SELECT id, version, record FROM {documents} WHERE key = ANY(%s)")
        self.prune = self._made(
            "WITH first AS (SELECT key, commit, made_at FROM {changes} ORDER BY xid LIMIT {most}),"
            " old AS (SELECT key, commit FROM first WHERE made_at < now() - make_interval(hours => {hours})"
            f" UNION (SELECT key, commit FROM {{changes}} WHERE xid >= {_NEXT} LIMIT {{most}})),"
            " gone AS (DELETE FROM {changes} AS c USING old WHERE c.key = old.key AND c.commit = old.commit"
            " RETURNING c.xid)"
            " UPDATE {store} SET pruned = (SELECT xid FROM (SELECT pruned AS xid UNION SELECT xid FROM gone) AS numbers"
            f" WHERE xid < {_NEXT} UNION SELECT '0' ORDER BY xid DESC LIMIT 1)"
            f" WHERE pruned >= {_NEXT} OR EXISTS (SELECT FROM gone)"
        )

        self.want_whole = self._made(
            "UPDATE {store} SET whole_until = now() + make_interval(hours => {hours})"
            " WHERE whole_until < now() + make_interval(hours => {hours}) / 2"
        )

    def moved(self, since: str, *, whole: bool) -> bytes:
        """Return what declares the cursor of what has become visible since a position; `whole` asks for records."""
        # of before they held it, the record is there as long as it has that version
        known = "coalesce(d.record, c.known), c.is_whole OR d.key IS NOT NULL" if whole else "c.known, c.is_whole"
        join = (
            'LEFT JOIN {documents} AS d ON d.key = c.key AND d.version = c."after" AND NOT c.is_whole' if whole else ""
        )
        return self._made(
            "DECLARE fsstore_rows NO SCROLL CURSOR FOR"
            f' SELECT c.id, c."before", c."after", c.writer, {known} FROM {{changes}} AS c {join}'
            " WHERE (c.xid >= pg_snapshot_xmax({since}::pg_snapshot)"
            " OR c.xid = ANY (ARRAY (SELECT pg_snapshot_xip({since}::pg_snapshot))))"
            f' AND c.xid < {_NEXT} AND c."after" IS NOT NULL ORDER BY c.seq',
            since=sql.Literal(since),
        )

    def _made(self, text: str, **more: sql.Composable) -> bytes:
        names = self._names
        places: dict[str, Any] = {"documents": names.documents, "changes": names.changes, "store": names.store}
        limits = {"most": sql.Literal(PRUNED_ROWS), "hours": sql.Literal(KEPT_HOURS)}
        return sql.SQL(text).format(**places, **limits, **more).as_bytes(None)
