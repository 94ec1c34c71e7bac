"""Commits that could not be carried out as one group: tried again one by one, finished by recovery, or refused.

Runs in the writer thread, under the store lock. Invariants:
- Behind the commit point nothing is taken back: recovery finishes what is in the log, else the outcome is unknown.
- One document too many for the disk refuses its own commit, and no other of the group.
- A document that cannot be put in place behind the commit point waits, and raises for its commit, which was applied.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from fsstore.errors import Outcome as Fate
from fsstore.errors import StorageError, StorageUnavailableError
from fsstore.filesystem.disk.system import unavailable
from fsstore.filesystem.documents.documents import Documents
from fsstore.filesystem.documents.sealed import Sealed
from fsstore.filesystem.documents.skeleton import prepare_control
from fsstore.filesystem.log.counters import Counters
from fsstore.filesystem.log.log import NotSyncedError
from fsstore.filesystem.log.recovery import Recovery
from fsstore.filesystem.write.commit import Committer, UnfinishedError
from fsstore.model.records import Outcomes

_logger = logging.getLogger("fsstore")
_TRIES = 10


class Failures:
    """Says what became of the commits of groups that failed, in one open store."""

    def __init__(self, committer: Committer, recovery: Recovery, counters: Counters, documents: Documents) -> None:
        self._committer = committer
        self._recovery = recovery
        self._counters = counters
        self._documents = documents
        self._tree = documents.tree
        self._root = str(documents.tree.root)

    def results(self, commits: list[Sequence[Sealed]], error: OSError | UnfinishedError) -> Sequence[Any]:
        """Return what became of each commit, where `Committer.run` has raised this of them all."""
        if isinstance(error, UnfinishedError):
            return self._finished(commits, error)
        if isinstance(error, FileNotFoundError):
            try:
                # somebody removes directories that are empty most of the time
                prepare_control(self._tree)
                self._counters.open()
                # nothing that it knows of the log and of the counters is so any more
                self._committer.abandon()
            except OSError as gone:
                # the store was moved, or taken away with its medium
                return [self._refused(gone)] * len(commits)
        elif len(commits) == 1:
            return [self._refused(error)]
        return [result for commit in commits for result in self._alone(commit)]

    def _alone(self, commit: Sequence[Sealed]) -> Sequence[Any]:
        try:
            return self._committer.run([commit])
        except UnfinishedError as error:
            return self._finished([commit], error)
        except OSError as error:
            return [self._refused(error)]

    def _refused(self, error: OSError) -> StorageError:
        if isinstance(error, StorageError):
            # one of them is an OSError, too
            return error
        outcome: Fate = "unknown" if isinstance(error, NotSyncedError) else "not applied"
        return unavailable(error, self._root, outcome=outcome)

    def _recover(self, error: UnfinishedError) -> None:
        """Have recovery finish it, in a control directory made anew if that was removed under the commit."""
        for left in reversed(range(_TRIES)):
            try:
                prepare_control(self._tree)
                self._counters.open()
                if error.lost:
                    # what else the log holds comes first: this may stand on it
                    self._recovery.run()
                    self._committer.log_again(error.lost)
                # and what is logged again may be removed again
                self._recovery.run(lost=error.lost)
            except FileNotFoundError:
                # removed again meanwhile
                if not left:
                    raise
            else:
                return

    def _finished(self, commits: list[Sequence[Sealed]], error: UnfinishedError) -> Sequence[Any]:
        """Finish a group whose commit point is passed, or may be."""
        self._committer.abandon()
        # a record that could not be synced may be in memory only, and a second sync of it proves nothing
        self._recovery.distrusts_syncs |= not error.has_happened
        try:
            self._recover(error)
        except OSError:
            _logger.exception("recovery failed in %s; the next access will try again", self._root)
        else:
            if error.has_happened:
                return self._but_those_that_wait(commits, error.results)
        failure = StorageUnavailableError(
            reason=f"a commit could not be finished: {error.cause.strerror or error.cause}",
            path=str(error.cause.filename or self._root),
            errno=error.cause.errno,
            advice="it is in the log, and the next access finishes it; free the resource, then read the document",
            outcome="unknown",
        )
        # whether it happened is not known: whoever watches finds it, or not
        self._committer.notes = None
        # what was refused before the commit point stays refused
        return [result if isinstance(result, BaseException) else failure for result in error.results]

    def _but_those_that_wait(
        self, commits: list[Sequence[Sealed]], results: list[Outcomes | BaseException]
    ) -> list[Outcomes | BaseException]:
        """Return the results, and an error for each commit of which a document could not be put in place."""
        waits = self._recovery.waits
        if not waits:
            return results
        if self._committer.notes is not None:
            self._committer.notes = [note for note in self._committer.notes if note.name not in waits]
        return [
            result if isinstance(result, BaseException) else self._waiting(commit) or result
            for commit, result in zip(commits, results, strict=True)
        ]

    def _waiting(self, commit: Sequence[Sealed]) -> StorageUnavailableError | None:
        for name in map(self._documents.name, (change.id for change in commit)):
            waits = self._recovery.waits.get(name)
            if waits is not None and not waits.is_in_place:
                return self._documents.waits(name, waits, outcome="applied")
        return None
