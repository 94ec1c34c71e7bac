"""Sessions of ADK in one PostgreSQL: `FsstoreSessionService` next to ADK's `DatabaseSessionService`.

Both find as many sessions in their tables as the store has: fsstore those that were migrated, ADK's service rows that
one statement makes, a session with one event each. What is measured are sessions that each service has made itself, of
one user.
"""

from __future__ import annotations

import argparse
import statistics
from functools import partial
from typing import Any

import psycopg
from rich.table import Table

from tests.benchmarks.frameworks.google_adk import OWNER, Conversation
from tests.benchmarks.in_turn import Figures, in_turn

_SESSIONS, _EVENTS = 20, 10
_FILL = """
INSERT INTO sessions (app_name, user_id, id, state, create_time, update_time)
    SELECT 'app', 'other-' || n %% 100000, 's-' || n, '{}', now(), now() FROM generate_series(1, %s) n;
INSERT INTO events (id, app_name, user_id, session_id, invocation_id, timestamp, event_data)
    SELECT 'e-' || n, 'app', 'other-' || n %% 100000, 's-' || n, 'i', now(), jsonb_build_object('text', repeat('x', %s))
    FROM generate_series(1, %s) n;
"""


async def measure(url: str, options: argparse.Namespace) -> Table:
    """Return a table of what each call takes."""
    from google.adk.sessions.database_session_service import DatabaseSessionService  # noqa: PLC0415 - ADK's extra

    from fsstore.integrations.google_adk import FsstoreSessionService  # noqa: PLC0415 - the same

    figures: Figures = {}
    theirs = DatabaseSessionService(url.replace("postgresql:", "postgresql+psycopg:", 1))
    async with FsstoreSessionService(url) as ours:
        services = {"FsstoreSessionService": ours, "DatabaseSessionService": theirs}
        grown = {name: Conversation(service) for name, service in services.items()}
        for each in grown.values():
            await each.begin(_EVENTS)
        for service in services.values():
            for number in range(2, _SESSIONS + 1):
                await service.create_session(**OWNER, session_id=f"s-{number}", state={"number": number})
        await _fill(url, options.sessions, options.size_kb)
        made = {name: _Making(service) for name, service in services.items()}
        for _ in range(options.rounds * 4):
            await in_turn(figures, "create_session", {name: each.make for name, each in made.items()})
            await in_turn(figures, "append_event", {name: each.append for name, each in grown.items()})
            await in_turn(figures, "get_session", {name: partial(each.get, None) for name, each in grown.items()})
            lists = {name: partial(service.list_sessions, **OWNER) for name, service in services.items()}
            await in_turn(figures, "list_sessions of a user", lists)
    await theirs.close()
    return _table(figures, options)


class _Making:
    """Sessions of users who have no other."""

    def __init__(self, service: Any) -> None:
        self._service = service
        self._count = 0

    async def make(self) -> None:
        """Make the next one."""
        self._count += 1
        await self._service.create_session(app_name="app", user_id=f"new-{self._count}", state={"number": self._count})


async def _fill(url: str, count: int, size_kb: int) -> None:
    """Give ADK's tables as many sessions as the store has."""
    first, second = _FILL.strip().split(";\n")
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        await connection.execute(first.encode(), (count,))
        await connection.execute(second.rstrip(";").encode(), (size_kb * 1000, count))
        await connection.execute("VACUUM ANALYZE")


def _table(figures: Figures, options: argparse.Namespace) -> Table:
    title = f"sessions of ADK beside {options.sessions} others"
    table = Table("call", "fsstore, us", "DatabaseSessionService, us", "theirs / fsstore", title=title)
    for call, times in figures.items():
        ours, theirs = times.values()
        ratio = statistics.median(b / a for a, b in zip(ours, theirs, strict=True))
        table.add_row(call, *(f"{statistics.median(each) * 1000:.0f}" for each in (ours, theirs)), f"{ratio:.2f}")
    return table
