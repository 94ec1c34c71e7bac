"""The command that prints the manual: guide.

The guides are markdown files beside the code, `fsstore/guides/*.md`: rendered on a terminal, plain in a pipe.
"""

import difflib
import sys
from importlib.resources import files
from typing import Annotated

import typer

from fsstore.cli.output import show_lines
from fsstore.errors import StorageValidationError

# in the order in which a newcomer reads
TOPICS = {
    "sessions": "saving, finding and changing sessions; filters and errors",
    "append": "histories that grow, and large sessions",
    "models": "sessions as pydantic models",
    "durability": "what survives what, and recovery",
    "watching": "changes as they happen, made by fsstore or by hand",
    "command-line": "every command and option",
    "fixtures": "sessions for tests, in pytest",
    "git": "sessions in a repository: diffs and merges",
    "secrets": "finding and removing them",
    "sync": "programs without an event loop",
    "langgraph": "checkpoints and items of LangGraph",
    "openai-agents": "sessions of the OpenAI Agents SDK",
    "pydantic-ai": "conversations of Pydantic AI",
    "key-value": "entries of py-key-value, for FastMCP",
    "strands": "sessions and snapshots of Strands",
    "google-adk": "sessions of Google's Agent Development Kit",
    "claude-agent": "transcripts of the Claude Agent SDK",
    "moving": "from another session store",
    "postgres": "sessions in a database: when, what it costs, and how far it carries",
    "on-disk": "the files, and what may be done with them",
    "speed": "figures, next to other stores",
    "backend": "writing one",
    "contract": "the interface, call by call",
}


def _complete(incomplete: str) -> list[str]:
    return [topic for topic in TOPICS if topic.startswith(incomplete)]


def guide(
    topic: Annotated[
        str | None,
        typer.Argument(metavar="TOPIC", help="The topic; without it, the list of topics.", autocompletion=_complete),
    ] = None,
) -> None:
    """Print a guide of the manual, or the list of them."""
    if topic is None:
        width = max(map(len, TOPICS))
        show_lines(*(f"{name:{width}}  {about}" for name, about in TOPICS.items()))
        return
    if topic not in TOPICS:
        nearest = difflib.get_close_matches(topic.lower(), TOPICS, n=1)
        meant = f"did you mean {nearest[0]}? There are" if nearest else "choose one of"
        raise StorageValidationError(reason=f"there is no guide {topic!r}", advice=f"{meant} {', '.join(TOPICS)}")
    text = (files("fsstore") / "guides" / f"{topic}.md").read_text("utf-8")
    if sys.stdout.isatty():
        _render(text)
    else:
        show_lines(text.rstrip("\n"))


def _render(text: str) -> None:
    from rich.console import Console, ConsoleOptions, RenderResult  # noqa: PLC0415 - only a terminal needs it
    from rich.markdown import Markdown, TableElement  # noqa: PLC0415 - the same
    from rich.table import Table  # noqa: PLC0415 - the same

    class WholeCells(TableElement):
        """A table whose long words go on in the next line; rich would cut them off."""

        def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
            for part in super().__rich_console__(console, options):
                if isinstance(part, Table):
                    for column in part.columns:
                        column.overflow = "fold"
                yield part

    class Guide(Markdown):
        """Markdown with such tables."""

        elements = {**Markdown.elements, "table_open": WholeCells}  # noqa: RUF012 - as rich declares it

    Console().print(Guide(text))
