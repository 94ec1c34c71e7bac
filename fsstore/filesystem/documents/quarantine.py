"""What is set aside: bytes that cannot stay where they lie, kept for people in `.fsstore/quarantine/`.

Owns the names in there, which tell when it was and where the bytes lay. Used by the holder of the store lock.
Invariants: what is in quarantine is never deleted or written over by us, and is on disk before the caller goes on.

A crash leaves a thing where it lay or in quarantine; a copy it interrupts may be there torn, and the whole one still
where it lay.
"""

from __future__ import annotations

import re
import secrets
import sys
from contextlib import suppress
from datetime import UTC, datetime

from fsstore.filesystem.disk.files import Tree
from fsstore.filesystem.disk.system import NotAFileError
from fsstore.filesystem.documents.layout import CONTROL, QUARANTINE, shard_of

_FOREIGN = re.compile(r"[^A-Za-z0-9._~-]")
_NAME_CHARACTERS = 200


class Quarantine:
    """The quarantine of one store."""

    def __init__(self, tree: Tree) -> None:
        self._tree = tree

    def move(self, name: str) -> str:
        """Take whatever has that name out of the way, whole, and return the name it has now.

        One rename and three syncs. Raises FileNotFoundError when it is not there, OSError when the disk refuses.
        """
        with suppress(NotAFileError):
            # asked first, since a FIFO can be opened, and has no bytes to lose
            self._tree.signature(name)
            self._tree.sync(name)
        aside = self._aside(name)
        self._tree.replace(name, aside)
        self._tree.sync_directory(QUARANTINE)
        self._tree.sync_directory(shard_of(name))
        return aside

    def copy(self, name: str) -> str:
        """Keep the file of that name, which stays where it is, and return the name that the kept one has.

        A link where there are links, else a copy of its bytes. Raises OSError when the disk refuses.
        """
        self._tree.sync(name)
        aside = self._aside(name)
        if not self._tree.link(name, aside):
            return self.keep(name, self._tree.read(name, max_bytes=sys.maxsize)[0])
        self._tree.sync_directory(QUARANTINE)
        return aside

    def make(self) -> None:
        """Make the directory, so that `move` needs no more than a rename. Raises OSError when the disk refuses."""
        if self._tree.make_directory(QUARANTINE):
            self._tree.sync_directory(CONTROL)

    def keep(self, name: str, data: bytes) -> str:
        """Keep bytes that lay, or were meant to lie, under that name, and return the name they have now."""
        aside = self._aside(name)
        self._tree.write_new(aside, data)
        self._tree.sync(aside)
        self._tree.sync_directory(QUARANTINE)
        return aside

    def _aside(self, name: str) -> str:
        self.make()
        moment = datetime.now(UTC).strftime("%Y%m%dT%H%M%S")
        # a name from elsewhere may hold anything, and may be as long as a name can be
        place = _FOREIGN.sub("-", name)[:_NAME_CHARACTERS]
        return f"{QUARANTINE}/{moment}-{secrets.token_hex(3)}-{place}"
