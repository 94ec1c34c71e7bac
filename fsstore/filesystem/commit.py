"""One group of commits, from what the callers want to what lies on disk: draft, stage, log, place, index.

Runs in the writer thread, under the store lock. Owns the order of the steps:

1. draft   read what is there, unless this process has placed it lately (`recent`), apply the rules, encode. A commit
           that is refused here leaves no trace.
2. stage   `indexing` becomes odd; each new document is written to a temp file, a batch in a temp directory of its own.
3. log     one record with all payloads, synced if the store is durable. THE COMMIT POINT.
4. place   for a batch, `applying` becomes odd; every file is renamed or removed.
5. index   what was placed reaches the index: beside the next commits where it is much (`proceed`), and whole when
           somebody asks the index, and before the lock is released (`finish`). Then `indexing` becomes even.

The callers are answered before 5: a reader of the index waits while `indexing` is odd. A crash before 3 leaves temp
files: nothing happened. A crash after 3 leaves the record: recovery finishes the steps. A store that is not durable
needs no record for single documents, since one rename is atomic against a dying process: then 4 is the commit point.
But while the log holds records, every commit is logged, or a replay would undo it.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from operator import attrgetter
from typing import NamedTuple

from fsstore.errors import Outcome as Fate
from fsstore.errors import StorageUnavailableError
from fsstore.filesystem.codec import digest
from fsstore.filesystem.documents import Document, Documents
from fsstore.filesystem.files import UNTOLD, Signature
from fsstore.filesystem.index import Entry, described
from fsstore.filesystem.indexing import Indexing
from fsstore.filesystem.log import NO_DOCUMENT, Log, LoggedChange, NotSyncedError, UnknownOutcomeError
from fsstore.filesystem.recent import Placed, Recent
from fsstore.filesystem.rows import NOT_OURS, recorded_by_commit
from fsstore.filesystem.sequence import Sequence as SequenceFile
from fsstore.filesystem.sequence import State, even, odd
from fsstore.filesystem.system import unavailable
from fsstore.models import Clock, JsonObject, Mutation, Outcome, Outcomes, format_time, successor, version_of

_NAME = attrgetter("name")


class UnfinishedError(Exception):
    """The commit point is passed, or may be, and a later step failed: recovery must finish the commits.

    `results` is what to tell the callers once it has; None when it is not known whether the commits happened.
    """

    def __init__(self, cause: OSError, results: list[Outcomes | BaseException] | None = None) -> None:
        super().__init__(str(cause))
        self.cause = cause
        self.results = results


def refusal(error: OSError, path: str) -> StorageUnavailableError:
    """Return what to tell the caller of a commit that the system has refused."""
    outcome: Fate = "unknown" if isinstance(error, NotSyncedError) else "not applied"
    return unavailable(error, path, outcome=outcome)


class PlacingError(OSError):
    """A step behind the commit point failed."""


@dataclass(slots=True)
class Draft:
    """What shall become of one document; `data` None means that it goes.

    `is_settled` says that nobody will change the record any more.
    """

    id: str
    name: str
    previous: Document | Placed | None
    record: JsonObject | None
    is_settled: bool = True
    data: bytes | None = None
    staged: str = ""
    signature: Signature | None = None
    entry: Entry | None = None
    error: OSError | None = None

    @property
    def is_change(self) -> bool:
        """Whether anything is to be done on disk."""
        return self.data is not None or self.previous is not None

    @property
    def logged(self) -> tuple[str, bytes, bytes | None]:
        """Return what the log is to know: the id, the hash of what was there, and the new bytes."""
        return self.id, NO_DOCUMENT if self.previous is None else self.previous.digest, self.data


@dataclass(slots=True)
class Group:
    """The drafts of a group of commits, by id, and what each commit is to be told."""

    drafts: dict[str, Draft] = field(default_factory=dict)
    results: list[Outcomes | BaseException] = field(default_factory=list)
    has_batch: bool = False
    steps: list[Draft] = field(default_factory=list)
    """What each commit made of each of its documents, in order; only where notes are kept."""


class Note(NamedTuple):
    """What one commit has made of one document; `record` None means that it went.

    `signature` is None where a later commit of the same group has replaced the file, or it could not be told.
    """

    name: str
    id: str
    record: JsonObject | None
    signature: Signature | None
    digest: bytes


def _entry(draft: Draft, found: Signature | None) -> Entry | None:
    """Return what the index is to know of a document."""
    if draft.record is None or draft.data is None:
        return None
    signature, recorded_ns = draft.signature, recorded_by_commit(time.time_ns())
    if found is None or signature is None or found[:3] != signature[:3]:
        # somebody was faster: a row recorded at the beginning of time is compared by content next time
        recorded_ns = NOT_OURS
    return Entry(draft.name, draft.record, found or signature or UNTOLD, digest(draft.data), recorded_ns)


class Committer:
    """Carries groups of commits out; used by the writer thread alone, under the lock."""

    def __init__(
        self,
        documents: Documents,
        log: Log,
        sequence: SequenceFile,
        indexing: Indexing,
        *,
        durable: bool,
        clock: Clock,
    ) -> None:
        self._documents = documents
        self._log = log
        self._sequence = sequence
        self._indexing = indexing
        self._recent = Recent()
        self._durable = durable
        self._clock = clock
        self.is_under_way = False
        # False when temp files would not go: the counter then stays odd, since recovery is due
        self.is_clean = True
        self.segment_bytes = 0
        # for those who watch: None when nobody does
        self.notes: list[Note] | None = None

    def run(self, commits: Sequence[Sequence[Mutation]], state: State) -> list[Outcomes | BaseException]:
        """Carry out commits, each all or nothing, and return what became of each; the index waits for `finish`.

        Raises UnfinishedError when recovery has to finish them, OSError when the system refused: see `refusal`.
        """
        try:
            group = self._draft(commits)
            changes = {key: draft for key, draft in group.drafts.items() if draft.is_change}
            if changes:
                self._carry_out(list(changes.values()), state, has_batch=group.has_batch)
        except PlacingError as error:
            raise UnfinishedError(error, self._all_told(group, commits, changes)) from error
        finally:
            # somebody may remove these directories and make them anew
            self._documents.tree.parents.forget()
        return self._all_told(group, commits, changes)

    def proceed(self) -> None:
        """Let the index hear of what was placed while the writer goes on, if that is much."""
        self._indexing.proceed()

    def finish(self) -> None:
        """Let the index know what was placed since it last did; the last thing to do before the lock is released."""
        if not self.is_under_way:
            return
        is_clean, self.is_under_way, self.is_clean = self.is_clean, False, True
        self._indexing.settle()
        if is_clean:
            self._sequence.write(indexing=even(self._sequence.read().indexing))

    def abandon(self) -> None:
        """Leave what is under way to recovery, which makes the index stale."""
        self._indexing.drop()
        self.is_under_way, self.is_clean = False, True

    def start(self) -> None:
        """Begin what works beside the writer."""
        self._indexing.start()

    def stop(self) -> None:
        """End it."""
        self._indexing.stop()

    # -- draft --------------------------------------------------------------------------------------------------------

    def _draft(self, commits: Sequence[Sequence[Mutation]]) -> Group:
        group, now = Group(), format_time(self._clock())
        for commit in commits:
            drafts: dict[str, Draft] = {}
            try:
                outcomes = [self._apply(change, drafts, group.drafts, now) for change in commit]
            except StopIteration as error:
                # a future takes none; the interpreter itself treats one that leaves a coroutine so (PEP 479)
                group.results.append(RuntimeError(f"a rule raised {error!r}"))
                continue
            except BaseException as error:  # noqa: BLE001 - a rule is the caller's code, and any error of it their answer
                group.results.append(error)
                continue
            group.drafts |= drafts
            group.results.append(outcomes)
            if self.notes is not None:
                group.steps += drafts.values()
            group.has_batch |= len(drafts) > 1
        return group

    def _apply(self, change: Mutation, own: dict[str, Draft], earlier: dict[str, Draft], now: str) -> Outcome:
        draft = own.get(change.id) or earlier.get(change.id) or self._found(change)
        # a caller's own rule may keep what it gets, and what it returns may be theirs, in whole or in part
        draft.is_settled &= change.is_exact
        result = successor(change, draft.record, now)
        if result is not draft.record:
            data = None if result is None else self._documents.encode(result, is_exact=change.is_exact)
            own[change.id] = Draft(change.id, draft.name, draft.previous, result, draft.is_settled, data)
        return Outcome(change.id, version_of(draft.record), version_of(result))

    def _found(self, change: Mutation) -> Draft:
        name = self._documents.name(change.id)
        previous: Document | Placed | None = self._recent.get(name) if change.is_exact else None
        if previous is None or self._documents.signature(name) != previous.signature:
            previous = self._documents.read_in_turn(change.id)
        return Draft(change.id, name, previous, None if previous is None else previous.record)

    # -- on disk ------------------------------------------------------------------------------------------------------

    def _carry_out(self, drafts: list[Draft], state: State, *, has_batch: bool) -> None:
        if not self.is_under_way:
            self._sequence.write(indexing=odd(state.indexing))
            self.is_under_way = True
        directory = ""
        try:
            directory = self._documents.stage_directory() if has_batch else ""
            self._stage(drafts, directory)
            logged = self._durable or has_batch or not state.log_is_empty
            if logged:
                self._append(drafts, state)
        except OSError:
            self.is_clean &= self._unstage(drafts, directory)
            raise
        try:
            if has_batch:
                self._sequence.write(applying=odd(state.applying))
            is_clean = self._place(drafts, logged=logged)
            self.is_clean &= self._unstage((), directory) and is_clean
            if has_batch:
                self._sequence.write(applying=even(odd(state.applying)))
        except OSError as error:
            raise PlacingError(error.errno, error.strerror, error.filename) from error

    def _stage(self, drafts: list[Draft], directory: str) -> None:
        for at, draft in enumerate(drafts):
            if draft.data is not None:
                draft.staged = f"{directory}/{at}" if directory else self._documents.stage_name()
                draft.signature = self._documents.tree.write_new(draft.staged, draft.data)

    def _unstage(self, drafts: Iterable[Draft], directory: str) -> bool:
        """Take temp files away; False when some will not go, and are left to recovery."""
        try:
            for draft in drafts:
                if draft.staged:
                    self._documents.remove(draft.staged)
                    draft.staged = ""
            if directory and self._documents.tree.is_directory(directory):
                self._documents.tree.remove_directory(directory)
        except OSError:
            return False
        return True

    def _append(self, drafts: list[Draft], state: State) -> None:
        changes = [LoggedChange(*draft.logged, self._durable) for draft in drafts]
        try:
            self.segment_bytes = self._log.append(changes, state, durable=self._durable)
        except UnknownOutcomeError as error:
            raise UnfinishedError(error) from error

    def _place(self, drafts: list[Draft], *, logged: bool) -> bool:
        """Put the documents in place; False when a temp file is left to recovery."""
        is_clean = True
        # by name, so that documents of one directory follow each other
        for draft in sorted(drafts, key=_NAME):
            try:
                draft.entry = self._put(draft)
                self._note_placed(draft)
            except OSError as error:
                if logged:
                    raise
                draft.error = error
            if draft.staged:
                is_clean &= self._unstage([draft], "")
        return is_clean

    def _note_placed(self, draft: Draft) -> None:
        entry = draft.entry
        self._indexing.place(draft.name, None if entry is None else described(entry))
        self._recent.forget(draft.name)
        if entry is not None and entry.recorded_ns != NOT_OURS:
            self._documents.note_plain(draft.name, entry.signature)
            if draft.is_settled:
                self._recent.keep(draft.name, Placed(entry.record, entry.digest, entry.signature))

    def _put(self, draft: Draft) -> Entry | None:
        """Put a document in place or take it away; its staged name then is what was there, or nothing."""
        if not draft.staged:
            self._documents.remove(draft.name)
            return None
        found = None
        if draft.previous is not None:
            found = self._documents.exchange(draft.staged, draft.name)
        if found is None:
            found = self._documents.place(draft.staged, draft.name)
            draft.staged = ""
        return _entry(draft, found)

    def _all_told(
        self, group: Group, commits: Sequence[Sequence[Mutation]], changes: dict[str, Draft]
    ) -> list[Outcomes | BaseException]:
        if self.notes is not None:
            self.notes += [self._note(step, changes) for step in group.steps if _is_placed(step, changes)]
        return [self._told(result, commit, changes) for result, commit in zip(group.results, commits, strict=True)]

    def _note(self, step: Draft, changes: dict[str, Draft]) -> Note:
        entry = step.entry if changes.get(step.id) is step else None
        if entry is not None:
            signature = None if entry.recorded_ns == NOT_OURS else entry.signature
            return Note(step.name, step.id, step.record, signature, entry.digest)
        return Note(step.name, step.id, step.record, None, digest(step.data or b""))

    def _told(
        self, result: Outcomes | BaseException, commit: Sequence[Mutation], changes: dict[str, Draft]
    ) -> Outcomes | BaseException:
        for change in commit:
            draft = changes.get(change.id)
            if draft is not None and draft.error is not None and not isinstance(result, BaseException):
                return unavailable(draft.error, self._documents.tree.path(draft.name), outcome="not applied")
        return result


def _is_placed(step: Draft, changes: dict[str, Draft]) -> bool:
    """Whether a step has become true: whatever one commit of a group can still fail by, its last one tells."""
    return changes.get(step.id, step).error is None
