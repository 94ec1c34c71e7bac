"""Conversations of Pydantic AI in a store: `FsstoreConversationStore`."""

from __future__ import annotations

from fsstore.integrations import missing

try:
    import pydantic_ai.conversation_store  # noqa: F401 - it is needed
except ModuleNotFoundError as error:
    raise missing(error, "pydantic-ai-slim>=2.68.0") from error

from fsstore.integrations.pydantic_ai.store import FsstoreConversationStore as FsstoreConversationStore

__all__ = ["FsstoreConversationStore"]
