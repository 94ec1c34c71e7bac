import copy
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fsstore.errors import StorageValidationError
from fsstore.model.values import format_path
from fsstore.query.columns import ENVELOPE
from fsstore.redaction.redact import Match, find, hide
from fsstore.redaction.rules import Redaction
from fsstore.redaction.shapes import PLACEHOLDER

KEY = "ghp_" + "aB3dE5gH7j" * 4
TEXTS = st.text(max_size=5) | st.sampled_from([KEY, f"use {KEY} now", "password=hunter2", PLACEHOLDER])
NAMES = st.sampled_from(["a", "b", "0", "*", "password", "token", "id", "metadata", "x.y", "[0]", "it's", KEY])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=12,
)
SESSIONS = st.dictionaries(NAMES, JSON, max_size=4)


def record(**data: Any) -> dict[str, Any]:
    metadata = {"session_id": "a", "created_at": "2026", "updated_at": "2026", **data.pop("metadata", {})}
    envelope = {"id": "a", "type": "session", "version": 1, "created_at": "2026", "updated_at": "2026"}
    return {**envelope, "data": {"metadata": metadata, **data}}


def paths(rules: Redaction, document: dict[str, Any]) -> list[str]:
    return [match.path.removeprefix("$.data") for match in find(rules, document)]


def redacted(rules: Redaction, document: dict[str, Any]) -> Any:
    return hide(document, find(rules, document))[0]["data"]


# -- places -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("status", [".metadata.status"]),
        ("settings", [".settings"]),
        ("mode", [".metadata.mode", ".mode"]),
        ("settings.api_key", [".settings.api_key"]),
        ("metadata.tags", [".metadata.tags"]),
        ("metadata.tags.*", [".metadata.tags[0]", ".metadata.tags[1]"]),
        ("tags.*", []),
        ("metadata.tags.1", [".metadata.tags[1]"]),
        ("messages.text", [".messages[0].text", ".messages[1].text"]),
        ("messages.*.text", [".messages[0].text", ".messages[1].text"]),
        ("messages.1.text", [".messages[1].text"]),
        ("messages[1].text", [".messages[1].text"]),
        ("messages.2.text", []),
        ("messages.*.parts.*.x", [".messages[1].parts[0].x"]),
        ("messages.parts.x", [".messages[1].parts[0].x"]),
        ("settings.*", [".settings.0", ".settings.api_key", ".settings['odd.key']"]),
        ("settings.0", [".settings.0"]),
        ("settings['odd.key']", [".settings['odd.key']"]),
        ("$.data.settings['odd.key']", [".settings['odd.key']"]),
        ('$["data"]["settings"]["odd.key"]', [".settings['odd.key']"]),
        ("$.data.messages[*].text", [".messages[0].text", ".messages[1].text"]),
        ("$.data.messages[0]", [".messages[0]"]),
        ("settings.api_key.deeper", []),
        ("absent", []),
        ("$.settings.api_key", []),
    ],
)
def test_a_place_is_a_path_as_in_the_filters_of_sessions(path: str, found: list[str]) -> None:
    document = record(
        metadata={"status": "x", "tags": ["one", "two"], "mode": 1},
        mode=2,
        settings={"0": 1, "api_key": "x", "odd.key": [1]},
        messages=[{"text": "x"}, {"text": "y", "parts": [{"x": None}]}],
    )
    rules = Redaction.of([path])
    shown = [text.replace("['0']", ".0") for text in paths(rules, document)]
    assert shown == found


@pytest.mark.parametrize(
    "path", ["", ".", "$", "$.", "a..b", "a.", ".a", "a[", "a[x]", "a]", "a['b", "$a", "$['\\x']", "a.b[-1]", "[0"]
)
def test_what_is_no_path_is_refused_with_an_example(path: str) -> None:
    with pytest.raises(StorageValidationError, match=r"^redact: .*settings\.api_key"):
        Redaction.of([path])
    with pytest.raises(StorageValidationError, match=r"^ignore: .*settings\.api_key"):
        Redaction.of(ignored=[path])


@pytest.mark.parametrize(
    "path",
    [
        *(
            "session_id",
            "metadata.session_id",
            "metadata.created_at",
            "updated_at",
            "metadata",
            "$.data.metadata",
            "$.data",
        ),
        *(f"$.{key}" for key in sorted(ENVELOPE)),
    ],
)
def test_what_the_store_lives_by_is_refused_as_a_place(path: str) -> None:
    with pytest.raises(StorageValidationError, match="cannot be hidden"):
        Redaction.of([path])


def test_what_the_store_lives_by_stays_also_under_a_wildcard() -> None:
    document = record(metadata={"status": "x"}, state={"x": 1})
    rules = Redaction.of(["*", "$.data.*", "$.*"])
    after, count = hide(document, find(rules, document))
    assert {key: after[key] for key in ENVELOPE if key in after} == {
        key: document[key] for key in ENVELOPE if key in document
    }
    stamped = {key: document["data"]["metadata"][key] for key in ("session_id", "created_at", "updated_at")}
    assert after["data"] == {"metadata": {**stamped, "status": PLACEHOLDER}, "state": PLACEHOLDER}
    assert count == 2
    assert {match.path for match in find(rules, document) if match.stays} == {
        *(f"$.{key}" for key in document),
        "$.data.metadata",
        *(f"$.data.metadata.{key}" for key in stamped),
    }


def test_whatever_stands_at_a_place_is_hidden_whole() -> None:
    for value in (None, 0, False, "", "text", [1, 2], {"a": {"b": 1}}):
        assert redacted(Redaction.of(["settings.x"]), record(settings={"x": value, "y": 1}))["settings"] == {
            "x": PLACEHOLDER,
            "y": 1,
        }


def test_a_place_within_another_is_gone_with_it() -> None:
    document = record(settings={"a": {"b": {"c": "password=hunter2"}}})
    for order in (["settings.a.b.c", "settings.a", "settings.a.b"], ["settings.a", "settings.a.b.c"]):
        rules = Redaction.of(order, ["hunter2"], secrets=True)
        after, count = hide(document, find(rules, document))
        assert after["data"]["settings"] == {"a": PLACEHOLDER}
        assert count == 1


# -- patterns ---------------------------------------------------------------------------------------------------------


def test_a_pattern_hides_what_it_finds_in_strings_only() -> None:
    document = record(text="call 555-1234 or 555-9876", n=5551234, parts=["555-0000", {"555-1111": None}])
    after = redacted(Redaction.of(patterns=["[0-9]{3}-[0-9]{4}"]), document)
    assert after["text"] == f"call {PLACEHOLDER} or {PLACEHOLDER}"
    assert after["parts"] == [PLACEHOLDER, {"555-1111": None}]
    assert after["n"] == 5551234


def test_a_group_named_secret_is_all_that_a_pattern_hides() -> None:
    rules = Redaction.of(patterns=[r"user=(?P<secret>\w+)(?P<other>;)?"])
    assert redacted(rules, record(text="user=alice; user=bob"))["text"] == f"user={PLACEHOLDER}; user={PLACEHOLDER}"
    assert redacted(Redaction.of(patterns=["a(?P<secret>b)?c"]), record(text="ac abc"))["text"] == f"ac a{PLACEHOLDER}c"


def test_what_overlaps_is_hidden_once() -> None:
    rules = Redaction.of(patterns=["abc", "bcd", "cde", "x"])
    assert redacted(rules, record(text="-abcde-x"))["text"] == f"-{PLACEHOLDER}-{PLACEHOLDER}"


def test_a_match_of_nothing_hides_nothing() -> None:
    assert redacted(Redaction.of(patterns=[r"\b"]), record(text="some words"))["text"] == "some words"


def test_one_text_is_not_taken_for_a_list_of_rules() -> None:
    for rules in (
        lambda: Redaction.of("status"),
        lambda: Redaction.of(patterns="abc"),
        lambda: Redaction.of(secrets=True, ignored="status"),
    ):
        with pytest.raises(StorageValidationError, match="put it into a list"):
            rules()  # type: ignore[no-untyped-call]


@pytest.mark.parametrize(
    ("pattern", "reason"),
    [("(", "not a regular expression"), ("x{99999999999}", "not a regular"), ("x*", "empty text"), ("", "empty text")],
)
def test_what_is_no_pattern_is_refused(pattern: str, reason: str) -> None:
    with pytest.raises(StorageValidationError, match=f"redact-pattern: .*{reason}.*; write a regular expression"):
        Redaction.of(patterns=[pattern])


# -- all rules --------------------------------------------------------------------------------------------------------


def test_an_ignored_place_hides_what_is_at_it_and_below_from_every_rule() -> None:
    document = record(
        metadata={"password": "x1"}, settings={"password": "x2", "deep": {"password": "x3"}}, text="abc x4"
    )
    rules = Redaction.of(["settings.password"], ["x[0-9]"], secrets=True, ignored=["settings.deep", "password"])
    assert set(paths(rules, document)) == {".settings.password", ".text"}
    for path in ("settings.password", "$.data.settings.password", "settings.*"):
        assert ".settings.password" not in paths(Redaction.of(secrets=True, ignored=[path]), document)


def test_a_path_in_a_report_can_be_ignored_as_it_stands_there() -> None:
    secret = {"it's": {'a "b"': [{"x.y": {"password": "hunter2"}}]}}
    (match,) = find(Redaction(secrets=True), record(odd=secret))
    assert find(Redaction.of(secrets=True, ignored=[match.path]), record(odd=secret)) == []


def test_each_rule_is_told_apart_also_when_two_are_written_alike() -> None:
    rules = Redaction.of(["status"], ["status"], secrets=True)
    assert rules.named == ["status", "/status/"]
    assert [match.rule for match in find(rules, record(metadata={"status": "x"}))] == ["status"]
    assert [match.rule for match in find(rules, record(text="status"))] == ["/status/"]


def test_a_secret_in_a_key_or_in_the_id_is_found_and_stays() -> None:
    document = record(metadata={"session_id": KEY}, headers={KEY: {"x": "password=hunter2"}})
    found = find(Redaction(secrets=True), document)
    assert [(match.path, match.stays) for match in found] == [
        ("$.data.metadata.session_id", True),
        (f"$.data.headers['{PLACEHOLDER}']", True),
        (f"$.data.headers['{PLACEHOLDER}'].x", False),
    ]
    after, count = hide(document, found)
    assert after["data"]["headers"] == {KEY: {"x": f"password={PLACEHOLDER}"}}
    assert count == 1
    assert KEY not in repr(found)


def test_a_document_nested_deeper_than_python_calls_is_gone_through() -> None:
    deep: Any = {"password": "hunter2"}
    for _ in range(3000):
        deep = {"x": [deep]}
    (match,) = find(Redaction(secrets=True), record(deep=deep))
    after, count = hide(record(deep=deep), [match])
    inner = after["data"]["deep"]
    for _ in range(3000):
        (inner,) = inner["x"]
    assert (inner, count) == ({"password": PLACEHOLDER}, 1)


def test_many_findings_in_a_long_list_take_time_in_proportion() -> None:
    messages = [{"text": f"password=hunter{number}"} for number in range(20_000)]
    document = record(messages=messages)
    after, count = hide(document, find(Redaction(secrets=True), document))
    assert count == 20_000
    assert all(message == {"text": f"password={PLACEHOLDER}"} for message in after["data"]["messages"])
    assert messages[0] == {"text": "password=hunter0"}


RULES = [
    Redaction(secrets=True),
    Redaction.of(["*", "$.data.a.*", "$.data.*.password"], ["h.n", "[a-z]{5}"], secrets=True),
    Redaction.of(["$.data.*.*"]),
    Redaction.of(["a.b", "$.data.b[*]"], ["e"], ignored=["a.password"]),
]


@given(SESSIONS, st.sampled_from(RULES))
def test_hiding_changes_what_was_found_and_nothing_else(session: dict[str, Any], rules: Redaction) -> None:
    document = {"id": "a", "data": session}
    before = copy.deepcopy(document)
    found = find(rules, document)
    after, count = hide(document, found)
    assert document == before
    assert count <= len(found)
    whole = {match.steps for match in found if not match.stays}
    assert json.loads(json.dumps(after)) == after

    def compare(old: Any, new: Any, steps: tuple[Any, ...]) -> None:
        if steps in whole:
            assert isinstance(new, str)
        elif isinstance(old, dict):
            assert list(old) == list(new)
            for key in old:
                compare(old[key], new[key], (*steps, key))
        elif isinstance(old, list):
            assert len(old) == len(new)
            for at in range(len(old)):
                compare(old[at], new[at], (*steps, at))
        else:
            assert (type(old), old) == (type(new), new), format_path(steps)

    compare(before, after, ())


@given(SESSIONS)
def test_no_secret_is_found_where_all_were_hidden(session: dict[str, Any]) -> None:
    after, _ = hide({"data": session}, find(Redaction(secrets=True), {"data": session}))
    left = find(Redaction(secrets=True), after)
    assert all(match.stays for match in left)
    assert hide(after, left) == (after, 0)


@given(SESSIONS)
def test_no_match_shows_what_it_found(session: dict[str, Any]) -> None:
    found: list[Match] = find(Redaction(secrets=True), {"data": session})
    assert all(KEY not in repr(match) + match.path + match.hint for match in found)
    assert all("hunter2" not in repr(match) + match.path + match.hint for match in found)
