"""A disk as a power cut finds it: what is certain to be on it, and what may be there or not.

Takes recorded calls one after the other. What we assume of a file system is no more than POSIX says:

- Bytes are certain after fsync or fdatasync of their file, names after fsync of their directory; the one says nothing
  of the other. Until then each change may be on the disk or not, in any order, with two exceptions:
- A sector holds what was in memory at one moment, so of two changes to one sector the later is never there alone.
- Of two changes to one name the later counts. A rename within a directory is one change; one to another directory is
  two, and the file may be seen in both or in none.
- A file may have its new size before its new bytes: what is missing reads as zeros.
- A sync that failed may have lost what it was to write, and a later one that succeeds says nothing about it.
"""

from __future__ import annotations

import enum
import os
from collections.abc import Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from tests.campaign.interpose import Call

SECTOR, PAGE = 512, 4096
Tree = dict[str, bytes | None]
"""Contents by path; None is a directory."""

_SYNCS = ("fsync", "fdatasync")
_MANY = 5
_LONG_AGO = 1_500_000_000


class Standing(enum.Enum):
    """What is known of a change."""

    unsynced = 0
    certain = 1
    doubtful = 2
    """A sync of it failed."""


@dataclass(slots=True, eq=False)
class Bytes:
    """A write, or with `data` None a change of the size to `offset`."""

    offset: int
    data: bytes | None
    standing: Standing = Standing.unsynced

    def on(self, content: bytes) -> bytes:
        """Return what becomes of a file's content."""
        if self.data is None:
            return content[: self.offset].ljust(self.offset, b"\0")
        end = self.offset + len(self.data)
        return content[: self.offset].ljust(self.offset, b"\0") + self.data + content[end:]


@dataclass(slots=True, eq=False)
class Names:
    """What one call does to the names of one directory; None takes a name away."""

    path: str
    entries: dict[str, File | Directory | None]
    standing: Standing = Standing.unsynced

    def __str__(self) -> str:
        return ", ".join(f"{'' if node else 'no '}{self.path}/{name}" for name, node in self.entries.items())


@dataclass(slots=True, eq=False)
class File:
    """The bytes of a file; `path` is its last name."""

    path: str
    content: bytes = b""
    changes: list[Bytes] = field(default_factory=list)
    _possible: list[bytes] = field(default_factory=list)

    def add(self, change: Bytes) -> None:
        """Take in a change that is not synced."""
        self.changes.append(change)
        self._possible = []

    def now(self) -> bytes:
        """Return what a program reads before the cut."""
        return self._with({change: change for change in self.changes})

    def settle(self, standing: Standing) -> None:
        """Give what is unsynced another standing."""
        _settle(self.changes, standing)
        self._possible = []
        while self.changes and self.changes[0].standing is Standing.certain:
            self.content = self.changes.pop(0).on(self.content)

    def possible(self, draws: Random) -> list[bytes]:
        """Return contents that a cut may leave: first without what is unsynced, then with all, then with zeros."""
        self._possible = self._possible or self._drawn(draws)
        return self._possible

    def _drawn(self, draws: Random) -> list[bytes]:
        unsynced = [change for change in self.changes if change.standing is Standing.unsynced]
        sure = {change: change for change in self.changes if change.standing is Standing.certain}
        found: dict[bytes, None] = {}
        for doubtful in self._doubts():
            base = sure | {change: change for change in doubtful}
            old, new = self._with(base), self._with(base | {change: change for change in unsynced})
            found |= dict.fromkeys((old, new, old[: len(new)].ljust(len(new), b"\0")))
            found |= dict.fromkeys(self._with(base | part) for part in _beginnings(unsynced, draws))
            found |= dict.fromkeys(_mixtures(old, new, draws))
        return list(found)

    def _doubts(self) -> list[list[Bytes]]:
        doubtful = [change for change in self.changes if change.standing is Standing.doubtful]
        return [[], doubtful, *([change] for change in doubtful[:_MANY])] if doubtful else [[]]

    def _with(self, parts: Mapping[Bytes, Bytes]) -> bytes:
        content = self.content
        for change in self.changes:
            if change in parts:
                content = parts[change].on(content)
        return content


@dataclass(slots=True, eq=False)
class Directory:
    """The names in a directory."""

    path: str
    entries: dict[str, File | Directory] = field(default_factory=dict)
    changes: list[Names] = field(default_factory=list)

    def now(self) -> dict[str, File | Directory]:
        """Return what a program sees before the cut."""
        return self.after(set(self.changes))

    def after(self, chosen: AbstractSet[Names]) -> dict[str, File | Directory]:
        """Return the names that are there when of the changes that are not certain only those were made."""
        seen: dict[str, File | Directory | None] = dict(self.entries)
        for change in self.changes:
            if change.standing is Standing.certain or change in chosen:
                seen |= change.entries
        return {name: node for name, node in seen.items() if node is not None}

    def settle(self, standing: Standing) -> None:
        """Give what is unsynced another standing."""
        _settle(self.changes, standing)
        while self.changes and self.changes[0].standing is Standing.certain:
            certain = {**self.entries, **self.changes.pop(0).entries}
            self.entries = {name: node for name, node in certain.items() if node is not None}

    def all(self) -> Iterator[File | Directory]:
        """Give what any of its names may stand for."""
        yield from self.entries.values()
        for change in self.changes:
            yield from (node for node in change.entries.values() if node is not None)


class Disk:
    """All files below one directory, as recorded calls change them."""

    def __init__(self, root: Path) -> None:
        """Take what is there as certain."""
        self._root = str(root)
        self._files: dict[int, File] = {}
        self.root = self._found(root)

    def _found(self, directory: Path) -> Directory:
        found = Directory(self.inside(str(directory)))
        for entry in os.scandir(directory):
            if entry.is_dir(follow_symlinks=False):
                found.entries[entry.name] = self._found(Path(entry.path))
            else:
                file = File(self.inside(entry.path), Path(entry.path).read_bytes())
                found.entries[entry.name] = self._files[entry.inode()] = file
        return found

    def apply(self, call: Call) -> None:
        """Let a recorded call happen."""
        match call.name:
            case "create" | "mkdir":
                self._make(call)
            case "write":
                self._files[call.inode].add(Bytes(call.offset, call.data))
            case "resize":
                self._files[call.inode].add(Bytes(call.offset, None))
            case "truncate":
                self._files[call.inode].add(Bytes(0, None))
            case "sync":
                self._settle(call, Standing.certain)
            case "failed" if call.other in _SYNCS:
                self._settle(call, Standing.doubtful)
            case "rename" | "exchange" | "link":
                self._move(call)
            case "unlink" | "rmdir":
                self._change(self._parent(call.path), {_base(call.path): None})
            case "mark" | "open" | "failed" | "killed":
                pass
            case _:
                raise ValueError(f"the model does not know {call.name}")

    def _make(self, call: Call) -> None:
        inside = self.inside(call.path)
        made: File | Directory = Directory(inside) if call.name == "mkdir" else File(inside)
        if isinstance(made, File):
            self._files[call.inode] = made
        self._change(self._parent(call.path), {_base(call.path): made})

    def _move(self, call: Call) -> None:
        source, target = self._parent(call.path), self._parent(call.other)
        old, new = _base(call.path), _base(call.other)
        moved, given = source.now()[old], target.now().get(new) if call.name == "exchange" else None
        moved.path = self.inside(call.other)
        if moved is target.now().get(new):
            return
        lost: dict[str, File | Directory | None] = {} if call.name == "link" else {old: given}
        if source is target:
            self._change(target, {**lost, new: moved})
            return
        self._change(target, {new: moved})
        if lost:
            self._change(source, lost)

    def _change(self, directory: Directory, entries: dict[str, File | Directory | None]) -> None:
        directory.changes.append(Names(directory.path, entries))

    def _settle(self, call: Call, standing: Standing) -> None:
        # a directory is known by its path: its inode may have been a file's before
        node = self._at(call.path)
        if not isinstance(node, Directory):
            node = self._files.get(call.inode, node)
        if node is not None:
            node.settle(standing)

    def _parent(self, path: str) -> Directory:
        parent = self._at(path.rpartition("/")[0])
        if not isinstance(parent, Directory):
            raise FileNotFoundError(f"the record says nothing of how the directory of {path} was made")
        return parent

    def _at(self, path: str) -> File | Directory | None:
        node: File | Directory | None = self.root
        for name in filter(None, self.inside(path).split("/")):
            node = node.now().get(name) if isinstance(node, Directory) else None
        return node

    def inside(self, path: str) -> str:
        return os.path.normpath(path)[len(self._root) :].lstrip("/")

    def uncertain(self) -> tuple[list[Names], list[File]]:
        """Return the changes of names that are not certain, and the files whose bytes are not."""
        names: list[Names] = []
        files: dict[File, None] = {}
        waiting, seen = [self.root], {self.root}
        while waiting:
            directory = waiting.pop()
            names += [change for change in directory.changes if change.standing is not Standing.certain]
            for node in directory.all():
                if isinstance(node, File):
                    files[node] = None
                elif node not in seen:
                    seen.add(node)
                    waiting.append(node)
        return names, [file for file in files if file.changes]

    def tree(self, names: AbstractSet[Names], contents: Mapping[File, bytes]) -> Tree:
        """Return what is on the disk when those changes of names were made, and files hold those bytes."""
        found: Tree = {}
        waiting = [("", self.root)]
        while waiting:
            path, directory = waiting.pop()
            for name, node in directory.after(names).items():
                if isinstance(node, Directory):
                    found[path + name] = None
                    waiting.append((f"{path}{name}/", node))
                else:
                    found[path + name] = contents[node] if node in contents else node.now()
        return found


def materialise(tree: Tree, directory: Path) -> None:
    """Make the files of a tree in a directory that is made too; their times are old, so that nobody waits for them."""
    directory.mkdir()
    for name, content in sorted(tree.items()):
        if content is None:
            (directory / name).mkdir(mode=0o700)
        else:
            (directory / name).write_bytes(content)
            os.utime(directory / name, (_LONG_AGO, _LONG_AGO))


def _settle(changes: list[Bytes] | list[Names], standing: Standing) -> None:
    for change in changes:
        if change.standing is Standing.unsynced:
            change.standing = standing


def _base(path: str) -> str:
    return path.rpartition("/")[2]


def _beginnings(changes: list[Bytes], draws: Random) -> Iterator[dict[Bytes, Bytes]]:
    """Give the first of some changes, as many as there may be, the last of them torn at a sector."""
    lengths = range(len(changes)) if len(changes) <= _MANY else sorted(draws.sample(range(len(changes)), _MANY))
    for length in lengths:
        first = {change: change for change in changes[:length]}
        yield first
        torn = changes[length]
        for size in _tears(torn, draws):
            yield {**first, torn: Bytes(torn.offset, (torn.data or b"")[:size])}


def _tears(change: Bytes, draws: Random) -> set[int]:
    """Return how many bytes of a write may be there when it ends at the border of a sector."""
    borders = range(SECTOR - change.offset % SECTOR, len(change.data or b""), SECTOR)
    return {borders[0], borders[-1], draws.choice(borders)} if borders else set()


def _mixtures(old: bytes, new: bytes, draws: Random) -> Iterator[bytes]:
    """Give contents of the new size, with the new bytes in some pages or sectors only."""
    for size in (SECTOR, PAGE):
        count = -(-len(new) // size)
        if count > 1:
            some = {at for at in range(count) if draws.random() < 0.5}
            for there in (some, {0}, {count - 1}, set(range(1, count))):
                yield b"".join(
                    (new if at in there else old)[at * size : (at + 1) * size].ljust(
                        min(size, len(new) - at * size), b"\0"
                    )
                    for at in range(count)
                )
