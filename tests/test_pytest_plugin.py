"""The fixtures of the plugin, in projects that use them."""

from __future__ import annotations

import subprocess
import sys
import threading
import tomllib
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest

from fsstore import pytest_plugin
from tests.pytest_projects import ANYIO, ASYNCIO, TWO_WORKERS, WITH_PLUGIN, Project

pytest_plugins = ["pytester"]

ROOT = Path(__file__).parents[1]


@pytest.fixture
def project(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Project:
    return Project(pytester, monkeypatch, "a", "b")


def threads_of_ours() -> set[threading.Thread]:
    """Return the threads of fsstore, and of loops that it started, that do not end."""
    ours = {
        thread
        for thread in threading.enumerate()
        if thread.name.startswith(("fsstore", "asyncio", "AnyIO", "ThreadPoolExecutor"))
    }
    for thread in ours:
        # one that is about to end is no leak
        thread.join(timeout=0.05 if thread.daemon and "writer" not in thread.name else 5)
    return {thread for thread in ours if thread.is_alive()}


def open_descriptors() -> set[str]:
    """Return what this process has open of any store, where the system tells."""
    found = set()
    for descriptor in Path("/proc/self/fd").glob("*"):
        # the one of this listing is gone
        with suppress(FileNotFoundError):
            found.add(str(descriptor.readlink()))
    return {path for path in found if "session_store" in path}


# -- a store for each test --------------------------------------------------------------------------------------------

ASYNC = """
import pytest

@pytest.fixture
def anyio_backend():
    # else anyio runs the tests on trio as well, where that is installed
    return "asyncio"

{mark}
async def test_it_is_empty_and_can_be_written(session_store, tmp_path):
    assert await session_store.count_sessions() == 0
    await session_store.save_session("one", {{"metadata": {{"status": "new"}}}})
    await session_store.edit_session("one", lambda session: session.update(n=1))
    assert [found["n"] for found in await session_store.list_sessions({{"status": "new"}})] == [1]
    assert list((tmp_path / "session_store").glob("*/one.json"))
    assert session_store.storage.guarantees.durable is False

{mark}
async def test_it_is_another_one(session_store):
    assert await session_store.session_exists("one") is False
"""


@pytest.mark.parametrize(
    ("plugins", "mark", "ini"),
    [
        (ASYNCIO, "@pytest.mark.asyncio", "asyncio_mode = strict"),
        (ASYNCIO, "", "asyncio_mode = auto"),
        (ANYIO, "@pytest.mark.anyio", "anyio_mode = strict"),
        (ANYIO, "", "anyio_mode = auto"),
        ((*ASYNCIO, *ANYIO), "@pytest.mark.anyio", "asyncio_mode = strict"),
    ],
)
def test_async_tests_get_a_store_each_under_any_plugin(
    project: Project, plugins: tuple[str, ...], mark: str, ini: str
) -> None:
    project.write(ASYNC.format(mark=mark), pytest_ini=f"[pytest]\n{ini}\n")

    project.run(*plugins).assert_outcomes(passed=2)

    assert threads_of_ours() == set()


def test_sync_tests_get_it_with_blocking_methods_or_run_a_loop(project: Project) -> None:
    project.write("""
import asyncio

def test_blocking(sync_session_store):
    assert sync_session_store.save_session("one", {"n": 1}) is True
    assert sync_session_store.get_session("one")["n"] == 1

def test_in_loops_one_after_the_other(session_store):
    for n in range(3):
        asyncio.run(session_store.save_session(f"s{n}", {}))
    assert asyncio.run(session_store.count_sessions()) == 3
    assert len(asyncio.run(session_store.list_sessions())) == 3

def test_both_are_one_store(session_store, sync_session_store):
    sync_session_store.save_session("one", {"n": 1})
    assert asyncio.run(session_store.get_session("one"))["n"] == 1
    asyncio.run(session_store.update_session("one", {"n": 2}))
    assert sync_session_store.list_sessions()[0]["n"] == 2
""")

    project.run().assert_outcomes(passed=3)

    assert threads_of_ours() == set()


def test_it_may_be_asked_for_while_a_loop_is_running(project: Project) -> None:
    project.write("""
import asyncio
import pytest

@pytest.mark.asyncio
async def test_late(request):
    store = request.getfixturevalue("session_store")
    await store.save_session("one", {})
    assert await store.count_sessions() == 1
    assert asyncio.get_running_loop() is asyncio.get_event_loop()
""")

    project.run(*ASYNCIO).assert_outcomes(passed=1)


def test_the_loop_that_a_thread_has_set_stays_set(project: Project) -> None:
    project.write("""
import asyncio
import pytest

@pytest.fixture
def loop():
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    yield loop
    assert asyncio.get_event_loop() is loop
    asyncio.set_event_loop(None)
    loop.close()

def test_old_style(loop, session_store):
    assert asyncio.get_event_loop() is loop
    loop.run_until_complete(session_store.save_session("one", {}))
""")

    project.run().assert_outcomes(passed=1)


def test_a_test_that_fails_leaves_no_thread_and_no_file_open(project: Project) -> None:
    project.write("""
import asyncio
import pytest

@pytest.mark.asyncio
async def test_fails(session_store, sync_session_store):
    await session_store.save_session("one", {})
    await session_store.list_sessions()
    task = asyncio.ensure_future(session_store.edit_session("one", lambda session: asyncio.sleep(3600)))
    await asyncio.sleep(0)
    raise ZeroDivisionError

@pytest.mark.asyncio
async def test_closes_it_itself(session_store):
    await session_store.close()

def test_whose_other_fixture_breaks(session_store, no_such_fixture):
    pass
""")
    before = open_descriptors()

    project.run(*ASYNCIO).assert_outcomes(failed=1, passed=1, errors=1)

    assert threads_of_ours() == set()
    assert open_descriptors() - before == set()


def test_another_loop_than_that_of_asyncio_is_refused_in_plain_words(project: Project) -> None:
    project.write("""
import pytest

@pytest.fixture(params=["trio", ("trio", {})])
def anyio_backend(request):
    return request.param

def test_it(anyio_backend, session_store):
    pass
""")

    result = project.run()

    result.assert_outcomes(errors=2)
    result.stdout.fnmatch_lines(["*anyio runs this test on trio; define a fixture anyio_backend*"])


# -- the marker -------------------------------------------------------------------------------------------------------


def test_a_marked_test_gets_a_copy_of_its_own(project: Project) -> None:
    project.write("""
import pytest

pytestmark = pytest.mark.fsstore("sessions")

def test_writes(sync_session_store, session_store_path):
    assert len(sync_session_store.list_sessions({"status": "open"})) == 2
    sync_session_store.delete_session("a")
    (document,) = session_store_path.glob("*/b.json")
    document.write_text(document.read_text().replace("open", "shut"))

def test_sees_nothing_of_it(sync_session_store):
    assert len(sync_session_store.list_sessions({"status": "open"})) == 2

class TestNearer:
    @pytest.mark.fsstore("../tests/sessions", now="2030-01-01T00:00:00Z")
    def test_the_nearest_marker_counts(self, sync_session_store, session_clock):
        assert sync_session_store.session_exists("a")
        assert session_clock.now.year == 2030
""")
    before = project.bytes()

    project.run("--strict-markers").assert_outcomes(passed=3)

    assert project.bytes() == before


def test_an_application_may_open_the_copy_itself(project: Project) -> None:
    project.write("""
import asyncio
import fsstore
import pytest

@pytest.mark.fsstore("sessions", now="2030-05-06T07:08:09+00:00")
def test_it(session_store_path, session_clock):
    async def application():
        async with fsstore.open_sessions(session_store_path, fsync=False, clock=session_clock) as sessions:
            await sessions.save_session("c", {})
            return await sessions.get_record("c")
    assert asyncio.run(application())["updated_at"] == "2030-05-06T07:08:09.000000+00:00"
""")

    project.run().assert_outcomes(passed=1)


@pytest.mark.parametrize(
    ("marker", "told"),
    [
        ('"nowhere"', "*nowhere: there is no such directory; correct the path, or make the store*"),
        ('"../tests"', "*there is no fsstore.json here, so it is no store; correct the path*"),
        ('"tests/sessions"', "*the path starts at the directory of the test file: write 'sessions'*"),
        ("", "*the marker of tests/test_it.py::test_it is wrong: * write it as @pytest.mark.fsstore(*"),
        ("20", "*the marker of * is wrong: 20 is no path; write it as*"),
        ('"sessions", nwo=1', "*the marker of * is wrong: *'nwo'*write it as*"),
        ('"sessions", now="noon"', "*now: must be an ISO 8601 time*write it as*"),
        ('"sessions", now="2026-01-01T00:00:00"', "*now: must be a time with an offset from UTC*"),
    ],
)
def test_a_marker_that_names_no_store_says_what_to_do(project: Project, marker: str, told: str) -> None:
    project.write(f"""
import pytest

@pytest.mark.fsstore({marker})
def test_it(session_store):
    pass
""")

    result = project.run()

    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines([told])
    result.stdout.no_fnmatch_line("*pytest_plugin.py*")
    result.stdout.no_fnmatch_line("*_Marked*")
    # once, and not once more as what it was made of
    result.stdout.no_fnmatch_line("During handling of *")


# -- the clock --------------------------------------------------------------------------------------------------------


def test_the_clock_of_a_marked_test_stands_still_until_it_is_turned(project: Project) -> None:
    project.write("""
import asyncio
import datetime
import pytest

def updated(store, session_id):
    return store.get_session(session_id)["metadata"]["updated_at"]

@pytest.mark.fsstore("sessions")
def test_at_the_time_that_the_marker_has_by_itself(sync_session_store, session_store, session_clock):
    before = updated(sync_session_store, "b")
    sync_session_store.save_session("x", {})
    asyncio.run(session_store.save_session("y", {"n": 1}))
    assert {updated(sync_session_store, name) for name in "xy"} == {"2026-01-01T00:00:00.000000+00:00"}
    # what is younger than that clock does not become older by an update
    asyncio.run(session_store.update_session("b", {"n": 1}))
    assert updated(sync_session_store, "b") == before > "2026-01-01T00:00:00.000000+00:00"
    session_clock.turn(90)
    asyncio.run(session_store.save_session("c", {}))
    assert updated(sync_session_store, "c") == "2026-01-01T00:01:30.000000+00:00"
    session_clock.now = datetime.datetime(2027, 1, 1, tzinfo=datetime.UTC)
    sync_session_store.save_session("d", {})
    assert updated(sync_session_store, "d") == "2027-01-01T00:00:00.000000+00:00"

@pytest.mark.fsstore("sessions", now=datetime.datetime(2029, 1, 1, tzinfo=datetime.UTC))
def test_at_the_time_that_the_marker_says(sync_session_store):
    sync_session_store.save_session("a", {})
    assert updated(sync_session_store, "a") == "2029-01-01T00:00:00.000000+00:00"

def test_without_a_marker_for_who_asks(sync_session_store, session_clock):
    sync_session_store.save_session("a", {})
    assert updated(sync_session_store, "a") == session_clock.text

def test_without_a_marker_it_is_the_time_of_day(sync_session_store):
    before = datetime.datetime.now(datetime.UTC)
    sync_session_store.save_session("a", {})
    assert before <= datetime.datetime.fromisoformat(updated(sync_session_store, "a"))
""")

    project.run().assert_outcomes(passed=4)


# -- the plugin itself ------------------------------------------------------------------------------------------------


def test_the_entry_point_is_the_plugin(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    (entry,) = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["entry-points"][
        "pytest11"
    ].items()
    assert entry[1] == pytest_plugin.__name__
    # a distribution made of nothing but that, so that the test does not depend on how fsstore was installed
    metadata = project.root / "site" / "planted-1.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: planted\nVersion: 1\n", "utf-8")
    (metadata / "entry_points.txt").write_text(f"[pytest11]\n{entry[0]} = {entry[1]}\n", "utf-8")
    monkeypatch.setenv("PYTHONPATH", str(metadata.parent))
    monkeypatch.delenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD")
    project.write("def test_it(sync_session_store):\n    assert sync_session_store.list_sessions() == []\n")

    run = partial(project.pytester.runpytest_subprocess, "-p", "no:asyncio", "-W", "error", "--strict-markers")
    run().assert_outcomes(passed=1)
    run("-p", f"no:{entry[0]}").assert_outcomes(errors=1)


def test_a_run_that_does_not_use_it_does_not_load_the_engine(project: Project) -> None:
    project.write("""
import sys

def test_it():
    assert [name for name in sys.modules if name.startswith("fsstore.")] == ["fsstore.pytest_plugin"]
    assert not {"pydantic", "orjson", "sqlite3", "asyncio"} & set(sys.modules)
""")

    project.run_apart().assert_outcomes(passed=1)


def test_it_brings_no_names_but_its_own(project: Project) -> None:
    told = project.run("--fixtures", "-q").stdout.str()
    brought = {line.split()[0] for line in told.splitlines() if "fsstore/pytest_plugin.py" in line}

    assert brought == {"session_store", "session_store_path", "sync_session_store", "session_clock"}
    marker = next(line for line in project.run("--markers").stdout.lines if "fsstore(" in line)
    assert marker.startswith("@pytest.mark.fsstore(path, now=...): give session_store a private copy")


def test_every_fixture_tells_what_it_is(project: Project) -> None:
    told = project.run("--fixtures").stdout.str()

    assert "no docstring available" not in told.split("fsstore.pytest_plugin")[1].split("-----")[1]


def test_it_works_under_xdist(project: Project) -> None:
    project.write("""
import pytest

@pytest.mark.fsstore("sessions")
@pytest.mark.parametrize("n", range(8))
def test_it(sync_session_store, n):
    sync_session_store.update_session("a", {"n": n})
    assert len(sync_session_store.list_sessions()) == 2
    assert sync_session_store.get_session("a")["n"] == n
""")
    before = project.bytes()

    project.run_apart(*TWO_WORKERS).assert_outcomes(passed=8)

    assert project.bytes() == before


def test_the_interpreter_ends_by_itself_after_an_interrupted_test(project: Project) -> None:
    project.write("""
def test_it(session_store, sync_session_store):
    sync_session_store.save_session("one", {})
    raise KeyboardInterrupt
""")

    done = subprocess.run(
        [sys.executable, "-m", "pytest", *WITH_PLUGIN], cwd=project.root, capture_output=True, timeout=60, check=False
    )

    assert done.returncode == pytest.ExitCode.INTERRUPTED
    assert b"Exception ignored" not in done.stderr
