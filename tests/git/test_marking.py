from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fsstore.cli.git.marking import mark
from fsstore.filesystem.documents.codec import encode
from fsstore.merging.merge import Conflict, Merged, merge, same
from tests.merging.test_merge import histories, session

unhurried = settings(deadline=None)
REGION = re.compile(r"^<{7} ours (.*)\n((?:.*\n)*?)={7}\n((?:.*\n)*?)>{7} theirs \1\n", re.MULTILINE)


def choices(text: str) -> Iterator[tuple[tuple[int, ...], str]]:
    """Give what is left after each way to choose a side of each conflict."""
    regions = len(REGION.findall(text))
    for sides in itertools.islice(itertools.product((2, 3), repeat=regions), 64):
        left = iter(sides)
        yield sides, REGION.sub(lambda found: found[next(left)], text)  # noqa: B023 - used up before the next turn


def test_a_conflict_looks_like_one_of_git_and_names_its_path() -> None:
    merged = merge(
        session(), session(metadata={"status": "done", "tags": []}), session(metadata={"status": "failed", "x": 1})
    )
    text = mark(merged).decode()
    assert (
        """\
    "metadata": {
      "session_id": "s-1",
<<<<<<< ours $.data.metadata.status
      "status": "done",
=======
      "status": "failed",
>>>>>>> theirs $.data.metadata.status
      "tags": [],
      "updated_at": "2026-01-01T00:00:00.000000+00:00",
      "x": 1
    }
"""
        in text
    )
    assert text.count("<<<<<<<") == 1


def test_a_removal_is_an_empty_side_and_the_comma_goes_with_what_may_be_gone() -> None:
    text = mark(Merged({"a": 1, "z": Conflict("$.z", (0,), (), ([2],))})).decode()
    assert (
        text
        == """\
{
  "a": 1
<<<<<<< ours $.z
=======
  , "z": [
    2
  ]
>>>>>>> theirs $.z
}
"""
    )


def test_the_size_of_the_marker_is_as_git_asks() -> None:
    lines = mark(Merged([Conflict("$", (), (1,), (2,))]), marker_size=9).decode().splitlines()
    assert lines == ["[", "<" * 9 + " ours $", "  1", "=" * 9, "  2", ">" * 9 + " theirs $", "]"]


def test_a_document_may_conflict_as_a_whole() -> None:
    text = mark(Merged(Conflict("$", (), ({"id": "a"},), ({"id": "b"},)))).decode()
    assert [json.loads(left) for _, left in choices(text)] == [{"id": "a"}, {"id": "b"}]


def test_a_key_can_not_pass_for_a_marker() -> None:
    key = "\n>>>>>>> theirs"
    text = mark(merge(session(), session(metadata={key: 1}), session(metadata={key: 2}))).decode()
    assert [json.loads(left)["data"]["metadata"][key] for _, left in choices(text)] == [1, 2]


@settings(unhurried, max_examples=100)
@given(histories())
def test_every_choice_leaves_json_and_taking_one_side_leaves_that_side(history: tuple[Any, Any, Any]) -> None:
    merged = merge(*history)
    text = mark(merged).decode()
    for sides, left in choices(text):
        chosen = json.loads(left)
        if set(sides) <= {2}:
            assert same(chosen, merged.taking("ours"))
        if set(sides) <= {3}:
            assert same(chosen, merged.taking("theirs"))


PARTS = st.lists(st.integers(0, 3) | st.just({"a": [1]}), max_size=2).map(tuple)


@unhurried
@given(st.lists(st.integers(0, 3) | st.builds(Conflict, st.just("$"), st.just(()), PARTS, PARTS), max_size=5))
def test_any_list_with_conflicts_is_json_after_any_choice(values: list[Any]) -> None:
    merged = Merged({"a": values})
    for sides, left in choices(mark(merged).decode()):
        chosen = json.loads(left)
        if set(sides) == {2}:
            assert chosen == merged.taking("ours")


@unhurried
@given(histories())
def test_what_has_no_conflict_is_in_the_store_s_own_form(history: tuple[Any, Any, Any]) -> None:
    value = merge(*history).taking("ours")
    assert mark(Merged(value)) == encode(value, max_bytes=1 << 20)


def test_keys_are_sorted_as_the_store_sorts_them() -> None:
    keys = ["\ud7ff", "\U0001f600", "é", "a", "B", "\uff01", ""]
    text = mark(Merged({**dict.fromkeys(keys, 0), "c": Conflict("$", (), (1,), (2,))})).decode()
    (_, left), *_ = choices(text)
    assert left.encode() == orjson.dumps(
        {**dict.fromkeys(keys, 0), "c": 1},
        option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS | orjson.OPT_APPEND_NEWLINE,
    )


@pytest.mark.parametrize("side", ["ours", "theirs"])
def test_one_choice_stands_for_all_where_nothing_is_certain(side: str) -> None:
    value = {"x": {"a": Conflict("$.x.a", (0,), (), (1,)), "b": Conflict("$.x.b", (0,), (2,), ())}}
    merged = Merged(value)
    text = mark(merged).decode()
    assert text.count("<<<<<<< ours $.x.a, $.x.b\n") == 1
    left = dict(choices(text))[(2,) if side == "ours" else (3,)]
    assert json.loads(left) == ({"x": {"b": 2}} if side == "ours" else {"x": {"a": 1}})
