import io
from collections.abc import Callable

import pytest

from tests.cli.conftest import Run

Typed = Callable[[str], None]


@pytest.fixture
def typed(monkeypatch: pytest.MonkeyPatch) -> Typed:
    """Let a text stand in standard input."""

    def typed(text: str) -> None:
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(text.encode())))

    return typed


def test_append_takes_an_array_lines_or_one_value_and_prints_the_length(fsstore: Run, typed: Typed) -> None:
    typed('[{"content": "one"}, [2]]')
    assert fsstore("append", "a") == (0, "2\n", "")
    typed('{"content": "three"}\n\n{"content": 18446744073709551615}\n')
    assert fsstore("append", "a", "-").out == "4\n"
    typed('{"content":\n "five"}')
    assert fsstore("append", "a").out == "5\n"
    assert fsstore("get", "a").json()["messages"] == [
        {"content": "one"},
        [2],
        {"content": "three"},
        {"content": 18446744073709551615},
        {"content": "five"},
    ]


def test_append_names_another_list_and_sets_metadata(fsstore: Run, typed: Typed) -> None:
    typed("[1]")
    assert fsstore("append", "a", "--path", "state.log", "--set", "status=active", "--set", "n=5").code == 0
    session = fsstore("get", "a").json()
    assert session["state"] == {"log": [1]}
    assert (session["metadata"]["status"], session["metadata"]["n"]) == ("active", 5)
    typed("[1]")
    refused = fsstore("append", "a", "--set", "state.x=1")
    assert (refused.code, "fsstore update" in refused.err.replace("\n", " ")) == (2, True)


def test_append_leaves_known_items_out(fsstore: Run, typed: Typed) -> None:
    for text, length in (('{"uuid": 1}\n{"uuid": 2}', "2\n"), ('{"uuid": 2}\n{"uuid": 3}', "3\n")):
        typed(text)
        assert fsstore("append", "a", "--unique-by", "uuid").out == length


def test_append_refuses_a_session_that_must_be_there_and_another_version(fsstore: Run, typed: Typed) -> None:
    fsstore("init")
    typed("[1]")
    assert fsstore("append", "a", "--no-create").code == 1
    typed("[1]")
    assert fsstore("append", "a").code == 0
    typed("[1]")
    assert fsstore("append", "a", "--expected-version", "7").code == 3
    assert fsstore("get", "a").json()["messages"] == [1]


@pytest.mark.parametrize(("text", "place"), [('{"a": 1}\n{"b": }\n', "line 2"), ("[1, 2", "line 1"), ("NaN", "line 1")])
def test_append_names_the_line_that_is_no_json(fsstore: Run, typed: Typed, text: str, place: str) -> None:
    typed(text)
    refused = fsstore("append", "a")
    assert refused.code == 2
    assert place in refused.err
    assert fsstore("count").out in ("", "0\n")
