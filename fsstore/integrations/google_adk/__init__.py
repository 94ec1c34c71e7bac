"""The sessions of Google's Agent Development Kit in a store: `FsstoreSessionService`.

It shares one open store for each path with everything else in the process, and may keep what it has in one store with
sessions of others.
"""

from __future__ import annotations

from fsstore.integrations import missing

try:
    import google.adk.sessions  # noqa: F401 - it is needed
except ModuleNotFoundError as error:
    raise missing(error, "google-adk>=2.13.0") from error

from fsstore.integrations.google_adk.registry import register as register
from fsstore.integrations.google_adk.service import FsstoreSessionService as FsstoreSessionService
from fsstore.integrations.google_adk.service import SessionPage as SessionPage

__all__ = ["FsstoreSessionService", "SessionPage", "register"]
