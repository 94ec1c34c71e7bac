"""The rules of the house, read off the source: who may import whom, and who may talk to the system."""

import ast
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from itertools import takewhile
from pathlib import Path

import pytest

import fsstore
from fsstore.testing import SessionContract, StorageContract
from tests.house.source import (
    MODULES,
    PACKAGES,
    engine,
    imported,
    imported_from_house,
    imports_of_engine,
    part_of_engine,
    top_of,
    tree_of,
)

ROOT = Path(__file__).parents[1]
TESTS = ROOT / "tests" / "filesystem"

FLOORS = {
    "errors": 0,
    "printing": 0,
    "model": 1,
    "forking": 1,
    "loops": 1,
    "query": 2,
    "merging": 2,
    "paths": 2,
    "options": 2,
    "watching": 3,
    "interfaces": 4,
    "memory": 5,
    "filesystem": 5,
    "postgres": 5,
    "sessions": 6,
    "opening": 7,
    "redaction": 7,
    "fixtures": 7,
    "sync": 8,
    "legacy": 8,
    "transfer": 8,
    "testing": 8,
    "cli": 9,
    "__main__": 9,
    "pytest_plugin": 9,
    "web": 9,
    "integrations": 9,
}
"""The floor of each module or package; imports go down, or stay on their floor."""

BACKENDS = {"memory", "filesystem", "postgres"}

ENGINE_FLOORS = {
    "disk": 0,
    "threads": 0,
    "documents": 1,
    "log": 2,
    "index": 3,
    "write": 4,
    "open_store": 5,
    "read": 6,
    "watch": 7,
    "care": 7,
    "storage": 8,
}
"""The floor of each part of the file-system engine, a folder or a module; imports between two parts go down."""

POSTGRES_FLOORS = {
    "options": 0,
    "connections": 0,
    "schema": 1,
    "filters": 2,
    "queries": 2,
    "commits": 2,
    "watch": 3,
    "storage": 4,
}
"""The same of the engine on PostgreSQL."""

ENGINES = {"filesystem": ENGINE_FLOORS, "postgres": POSTGRES_FLOORS}
MOST_MODULES = 12
"""How many modules a folder of an engine has at most."""

ENGINE_FOR_OTHERS = {"disk", "documents", "storage"}
"""The parts of the engine that code outside of it may import; of `care` the package itself gives the reports."""

SYSTEM_USERS = {
    "filesystem.disk.files": "it is the one who calls the system",
    "filesystem.disk.descriptors": "its part that has only a descriptor",
    "filesystem.disk.directories": "its part about what files lie in",
    "filesystem.disk.syscalls": "its part that Python does not offer",
    "filesystem.disk.system": "it asks what the system is",
    "filesystem.log.shared_lock": "it locks descriptors that cannot write",
    "filesystem.log.presence": "it locks a descriptor for many at once",
    "paths": "it asks where the home of a user is",
    "cli": "an edge",
    "testing.machine": "each run gets a directory of its own",
    "transfer": "it reads and writes files outside the store",
    "fixtures": "it copies and replaces the files of a store that it does not open",
}
"""Who may name files to the system, and why; a name stands for a package's modules too."""

DESCRIPTOR_USERS = {
    "filesystem.log.lock": "the lock is a descriptor",
    "filesystem.log.checkpoint": "its lock is one, too",
    "filesystem.log.log": "the log is appended to, and read, through a kept descriptor",
    "filesystem.documents.skeleton": "the locks of a control directory of format 1 are descriptors",
    "filesystem.log.counters": "a reader looks at the sequence before each read, in a microsecond",
    "filesystem.index.index_file": "SQLite opens the file that was made for it",
}
"""Who may use descriptors that `files` has opened, and why."""

ONLY_IMPORTERS = {
    "watchfiles": {"filesystem.watch.events"},
    "filelock": {"filesystem.log.lock", "filesystem.log.checkpoint", "filesystem.documents.skeleton"},
    "re2": {"query.patterns"},
    "sqlite3": {
        "query.relation",
        "filesystem.index.connection",
        "filesystem.index.index",
        "filesystem.index.inventory",
        "filesystem.index.upserts",
    },
    "hypothesis": {"testing.draws", "testing.machine"},
    "pytest": {"testing", "pytest_plugin"},
    "pytest_asyncio": {"testing"},
    "typer": {"cli"},
    "rich": {"cli"},
    "aiofiles": {"transfer"},
    "psycopg": {"postgres"},
}
"""Libraries that only these import; a name stands for a package's modules too."""

JSON_LIBRARIES = {"orjson", "json", "pydantic_core"}
JSON_IN_FILESYSTEM = {
    "filesystem.documents.codec": "it is the one who knows JSON",
    "filesystem.index.schema": "metadata lies in the index as JSON text",
    "filesystem.index.terms": "the same",
    "filesystem.care.verify": "it looks for keys that stand twice, which a reader of values does not tell",
}

PURE_OF_OS = {
    "PathLike",
    "fspath",
    "fsencode",
    "fsdecode",
    "getpid",
    "register_at_fork",
    "environ",
    "sep",
    "devnull",
    "stat_result",
    "path.abspath",
}
"""Names of `os` that ask no file system."""

ON_DESCRIPTORS = {"close", "fstat", "ftruncate", "lseek", "pread", "pwrite", "read", "write"}
"""Names of `os` that take an open descriptor and no path."""

SYSTEM_MODULES = {"aiofiles", "fcntl", "io", "mmap", "msvcrt", "shutil", "tempfile"}
OUTDATED_WORDS = re.compile(r"\bcan not\b|\bshall\b|\bun?heard\b|\btold\b|\btells?\b|\bdid not come\b|\bmade anew\b")
"""What is written otherwise where users read it: cannot, must, report, declare, hold, time out, rebuild."""
TOUCHING = {
    *("exists", "is_file", "is_dir", "is_symlink", "stat", "lstat", "iterdir", "glob", "rglob", "walk", "resolve"),
    *("read_text", "read_bytes", "write_text", "write_bytes", "mkdir", "rmdir", "touch", "unlink", "rename", "chmod"),
    *("symlink_to", "hardlink_to", "samefile", "readlink", "owner", "expanduser"),
}
"""Methods of a `pathlib.Path` that touch the disk."""


each_module = pytest.mark.parametrize("name", [name for name in MODULES if name])


def is_one_of(name: str, names: set[str] | dict[str, str]) -> bool:
    """Whether a module is one of those, or within a package that is."""
    return any(name == other or name.startswith(f"{other}.") for other in names)


def floor_of(name: str) -> int:
    return FLOORS[top_of(name)]


# -- who imports whom -----------------------------------------------------------------------------------------------


@each_module
def test_every_module_has_a_floor_and_a_docstring(name: str) -> None:
    assert top_of(name) in FLOORS
    assert (ast.get_docstring(tree_of(name)) or "").strip()


@each_module
def test_imports_go_down_only(name: str) -> None:
    up = {other for other in imported_from_house(name) if other and floor_of(other) > floor_of(name)}

    assert up == set()


@each_module
def test_backends_never_import_each_other(name: str) -> None:
    backend = top_of(name)
    # how a record is written down is the same everywhere
    foreign = {other for other in imported_from_house(name) if not other.startswith("filesystem.documents.")}
    others = {top_of(other) for other in foreign} & BACKENDS - {backend}

    assert others == set() or backend not in BACKENDS


def test_only_the_opening_and_the_edges_know_which_backends_there_are() -> None:
    knowing = {
        name
        for name in MODULES
        if name
        and top_of(name) not in BACKENDS
        and imported_from_house(name) & {"memory", "filesystem.storage", "postgres.storage"}
    }

    assert {name for name in knowing if floor_of(name) < FLOORS["cli"]} == {"opening"}


@pytest.mark.parametrize("name", [name for home in ENGINES for name in engine(home)])
def test_imports_between_the_parts_of_an_engine_go_down(name: str) -> None:
    home, own = top_of(name), part_of_engine(name)
    floors = ENGINES[home]
    others = {part_of_engine(other) for other in imports_of_engine(home)[name]} - {own}

    assert {other for other in others if floors[other] >= floors[own]} == set()


@pytest.mark.parametrize("home", ENGINES)
def test_every_folder_of_an_engine_has_a_floor_and_few_modules(home: str) -> None:
    parts = Counter(part_of_engine(name) for name in engine(home))

    assert parts.keys() == ENGINES[home].keys()
    assert {part for part, modules in parts.items() if modules > MOST_MODULES} == set()


@each_module
def test_others_import_few_parts_of_the_engine(name: str) -> None:
    used = {part_of_engine(other) for other in imported_from_house(name) & set(engine())}

    assert used <= ENGINE_FOR_OTHERS or top_of(name) == "filesystem"


def test_modules_do_not_import_each_other_in_a_circle() -> None:
    above = {name: {other for other in imported_from_house(name) if other} - {name} for name in MODULES if name}
    while leaves := {name for name, others in above.items() if not others & above.keys()}:
        above = {name: others for name, others in above.items() if name not in leaves}

    assert above == {}


@pytest.mark.parametrize("library", ONLY_IMPORTERS)
def test_a_library_has_its_few_importers(library: str) -> None:
    importers = {name for name in MODULES if any(top_of(target) == library for target in imported(name))}

    assert {name for name in importers if not is_one_of(name, ONLY_IMPORTERS[library])} == set()


def test_one_module_of_the_file_system_engine_knows_json() -> None:
    importers = {
        name
        for name in MODULES
        if name.startswith("filesystem") and {top_of(target) for target in imported(name)} & JSON_LIBRARIES
    }

    assert {name for name in importers if name not in JSON_IN_FILESYSTEM} == set()


def test_no_contract_hides_a_test_of_another() -> None:
    contracts = {kind for kind in (*StorageContract.__mro__, *SessionContract.__mro__) if "Contract" in kind.__name__}

    tests = Counter(test for kind in contracts for test in vars(kind) if test.startswith("test_"))

    assert [test for test, times in tests.items() if times > 1] == []
    assert len(tests) > 100


# -- the map ---------------------------------------------------------------------------------------------------------


def rows_of_map(head: str) -> list[list[set[str]]]:
    """Return the rows of a table of CONTRIBUTING.md whose heading begins so: the names that each cell holds."""
    lines = (ROOT / "CONTRIBUTING.md").read_text("utf-8").partition(f"| {head} |")[2].splitlines()[2:]
    rows = [line.strip("|").split("|") for line in takewhile(lambda line: line.startswith("|"), lines)]
    return [[set(re.findall(r"`([^`]+)`", cell)) or {cell.strip()} for cell in row] for row in rows]


def test_the_map_names_every_place_on_its_floor() -> None:
    told = {
        (int(min(floor)), place.rstrip("/")) for floor, places, *_ in rows_of_map("floor | place") for place in places
    }

    assert told == {(floor_of(name), top_of(name)) for name in MODULES if name}


def test_the_map_names_the_modules_of_each_folder() -> None:
    told = {min(place).rstrip("/"): modules for _, place, modules, _ in rows_of_map("floor | place") if modules - {""}}

    there = {folder: {name.partition(".")[2] for name in MODULES if name.startswith(f"{folder}.")} for folder in told}
    assert told == there
    assert {top_of(name) for name in MODULES if "." in name} - told.keys() == {*ENGINES, "testing", "cli"}


@pytest.mark.parametrize(("home", "head"), [("filesystem", "part"), ("postgres", "part in PostgreSQL")])
def test_the_map_names_the_folders_of_an_engine_and_their_modules_from_the_lowest_to_the_highest(
    home: str, head: str
) -> None:
    told = [(min(part), modules - {""}) for part, modules, _ in rows_of_map(f"{head} | modules")]
    there: dict[str, set[str]] = {}
    for name in engine(home):
        folder, is_folder, module = name.removeprefix(f"{home}.").partition(".")
        there.setdefault(folder + "/" * bool(is_folder), set()).update({module} - {""})

    assert dict(told) == there
    floors = [ENGINES[home][part.rstrip("/")] for part, _ in told]
    assert floors == sorted(floors)


def test_every_module_of_the_engine_has_its_test_file_and_few_have_that_of_another() -> None:
    modules = {name.removeprefix("filesystem.") for name in engine()}
    own = {name for name in modules if (TESTS / _test_file(name)).is_file()}

    assert modules == own


def test_tests_of_the_engine_on_postgres_lie_as_its_modules_do() -> None:
    tests = ROOT / "tests" / "postgres"
    folders = {part for part in POSTGRES_FLOORS if part in {name.rpartition(".")[2] for name in PACKAGES}}
    modules = {_test_file(name.removeprefix("postgres.")) for name in engine("postgres")}
    there = {path.relative_to(tests).as_posix() for folder in folders for path in (tests / folder).rglob("test_*.py")}

    assert {folder for folder in folders if not any((tests / folder).glob("test_*.py"))} == set()
    assert there - modules == set()


def _test_file(name: str) -> str:
    folder, _, module = name.rpartition(".")
    return f"{folder}/test_{module}.py" if folder else f"test_{module}.py"


# -- who talks to the system ----------------------------------------------------------------------------------------


def names_of_os(name: str) -> Iterator[str]:
    """Give every name of `os` that a module uses, but the constants: `fstat`, `path.abspath`."""
    for node in ast.walk(tree_of(name)):
        if isinstance(node, ast.Attribute) and (dotted := re.fullmatch(r"os\.([\w.]+)", ast.unparse(node))):
            if dotted[1] != "path" and not dotted[1].isupper():
                yield dotted[1]
        elif isinstance(node, ast.ImportFrom) and node.module in ("os", "os.path"):
            yield from (alias.name for alias in node.names)


def touched_paths(name: str) -> Iterator[str]:
    """Give every other way in which a module touches files, as it is written there."""
    yield from (target for target in imported(name) if top_of(target) in SYSTEM_MODULES)
    knows_paths = any(top_of(target) == "pathlib" for target in imported(name))
    for node in ast.walk(tree_of(name)):
        called = ast.unparse(node.func) if isinstance(node, ast.Call) else ""
        owner, _, method = called.rpartition(".")
        # a `Tree` of `files` has methods of the same names
        if called == "open" or (knows_paths and method in TOUCHING and not owner.endswith("tree")):
            yield called


@each_module
def test_few_modules_call_the_system(name: str) -> None:
    names = set(names_of_os(name)) - PURE_OF_OS
    if name in DESCRIPTOR_USERS:
        names -= ON_DESCRIPTORS

    assert (names | set(touched_paths(name))) == set() or is_one_of(name, SYSTEM_USERS)


# -- the public face ------------------------------------------------------------------------------------------------


def names_for_the_type_checker() -> dict[str, str]:
    """Return the names that `fsstore/__init__.py` imports for type checkers, with their modules."""
    (block,) = (node for node in tree_of("").body if isinstance(node, ast.If) and isinstance(node.test, ast.Name))
    return {
        alias.name: alias.name if node.module == "fsstore" else str(node.module).removeprefix("fsstore.")
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }


def test_the_lazy_names_are_those_the_type_checker_sees() -> None:
    assert names_for_the_type_checker() == fsstore._HOMES
    assert sorted(fsstore._HOMES) == fsstore.__all__


@pytest.mark.parametrize("name", fsstore.__all__)
def test_every_public_name_resolves_and_is_documented(name: str) -> None:
    value = getattr(fsstore, name)

    assert name in dir(fsstore)
    assert isinstance(value, str) or value.__doc__ or name == "Outcome"


def texts_for_users() -> Iterator[tuple[str, str]]:
    """Give what users read: advice and reasons of errors, messages of logs, docstrings of the classes of `fsstore`."""
    for name in MODULES:
        for node in ast.walk(tree_of(name)):
            if isinstance(node, ast.Call):
                said = [keyword.value for keyword in node.keywords if keyword.arg in ("reason", "advice")]
                if isinstance(node.func, ast.Attribute) and node.func.attr in ("log", "info", "warning", "error"):
                    said += node.args
                parts = [part for each in said for part in ast.walk(each) if isinstance(part, ast.Constant)]
                yield from ((name, part.value) for part in parts if isinstance(part.value, str))
    for name in fsstore.__all__:
        if isinstance(kind := getattr(fsstore, name), type):
            yield name, kind.__doc__ or ""
            yield from (
                (f"{name}.{method}", part.__doc__ or "")
                for method, part in vars(kind).items()
                if not method.startswith("_")
            )


def test_what_users_read_has_no_word_of_before() -> None:
    assert [(place, text) for place, text in texts_for_users() if OUTDATED_WORDS.search(text)] == []


def test_the_blocking_calls_are_there_after_a_plain_import() -> None:
    program = (
        "import fsstore, sys; assert 'fsstore.sync' not in sys.modules; print(fsstore.sync.open_sessions.__module__)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("fsstore.sync.opening\n", "")


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = fsstore.no_such_name  # type: ignore[attr-defined] # a type checker knows it, too


@pytest.mark.parametrize(
    ("statement", "forbidden"),
    [
        ("import fsstore", {"asyncio", "typing", "inspect", "re", "pydantic", "orjson", "sqlite3", "typer", "pytest"}),
        (
            "import fsstore.sessions.service, fsstore.legacy",
            {"pytest", "hypothesis", "typer", "rich", "watchfiles", "pydantic", "re2"},
        ),
        (
            "from fsstore import open_sessions",
            {"pytest", "hypothesis", "typer", "rich", "fsstore.filesystem", "fsstore.interfaces", "pydantic", "orjson"},
        ),
        (
            "import fsstore.pytest_plugin",
            {"asyncio", "pydantic", "orjson", "sqlite3", "fsstore.errors", "fsstore.model.records"},
        ),
        ("import fsstore.testing", {"hypothesis", "typer", "rich"}),
    ],
)
def test_an_import_costs_only_what_it_needs(statement: str, forbidden: set[str]) -> None:
    script = f"{statement}\nimport sys\nprint(*sys.modules)"

    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout

    assert set(loaded.split()) & forbidden == set()
