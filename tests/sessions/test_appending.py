from typing import Any

import pytest

from fsstore.errors import StorageValidationError
from fsstore.model.expected import Expected
from fsstore.sessions.appending import appending_session, check_count, continuing_session, list_steps, popping_session

NOW = "2026-01-31T09:15:00.000000+00:00"


def test_a_path_starts_at_the_session() -> None:
    assert list_steps("messages") == ("data", "messages")
    assert list_steps(r"state.a\.b") == ("data", "state", "a.b")


@pytest.mark.parametrize("path", ["", "a..b", "$set", "$.messages", None, 5, ["messages"]])
def test_what_is_no_path_is_refused(path: Any) -> None:
    with pytest.raises(StorageValidationError) as refused:
        list_steps(path)
    assert refused.value.path == "path"


def test_an_append_says_what_it_expects_and_holds_nothing_of_the_callers() -> None:
    items = [{"content": "x"}]
    change = appending_session("a", items, NOW, expected_version=3, create=False)
    items[0]["content"] = "y"
    assert (change.items, change.make, change.patch) == ([{"content": "x"}], None, None)
    assert change.expected == Expected(3, "session")
    assert popping_session("a", 1, NOW, path="messages").expected == Expected(type="session", exists=True)


@pytest.mark.parametrize("count", [-1, 1.0, True, "1", None])
def test_a_count_is_a_whole_number(count: Any) -> None:
    with pytest.raises(StorageValidationError) as refused:
        check_count(count, "n")
    assert refused.value.path == "n"


def test_a_session_that_is_continued_is_copied_but_for_its_list_and_its_stamps() -> None:
    metadata = {"session_id": "a", "created_at": NOW, "updated_at": NOW, "status": "s", "continued_by": "x"}
    state = {"log": [1, 2, 3], "step": 1}
    record = {
        "id": "a",
        "type": "session",
        "version": 4,
        "created_at": NOW,
        "updated_at": NOW,
        "data": {"metadata": metadata, "state": state, "settings": {"m": None}},
    }
    made, note = continuing_session(record, "b", NOW, path="state.log", keep_last=2)
    session = made.record["data"]
    assert session["state"] == {"log": [2, 3], "step": 1}
    assert session["settings"] == {"m": None}
    assert session["metadata"] == {"status": "s", "continues": "a"}
    assert made.expected.version == 0
    assert note.expected.seen is record
    assert note.patch["data"] == {"metadata": {"continued_by": "b"}}
    assert session["state"]["log"] is not state["log"]
    assert state == {"log": [1, 2, 3], "step": 1}
