"""What commits have placed and the index does not know yet, and the thread that lets it know.

SQLite works without the interpreter lock, so the writer goes on with the next documents meanwhile. Knows nothing of
commits, files or the lock; used by the writer thread alone. Invariants:
- What is placed reaches the index in the order of its placing: there is one thread, and it does one thing at a time.
- After `settle` the index knows everything, or is known not to: the store lock is not released before.

A crash leaves what was not told yet; the counters are odd then, and whoever is next makes the index stale.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from typing import TypeAlias

from fsstore.filesystem.index.index import Described
from fsstore.filesystem.index.index_file import IndexFile
from fsstore.filesystem.index.rows import Problem

_AT_ONCE, _MOST = 512, 2_048

_Job: TypeAlias = tuple[Callable[[], None], Future[None]]


class Indexing:
    """Lets the index of one open store know what was committed."""

    def __init__(self, index_file: IndexFile) -> None:
        self._index_file = index_file
        self._placed: dict[str, Described | Problem | None] = {}
        self._telling: Future[None] | None = None
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="fsstore-index", daemon=True)

    def start(self) -> None:
        """Begin to work."""
        self._thread.start()

    def place(self, name: str, document: Described | Problem | None) -> None:
        """Note what became of a document's file; None means that it went."""
        self._placed[name] = document

    @property
    def is_telling(self) -> bool:
        """Whether the thread has something to do now."""
        return self._telling is not None and not self._telling.done()

    def proceed(self, *, all_of_it: bool = False) -> None:
        """Let the thread have what waits, if it has nothing to do and that is much, or `all_of_it` shall be told."""
        if len(self._placed) >= _MOST:
            self._hear()
        if len(self._placed) >= (1 if all_of_it else _AT_ONCE) and not self.is_telling:
            self._hear()
            self._tell()

    def settle(self) -> None:
        """Wait until the index knows everything, or is stale. Raises OSError when not even that can be noted."""
        self._hear()
        if self._placed:
            self._tell()
            self._hear()

    def drop(self) -> None:
        """Forget what was not told yet; recovery makes the index stale."""
        self._placed = {}
        telling, self._telling = self._telling, None
        if telling is not None:
            # what it still writes must not come after what the next holder of the lock does
            telling.exception()

    def stop(self) -> None:
        """End the thread."""
        self._jobs.put(None)
        self._thread.join()

    def _hear(self) -> None:
        telling, self._telling = self._telling, None
        if telling is not None:
            telling.result()

    def _tell(self) -> None:
        placed, self._placed = self._placed, {}

        def tell() -> None:
            self._index_file.record(
                [document for document in placed.values() if document is not None],
                [name for name, document in placed.items() if document is None],
            )

        self._telling = Future()
        self._jobs.put((tell, self._telling))

    def _run(self) -> None:
        while _do(self._jobs.get()):
            pass


def _do(job: _Job | None) -> bool:
    """Do one job; False when it is the last. A call of its own, so that an idle thread keeps no documents."""
    if job is None:
        return False
    tell, told = job
    try:
        tell()
    except BaseException as error:  # noqa: BLE001 - the writer thread is to hear of it
        told.set_exception(error)
    else:
        told.set_result(None)
    return True
