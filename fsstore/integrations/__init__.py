"""fsstore as the memory of agent frameworks: a module for each framework, named like its extra.

Import the module of the framework that you use, such as `fsstore.integrations.langgraph`; nothing else in fsstore
imports them. Each stands on the public faces of sessions and storages alone. Where a framework is not installed, a type
checker takes its classes for Any, and so do these modules: they are checked strictly either way.
"""

from __future__ import annotations


def missing(error: ModuleNotFoundError, requirement: str) -> ModuleNotFoundError:
    """Return the error to raise where a framework is not installed: it names the distribution that has it.

    That is what its extra asks for. The extra itself is not named: whoever installed fsstore from a checkout would get
    another package of that name from the index.
    """
    return ModuleNotFoundError(f"{error}; install it by: pip install '{requirement}'", name=error.name)
