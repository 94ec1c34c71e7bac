"""A few kills of the server, and one short history; the campaign has many."""

from __future__ import annotations

from pathlib import Path

from tests.campaign.linearizability import violations
from tests.postgres.histories import history_of
from tests.postgres.server import Server
from tests.postgres.storm import storm


async def test_no_acknowledged_write_is_lost_or_doubled_when_the_server_is_killed(
    own_server: Server, tmp_path: Path
) -> None:
    known, found = await storm(own_server, tmp_path, kills=3)

    assert found == []
    assert len(known.applied) > 30
    assert known.unknown == set()


async def test_single_documents_of_two_processes_are_linearizable(postgres_url: str, tmp_path: Path) -> None:
    history = await history_of(postgres_url, tmp_path, ["1-0", "1-1"])

    assert sum(operation.answer.refused for operation in history) > len(history) / 100
    assert violations(history) == []
