"""Names: where each thing of a store lies. The only module that turns an id into a path, or knows a file's name.

Invariants:
- Names never collide, also under case folding and Unicode normalisation: an id that is plain (`[a-z0-9._-]`, short, not
  reserved on any system) is its own name; any other gets a slug, a `~` (which no plain id has) and a 128-bit hash.
- A name is at most 255 bytes and one component: no id leaves its shard directory.
- A shard is named by the first bytes of the id's hash, so documents spread evenly whatever the ids look like.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from functools import lru_cache

from fsstore.model.values import is_text

FORMAT = 1
CONTROL_FORMAT = 2
SHARD_DEPTHS = (1, 2)

MARKER = "fsstore.json"
CONTROL = ".fsstore"
IGNORE = f"{CONTROL}/.gitignore"
LOCK = f"{CONTROL}/lock"
CHECKPOINT = f"{CONTROL}/checkpoint"
COUNTERS = f"{CONTROL}/seq"
PRESENCE = f"{CONTROL}/open"
BATCHES = f"{CONTROL}/batches"
FLOOR = f"{CONTROL}/floor"
LOG = f"{CONTROL}/log"
STAGING = f"{CONTROL}/staging"
CONTROL_MARKER = f"{CONTROL}/txn"
"""A file with the format number of the control directory; in format 1 it was the staging directory."""
INDEX = f"{CONTROL}/index.sqlite3"
INDEX_FILES = (f"{INDEX}-wal", f"{INDEX}-shm", f"{INDEX}-journal", INDEX)
WAITING = f"{CONTROL}/waiting"
QUARANTINE = f"{CONTROL}/quarantine"

SUFFIX = ".json"
MOST_SEGMENTS = 10**12
_SLUG_CHARACTERS = 40
_PLAIN = re.compile(r"[a-z0-9_-][a-z0-9._-]{0,99}\Z")
_HASHED = re.compile(r"[a-z0-9-]*~([0-9a-f]{32})")
_SHARD = re.compile(r"[0-9a-f]{2}\Z")
_SEGMENT = re.compile(r"([0-9]{12})\.log\Z")
# reserved on Windows with any extension: Microsoft, "Naming Files, Paths, and Namespaces"
_RESERVED = re.compile(r"(con|prn|aux|nul|com[0-9]|lpt[0-9])(\.|\Z)")


class Layout:
    """The names of one store's documents; `shard_depth` comes from its marker."""

    def __init__(self, shard_depth: int) -> None:
        self.shard_depth = shard_depth
        self.name = lru_cache(maxsize=8192)(self._name)

    def _name(self, record_id: str) -> str:
        """Return the name of a document's file, relative to the root."""
        digest = _digest(record_id)
        return f"{_shard(digest, self.shard_depth)}/{_base(record_id, digest)}{SUFFIX}"


def is_shard(name: str) -> bool:
    """Whether a directory's name can be that of a shard."""
    return _SHARD.match(name) is not None


def is_document(name: str) -> bool:
    """Whether a file's name can be that of a document: not a foreign file, an editor's backup or the like.

    Bytes that are no text name a foreign file too: neither the index nor a message could hold such a name.
    """
    return name.endswith(SUFFIX) and not name.startswith(".") and (name.isascii() or is_text(name))


def leads_to(path: str, shard_depth: int) -> tuple[str, bool] | None:
    """Return the shard or the document that a path below the root names, and whether it is a document; else None.

    A directory above shards stands for itself; "" is the root.
    """
    *directories, base = path.split("/")
    if not all(map(is_shard, directories)) or len(directories) > shard_depth:
        return None
    if len(directories) == shard_depth:
        return (path, True) if is_document(base) else None
    return (path, False) if not path or is_shard(base) else None


def depth_of(name: str) -> int | None:
    """Return the shard depth of a store in which a document's file has its right place there; None where it has none.

    Known by the name alone: a base that is no id's own name ends with the hash that the shards are named after.
    """
    *shards, base = name.split("/")
    stem = base.removesuffix(SUFFIX)
    if hashed := _HASHED.fullmatch(stem):
        digest = hashed[1]
    elif _is_plain(stem):
        digest = _digest(stem)
    else:
        return None
    depth = len(shards)
    return depth if depth in SHARD_DEPTHS and "/".join(shards) == _shard(digest, depth) else None


def shard_of(name: str) -> str:
    """Return the directory of a document's file."""
    return name.rpartition("/")[0]


def directories_of(name: str) -> list[str]:
    """Return the directories between the root and a file, the outermost first."""
    inner = shard_of(name)
    parts = inner.split("/")
    return ["/".join(parts[: at + 1]) for at in range(len(parts))] if inner else []


def segment_name(number: int) -> str:
    """Return the name of a segment of the redo log; names sort as the numbers do."""
    return f"{LOG}/{number:012d}.log"


def segment_number(base: str) -> int | None:
    """Return the number of a segment from the last component of its name; None for a foreign file."""
    found = _SEGMENT.match(base)
    return int(found[1]) if found else None


def _digest(record_id: str) -> str:
    return hashlib.blake2b(record_id.encode(), digest_size=16).hexdigest()


def _shard(digest: str, depth: int) -> str:
    return "/".join(digest[2 * level : 2 * level + 2] for level in range(depth))


def waiting_name(name: str) -> str:
    """Return the name of the file that holds what a document waits to become; no two documents have the same."""
    return f"{WAITING}/{name.replace('/', '-')}"


def _base(record_id: str, digest: str) -> str:
    return record_id if _is_plain(record_id) else f"{_slug(record_id)}~{digest}"


def _is_plain(record_id: str) -> bool:
    return bool(_PLAIN.match(record_id)) and not record_id.endswith(".") and not _RESERVED.match(record_id)


def _slug(record_id: str) -> str:
    """Return what is readable of an id: lower-case ASCII letters and digits, joined by dashes."""
    # NFKD splits accents off, so that a name for people still reads like the id
    letters = unicodedata.normalize("NFKD", record_id[: 4 * _SLUG_CHARACTERS]).encode("ascii", "ignore").decode()
    return re.sub(r"[^a-z0-9]+", "-", letters.lower()).strip("-")[:_SLUG_CHARACTERS]
