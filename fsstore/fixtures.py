"""Stores as fixtures of tests: a private copy of one that lies in git, and what a test made of it. Knows no pytest.

Owns which files make up a store in git: its marker and its documents. Nothing else is copied or compared, least of all
`.fsstore/`, which belongs to the machine and to whoever has the fixtures open.

Invariants:
- The fixtures are only read here; `writing_back` is the one that changes them.
- A copy can be written in any way, also in place, and the fixtures stay as they are. So it shares blocks with them
  where the file system clones (FICLONE: whoever writes gets blocks of their own) and is bytes of its own elsewhere.
  There are no hard links: fsstore itself replaces files and never writes into one, but a test that edits a document as
  an editor does would then edit the fixture, behind the back of who owns it. To take the right to write away would take
  it from the fixture too, as both names are of one file, and does not bind root. And a link alone changes the ctime of
  the fixture: its own index, and git's, would read it again.
- A file that is not a regular one is refused: what it links to is not in git.

A crash leaves a part of a copy, in a directory that nobody uses again.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TypeAlias

from fsstore.errors import StorageUnavailableError
from fsstore.filesystem.disk.files import CREATE, READ, Tree
from fsstore.filesystem.disk.system import unavailable
from fsstore.filesystem.documents.codec import digest
from fsstore.filesystem.documents.documents import directories_of
from fsstore.filesystem.documents.layout import MARKER, SHARD_DEPTHS, is_document, is_shard
from fsstore.paths import path_of

try:
    import fcntl
except ImportError:
    # a system without it clones in no way that Python knows
    fcntl = None  # type: ignore[assignment]

Contents: TypeAlias = Mapping[str, bytes]
"""The hash of each file of a store, by its name."""
Difference: TypeAlias = tuple[bytes | None, bytes | None]
"""The hash of a file as it was given, and the bytes that are there now; None for no file."""
Differences: TypeAlias = Mapping[str, Difference]

# ioctl_ficlone(2); Python knows the number since 3.12. Where it means something else the call is refused.
_CLONE = int(getattr(fcntl, "FICLONE", 0x40049409))


def locate(path: str | os.PathLike[str], *, beside: Path, root: Path) -> Path:
    """Return the directory of the store that a test in the directory `beside` calls by that path.

    `root` is where people might think that paths start; it only serves the advice. Raises StorageUnavailableError when
    there is no store, StorageValidationError for what is no path.
    """
    path = path_of(path)
    found = (beside / path).resolve()
    if (found / MARKER).is_file():
        return found
    reason = f"there is no {MARKER} here, so it is no store" if found.is_dir() else "there is no such directory"
    advice = "correct the path, or make the store with open_sessions(path) or `fsstore import`, and add it to git"
    if ((root / path) / MARKER).is_file():
        advice = f"the path starts at the directory of the test file: write {_way(beside, root / path)!r}"
    raise StorageUnavailableError(reason=reason, path=str(found), advice=advice)


def copy_store(fixtures: Path, target: Path) -> None:
    """Copy marker and documents to a directory that is not there yet; O(bytes), O(documents) where it can clone.

    Raises StorageUnavailableError.
    """
    # what is private to a test may be written by it, whatever the rights of the fixtures
    source, copy = Tree(fixtures), Tree(target)
    try:
        target.mkdir(copy.directory_mode)
        made, clones = set[str](), fcntl is not None
        for name in _names(source):
            for directory in directories_of(name):
                if directory not in made:
                    made.add(directory)
                    copy.make_directory(directory)
            # asked until it says no: that is so for the file system, not for one file
            clones = clones and _clone(source, copy, name)
            if not clones:
                copy.write_new(name, read(source, name))
    except OSError as error:
        raise unavailable(error, str(target)) from error


def contents_of(store: Path) -> Contents:
    """Return the hash of each file of a store; reads all of it. Raises StorageUnavailableError."""
    tree = Tree(store)
    try:
        return {name: digest(read(tree, name)) for name in _names(tree)}
    except OSError as error:
        raise unavailable(error, str(store)) from error


def differences(store: Path, given: Contents) -> Differences:
    """Return what has changed in a store since it was as given; reads all of it. Raises StorageUnavailableError."""
    tree, rest = Tree(store), dict(given)
    found: dict[str, Difference] = {}
    try:
        for name in _names(tree):
            before, now = rest.pop(name, None), read(tree, name)
            if digest(now) != before:
                found[name] = (before, now)
    except OSError as error:
        raise unavailable(error, str(store)) from error
    return found | {name: (before, None) for name, before in rest.items()}


def read(tree: Tree, name: str) -> bytes:
    """Return the bytes of a file, however many they are. Raises OSError."""
    return tree.read(name, max_bytes=sys.maxsize)[0]


def _names(tree: Tree) -> Iterator[str]:
    if tree.signature(MARKER) is None:
        raise StorageUnavailableError(
            reason=f"its {MARKER} is gone",
            path=str(tree.root),
            advice="leave the store in place; delete its documents only",
        )
    yield MARKER
    yield from _documents(tree, "", max(SHARD_DEPTHS))


def _documents(tree: Tree, above: str, depth: int) -> Iterator[str]:
    for base in sorted(filter(is_shard, tree.entries(above))):
        shard = f"{above}/{base}" if above else base
        if not tree.is_directory(shard):
            raise _not_in_git(tree, shard, "a directory")
        for document, signature in sorted(tree.signatures(shard)):
            if is_document(document):
                if signature is None:
                    raise _not_in_git(tree, f"{shard}/{document}", "a regular file")
                yield f"{shard}/{document}"
        if depth > 1:
            yield from _documents(tree, shard, depth - 1)


def _not_in_git(tree: Tree, name: str, wanted: str) -> StorageUnavailableError:
    return StorageUnavailableError(
        reason=f"it is not {wanted}, and only such can be fixtures",
        path=tree.path(name),
        advice="put the document itself there, or remove it",
    )


def _clone(source: Tree, copy: Tree, name: str) -> bool:
    """Make a file that shares its blocks with another until one of them is written to; False where that can not be."""
    original = source.open(name, READ)
    try:
        clone = copy.open(name, CREATE)
        try:
            fcntl.ioctl(clone, _CLONE, original)
            return True
        except OSError:
            with suppress(OSError):
                copy.unlink(name)
            return False
        finally:
            os.close(clone)
    finally:
        os.close(original)


def _way(start: Path, path: Path) -> str:
    return Path(os.path.relpath(path.resolve(), start.resolve())).as_posix()
