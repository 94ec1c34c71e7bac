"""A pytest plugin: the SDK's own session tests get `FsstoreSession` where they ask for `SQLiteSession`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import agents
import agents.memory
from places import place

from fsstore.integrations.openai_agents import FsstoreSession


class Substitute(FsstoreSession):
    """Takes the arguments of `SQLiteSession`; its file becomes a directory, and nothing is synced."""

    def __init__(self, session_id: str, db_path: str | Path = ":memory:", *, session_settings: Any = None) -> None:
        if str(db_path) == ":memory:":
            super().__init__(session_id, session_settings=session_settings)
        else:
            where, options = place(db_path)
            super().__init__(session_id, where, session_settings=session_settings, **options)


agents.SQLiteSession = agents.memory.SQLiteSession = Substitute
