"""Documents on disk: read one, stage one, put it in place, take it away.

Joins layout (names), codec (bytes) and files (the system); knows nothing of the lock, the log or the index.

Invariants: a document's file is only ever made elsewhere, whole, and then renamed into place. A file that is there and
cannot be read as the document of its name raises StorageCorruptedError; it is never taken for absence. Nor is what is
not found where the store itself has gone: that raises StorageUnavailableError.

A crash between staging and placing leaves a file in the staging directory, which recovery empties.
"""

from __future__ import annotations

import errno
import logging
import secrets
import time
from collections.abc import Iterable
from contextlib import suppress
from itertools import count
from typing import NamedTuple

from fsstore.errors import Outcome, StorageCorruptedError, StorageTooLargeError, StorageUnavailableError
from fsstore.filesystem.disk.files import TooLargeError, Tree
from fsstore.filesystem.disk.signatures import Signature
from fsstore.filesystem.disk.system import NotAFileError, unavailable
from fsstore.filesystem.disk.trust import Trust, is_sure
from fsstore.filesystem.disk.unreadable import Unreadable, is_its_own
from fsstore.filesystem.documents.cache import CachedDocument, DocumentCache
from fsstore.filesystem.documents.codec import (
    InConflictError,
    NotARecordError,
    decode_examined,
    digest,
    encode,
    examine,
    version_told,
)
from fsstore.filesystem.documents.layout import MARKER, STAGING, Layout, directories_of, shard_of
from fsstore.filesystem.documents.lists import ListText, Places, key_of, located, tail_in
from fsstore.filesystem.documents.marker import StoreRoot
from fsstore.filesystem.documents.scan import Scan
from fsstore.filesystem.documents.text import Text
from fsstore.model.lists import Tail
from fsstore.model.patch import Steps
from fsstore.model.records import JsonObject

_logger = logging.getLogger("fsstore")

READ_BYTES = 256 << 20
"""The largest document that is read, unless larger ones may be written."""

# a draft of a marker by its name, so that whoever completes a skeleton takes it away, too
_CHANGING = f".{MARKER}.changing"
_UNDER_HANDS_NS = range(200_000_000)
_UNDER_HANDS_PAUSE_SECONDS, _UNDER_HANDS_PAUSES = 0.02, 10
_REPAIR = "repair the file by hand, or restore it from git or a backup; `fsstore repair` sets it aside"
_TAKE_A_SIDE = "or take one side of the whole file with `git checkout --ours` or `--theirs`"
# about 300 bytes each
_MOST_PLAIN = 10_000
MOST_AT_ONCE = 256 << 10
"""What is larger is read, parsed and encoded in another thread than that of the event loop."""


class Document(NamedTuple):
    """A document as read: its record, its bytes, the signature that belongs to them, and when the reading began.

    `trust` says whether that is sure; what was read at the beginning of time is not.
    """

    record: JsonObject
    data: bytes
    signature: Signature
    seen_ns: int = 0

    @property
    def digest(self) -> bytes:
        """The hash of its bytes."""
        return digest(self.data)


class Damage(NamedTuple):
    """What lies in a document's place and cannot be read as that document."""

    error: StorageCorruptedError | StorageTooLargeError
    is_file: bool
    """Else it is a directory, a link or the like."""
    digest: bytes
    """The hash of its bytes; empty where they are too many, or none."""
    version: int = 0
    """The version that its bytes still tell; 0 where they tell none."""


class Waits(NamedTuple):
    """Why a document waits: what was committed last could not be put in its place, or not be synced there."""

    cause: OSError
    is_in_place: bool
    """Whether what was committed last is what lies in its place."""


class Documents:
    """The documents of one store."""

    def __init__(self, tree: Tree, layout: Layout, *, max_bytes: int) -> None:
        self.tree = tree
        self.layout = layout
        self.name = layout.name
        """Returns the name of a document's file."""
        self.max_bytes = max_bytes
        """Bounds what is written."""
        self.read_bytes = max(max_bytes, READ_BYTES)
        """Bounds what is read."""
        self.unreadable = Unreadable()
        # where the medium was taken away nothing is there at all, and that is no answer
        self.root = StoreRoot(tree, layout.shard_depth)
        self.cache = DocumentCache()
        # by name; what lies in their places is not served as if it were what was committed last
        self.waiting: dict[str, Waits] = {}
        self.trust = Trust()
        # sure signatures of what was examined
        self._plain: dict[str, Signature] = {}
        # temp files of this open store, which no other has a name of
        self._staged, self._stage = count(), f"{STAGING}/{secrets.token_hex(8)}"

    def for_one_thread(self, *, keeps: int) -> Documents:
        """Return the same documents for the use of one thread: see `Tree`. What is kept and noted is shared."""
        own = Documents(self.tree.for_one_thread(keeps=keeps), self.layout, max_bytes=self.max_bytes)
        own.cache, own._plain, own.unreadable = self.cache, self._plain, self.unreadable
        own.waiting, own.trust = self.waiting, self.trust
        return own

    @property
    def scan(self) -> Scan:
        """What lies in the shards."""
        return Scan(self.tree, self.layout.shard_depth, self.unreadable)

    def encode(self, record: JsonObject, *, is_exact: bool = False) -> bytes:
        """Return a record's bytes. Raises StorageValidationError when it cannot be stored."""
        return encode(record, max_bytes=self.max_bytes, is_exact=is_exact)

    def read(self, record_id: str, *, keeping: bool = True) -> Document | None:
        """Return a document, None when there is none; the disk is waited for.

        `keeping` keeps its bytes for the next time, if it is not one of very many.
        """
        name = self.name(record_id)
        kept = self.unchanged(name)
        if kept is not None:
            data = self.cache.joined(name, kept)
            return Document(decode_examined(data), data, kept.signature)
        document = self._read(name, record_id, keeping=keeping)
        if document is None:
            self.root.check()
        return document

    def unchanged(self, name: str) -> CachedDocument | None:
        """Return what is kept of a document, if it stands for its file; one stat."""
        if self.waiting:
            self.refuse_outdated(name)
        kept = self.cache.get(name)
        return kept if kept is not None and kept.is_sure and self.tree.is_same(name, kept.signature) else None

    def tail(
        self, record_id: str, steps: Steps, count: int, before: int | None, *, at_once: bool = False
    ) -> tuple[JsonObject, Tail] | None:
        """Return a record without its data, and the end of a list; None where kept bytes do not show it.

        Raises BlockingIOError where that must be `at_once`, and all of a large document must be looked through first.
        """
        name, key = self.name(record_id), key_of(steps)
        kept = self.unchanged(name)
        if key is None or kept is None or kept.part is None:
            return None
        if at_once and key not in kept.places.lists and len(kept.text) > MOST_AT_ONCE:
            raise BlockingIOError
        listed = located(kept.text, key, kept.places)
        if listed is None:
            return None
        if key not in kept.places.lists:
            self.cache.knowing(name, kept, kept.places.knowing(key, listed))
        return kept.part, tail_in(ListText(kept.text, listed.begin, listed.end), listed.length, count, before)

    def outdated(self) -> set[str]:
        """Return the names under which something older lies than what was committed last."""
        return {name for name, waits in list(self.waiting.items()) if not waits.is_in_place}

    def refuse_outdated(self, name: str) -> None:
        """Raise StorageUnavailableError if what lies under a name is older than what was committed last."""
        waits = self.waiting.get(name)
        if waits is not None and not waits.is_in_place:
            raise self.waits(name, waits)

    def waits(self, name: str, waits: Waits, *, outcome: Outcome | None = None) -> StorageUnavailableError:
        """Return the error that says that a document waits."""
        return StorageUnavailableError(
            reason=f"what was committed last could not be put in its place ({waits.cause.strerror or waits.cause}), "
            "and waits for it",
            path=self.tree.path(name),
            errno=waits.cause.errno,
            advice="remove what is in the way, and read it again: it is then put in its place",
            outcome=outcome,
        )

    def read_in_turn(self, record_id: str) -> Document | CachedDocument | None:
        """Do the same as the holder of the store lock, who asks `are_absent` of all that were not found together.

        Bytes that are still those that are kept are given as such, and not parsed.
        """
        name = self.name(record_id)
        kept = self.cache.get(name)
        if kept is not None:
            # what is wrong with the file is reported below
            with suppress(OSError):
                data, signature = self.tree.read(name, max_bytes=self.read_bytes)
                if kept.has(data):
                    return kept._replace(signature=signature)
        return self._read(name, record_id)

    def are_absent(self, names: Iterable[str]) -> bool:
        """Whether what was not found is not there: the store may have been away at that moment, and be back.

        Raises StorageUnavailableError where it is away now.
        """
        return self.tree.are_free(names, self.root.check())

    def is_absent(self, name: str) -> bool:
        """Do the same for one document or directory, behind the commit point: raises FileNotFoundError instead."""
        try:
            return self.are_absent([name])
        except StorageUnavailableError as error:
            raise FileNotFoundError(errno.ENOENT, error.reason, self.tree.path(name)) from error

    def damage(self, name: str, error: StorageCorruptedError | StorageTooLargeError) -> Damage:
        """Return what lies in a document's place, where reading it has raised this.

        Raises that error where its shard is at fault, and StorageUnavailableError.
        """
        try:
            if not all(map(self.tree.is_directory, directories_of(name))):
                raise error
            data, _ = self.tree.read(name, max_bytes=self.read_bytes)
        except (NotAFileError, TooLargeError) as unread:
            return Damage(error, isinstance(unread, TooLargeError), b"")
        except OSError as unread:
            raise unavailable(unread, self.tree.path(name)) from unread
        return Damage(error, is_file=True, digest=digest(data), version=version_told(data))

    def read_named(self, name: str, *, waiting: bool = True) -> Document | None:
        """Return the document in a file, whose id must lead back to that name.

        `waiting` gives one that somebody seems to be writing at this moment a little time.
        """
        document = self._read(name, None, pauses=0 if waiting else _UNDER_HANDS_PAUSES)
        if document is None:
            self.root.check()
        elif self.name(document.record["id"]) != name:
            raise self._corrupted(
                document.record["id"], name, f"that document belongs at {self.name(document.record['id'])}"
            )
        return document

    def read_misplaced(self, name: str) -> Document | None:
        """Return the document in a file, wherever its id belongs; None when there is no such file."""
        return self._read(name, None)

    def read_cached(self, record_id: str) -> JsonObject | None:
        """Return a record without waiting for the disk. Raises BlockingIOError where that cannot be had at once.

        What does not parse may be a file under somebody's hands: that too is left to `read`, in another thread.
        """
        name = self.name(record_id)
        kept = self.unchanged(name)
        if kept is not None:
            if len(kept.text) > MOST_AT_ONCE:
                raise BlockingIOError
            return decode_examined(self.cache.joined(name, kept))
        try:
            seen_ns = time.time_ns()
            found = self.tree.read_cached(name, max_bytes=min(self.read_bytes, MOST_AT_ONCE))
            if found is not None:
                data, signature = found
                return self._parsed(name, data, signature, record_id, is_sure=is_sure(signature, seen_ns), keeping=True)
        except FileNotFoundError:
            self.root.check()
            return None
        except (OSError, NotARecordError):
            pass
        raise BlockingIOError

    def _read(self, name: str, record_id: str | None, *, pauses: int = 0, keeping: bool = False) -> Document | None:
        if self.waiting:
            self.refuse_outdated(name)
        try:
            document = self._read_at_last(name, record_id, pauses, keeping=keeping)
        except StorageUnavailableError as error:
            self.unreadable.note(name, error)
            raise
        except StorageCorruptedError:
            self.unreadable.forget(name)
            raise
        self.unreadable.forget(name)
        return document

    def _read_at_last(self, name: str, record_id: str | None, pauses: int, *, keeping: bool) -> Document | None:
        while True:
            try:
                seen_ns = time.time_ns()
                data, signature = self.tree.read(name, max_bytes=self.read_bytes)
                sure = is_sure(signature, seen_ns)
                record = self._parsed(name, data, signature, record_id, is_sure=sure, keeping=keeping)
                return Document(record, data, signature, seen_ns)
            except FileNotFoundError:
                return None
            except NotAFileError as error:
                raise self._corrupted(record_id, name, str(error.strerror)) from error
            except TooLargeError as error:
                reason, path = str(error.strerror), self.tree.path(name)
                raise StorageTooLargeError(id=record_id, path=path, reason=reason, errno=error.errno) from error
            except NotARecordError as error:
                if pauses < _UNDER_HANDS_PAUSES and time.time_ns() - signature.mtime_ns in _UNDER_HANDS_NS:
                    # an editor or git may be writing it in place at this moment; one that never stops is not waited
                    # for, since whoever reads may hold the lock
                    pauses += 1
                    time.sleep(_UNDER_HANDS_PAUSE_SECONDS)
                    continue
                advice = _TAKE_A_SIDE if isinstance(error, InConflictError) else _REPAIR
                raise self._corrupted(record_id, name, str(error), advice) from error
            except OSError as error:
                raise unavailable(error, self.tree.path(name)) from error

    def _parsed(
        self,
        name: str,
        data: bytes | bytearray,
        signature: Signature,
        record_id: str | None,
        *,
        is_sure: bool,
        keeping: bool,
    ) -> JsonObject:
        """Return the record that bytes are; what is sure need not be examined again, and is kept with `keeping`."""
        is_plain = self._plain.get(name) == signature or self._is_kept(name, data)
        if is_plain:
            record = decode_examined(data)
        else:
            record, is_plain = examine(data, record_id)
        # whose id was not asked for may lie in the wrong place
        if is_plain and is_sure and record_id is not None:
            self._note_plain(name, signature)
            if keeping:
                self.cache.was_read(name, data, signature)
        return record

    def _is_kept(self, name: str, data: bytes | bytearray) -> bool:
        kept = self.cache.get(name)
        return kept is not None and kept.has(data)

    def was_placed(self, name: str, part: JsonObject, text: Text, signature: Signature, places: Places) -> None:
        """Keep in mind what the writer has placed, of which `part_of` is given, and that it need not be examined."""
        sure = is_sure(signature, self.trust.seen_ns(signature))
        if sure:
            self._note_plain(name, signature)
        self.cache.placed(name, part, text, signature, is_sure=sure, places=places)

    def _note_plain(self, name: str, signature: Signature) -> None:
        if len(self._plain) >= _MOST_PLAIN:
            self._plain.clear()
        self._plain[name] = signature

    def has(self, record_id: str) -> bool:
        """Whether there is a file of that document; one stat, it is not read."""
        name = self.name(record_id)
        if self.unchanged(name) is not None:
            return True
        try:
            if self.tree.signature(name) is not None:
                return True
        except NotAFileError as error:
            raise self._corrupted(record_id, name, str(error.strerror)) from error
        except OSError as error:
            raise unavailable(error, self.tree.path(name)) from error
        self.root.check()
        return False

    def is_larger(self, record_id: str, size: int) -> bool:
        """Whether the file of a document has more bytes; False where there is none, or the system does not say."""
        with suppress(OSError):
            found = self.tree.signature(self.name(record_id))
            return found is not None and found.size > size
        return False

    def check_its_own(self, error: StorageUnavailableError) -> None:
        """Raise the error of reading one document unless another one can be read all the same."""
        if not is_its_own(error):
            raise error
        self.root.check()

    def _corrupted(self, record_id: str | None, name: str, reason: str, advice: str = _REPAIR) -> StorageCorruptedError:
        return StorageCorruptedError(id=record_id, path=self.tree.path(name), reason=reason, advice=advice)

    def stage_directory(self) -> str:
        """Make a temp directory for one batch and return its name."""
        name = self.stage_name()
        self.tree.make_directory(name)
        return name

    def stage_name(self) -> str:
        """Return the name of a temp file for a document on its own."""
        return f"{self._stage}-{next(self._staged)}"

    def place(self, staged: str, name: str) -> Signature | None:
        """Put a staged file in place; atomic. Makes the shard when it is missing.

        Returns the signature that a later stat will see: renaming changes the ctime.
        """
        try:
            return self.tree.replace(staged, name)
        except FileNotFoundError:
            # git removes directories it has emptied, at any moment
            self.tree.forget_parents(shard_of(name))
            self.make_shard(name)
            return self.tree.replace(staged, name)

    def remove(self, name: str) -> None:
        """Take a document away; nothing where it is not there. Raises FileNotFoundError where the store is away."""
        while not (self.tree.unlink(name) or self.is_absent(name)):
            # it was away for a moment
            pass

    def make_shard(self, name: str) -> None:
        """Make the directories between the root and a document's file that are missing."""
        for directory in directories_of(name):
            self.tree.make_directory(directory)

    def change_above(self, names: Iterable[str]) -> None:
        """Change the directories that name the shards of documents, so that the next sync writes them once more.

        After a sync that has failed the system may hold their blocks for written. Best effort: a name is made and taken
        away again, which changes the block that has room for it. Whoever is killed in between leaves the name to the
        next one, who has the same to do. Only the holder of the store lock may.
        """
        for directory in {above for name in names for above in ("", *directories_of(name)[:-1])}:
            name = _changing_in(directory)
            with suppress(OSError):
                self.tree.unlink(name)
                self.tree.write_new(name, b"")
                self.tree.unlink(name)

    def clear_staging(self) -> None:
        """Empty the staging directory, and take away what a killed `change_above` has left.

        Only the holder of the store lock may: nobody else is staging then. What will not go stays, with a warning: no
        commit makes a file of that name again.
        """
        self._clear(STAGING)
        above = [""] if self.layout.shard_depth == 1 else ["", *self.scan.outer_shards()]
        for directory in filter(self.is_changing, above):
            with suppress(OSError):
                self.tree.unlink(_changing_in(directory))

    def is_changing(self, directory: str = "") -> bool:
        """Whether `change_above` has left its name: it was killed, or a power cut has brought it back."""
        try:
            return self.tree.signature(_changing_in(directory)) is not None
        except OSError:
            # what cannot be looked at harms nobody
            return False

    def _clear(self, directory: str) -> None:
        for base in self.tree.entries(directory):
            name = f"{directory}/{base}"
            try:
                if self.tree.is_directory(name):
                    # no batch makes directories in its own, but what somebody else has left must not stop recovery
                    self._clear(name)
                    self.tree.remove_directory(name)
                else:
                    self.tree.unlink(name)
            except FileNotFoundError:
                # somebody has removed the control directory
                raise
            except OSError as error:
                _logger.warning("%s will not go: %s", self.tree.path(name), error.strerror or error)


def _changing_in(directory: str) -> str:
    return f"{directory}/{_CHANGING}" if directory else _CHANGING
