"""What callers hand in as a session or as an item of a list: JSON values, or pydantic models. Pure.

pydantic takes longer to load than everything else that a program of dicts needs. So only those load it who use models:
a value can be a model only where pydantic is there already.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeAlias, TypeGuard

if TYPE_CHECKING:
    from pydantic import BaseModel

SessionInput: TypeAlias = "Mapping[str, Any] | BaseModel"


class _Later:
    """Stands for a class that is not loaded, and is shown by its name."""

    def __repr__(self) -> str:
        return "SessionData"


SESSION_DATA: Any = _Later()
"""Stands for `models.SessionData` as a default."""


def is_model(value: object) -> TypeGuard[BaseModel]:
    """Whether a value is a pydantic model."""
    # which may be loading in another thread, and then has made none
    base = getattr(sys.modules.get("pydantic.main"), "BaseModel", None)
    return base is not None and isinstance(value, base)


def dump_model(session_id: str, model: BaseModel) -> dict[str, Any]:
    """Return a model as the JSON that it loads from again: see `models.dumping`."""
    from fsstore.sessions.models import dumping  # noqa: PLC0415 - see the module's docstring

    return dumping.dump_model(session_id, model)
