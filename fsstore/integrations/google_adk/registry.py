"""How ADK makes the service for a URI: what is registered with it."""

from __future__ import annotations

from typing import Any

from google.adk.sessions import BaseSessionService

from fsstore.integrations.google_adk.scheme import SCHEME
from fsstore.integrations.google_adk.service import FsstoreSessionService


def register(scheme: str = SCHEME) -> None:
    """Let ADK's service registry make the service for URIs of this scheme, as `services.py` of an agent may.

    `services.yaml` does the same without it. What `adk web` and the like pass beside the URI are options of the store.
    """
    from google.adk.cli.service_registry import get_service_registry  # noqa: PLC0415 - it brings the command line of ADK

    get_service_registry().register_session_service(scheme, _made)


def _made(uri: str, **options: Any) -> BaseSessionService:
    return FsstoreSessionService(uri, **options)
