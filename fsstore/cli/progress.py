"""The progress bar: on standard error, for a terminal only, so that nobody else pays for loading rich."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from fsstore.cli.output import console_on
from fsstore.printing import printable


def is_shown(*, quiet: bool = False) -> bool:
    """Whether there is a terminal to see a bar, and it is wanted."""
    return not quiet and sys.stderr is not None and sys.stderr.isatty()


@contextmanager
def bar(
    label: str, total: int | None = None, *, counts_bytes: bool = False, quiet: bool = False
) -> Iterator[Callable[[int, int | None], None] | None]:
    """Show a bar while the block runs, and give what moves it: steps done, steps in all; None where it is hidden."""
    if not is_shown(quiet=quiet):
        yield None
        return
    from rich import progress as rich  # noqa: PLC0415 - for a terminal only

    columns = (
        rich.TextColumn("{task.description}", markup=False),
        rich.BarColumn(),
        rich.DownloadColumn() if counts_bytes else rich.MofNCompleteColumn(),
        rich.TimeRemainingColumn(),
    )
    with rich.Progress(*columns, console=console_on(sys.stderr), transient=True) as shown:
        task = shown.add_task(printable(label), total=total)
        yield lambda done, in_all: shown.update(task, completed=done, total=in_all)
