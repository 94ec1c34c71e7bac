"""Stores of tests in PostgreSQL: each path is one, so that a contract class can open one twice."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psycopg
from psycopg import sql

from fsstore.model.mutations import Append
from fsstore.model.records import JsonObject
from fsstore.postgres.schema.tables import Names
from fsstore.postgres.storage import PostgresStorage

_SHARED = "contract_"
_stores: dict[str, Path] = {}


def prefix_of(path: Path) -> str:
    """Return the prefix of the tables of the store that stands for a path."""
    return f"t{hashlib.sha256(str(path).encode()).hexdigest()[:16]}_"


async def opened(url: str, path: Path, **options: Any) -> PostgresStorage:
    """Open the store that stands for a path, and make it when it is not there."""
    return await PostgresStorage.open(url, create=True, prefix=prefix_of(path), **options)


def setting(url: str, **settings: str) -> str:
    """Return a URL whose sessions begin with these settings, as a role or a database may have them."""
    given = [f"-c {name}=" + value.replace(" ", r"\ ") for name, value in settings.items()]
    options = quote(" ".join(given), safe="")
    return f"{url}{'&' if '?' in url else '?'}options={options}"


def shared_prefix(url: str, path: Path) -> str:
    """Return the prefix of tables that stand for a path now, and are emptied for the next one.

    To make tables takes longer than most tests of a contract do.
    """
    if _stores.get(url) != path:
        if url in _stores:
            names = Names(prefix=_SHARED)
            with psycopg.connect(url) as connection:
                tables = sql.SQL(", ").join([names.documents, names.changes])
                connection.execute(sql.SQL("TRUNCATE {}").format(tables))
                connection.execute(sql.SQL("UPDATE {} SET floor = 0").format(names.store))
        _stores[url] = path
    return _SHARED


def appending(item: int) -> Append:
    """Return what puts an item at the end of the list of `a`."""
    new: JsonObject = {"id": "a", "type": "t", "data": {"items": []}}
    return Append("a", [item], ("data", "items"), make=new)


async def items_of(storage: PostgresStorage) -> list[int]:
    """Return the list of `a`."""
    record = await storage.load("a")
    return [] if record is None else list(record["data"]["items"])
