from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fsstore.cli.git.transcript import transcript
from fsstore.merging.merge import same
from tests.merging.test_merge import VALUES, edited, session

unhurried = settings(deadline=None)
SAMPLES = Path(__file__).parents[2] / "sample_data" / "sessions.jsonl"


def test_a_session_reads_as_its_keys_and_a_conversation() -> None:
    record = session(
        metadata={"tags": ["a", "b"], "plan": {"steps": 2}, "note": "one\ntwo"},
        messages=[
            {"role": "user", "content": "Where is it?\nIt is late.", "created_at": "2026-01-01T00:00:01Z", "id": "m1"},
            {
                "role": "tool calls",
                "content": None,
                "tool_calls": [{"name": "look", "args": {"id": 1, "deep": [2]}}, 5],
            },
            {"text": "no role"},
            "bare",
        ],
        data={"state": {}},
    )
    assert (
        transcript(record)
        == """\
session s-1
  created_at: "2026-01-01T00:00:00.000000+00:00"
  updated_at: "2026-01-01T00:00:00.000000+00:00"
  version: 1
data:
  metadata:
    note: |
      one
      two
    plan:
      steps: 2
    session_id: "s-1"
    status: "open"
    tags: ["a","b"]
    updated_at: "2026-01-01T00:00:00.000000+00:00"
  state: {}
messages
[user] 2026-01-01T00:00:01Z
    Where is it?
    It is late.
  id: "m1"
["tool calls"]
  content: null
  tool_calls:
    -
      args:
        deep: [2]
        id: 1
      name: "look"
    -: 5
-
  text: "no role"
-: "bare"
"""
    )


@pytest.mark.parametrize("data", [None, "text", 5, [], [{"messages": [1]}], {}, {"messages": []}, {"messages": {}}])
def test_any_document_can_be_shown(data: Any) -> None:
    assert transcript({**session(), "data": data}).startswith("session s-1\n")


@pytest.mark.parametrize("character", ["\x1b", "\r", "\x00", "\x9b", "\u202e", "\u2028"])
def test_text_does_not_steer_a_terminal(character: str) -> None:
    text = f"a{character}\nb"
    shown = transcript(
        session(id=text, type=text, messages=[{"role": text, "content": text, "created_at": text, text: text}])
    )
    assert character not in shown
    assert f"\\u{ord(character):04x}" in shown or repr(character)[1:-1] in shown


def test_a_new_message_shows_as_new_lines_only() -> None:
    messages = [{"role": "user", "content": str(number)} for number in range(3)]
    before = transcript(session(messages=messages)).splitlines()
    after = transcript(session(messages=[{"role": "system", "content": "new"}, *messages])).splitlines()
    assert [line for line in after if line not in before] == ["[system]", "    new"]
    assert len(after) == len(before) + 2


def test_every_leaf_of_the_sample_sessions_is_shown() -> None:
    for line in SAMPLES.read_text("utf-8").splitlines()[:40]:
        data = json.loads(line)
        shown = transcript({**session(), "data": data})
        for leaf in re.findall(r'"(?:content|status|message|run_id|title)":"([^"\\]{1,60})"', line):
            assert leaf in shown


TEXTS = st.text(st.sampled_from(' -:|"\\[]{}\n\t\x1ba1'), max_size=6)
PARTS = VALUES | TEXTS | st.lists(TEXTS, max_size=3) | st.dictionaries(TEXTS, TEXTS, max_size=2)
MESSAGES = st.lists(
    st.dictionaries(st.sampled_from(["role", "content", "created_at", "id", "x"]), PARTS, max_size=4) | PARTS,
    max_size=3,
)
RECORDS = st.builds(
    lambda messages, state, more: session(messages=messages, data={"state": state, **more}),
    MESSAGES,
    PARTS,
    st.dictionaries(TEXTS, PARTS, max_size=2),
)


@settings(unhurried, max_examples=100)
@given(RECORDS.flatmap(lambda record: st.tuples(st.just(record), edited(record) | RECORDS)))
def test_different_documents_look_different(pair: tuple[Any, Any]) -> None:
    one, other = pair
    assert (transcript(one) == transcript(other)) is same(one, other)


@unhurried
@given(PARTS, PARTS)
def test_different_messages_look_different(one: Any, other: Any) -> None:
    shown = [transcript(session(messages=[{"role": "user", "content": value, "id": "x"}])) for value in (one, other)]
    assert (shown[0] == shown[1]) is same(one, other)
