"""The statements of commits."""

from __future__ import annotations

from fsstore.postgres.commits.writes import Settings


def test_the_shortest_time_is_a_limit_too() -> None:
    """PostgreSQL takes 0 for none."""
    _, values = Settings(0.0001, durable=True).step()

    assert [*values][:2] == ["1", "1"]
