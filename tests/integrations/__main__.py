"""`python -m tests.integrations`: run the frameworks' own tests against fsstore, and print the scores.

Makes an environment for each framework in a temporary directory, with the versions that the extras name, fetches the
sources that hold the frameworks' tests, and runs them twice: with fsstore in the place of the framework's own store,
and as they are. Then the tests of ours that need the framework, the examples among them, and mypy with the framework
at hand. Fails where a suite does not give exactly what `exclusions.toml` says, and where a framework is missing.
With `--postgres` the suites alone are run, with stores in a PostgreSQL server of their own instead of directories.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from tests.integrations.environments import Environment
from tests.integrations.plugins.places import POSTGRES
from tests.integrations.scores import Outcomes, Score, outcomes_of, table
from tests.integrations.suites import FRAMEWORKS, ROOT, Framework, Suite, expected
from tests.postgres.server import Server, running

_HERE = Path(__file__).parent


def main(arguments: Sequence[str] | None = None) -> int:
    """Run everything that was asked for; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.integrations", description=__doc__)
    parser.add_argument("frameworks", nargs="*", metavar="FRAMEWORK", help=f"of {', '.join(FRAMEWORKS)}; all without")
    parser.add_argument("--postgres", action="store_true", help="run the suites on PostgreSQL, and nothing else")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="make the environments there, and leave them")
    options = parser.parse_args(arguments)
    if unknown := set(options.frameworks) - FRAMEWORKS.keys():
        parser.error(f"there is no framework {', '.join(sorted(unknown))}")
    chosen = [FRAMEWORKS[name] for name in options.frameworks or FRAMEWORKS]
    with ExitStack() as kept:
        run = partial(_on_postgres, server=kept.enter_context(running())) if options.postgres else _tested
        if options.keep:
            return _report([run(framework, options.keep / framework.extra) for framework in chosen])
        room = kept.enter_context(tempfile.TemporaryDirectory(prefix="fsstore-integrations-"))
        pool = kept.enter_context(ThreadPoolExecutor(len(chosen)))
        return _report(list(pool.map(lambda framework: run(framework, Path(room) / framework.extra), chosen)))


def _report(tested: Sequence[tuple[list[Score], list[str]]]) -> int:
    """Print the scores and the problems; return the exit status."""
    problems = [problem for _, found in tested for problem in found]
    sys.stdout.write(f"\n{table([score for scores, _ in tested for score in scores])}\n")
    for problem in problems:
        sys.stderr.write(f"{problem}\n")
    return 1 if problems else 0


def _on_postgres(framework: Framework, room: Path, *, server: Server) -> tuple[list[Score], list[str]]:
    """Return the scores of a framework with stores in a database, and what is wrong."""
    environment, scores = _environment(framework, room), []
    for suite in framework.suites:
        _tell(framework, f"{suite.name} on PostgreSQL")
        ours = _outcomes(environment, suite, suite.plugin, environ={POSTGRES: server.url()})
        scores.append(Score(suite.name, suite.stands_for, suite.upstream, ours, {}, expected()[suite.name]))
    return scores, [problem for score in scores for problem in score.problems]


def _environment(framework: Framework, room: Path) -> Environment:
    environment = Environment(framework, room)
    if not room.exists():
        _tell(framework, "makes the environment")
        environment.make()
    return environment


def _tested(framework: Framework, room: Path) -> tuple[list[Score], list[str]]:
    """Return the scores of a framework, and what is wrong."""
    environment = _environment(framework, room)
    scores = []
    for suite in framework.suites:
        _tell(framework, suite.name)
        ours, theirs = (_outcomes(environment, suite, plugin) for plugin in (suite.plugin, ""))
        scores.append(Score(suite.name, suite.stands_for, suite.upstream, ours, theirs, expected()[suite.name]))
    problems = [problem for score in scores for problem in score.problems]
    _tell(framework, "checks of our own")
    problems += _checked(environment, framework)
    _tell(framework, "types")
    typed = environment.python(["-m", "mypy", "--strict", framework.module], ROOT)
    if typed.returncode:
        problems.append(f"mypy {framework.module}:\n{typed.stdout}{typed.stderr}")
    _tell(framework, "is done" if not problems else f"{len(problems)} problems")
    return scores, problems


def _outcomes(
    environment: Environment, suite: Suite, plugin: str, *, environ: Mapping[str, str] | None = None
) -> Outcomes:
    """Run a suite and return what became of its tests."""
    source = environment.source(suite.source)
    report = environment.room / f"{suite.name.replace(' ', '-')}-{'ours' if plugin else 'theirs'}.xml"
    options = ["-q", "-n", f"{suite.workers}", "-p", "no:cacheprovider", "-o", "addopts=", "-o", "asyncio_mode=auto"]
    options += [f"--junitxml={report}", f"--rootdir={source}"]
    chosen = ["-p", plugin] if plugin else []
    done = environment.python(["-m", "pytest", *options, *chosen, *suite.arguments], source, environ=environ)
    report.with_suffix(".txt").write_text(done.stdout + done.stderr, encoding="utf-8")
    # 1 is tests that fail, which the report has; anything else is no run
    if done.returncode not in (0, 1) or not report.exists():
        raise RuntimeError(f"{suite.name} could not be run:\n{done.stdout}{done.stderr}")
    return outcomes_of(report.read_text("utf-8"))


def _checked(environment: Environment, framework: Framework) -> list[str]:
    """Run our own tests of a framework; return what is wrong."""
    files = [str(_HERE / "checks" / name) for name in framework.checks]
    done = environment.python(
        ["-m", "pytest", "-q", "-p", "no:cacheprovider", *files], ROOT, environ={"PYTHONPATH": ""}
    )
    return [] if done.returncode == 0 else [f"checks of {framework.extra}:\n{done.stdout}{done.stderr}"]


def _tell(framework: Framework, what: str) -> None:
    sys.stderr.write(f"{time.strftime('%H:%M:%S')} {framework.extra}: {what}\n")


if __name__ == "__main__":
    sys.exit(main())
