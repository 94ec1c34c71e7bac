"""One conversation from first line to last: starts the graph's runs, approves, cuts off, goes on after a failure."""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from random import Random
from typing import Any, Literal

from langchain_core.messages import HumanMessage, SystemMessage
from langgraph.errors import GraphRecursionError
from langgraph.types import Command

from tests.workflow.casting import Casting
from tests.workflow.clock import Clock, Ids, iso
from tests.workflow.graph import DROPPED, MAX_ATTEMPTS, BudgetExceededError, Desk
from tests.workflow.model import ScriptedModel
from tests.workflow.scenarios import tell
from tests.workflow.scenarios.script import Draw, Screenplay
from tests.workflow.tools import Toolbox
from tests.workflow.tools.remote import Line

Outcome = Literal["finished", "interrupted", "cancelled", "failed"]

_FOR_GOOD = 10_000
_STEPS = 60
_STEPS_WHEN_STUCK = 15
_BUDGET = 200_000
# how often a call is dropped once or twice, and how often so long that the run fails and is resumed
_HICCUPS, _OUTAGES = 0.07, 0.02
_APPROVALS: dict[str, int] = {"approve": 60, "refuse": 20, "wait": 20}
_REFUSALS = [
    "amount above the desk's limit",
    "no photo of the damage",
    "已超过退货期限",
    "確認書類が不足しています",
]
_LANGUAGES = {"en": "English", "zh": "Chinese", "ja": "Japanese"}


@dataclass
class Run:
    """One run of the graph: what started it and how it ended."""

    run_id: str
    trigger: str
    started_at: str
    outcome: Outcome = "finished"
    finished_at: str = ""


@dataclass
class Sitting:
    """A conversation being held; `play` runs it to its end."""

    casting: Casting
    app: Any
    desk: Desk
    line: Line
    config: dict[str, Any]
    chance: Random
    runs: list[Run] = field(default_factory=list)
    turns: int = 0

    def play(self) -> str:
        """Hold the conversation; returns the status that it ends in."""
        for text in self._lines():
            self.turns += 1
            self._make_trouble()
            outcome = self._settle(self._run(self._said(text), "message"))
            if outcome != "finished":
                return {"interrupted": "active", "cancelled": "cancelled", "failed": "failed"}[outcome]
            if self._ends("open"):
                return "active"
            self.desk.clock.spend(5, 260)
        return "archived" if self.casting.ending == "archived" else "completed"

    def _lines(self) -> Iterator[str]:
        while (text := self.desk.model.screenplay.cue()) is not None:
            yield text

    def _said(self, text: str) -> dict[str, Any]:
        at = iso(self.desk.clock.now)
        said: list[Any] = []
        if not self.app.get_state(self.config).values:
            rules = f"You are {self.casting.family.agent}. Answer in {_LANGUAGES[self.casting.locale]}; use the tools"
            rules += " for every number, date and quotation, and say so when a tool refuses."
            said.append(SystemMessage(rules, id=self.desk.ids.make("msg_"), additional_kwargs={"created_at": at}))
        said.append(HumanMessage(text, id=self.desk.ids.make("msg_"), additional_kwargs={"created_at": at}))
        return {"messages": said, "at": at}

    def _ends(self, ending: str) -> bool:
        return self.casting.ending == ending and self.turns == self.casting.ends_in_turn

    def _make_trouble(self) -> None:
        """Set up the drops of this turn: for good when the conversation is to fail in it, else now and then."""
        drops, remote = self.line.drops, self.casting.family.remote
        if self.casting.ending == "failed":
            if self.casting.failure == "model" and self._ends("failed"):
                drops["model"] = _FOR_GOOD
            elif self.casting.failure == "remote":
                drops[remote or "model"] = _FOR_GOOD
        elif self.chance.random() < _HICCUPS:
            drops[self.chance.choice(["model", remote or "model"])] = self.chance.randint(1, MAX_ATTEMPTS - 1)
        elif self.casting.ending == "completed" and self.chance.random() < _OUTAGES:
            drops["model"] = MAX_ATTEMPTS

    def _run(self, start: Any, trigger: str) -> Outcome:
        run = Run(self.desk.ids.make("run_"), trigger, iso(self.desk.clock.now))
        self.runs.append(run)
        # a user who cancels does so after intake, or after the model's first message
        last_step = self.chance.choice([1, 1, 2]) if self._ends("cancelled") else _STEPS
        try:
            with closing(
                self.app.stream(start, self.config, context=self.desk, durability="sync", stream_mode="values")
            ) as steps:
                run.outcome = "cancelled" if any(at == last_step for at, _ in enumerate(steps)) else "finished"
        except (*DROPPED, GraphRecursionError, BudgetExceededError) as error:
            run.outcome = "failed"
            if not isinstance(error, DROPPED):
                self.desk.note("graph", error, recovered=False)
        if run.outcome == "finished" and self.app.get_state(self.config).interrupts:
            run.outcome = "interrupted"
        self.desk.clock.spend(0.001, 0.01)  # the run's last checkpoint is stamped a moment after its last node
        run.finished_at = iso(self.desk.clock.now)
        return run.outcome

    def _settle(self, outcome: Outcome) -> Outcome:
        """Answer interrupts, and resume what failed in a conversation that is to complete."""
        while outcome in {"interrupted", "failed"}:
            if outcome == "failed":
                if self.casting.ending == "failed":
                    break
                self.desk.clock.spend(40, 900)
                outcome = self._run(None, "resume after failure")
            else:
                verdict = self._verdict()
                if verdict == "wait":
                    break
                self.desk.clock.spend(30, 5000)
                outcome = self._run(Command(resume=_answer(verdict, self.chance)), f"review: {verdict}")
        return outcome

    def _verdict(self) -> str:
        if self._ends("open"):
            return "wait"
        verdict = self.chance.choices(list(_APPROVALS), list(_APPROVALS.values()))[0]
        return "approve" if verdict == "wait" and self.casting.ending == "archived" else verdict


def open_sitting(casting: Casting, app: Any, thread_id: str) -> Sitting:
    """Seat a conversation at its desk: clock, ids, line, model and tools of its own, all from the casting's seed."""
    chance = Random(f"{casting.seed} sitting")
    clock = Clock(casting.created_at, Random(f"{casting.seed} clock"))
    ids = Ids(Random(f"{casting.seed} ids"))
    line = Line(Random(f"{casting.seed} line"))
    draw = Draw(Random(f"{casting.seed} draw"), casting.locale, casting.created_at, casting.length)
    fails = casting.failure if casting.ending == "failed" else None
    budget = chance.choice([800, 1500, 2500]) if fails == "budget" else _BUDGET
    screenplay = Screenplay(tell(casting.family, draw, _more_turns(casting), stumbling=fails == "stuck"))
    screenplay.insists = fails == "stuck"
    model = ScriptedModel(name_of_model=casting.model, screenplay=screenplay, ids=ids, line=line)
    tools = Toolbox(casting.created_at.date(), line, Random(f"{casting.seed} tools"))
    configurable = {
        "thread_id": thread_id,
        "user_id": casting.user_id,
        "agent": casting.family.agent,
        "locale": casting.locale,
    }
    config = {
        "configurable": configurable,
        "recursion_limit": _STEPS_WHEN_STUCK if fails == "stuck" else _STEPS,
    }
    return Sitting(casting, app, Desk(clock, ids, model, tools, budget), line, config, chance)


def _more_turns(casting: Casting) -> int:
    """Say how many turns to add, so that a conversation gets to where it is to end."""
    if casting.ending in {"completed", "archived"}:
        return 0
    return 40 if casting.ending == "failed" and casting.failure == "budget" else 3


def _answer(verdict: str, chance: Random) -> dict[str, Any]:
    approved = verdict == "approve"
    return {"approved": approved, "reason": "within policy" if approved else chance.choice(_REFUSALS)}
