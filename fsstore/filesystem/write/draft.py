"""What shall become of each document of a group of commits: what is there is read, and the rules are applied to it.

Owns the step before anything is written. Knows nothing of the log, of temp files or of the index; used by the writer
thread alone, under the lock. Invariants:
- A commit that is refused leaves no draft, and what earlier commits of the group have drafted stays.
- What this process has placed or read lately is not read again if it is sure that nobody has touched it (`trust`), and
  not parsed again if its bytes are the same.
- No draft holds anything of a caller's: a save was written down when it was taken in (`sealed`), and of what other
  rules return the bytes are kept, and a copy of what the index looks at.

A crash leaves nothing: nothing is on disk.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache, partial

from fsstore.filesystem.disk.files import Signature
from fsstore.filesystem.documents.cache import CachedDocument
from fsstore.filesystem.documents.codec import decode_examined
from fsstore.filesystem.documents.documents import Document, Documents
from fsstore.filesystem.documents.sealed import Sealed, SealedSave, is_of_part, part_of
from fsstore.filesystem.documents.splice import spliced
from fsstore.filesystem.log.records import NO_DOCUMENT
from fsstore.model.mutations import Check, Delete, Mutation, Patch, apply_each
from fsstore.model.records import Clock, JsonObject, Outcome, Outcomes, version_of
from fsstore.model.times import format_time
from fsstore.model.values import snapshot


@dataclass(slots=True)
class Draft:
    """What shall become of one document; `data` None means that it goes, or stays as it is found."""

    id: str
    name: str
    previous: Document | CachedDocument | None
    part: JsonObject | None
    """Its record as it shall be, or the `part_of` it; None when it goes, or is not there."""
    is_whole: bool = False
    data: bytes | None = None
    staged: str = ""
    """The temp file that is there for it: its new bytes, and once these are in place, what was there before."""
    written: Signature | None = None
    placed: Signature | None = None
    """The signature that its file had when it was in place; None when that could not be told."""
    error: OSError | None = None

    @property
    def is_change(self) -> bool:
        """Whether anything is to be done on disk."""
        return self.data is not None or self.previous is not None

    @property
    def logged(self) -> tuple[str, bytes, bytes | None]:
        """Return what the log is to know: the id, the hash of what was there, and the new bytes."""
        return self.id, NO_DOCUMENT if self.previous is None else self.previous.digest, self.data

    @property
    def is_ours(self) -> bool:
        """Whether the file that was found in its place is the one that was written, and not that of somebody faster."""
        placed, written = self.placed, self.written
        return placed is not None and written is not None and placed[:3] == written[:3]

    @property
    def written_here(self) -> bytes | None:
        """Its bytes as they shall be, or are, where it was this process that wrote them."""
        previous = self.previous
        if self.data is not None or self.part is None or type(previous) is not CachedDocument:
            return self.data
        # what was read may be in the form of another program
        return None if previous.part is None else previous.data

    def record(self) -> JsonObject | None:
        """Return the whole record."""
        if self.part is None or self.is_whole:
            return self.part
        data = self.written_here
        return None if data is None else decode_examined(data)


@dataclass(slots=True)
class Group:
    """The drafts of a group of commits, by id, and what each commit is to be told."""

    drafts: dict[str, Draft] = field(default_factory=dict)
    results: list[Outcomes | BaseException] = field(default_factory=list)
    has_batch: bool = False
    steps: list[Draft] = field(default_factory=list)
    """What each commit made of each of its documents, in order."""


class Drafting:
    """Drafts groups of commits for one open store."""

    def __init__(self, documents: Documents, clock: Clock) -> None:
        self._documents = documents
        self._clock = clock

    def draft(self, commits: Sequence[Sequence[Sealed]]) -> Group:
        """Return what becomes of documents and commits. Raises OSError where the system refuses to read."""
        group, now = Group(), cache(lambda: format_time(self._clock()))
        for commit in commits:
            drafts: dict[str, Draft] = {}
            try:
                outcomes = apply_each(commit, partial(self._apply, own=drafts, earlier=group.drafts, now=now))
            except BaseException as error:  # noqa: BLE001 - a rule is the caller's code, and any error of it their answer
                group.results.append(error)
                continue
            group.drafts |= drafts
            group.results.append(outcomes)
            group.steps += drafts.values()
            group.has_batch |= len(drafts) > 1
        return group

    def _apply(
        self, change: Sealed, own: dict[str, Draft], earlier: dict[str, Draft], now: Callable[[], str]
    ) -> Outcome:
        record_id = change.id
        draft = own.get(record_id) or earlier.get(record_id) or self._found(record_id)
        before = version_of(draft.part)
        part, data = (
            self._saved(change, draft) if isinstance(change, SealedSave) else self._changed(change, draft, now())
        )
        if part is not draft.part:
            own[record_id] = Draft(record_id, draft.name, draft.previous, part, data=data)
        return Outcome(record_id, before, version_of(part))

    def _saved(self, change: SealedSave, draft: Draft) -> tuple[JsonObject, bytes]:
        current = draft.part if is_of_part(change.change) else draft.record()
        if current is None:
            change.change.expected.check(change.id, None)
            return change.change.record, change.data
        return change.over(current, max_bytes=self._documents.max_bytes)

    def _changed(
        self, change: Patch | Delete | Check | Mutation, draft: Draft, now: str
    ) -> tuple[JsonObject | None, bytes | None]:
        base = draft.written_here if is_of_part(change) else None
        current = draft.record() if base is None else draft.part
        result = change.apply(current, now)
        if result is current:
            return draft.part, draft.data
        if result is not None and base is not None and draft.part is not None:
            data = spliced(base, draft.part, result)
            if data is not None and len(data) <= self._documents.max_bytes:
                return result, data
            result = change.apply(draft.record(), now)
        if result is None:
            return None, None
        # only what a function of the caller's gives may hold what is theirs, or is no JSON
        is_exact = not isinstance(change, Mutation)
        data = self._documents.encode(result, is_exact=is_exact)
        return part_of(result) if is_exact else snapshot(part_of(result)), data

    def _found(self, record_id: str) -> Draft:
        name = self._documents.name(record_id)
        found = self._documents.unchanged(name) or self._documents.read_in_turn(record_id)
        if found is None:
            return Draft(record_id, name, None, None)
        if isinstance(found, Document):
            return Draft(record_id, name, found, found.record, is_whole=True)
        if found.part is not None:
            return Draft(record_id, name, found, found.part)
        return Draft(record_id, name, found, decode_examined(found.data), is_whole=True)
