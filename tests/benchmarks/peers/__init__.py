"""The implementations: fsstore first, then its peers."""

from __future__ import annotations

from importlib import import_module

from tests.benchmarks.peers.caches import Cachelib, Diskcache, Tinydb
from tests.benchmarks.peers.keyed import KeyValue, Litestar
from tests.benchmarks.peers.ours import Fsstore
from tests.benchmarks.peers.raw import Raw, RawLogged, RawThread
from tests.benchmarks.peers.sessions import OpenaiAgents, Strands
from tests.benchmarks.peers.sqlite import Aiosqlite, AiosqliteShared, Sqlite3
from tests.benchmarks.peers.store import Store

STORES: tuple[type[Store], ...] = (
    Fsstore,
    Raw,
    RawThread,
    RawLogged,
    Sqlite3,
    Aiosqlite,
    AiosqliteShared,
    Diskcache,
    Cachelib,
    Tinydb,
    Litestar,
    KeyValue,
    Strands,
    OpenaiAgents,
)


def named(name: str) -> type[Store]:
    """Return the implementation of that name."""
    return next(store for store in STORES if store.name == name)


def missing(store: type[Store]) -> str | None:
    """Return why an implementation cannot run here, None when it can."""
    for module in store.modules:
        try:
            import_module(module)
        except ImportError as error:
            return f"{error}; `pip install -e '.[bench]'` brings it"
    return None
