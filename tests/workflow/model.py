"""A chat model that says what a screenplay tells it, and is out of reach when its line drops."""

import math
import re
from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage, ToolMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from pydantic import ConfigDict

from tests.workflow.clock import Ids
from tests.workflow.scenarios.script import Reply, Result, Screenplay
from tests.workflow.tools.remote import Line

# USD for a million tokens, in and out
PRICES = {"scripted-mini": (0.15, 0.6), "scripted-base": (0.8, 3.2), "scripted-large": (2.5, 10.0)}

_WIDE = re.compile(r"[\u3000-\u30ff\u3400-\u9fff\uff00-\uffef]|[\U0001f000-\U0001faff]")
_CHARACTERS_A_TOKEN = 4
_TOKENS_A_MESSAGE = 4


class ScriptedModel(BaseChatModel):
    """Answers from a screenplay; raises ConnectionError or TimeoutError, before the script moves on, if unreachable."""

    model_config = ConfigDict(arbitrary_types_allowed=True)

    name_of_model: str
    screenplay: Screenplay
    ids: Ids
    line: Line

    @property
    def _llm_type(self) -> str:
        return "scripted"

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,  # noqa: ARG002 - part of the interface
        run_manager: Any = None,  # noqa: ARG002 - part of the interface
        **kwargs: Any,  # noqa: ARG002 - part of the interface
    ) -> ChatResult:
        self.line.reach("model")
        reply = self.screenplay.reply(_results(messages))
        return ChatResult(generations=[ChatGeneration(message=self._message(reply, messages))])

    def _message(self, reply: Reply, messages: list[BaseMessage]) -> AIMessage:
        calls = [{"id": self.ids.make("call_", 10), "name": one.name, "args": one.args} for one in reply.calls]
        read = sum(_tokens(str(message.content)) for message in messages)
        written = _tokens(reply.text + "".join(str(one.args) for one in reply.calls))
        return AIMessage(
            id=self.ids.make("msg_"),
            content=reply.text,
            tool_calls=calls,
            usage_metadata={"input_tokens": read, "output_tokens": written, "total_tokens": read + written},
            response_metadata={
                "finish_reason": "tool_calls" if calls else "stop",
                "model": self.name_of_model,
            },
        )


def _results(messages: list[BaseMessage]) -> list[Result]:
    """Collect the tool results since the model last spoke."""
    results: list[Result] = []
    for message in reversed(messages):
        if not isinstance(message, ToolMessage):
            break
        # an error's class is for programs, its message for people
        said = str(message.content).partition(": ")[2] if message.status == "error" else str(message.content)
        results.append(Result(message.status != "error", message.artifact, said))
    return results[::-1]


def _tokens(text: str) -> int:
    """Estimate tokens: one for a wide character, one for four others, and a few for the message."""
    wide = len(_WIDE.findall(text))
    return wide + math.ceil((len(text) - wide) / _CHARACTERS_A_TOKEN) + _TOKENS_A_MESSAGE
