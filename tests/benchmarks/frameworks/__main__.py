"""The command: `python -m tests.benchmarks.frameworks --help`."""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import sys
import tempfile
from pathlib import Path

from tests.benchmarks.frameworks.claude_agent import claude_agent
from tests.benchmarks.frameworks.google_adk import google_adk
from tests.benchmarks.frameworks.key_value import key_value
from tests.benchmarks.frameworks.langgraph import langgraph
from tests.benchmarks.frameworks.openai_agents import openai_agents
from tests.benchmarks.frameworks.pydantic_ai import pydantic_ai
from tests.benchmarks.frameworks.strands import strands
from tests.benchmarks.in_turn import Figures

SIZES = (10, 1000, 5000)
_OWN = (
    "SQLite",
    "AsyncSqlite",
    "InMemoryConversationStore",
    "FileTreeStore",
    "FileSession",
    "LocalFile",
    "SqliteSession",
    "JSONL",
)
"""What the names of the frameworks' own stores begin with."""


def rows(figures: Figures) -> list[str]:
    """Return a table in markdown: the median of each store, least to most, and the ratio to the first of the others."""
    table = ["| what | store | median | least to most | times the framework's own |", "|---|---|---|---|---|"]
    for what, stores in figures.items():
        own = next((store for store in stores if store.startswith(_OWN)), None)
        for store, values in stores.items():
            median = statistics.median(values)
            ratio = f"{median / statistics.median(stores[own]):.2f}" if own else ""
            table.append(f"| {what} | {store} | {median:.2f} | {min(values):.2f} to {max(values):.2f} | {ratio} |")
    return table


def main(arguments: list[str] | None = None) -> int:
    """Measure a framework; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.frameworks", description=__doc__)
    measured = {
        "openai-agents": openai_agents,
        "langgraph": langgraph,
        "pydantic-ai": pydantic_ai,
        "key-value": key_value,
        "strands": strands,
        "google-adk": google_adk,
        "claude-agent": claude_agent,
    }
    parser.add_argument("framework", choices=measured)
    parser.add_argument("--sizes", default=",".join(map(str, SIZES)), help="numbers of messages")
    parser.add_argument("--directory", type=Path, help="where to make the stores; the directory for temporary files")
    parser.add_argument("--json", type=Path, help="write the figures there, too")
    options = parser.parse_args(arguments)
    sizes = tuple(int(size) for size in options.sizes.split(","))
    with tempfile.TemporaryDirectory(dir=options.directory, prefix="fsstore-frameworks-") as room:
        figures = asyncio.run(measured[options.framework](Path(room), sizes))
    sys.stdout.write("\n".join(rows(figures)) + "\n")
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
