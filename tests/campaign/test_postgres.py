"""The same promises in PostgreSQL: a storm of kills of the server, and histories of four processes."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.campaign.conftest import Report
from tests.campaign.linearizability import violations
from tests.postgres.conftest import own_server, postgres_url, server
from tests.postgres.histories import history_of
from tests.postgres.server import Server
from tests.postgres.storm import storm

__all__ = ["own_server", "postgres_url", "server"]

KILLS, LEAST = 40, 1_000
PROCESSES = 4


async def test_every_acknowledged_write_survives_a_storm_of_kills_of_the_server(
    own_server: Server, report: Report, tmp_path: Path
) -> None:
    known, found = await storm(own_server, tmp_path, kills=KILLS)

    assert len(known.applied) > LEAST
    report("kills of PostgreSQL, acknowledged batches", len(known.applied), found)


@pytest.mark.parametrize("seed", range(6))
async def test_single_documents_of_four_processes_are_linearizable_in_postgres(
    postgres_url: str, report: Report, tmp_path: Path, seed: int
) -> None:
    history = await history_of(postgres_url, tmp_path, [f"{seed}-{number}" for number in range(PROCESSES)])

    assert sum(operation.answer.refused for operation in history) > len(history) / 50
    found = [f"seed {seed}: {line}" for line in violations(history)]
    report("histories of single documents, PostgreSQL", len(history), found)
