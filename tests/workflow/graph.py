"""The agent: intake, model, review, tools, as a LangGraph graph over a checkpointed thread.

```
START → intake → model → END
                 ↑   ↓ calls
       refused review → tools → model
```

A dropped line (ConnectionError, TimeoutError) is retried by the node's RetryPolicy; what a tool refuses becomes a
tool message that the model reads; anything else ends the run, and the thread keeps its last checkpoint. Every node
writes the clock's time into the channel `at`, so each checkpoint knows when it was made without asking the system.
"""

import json
import operator
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Annotated, Any, TypedDict

from langchain_core.messages import AIMessage, AnyMessage, ToolMessage
from langchain_core.tools import ToolException
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.graph import END, START, StateGraph
from langgraph.graph.message import add_messages
from langgraph.runtime import Runtime
from langgraph.types import Command, RetryPolicy, interrupt
from pydantic import ValidationError

from tests.workflow.clock import Clock, Ids, iso
from tests.workflow.model import ScriptedModel
from tests.workflow.tools import NEEDS_APPROVAL, Toolbox

DROPPED = (ConnectionError, TimeoutError)
REFUSED = (ToolException, ValidationError, ArithmeticError, LookupError, ValueError, TypeError)
MAX_ATTEMPTS = 3

_FIRST_PAUSE_SECONDS = 0.5
_LONGEST_NOTE = 120


class BudgetExceededError(RuntimeError):
    """The thread has used up the tokens it was given."""


@dataclass
class Desk:
    """What one conversation works with; handed to every node as the graph's context."""

    clock: Clock
    ids: Ids
    model: ScriptedModel
    tools: Toolbox
    token_budget: int
    errors: list[dict[str, Any]] = field(default_factory=list)
    attempts: int = 1
    """The most attempts that any node needed."""

    @contextmanager
    def attempt(self, node: str, number: int) -> Iterator[None]:
        """Note a drop, and the pause the retry policy would make, before the policy sees the error."""
        self.attempts = max(self.attempts, number)
        try:
            yield
        except DROPPED as error:
            self.note(node, error, attempt=number, recovered=number < MAX_ATTEMPTS)
            self.clock.spend(_FIRST_PAUSE_SECONDS * 2 ** (number - 1), _FIRST_PAUSE_SECONDS * 2**number)
            raise

    def note(self, node: str, error: BaseException, **more: object) -> None:
        """Keep an error for the session's record."""
        entry = {"at": iso(self.clock.now), "node": node, "type": type(error).__name__}
        self.errors.append({**entry, "message": describe_error(error), **more})


def _sum_counts(left: dict[str, int], right: dict[str, int]) -> dict[str, int]:
    return {key: left.get(key, 0) + right.get(key, 0) for key in [*left, *right]}


def _merge(left: dict[str, str], right: dict[str, str]) -> dict[str, str]:
    return left | right


class ThreadState(TypedDict, total=False):
    """The channels of a thread."""

    messages: Annotated[list[AnyMessage], add_messages]
    turns: Annotated[int, operator.add]
    usage: Annotated[dict[str, int], _sum_counts]
    tool_usage: Annotated[dict[str, int], _sum_counts]
    notes: Annotated[dict[str, str], _merge]
    at: str


def build(saver: BaseCheckpointSaver[Any]) -> Any:
    """Compile the graph over a checkpointer. Retries do not really wait: the desk's clock moves on instead."""
    policy = RetryPolicy(initial_interval=0, jitter=False, max_attempts=MAX_ATTEMPTS, retry_on=DROPPED)
    graph = StateGraph(ThreadState, context_schema=Desk)
    graph.add_node("intake", intake)
    graph.add_node("model", think, retry_policy=policy)
    graph.add_node("review", review, destinations=("tools", "model"))
    graph.add_node("tools", use_tools, retry_policy=policy)
    graph.add_edge(START, "intake")
    graph.add_edge("intake", "model")
    graph.add_conditional_edges("model", route, ["review", "tools", END])
    graph.add_edge("tools", "model")
    return graph.compile(checkpointer=saver)


def intake(state: ThreadState, runtime: Runtime[Desk]) -> dict[str, Any]:
    """Count the turn; raises BudgetExceededError when the thread has no tokens left."""
    desk = runtime.context
    used = state.get("usage", {}).get("total_tokens", 0)
    if used > desk.token_budget:
        message = f"{used} tokens used, {desk.token_budget} allowed"
        raise BudgetExceededError(message)
    desk.clock.spend(0.002, 0.02)
    return {"turns": 1, "at": iso(desk.clock.now)}


def think(state: ThreadState, runtime: Runtime[Desk]) -> dict[str, Any]:
    """Ask the model, over a line that may drop."""
    desk = runtime.context
    with desk.attempt("model", _attempt_number(runtime)):
        spoken = desk.model.invoke(state["messages"])
    latency = desk.clock.spend(0.4, 4.5)
    spoken.additional_kwargs = {"created_at": iso(desk.clock.now), "latency_ms": latency}
    return {"messages": [spoken], "usage": dict(spoken.usage_metadata or {}), "at": iso(desk.clock.now)}


def route(state: ThreadState) -> str:
    """Go where the model's last message asks: to review, to the tools, or to the end."""
    calls = _last_calls(state)
    if not calls:
        return str(END)
    return "review" if any(one["name"] in NEEDS_APPROVAL for one in calls) else "tools"


def review(state: ThreadState, runtime: Runtime[Desk]) -> Command[Any]:
    """Wait for a human; a refusal goes back to the model as the result of its calls."""
    desk, calls = runtime.context, _last_calls(state)
    asked = [{"name": one["name"], "args": one["args"]} for one in calls]
    verdict = interrupt({"question": "Approve these calls?", "calls": asked})
    at = iso(desk.clock.now)
    if verdict["approved"]:
        return Command(goto="tools", update={"at": at})
    refusals = [_result(desk, one, f"Refused by the reviewer: {verdict['reason']}", status="error") for one in calls]
    return Command(goto="model", update={"messages": refusals, "at": at})


def use_tools(state: ThreadState, runtime: Runtime[Desk]) -> dict[str, Any]:
    """Run the calls of the model's last message in order; a refused call becomes an error message."""
    desk, calls = runtime.context, _last_calls(state)
    with desk.attempt("tools", _attempt_number(runtime)):
        results = [_run(desk, one) for one in calls]
    return {
        "messages": results,
        "tool_usage": _count(calls),
        "notes": {one.name: str(one.content)[:_LONGEST_NOTE] for one in results if one.status != "error"},
        "at": iso(desk.clock.now),
    }


def describe_error(error: BaseException) -> str:
    """Describe an error in words that do not depend on the version of a library."""
    if isinstance(error, ValidationError):
        parts = error.errors(include_url=False, include_input=False)
        return "; ".join(f"{'.'.join(map(str, part['loc']))}: {part['msg']}" for part in parts)
    # str() of a KeyError is the repr of its key; what follows the first line of others is where to read more
    return str(error.args[0]) if isinstance(error, LookupError) and error.args else str(error).partition("\n")[0]


def _attempt_number(runtime: Runtime[Desk]) -> int:
    info = runtime.execution_info
    return int(info.node_attempt) if info else 1


def _run(desk: Desk, one: dict[str, Any]) -> ToolMessage:
    try:
        value = desk.tools.run(one["name"], one["args"])
    except REFUSED as error:
        desk.note("tools", error, tool=one["name"], tool_call_id=one["id"], recovered=True)
        return _result(desk, one, f"{type(error).__name__}: {describe_error(error)}", status="error")
    return _result(desk, one, json.dumps(value, ensure_ascii=False), artifact=value)


def _result(desk: Desk, one: dict[str, Any], content: str, **more: object) -> ToolMessage:
    latency = desk.clock.spend(0.002, 0.9)
    return ToolMessage(
        content,
        id=desk.ids.make("msg_"),
        name=one["name"],
        tool_call_id=one["id"],
        additional_kwargs={"created_at": iso(desk.clock.now), "latency_ms": latency},
        **more,
    )


def _last_calls(state: ThreadState) -> list[dict[str, Any]]:
    last = state["messages"][-1]
    return [dict(one) for one in last.tool_calls] if isinstance(last, AIMessage) else []


def _count(calls: list[dict[str, Any]]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for one in calls:
        counts[one["name"]] = counts.get(one["name"], 0) + 1
    return counts
