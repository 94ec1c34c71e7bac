"""The typed view of a session: the models of the contract, and what makes any pydantic model a session. Pure.

`dumping` turns a model into JSON that it loads from again, `loading` loads it; both go by `names`, and `equality`
proves that nothing is lost between them. Knows no storage.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict


class SessionMetadata(BaseModel):
    """What a session is found by. Unknown keys are allowed and kept."""

    model_config = ConfigDict(extra="allow")

    session_id: str
    workflow_config_path: str | None = None
    status: str = "unknown"
    created_at: datetime
    updated_at: datetime
    user_id: str | None = None
    tags: list[str] = []


class SessionData(BaseModel):
    """A session as stored under the record's `data`. Unknown keys are allowed and kept."""

    model_config = ConfigDict(extra="allow")

    metadata: SessionMetadata
    thread_configs: dict[str, Any] = {}
    workflow_state: dict[str, Any] = {}
    settings: dict[str, Any] = {}
