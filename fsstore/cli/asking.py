"""Questions to the user, on standard error, and only where somebody can answer."""

import sys

import typer

from fsstore.errors import StorageValidationError

_YES, _NO = ("y", "yes"), ("n", "no")


def can_ask() -> bool:
    """Whether there is a terminal to answer from."""
    return sys.stdin is not None and sys.stdin.isatty()


def confirm(question: str, *, unasked: str) -> None:
    """Go on if the user says yes. Raises typer.Abort if not.

    Raises StorageValidationError where nobody can be asked: `unasked` says what would have been done.
    """
    if not can_ask():
        raise StorageValidationError(reason=unasked, advice="add --yes if that is what you want")
    if not says_yes(question):
        raise typer.Abort


def says_yes(question: str, *, unless_no: bool = False) -> bool:
    """Whether the user says yes; `unless_no` takes an empty answer for one. The end of the input is a no."""
    sys.stderr.write(f"{question} [{'Y/n' if unless_no else 'y/N'}] ")
    sys.stderr.flush()
    line = sys.stdin.readline()
    answer = line.strip().lower()
    return bool(line) and answer not in _NO if unless_no else answer in _YES
