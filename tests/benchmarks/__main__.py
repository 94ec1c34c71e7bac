"""Runs the workloads: `python -m tests.benchmarks [--rounds 5] [--documents 500] [--directory DIR]`."""

from __future__ import annotations

import argparse
import asyncio
import statistics
import tempfile
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.benchmarks.workloads import Figures, measure


def main() -> None:
    """Run the rounds and print the table."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--documents", type=int, default=500, help="documents a workload")
    parser.add_argument("--directory", type=Path, help="where to work; a fresh temp directory by default")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.directory) as directory:
        rounds = [
            asyncio.run(measure(Path(directory) / str(number), documents=arguments.documents))
            for number in range(arguments.rounds)
        ]
    _print(rounds)


def _print(rounds: list[Figures]) -> None:
    table = Table(title="operations a second, median of the rounds; 8 KB documents")
    for column in ("workload", "fsstore", "raw", "ratio", "spread"):
        table.add_column(column, justify="left" if column == "workload" else "right")
    for workload in rounds[0]:
        ours, raw = zip(*(figures[workload] for figures in rounds), strict=True)
        ratios = sorted(mine / theirs for mine, theirs in zip(ours, raw, strict=True))
        table.add_row(
            workload,
            f"{statistics.median(ours):,.0f}",
            f"{statistics.median(raw):,.0f}",
            f"{statistics.median(ratios):.2f}",
            f"{ratios[0]:.2f} - {ratios[-1]:.2f}",
        )
    Console().print(table)


if __name__ == "__main__":
    main()
