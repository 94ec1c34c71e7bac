"""The outcome of tests, written back as their new fixtures. Knows no pytest.

Owns who may write what. Invariants:
- A test counts as a whole: all that it changed is written, or nothing is.
- Two tests that want different things of one document get nothing, and are named; so does a test whose fixtures were
  changed by somebody else since it copied them.
- A document whose content came out the same is not written, though its version may have grown: so a test that changes
  nothing any more leaves the fixtures as they are, however often it runs.
- Each file is replaced by a rename, and keeps its rights.

A crash leaves each document old or new, not all of them new, and perhaps a file `.NAME.HEX.new` beside one. Nothing is
lost: the old ones are in git, and running the tests again writes the rest.
"""

from __future__ import annotations

import secrets
import shutil
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeAlias

from fsstore.filesystem.disk.files import Tree
from fsstore.filesystem.documents.codec import NotARecordError, decode, digest
from fsstore.filesystem.documents.documents import directories_of
from fsstore.fixtures import Difference, Differences, read

Kind: TypeAlias = Literal["added", "changed", "removed"]


@dataclass(frozen=True, slots=True)
class Ending:
    """What one test has made of its copy of the fixtures."""

    test: str
    fixtures: Path
    differences: Differences


@dataclass(slots=True)
class Update:
    """What became of the fixtures in one directory."""

    fixtures: Path
    written: dict[str, Kind] = field(default_factory=dict)
    refusals: list[str] = field(default_factory=list)
    """What was not written and why, each with the tests that it is about and what to do."""


def write_back(endings: Iterable[Ending]) -> list[Update]:
    """Write what tests have made of their fixtures over these; O(what they changed). One `Update` a directory."""
    grouped: defaultdict[Path, list[Ending]] = defaultdict(list)
    for ending in endings:
        grouped[ending.fixtures].append(ending)
    return [_update(fixtures, group) for fixtures, group in sorted(grouped.items())]


def _update(fixtures: Path, endings: list[Ending]) -> Update:
    # who may read and write new files is for the system to say, as for a checkout of git
    tree, update = Tree(fixtures, file_mode=0o666), Update(fixtures)
    try:
        present = {name: _present(tree, name) for ending in endings for name in ending.differences}
        endings = [_changed_only(ending, present) for ending in endings]
        refused = set(_refused(endings, present, update.refusals))
        wanted = {
            name: difference
            for ending in endings
            if ending.test not in refused
            for name, difference in ending.differences.items()
        }
        for name, difference in sorted(wanted.items()):
            update.written[name] = _write(tree, name, difference)
    except OSError as error:
        update.refusals.append(
            f"{error.filename or fixtures}: {error.strerror}; make it writable, and run the tests again"
        )
    return update


def _present(tree: Tree, name: str) -> bytes | None:
    try:
        return read(tree, name)
    except FileNotFoundError:
        return None


def _changed_only(ending: Ending, present: dict[str, bytes | None]) -> Ending:
    kept = {
        name: difference
        for name, difference in ending.differences.items()
        if not _says_the_same(present[name], difference[1])
    }
    return Ending(ending.test, ending.fixtures, kept)


def _says_the_same(before: bytes | None, after: bytes | None) -> bool:
    """Whether two documents differ in nothing but their version."""
    if before is None or after is None or before == after:
        return before == after
    try:
        first, second = decode(before), decode(after)
    except NotARecordError:
        return False
    second["version"] = first["version"]
    # repr, since to Python 1 equals True and 1.0
    return first == second and repr(first) == repr(second)


def _refused(endings: list[Ending], present: dict[str, bytes | None], refusals: list[str]) -> Iterator[str]:
    """Give the tests whose endings are not written, and say why."""
    wanted: defaultdict[str, dict[bytes | None, list[str]]] = defaultdict(dict)
    for ending in endings:
        stale = [name for name, (before, _) in ending.differences.items() if _hash(present[name]) != before]
        if stale:
            refusals.append(
                f"{', '.join(sorted(stale))}: changed by somebody else since {ending.test} copied it; run it again"
            )
            yield ending.test
        for name, (_, after) in ending.differences.items():
            wanted[name].setdefault(after, []).append(ending.test)
    for name, outcomes in sorted(wanted.items()):
        if len(outcomes) > 1:
            tests = sorted(test for tests in outcomes.values() for test in tests)
            refusals.append(_conflict(name, tests))
            yield from tests


def _conflict(name: str, tests: Collection[str]) -> str:
    return (
        f"{name}: {' and '.join(tests)} leave it different, and nothing of these tests is written; "
        "run one of them alone, or give each fixtures of its own"
    )


def _hash(data: bytes | None) -> bytes | None:
    return None if data is None else digest(data)


def _write(tree: Tree, name: str, difference: Difference) -> Kind:
    before, after = difference
    if after is None:
        tree.unlink(name)
        with suppress(OSError):
            # git knows no empty directories; one that is not empty stays
            for directory in reversed(directories_of(name)):
                tree.remove_directory(directory)
        return "removed"
    for directory in directories_of(name):
        tree.make_directory(directory)
    shard, slash, base = name.rpartition("/")
    draft = f"{shard}{slash}.{base}.{secrets.token_hex(8)}.new"
    tree.write_new(draft, after)
    try:
        if before is not None:
            shutil.copymode(tree.path(name), tree.path(draft))
        tree.replace(draft, name)
    except BaseException:
        with suppress(OSError):
            tree.unlink(draft)
        raise
    return "added" if before is None else "changed"
