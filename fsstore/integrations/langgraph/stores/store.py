"""The face of items that LangGraph knows: `FsstoreStore`, by plain calls and by coroutines.

Every method is a line over `Items`. Owns the thread that removes old items from time to time, where it was asked for;
it keeps no store alive.
"""

from __future__ import annotations

import logging
import os
import threading
import weakref
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Unpack

from langgraph.store.base import BaseStore, TTLConfig

from fsstore.errors import StorageError, StorageValidationError
from fsstore.integrations.langgraph.stores.items import Items
from fsstore.integrations.open_stores import Holder, OpenStore
from fsstore.interfaces import IUnifiedStorage
from fsstore.options import FileOptions

if TYPE_CHECKING:
    from langgraph.store.base import Op

_logger = logging.getLogger("fsstore")

_USUAL_INTERVAL_MINUTES = 5.0


class FsstoreStore(Holder, BaseStore):
    """Items that graphs keep beyond a thread, for `compile(store=...)`.

    `url` is a path or URL, as `fsstore.open_storage` takes it, with the same options; without it the items are in
    memory, and gone with the object. `ttl` says how long items live: `default_ttl` in minutes, `refresh_on_read`,
    `omit_expired` (they are then removed when they are read), `sweep_interval_minutes` for `start_ttl_sweeper`. There
    is no search by meaning: `index` and `query` raise StorageValidationError. Any thread and any event loop may call.
    """

    supports_ttl = True

    def __init__(
        self,
        url: str | os.PathLike[str] = "memory:",
        *,
        ttl: TTLConfig | None = None,
        index: Any = None,
        **options: Unpack[FileOptions],
    ) -> None:
        if index is not None:
            raise StorageValidationError(
                reason="there is no search by meaning here",
                path="index",
                advice="leave it out, or use a store that has vectors",
            )
        self.ttl_config = ttl
        self._store = OpenStore(url, **options)
        self._sweeper: threading.Thread | None = None
        self._stopped = threading.Event()

    def batch(self, ops: Iterable[Op]) -> list[Any]:
        """Do several operations: reads see what was there before, and what is put is one commit."""
        return self._store.plain.run(lambda storage: self._on(storage).batch(ops))

    async def abatch(self, ops: Iterable[Op]) -> list[Any]:
        """Do what `batch` does."""
        return await self._on(self._store.storage).batch(ops)

    def sweep_ttl(self) -> int:
        """Remove the items whose time is over, and return how many; reads the index, not the items."""
        return self._swept()

    async def asweep_ttl(self) -> int:
        """Do what `sweep_ttl` does."""
        return await self._on(self._store.storage).sweep()

    def start_ttl_sweeper(self, sweep_interval_minutes: float | None = None) -> None:
        """Sweep from time to time, in a thread, until `stop_ttl_sweeper` or `close`; five minutes without a number."""
        if self._sweeper is not None and self._sweeper.is_alive():
            return
        minutes = sweep_interval_minutes or (self.ttl_config or {}).get("sweep_interval_minutes")
        self._stopped = threading.Event()
        self._sweeper = threading.Thread(
            target=_sweep,
            args=(weakref.ref(self), self._stopped, (minutes or _USUAL_INTERVAL_MINUTES) * 60),
            name="fsstore-sweeper",
            daemon=True,
        )
        # who drops the store ends its thread
        weakref.finalize(self, self._stopped.set)
        self._sweeper.start()

    def stop_ttl_sweeper(self, timeout: float | None = None) -> bool:
        """End the thread that sweeps, and wait for it, no longer than `timeout` seconds; whether it has ended."""
        self._stopped.set()
        if self._sweeper is None:
            return True
        self._sweeper.join(timeout)
        return not self._sweeper.is_alive()

    def close(self) -> None:
        """End the sweeper, and release the store, which is closed with its last holder; twice is allowed."""
        self.stop_ttl_sweeper()
        super().close()

    def _swept(self) -> int:
        return self._store.plain.run(lambda storage: self._on(storage).sweep())

    def _on(self, storage: IUnifiedStorage) -> Items:
        config = self.ttl_config
        return Items(
            storage,
            refreshes=config is not None and config.get("refresh_on_read", True),
            omits_expired=config is not None and config.get("omit_expired", False),
        )


def _sweep(found: weakref.ref[FsstoreStore], stopped: threading.Event, seconds: float) -> None:
    while not stopped.wait(seconds):
        store = found()
        if store is None:
            return
        try:
            store._swept()  # noqa: SLF001 - its own thread
        except StorageError as error:
            # the next time may be better
            _logger.warning("old items could not be removed: %s", error)
        del store
