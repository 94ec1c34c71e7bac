"""What the yardstick asks of a store, and what follows for one that only saves and gets."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from tests.benchmarks.documents import Session

T = TypeVar("T")


class UnsupportedError(Exception):
    """The store cannot do this, or not in reasonable time; the text says why and goes into the report."""


class Store(ABC):
    """One implementation, used as its documentation recommends.

    Adding a peer: write a subclass, and name it in `peers.STORES`. What it imports, it imports in `open`, so that the
    others run where it is not installed.
    """

    name: ClassVar[str]
    timed: ClassVar[str]
    """How it is used, and what is inside its time."""
    modules: ClassVar[tuple[str, ...]] = ()
    """What must be importable."""
    durabilities: ClassVar[tuple[bool, ...]] = (False,)
    """Whether an acknowledged write survives a power cut: no, yes, or as one asks."""
    indexed: ClassVar[bool] = False
    """Whether it finds sessions without reading all."""
    blocking: ClassVar[bool] = False
    """Whether its calls block the event loop: then nothing is ever in flight."""
    processes: ClassVar[bool] = True
    """Whether several processes may write to it."""
    most_calls: ClassVar[int | None] = None
    """How many calls of a kind it is to get in one trial, where each costs it very much."""
    most_documents: ClassVar[int | None] = None
    """With how many documents it can be filled in reasonable time."""

    def __init__(self, directory: Path, *, durable: bool) -> None:
        """Do nothing yet."""
        self.directory = directory
        self.durable = durable
        self.names: Sequence[str] = ()
        """The ids in it, known to the caller: for stores that cannot tell."""

    async def open(self) -> None:  # noqa: B027 - some have nothing to open
        """Open the store in its directory, which exists."""

    async def close(self) -> None:  # noqa: B027 - or to close
        """Close it."""

    @property
    def batches(self) -> bool:
        """Whether it knows batches."""
        return type(self).save_many is not Store.save_many

    @abstractmethod
    async def save(self, name: str, session: Session) -> None:
        """Insert or replace a session."""

    @abstractmethod
    async def get(self, name: str) -> Any:
        """Return a session, None when there is none."""

    @abstractmethod
    async def delete(self, name: str) -> None:
        """Remove a session."""

    async def exists(self, name: str) -> bool:
        """Whether there is such a session."""
        return await self.get(name) is not None

    async def save_many(self, sessions: Mapping[str, Session]) -> None:
        """Save a batch; one after another where the store knows no batches."""
        for name, session in sessions.items():
            await self.save(name, session)

    async def update(self, name: str, changed: Session) -> None:
        """Change fields of a session's metadata, and leave the rest; read, modify and save where it has no better."""
        session = await self.get(name)
        session["metadata"].update(changed)
        await self.save(name, session)

    async def list_sessions(self, status: str, user: str, limit: int) -> list[Session]:
        """Return whole sessions, the newest first; a store without an index reads all."""
        found = []
        for name in await self.all_names():
            session = await self.get(name)
            if session["metadata"]["status"] == status and session["metadata"]["user_id"] == user:
                found.append(session)
        return newest(found, limit, lambda session: session["metadata"])

    async def list_metadata(self, status: str, user: str, limit: int) -> list[Session]:
        """Return metadata of sessions, the newest first."""
        return [session["metadata"] for session in await self.list_sessions(status, user, limit)]

    async def count(self, status: str) -> int:
        """Return how many sessions have a status."""
        sessions = [await self.get(name) for name in await self.all_names()]
        return sum(session["metadata"]["status"] == status for session in sessions)

    async def all_names(self) -> Iterable[str]:
        """Return the ids of all sessions."""
        return self.names

    async def survey(self) -> int:
        """Look at every document without reading it, as after external edits; return how many there are."""
        raise UnsupportedError("has no files to compare with an index")

    def stream(self) -> AsyncIterator[Session]:
        """Give all sessions, one after another."""
        raise UnsupportedError("has no way to stream all sessions")


class BlockingStore(Store):
    """A synchronous library, called directly: that spares it a thread, and blocks the event loop."""

    blocking = True

    async def _call(self, work: Callable[..., T], *arguments: Any) -> T:
        return work(*arguments)


def newest(found: list[T], limit: int, metadata: Callable[[T], Session]) -> list[T]:
    """Return those that were updated last."""
    return sorted(found, key=lambda one: str(metadata(one)["updated_at"]), reverse=True)[:limit]
