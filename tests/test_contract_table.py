"""The table of the contract says what is: every call of the document stands in it, and every test it names exists."""

import ast
import inspect
import re
import types
from pathlib import Path
from typing import Any, Union, get_args, get_origin, get_type_hints

import pytest

import fsstore
from fsstore import errors, legacy
from tests.calling_system import SYSTEMS, CallingSystem

ROOT = Path(__file__).parents[1]
GUIDE = Path(fsstore.__file__).parent / "guides" / "contract.md"

SECTIONS: dict[str, tuple[str, list[Any]]] = {
    "legacy.ISessionStore": ("old_store", [legacy.ISessionStore, fsstore.LegacySessionStoreAdapter]),
    "ISessionStore": ("store", [fsstore.ISessionStore, fsstore.SessionService]),
    "ISessionService": ("protocol", [fsstore.ISessionService, fsstore.SessionService]),
    "SessionService": ("service", [fsstore.SessionService]),
    "SessionStorageAdapter": ("adapter", [fsstore.SessionStorageAdapter]),
    "LegacySessionStoreAdapter": ("legacy", [fsstore.LegacySessionStoreAdapter]),
}
"""Each section of calls: the document's class, and ours that must take the same."""


@pytest.fixture(params=list(SYSTEMS))
def system(request: pytest.FixtureRequest) -> CallingSystem:
    return SYSTEMS[request.param]


def rows() -> dict[str, list[list[str]]]:
    """Return the cells of each table, by the heading that it stands under."""
    found: dict[str, list[list[str]]] = {}
    heading = ""
    for line in GUIDE.read_text(encoding="utf-8").splitlines():
        if line.startswith("#"):
            heading = line.strip("# `")
        elif line.startswith("|") and not line.startswith("|---"):
            cells = [cell.strip().replace("\\|", "|") for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
            found.setdefault(heading, []).append(cells)
    return {heading: cells[1:] for heading, cells in found.items()}


ROWS = rows()


def first_column(heading: str) -> list[str]:
    return [cells[0].strip("`") for cells in ROWS[heading]]


def rendered(annotation: Any) -> str:
    """Write a type as the table does."""
    if get_origin(annotation) in (Union, types.UnionType):
        return " | ".join(rendered(part) for part in get_args(annotation))
    if get_origin(annotation) is list:
        return f"list[{rendered(get_args(annotation)[0])}]"
    kind = get_origin(annotation) or annotation
    return "None" if kind is type(None) else str(kind.__name__)


def arguments(method: Any) -> list[str]:
    """Write the arguments of a method, and their defaults."""
    given = [one for one in inspect.signature(method).parameters.values() if one.name != "self"]
    return [one.name if one.default is one.empty else f"{one.name}={one.default!r}" for one in given]


def calls(kind: type) -> list[str]:
    """Write every call of a class as the table does."""
    methods = {name: value for name, value in vars(kind).items() if inspect.isfunction(value)}
    wanted = {name: value for name, value in methods.items() if name == "__init__" or not name.startswith("_")}
    if "Protocol" in [base.__name__ for base in kind.__bases__]:
        # made by the protocol, not written there
        wanted.pop("__init__", None)
    return [
        f"{kind.__name__ if name == '__init__' else name}({', '.join(arguments(value))}) -> "
        f"{'None' if name == '__init__' else rendered(get_type_hints(value)['return'])}"
        for name, value in wanted.items()
    ]


@pytest.mark.parametrize("heading", SECTIONS)
def test_the_table_has_every_call_of_the_document_and_no_other(heading: str, system: CallingSystem) -> None:
    attribute, _ = SECTIONS[heading]

    assert first_column(heading) == calls(system.classes()[attribute])


@pytest.mark.parametrize("heading", SECTIONS)
def test_our_classes_take_the_calls_of_the_table(heading: str) -> None:
    for kind in SECTIONS[heading][1]:
        for call in first_column(heading):
            name, given = re.fullmatch(r"(\w+)\((.*)\) -> .*", call).groups()  # type: ignore[union-attr]
            wanted = [one for one in given.split(", ") if one]
            got = arguments(kind.__init__ if name in (kind.__name__, heading) else getattr(kind, name))
            assert got[: len(wanted)] == wanted, (kind, call)
            # what is beyond it may be left out
            assert all("=" in one or one == "options" for one in got[len(wanted) :]), (kind, call)


def test_the_table_has_every_field_of_the_models(system: CallingSystem) -> None:
    fields = [
        f"{model.__name__}.{name}"
        + ("" if field.is_required() else f"={field.get_default(call_default_factory=True)!r}")
        for model in (system.metadata, system.data)
        for name, field in model.model_fields.items()
    ]

    assert first_column("Models") == fields


def test_a_storage_has_what_the_document_asks_of_it() -> None:
    for call in first_column("What it asks of a storage"):
        name, given = re.fullmatch(r"(\w+)\((.*)\)", call).groups()  # type: ignore[union-attr]
        got = [one.partition("=")[0] for one in arguments(getattr(fsstore.IUnifiedStorage, name))]
        assert got[: given.count(",") + 1] == given.split(", "), call


def test_the_storage_methods_of_the_table_are_those_that_the_document_calls() -> None:
    tree = ast.parse((ROOT / "tests" / "calling_system.py").read_text(encoding="utf-8"))
    called = {
        node.func.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and ast.unparse(node.func.value) == "self._storage"
    }

    assert {call.partition("(")[0] for call in first_column("What it asks of a storage")} == called


def test_the_errors_of_the_table_take_a_text() -> None:
    for call in first_column("Errors"):
        kind = getattr(errors, call.partition("(")[0])
        assert call == f"{kind.__name__}(text)"
        assert arguments(kind)[0] == "text=None"


def test_every_row_names_tests_that_exist() -> None:
    files = [ROOT / name for name in re.findall(r"`(tests/\w+\.py)`", GUIDE.read_text(encoding="utf-8"))]
    files += (GUIDE.parents[1] / "testing").glob("*.py")
    there = {
        node.name
        for path in files
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    named = [re.findall(r"`(test_\w+)`", cells[-1]) for table in ROWS.values() for cells in table]

    assert len(files) > len(list((GUIDE.parents[1] / "testing").glob("*.py")))
    assert [] not in named
    assert {test for tests in named for test in tests} - there == set()


def test_every_contradiction_that_a_row_refers_to_is_decided_and_referred_to_in_order() -> None:
    decided = first_column("Which text wins")
    text = GUIDE.read_text(encoding="utf-8").partition("## Which text wins")[0]

    assert decided == [f"W{number}" for number in range(1, len(decided) + 1)]
    assert set(re.findall(r"\bW\d+\b", text)) <= set(decided)
