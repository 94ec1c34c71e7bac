"""The benchmark of appends measures what it says it does."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from tests.benchmarks.appending import measure, stall, table


async def test_each_way_of_appending_is_in_the_table_durable_and_not(tmp_path: Path) -> None:
    measured = await measure(tmp_path, [3], rounds=1)
    assert measured.keys() == {(False, 3), (True, 3)}
    ways = {"append", "append with unique_by", "append, first after opening", "edit", "write and rename", "sync alone"}
    for figures in measured.values():
        assert ways <= figures.keys()
        assert {"SQLite row, NORMAL", "SQLite row, FULL", "append, two writers alternating"} <= figures.keys()
        assert all(value > 0 for name in ways for value in figures[name])
    assert measured[True, 3]["append, bytes logged"][0] > 2000 > measured[False, 3]["append, bytes logged"][0]
    console = Console(width=200, record=True)
    console.print(table(measured))
    assert "append with unique_by, durable" in console.export_text()
    assert list(tmp_path.iterdir()) == []


async def test_a_stall_is_seen() -> None:
    async def busy() -> float:
        return float(sum(range(3_000_000)))

    assert await stall(busy) > 2
