"""The skeleton of a store: its control directory, beside the marker. Makes a store, knows one, refuses what is none.

The control directory has a format number of its own, in the file `txn`. In format 1 that was the staging directory, so
fsstore 0.1.0 cannot make it, and refuses to open the store; one that has it open already cannot stage anything, and so
save nothing. It can read and delete, under the same lock, and its deletions may raise no floor. A control directory of
format 1 is taken over under its lock: what was staged there moves into the new staging directory, where recovery sweeps
it away, and the log is read as it is.

Owns what has to be there before a document can be; what makes a directory a store is in `marker`. Making it is
idempotent and safe against another process doing the same: each part is made with O_EXCL or mkdir. In the control
directory `.gitignore` comes first, so that git sees none of its files; its line is ended last, when all names above a
document or a segment of the log are on the disk.

A crash leaves a skeleton whose `.gitignore` has no end of line, or none. Whoever opens the store next, or meanwhile,
syncs it again: nobody may acknowledge a write below names that only another process was about to sync.
"""

from __future__ import annotations

import errno
import os
import secrets
import time
from contextlib import ExitStack, suppress
from pathlib import Path

from filelock import lock_descriptor, unlock_descriptor

from fsstore.errors import StorageCorruptedError, StorageUnavailableError, StorageValidationError
from fsstore.filesystem.disk.files import WRITE, Tree
from fsstore.filesystem.disk.system import NETWORK, filesystem_type, refuses_writing, unavailable
from fsstore.filesystem.documents.codec import NotARecordError, decode_marker, encode_marker
from fsstore.filesystem.documents.layout import (
    CONTROL,
    CONTROL_FORMAT,
    CONTROL_MARKER,
    COUNTERS,
    IGNORE,
    LOCK,
    LOG,
    MARKER,
    SHARD_DEPTHS,
    STAGING,
    Layout,
)
from fsstore.filesystem.documents.marker import (
    MARKER_MAX_BYTES,
    is_draft,
    make_marker,
    read_marker,
    refuse_orphans,
    synced_draft,
)

# what `.gitignore` holds: git reads both alike
_UNSYNCED, _SYNCED = b"*", b"*\n"
_NOTE = "An older fsstore expects a directory here, and refuses. Do not remove this file; use the newer fsstore."
# a holder of format 1 lets go after a second
_LOCK_TRIES, _LOCK_PAUSE_SECONDS = 60, 0.05
_TRIES = 10


def open_skeleton(
    tree: Tree, *, create: bool, shard_depth: int, allow_network: bool, read_only: bool = False
) -> tuple[Layout, bool]:
    """Return the layout of the store in a directory, made if need be, and whether it can be written; O(1).

    With `read_only` nothing is made, and nothing will be written. Raises StorageUnavailableError when there is no
    store, it is of a newer format, or the system refuses.
    """
    if shard_depth not in SHARD_DEPTHS:
        raise StorageValidationError(reason=f"must be 1 or 2, not {shard_depth!r}", path="shard_depth")
    create = create and not read_only
    if create:
        tree.make_root()
    _refuse_network(tree.root, allow_network=allow_network)
    depth = read_marker(tree)
    if depth is None:
        if tree.moment() is not None:
            refuse_orphans(tree)
        if not create:
            raise _no_store(tree.root, "there is no store here")
        depth = make_marker(tree, shard_depth)
    if read_only:
        if not tree.is_directory(CONTROL_MARKER):
            # in format 1 it is one
            _check_format(tree)
        return Layout(depth), False
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


def refusal_of_writing(tree: Tree) -> StorageUnavailableError:
    """Return the error of a write to a store that was opened by who may not write there: what is closed, and whose.

    A permission is looked for from the root down, since who is given one meets the next.
    """
    reason, root = "the store cannot be written", str(tree.root)
    try:
        closed = _closed(tree)
    except OSError as error:
        closed, number = error.filename or root, error.errno
    else:
        number = errno.EACCES
    if closed is None:
        return StorageUnavailableError(
            reason=reason, path=root, advice="open it again: nothing is closed to this user any more"
        )
    refused = unavailable(OSError(number, reason, closed), root)
    if number == errno.EACCES:
        # the system does not say beforehand which of the two it is
        return StorageUnavailableError(
            reason=reason,
            path=refused.path,
            errno=number,
            advice=f"{refused.advice}; or open it where the medium allows writing",
        )
    return refused


def _closed(tree: Tree) -> str | None:
    """Return what does not let this user write. Raises OSError where it cannot even be looked at."""
    for name in ("", CONTROL, STAGING):
        if tree.is_directory(name) and not tree.is_writable(name):
            return tree.path(name) if name else str(tree.root)
    tree.read(CONTROL_MARKER, max_bytes=MARKER_MAX_BYTES)
    return None


def _check_format(tree: Tree) -> None:
    """Refuse the control directory of a newer version."""
    try:
        data, _ = tree.read(CONTROL_MARKER, max_bytes=MARKER_MAX_BYTES)
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
    data = encode_marker({"format": CONTROL_FORMAT, "note": _NOTE})
    with synced_draft(tree, f"{STAGING}/", data) as draft:
        tree.name_once(draft, CONTROL_MARKER)


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


def _complete(tree: Tree) -> None:
    """Bring the skeleton to the disk, and say so by the file that comes last."""
    for draft in filter(is_draft, tree.entries()):
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
    with synced_draft(tree, f"{STAGING}/", data) as draft:
        tree.replace(draft, IGNORE)


def _no_store(root: Path, reason: str) -> StorageUnavailableError:
    return StorageUnavailableError(
        reason=reason,
        path=str(root),
        advice="check the path, or make one with open_sessions(path) or `fsstore init`",
    )


def _refuse_network(root: Path, *, allow_network: bool) -> None:
    kind = "" if allow_network else filesystem_type(root)
    if kind in NETWORK:
        raise StorageUnavailableError(
            reason=f"it lies on a network file system ({kind}), where locks and renames keep no promise",
            path=str(root),
            advice="use a local directory, or allow_network=True if a single process uses the store",
        )
