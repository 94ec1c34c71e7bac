"""Where the stores lie that the plugins open: in directories, or with `POSTGRES` in tables of a server.

Each directory of a test then stands for tables of their own, which are made when it is first named.
"""

from __future__ import annotations

import os
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

import fsstore.sync

POSTGRES = "FSSTORE_SUITES_POSTGRES"
"""The environment variable with the URL of a database, which `python -m tests.integrations --postgres` sets."""


def place(directory: str | os.PathLike[str]) -> tuple[str, dict[str, Any]]:
    """Return the path or URL of a store, and options with which nothing is synced."""
    server, path = os.environ.get(POSTGRES), str(Path(directory).absolute())
    return (path, {"fsync": False}) if server is None else (_tables(server, path), {})


@cache
def _tables(server: str, path: str) -> str:
    url = f"{server}&prefix=s{sha256(path.encode()).hexdigest()[:12]}_"
    with fsstore.sync.open_storage(url, create=True):
        return url
