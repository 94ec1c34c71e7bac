"""The command: `python -m tests.benchmarks --help`; what it does is told in the package."""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path

from rich.console import Console

from tests.benchmarks.ground import spread
from tests.benchmarks.peers import STORES
from tests.benchmarks.picture import draw
from tests.benchmarks.report import print_tables, read_json, write_json
from tests.benchmarks.rounds import Plan, Results, Run
from tests.benchmarks.trial import Amounts
from tests.benchmarks.workloads import GROUPS, WORKLOADS

_QUICK = {"rounds": 3, "documents": 300, "sizes": (8,), "scale": (1000,)}
_PLACES = ("directory", "json", "read", "plot", "growth", "appends")
_US_PER_MS = 1000
_FULL = {"rounds": 7, "documents": 1000, "sizes": (1, 8, 64, 1024), "scale": (1000, 10_000, 100_000)}


def main(arguments: list[str] | None = None) -> None:
    """Run the rounds, print the tables, and write what was asked for."""
    options = _options(arguments)
    results = _measured(options) if options.read is None else read_json(options.read, options.peers)
    console = Console(width=max(Console().width, 130))
    print_tables(results, console)
    if options.json is not None:
        told = {name: value for name, value in vars(options).items() if name not in _PLACES}
        write_json(options.json, results, told)
    if options.plot is not None:
        draw(results, options.plot, _growth(options.growth) | _appends(options.appends))


def _measured(options: argparse.Namespace) -> Results:
    with tempfile.TemporaryDirectory(prefix="fsstore-bench-", dir=options.directory) as directory:
        spread(Path(directory))
        return asyncio.run(_run(_plan(options), Path(directory), options, Console(stderr=True)))


async def _run(plan: Plan, directory: Path, options: argparse.Namespace, progress: Console) -> Results:
    async with Run(plan, directory, lambda text: progress.print(text, style="dim", highlight=False)) as run:
        if options.seconds is not None:
            await run.for_seconds(options.seconds)
        else:
            await run.rounds(options.rounds)
        return run.results


def _plan(options: argparse.Namespace) -> Plan:
    stores = [store for store in STORES if store.name == "fsstore" or store.name in options.peers]
    if options.only:
        stores = [store for store in STORES if store.name == options.only]
    return Plan(
        stores=stores,
        workloads=[one for one in WORKLOADS if {one.name, one.group} & set(options.workloads)],
        sizes_kb=options.sizes,
        scales=options.scale,
        amounts=Amounts(documents=options.documents, drop_caches=options.drop_caches),
    )


def _options(arguments: list[str] | None) -> argparse.Namespace:
    names = [store.name for store in STORES]
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description="fsstore next to its peers.")
    length = parser.add_mutually_exclusive_group()
    length.add_argument("--quick", action="store_true", help=f"the short run, which is the default: {_told(_QUICK)}")
    length.add_argument("--full", action="store_true", help=f"the long run: {_told(_FULL)}")
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--documents", type=int, help="documents a workload")
    parser.add_argument("--sizes", type=_numbers, help="sizes of documents in KB: 1,8,64")
    parser.add_argument("--scale", type=_numbers, help="documents in the stores that are listed: 1000,10000,100000")
    parser.add_argument("--workloads", type=_some_of([*GROUPS, *(one.name for one in WORKLOADS)]), default=list(GROUPS))
    parser.add_argument("--peers", type=_some_of(names), default=names, help=f"of {', '.join(names[1:])}")
    parser.add_argument("--only", choices=names, help="run one store alone")
    parser.add_argument("--seconds", type=float, help="repeat until so many seconds are over, instead of rounds")
    parser.add_argument("--directory", type=Path, help="where to work; it decides which disk is measured")
    parser.add_argument("--drop-caches", action=argparse.BooleanOptionalAction, default=True, help="needs root")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures")
    parser.add_argument("--read", type=Path, metavar="FILE", help="measure nothing, take what --json wrote there")
    parser.add_argument("--plot", type=Path, metavar="FILE.svg", help="draw the comparison")
    parser.add_argument("--growth", type=Path, metavar="FILE", help="and what `growth --json` wrote beside it")
    parser.add_argument("--appends", type=Path, metavar="FILE", help="and what `appending --json` wrote")
    options = parser.parse_args(arguments)
    for name, value in (_FULL if options.full else _QUICK).items():
        if getattr(options, name) is None:
            setattr(options, name, value)
    return options


def _growth(path: Path | None) -> dict[str, dict[int, float]]:
    """Return what a list of 50 sessions costs among more and more of them: medians, in microseconds."""
    return {} if path is None else {"list of 50 among so many sessions": _medians(path, "list sessions")}


def _appends(path: Path | None) -> dict[str, dict[int, float]]:
    """Return what an append costs to a session of more and more messages, at powers of ten, as `_growth` does."""
    if path is None:
        return {}
    costs = {length: ms for length, ms in _medians(path, "append").items() if f"{length}".strip("0") == "1"}
    return {"append to so many messages": {length: _US_PER_MS * ms for length, ms in costs.items()}}


def _medians(path: Path, row: str) -> dict[int, float]:
    told = json.loads(path.read_text(encoding="utf-8"))
    return {int(size): statistics.median(figures[row]) for size, figures in told.items()}


def _told(amounts: dict[str, object]) -> str:
    return ", ".join(f"{name} {value}" for name, value in amounts.items())


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(number) for number in text.split(","))


def _some_of(known: list[str]) -> Callable[[str], list[str]]:
    def names(text: str) -> list[str]:
        chosen = [name.strip() for name in text.split(",")]
        unknown = [name for name in chosen if name not in known]
        if unknown:
            raise argparse.ArgumentTypeError(f"{unknown[0]!r} is none of {', '.join(known)}")
        return chosen

    return names


if __name__ == "__main__":
    main()
