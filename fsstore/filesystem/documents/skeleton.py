"""The skeleton of a store: its marker and its control directory. Makes a store, recognises one, refuses what is none.

The control directory has a format number of its own, in the file `txn`. In format 1 that was the staging directory, so
fsstore 0.1.0 cannot make it, and refuses to open the store; one that has it open already cannot stage anything, and so
save nothing. It can read and delete, under the same lock, and its deletions may raise no floor. A control directory of
format 1 is taken over under its lock: what was staged there moves into the new staging directory, where recovery sweeps
it away, and the log is read as it is.

Owns what has to be there before a document can be. Making it is idempotent and safe against another process doing the
same: each part is made with O_EXCL or mkdir. The marker makes a directory a store. In the control directory
`.gitignore` comes first, so that git sees none of its files; its line is ended last, when all names above a document or
a segment of the log are on the disk. A marker that is lost is never made up while there are documents: they tell at
which depth they lie, and whoever opens the store is told which marker to write.

A crash leaves a skeleton whose `.gitignore` has no end of line, or none. Whoever opens the store next, or meanwhile,
syncs it again: nobody may acknowledge a write below names that only another process was about to sync.
"""

from __future__ import annotations

import errno
import os
import secrets
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

from filelock import lock_descriptor, unlock_descriptor

from fsstore.errors import StorageCorruptedError, StorageUnavailableError, StorageValidationError
from fsstore.filesystem.disk.files import WRITE, Signature, Tree
from fsstore.filesystem.disk.system import NETWORK, filesystem_type, refuses_writing, unavailable
from fsstore.filesystem.documents.codec import NotARecordError, decode_marker, encode_marker
from fsstore.filesystem.documents.layout import (
    CONTROL,
    CONTROL_FORMAT,
    CONTROL_MARKER,
    COUNTERS,
    FORMAT,
    IGNORE,
    LOCK,
    LOG,
    MARKER,
    SHARD_DEPTHS,
    STAGING,
    Layout,
    depth_of,
    is_document,
    is_shard,
)

MAX_BYTES = 64 << 20
"""The largest document that is written, where neither the marker nor the caller says otherwise."""
_MARKER_MAX_BYTES = 4096
# what `.gitignore` holds: git reads both alike
_UNSYNCED, _SYNCED = b"*", b"*\n"
_NOTE = "An older fsstore expects a directory here, and refuses. Do not remove this file; use the newer fsstore."
# a holder of format 1 lets go after a second
_LOCK_TRIES, _LOCK_PAUSE_SECONDS = 60, 0.05
_TRIES = 10


def open_skeleton(tree: Tree, *, create: bool, shard_depth: int, allow_network: bool) -> tuple[Layout, bool]:
    """Return the layout of the store in a directory, made if need be, and whether it can be written; O(1).

    Raises StorageUnavailableError when there is no store, it is of a newer format, or the system refuses.
    """
    if shard_depth not in SHARD_DEPTHS:
        raise StorageValidationError(reason=f"must be 1 or 2, not {shard_depth!r}", path="shard_depth")
    if create:
        tree.make_root()
    _refuse_network(tree.root, allow_network=allow_network)
    depth = _read_marker(tree)
    if depth is None:
        if tree.moment() is not None:
            _refuse_orphans(tree)
        if not create:
            raise _no_store(tree.root, "there is no store here")
        depth = _make_marker(tree, shard_depth)
    return Layout(depth), prepare_control(tree)


def prepare_control(tree: Tree) -> bool:
    """Make what is missing of the control directory; False when the medium cannot be written.

    Raises FileNotFoundError where there is no store any more: what the root names may be an empty mount point now.
    """
    for left in reversed(range(_TRIES)):
        if tree.signature(MARKER) is None:
            raise FileNotFoundError(errno.ENOENT, f"its {MARKER} is gone", str(tree.root))
        try:
            return _prepare_control(tree)
        except FileNotFoundError:
            # somebody removes the control directory at this moment
            if not left:
                raise
    return False


def _prepare_control(tree: Tree) -> bool:
    try:
        made = [tree.make_directory(CONTROL)]
        if tree.is_directory(CONTROL_MARKER):
            _take_over(tree)
        _check_format(tree)
        if tree.signature(IGNORE) is None:
            with suppress(FileExistsError):
                tree.write_new(IGNORE, _UNSYNCED)
        made += [tree.make_directory(directory) for directory in (LOG, STAGING)]
        if tree.signature(CONTROL_MARKER) is None:
            made.append(True)
            _mark_control(tree)
        if any(made) and _is_complete(tree):
            # what it says is not so any more
            _ignore(tree, _UNSYNCED)
        if not _is_complete(tree):
            _complete(tree)
        return tree.is_writable(CONTROL)
    except OSError as error:
        if refuses_writing(error):
            return False
        raise


def _check_format(tree: Tree) -> None:
    """Refuse the control directory of a newer version."""
    try:
        data, _ = tree.read(CONTROL_MARKER, max_bytes=_MARKER_MAX_BYTES)
        number = decode_marker(data).get("format")
    except FileNotFoundError:
        return
    except NotARecordError as error:
        number = str(error)
    if type(number) is not int or number < CONTROL_FORMAT:
        raise StorageCorruptedError(
            path=tree.path(CONTROL_MARKER),
            reason=f"it declares no format of the control directory: {number!r}",
            advice="close every program that has the store open, and move that file away",
        )
    if number > CONTROL_FORMAT:
        raise StorageUnavailableError(
            reason=f"its {CONTROL} has format {number}, this fsstore knows formats up to {CONTROL_FORMAT}",
            path=str(tree.root),
            advice="use the newer fsstore that has written it",
        )


def _mark_control(tree: Tree) -> None:
    draft = f"{STAGING}/{secrets.token_hex(8)}"
    tree.write_new(draft, encode_marker({"format": CONTROL_FORMAT, "note": _NOTE}))
    try:
        tree.sync(draft)
        tree.name_once(draft, CONTROL_MARKER)
    finally:
        tree.unlink(draft)


def _take_over(tree: Tree) -> None:
    """Make room for the marker in a control directory of format 1, when nobody writes there."""
    with ExitStack() as stack:
        descriptors = []
        for name in (LOCK, COUNTERS):
            # fsstore 0.1.0 locks both
            with suppress(FileNotFoundError):
                descriptors.append(tree.open(name, WRITE))
                stack.callback(os.close, descriptors[-1])
        for left in reversed(range(_LOCK_TRIES)):
            if all(lock_descriptor(descriptor, blocking=False) for descriptor in descriptors):
                break
            if not left:
                raise StorageUnavailableError(
                    reason="an older version of fsstore is writing there",
                    path=str(tree.root),
                    advice="close the programs that use the older version, and open the store again",
                )
            for descriptor in descriptors:
                unlock_descriptor(descriptor)
            time.sleep(_LOCK_PAUSE_SECONDS)
        tree.make_directory(STAGING)
        if tree.is_directory(CONTROL_MARKER):
            # nobody else was faster
            tree.replace(CONTROL_MARKER, f"{STAGING}/{secrets.token_hex(8)}")


def check_control(tree: Tree) -> None:
    """Raise NotAFileError if a link, say, stands where a directory was: whoever followed it would write elsewhere."""
    if tree.is_directory(CONTROL_MARKER):
        # an older version has made the control directory anew, since somebody had removed it
        prepare_control(tree)
    for directory in (CONTROL, LOG, STAGING):
        if not tree.is_directory(directory):
            # what is not there will be made, and a plain file makes every use of it fail by itself
            tree.signature(directory)


class StoreRoot:
    """Whether the store that was opened is still at its path: whatever is not found below is absent only if so."""

    def __init__(self, tree: Tree, shard_depth: int) -> None:
        self._tree = tree
        self._shard_depth = shard_depth
        self._marker: Signature | None = None

    def check(self) -> tuple[int, int]:
        """Return what identifies the directory that is there now; two stats, and a read of a marker that is new.

        The identity changes when another store is put in its place. Raises StorageUnavailableError when the directory
        or its marker is gone, cannot be entered, or the marker declares another shard depth.
        """
        tree = self._tree
        try:
            identity, marker = tree.root_identity(), tree.signature(MARKER)
            if marker is None:
                raise self._gone()
            if marker != self._marker:
                self._check_marker()
                self._marker = marker
        except FileNotFoundError as error:
            raise StorageUnavailableError(
                reason="the directory of the store is gone",
                path=str(tree.root),
                errno=error.errno,
                advice="mount the medium again, or restore the directory",
            ) from error
        except OSError as error:
            raise unavailable(error, str(tree.root)) from error
        return identity

    def _gone(self) -> StorageUnavailableError:
        is_empty = not self._tree.entries()
        return StorageUnavailableError(
            reason=f"its {MARKER} is gone" + (", and the directory is empty" if is_empty else ""),
            path=str(self._tree.root),
            errno=errno.ENOENT,
            advice="mount the medium again, or restore the directory"
            if is_empty
            else f"mount the medium again, or {_restoring(self._shard_depth)}",
        )

    def _check_marker(self) -> None:
        try:
            depth = _read_marker(self._tree)
        except StorageCorruptedError:
            # in the middle of a merge, say; the depth that it declared holds until it declares another
            return
        if depth not in (None, self._shard_depth):
            raise StorageUnavailableError(
                reason=f"its {MARKER} declares shard depth {depth}, and the store was opened with {self._shard_depth}",
                path=str(self._tree.root),
                advice="close the store and open it again",
            )


def _restoring(shard_depth: int) -> str:
    """Say how to get a marker back."""
    text = f'{{"format": {FORMAT}, "shard_depth": {shard_depth}}}'
    return f"restore {MARKER} (`git checkout -- {MARKER}`, a backup), or write {text} into it"


def _complete(tree: Tree) -> None:
    """Bring the skeleton to the disk, and say so by the file that comes last."""
    for draft in filter(_is_draft, tree.entries()):
        # its maker died; one that did not finds the marker that is there
        tree.unlink(draft)
    # it may have come from elsewhere a moment ago, by git or a copy
    tree.sync(MARKER)
    tree.sync_directory(CONTROL)
    tree.sync_directory()
    with suppress(PermissionError):
        # whoever made the root may not have synced its name
        tree.sync_directory("..")
    _ignore(tree, _SYNCED)


def _is_complete(tree: Tree) -> bool:
    """Whether `.gitignore` says that all is synced; one of a user, or of a power cut, says it by its length."""
    found = tree.signature(IGNORE)
    return found is not None and found.size > len(_UNSYNCED)


def _ignore(tree: Tree, data: bytes) -> None:
    draft = f"{STAGING}/{secrets.token_hex(8)}"
    tree.write_new(draft, data)
    try:
        tree.sync(draft)
        tree.replace(draft, IGNORE)
    finally:
        tree.unlink(draft)


def _no_store(root: Path, reason: str) -> StorageUnavailableError:
    return StorageUnavailableError(
        reason=reason,
        path=str(root),
        advice="check the path, or make one with open_sessions(path) or `fsstore init`",
    )


def _read_marker(tree: Tree) -> int | None:
    """Return the shard depth that the marker declares; None when there is none."""
    try:
        data, _ = tree.read(MARKER, max_bytes=_MARKER_MAX_BYTES)
    except FileNotFoundError:
        return None
    try:
        marker = decode_marker(data)
    except NotARecordError as error:
        raise StorageCorruptedError(path=tree.path(MARKER), reason=str(error)) from error
    number, depth = marker.get("format"), marker.get("shard_depth")
    if type(number) is not int or number < 1:
        raise StorageCorruptedError(path=tree.path(MARKER), reason=f"it declares format {number!r}")
    if number > FORMAT:
        raise StorageUnavailableError(
            reason=f"the store has format {number}, this fsstore knows formats up to {FORMAT}",
            path=str(tree.root),
            advice="use a newer fsstore",
        )
    if type(depth) is not int or depth not in SHARD_DEPTHS:
        raise StorageCorruptedError(path=tree.path(MARKER), reason=f"it declares shard depth {depth!r}")
    return depth


def largest_document(tree: Tree) -> int:
    """Return how many bytes a document may have that is written, as the marker declares it, or by default."""
    data, _ = tree.read(MARKER, max_bytes=_MARKER_MAX_BYTES)
    try:
        declared = decode_marker(data).get("max_bytes", MAX_BYTES)
    except NotARecordError as error:
        raise StorageCorruptedError(path=tree.path(MARKER), reason=str(error)) from error
    if type(declared) is not int or declared < 1:
        raise StorageCorruptedError(path=tree.path(MARKER), reason=f"it declares max_bytes {declared!r}")
    return declared


def _make_marker(tree: Tree, shard_depth: int) -> int:
    draft = f".{MARKER}.{secrets.token_hex(8)}"
    tree.write_new(draft, encode_marker({"format": FORMAT, "shard_depth": shard_depth}))
    try:
        # a link, unlike a rename, fails if somebody else was faster: their marker then counts, and they may have taken
        # this draft away already
        with suppress(FileNotFoundError):
            tree.sync(draft)
            tree.name_once(draft, MARKER)
    finally:
        tree.unlink(draft)
    tree.sync_directory()
    made = _read_marker(tree)
    return shard_depth if made is None else made


def _is_draft(base: str) -> bool:
    return base.startswith(f".{MARKER}.")


def _refuse_orphans(tree: Tree) -> None:
    """Refuse a directory that holds documents and no marker: with the wrong depth they would not be found."""
    names = [*_document_names(tree, "", max(SHARD_DEPTHS))]
    if not names:
        return
    counts = Counter(depth for depth in map(depth_of, names) if depth is not None)
    one = names[0].replace("/", os.sep)
    raise StorageUnavailableError(
        reason=f"there are documents, as {one}, but no {MARKER}",
        path=str(tree.root),
        advice=_advice_for(counts),
    )


def _document_names(tree: Tree, above: str, depth: int) -> Iterator[str]:
    for base in sorted(filter(is_shard, tree.entries(above))):
        shard = f"{above}/{base}" if above else base
        if tree.is_directory(shard):
            yield from (f"{shard}/{each}" for each in sorted(filter(is_document, tree.entries(shard))))
            if depth > 1:
                yield from _document_names(tree, shard, depth - 1)


def _advice_for(counts: Counter[int]) -> str:
    """Say what to do without a marker, by how many documents lie where each depth puts them."""
    if not counts:
        return (
            f"restore {MARKER} from git or a backup: no document lies where its name belongs, so the shard depth"
            " cannot be told; or move these directories away, open an empty store, and import them"
        )
    (depth, most), *others = counts.most_common()
    if not others:
        return _restoring(depth)
    ((_, fewer),) = others
    return (
        f"{_restoring(depth)}: {most} documents lie at that depth and {fewer} at the other;"
        " `fsstore repair` then moves these to their places"
    )


def _refuse_network(root: Path, *, allow_network: bool) -> None:
    kind = "" if allow_network else filesystem_type(root)
    if kind in NETWORK:
        raise StorageUnavailableError(
            reason=f"it lies on a network file system ({kind}), where locks and renames keep no promise",
            path=str(root),
            advice="use a local directory, or allow_network=True if a single process uses the store",
        )
