"""A chat behind HTTP: FastAPI, and one fsstore session for each chat.

    pip install fastapi uvicorn
    CHAT_STORE=chats uvicorn chat_server:app

The store is opened once, with the application, and shared by all requests. Several workers may serve one store.
"""

import os
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import Depends, FastAPI, Query, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field

import fsstore

Message = dict[str, Any]


class Question(BaseModel):
    text: str
    # the client makes it, so that a request that is sent twice is stored once
    id: str = Field(default_factory=lambda: uuid.uuid4().hex)


async def answer(history: list[Message]) -> str:
    """Stand for the model: put the call of yours here."""
    return f"You said: {history[-1]['content']}"


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    async with fsstore.open_sessions(os.environ.get("CHAT_STORE", "chats")) as sessions:
        app.state.sessions = sessions
        yield


async def opened(request: Request) -> fsstore.SessionService:
    sessions: fsstore.SessionService = request.app.state.sessions
    return sessions


app = FastAPI(lifespan=lifespan)
Sessions = Annotated[fsstore.SessionService, Depends(opened)]


@app.exception_handler(fsstore.StorageError)
async def explain(_: Request, error: fsstore.StorageError) -> JSONResponse:
    kinds = {fsstore.StorageNotFoundError: 404, fsstore.StorageValidationError: 422, fsstore.StorageConflictError: 409}
    status = next((status for kind, status in kinds.items() if isinstance(error, kind)), 503)
    return JSONResponse({"detail": error.message, "outcome": error.outcome}, status)


@app.post("/chats/{chat_id}/messages")
async def say(chat_id: str, question: Question, sessions: Sessions) -> Message:
    """Store a question, and then its answer; ask twice with one id, and there is still one of each."""
    asked = _message(question.id, "user", question.text)
    await sessions.append_session(chat_id, [asked], unique_by="id", metadata={"status": "waiting"})
    # the model sees the newest messages; the file keeps all
    tail = await sessions.read_tail(chat_id, 20)
    replied = _message(f"{question.id}-reply", "assistant", await answer(tail.items))
    await sessions.append_session(chat_id, [replied], unique_by="id", metadata={"status": "answered"})
    return replied


@app.get("/chats/{chat_id}/messages")
async def read(
    chat_id: str, sessions: Sessions, limit: Annotated[int, Query(ge=1, le=200)] = 50, before: int | None = None
) -> dict[str, Any]:
    """Return the newest messages; pass `start` as `before` for the page before."""
    tail = await sessions.read_tail(chat_id, limit, before=before)
    return {"messages": tail.items, "start": tail.start, "length": tail.length}


@app.get("/chats")
async def chats(sessions: Sessions, status: str | None = None, cursor: str | None = None) -> dict[str, Any]:
    """Return a page of chats, the most recently updated first."""
    page = await sessions.list_page({"status": status} if status else None, 20, cursor)
    return {"chats": [session["metadata"] for session in page.items], "cursor": page.cursor}


@app.delete("/chats/{chat_id}", status_code=204)
async def forget(chat_id: str, sessions: Sessions) -> None:
    await sessions.delete_session(chat_id)


def _message(message_id: str, role: str, text: str) -> Message:
    return {"id": message_id, "role": role, "content": text, "at": datetime.now(UTC).isoformat()}
