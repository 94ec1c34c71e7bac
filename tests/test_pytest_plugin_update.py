"""`--fsstore-update`, in projects that use it."""

from __future__ import annotations

import json

import pytest

from tests.pytest_projects import ANYIO, FIXTURES, TWO_WORKERS, Project, session_in

pytest_plugins = ["pytester"]

HEAD = """
import asyncio
import pytest

pytestmark = pytest.mark.fsstore("sessions")
"""
MUTATING = f"""{HEAD}
# at the time of the fixtures: to save "c" as it is then changes nothing of it but the version
@pytest.mark.fsstore("sessions", now="2026-01-31T09:15:00Z")
def test_mutates(sync_session_store):
    sync_session_store.update_session("a", {{"metadata": {{"status": "shut"}}}})
    sync_session_store.delete_session("b")
    sync_session_store.save_session("New One", {{"n": 1}})
    sync_session_store.save_session("c", sync_session_store.get_session("c"))

def test_reads(sync_session_store):
    assert sync_session_store.list_sessions()
"""


@pytest.fixture
def project(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Project:
    return Project(pytester, monkeypatch, "a", "b", "c")


def named(project: Project, session_id: str) -> str:
    """Return the name of a session's file in the fixtures, which must be there."""
    (found,) = (name for name, data in project.bytes().items() if json.loads(data).get("id") == session_id)
    return found


def section(result: pytest.RunResult) -> list[str]:
    """Return what the summary says of the fixtures."""
    lines = result.stdout.lines
    starts = [at for at, line in enumerate(lines) if "fsstore fixtures" in line]
    if not starts:
        return []
    rest = lines[starts[0] + 1 :]
    return rest[: next(at for at, line in enumerate(rest) if line.startswith(("===", "!!!")))]


def test_nothing_is_written_unless_asked_for(project: Project) -> None:
    project.write(MUTATING)
    before = project.bytes()

    result = project.run()

    result.assert_outcomes(passed=2)
    assert project.bytes() == before
    assert section(result) == []


@pytest.mark.parametrize("workers", [(), TWO_WORKERS])
def test_the_outcome_of_a_test_that_passed_becomes_the_fixtures(project: Project, workers: tuple[str, ...]) -> None:
    project.write(MUTATING)
    before, of_a, of_b = project.bytes(), named(project, "a"), named(project, "b")

    result = project.run_apart("--fsstore-update", *workers)

    result.assert_outcomes(passed=2)
    after, added = project.bytes(), named(project, "New One")
    assert {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)} == {
        of_a,
        of_b,
        added,
    }
    assert section(result) == [
        *sorted(
            [f"changed  {FIXTURES}/{of_a}", f"removed  {FIXTURES}/{of_b}", f"added    {FIXTURES}/{added}"],
            key=lambda line: line[9:],
        ),
        f"3 files written in {FIXTURES}",
    ]
    assert json.loads(after[of_a])["updated_at"] == "2026-01-31T09:15:00.000000+00:00"
    assert not (project.fixtures / of_b).parent.exists()
    session = session_in(project.fixtures, "New One")
    assert session is not None
    assert session["n"] == 1


def test_the_same_tests_give_the_same_bytes(project: Project) -> None:
    project.write(MUTATING)
    before = project.bytes()
    project.run("--fsstore-update").assert_outcomes(passed=2)
    first = project.bytes()
    for name in first:
        (project.fixtures / name).unlink()
    for name, data in before.items():
        (project.fixtures / name).parent.mkdir(exist_ok=True)
        (project.fixtures / name).write_bytes(data)

    project.run("--fsstore-update").assert_outcomes(passed=2)

    assert project.bytes() == first


def test_running_it_once_more_writes_nothing_when_nothing_changes_any_more(project: Project) -> None:
    project.write(f"""{HEAD}
def test_settles(sync_session_store):
    sync_session_store.update_session("a", {{"metadata": {{"status": "shut"}}}})
    sync_session_store.save_session("d", {{"n": 1}})
""")
    project.run("--fsstore-update").assert_outcomes(passed=1)
    once = project.bytes()

    again = project.run("--fsstore-update")

    assert project.bytes() == once
    assert section(again) == [f"0 files written in {FIXTURES}"]


NOT_PASSED = {
    "its call fails": "def test_it(change): assert False",
    "a subtest fails": "def test_it(change, subtests):\n    with subtests.test():\n        assert False",
    "it fails as expected": "@pytest.mark.xfail\ndef test_it(change): assert False",
    "it passes against expectation": "@pytest.mark.xfail(strict=False)\ndef test_it(change): pass",
    "it skips itself": "def test_it(change): pytest.skip()",
    "its setup fails later": "@pytest.fixture\ndef late(change): assert False\ndef test_it(late): pass",
    "its teardown fails before": (
        "@pytest.fixture\ndef late(change):\n    yield\n    assert False\ndef test_it(late): pass"
    ),
    "its teardown fails after": (
        "@pytest.fixture\ndef early():\n    yield\n    assert False\ndef test_it(early, change): pass"
    ),
}


@pytest.mark.parametrize("case", NOT_PASSED)
def test_a_test_that_did_not_pass_as_a_whole_writes_nothing(project: Project, case: str) -> None:
    project.write(f"""{HEAD}
@pytest.fixture
def change(sync_session_store):
    sync_session_store.delete_session("a")

{NOT_PASSED[case]}
""")
    before = project.bytes()

    result = project.run("--fsstore-update")

    assert project.bytes() == before
    assert section(result) == ["not written, since it did not pass: tests/test_it.py::test_it"]


def test_a_test_that_is_run_again_counts_as_it_ended(project: Project) -> None:
    (project.root / "tests" / "conftest.py").write_text(
        """
import pytest
from _pytest.runner import runtestprotocol

@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item, nextitem):
    item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
    for last in (False, True):
        for report in runtestprotocol(item, nextitem=nextitem, log=False):
            if last:
                item.ihook.pytest_runtest_logreport(report=report)
        item._initrequest()
    return True
""",
        "utf-8",
    )
    project.write(f"""{HEAD}
runs = []

def test_flaky(sync_session_store):
    runs.append(1)
    sync_session_store.update_session("a", {{"run": len(runs)}})
    assert len(runs) == 2
""")

    result = project.run("--fsstore-update")

    result.assert_outcomes(passed=1)
    assert (session_in(project.fixtures, "a") or {})["run"] == 2


@pytest.mark.parametrize("workers", [(), TWO_WORKERS])
def test_two_tests_that_disagree_are_named_and_nothing_of_them_is_written(
    project: Project, workers: tuple[str, ...]
) -> None:
    project.write(f"""{HEAD}
def test_first(sync_session_store):
    sync_session_store.update_session("a", {{"n": 1}})
    sync_session_store.update_session("c", {{"n": 1}})

def test_second(sync_session_store):
    sync_session_store.delete_session("a")

def test_third(sync_session_store):
    sync_session_store.update_session("b", {{"n": 3}})
""")
    before, of_a, of_b = project.bytes(), named(project, "a"), named(project, "b")

    result = project.run_apart("--fsstore-update", *workers)

    result.assert_outcomes(passed=3)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    after = project.bytes()
    assert {name for name in before if before[name] != after.get(name)} == {of_b}
    first, *rest = section(result)
    assert first == (
        f"ERROR {FIXTURES}: {of_a}: tests/test_it.py::test_first and tests/test_it.py::test_second leave it different, "
        "and nothing of these tests is written; run one of them alone, or give each fixtures of its own"
    )
    assert rest == [f"changed  {FIXTURES}/{of_b}", f"1 file written in {FIXTURES}"]


def test_tests_that_agree_or_change_different_documents_are_all_written(project: Project) -> None:
    project.write(f"""{HEAD}
@pytest.mark.parametrize("way", ["one", "another"])
def test_agree(sync_session_store, way):
    sync_session_store.update_session("a", {{"n": 1}})

@pytest.mark.fsstore("../tests/sessions")
def test_other(sync_session_store):
    sync_session_store.update_session("b", {{"n": 2}})
""")

    result = project.run("--fsstore-update")

    assert result.ret == pytest.ExitCode.OK
    assert {(session_in(project.fixtures, name) or {}).get("n") for name in "ab"} == {1, 2}
    assert section(result)[-1] == f"2 files written in {FIXTURES}"


def test_fixtures_that_were_changed_meanwhile_are_left_alone(project: Project) -> None:
    project.write(f"""{HEAD}
import pathlib

def test_it(sync_session_store):
    sync_session_store.update_session("a", {{"n": 1}})
    (document,) = (pathlib.Path(__file__).parent / "sessions").glob("*/a.json")
    document.write_text(document.read_text().replace("open", "edited by hand"))
""")
    of_a = named(project, "a")

    result = project.run("--fsstore-update")

    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert b"edited by hand" in project.bytes()[of_a]
    assert section(result)[0] == (
        f"ERROR {FIXTURES}: {of_a}: changed by somebody else since tests/test_it.py::test_it copied it; run it again"
    )


@pytest.mark.parametrize(
    ("last", "arguments"),
    [("raise KeyboardInterrupt", ()), ("pytest.exit('enough')", ()), ("assert False", ("-x",))],
)
def test_a_run_that_stops_early_writes_nothing(project: Project, last: str, arguments: tuple[str, ...]) -> None:
    project.write(f"""{HEAD}
def test_passes(sync_session_store):
    sync_session_store.delete_session("a")

def test_stops():
    {last}
""")
    before = project.bytes()

    result = project.run_apart("--fsstore-update", *arguments)

    assert project.bytes() == before
    assert section(result)[0] == "nothing is written, since the run was not finished: tests/test_it.py::test_passes"


def test_a_test_that_leaves_no_store_is_an_error(project: Project) -> None:
    project.write(f"""{HEAD}
import shutil

def test_it(session_store_path):
    shutil.rmtree(session_store_path)
""")
    before = project.bytes()

    result = project.run("--fsstore-update")

    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines(["*its fsstore.json is gone; leave the store in place*"])
    assert project.bytes() == before


def test_what_the_test_edits_by_hand_is_written_as_it_is(project: Project) -> None:
    project.write(f"""{HEAD}
def test_damages(session_store_path):
    (document,) = session_store_path.glob("*/a.json")
    document.write_bytes(b"no JSON\\xff")
    (session_store_path / "README").write_text("foreign")
    (session_store_path / ".fsstore").mkdir()
    (session_store_path / ".fsstore" / "lock").touch()
""")
    of_a, before = named(project, "a"), project.bytes()
    of_machine = {path for path in project.fixtures.rglob("*") if ".fsstore" in path.parts}

    project.run("--fsstore-update").assert_outcomes(passed=1)

    assert project.bytes() == before | {of_a: b"no JSON\xff"}
    assert {path for path in project.fixtures.rglob("*") if ".fsstore" in path.parts} == of_machine


def test_async_tests_write_too_when_their_store_is_closed(project: Project) -> None:
    project.write(f"""{HEAD}
@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_it(session_store, session_clock):
    # later than the fixtures, which no update takes back
    session_clock.now = session_clock.now.replace(year=2027)
    async with session_store.transaction() as transaction:
        await transaction.update_session("a", {{"n": 1}})
        session_clock.turn(60)
        await transaction.update_session("b", {{"n": 2}})
""")

    project.run("--fsstore-update", *ANYIO).assert_outcomes(passed=1)

    times = [json.loads(project.bytes()[named(project, name)])["updated_at"][14:19] for name in "ab"]
    assert times == ["00:00", "01:00"]
