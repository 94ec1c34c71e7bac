"""fsstore for programs without an event loop: the same names, options, results and errors, by plain calls.

Start with `open_sessions(path)`, and use it with `with`.
"""

from __future__ import annotations

from fsstore.sync.opening import SessionService as SessionService
from fsstore.sync.opening import SessionTransaction as SessionTransaction
from fsstore.sync.opening import Storage as Storage
from fsstore.sync.opening import TypedSessions as TypedSessions
from fsstore.sync.opening import TypedTransaction as TypedTransaction
from fsstore.sync.opening import Watch as Watch
from fsstore.sync.opening import open_sessions as open_sessions
from fsstore.sync.opening import open_storage as open_storage

__all__ = [
    "SessionService",
    "SessionTransaction",
    "Storage",
    "TypedSessions",
    "TypedTransaction",
    "Watch",
    "open_sessions",
    "open_storage",
]
