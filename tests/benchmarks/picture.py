"""The comparison as an SVG: ratios to each peer about a line at 1, and how cost grows. Equal results give equal bytes.

Readable at a width of 800 pixels, on light and dark pages: nothing is filled behind it, and its grey is between both.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tests.benchmarks.rounds import Results, Row, Spread


class Line(NamedTuple):
    """A line of the picture: what people call it, the workload, and whether it is durable."""

    title: str
    workload: str
    durable: bool | None


GROUPS: Mapping[str, Sequence[Line]] = {
    "read": (
        Line("get", "get", None),
        Line("get, 64 in flight", "get (64 in flight)", None),
        Line("exists", "exists", None),
        Line("resume in a new process", "resume: open, get one, list 20 (new process)", None),
    ),
    "list": (
        Line("list 50 sessions", "list sessions (50)", None),
        Line("list 50, metadata", "list metadata (50)", None),
        Line("count a status", "count a status", None),
    ),
    "write": (
        Line("save", "save new", False),
        Line("save, durable", "save new", True),
        Line("save, 64 in flight", "save new (64 in flight)", False),
        Line("save, 64 in flight, durable", "save new (64 in flight)", True),
        Line("update a field", "update one field", False),
        Line("update a field, durable", "update one field", True),
        Line("delete", "delete", False),
        Line("one batch", "batch (documents)", False),
        Line("one batch, durable", "batch (documents)", True),
    ),
}
"""What is drawn; lines that were not measured are left out."""
PEERS = {
    "aiosqlite": ("aiosqlite, autocommit", "#e8590c", "o"),
    "sqlite3": ("sqlite3, called directly", "#ae3ec9", "D"),
    "raw thread": ("files, one worker thread", "#1c7ed6", "s"),
    "raw": ("files, called directly", "#0ca678", "^"),
    "diskcache": ("diskcache", "#868e96", "v"),
    "openai-agents": ("SQLiteSession of openai-agents", "#c2255c", "P"),
}
"""With whom fsstore is compared in the picture: label, colour and mark."""

_GREY, _SIZE_KB = "#7d8590", 8
_TICKS = {1 / 16: "1/16", 1 / 8: "1/8", 1 / 4: "1/4", 1 / 2: "1/2", 1: "1", 2: "2", 4: "4", 8: "8", 16: "16"}
Growth = Mapping[int, float]
"""A cost in microseconds at each size."""


def draw(results: Results, path: Path, growth: Mapping[str, Growth] | None = None) -> None:
    """Draw the ratios, the median of each with the spread of the rounds, and beside them what `growth` says."""
    import matplotlib as mpl  # noqa: PLC0415 - only a picture needs it
    from matplotlib.figure import Figure  # noqa: PLC0415 - the same

    style = {
        "svg.hashsalt": "fsstore",  # without a fixed salt the names inside differ from run to run
        "svg.fonttype": "none",
        "font.family": "sans-serif",
        "font.size": 10,
        **dict.fromkeys(("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"), _GREY),
    }
    groups = _groups(results)
    lines = [line for lines in groups.values() for line in lines]
    with mpl.rc_context(style):
        figure = Figure(figsize=(8, 2.2 + 0.28 * len(lines) + (2 if growth else 0)), layout="constrained")
        figure.patch.set_alpha(0)
        grid = figure.add_gridspec(2 if growth else 1, 2 if growth else 1, height_ratios=[3, 1] if growth else None)
        axes = figure.add_subplot(grid[0, :])
        _ratios(axes, results, lines)
        _separate(axes, groups)
        for position, (title, costs) in enumerate((growth or {}).items()):
            _growth(figure.add_subplot(grid[1, position]), title, costs)
        figure.savefig(path, format="svg", metadata={"Date": None, "Creator": "fsstore tests.benchmarks"})


def _groups(results: Results) -> dict[str, list[tuple[str, Row]]]:
    """Return the lines that were measured: of 8 KB documents if there are any, at the largest scale."""
    sizes = {row.size_kb for row in results.figures}
    size_kb = _SIZE_KB if _SIZE_KB in sizes else min(sizes, default=_SIZE_KB)
    largest: dict[tuple[str, bool | None], Row] = {}
    for row in sorted(results.figures, key=lambda row: row.documents):
        if row.size_kb == size_kb:
            largest[row.workload.name, row.durable] = row
    return {
        group: [
            (line.title, largest[line.workload, line.durable])
            for line in lines
            if (line.workload, line.durable) in largest
        ]
        for group, lines in GROUPS.items()
    }


def _separate(axes: Any, groups: Mapping[str, Sequence[object]]) -> None:
    """Draw a line between groups, and their names at the right."""
    end = 0
    for group, lines in groups.items():
        if not lines:
            continue
        if end:
            axes.axhline(end - 0.5, color=_GREY, linewidth=0.8)
        end += len(lines)
        middle = end - 0.5 - len(lines) / 2
        axes.text(1.01, middle, group, transform=axes.get_yaxis_transform(), rotation=270, va="center")


def _ratios(axes: Any, results: Results, lines: Sequence[tuple[str, Row]]) -> None:
    for peer, (label, colour, mark) in PEERS.items():
        drawn = [(at, ratio) for at, (_, row) in enumerate(lines) if (ratio := _speed(results, row, peer)) is not None]
        if drawn:
            medians = [_within(ratio.median) for _, ratio in drawn]
            least = [median - _within(ratio.least) for median, (_, ratio) in zip(medians, drawn, strict=True)]
            most = [_within(ratio.most) - median for median, (_, ratio) in zip(medians, drawn, strict=True)]
            axes.errorbar(
                medians,
                [at for at, _ in drawn],
                xerr=[least, most],
                fmt=mark,
                color=colour,
                label=label,
                elinewidth=1,
                markersize=5,
            )
    axes.axvline(1, color=_GREY, linewidth=1.5)
    axes.set_xscale("log", base=2)
    axes.set_xlim(min(_TICKS) / 1.1, max(_TICKS) * 1.1)
    axes.set_xticks(list(_TICKS), list(_TICKS.values()))
    axes.set_yticks(range(len(lines)), [title for title, _ in lines])
    axes.invert_yaxis()
    axes.set_xlabel("fsstore is so many times as fast as the peer (at the edges: or more); lines: least to most")
    axes.grid(axis="both", color=_GREY, alpha=0.25, linewidth=0.5)
    axes.patch.set_alpha(0)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.figure.legend(loc="outside upper center", ncols=3, frameon=False, fontsize=9)


def _speed(results: Results, row: Row, peer: str) -> Spread | None:
    """Return how many times as fast fsstore is; of costs the inverse."""
    ratio = results.ratio(row, peer)
    if ratio is None or row.workload.more_is_better:
        return ratio
    return Spread(1 / ratio.median, 1 / ratio.most, 1 / ratio.least)


def _within(ratio: float) -> float:
    """Return a ratio, or the edge of the picture beyond which it lies."""
    return min(max(ratio, min(_TICKS)), max(_TICKS))


def _growth(axes: Any, title: str, costs: Growth) -> None:
    """Draw a cost at each size, from 0 on; sizes are powers of ten."""
    sizes, values = list(costs), list(costs.values())
    axes.plot(sizes, values, marker="o", color=PEERS["aiosqlite"][1], linewidth=1.5, markersize=4)
    axes.set_xscale("log")
    axes.set_ylim(0, 1.25 * max(values))
    axes.set_xticks(sizes, [f"{size:,}".replace(",", " ") for size in sizes])
    axes.minorticks_off()
    axes.set_title(title, fontsize=10)
    axes.set_ylabel("µs")
    axes.grid(color=_GREY, alpha=0.25, linewidth=0.5)
    axes.patch.set_alpha(0)
    axes.spines[["top", "right"]].set_visible(False)
