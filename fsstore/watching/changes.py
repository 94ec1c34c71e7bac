"""What a watcher receives, and what a refresh has found. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from fsstore.model.records import JsonObject

Kind: TypeAlias = Literal["created", "updated", "deleted"]
Origin: TypeAlias = Literal["own", "store", "external"]


@dataclass(frozen=True, slots=True)
class Change:
    """One change of one document, as a watcher sees it.

    `kind` is from the watcher's point of view: a document that begins to match its filter is "created", one that no
    longer does is "deleted", though it may still be there. `version` is the document's; of one that is gone, its last,
    and 0 where that is not known any more (after a `Gap`). An edit by hand leaves the version as it was, unless it
    changes that too.

    `origin` is "own" for what this open store has written, "store" for what was certainly written through fsstore
    elsewhere, in another process or through another open store, and "external" for everything else: an editor, git, a
    copy.

    `metadata` is the document's, as in `list_metadata`; it is empty when the document is gone.
    """

    kind: Kind
    id: str
    version: int
    origin: Origin
    metadata: JsonObject = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Gap:
    """The watcher was too slow, and changes were dropped: `dropped` of them.

    What follows makes up for them: each document that is different from what the watcher last received is reported
    once, as it is now; what happened to it in between is lost.
    """

    dropped: int


@dataclass(slots=True)
class Absorbed:
    """What reconciling found: ids of documents that were read again, and names of files that are gone or damaged."""

    changed: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    corrupt: list[str] = field(default_factory=list)

    def add(self, other: Absorbed) -> None:
        """Take another part of the same reconciliation in."""
        self.changed += other.changed
        self.removed += other.removed
        self.corrupt += other.corrupt
