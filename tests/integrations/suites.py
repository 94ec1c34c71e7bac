"""The frameworks, the versions that are tested, and their suites; and what of a suite does not count, with reasons.

The versions that are tested are the lower bounds of the extras in `pyproject.toml`. What is left out of a suite stands
in `exclusions.toml`: a test that is not there must pass, and one that is there must not, so that the list stays true.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
EXCLUSIONS = Path(__file__).with_name("exclusions.toml")


@dataclass(frozen=True)
class Suite:
    """Tests of a framework that fsstore has to pass."""

    name: str
    stands_for: str
    """The class of fsstore that is tested."""
    source: str
    """The distribution whose source has the tests; empty where they are installed with the framework."""
    arguments: tuple[str, ...]
    """What pytest is given: files of that source."""
    plugin: str
    """What puts fsstore in the place of the framework's own store."""
    upstream: str
    """The framework's own store, which passes the same tests without the plugin."""
    workers: int = 4
    """How many processes run it: more than there are cores where tests only wait; 0 where starting takes longest."""


@dataclass(frozen=True)
class Framework:
    """An agent framework: what must be installed to test with it."""

    extra: str
    suites: tuple[Suite, ...]
    checks: tuple[str, ...]
    """Our own tests that need the framework, below this folder."""
    module: str
    """What is checked for types in this environment."""
    needs: tuple[str, ...] = ()
    """What the suites need beyond the extra."""
    from_source: tuple[str, ...] = ()
    """Distributions that are built from their sources: their wheels hold more than is tested."""
    also: Mapping[str, str] = field(default_factory=dict)
    """Further distributions of the framework, with their versions."""


FRAMEWORKS = {
    framework.extra: framework
    for framework in (
        Framework(
            extra="openai-agents",
            suites=(
                Suite(
                    "openai-agents session tests",
                    "FsstoreSession",
                    "openai-agents",
                    ("tests/memory/test_session.py", "tests/memory/test_session_limit.py"),
                    "session_substitute",
                    "SQLiteSession",
                ),
            ),
            checks=("openai_session_checks.py",),
            module="fsstore/integrations/openai_agents.py",
        ),
        Framework(
            extra="pydantic-ai",
            suites=(
                Suite(
                    "pydantic-ai conversation rules",
                    "FsstoreConversationStore",
                    "",
                    ("conversation_rules.py",),
                    "conversation_substitute",
                    "InMemoryConversationStore",
                    workers=0,
                ),
            ),
            checks=("pydantic_ai_checks.py",),
            module="fsstore/integrations/pydantic_ai",
        ),
        Framework(
            extra="key-value",
            suites=(
                Suite(
                    "py-key-value rules",
                    "FsstoreKeyValueStore",
                    "",
                    ("entry_rules.py",),
                    "entry_substitute",
                    "FileTreeStore",
                    workers=0,
                ),
            ),
            checks=("key_value_checks.py",),
            module="fsstore/integrations/key_value.py",
            needs=("aiofile", "anyio"),
            also={"fastmcp": "4.2.3"},
        ),
        Framework(
            extra="strands",
            suites=(
                Suite(
                    "strands session managers",
                    "FsstoreRepository",
                    "strands-agents",
                    ("tests/strands/session/test_repository_session_manager.py",),
                    "strands_substitute",
                    "MockedSessionRepository",
                    workers=0,
                ),
                Suite(
                    "strands storage tests",
                    "FsstoreStorage",
                    "strands-agents",
                    ("tests/strands/storage/test_in_memory_storage.py",),
                    "strands_substitute",
                    "InMemoryStorage",
                    workers=0,
                ),
            ),
            checks=("strands_checks.py",),
            module="fsstore/integrations/strands",
            needs=("moto",),
        ),
        Framework(
            extra="langgraph",
            suites=(
                Suite(
                    "langgraph saver conformance",
                    "FsstoreSaver",
                    "",
                    ("conformance_tests.py",),
                    "langgraph_substitute",
                    "AsyncSqliteSaver",
                ),
                Suite(
                    "langgraph delta channels",
                    "FsstoreSaver",
                    "langgraph-checkpoint-sqlite",
                    (
                        "tests/test_conformance_delta.py",
                        "tests/test_delta_channel_migration.py",
                        "tests/test_delta_parent_walk.py",
                        "tests/test_get_delta_channel_history.py",
                    ),
                    "langgraph_substitute",
                    "SqliteSaver",
                ),
                Suite(
                    "langgraph store tests",
                    "FsstoreStore",
                    "langgraph-checkpoint-sqlite",
                    ("tests/test_store.py", "tests/test_async_store.py", "tests/test_ttl.py"),
                    "langgraph_substitute",
                    "SqliteStore",
                ),
            ),
            checks=("langgraph_damage_checks.py", "langgraph_saver_checks.py", "langgraph_store_checks.py"),
            module="fsstore/integrations/langgraph",
            needs=("pytest-mock", "pytest-retry"),
            also={
                "langgraph": "1.2.24",
                "langgraph-checkpoint-conformance": "0.0.2",
                "langgraph-checkpoint-sqlite": "3.1.2",
            },
        ),
        Framework(
            extra="google-adk",
            suites=(
                Suite(
                    "google-adk session contract",
                    "FsstoreSessionService",
                    "",
                    ("adk_contract_tests.py",),
                    "adk_substitute",
                    "SqliteSessionService",
                ),
            ),
            checks=("google_adk_checks.py",),
            module="fsstore/integrations/google_adk",
        ),
        Framework(
            extra="claude-agent",
            suites=(
                Suite(
                    "claude-agent session store tests",
                    "FsstoreSessionStore",
                    "claude-agent-sdk",
                    (
                        "tests/test_session_store_conformance.py",
                        "tests/test_session_summary.py",
                        "tests/test_session_helpers_store.py",
                        "tests/test_session_resume.py",
                        "tests/test_session_import.py",
                        # stores on disk are for asyncio alone, and those of concurrency give the store a few turns of
                        # the event loop, which only one in memory is done in
                        "-k=not trio and not concurrency",
                    ),
                    "claude_substitute",
                    "InMemorySessionStore",
                ),
            ),
            checks=("claude_agent_checks.py",),
            module="fsstore/integrations/claude_agent.py",
            # the wheel brings the whole of Claude Code
            from_source=("claude-agent-sdk",),
        ),
    )
}


def versions_of(extra: str) -> dict[str, str]:
    """Return the distributions of an extra with their lower bounds, which are the versions that are tested."""
    with (ROOT / "pyproject.toml").open("rb") as file:
        wanted = tomllib.load(file)["project"]["optional-dependencies"][extra]
    versions = {}
    for requirement in wanted:
        found = re.fullmatch(r"([\w.-]+)>=([\w.]+)", requirement)
        if found is None:
            raise ValueError(f"{requirement!r} of the extra {extra} must be a name and a lower bound")
        versions[found[1]] = found[2]
    return versions


@dataclass(frozen=True)
class Expected:
    """What a suite must give: how many tests it has, and which of them do not count, with the reason of each."""

    collected: int
    excluded: Mapping[str, str]

    @property
    def passed(self) -> int:
        """How many tests pass."""
        return self.collected - len(self.excluded)


def expected() -> dict[str, Expected]:
    """Return what each suite must give, by its name."""
    with EXCLUSIONS.open("rb") as file:
        kept: dict[str, Any] = tomllib.load(file)
    return {name: Expected(suite["collected"], suite.get("excluded", {})) for name, suite in kept.items()}
