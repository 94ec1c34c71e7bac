"""What the commands print, and where: results on standard output, everything else on standard error.

Invariants:
- Piped output is UTF-8 whatever the locale, and never coloured. On a terminal that cannot show a character it is
  escaped; nothing here raises UnicodeEncodeError.
- On a terminal no text from a store is sent as a control sequence: such characters are escaped.
- rich, which takes as long to load as the store itself, is loaded for a terminal only.
"""

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from fsstore.model.values import write_json
from fsstore.printing import printable, printable_json

if TYPE_CHECKING:
    from rich.console import Console

_MAX_COLOURED_CHARACTERS = 256 * 1024
_UUID_CHARACTERS = 36


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a table; `style` is rich's.

    One that is kept is never cut: what is wider than `widest` (0: half of the terminal) goes on in the next line.
    """

    name: str
    style: str = ""
    keep: bool = False
    widest: int = 0
    right: bool = False


def prepare_streams() -> None:
    """Make both streams safe: what their encoding cannot hold is escaped, and what was closed leads nowhere."""
    if sys.stdout is None:
        sys.stdout = Path(os.devnull).open("w")  # noqa: SIM115 - it lives as long as the process
    for stream in (sys.stdout, sys.stderr):
        if reconfigure := getattr(stream, "reconfigure", None):
            reconfigure(errors="backslashreplace")


def show_json(value: Any, *, compact: bool = False) -> None:
    """Print a JSON value, indented or on one line."""
    show_json_text(write_json(value, indent=not compact))


def show_json_text(data: bytes) -> None:
    """Print JSON that is text already: as it is, or in colours on a terminal that has them."""
    if not sys.stdout.isatty():
        _write(data)
        return
    text = printable_json(data.decode())
    if len(text) > _MAX_COLOURED_CHARACTERS or not _has_colours():
        sys.stdout.write(text)
        return
    from rich.highlighter import JSONHighlighter  # noqa: PLC0415 - for a terminal only
    from rich.text import Text  # noqa: PLC0415 - the same

    shown = Text(text, end="")
    JSONHighlighter().highlight(shown)
    console_on(sys.stdout).print(shown, soft_wrap=True, end="")


def show_text(data: bytes) -> None:
    """Print text as it is, whatever bytes it has; on a terminal without what would steer it."""
    if sys.stdout.isatty():
        show_lines(*data.decode(errors="backslashreplace").splitlines())
    else:
        _write(data)


def list_items(values: Sequence[Any]) -> bytes:
    """Return the inner part of an indented JSON list: what stands between its brackets, without the line ends there."""
    return write_json(values, indent=True).removeprefix(b"[\n").removesuffix(b"\n]\n")


def show_lines(*texts: str) -> None:
    """Print lines of a result, such as ids."""
    if sys.stdout.isatty():
        sys.stdout.writelines(f"{printable(text)}\n" for text in texts)
    else:
        _write("".join(f"{text}\n" for text in texts).encode(errors="backslashreplace"))


def show_table(columns: Sequence[Column], rows: Sequence[Sequence[str]], *, heading: bool = True) -> None:
    """Print rows under headings: aligned to the width of a terminal, separated by tabs anywhere else."""
    clean = [[printable(text) for text in row] for row in rows]
    if not sys.stdout.isatty():
        show_lines(*("\t".join(row) for row in ([[column.name for column in columns]] if heading else []) + clean))
        return
    _show_aligned(columns, clean, heading=heading)


def _show_aligned(columns: Sequence[Column], rows: Sequence[Sequence[str]], *, heading: bool) -> None:
    from rich.table import Table  # noqa: PLC0415 - for a terminal only
    from rich.text import Text  # noqa: PLC0415 - the same

    console = console_on(sys.stdout)
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, show_header=heading)
    for column in columns:
        table.add_column(
            column.name,
            style=column.style,
            no_wrap=column.keep,
            max_width=(column.widest or max(_UUID_CHARACTERS, console.width // 2)) if column.keep else None,
            justify="right" if column.right else "left",
        )
    for row in rows:
        # a text that may be shortened stays on one line; its column is the first to give way
        table.add_row(
            *(
                Text(text, no_wrap=not column.keep, overflow="fold" if column.keep else "ellipsis")
                for text, column in zip(row, columns, strict=True)
            )
        )
    console.print(table)


def say(text: str) -> None:
    """Tell the user something, on standard error, in one line."""
    if sys.stderr is not None:
        sys.stderr.write(f"fsstore: {printable(text)}\n")


def cell(value: Any) -> str:
    """Return a value as text for a table: a string as it is, nothing for null, else compact JSON."""
    if value is None:
        return ""
    return value if isinstance(value, str) else write_json(value).decode().rstrip()


def counted(number: int, noun: str) -> str:
    """Return a number with its noun, as in `1 session` and `2 sessions`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def format_bytes(size: float) -> str:
    """Write a size for people: `999 B`, `1.5 kB`, `2.0 GB`; a kB is 1000 bytes."""
    for unit in ("B", "kB", "MB"):
        if size < 1000:  # noqa: PLR2004 - the unit's step
            return f"{size:.0f} B" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} GB"


def console_on(stream: TextIO) -> "Console":
    """Return a rich console that prints text as it is, without markup of its own."""
    from rich.console import Console  # noqa: PLC0415 - for a terminal only

    return Console(file=stream, markup=False, highlight=False, emoji=False)


def _has_colours() -> bool:
    return "NO_COLOR" not in os.environ and os.environ.get("TERM") not in ("dumb", "unknown")


def _write(data: bytes) -> None:
    # bytes, so that the locale has no say; in a loop, since under `python -u` the stream writes what it can at once
    rest = memoryview(data)
    while rest:
        rest = rest[sys.stdout.buffer.write(rest) :]
    # now, to learn early that nobody reads any more
    sys.stdout.flush()
