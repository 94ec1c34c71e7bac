"""The pytest plugin: a store for each test, fixtures that lie in git, and `--fsstore-update`, which renews these.

Owns the fixtures, the marker, and how a test's outcome reaches the process that writes it. It costs a run that uses
none of this next to nothing: what it needs of fsstore is imported by the fixtures, on first use.

Invariants:
- The fixtures are synchronous, and open and close their store in a thread of their own. So they serve sync tests and
  async ones under any plugin, also when asked for while a loop is running. The service itself belongs to no loop: what
  it awaits, it makes in the loop of the caller.
- What is opened is closed when the test ends, however it ends; then its outcome is taken, when nothing writes any more.
- Only a test that passed as a whole (setup, call, subtests, teardown) renews fixtures, and only at the end of the run,
  in one process: under pytest-xdist the outcomes travel with the reports of the workers to their controller.
"""

from __future__ import annotations

from collections.abc import Coroutine, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn, TypeVar

import pytest

if TYPE_CHECKING:
    from fsstore.fixtures.copies import Contents, Differences
    from fsstore.fixtures.updates import Update
    from fsstore.legacy import LegacySessionStoreAdapter
    from fsstore.model.clock import HandClock
    from fsstore.sessions.service import SessionService

T = TypeVar("T")

MARKER = "fsstore"
DEFAULT_NOW = "2026-01-01T00:00:00Z"

_USAGE = 'write it as @pytest.mark.fsstore("path/to/fixtures") or with now="2026-01-01T00:00:00Z" after the path'


class _Marked(NamedTuple):
    """What a test's marker says."""

    path: str | Path
    now: str | datetime = DEFAULT_NOW


@dataclass(slots=True)
class _Copied:
    """Which fixtures a test was given a copy of, and in the end what it made of it."""

    fixtures: Path
    contents: Contents
    differences: Differences | None = None


_COPIED = pytest.StashKey[_Copied]()
_PASSED = pytest.StashKey[bool]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add `--fsstore-update`."""
    parser.getgroup("fsstore").addoption(
        "--fsstore-update",
        action="store_true",
        help="write what passing tests marked with fsstore made of their fixtures over these, to be reviewed in git",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker, and what writes fixtures where that is asked for."""
    config.addinivalue_line(
        "markers",
        f"{MARKER}(path, now=...): give session_store a private copy of the store at that path, relative to the "
        f"directory of the test file, and a clock that stands still at `now`, which is {DEFAULT_NOW} by itself",
    )
    if config.getoption("fsstore_update"):
        config.pluginmanager.register(_Endings(), "fsstore-endings")
        if not hasattr(config, "workerinput"):
            config.pluginmanager.register(_Renewal(config.rootpath), "fsstore-renewal")


# -- fixtures ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def session_clock(request: pytest.FixtureRequest) -> HandClock:
    """Return the clock of this test's store, which stands still: `session_clock.turn(60)`, `session_clock.now = ...`.

    It starts at the `now` of the marker. A store of a test without marker uses it only if the test requests it.
    """
    from fsstore.errors import StorageValidationError  # noqa: PLC0415
    from fsstore.model.clock import HandClock  # noqa: PLC0415
    from fsstore.model.times import canonical_time, has_offset  # noqa: PLC0415

    now = (_marked(request) or _Marked("")).now
    try:
        text = canonical_time(now, "now", None)
    except StorageValidationError as error:
        _refuse(f"{error}; {_USAGE}")
    if not has_offset(now):
        # local time would make another test of it on another machine
        _refuse(f"now: must be a time with an offset from UTC; {_USAGE}")
    return HandClock(datetime.fromisoformat(text))


@pytest.fixture
def session_store_path(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """Return the directory of this test's store: a copy of the marker's fixtures; without a marker nothing is there."""
    path, marked = tmp_path / "session_store", _marked(request)
    if marked is None:
        yield path
        return
    from fsstore.fixtures.copies import contents_of, copy_store, differences, locate  # noqa: PLC0415

    with _refusals():
        fixtures = locate(marked.path, beside=request.path.parent, root=request.config.rootpath)
        copy_store(fixtures, path)
    if not request.config.getoption("fsstore_update"):
        yield path
        return
    with _refusals():
        copied = request.node.stash[_COPIED] = _Copied(fixtures, contents_of(path))
    yield path
    if request.node.stash[_PASSED]:
        with _refusals():
            copied.differences = differences(path, copied.contents)


@pytest.fixture
def session_store(request: pytest.FixtureRequest, session_store_path: Path) -> Iterator[SessionService]:
    """Return an open, private store, for async tests and, with `asyncio.run`, for sync ones; not synced to disk."""
    from fsstore.opening import open_sessions  # noqa: PLC0415

    _refuse_other_loops(request)
    opening = open_sessions(session_store_path, **_options(request))

    async def opened() -> SessionService:
        return await opening

    sessions = _in_own_thread(opened())
    try:
        yield sessions
    finally:
        _in_own_thread(sessions.close())


@pytest.fixture
def sync_session_store(request: pytest.FixtureRequest, session_store_path: Path) -> Iterator[LegacySessionStoreAdapter]:
    """Return the same store with blocking methods, for sync tests and for what they call."""
    from fsstore.legacy import LegacySessionStoreAdapter  # noqa: PLC0415

    with LegacySessionStoreAdapter(session_store_path, **_options(request)) as store:
        yield store


def _options(request: pytest.FixtureRequest) -> dict[str, Any]:
    options: dict[str, Any] = {"fsync": False}
    if _marked(request) is not None or "session_clock" in request.fixturenames:
        options["clock"] = request.getfixturevalue("session_clock")
    return options


def _marked(request: pytest.FixtureRequest) -> _Marked | None:
    marker = request.node.get_closest_marker(MARKER)
    if marker is None:
        return None
    try:
        marked = _Marked(*marker.args, **marker.kwargs)
    except TypeError as error:
        _refuse(
            f"the marker of {request.node.nodeid} is wrong: {str(error).removeprefix('_Marked.__new__() ')}; {_USAGE}"
        )
    if not isinstance(marked.path, str | Path):
        _refuse(f"the marker of {request.node.nodeid} is wrong: {marked.path!r} is no path; {_USAGE}")
    return marked


def _in_own_thread(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine in a loop of its own: this thread may be running one, and must keep the one it has set."""
    import asyncio  # noqa: PLC0415
    from concurrent.futures import ThreadPoolExecutor  # noqa: PLC0415

    with ThreadPoolExecutor(1, thread_name_prefix="fsstore-fixture") as thread:
        return thread.submit(asyncio.run, coroutine).result()


def _refuse_other_loops(request: pytest.FixtureRequest) -> None:
    """Say so when anyio runs the test on something else than asyncio, before that fails in words of its own."""
    if "anyio_backend" not in request.fixturenames:
        return
    backend = request.getfixturevalue("anyio_backend")
    name = backend if isinstance(backend, str) else backend[0]
    if name != "asyncio":
        _refuse(
            f"session_store runs on asyncio, and anyio runs this test on {name}; "
            'define a fixture anyio_backend that returns "asyncio", or use sync_session_store'
        )


@contextmanager
def _refusals() -> Iterator[None]:
    """Let an error of the store stand in the report by itself, without our own lines."""
    from fsstore.errors import StorageError  # noqa: PLC0415

    try:
        yield
    except StorageError as error:
        _refuse(str(error))


def _refuse(reason: str) -> NoReturn:
    # alone: what it was made of says the same
    raise pytest.fail.Exception(reason, pytrace=False) from None


# -- renewing fixtures ------------------------------------------------------------------------------------------------


class _Endings:
    """Puts what a test made of its fixtures into the report of its teardown, wherever the test runs."""

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        report = yield
        # a subtest has a report of the kind "call" too, so what has failed once stays failed
        passed = call.when == "setup" or item.stash.get(_PASSED, False)
        item.stash[_PASSED] = passed and report.passed and not hasattr(report, "wasxfail")
        copied = item.stash.get(_COPIED, None)
        if call.when == "teardown" and copied is not None:
            # what a report has beyond its own travels with it between processes, as far as it is plain data
            found = dict(copied.differences or {}) if item.stash[_PASSED] else None
            vars(report)["fsstore"] = (str(copied.fixtures), found)
            # a plugin may run the test once more
            del item.stash[_COPIED]
        return report


class _Renewal:
    """Gathers what the tests made of their fixtures, writes it at the end of the run, and reports it."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._states: dict[str, tuple[str, Differences | None]] = {}
        self._updates: list[Update] = []
        self._unwritten: list[str] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        state = getattr(report, "fsstore", None)
        if state is not None:
            self._states[report.nodeid] = state

    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> None:
        from fsstore.fixtures.updates import Ending, write_back  # noqa: PLC0415

        is_whole = exitstatus in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED)
        if not is_whole or session.shouldfail or session.shouldstop:
            # those that did not run might have disagreed
            self._unwritten = [f"nothing is written, since the run was not finished: {test}" for test in self._states]
            return
        endings = []
        for test, (fixtures, found) in sorted(self._states.items()):
            if found is None:
                self._unwritten.append(f"not written, since it did not pass: {test}")
            else:
                endings.append(Ending(test, Path(fixtures), found))
        self._updates = write_back(endings)
        if any(update.refusals for update in self._updates) and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if not self._states:
            return
        terminalreporter.write_sep("=", "fsstore fixtures")
        for line in self._unwritten:
            terminalreporter.write_line(line)
        for update in self._updates:
            self._tell(update, terminalreporter)

    def _tell(self, update: Update, terminalreporter: pytest.TerminalReporter) -> None:
        path = update.fixtures
        shown = path.relative_to(self._root) if path.is_relative_to(self._root) else path
        for refusal in update.refusals:
            terminalreporter.write_line(f"ERROR {shown.as_posix()}: {refusal}", red=True)
        for name, kind in update.written.items():
            terminalreporter.write_line(f"{kind:7}  {shown.as_posix()}/{name}")
        files = "1 file" if len(update.written) == 1 else f"{len(update.written)} files"
        terminalreporter.write_line(f"{files} written in {shown.as_posix()}")
