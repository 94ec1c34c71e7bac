"""What people and programs are told: tables on the terminal, and JSON."""

from __future__ import annotations

import importlib.metadata
import itertools
import json
import os
import platform
import sqlite3
from collections.abc import Collection, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from tests.benchmarks.peers import STORES
from tests.benchmarks.peers.ours import Fsstore
from tests.benchmarks.rounds import Results, Row, Spread
from tests.benchmarks.workloads import WORKLOADS

_LIBRARIES = (
    *("fsstore", "aiosqlite", "diskcache", "cachelib", "tinydb", "litestar", "py-key-value-aio", "strands-agents"),
    "openai-agents",
)
_LARGE = 100


def print_tables(results: Results, console: Console) -> None:
    """Print a table for each group of workloads and size, then what the peers do, and what is missing and why."""
    rows = list(results.figures)
    for size_kb, group in dict.fromkeys((row.size_kb, row.workload.group) for row in rows):
        table = Table(title=f"{group}, {size_kb} KB documents", title_justify="left")
        for column in ("workload", "peer", "unit", "median", "spread", "p99, µs", "fsstore / peer", "spread "):
            table.add_column(column, justify="left" if column in ("workload", "peer", "unit") else "right")
        for row in rows:
            if (row.size_kb, row.workload.group) == (size_kb, group):
                for cells in _lines(results, row):
                    table.add_row(*cells)
                table.add_section()
        console.print(table)
    _print_notes(results, console)


def _lines(results: Results, row: Row) -> Iterator[tuple[str, ...]]:
    """Give the cells of a line for each store that has a figure in this row."""
    unit = row.workload.unit if row.workload.more_is_better else f"{row.workload.unit}, less is better"
    for name, values in results.figures[row].items():
        spread, ratio = Spread.of(values), results.ratio(row, name)
        tails = results.tails.get(row, {}).get(name)
        compared = ratio is not None and name != Fsstore.name
        yield (
            row.title,
            name,
            unit,
            _number(spread.median),
            f"{_number(spread.least)} - {_number(spread.most)}",
            _number(Spread.of(tails).median) if tails else "",
            f"{ratio.median:.2f}" if ratio and compared else "",
            f"{ratio.least:.2f} - {ratio.most:.2f}" if ratio and compared else "",
        )


def _number(value: float) -> str:
    return f"{value:,.0f}".replace(",", " ") if value >= _LARGE else f"{value:.3g}"


def _print_notes(results: Results, console: Console) -> None:
    measured = {name for figures in results.figures.values() for name in figures}
    for store in STORES:
        if store.name in measured:
            console.print(f"[bold]{store.name}[/]: {store.timed}", highlight=False)
    for (name, reason), rows in _refusals(results).items():
        console.print(f"[yellow]not measured[/] {name}, {reason}: {'; '.join(rows)}", highlight=False)
    for name, reason in results.absent.items():
        console.print(f"[red]could not run[/] {name}: {reason}", highlight=False)


def _refusals(results: Results) -> Mapping[tuple[str, str], list[str]]:
    found: dict[tuple[str, str], list[str]] = {}
    for row, reasons in results.refused.items():
        for name, reason in reasons.items():
            titles = found.setdefault((name, reason), [])
            if row.title not in titles:
                titles.append(row.title)
    return found


def as_json(results: Results, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return everything that was measured, as JSON can hold it."""
    return {
        "options": dict(options),
        "environment": _environment(),
        "peers": {store.name: store.timed for store in STORES},
        "absent": results.absent,
        "rows": [_row(results, row) for row in dict.fromkeys(itertools.chain(results.figures, results.refused))],
    }


def write_json(path: Path, results: Results, options: Mapping[str, Any]) -> None:
    """Write everything that was measured."""
    path.write_text(json.dumps(as_json(results, options), indent=2) + "\n", encoding="utf-8")


def read_json(path: Path, peers: Collection[str]) -> Results:
    """Return what `write_json` wrote of fsstore and of some peers."""
    workloads = {(workload.name, workload.group): workload for workload in WORKLOADS}
    results = Results()
    for found in json.loads(path.read_text(encoding="utf-8"))["rows"]:
        workload = workloads[found["workload"], found["group"]]
        row = Row(workload, found["size_kb"], found["documents"], found["durable"])
        stores = {name: told for name, told in found["stores"].items() if name in {Fsstore.name, *peers}}
        results.figures[row] = {name: told["rounds"] for name, told in stores.items()}
        results.tails[row] = {name: told["p99_us"] for name, told in stores.items() if told["p99_us"]}
        results.refused[row] = found["not_measured"]
    return results


def _row(results: Results, row: Row) -> dict[str, Any]:
    stores = {}
    for name, values in results.figures.get(row, {}).items():
        ratio = results.ratio(row, name)
        stores[name] = {
            "rounds": values,
            "ratio": None if ratio is None else asdict(ratio),
            "p99_us": results.tails.get(row, {}).get(name),
        }
    return {
        "group": row.workload.group,
        "workload": row.workload.name,
        "unit": row.workload.unit,
        "more_is_better": row.workload.more_is_better,
        "size_kb": row.size_kb,
        "documents": row.documents,
        "durable": row.durable,
        "stores": stores,
        "not_measured": results.refused.get(row, {}),
    }


def _environment() -> dict[str, Any]:
    versions: dict[str, str | None] = {}
    for library in _LIBRARIES:
        try:
            versions[library] = importlib.metadata.version(library)
        except importlib.metadata.PackageNotFoundError:
            versions[library] = None
    return {
        "system": platform.system(),
        "release": platform.release(),
        "machine": platform.machine(),
        "processors": os.cpu_count(),
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
        "versions": versions,
    }
