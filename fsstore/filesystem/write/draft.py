"""What will become of each document of a group of commits: what is there is read, and the rules are applied to it.

Owns the step before anything is written. Knows nothing of the log, of temp files or of the index; used by the writer
thread alone, under the lock. Invariants:
- A commit that is refused leaves no draft, and what earlier commits of the group have drafted stays.
- Over what is damaged, or too large to be read, only a mutation goes that would do the same over anything
  (`overrides`); every other one is refused, and nothing else of the group. It is set aside before it is replaced, and
  what takes its place begins above its version, as far as that is known.
- What this process has placed or read lately is not read again if it is sure that nobody has touched it (`trust`), and
  not parsed again if its bytes are the same.
- No draft holds anything of a caller's: a save was written down when it was taken in (`sealed`), and of what other
  rules return the bytes are kept, and a copy of what the index looks at.

A crash leaves nothing: nothing is on disk.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial

from fsstore.errors import StorageCorruptedError, StorageTooLargeError
from fsstore.filesystem.disk.signatures import Signature
from fsstore.filesystem.documents.cache import CachedDocument
from fsstore.filesystem.documents.codec import InConflictError, decode_examined, in_form
from fsstore.filesystem.documents.documents import Damage, Document, Documents
from fsstore.filesystem.documents.lists import NO_PLACES, Listed, Places, find_list, key_of
from fsstore.filesystem.documents.sealed import Sealed, SealedSave, is_of_part, part_of
from fsstore.filesystem.documents.splice import spliced
from fsstore.filesystem.documents.text import Edit, Text
from fsstore.filesystem.log.records import NO_DOCUMENT
from fsstore.filesystem.write.resized import Made, resized
from fsstore.model.expected import Expected
from fsstore.model.mutations import Append, Check, Delete, Mutation, Patch, Pop, Restore, apply_each, overrides
from fsstore.model.records import Clock, JsonObject, Outcome, Outcomes, version_of
from fsstore.model.successor import floor_above
from fsstore.model.times import Moment
from fsstore.model.values import snapshot

_TRIES = 10


@dataclass(slots=True)
class Draft:
    """What will become of one document; `text` None means that it goes, or stays as it is found."""

    id: str
    name: str
    previous: Document | CachedDocument | Damage | None
    part: JsonObject | None
    """Its record as it will be, or the `part_of` it; None when it goes, or is not there."""
    is_whole: bool = False
    text: Text | None = None
    staged: str = ""
    """The temp file that is there for it: its new bytes, and once these are in place, what was there before."""
    written: Signature | None = None
    placed: Signature | None = None
    """The signature that its file had when it was in place; None when that is not known."""
    error: OSError | None = None
    places: Places = NO_PLACES
    """Where parts of its bytes stand, where that is known."""
    kept: Text | None = None
    """Its bytes as they are written and kept: in few pieces."""
    damage: Damage | None = None
    """What cannot be read and is still there: nothing has taken its place yet."""
    sets_aside: bool = False
    """What was found goes to quarantine before it is replaced or removed."""

    @property
    def logged(self) -> tuple[str, bytes, Text | None]:
        """Return what the log is to know: the id, the hash of what was there, and the new bytes."""
        return self.id, NO_DOCUMENT if self.previous is None else self.previous.digest or NO_DOCUMENT, self.text

    @property
    def edits(self) -> list[Edit] | None:
        """What makes its bytes of those that were there; None where that is not known."""
        if self.text is None or type(self.previous) is not CachedDocument:
            return None
        return self.text.edits_of(self.previous.text)

    @property
    def is_ours(self) -> bool:
        """Whether the file that was found in its place is the one that was written, and not that of somebody faster."""
        placed, written = self.placed, self.written
        return placed is not None and written is not None and placed[:3] == written[:3]

    @property
    def written_here(self) -> Text | None:
        """Its bytes as they will be, or are, where it was this process that wrote them."""
        previous = self.previous
        if self.text is not None or self.part is None or type(previous) is not CachedDocument:
            return self.text
        # what was read may be in the form of another program
        return None if previous.part is None else previous.text

    @property
    def made(self) -> Made:
        """What became of the document so far."""
        return Made(self.part, self.text, self.places)

    def record(self) -> JsonObject | None:
        """Return the whole record."""
        if self.part is None or self.is_whole:
            return self.part
        text = self.written_here
        return None if text is None else decode_examined(bytes(text))


@dataclass(slots=True)
class Group:
    """The drafts of a group of commits, by id, and what is to be reported to each commit."""

    drafts: dict[str, Draft] = field(default_factory=dict)
    results: list[Outcomes | BaseException] = field(default_factory=list)
    floor: int = 0
    """The highest version that was ever deleted in this store, once the group is committed."""
    has_batch: bool = False
    steps: list[Draft] = field(default_factory=list)
    """What each commit made of each of its documents, in order."""


class Drafting:
    """Drafts groups of commits for one open store."""

    def __init__(self, documents: Documents, clock: Clock, version_lost: Callable[[str], int]) -> None:
        """`version_lost` gives the version that is known of a damaged document by its name, 0 where none is."""
        self._documents = documents
        self._clock = clock
        self._version_lost = version_lost
        # the names under which the group found nothing
        self._absent: list[str] = []

    def draft(self, commits: Sequence[Sequence[Sealed]], floor: int) -> Group:
        """Return what becomes of documents and commits. Raises OSError where the system refuses to read."""
        for _ in range(_TRIES):
            self._absent = []
            group = self._drafted(commits, floor)
            if not self._absent or self._documents.are_absent(self._absent):
                return group
            # what is there now was away
        raise OSError(errno.EBUSY, "the store goes away and comes back all the time", str(self._documents.tree.root))

    def _drafted(self, commits: Sequence[Sequence[Sealed]], floor: int) -> Group:
        group, now = Group(floor=floor), Moment(self._clock)
        for commit in commits:
            own = Group(floor=group.floor)
            try:
                outcomes = apply_each(commit, partial(self._apply, own=own, earlier=group.drafts, now=now))
            except BaseException as error:  # noqa: BLE001 - a rule is the caller's code, and any error of it their answer
                group.results.append(error)
                continue
            group.drafts |= own.drafts
            group.floor = own.floor
            group.results.append(outcomes)
            group.steps += own.drafts.values()
            group.has_batch |= len(own.drafts) > 1
        return group

    def _apply(self, change: Sealed, own: Group, earlier: dict[str, Draft], now: Callable[[], str]) -> Outcome:
        record_id = change.id
        draft = own.drafts.get(record_id) or earlier.get(record_id) or self._found(record_id)
        if draft.damage is not None:
            return self._over_damage(change, draft, draft.damage, own)
        before = version_of(draft.part)
        change = _as_seen(change, draft)
        part, text, places = self._made(change, draft, now, own.floor)
        made = draft
        if part is draft.part:
            self._remember(draft, places)
        else:
            if part is None:
                own.floor = floor_above(own.floor, before)
            made = own.drafts[record_id] = Draft(
                record_id,
                draft.name,
                draft.previous,
                part,
                text=text,
                places=places,
                sets_aside=draft.sets_aside,
            )
        length = self._length(change, made) if isinstance(change, Append) else None
        return Outcome(record_id, before, version_of(part), length)

    def _made(self, change: Sealed, draft: Draft, now: Callable[[], str], floor: int) -> Made:
        if isinstance(change, SealedSave):
            return Made(*self._saved(change, draft, floor))
        if isinstance(change, Append | Pop):
            base = draft.written_here
            if base is not None and draft.part is not None:
                there = Made(draft.part, base, draft.places)
                made = resized(change, there, now(), max_bytes=self._documents.max_bytes)
                if made is not None:
                    return made
        # a deletion makes nothing that has a time
        return self._changed(change, draft, "" if isinstance(change, Delete) else now(), floor)

    def _remember(self, draft: Draft, places: Places) -> None:
        """Keep in mind where something was found in a document that stays as it is."""
        if places is not draft.places:
            draft.places = places
            if draft.text is None and type(draft.previous) is CachedDocument:
                self._documents.cache.knowing(draft.name, draft.previous, places)

    def _length(self, change: Append, draft: Draft) -> int:
        key = key_of(change.steps)
        if key is not None and key in draft.places.lists:
            return draft.places.lists[key].length
        return change.length(draft.record() or {})

    def _over_damage(self, change: Sealed, draft: Draft, damage: Damage, own: Group) -> Outcome:
        """Let a change take the place of what cannot be read. Raises the error that reading it has raised."""
        # in a conflict that git has left both sides are whole, and whoever solves it chooses
        is_in_conflict = isinstance(damage.error.__cause__, InConflictError)
        if is_in_conflict or not overrides(change.change if isinstance(change, SealedSave) else change):
            raise damage.error
        part: JsonObject | None = None
        text: Text | None = None
        is_kept = True
        for version in damage.version, self._version_lost(draft.name):
            own.floor = floor_above(own.floor, version)
        if isinstance(change, SealedSave):
            # as where nothing is there
            part, text = self._saved(change, draft, own.floor)
        elif isinstance(change, Delete):
            # what is no file cannot be removed whole
            is_kept = change.keep_damaged or not damage.is_file
        own.drafts[draft.id] = Draft(draft.id, draft.name, damage, part, text=text, sets_aside=is_kept)
        # it has no version that could be believed, and it was there
        return Outcome(draft.id, 1, version_of(part))

    def _saved(self, change: SealedSave, draft: Draft, floor: int) -> tuple[JsonObject, Text]:
        current = draft.part if is_of_part(change.change) else draft.record()
        return change.over(current, floor, max_bytes=self._documents.max_bytes)

    def _changed(
        self, change: Patch | Append | Pop | Delete | Check | Restore | Mutation, draft: Draft, now: str, floor: int
    ) -> Made:
        base = draft.written_here if is_of_part(change) else None
        current = draft.record() if base is None else draft.part
        result = change.apply(current, now, floor)
        if result is current:
            return draft.made
        if result is not None and base is not None and draft.part is not None:
            made = self._spliced(base, draft, result)
            if made is not None:
                return made
            result = change.apply(draft.record(), now)
        if result is None:
            return Made(None, None)
        # only what a function of the caller's gives, or another store, may hold what is theirs, or is no JSON
        is_exact = not isinstance(change, Mutation | Restore)
        text = Text.of(self._documents.encode(result, is_exact=is_exact))
        places = _places_of(change, result, text) if isinstance(change, Append) else NO_PLACES
        return Made(part_of(result) if is_exact else snapshot(part_of(result)), text, places)

    def _spliced(self, base: Text, draft: Draft, part: JsonObject) -> Made | None:
        edits = None
        if draft.part is not None:
            edits = spliced(base, draft.part, part, metadata_at=draft.places.metadata_at)
        if edits is None:
            return None
        text = base.edited(edits)
        return Made(part, text, draft.places.after(edits)) if len(text) <= self._documents.max_bytes else None

    def _found(self, record_id: str) -> Draft:
        name = self._documents.name(record_id)
        waits = self._documents.waiting.get(name)
        if waits is not None:
            raise self._documents.waits(name, waits, outcome="not applied")
        try:
            found = self._documents.unchanged(name) or self._documents.read_in_turn(record_id)
        except (StorageCorruptedError, StorageTooLargeError) as error:
            damage = self._documents.damage(name, error)
            return Draft(record_id, name, damage, None, damage=damage)
        if found is None:
            self._absent.append(name)
            return Draft(record_id, name, None, None)
        if isinstance(found, Document):
            return Draft(record_id, name, found, found.record, is_whole=True)
        if found.part is not None:
            return Draft(record_id, name, found, found.part, places=found.places)
        return Draft(record_id, name, found, decode_examined(found.data), is_whole=True)


def _as_seen(change: Sealed, draft: Draft) -> Sealed:
    """Return a change that expects no whole record any more where the bytes of that are those that are there.

    Then neither need be parsed. Other bytes may be the same record all the same.
    """
    if isinstance(change, SealedSave):
        inner = change.change
        if inner.expected.seen is ...:
            return change
        return change._replace(change=inner._replace(expected=_unless_seen(inner.expected, draft)))
    if isinstance(change, Mutation) or change.expected.seen is ...:
        return change
    return change._replace(expected=_unless_seen(change.expected, draft))


def _unless_seen(expected: Expected, draft: Draft) -> Expected:
    previous = draft.previous
    there = draft.text or (previous.data if isinstance(previous, CachedDocument | Document) else None)
    if type(expected.seen) is not dict or draft.part is None or there is None:
        return expected
    with suppress(TypeError):
        if in_form(expected.seen) == bytes(there):
            return expected._replace(seen=...)
    return expected


def _places_of(change: Append, record: JsonObject, text: Text) -> Places:
    """Return where the list stands that a change has made longer: it will soon do so again."""
    key = key_of(change.steps)
    found = None if key is None else find_list(text, key)
    if key is None or found is None:
        return NO_PLACES
    return NO_PLACES.knowing(key, Listed(found.begin, found.end, change.length(record)))
