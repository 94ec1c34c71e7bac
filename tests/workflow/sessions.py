"""A finished thread as session data: messages, state, settings, checkpoints, runs and errors, all plain JSON values.

LangGraph draws checkpoint ids from the system's clock. They are replaced here, in order, by ids drawn from the
conversation's seed; a thread that is continued keeps the ids it was given before.
"""

from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timedelta
from random import Random
from typing import Any

from langchain_core.messages import BaseMessage
from langgraph.checkpoint.memory import InMemorySaver

from tests.workflow.casting import LAST_DAY, Casting
from tests.workflow.clock import iso
from tests.workflow.graph import build
from tests.workflow.model import PRICES
from tests.workflow.sitting import Sitting, open_sitting

Session = dict[str, Any]

_ROLES = {"human": "user", "ai": "assistant", "tool": "tool", "system": "system"}
_TITLE = 48
# how long after its end a conversation is archived
_ARCHIVED_AFTER_DAYS = (9, 40)


@dataclass
class Earlier:
    """A completed conversation that a later one can go on from."""

    session_id: str
    thread_id: str
    whose: tuple[str, str, str]
    """User, locale and agent."""
    ended_at: datetime
    first_step: int
    checkpoint_id: str


@dataclass
class Stage:
    """One graph and one checkpointer for all conversations, so that a thread can be gone back to."""

    app: Any = field(default_factory=lambda: build(InMemorySaver()))
    earlier: list[Earlier] = field(default_factory=list)
    checkpoint_ids: dict[str, str] = field(default_factory=dict)

    def perform(self, casting: Casting) -> Session:
        """Hold the conversation and return its session data. Castings come in the order of their beginnings."""
        parent = self._parent(casting)
        same_thread = parent is not None and casting.from_earlier == "same thread"
        sitting = open_sitting(casting, self.app, parent.thread_id if parent and same_thread else casting.thread_id)
        if parent and not same_thread:
            parent = self._fork(sitting, parent)
        skipped = self.app.get_state(sitting.config).values.get("messages", []) if same_thread else []
        status = sitting.play()
        sitting.desk.tools.close()
        session = self._session(sitting, status, len(skipped), parent)
        self._remember(sitting, session)
        return session

    def _parent(self, casting: Casting) -> Earlier | None:
        if casting.from_earlier == "no":
            return None
        whose = (casting.user_id, casting.locale, casting.family.agent)
        before = [one for one in self.earlier if one.whose == whose and one.ended_at < casting.created_at]
        return before[-1] if before else None

    def _fork(self, sitting: Sitting, parent: Earlier) -> Earlier:
        """Start the thread with a copy of the parent's first exchange; returns the parent as it was at that point."""
        history = self.app.get_state_history({"configurable": {"thread_id": parent.thread_id}})
        own = (snapshot for snapshot in history if snapshot.metadata["step"] >= parent.first_step)
        at_rest = [snapshot for snapshot in own if not snapshot.next]
        messages, branched_from = at_rest[-1].values["messages"], _own_id(at_rest[-1].config)
        values = {"messages": messages, "turns": 1, "at": iso(sitting.desk.clock.now)}
        self.app.update_state(sitting.config, values, as_node="model")
        sitting.desk.clock.spend(1, 30)
        return replace(parent, checkpoint_id=self.checkpoint_ids[branched_from])

    def _remember(self, sitting: Sitting, session: Session) -> None:
        casting, thread_id = sitting.casting, sitting.config["configurable"]["thread_id"]
        # a thread is gone back to from its end only, so what was its end is forgotten, however this one went
        self.earlier = [one for one in self.earlier if one.thread_id != thread_id]
        if session["metadata"]["status"] == "completed":
            whose = (casting.user_id, casting.locale, casting.family.agent)
            first, last = session["checkpoints"][0]["step"], session["checkpoints"][-1]["id"]
            ended_at = sitting.desk.clock.now
            self.earlier.append(Earlier(casting.session_id, thread_id, whose, ended_at, first, last))

    def _session(self, sitting: Sitting, status: str, skipped: int, parent: Earlier | None) -> Session:
        values, config = self.app.get_state(sitting.config).values, sitting.config
        messages = [_message(one) for one in values["messages"][skipped:]]
        return {
            "metadata": _metadata(sitting, status, messages, parent),
            "thread_configs": {config["configurable"]["thread_id"]: {"configurable": config["configurable"]}},
            "settings": {"recursion_limit": config["recursion_limit"], "token_budget": sitting.desk.token_budget},
            "messages": messages,
            "workflow_state": self._state(sitting, values, skipped),
            "checkpoints": self._checkpoints(sitting),
            "runs": [asdict(run) for run in sitting.runs],
            "errors": sitting.desk.errors,
        }

    def _state(self, sitting: Sitting, values: dict[str, Any], skipped: int) -> Session:
        snapshot = self.app.get_state(sitting.config)
        state = {
            "turns": values.get("turns", 0),
            "usage": values.get("usage", {}),
            "tool_usage": values.get("tool_usage", {}),
            "notes": values.get("notes", {}),
            "next": list(snapshot.next),
            "pending": [one.value for one in snapshot.interrupts],
        }
        return {**state, "carried_messages": skipped} if skipped else state

    def _checkpoints(self, sitting: Sitting) -> list[Session]:
        """List what this conversation added to the thread, oldest first."""
        history = [
            snapshot
            for snapshot in reversed(list(self.app.get_state_history(sitting.config)))
            if _own_id(snapshot.config) not in self.checkpoint_ids
        ]
        entries = []
        for at, snapshot in enumerate(history):
            # the input itself is not in the channels yet, and so its time is in the checkpoint after it
            timed = history[at + 1] if snapshot.metadata["source"] == "input" else snapshot
            made_at = datetime.fromisoformat(timed.values["at"]) + timedelta(microseconds=31 * (timed is snapshot))
            self.checkpoint_ids[_own_id(snapshot.config)] = sitting.desk.ids.timed(made_at)
            entries.append(self._checkpoint(snapshot, made_at))
        return entries

    def _checkpoint(self, snapshot: Any, made_at: datetime) -> Session:
        values = snapshot.values
        entry = {
            "id": self.checkpoint_ids[_own_id(snapshot.config)],
            "parent_id": self.checkpoint_ids[_own_id(snapshot.parent_config)] if snapshot.parent_config else None,
            "step": snapshot.metadata["step"],
            "source": snapshot.metadata["source"],
            "next": list(snapshot.next),
            "created_at": iso(made_at),
            "channels": {
                "messages": len(values.get("messages", [])),
                "tokens": values.get("usage", {}).get("total_tokens", 0),
            },
        }
        failed = [{"node": task.name, "error": task.error} for task in snapshot.tasks if task.error]
        return {**entry, "failed_tasks": failed} if failed else entry


def _own_id(config: dict[str, Any]) -> str:
    return str(config["configurable"]["checkpoint_id"])


def _message(message: BaseMessage) -> Session:
    """Write a message with the fields that it has, and no others."""
    usage = getattr(message, "usage_metadata", None) or {}
    fields = {
        "id": message.id,
        "role": _ROLES[message.type],
        "content": message.content,
        **message.additional_kwargs,
        "tool_calls": [{key: one[key] for key in ("id", "name", "args")} for one in getattr(message, "tool_calls", [])],
        "tool_call_id": getattr(message, "tool_call_id", None),
        "name": message.name,
        "status": getattr(message, "status", None),
        "finish_reason": message.response_metadata.get("finish_reason"),
        "usage": {key: usage[key] for key in ("input_tokens", "output_tokens") if key in usage},
    }
    return {key: value for key, value in fields.items() if value not in (None, [], {})}


def _metadata(sitting: Sitting, status: str, messages: list[Session], parent: Earlier | None) -> Session:
    casting, chance = sitting.casting, Random(f"{sitting.casting.seed} metadata")
    ended_at = sitting.desk.clock.now
    metadata: Session = {
        "session_id": casting.session_id,
        "user_id": casting.user_id,
        "thread_id": sitting.config["configurable"]["thread_id"],
        "status": status,
        "tags": list(casting.tags),
        "created_at": iso(casting.created_at),
        "updated_at": iso(ended_at),
        "workflow_config_path": f"configs/workflows/{casting.family.agent}.yaml",
        "agent": casting.family.agent,
        "model": casting.model,
        "title": _title(casting, messages, chance),
        "turns": sitting.turns,
        "cost_usd": _cost(casting.model, messages),
        "attempts": sitting.desk.attempts,
    }
    if parent:
        kind = "fork" if casting.from_earlier == "fork" else "continuation"
        metadata["parent"] = {
            "session_id": parent.session_id,
            "checkpoint_id": parent.checkpoint_id,
            "kind": kind,
        }
    elif chance.random() < 0.4:
        metadata["parent"] = None
    if casting.client:
        metadata["client"] = casting.client
    if status in {"completed", "archived"} and chance.random() < 0.45:
        metadata["rating"] = chance.choices([1, 2, 3, 4, 5], [1, 1, 2, 5, 7])[0]
    if status == "archived":
        archived_at = ended_at + timedelta(days=chance.uniform(*_ARCHIVED_AFTER_DAYS))
        metadata["archived_at"] = metadata["updated_at"] = iso(min(archived_at, LAST_DAY))
    return metadata


def _title(casting: Casting, messages: list[Session], chance: Random) -> str:
    """Name the session after its kind, or after the first thing the user said in it."""
    titles = casting.family.titles.get(casting.locale) or casting.family.titles["en"]
    said = next(str(one["content"]) for one in messages if one["role"] == "user").split("\n")[0]
    short = said if len(said) <= _TITLE else said[: _TITLE - 1].rstrip() + "…"
    return chance.choice(titles) if chance.random() < 0.4 else short


def _cost(model: str, messages: list[Session]) -> float:
    """Price the tokens of the assistant's messages, in USD."""
    into, out = PRICES[model]
    usages = [one["usage"] for one in messages if "usage" in one]
    # whole numbers are summed, since Python 3.12 sums floats in another way than 3.11
    read, written = (sum(one[kind] for one in usages) for kind in ("input_tokens", "output_tokens"))
    return float(round((read * into + written * out) / 1_000_000, 6))
