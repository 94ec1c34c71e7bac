"""Stores of tests in PostgreSQL: each path is one, so that a contract class can open one twice."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from fsstore.postgres.storage import PostgresStorage


def prefix_of(path: Path) -> str:
    """Return the prefix of the tables of the store that stands for a path."""
    return f"t{hashlib.sha256(str(path).encode()).hexdigest()[:16]}_"


async def opened(url: str, path: Path, **options: Any) -> PostgresStorage:
    """Open the store that stands for a path, and make it when it is not there."""
    return await PostgresStorage.open(url, create=True, prefix=prefix_of(path), **options)
