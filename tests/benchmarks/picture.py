"""The comparison as an SVG: a panel for each workload, a bar for each store. Equal results give equal bytes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.benchmarks.peers import STORES
from tests.benchmarks.peers.ours import Fsstore
from tests.benchmarks.rounds import Results, Row, Spread

PANELS = (
    ("get", None),
    ("save new", False),
    ("save new", True),
    ("save new (64 in flight)", False),
    ("save new (64 in flight)", True),
    ("batch (documents)", True),
    ("update one field", False),
    ("update one field", True),
    ("list metadata (50)", None),
    ("list sessions (50)", None),
    ("exists", None),
    ("delete", False),
)
"""Workloads worth a picture, and whether durable; those that were not measured are left out."""

_COLUMNS = 3
_SIZE_KB = 8
_OURS, _THEIRS = "#d9480f", "#adb5bd"


def draw(results: Results, path: Path) -> None:
    """Draw medians, with the spread of the rounds, on logarithmic scales."""
    import matplotlib as mpl  # noqa: PLC0415 - only a picture needs it
    from matplotlib.figure import Figure  # noqa: PLC0415 - the same

    rows = _chosen(results)
    lines = max(1, math.ceil(len(rows) / _COLUMNS))
    # without a fixed salt the names inside differ from run to run
    with mpl.rc_context({"svg.hashsalt": "fsstore", "svg.fonttype": "none", "font.family": "sans-serif"}):
        figure = Figure(figsize=(12, 2.6 * lines), layout="constrained")
        for position, row in enumerate(rows, start=1):
            _panel(figure.add_subplot(lines, _COLUMNS, position), row, results.figures[row])
        figure.savefig(path, format="svg", metadata={"Date": None, "Creator": "fsstore tests.benchmarks"})


def _chosen(results: Results) -> Sequence[Row]:
    """Return the rows worth a panel: of 8 KB documents if there are any, at the largest scale."""
    sizes = {row.size_kb for row in results.figures}
    size_kb = _SIZE_KB if _SIZE_KB in sizes else min(sizes, default=_SIZE_KB)
    chosen = []
    for name, durable in PANELS:
        rows = [row for row in results.figures if (row.workload.name, row.durable) == (name, durable)]
        chosen += sorted((row for row in rows if row.size_kb == size_kb), key=lambda row: row.documents)[-1:]
    return chosen


def _panel(axes: Any, row: Row, figures: dict[str, list[float]]) -> None:
    spreads = {store.name: Spread.of(figures[store.name]) for store in STORES if store.name in figures}
    names = list(spreads)
    medians = [spread.median for spread in spreads.values()]
    errors = [
        [spread.median - spread.least for spread in spreads.values()],
        [spread.most - spread.median for spread in spreads.values()],
    ]
    colours = [_OURS if name == Fsstore.name else _THEIRS for name in names]
    axes.barh(names, medians, xerr=errors, color=colours, ecolor="#495057", error_kw={"linewidth": 1, "capsize": 2})
    axes.set_xscale("log")
    axes.invert_yaxis()
    axes.set_title(row.title, fontsize=10, loc="left")
    axes.set_xlabel(row.workload.unit, fontsize=8)
    axes.tick_params(labelsize=8)
    axes.spines[["top", "right"]].set_visible(False)
