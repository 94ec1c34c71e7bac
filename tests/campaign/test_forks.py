"""The matrix of forks: who is forked, at what work, how, and what the child does; nobody hangs, and nothing is lost."""

import os
from pathlib import Path

import pytest

from tests.campaign.conftest import Report
from tests.filesystem.forks import CHILDREN, FACES, FORKS, REFUSED, WORKED, WORKS, Case, lost, program_forked

TIMES = 6

MATRIX = [
    (face, work, forked)
    for face in FACES
    for work in WORKS
    for forked in FORKS
    # the adapter has no watch
    if (face, work) != ("legacy", "watching")
]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork")
@pytest.mark.parametrize(("face", "work", "forked"), MATRIX)
async def test_a_fork_hangs_nobody_and_loses_nothing(
    face: str, work: str, forked: str, tmp_path: Path, report: Report
) -> None:
    found = []
    for child in CHILDREN:
        path = tmp_path / child
        try:
            said = program_forked(Case(face, work, forked, child), TIMES, path)
        except AssertionError as error:
            found.append(f"{child}: {error}")
            continue
        # SQLite may be at work when it is forked, and then the child is refused in words
        allowed = {WORKED, REFUSED} if work != "idle" and child == "works" else {WORKED}
        if not set(said["codes"]) <= allowed:
            found.append(f"{child}: the children ended with {said['codes']}: {said['errors'][-2000:]}")
        found += [f"{child}: {trouble}" for trouble in await lost(path, said["saved"])]
    report(f"forks: {face} {work}, by {forked}", TIMES * len(CHILDREN), found)
