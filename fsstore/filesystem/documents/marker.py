"""The marker of a store, `fsstore.json`: what makes a directory a store, and says at which depth its documents lie.

Owns how it is read, made, and held against the directory that an open store was opened in. A marker that is lost is
never made up while there are documents: they show at which depth they lie, and the error says which marker to write.
The marker is made with a link, so that of two makers the first one counts.

A crash leaves a draft of it, which the next completion of the skeleton takes away.
"""

from __future__ import annotations

import errno
import os
import secrets
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress

from fsstore.errors import StorageCorruptedError, StorageUnavailableError
from fsstore.filesystem.disk.files import Tree
from fsstore.filesystem.disk.signatures import Signature
from fsstore.filesystem.disk.system import unavailable
from fsstore.filesystem.documents.codec import NotARecordError, decode_marker, encode_marker
from fsstore.filesystem.documents.layout import FORMAT, MARKER, SHARD_DEPTHS, depth_of, is_document, is_shard

MAX_BYTES = 64 << 20
"""The largest document that is written, where neither the marker nor the caller says otherwise."""
MARKER_MAX_BYTES = 4096
"""The largest marker that is read."""


def read_marker(tree: Tree) -> int | None:
    """Return the shard depth that the marker declares; None when there is none.

    Raises StorageCorruptedError where it is damaged, which lists the directories of documents once for the advice.
    """
    try:
        return _declared_depth(tree)
    except NotARecordError as error:
        raise StorageCorruptedError(
            path=tree.path(MARKER), reason=str(error), advice=_advice_for_damage(tree)
        ) from error


def _declared_depth(tree: Tree) -> int | None:
    """Return what `read_marker` does; raise NotARecordError where the marker is damaged."""
    try:
        data, _ = tree.read(MARKER, max_bytes=MARKER_MAX_BYTES)
    except FileNotFoundError:
        return None
    marker = decode_marker(data)
    number, depth = marker.get("format"), marker.get("shard_depth")
    if type(number) is not int or number < 1:
        raise NotARecordError(f"it declares format {number!r}")
    if number > FORMAT:
        raise StorageUnavailableError(
            reason=f"the store has format {number}, this fsstore knows formats up to {FORMAT}",
            path=str(tree.root),
            advice="use a newer fsstore",
        )
    if type(depth) is not int or depth not in SHARD_DEPTHS:
        raise NotARecordError(f"it declares shard depth {depth!r}")
    return depth


def largest_document(tree: Tree) -> int:
    """Return how many bytes a document may have that is written, as the marker declares it, or by default."""
    data, _ = tree.read(MARKER, max_bytes=MARKER_MAX_BYTES)
    try:
        declared = decode_marker(data).get("max_bytes", MAX_BYTES)
    except NotARecordError as error:
        raise StorageCorruptedError(
            path=tree.path(MARKER), reason=str(error), advice=_advice_for_damage(tree)
        ) from error
    if type(declared) is not int or declared < 1:
        raise StorageCorruptedError(
            path=tree.path(MARKER),
            reason=f"it declares max_bytes {declared!r}",
            advice="write a positive whole number of bytes there, or take the key out",
        )
    return declared


def make_marker(tree: Tree, shard_depth: int) -> int:
    """Make a marker, and return the depth that the one which is there then declares."""
    # a link, unlike a rename, fails if somebody else was faster: their marker then counts, and they may have taken the
    # draft away already
    try:
        with (
            suppress(FileNotFoundError),
            synced_draft(tree, f".{MARKER}.", encode_marker({"format": FORMAT, "shard_depth": shard_depth})) as draft,
        ):
            tree.name_once(draft, MARKER)
    except PermissionError as error:
        # the name of a draft says nothing to who reads the error
        raise PermissionError(error.errno, error.strerror, tree.path(MARKER)) from error
    tree.sync_directory()
    made = read_marker(tree)
    return shard_depth if made is None else made


def is_draft(base: str) -> bool:
    """Whether a name in the root is that of a marker which is being made, or was when its maker died."""
    return base.startswith(f".{MARKER}.")


@contextmanager
def synced_draft(tree: Tree, prefix: str, data: bytes) -> Iterator[str]:
    """Give the name of a new file with these bytes, on the disk already; at the end it is gone, or has another name."""
    draft = f"{prefix}{secrets.token_hex(8)}"
    tree.write_new(draft, data)
    try:
        tree.sync(draft)
        yield draft
    finally:
        tree.unlink(draft)


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
            depth = _declared_depth(self._tree)
        except NotARecordError:
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


def refuse_orphans(tree: Tree) -> None:
    """Refuse a directory that holds documents and no marker: with the wrong depth they would not be found."""
    names = [*_document_names(tree, "", max(SHARD_DEPTHS))]
    if not names:
        return
    one = names[0].replace("/", os.sep)
    raise StorageUnavailableError(
        reason=f"there are documents, as {one}, but no {MARKER}",
        path=str(tree.root),
        advice=_advice_for(_depths_of(names)),
    )


def _depths_of(names: Iterable[str]) -> Counter[int]:
    """Return how many documents lie where each depth puts them."""
    return Counter(depth for depth in map(depth_of, names) if depth is not None)


def _advice_for_damage(tree: Tree) -> str:
    """Say how to get a marker back that is there and damaged; what documents there are shows their depth."""
    try:
        names = [*_document_names(tree, "", max(SHARD_DEPTHS))]
    except OSError:
        # the damage is what is reported; without the documents nothing shows the depth
        return f"restore {MARKER} (`git checkout -- {MARKER}`, a backup)"
    return _advice_for(_depths_of(names)) if names else _restoring(min(SHARD_DEPTHS))


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
            " is unknown; or move all of it away, open an empty store, and import the documents"
        )
    (depth, most), *others = counts.most_common()
    if not others:
        return _restoring(depth)
    ((_, fewer),) = others
    return (
        f"{_restoring(depth)}: {most} documents lie at that depth and {fewer} at the other;"
        " `fsstore repair` then moves these to their places"
    )
