"""What the source says of itself: modules, imports, functions; nothing of it is run."""

import ast
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import NamedTuple

import fsstore

HOME = Path(fsstore.__file__).parent
ENGINE = "filesystem"


class Function(NamedTuple):
    """One function, and how many lines it has."""

    name: str
    lines: int


def modules() -> dict[str, Path]:
    """Return every module of fsstore by its name below the package; "" is the package itself."""
    found = {}
    for path in sorted(HOME.rglob("*.py")):
        parts = path.relative_to(HOME).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


MODULES = modules()
PACKAGES = {name for name, path in MODULES.items() if path.name == "__init__.py"}


def top_of(name: str) -> str:
    """Return the first part of a dotted name."""
    return name.partition(".")[0]


@cache
def tree_of(name: str) -> ast.Module:
    """Return the syntax tree of a module."""
    return ast.parse(MODULES[name].read_text(encoding="utf-8"))


def imported(name: str) -> Iterator[str]:
    """Give the full name of everything a module imports, wherever in it the import stands; so it does by `loaded`."""
    package = ["fsstore", *name.split(".")]
    if MODULES[name].name != "__init__.py":
        package.pop()
    for node in ast.walk(tree_of(name)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            home = ".".join([*above, *([node.module] if node.module else [])])
            yield from (f"{home}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "loaded":
            # a name that is not written down would hide from every rule
            yield ast.literal_eval(node.args[0])


def imported_from_house(name: str) -> set[str]:
    """Return the modules of fsstore that a module imports, by their names below the package."""
    found = set()
    for target in imported(name):
        below = target.removeprefix("fsstore").removeprefix(".")
        if top_of(target) == "fsstore":
            # what is imported is a module, or a name in the module before it
            found.add(below if below in MODULES else below.rpartition(".")[0])
    return found


def lines_of(name: str) -> int:
    """Return how many lines a module has."""
    return len(MODULES[name].read_text(encoding="utf-8").splitlines())


def functions() -> list[Function]:
    """Return every function and method of the library, the longest first."""
    found = []
    for name in MODULES:
        for node in ast.walk(tree_of(name)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = (node.end_lineno or node.lineno) - node.lineno + 1
                found.append(Function(f"{name}.{node.name}", lines))
    return sorted(found, key=lambda function: (-function.lines, function.name))


def folders() -> dict[str, int]:
    """Return how many modules lie in each folder, `__init__` aside."""
    found = dict.fromkeys(sorted(PACKAGES), 0)
    for name in MODULES.keys() - PACKAGES:
        found[name.rpartition(".")[0]] += 1
    return found


def engine(home: str = ENGINE) -> list[str]:
    """Return the modules of the file-system engine, or of another one, those that only name a folder aside."""
    return [name for name in MODULES if name.startswith(f"{home}.") and name not in PACKAGES]


def part_of_engine(name: str) -> str:
    """Return the folder of its engine that a module lies in, or the module itself if it lies in none."""
    return name.split(".")[1]


def names_below(package: str) -> list[str]:
    """Return the modules of a package, it and what only names a folder included."""
    return [name for name in MODULES if name == package or name.startswith(f"{package}.")]


def part_and_module(name: str) -> str:
    """Return the name of a module of the engine as it is spoken of within it."""
    return name.removeprefix(f"{ENGINE}.")


@cache
def imports_of_engine(home: str = ENGINE) -> dict[str, set[str]]:
    """Return what each module of an engine imports of the engine."""
    known = set(engine(home))
    return {name: imported_from_house(name) & known - {name} for name in known}


def arrows() -> dict[tuple[str, str], int]:
    """Return how many imports lead from one part of the engine to another."""
    found: dict[tuple[str, str], int] = {}
    for name, targets in sorted(imports_of_engine().items()):
        for target in targets:
            arrow = part_of_engine(name), part_of_engine(target)
            if arrow[0] != arrow[1]:
                found[arrow] = found.get(arrow, 0) + 1
    return found


def imports_of_parts() -> dict[str, set[str]]:
    """Return what each part of the engine imports of the others."""
    found: dict[str, set[str]] = {part_of_engine(name): set() for name in engine()}
    for source, target in arrows():
        found[source].add(target)
    return found


def longest_chain(imports: Mapping[str, set[str]]) -> list[str]:
    """Return the longest chain of imports, from the top down; a circle counts as far as it is met."""
    found: dict[str, list[str]] = {}

    def below(name: str, above: frozenset[str]) -> list[str]:
        if name not in found:
            chains = [below(other, above | {name}) for other in sorted(imports[name] - above)]
            found[name] = [name, *max(chains, key=len, default=[])]
        return found[name]

    return max((below(name, frozenset()) for name in sorted(imports)), key=len)
