"""fsstore as the memory of agent frameworks: a module for each framework, named like its extra.

Import the module of the framework that you use, such as `fsstore.integrations.langgraph`; nothing else in fsstore
imports them. Each stands on the public faces of sessions and storages alone. Where a framework is not installed, a type
checker takes its classes for Any, and so do these modules: they are checked strictly either way.
"""

from __future__ import annotations


def missing(error: ModuleNotFoundError, extra: str) -> ModuleNotFoundError:
    """Return the error to raise where a framework is not installed: it names the extra that brings it."""
    return ModuleNotFoundError(f"{error}; install it by: pip install 'fsstore[{extra}]'", name=error.name)
