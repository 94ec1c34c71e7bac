"""One group of commits, from what the callers want to what lies on disk: draft, stage, log, place, index.

Runs in the writer thread, under the store lock. Owns the order of the steps:

1. draft   read what is there, unless what is kept of it is sure (`trust`), apply the rules, encode. A commit that is
           refused here leaves no trace.
2. stage   shards that are missing are made; `indexing` becomes odd; each new document is written to a temp file, a
           batch in a temp directory of its own.
           Damaged bytes that give way are in quarantine before anything else; where that fails, nothing has happened.
3. log     one record with all payloads, synced if the store is durable. THE COMMIT POINT.
4. place   for a batch, its names are noted (`batches`) and `applying` becomes odd; every file is renamed or removed.
5. tidy    what was replaced is unlinked, and what the index is to know is made ready.
6. index   what was placed reaches the index: where it is much, and when another process asks (`pass_on`), and before
           the lock is released (`end`). Then `indexing` becomes even.

The callers are answered before 5: a reader of the index waits while `indexing` is odd. A crash before 3 leaves temp
files: nothing happened. A crash after 3 leaves the record: recovery finishes the steps. A store that is not durable
needs no record for single documents, since one rename is atomic against a dying process: then 4 is the commit point.
But while the log holds records, every commit is logged, or a replay would undo it.
"""

from __future__ import annotations

import errno
import logging
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from operator import attrgetter
from typing import NamedTuple

from fsstore.filesystem.disk.signatures import Signature
from fsstore.filesystem.disk.system import unavailable
from fsstore.filesystem.documents.documents import Damage, Documents
from fsstore.filesystem.documents.layout import CONTROL, shard_of
from fsstore.filesystem.documents.quarantine import Quarantine
from fsstore.filesystem.documents.sealed import Sealed
from fsstore.filesystem.documents.text import digest_of
from fsstore.filesystem.log.batches import Batches
from fsstore.filesystem.log.counters import Counters, State, even, odd
from fsstore.filesystem.log.log import Log, UnknownOutcomeError
from fsstore.filesystem.log.records import LoggedChange
from fsstore.filesystem.log.recovery import Recovery
from fsstore.filesystem.write.draft import Draft, Drafting, Group
from fsstore.filesystem.write.index_updates import IndexUpdates, row_of
from fsstore.model.records import Clock, JsonObject, Outcomes

_logger = logging.getLogger("fsstore")
_NAME = attrgetter("name")
# what is done for several at a time costs less for each, and whoever asks meanwhile waits for it
_MOST_UNTIDY = 16


class UnfinishedError(Exception):
    """The commit point is passed, or may be, and a later step failed: recovery must finish the commits.

    `results` is what became of each commit where `has_happened`. Where it is not known whether they happened, only the
    exceptions among them hold: commits that were refused before.
    """

    def __init__(
        self,
        cause: OSError,
        results: list[Outcomes | BaseException],
        *,
        has_happened: bool,
        lost: list[LoggedChange] | None = None,
    ) -> None:
        super().__init__(str(cause))
        self.cause = cause
        self.results = results
        self.has_happened = has_happened
        # what the log knew and knows no more, since somebody has removed it
        self.lost = lost or []


class PlacingError(OSError):
    """A step behind the commit point failed."""

    def __init__(self, cause: OSError, logged: list[LoggedChange]) -> None:
        super().__init__(cause.errno, cause.strerror, cause.filename)
        self.logged = logged


class Note(NamedTuple):
    """What one commit has made of one document; `part` None means that it went.

    `part` is its record or the `part_of` it, and `whole` gives all of it, which may have to be parsed. `signature` is
    None where a later commit of the same group has replaced the file, or it is not known.
    """

    name: str
    id: str
    part: JsonObject | None
    whole: Callable[[], JsonObject | None]
    signature: Signature | None
    digest: bytes


class Committer:
    """Carries groups of commits out; used by the writer thread alone, under the lock."""

    def __init__(
        self,
        documents: Documents,
        log: Log,
        counters: Counters,
        index_updates: IndexUpdates,
        recovery: Recovery,
        *,
        batches: Batches,
        durable: bool,
        clock: Clock,
    ) -> None:
        self._documents = documents
        self._batches = batches
        self._log = log
        self._counters = counters
        self._index_updates = index_updates
        self._recovery = recovery
        self._drafting = Drafting(documents, clock, self._version_lost)
        self._quarantine = Quarantine(documents.tree)
        self._durable = durable
        # what was put in place, and the directory that it was staged in, until they are tidied up
        self._placed: list[tuple[list[Draft], str]] = []
        self._untidy = 0
        self._knows_clock = False
        # where the counters were counted when the log was last used
        self._file = counters.file
        # whether the counters have been held against the log since the lock was taken
        self._is_checked = False
        # what `indexing` was set to while a commit is under way, else 0
        self._indexing = 0
        # False when temp files would not go: the counter then stays odd, since recovery is due
        self._is_clean = True
        self._index_requests = 0
        # the counters as they were last looked at
        self.state = State()
        self.segment_bytes = 0
        # for those who watch: None when nobody does
        self.notes: list[Note] | None = None

    def settle(self, *, renewed: bool = False) -> None:
        """Look at the counters, and recover if the last writer died, or the counters themselves are gone."""
        if not self._counters.are_named():
            # somebody has removed them since the lock was taken
            self._counters.open()
        # opened anew here, or before the lock was taken
        renewed |= self._file != self._counters.file
        self._file = self._counters.file
        state = self._counters.read()
        renewed |= self._is_ahead_of(state)
        is_left = state.unfinished and not self._indexing
        if renewed:
            self._recovery.distrust_all()
        if is_left or self._recovery.is_due(state) or not self._is_clean:
            self.abandon()
            self._recovery.run()
            state = self._counters.read()
        if not self._indexing:
            # nothing waits for the index yet, so nobody can have asked for it
            self._index_requests = state.index_requests
        if not self._recovery.waiting.is_known_by(state):
            self._recovery.waiting.look()
        self.state = state

    def _is_ahead_of(self, state: State) -> bool:
        """Whether the log has newer segments than the counters tell: somebody has put older ones in their place."""
        if self._is_checked:
            return self._log.position[0] > state.newest
        self._is_checked = True
        return max(self._log.numbers_left(), default=0) > state.newest

    def run(self, commits: Sequence[Sequence[Sealed]]) -> list[Outcomes | BaseException]:
        """Carry out commits, each all or nothing, and return what became of each; the callers may be answered.

        `pass_on` is due then. Raises UnfinishedError when recovery has to finish them, OSError when the system refused:
        see `failures`.
        """
        self.settle()
        if self._documents.waiting:
            self._place_waiting(commits)
        try:
            group = self._drafting.draft(commits, self.state.floor)
            # also of a document that one group makes and deletes the record is kept: it tells the floor
            changes = group.drafts
            if changes:
                self._carry_out(list(changes.values()), has_batch=group.has_batch, floor=group.floor)
        except PlacingError as error:
            results = self._all_results(group, commits, changes)
            raise UnfinishedError(error, results, has_happened=True, lost=error.logged) from error
        except UnknownOutcomeError as error:
            raise UnfinishedError(error, group.results, has_happened=False) from error
        finally:
            # somebody may remove these directories and make them anew
            self._documents.tree.forget_parents()
        return self._all_results(group, commits, changes)

    def _place_waiting(self, commits: Sequence[Sequence[Sealed]]) -> None:
        """Try again to put in place what a commit is to change: what was in the way may be gone."""
        names = {self._documents.name(change.id) for commit in commits for change in commit}
        if not names.isdisjoint(self._documents.waiting):
            self.finish()
            self._recovery.run()
            self.state = self._counters.read()

    def _version_lost(self, name: str) -> int:
        """Return the version that a damaged document had, as far as the index knows."""
        self._tidy()
        return self._index_updates.version_of(name)

    def pass_on(self) -> None:
        """Let the index know of what was placed: all of it if another process asks for it, else if it is much."""
        try:
            self._log.remember()
            if self.state.index_requests != self._index_requests:
                self._index_requests = self.state.index_requests
                self.finish()
                return
            if self._untidy >= _MOST_UNTIDY:
                self._tidy()
            self._index_updates.write_many()
        except Exception as error:  # noqa: BLE001 - whatever it is, the commits are answered and the thread lives on
            self._leave(error)

    def end(self) -> None:
        """Do what is left to do before the lock is released, or leave it to recovery."""
        self._is_checked = False
        try:
            self.finish()
        except Exception as error:  # noqa: BLE001 - whatever it is, the lock is released and the thread lives on
            self._leave(error)

    def _leave(self, error: Exception) -> None:
        # the counters stay odd, and whoever is next sees it
        _logger.warning("the index of %s could not be updated after a commit: %s", self._documents.tree.root, error)
        self.abandon()

    def finish(self) -> None:
        """Let the index know what was placed since it last did; then no commit is under way."""
        if not self._indexing:
            return
        self._tidy()
        is_clean, indexing = self._is_clean, self._indexing
        self._is_clean, self._indexing = True, 0
        self._log.trim()
        self._index_updates.write()
        if is_clean:
            self._counters.write(indexing=even(indexing))

    def rest(self) -> None:
        """Do what is done when nothing is asked for a while, and before the end; without the lock."""
        self._index_updates.rest()

    def _tidy(self) -> None:
        """Take away what was replaced, and make ready what the index is to know of what was placed."""
        placed, self._placed, self._untidy = self._placed, [], 0
        try:
            for drafts, directory in placed:
                for draft in drafts:
                    if draft.error is None:
                        row = row_of(draft, self._documents.trust)
                        self._index_updates.place(draft.name, row)
                self._is_clean &= self._unstage(drafts, directory)
        except Exception:
            # the documents are in place: recovery makes the index stale
            _logger.exception("what was committed could not be made ready for the index")
            self._is_clean = False

    def abandon(self) -> None:
        """Leave what is under way to recovery, which makes the index stale."""
        self._index_updates.drop()
        # what it knows of its segment may not be so any more
        self._log.close()
        self._placed, self._untidy = [], 0
        self._indexing, self._is_clean, self._is_checked = 0, True, False

    # -- on disk ------------------------------------------------------------------------------------------------------

    def _carry_out(self, drafts: list[Draft], *, has_batch: bool, floor: int) -> None:
        state = self.state
        self._refuse_impossible(drafts)
        self._begin(floor)
        directory, changes = "", list[LoggedChange]()
        try:
            directory = self._documents.stage_directory() if has_batch else ""
            self._stage(drafts, directory)
            logged = self._durable or has_batch or not state.log_is_empty
            if logged:
                time_ns = self._time_ns(drafts)
                changes = [LoggedChange(*draft.logged, self._durable, time_ns, floor, draft.edits) for draft in drafts]
                self.segment_bytes = self._log.append(changes, state, durable=self._durable)
                position = self._log.position
        except OSError:
            self._is_clean &= self._unstage(drafts, directory)
            raise
        self._placed.append((drafts, directory))
        self._untidy += len(drafts)
        try:
            if has_batch:
                self._batches.note(odd(state.applying), map(_NAME, drafts))
                self._counters.write(applying=odd(state.applying))
            self._place(drafts, logged=logged)
            if has_batch:
                self._counters.write(applying=even(odd(state.applying)))
            self._check_names(logged=logged)
            if logged:
                # whoever recovers leaves it alone from now on: what differs then is somebody's edit
                self._counters.write_placed(*position)
            if logged and not self._durable and self._log.withdraw():
                # all is in place, and what comes next need not be logged
                self.segment_bytes = 0
        except OSError as error:
            raise PlacingError(error, changes if self._is_lost(error) else []) from error

    def _time_ns(self, drafts: list[Draft]) -> int:
        """Return a time of the commit by the clock of files, which no later change of a file falls short of."""
        staged = [draft.written.ctime_ns for draft in drafts if draft.written is not None]
        # the lock was taken, and so the counters written, before a deletion looked at what is there
        return max(staged) if staged else self._counters.changed_ns()

    def _begin(self, floor: int) -> None:
        """Say that a commit is under way."""
        if floor != self.state.floor:
            # before the deletion: whoever sees it makes nothing below
            self._counters.write(floor=floor)
            if not self._durable:
                self._counters.note_floor(floor)
        if not self._indexing:
            self._counters.write(indexing=odd(self.state.indexing))
            self._indexing = odd(self.state.indexing)
        if not self._knows_clock:
            self._learn_clock()

    def _check_names(self, *, logged: bool) -> None:
        """Raise FileNotFoundError if somebody has removed the log, which may know of this alone, or the counters."""
        # a segment that was not written to now may still be open, and is gone since a checkpoint of another process
        if not (self._counters.are_named() and (not logged or self._log.is_named())):
            raise FileNotFoundError(
                errno.ENOENT, "its control directory was removed", self._documents.tree.path(CONTROL)
            )

    def _is_lost(self, error: OSError) -> bool:
        """Whether the record of a commit may be gone."""
        try:
            return isinstance(error, FileNotFoundError) or not self._log.is_named()
        except OSError:
            return True

    def log_again(self, changes: list[LoggedChange]) -> None:
        """Write the record of a commit once more, whose log was removed, so that recovery can finish it."""
        self._log.append(changes, self._counters.read(), durable=self._durable)

    def _refuse_impossible(self, drafts: list[Draft]) -> None:
        """Raise OSError, while nothing has happened yet, where the system says beforehand that placing would fail.

        A shard that is missing is made: a full disk has no room for it later either.
        """
        shards: set[str] = set()
        for draft in drafts:
            shard = shard_of(draft.name)
            is_shard_there = self._documents.tree.refuse_placing(
                draft.name, is_there=draft.previous is not None, knows_directory=shard in shards
            )
            if not is_shard_there:
                if draft.text is None:
                    # made and deleted in the same group
                    continue
                # where git removes what is empty at this moment, it is made when it is needed
                with suppress(FileNotFoundError):
                    self._documents.make_shard(draft.name)
            shards.add(shard)

    def _learn_clock(self) -> None:
        name, documents, self._knows_clock = self._documents.stage_name(), self._documents, True
        with suppress(OSError):
            documents.trust.learn_clock(documents.tree, name)
        try:
            documents.tree.unlink(name)
        except OSError:
            self._is_clean = False

    def _stage(self, drafts: list[Draft], directory: str) -> None:
        documents = self._documents
        for draft in drafts:
            if draft.sets_aside:
                self._set_aside(draft)
        for at, draft in enumerate(drafts):
            if draft.text is not None:
                draft.staged = f"{directory}/{at}" if directory else documents.stage_name()
                draft.kept = draft.text.compacted()
                draft.written = documents.tree.write_new(draft.staged, *draft.kept.views())

    def _set_aside(self, draft: Draft) -> None:
        """Bring what is damaged to quarantine. What is no file is moved there when it gives way, by a rename."""
        if isinstance(draft.previous, Damage) and draft.previous.is_file:
            aside = self._quarantine.copy(draft.name)
            _logger.warning("%s could not be read, and gives way; what lay there is in %s", draft.name, aside)
        else:
            self._quarantine.make()

    def _unstage(self, drafts: Iterable[Draft], directory: str) -> bool:
        """Take temp files away; False when some will not go, and are left to recovery."""
        try:
            for draft in drafts:
                if draft.staged:
                    self._documents.tree.unlink(draft.staged)
                    draft.staged = ""
            if directory and self._documents.tree.is_directory(directory):
                self._documents.tree.remove_directory(directory)
        except OSError:
            return False
        return True

    def _place(self, drafts: list[Draft], *, logged: bool) -> None:
        # by name, so that documents of one directory follow each other
        for draft in sorted(drafts, key=_NAME) if len(drafts) > 1 else drafts:
            try:
                self._put(draft)
            except OSError as error:
                if logged:
                    raise
                draft.error = error

    def _put(self, draft: Draft) -> None:
        """Put a document in place or take it away; its staged name then is what was there, or nothing."""
        name, documents = draft.name, self._documents
        documents.cache.forget(name)
        documents.unreadable.forget(name)
        if draft.sets_aside and isinstance(draft.previous, Damage) and not draft.previous.is_file:
            with suppress(FileNotFoundError):
                _logger.warning("%s was no file; it is in %s now", name, self._quarantine.move(name))
        if not draft.staged:
            documents.remove(name)
            return
        if draft.previous is not None:
            draft.placed = documents.tree.exchange(draft.staged, name)
        if draft.placed is None:
            draft.placed = documents.place(draft.staged, name)
            draft.staged = ""
        if draft.placed is not None and draft.is_ours and draft.part is not None and draft.kept is not None:
            documents.was_placed(name, draft.part, draft.kept, draft.placed, draft.places)

    def _all_results(
        self, group: Group, commits: Sequence[Sequence[Sealed]], changes: dict[str, Draft]
    ) -> list[Outcomes | BaseException]:
        if self.notes is not None:
            self.notes += [self._note(step, changes) for step in group.steps if _is_placed(step, changes)]
        return [self._result(result, commit, changes) for result, commit in zip(group.results, commits, strict=True)]

    def _note(self, step: Draft, changes: dict[str, Draft]) -> Note:
        is_last = changes.get(step.id) is step
        signature = step.placed if is_last and step.is_ours else None
        return Note(step.name, step.id, step.part, step.record, signature, digest_of(step.text or b""))

    def _result(
        self, result: Outcomes | BaseException, commit: Sequence[Sealed], changes: dict[str, Draft]
    ) -> Outcomes | BaseException:
        for change in commit:
            draft = changes.get(change.id)
            if draft is not None and draft.error is not None and not isinstance(result, BaseException):
                return unavailable(draft.error, self._documents.tree.path(draft.name), outcome="not applied")
        return result


def _is_placed(step: Draft, changes: dict[str, Draft]) -> bool:
    """Whether a step has become true: whatever one commit of a group can still fail by, its last one says."""
    return changes.get(step.id, step).error is None
