"""The words in which `verify` and `repair` tell what they found and did. Pure.

Damage is what breaks a promise of the store: something cannot be served, or a list may be wrong. A note is worth
knowing and nobody's fault: an edit by hand that no refresh has seen yet, what a crash left and the next recovery takes.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from enum import StrEnum

from fsstore.model.records import JsonObject


class Kind(StrEnum):
    """What is the matter. The words are for programs too, and stay as they are."""

    UNREADABLE = "unreadable"
    """No document: not JSON, not a record, no regular file. The place of a shard may be taken so too."""
    IN_CONFLICT = "in_conflict"
    """A merge by git has left both sides in it, to be chosen from by hand."""
    REFUSED = "refused"
    """The system refuses to read it: a permission, or a failing disk."""
    TOO_LARGE = "too_large"
    """It has more bytes than this opener reads. It is not damaged."""
    WRONG_PLACE = "wrong_place"
    """A whole document under a name that is not its id's."""
    ALTERED = "altered"
    """Other bytes than were indexed, in a file that looks untouched: bit rot, or an edit that put the times back."""
    INDEX_WRONG = "index_wrong"
    """The index says something else than the document it was made from."""
    INDEX_DAMAGED = "index_damaged"
    LOG_DAMAGED = "log_damaged"

    DUPLICATE_KEY = "duplicate_key"
    """A JSON object has a key twice: the last one counts, and the next save drops the others."""
    NOT_SAVABLE = "not_savable"
    """It can be read, and could not be saved as it is."""
    NOT_INDEXED = "not_indexed"
    OUTDATED = "outdated"
    """The document was changed since it was indexed."""
    LEFT_OVER = "left_over"
    """The index has it, and it is gone."""
    NO_INDEX = "no_index"
    """There is nothing complete to compare the documents with; the next list makes it."""
    TEMPORARY = "temporary"
    """A commit that never happened left it."""


NOTES = frozenset(
    {
        Kind.DUPLICATE_KEY,
        Kind.NOT_SAVABLE,
        Kind.NOT_INDEXED,
        Kind.OUTDATED,
        Kind.LEFT_OVER,
        Kind.NO_INDEX,
        Kind.TEMPORARY,
    }
)
"""What harms nobody; all else is damage."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is not as it should be. Names are relative to the store."""

    kind: Kind
    file: str
    reason: str
    belongs_at: str = ""
    """The right place of a document in the wrong one."""

    @property
    def is_damage(self) -> bool:
        """Whether it breaks a promise of the store."""
        return self.kind not in NOTES

    def as_json(self) -> JsonObject:
        """Return it as a JSON object."""
        return {
            "kind": str(self.kind),
            "file": _text(self.file),
            "reason": _text(self.reason),
            "belongs_at": self.belongs_at or None,
            "damage": self.is_damage,
        }


@dataclass(slots=True)
class VerifyReport:
    """What `verify` looked at, and what it found; damage first once it is complete."""

    hashed: bool = False
    documents: int = 0
    """Whole documents in their places."""
    document_bytes: int = 0
    indexed: int = 0
    """Those of them that were compared with a row of the index."""
    quarantined: int = 0
    findings: list[Finding] = field(default_factory=list)

    @property
    def is_clean(self) -> bool:
        """Whether nothing is damaged."""
        return not self.damage

    @property
    def damage(self) -> list[Finding]:
        """What breaks a promise."""
        return [finding for finding in self.findings if finding.is_damage]

    def as_json(self) -> JsonObject:
        """Return the report as a JSON object, in which every kind has its count."""
        counts = Counter(finding.kind for finding in self.findings)
        return {
            "clean": self.is_clean,
            "hashed": self.hashed,
            "documents": self.documents,
            "document_bytes": self.document_bytes,
            "indexed": self.indexed,
            "quarantined": self.quarantined,
            "counts": {str(kind): counts[kind] for kind in Kind},
            "findings": [finding.as_json() for finding in self.findings],
        }


@dataclass(frozen=True, slots=True)
class Moved:
    """What `repair` has moved, from where to where, and why; both relative to the store."""

    file: str
    to: str
    reason: str

    def as_json(self) -> JsonObject:
        """Return it as a JSON object."""
        return {"file": _text(self.file), "to": self.to, "reason": _text(self.reason)}


@dataclass(slots=True)
class RepairReport:
    """What `repair` has done. `altered` are documents it kept as they are, though they are not what was indexed."""

    moved: list[Moved] = field(default_factory=list)
    altered: list[Finding] = field(default_factory=list)
    left: list[Finding] = field(default_factory=list)
    """Damage that nothing can be done about from here."""
    indexed: int = 0

    def as_json(self) -> JsonObject:
        """Return the report as a JSON object."""
        return {
            "moved": [moved.as_json() for moved in self.moved],
            "altered": [finding.as_json() for finding in self.altered],
            "left": [finding.as_json() for finding in self.left],
            "indexed": self.indexed,
        }


def _text(name: str) -> str:
    """Return a name that can be written as JSON: what is not UTF-8 in it is escaped."""
    return name.encode(errors="backslashreplace").decode()
