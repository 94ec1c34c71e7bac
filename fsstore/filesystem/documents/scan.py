"""What lies in the shards of a store: their names, and the names and signatures of the documents in them.

Opens no document. Invariant: one shard that cannot be looked into keeps nobody from the others. A crash leaves nothing
behind, since nothing is written.
"""

from __future__ import annotations

import stat
from collections.abc import Iterator
from operator import itemgetter

from fsstore.filesystem.disk.files import Tree
from fsstore.filesystem.disk.signatures import Signature
from fsstore.filesystem.disk.system import NotAFileError, unavailable
from fsstore.filesystem.disk.unreadable import Unreadable
from fsstore.filesystem.documents.layout import is_document, is_shard

_BASE = itemgetter(0)


class Scan:
    """The shards of one store, as they are now."""

    def __init__(self, tree: Tree, shard_depth: int, unreadable: Unreadable) -> None:
        self._tree = tree
        self._shard_depth = shard_depth
        # notes what the system refuses
        self._unreadable = unreadable

    def shards(self, within: str = "") -> Iterator[str]:
        """Give the names of the shards that are there, in order; foreign names are passed over.

        `within` gives those of one directory alone. Something else under a shard's name is given too: no document in
        its place can be read. Raises StorageUnavailableError.
        """
        if within:
            yield from self._below(within, self._shard_depth - len(within.split("/")))
            return
        try:
            yield from self._shards("", self._shard_depth)
        except OSError as error:
            raise unavailable(error, str(self._tree.root)) from error

    def _shards(self, above: str, depth: int) -> Iterator[str]:
        for base in sorted(filter(is_shard, self._tree.entries(above))):
            yield from self._below(f"{above}/{base}" if above else base, depth - 1)

    def _below(self, name: str, depth: int) -> list[str]:
        """Return the shards in a directory, or itself where it is one, or no directory."""
        try:
            return list(self._shards(name, depth)) if depth and self._tree.is_directory(name) else [name]
        except OSError:
            # what cannot be looked into is given itself: it must not keep the others from anybody
            return [name]

    def signatures(self, shard: str) -> dict[str, Signature | None]:
        """Return the documents' files of one shard; None as signature for what is not a regular file.

        What is no directory, or a link to one, stands for its documents as the name `3f/`, which cannot be read
        either. A file that the system says nothing of has the signature UNTOLD. Raises StorageUnavailableError.
        """
        try:
            found = {f"{shard}/{base}": found for base, found in self._tree.signatures(shard) if is_document(base)}
        except (NotAFileError, NotADirectoryError):
            found = {f"{shard}/": None}
        except OSError as error:
            refused = unavailable(error, self._tree.path(shard))
            self._unreadable.note(f"{shard}/", refused)
            raise refused from error
        self._unreadable.forget(f"{shard}/")
        return found

    def outer_shards(self) -> list[str]:
        """Return the directories of the root that are shards, or hold them. Raises StorageUnavailableError."""
        try:
            return sorted(filter(is_shard, self._tree.entries()))
        except OSError as error:
            raise unavailable(error, str(self._tree.root)) from error

    def inventory(self, outer: str) -> str | None:
        """Return names and signatures of all documents in an outer shard, a line each, as `Inventory.text` does.

        None where that is not known: a name may stand for something else, or be none that can be read, or be elsewhere.
        """
        try:
            if self._shard_depth == 1:
                return self._inventory(outer)
            parts = [self._inventory(f"{outer}/{base}") for base in sorted(filter(is_shard, self._tree.entries(outer)))]
        except OSError:
            return None
        return None if None in parts else "".join(filter(None, parts))

    def _inventory(self, shard: str) -> str | None:
        stats, device = sorted(self._tree.stats(shard), key=_BASE), self._tree.device
        if not all(found and stat.S_ISREG(found.st_mode) and found.st_dev == device for _, found in stats):
            return None
        documents = [(base, found) for base, found in stats if found is not None and is_document(base)]
        # a base holds no slash, and with no end of a line in it no two are taken for one another
        if any("\n" in base for base, _ in documents):
            return None
        return "".join(
            [
                f"{shard}/{base}/{found.st_ino}/{found.st_size}/{found.st_mtime_ns}/{found.st_ctime_ns}/\n"
                for base, found in documents
            ]
        )
