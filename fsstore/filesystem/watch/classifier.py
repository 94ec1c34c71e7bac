"""Classifying documents that may have changed: what each is now, whether that is news, and whose.

Used by the thread of `watcher`. Invariants:
- What was read is published only after every own commit that may show in it has been received, so an own write is
  reported once, as such, and before anything that came later.
- Nothing is read, and nothing published, while a batch is being put in place.
- A document that is gone, or cannot be read, is looked at again before that is believed: git and editors take files
  away for a moment, and write them in parts.
- One that cannot be read is no change. It becomes a problem in the index. A file that was damaged is reported once it
  can be read again; one that was away with its shard, only if it comes back as another document.

Whose a change is: `indexing` is odd from before a commit's first file until its rows are in the index. So when it has
been even once, or has become another number, since a file was seen, a commit of fsstore has left its row, which says
that it was a commit's. Everything else is external; so is what recovery has finished, and everything while the index
file cannot be used.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress

from fsstore.errors import StorageClosedError, StorageCorruptedError, StorageUnavailableError
from fsstore.filesystem.disk.signatures import Signature
from fsstore.filesystem.disk.system import NotAFileError, unavailable
from fsstore.filesystem.disk.trust import is_settled, is_sure
from fsstore.filesystem.index.connection import IndexDamagedError, IndexUnavailableError
from fsstore.filesystem.index.rows import Known
from fsstore.filesystem.open_store import OpenStore
from fsstore.filesystem.watch.known_files import KnownFiles, mark_of
from fsstore.filesystem.watch.observation import Observation
from fsstore.filesystem.watch.suspects import Suspect, Suspects
from fsstore.watching.changes import Origin
from fsstore.watching.ledger import KnownState

_GONE_SECONDS, _UNREADABLE_SECONDS = 0.05, 0.3
_BATCH_PAUSE_SECONDS, _INDEX_PAUSE_SECONDS, _TROUBLE_PAUSE_SECONDS = 0.001, 0.003, 0.5
_PATIENCE_SECONDS = 1.0


class ChangeClassifier:
    """Looks at the documents that are suspect, and publishes what has become of them."""

    def __init__(
        self,
        store: OpenStore,
        known: KnownFiles,
        *,
        receive_commits: Callable[[], set[str]],
        reread: Callable[[list[str]], None],
    ) -> None:
        """`receive_commits` publishes all that own commits have done until now; returns the names.

        `reread` has the index brought up to date with documents, before the next list is answered.
        """
        self.suspects = Suspects()
        # when the newest change was made that was found and that no event has reported, by the clock of files
        self.unreported_ns = 0
        self._store = store
        self._documents = store.documents
        self._known = known
        self._receive_commits = receive_commits
        self._reread_soon = reread
        self._missing = store.reconciler.missing = set[str]()
        # marks by name of what cannot be read
        self._unreadable: dict[str, int] = {}
        self._stale: list[str] = []
        # documents that were doubtful, and turned out to be what was published
        self._settled: dict[str, Observation] = {}
        self._urged = 0.0

    def classify_some(self) -> None:
        """Classify some of the documents that are due."""
        now = time.monotonic()
        suspects = self.suspects.take()
        before = self._store.moment()
        observations = {} if before is None else self._see(suspects)
        if before is None or self._store.moment() != before:
            self.suspects.postpone(suspects, _BATCH_PAUSE_SECONDS)
            self._urge(now)
            return
        committed = self._receive_commits()
        self.suspects.postpone({name: suspects[name] for name in committed & observations.keys()}, 0.0)
        news = {
            name: observation
            for name, observation in observations.items()
            if name not in committed and self._is_news(name, observation, suspects[name])
        }
        self._check_settled()
        self._publish_news(news, suspects)

    # -- looking ------------------------------------------------------------------------------------------------------

    def _see(self, suspects: dict[str, Suspect]) -> dict[str, Observation]:
        observations = {}
        for name, suspect in suspects.items():
            try:
                observations[name] = self._observe(name, suspect)
            except StorageUnavailableError:
                # the medium is gone, or the system is short of something: nothing is known of it now
                self.suspects.postpone({name: suspect}, _TROUBLE_PAUSE_SECONDS)
        return observations

    def _observe(self, name: str, suspect: Suspect) -> Observation:
        try:
            signature = self._documents.tree.signature(name)
        except (NotAFileError, NotADirectoryError):
            is_known = self._unreadable.get(name) == 0
            return Observation(is_known=True) if is_known else Observation(unreadable=0, is_sure=True)
        except OSError as error:
            raise unavailable(error, name) from error
        if signature is None:
            return Observation()
        mark = mark_of(signature)
        if mark == self._unreadable.get(name, self._known.mark(name)) and not (
            suspect.is_written and self._known.is_doubtful(name)
        ):
            return Observation(is_known=True)
        seen_ns = time.time_ns()
        try:
            document = self._documents.read_named(name, waiting=False)
        except StorageCorruptedError:
            return Observation(unreadable=mark, is_sure=is_sure(signature, seen_ns))
        sure = document is not None and is_sure(document.signature, document.seen_ns)
        return Observation(document, is_sure=sure)

    # -- classifying --------------------------------------------------------------------------------------------------

    def _is_news(self, name: str, observation: Observation, suspect: Suspect) -> bool:
        """Whether a document is certainly another than the one that was published last."""
        if observation.is_known:
            return False
        if observation.unreadable is not None:
            self._suspect_reading(name, observation, suspect)
            return False
        state = self._known.get(name)
        if observation.document is None:
            return self._is_gone(name, state, suspect)
        self._unreadable.pop(name, None)
        suspect.missing_since = 0.0
        if state is None or state.content != observation.document.digest:
            return True
        mark = mark_of(observation.document.signature)
        if self._known.mark(name) != mark:
            # touched, or written again as it was: no news, but the index must know the file
            self._known.adopt(name, state, mark)
            self._stale.append(name)
        elif self._known.is_doubtful(name):
            self._settled[name] = observation
        self._note_certainty(name, observation)
        return False

    def _check_settled(self) -> None:
        """Have the index know what is as it was published, and was otherwise for a moment that the index may have seen.

        Within a tick of the clock a file may change, be indexed, and change back, with the same signature in the end.
        """
        settled, self._settled = self._settled, {}
        rows = self._rows(list(settled)) if settled else {}
        self._stale += [name for name, observation in settled.items() if not observation.is_indexed_as(rows.get(name))]

    def _note_certainty(self, name: str, observation: Observation) -> None:
        if observation.is_sure:
            self._known.is_sure(name)
        else:
            self._known.doubt(name, time.monotonic())

    def _is_gone(self, name: str, state: KnownState | None, suspect: Suspect) -> bool:
        now = time.monotonic()
        if state is None and name not in self._unreadable:
            self._missing.discard(name)
            return False
        if suspect.mark != 0 or not suspect.missing_since:
            suspect.mark, suspect.missing_since = 0, now
            suspect.is_external = name in self._unreadable or self._is_indexed_at_rest(name)
        if now - suspect.missing_since < _GONE_SECONDS:
            self.suspects.postpone({name: suspect}, _GONE_SECONDS)
            return False
        return True

    def _is_indexed_at_rest(self, name: str) -> bool:
        """Whether the index still has what is gone while no commit is under way: then it was no commit that took it.

        Looked up at once, since others may find it too, and bring the index up to date.
        """
        indexing = self._store.counters.look().indexing
        return not indexing & 1 and name in self._rows([name])

    def _suspect_reading(self, name: str, observation: Observation, suspect: Suspect) -> None:
        now, mark = time.monotonic(), observation.unreadable or 0
        if suspect.mark != mark or not suspect.missing_since:
            suspect.mark, suspect.missing_since = mark, now
        if now - suspect.missing_since < _UNREADABLE_SECONDS:
            self.suspects.postpone({name: suspect}, _GONE_SECONDS)
            return
        state = self._known.get(name)
        if state is not None:
            # a file that was damaged is reported when it can be read again, whatever it holds then; where a shard is
            # none for a while, or something stands in a file's place, what was published counts
            self._known.adopt(name, state._replace(content=None) if mark else state, mark)
        self._unreadable[name] = mark
        self._note_certainty(name, observation)
        self._stale.append(name)

    # -- publishing ---------------------------------------------------------------------------------------------------

    def _publish_news(self, news: dict[str, Observation], suspects: dict[str, Suspect]) -> None:
        indexing = self._store.counters.look().indexing
        rows = self._rows(list(news)) if news else {}
        whose: dict[str, Origin] = {}
        for name, observation in news.items():
            row, suspect = rows.get(name), suspects[name]
            suspect.is_external |= observation.document is None and name in self._missing
            is_indexed = observation.is_indexed_as(row)
            if not (is_indexed or suspect.is_external) and self._is_waiting_for(name, observation, indexing, suspect):
                self.suspects.postpone({name: suspect}, _INDEX_PAUSE_SECONDS)
                continue
            if not is_indexed:
                self._stale.append(name)
            is_by_commit = is_indexed and not suspect.is_external and (row is None or row.is_by_commit)
            whose[name] = "store" if is_by_commit else "external"
        # first, so that whoever receives it and lists what there is now waits for the index
        self._reread()
        for name, origin in whose.items():
            self._publish(name, news[name], suspects[name], origin)

    def _is_waiting_for(self, name: str, observation: Observation, indexing: int, suspect: Suspect) -> bool:
        """Whether the commit that may have done it is not in the index yet, or another one has followed meanwhile."""
        now = time.monotonic()
        seen = None if observation.document is None else observation.document.signature
        if suspect.indexing < 0 or suspect.judged != seen:
            # another file is another commit's: the one before may be in the index, and this one not yet
            suspect.judged, suspect.indexing, suspect.indexing_since = seen, indexing, now
        if now - suspect.indexing_since >= self._store.options.lock_timeout_seconds:
            return False
        overlay = self._store.overlay
        # who may not write has nobody to end what a dead writer has begun
        is_abandoned = overlay is not None and overlay.is_abandoned
        if indexing & 1 and indexing == suspect.indexing and not is_abandoned:
            self._request_index()
            self._urge(now)
            return True
        return seen is not None and not self._is_still(name, seen)

    def _request_index(self) -> None:
        """Ask the commit that is under way, of whichever process, for its rows; best effort: they come in a second."""
        with suppress(OSError):
            self._store.counters.increase("index_requests")

    def _is_still(self, name: str, signature: Signature) -> bool:
        try:
            return self._documents.tree.signature(name) == signature
        except OSError:
            return False

    def _publish(self, name: str, observation: Observation, suspect: Suspect, origin: Origin) -> None:
        document = observation.document
        if document is None:
            with suppress(StorageUnavailableError, StorageCorruptedError):
                # this also finds out whether the store itself is still there
                if self._documents.read_named(name, waiting=False) is None:
                    self._unreadable.pop(name, None)
                    self._missing.discard(name)
                    self._known.publish_deletion(name, origin)
                    return
            self.suspects.postpone({name: suspect}, _GONE_SECONDS)
            return
        if not suspect.is_hinted and _is_old(document.signature):
            self.unreported_ns = max(self.unreported_ns, document.signature.ctime_ns)
        self._missing.discard(name)
        record = document.record
        state = KnownState(record["id"], record["version"], document.digest, origin)
        self._known.publish(name, state, mark_of(document.signature), origin, record)
        self._note_certainty(name, observation)

    def _rows(self, names: list[str]) -> dict[str, Known]:
        try:
            return self._store.index_file.use(lambda index: index.inventory.known(names))
        except (IndexDamagedError, IndexUnavailableError):
            # whoever lists next makes it anew
            return {}

    # -- the rest -----------------------------------------------------------------------------------------------------

    def _reread(self) -> None:
        """Bring the index up to date with what is not as it says."""
        names, self._stale = self._stale, []
        if not names:
            return
        try:
            if self._store.writer is not None:
                self._reread_soon(names)
            else:
                self._store.reconciler.absorb(names)
        except (StorageClosedError, StorageUnavailableError, IndexDamagedError, IndexUnavailableError):
            # closed, or in trouble: whoever lists next reconciles, and no answer contradicts its document until then
            return

    def _urge(self, now: float) -> None:
        """See to it that what a dead writer has left is finished: whoever takes the lock recovers first."""
        writer = self._store.writer
        if writer is None or now - self._urged < _PATIENCE_SECONDS:
            return
        self._urged = now
        with suppress(StorageClosedError, StorageUnavailableError):
            if not writer.lock_is_held():
                writer.tidy(lambda: None)


def _is_old(signature: Signature) -> bool:
    """Whether an event about that change should have come by now."""
    return is_settled(signature.ctime_ns, time.time_ns())
