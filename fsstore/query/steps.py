r"""Paths as callers write them in filters, orders and on the command line, and the steps that they name. Pure.

Steps are joined by dots, as in `state.step`. A backslash takes the meaning from what follows: `a\.b` is the one step
`a.b`, `\$ref` is a step that begins with `$`, and `\\` is a backslash. So do a comma, a plus and a blank lose what they
mean to an order, as in `due\ desc`. Before any other character it is itself.
"""

from __future__ import annotations

import re

_PIECE = re.compile(r"\\[.$\\,+ ]|.", re.DOTALL)
_ESCAPE = re.compile(r"\\([.$\\,+ ])")


def written_steps(path: str) -> list[str]:
    """Return the steps of a path as they are written, escapes included; O(its length)."""
    if "\\" not in path:
        return path.split(".")
    steps = [""]
    for piece in _PIECE.findall(path):
        if piece == ".":
            steps.append("")
        else:
            steps[-1] += piece
    return steps


def read_step(written: str) -> str:
    """Return the key that a written step names."""
    return _ESCAPE.sub(r"\1", written) if "\\" in written else written
