"""A support desk: sessions as a model, edited by many tasks, handed over in transactions, listed by filters.

Run it with a directory: `python support_desk.py DIRECTORY`.
"""

import asyncio
import sys
from collections import Counter
from pathlib import Path
from typing import Literal

from pydantic import BaseModel

import fsstore


class Message(BaseModel):
    role: Literal["user", "agent"]
    text: str


class Metadata(fsstore.SessionMetadata):
    priority: int = 0


class Ticket(BaseModel):
    metadata: Metadata
    subject: str
    messages: list[Message] = []


def ticket(session_id: str, subject: str, user_id: str) -> Ticket:
    now = fsstore.SessionMetadata.model_validate(
        {"session_id": session_id, "created_at": "2026-01-31T09:00:00Z", "updated_at": "2026-01-31T09:00:00Z"}
    )
    metadata = Metadata(
        session_id=session_id, status="open", user_id=user_id, created_at=now.created_at, updated_at=now.updated_at
    )
    return Ticket(metadata=metadata, subject=subject)


async def receive(tickets: fsstore.TypedSessions[Ticket], count: int) -> None:
    for number in range(count):
        session_id = f"ticket-{number}"
        await tickets.save(session_id, ticket(session_id, f"question {number}", f"user-{number % 3}"))


async def answer(tickets: fsstore.TypedSessions[Ticket], session_id: str, text: str) -> int:
    def say(found: Ticket) -> None:
        found.messages.append(Message(role="agent", text=text))
        found.metadata.status = "answered"

    edited = await tickets.edit(session_id, say, timeout_seconds=5)
    return len(edited.messages)


async def raise_priority(tickets: fsstore.TypedSessions[Ticket], session_id: str) -> Ticket:
    async def urgent(found: Ticket) -> Ticket:
        await asyncio.sleep(0)
        return found.model_copy(update={"metadata": found.metadata.model_copy(update={"priority": 9})})

    return await tickets.edit(session_id, urgent, replace=True)


async def hand_over(tickets: fsstore.TypedSessions[Ticket], session_id: str, user_id: str) -> bool:
    async with tickets.transaction() as transaction:
        found = await transaction.get(session_id)
        if found is None:
            return False
        found.metadata.user_id = user_id
        await transaction.save(session_id, found)
    return True


async def close_old(sessions: fsstore.SessionService) -> int:
    closed = 0
    answered = {"status": "answered"}
    for session in await sessions.list_sessions(answered, limit=50, order_by="created_at", fields=["session_id"]):
        await sessions.update_session(session["metadata"]["session_id"], {"metadata": {"status": "closed"}})
        closed += 1
    return closed


async def statistics(tickets: fsstore.TypedSessions[Ticket]) -> Counter[str]:
    found: Counter[str] = Counter()
    async for batch in tickets.stream(batch_size=4):
        for session in batch:
            found[session.data.metadata.status] += 1
    return found


async def newest(tickets: fsstore.TypedSessions[Ticket]) -> list[str]:
    page = await tickets.page({"status": {"$in": ["open", "closed"]}}, limit=3)
    return [
        f"{session.id} v{session.version} {session.updated_at:%H}: {session.data.subject}" for session in page.items
    ]


async def main(directory: Path) -> None:
    async with fsstore.open_sessions(directory / "desk", fsync=False, lock_timeout_seconds=20) as sessions:
        tickets = sessions.typed(Ticket)
        await receive(tickets, 10)
        lengths = await asyncio.gather(*(answer(tickets, "ticket-1", f"answer {n}") for n in range(5)))
        print("answers:", max(lengths))
        print("priority:", (await raise_priority(tickets, "ticket-2")).metadata.priority)
        print("handed over:", await hand_over(tickets, "ticket-3", "user-9"))
        print("closed:", await close_old(sessions))
        first = await tickets.get("ticket-1")
        print("version:", first.version if first is not None else 0)
        print("statistics:", sorted((await statistics(tickets)).items()))
        print("newest:", len(await newest(tickets)), "of", await sessions.count_sessions())


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
