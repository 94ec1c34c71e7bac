"""A pytest plugin: tests of ADK's sessions get `FsstoreSessionService` where they ask for `SqliteSessionService`."""

from __future__ import annotations

from google.adk.sessions import sqlite_session_service
from places import place

from fsstore.integrations.google_adk import FsstoreSessionService


class Substitute(FsstoreSessionService):
    """Takes the argument of `SqliteSessionService`; its file becomes a directory, and nothing is synced."""

    def __init__(self, db_path: str) -> None:
        where, options = place(db_path)
        super().__init__(where, **options)


sqlite_session_service.SqliteSessionService = Substitute
