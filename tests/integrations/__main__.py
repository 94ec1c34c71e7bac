"""`python -m tests.integrations`: run the frameworks' own tests against fsstore, and print the scores.

Makes an environment for each framework in a temporary directory, with the versions that the extras name, fetches the
sources that hold the frameworks' tests, and runs them twice: with fsstore in the place of the framework's own store,
and as they are. Then the tests of ours that need the framework, the examples among them, and mypy with the framework
at hand. Fails where a suite does not give exactly what `exclusions.toml` says, and where a framework is missing.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.integrations.environments import Environment
from tests.integrations.scores import Outcomes, Score, outcomes_of, table
from tests.integrations.suites import FRAMEWORKS, ROOT, Framework, Suite, expected

_HERE = Path(__file__).parent


def main(arguments: Sequence[str] | None = None) -> int:
    """Run everything that was asked for; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.integrations", description=__doc__)
    parser.add_argument("frameworks", nargs="*", metavar="FRAMEWORK", help=f"of {', '.join(FRAMEWORKS)}; all without")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="make the environments there, and leave them")
    options = parser.parse_args(arguments)
    if unknown := set(options.frameworks) - FRAMEWORKS.keys():
        parser.error(f"there is no framework {', '.join(sorted(unknown))}")
    chosen = [FRAMEWORKS[name] for name in options.frameworks or FRAMEWORKS]
    if options.keep:
        return _report([_tested(framework, options.keep / framework.extra) for framework in chosen])
    with tempfile.TemporaryDirectory(prefix="fsstore-integrations-") as room, ThreadPoolExecutor(len(chosen)) as pool:
        tested = pool.map(lambda framework: _tested(framework, Path(room) / framework.extra), chosen)
        return _report(list(tested))


def _report(tested: Sequence[tuple[list[Score], list[str]]]) -> int:
    """Print the scores and the problems; return the exit status."""
    problems = [problem for _, found in tested for problem in found]
    sys.stdout.write(f"\n{table([score for scores, _ in tested for score in scores])}\n")
    for problem in problems:
        sys.stderr.write(f"{problem}\n")
    return 1 if problems else 0


def _tested(framework: Framework, room: Path) -> tuple[list[Score], list[str]]:
    """Return the scores of a framework, and what is wrong."""
    environment = Environment(framework, room)
    if not room.exists():
        _tell(framework, "makes the environment")
        environment.make()
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


def _outcomes(environment: Environment, suite: Suite, plugin: str) -> Outcomes:
    """Run a suite and return what became of its tests."""
    source = environment.source(suite.source)
    report = environment.room / f"{suite.name.replace(' ', '-')}-{'ours' if plugin else 'theirs'}.xml"
    options = ["-q", "-n", f"{suite.workers}", "-p", "no:cacheprovider", "-o", "addopts=", "-o", "asyncio_mode=auto"]
    options += [f"--junitxml={report}", f"--rootdir={source}"]
    chosen = ["-p", plugin] if plugin else []
    done = environment.python(["-m", "pytest", *options, *chosen, *suite.arguments], source)
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
