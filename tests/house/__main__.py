"""`python -m tests.house`: what the usual calls pass, and how the modules lie and lean on each other."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

from tests.house import passes, source

_LONGEST_FUNCTIONS = 10
_LONG_FILE = 300


def table(steps: dict[str, passes.Passed]) -> Iterator[str]:
    """Give the lines of the table."""
    yield f"{'step':<28}{'files':>8}{'calls':>8}{'changes of file':>18}"
    for step, passed in steps.items():
        yield f"{step:<28}{passed.files:>8}{passed.calls:>8}{passed.changes:>18}"
    yield from _of_source()


def _of_source() -> Iterator[str]:
    yield ""
    yield "modules of each folder"
    for name, modules in source.folders().items():
        yield f"  {'fsstore/' + name.replace('.', '/'):<42}{modules:>4}"
    engine, arrows = source.engine(), source.arrows()
    parts = source.longest_chain(source.imports_of_parts())
    chain = source.longest_chain(source.imports_of_engine())
    yield ""
    yield f"modules of the engine           {len(engine):>6}"
    yield f"lines of the engine             {sum(map(source.lines_of, source.names_below(source.ENGINE))):>6}"
    yield f"floors of its modules           {len(chain):>6}  {' > '.join(map(source.part_and_module, chain))}"
    yield f"floors of its parts             {len(parts):>6}  {' > '.join(parts)}"
    yield f"arrows between its parts        {len(arrows):>6}  with {sum(arrows.values())} imports"
    yield ""
    yield f"files of more than {_LONG_FILE} lines"
    long = [(source.lines_of(name), name) for name in source.MODULES if source.lines_of(name) > _LONG_FILE]
    for lines, name in sorted(long, reverse=True):
        yield f"  {name:<42}{lines:>4}"
    yield "longest functions"
    for function in source.functions()[:_LONGEST_FUNCTIONS]:
        yield f"  {function.name:<42}{function.lines:>4}"


if __name__ == "__main__":
    for line in table(asyncio.run(passes.measured())):
        print(line)  # noqa: T201 - this is what it is for
