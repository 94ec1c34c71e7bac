from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fsstore.cli.where import parse_condition, parse_filter, parse_object, parse_settings
from fsstore.errors import StorageValidationError
from fsstore.query.filters import parse
from fsstore.sessions.words import session_filter


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("status=active", {"status": "active"}),
        (" status = active ", {"status": "active"}),
        ("status!=active", {"status": {"$ne": "active"}}),
        ("score>=5", {"score": {"$gte": 5}}),
        ("score<=5.5", {"score": {"$lte": 5.5}}),
        ("score>-1e3", {"score": {"$gt": -1000.0}}),
        ("score<0", {"score": {"$lt": 0}}),
        ("name~^a=b$", {"name": {"$regex": "^a=b$"}}),
        ('name~"\\d+"', {"name": {"$regex": '"\\d+"'}}),
        ("tags", {"tags": {"$exists": True}}),
        ("!tags", {"tags": {"$exists": False}}),
        ("! tags", {"tags": {"$exists": False}}),
        ("state.step=2", {"state.step": {"$in": [2, "2"]}}),
        ("user_id = 123 ", {"user_id": {"$in": [123, "123"]}}),
        ("user_id!=123", {"user_id": {"$nin": [123, "123"]}}),
        ("score=1e3", {"score": {"$in": [1000.0, "1e3"]}}),
        ("flag!=true", {"flag": {"$nin": [True, "true"]}}),
        ("user_id!='123'", {"user_id": {"$ne": "123"}}),
        ("n=18446744073709551615", {"n": {"$in": [2**64 - 1, "18446744073709551615"]}}),
        ("n=1e999", {"n": "1e999"}),
        ("a\\.b=x", {"a\\.b": "x"}),
        ("\\$ref=x", {"\\$ref": "x"}),
        ("state.a\\.b", {"state.a\\.b": {"$exists": True}}),
        ("with space=x", {"with space": "x"}),
        ("flag=true", {"flag": {"$in": [True, "true"]}}),
        ("flag=false", {"flag": {"$in": [False, "false"]}}),
        ("user=null", {"user": None}),
        ("user!=null", {"user": {"$ne": None}}),
        ('status="5"', {"status": "5"}),
        ("status='5'", {"status": "5"}),
        ("status='say \"x\"'", {"status": 'say "x"'}),
        ('status=" padded "', {"status": " padded "}),
        ('status="\\u00e9\\n"', {"status": "é\n"}),
        ("status=", {"status": ""}),
        ('status=""', {"status": ""}),
        ("status=a b=c", {"status": "a b=c"}),
        ("status=[1]", {"status": "[1]"}),
        ('status={"a":1}', {"status": '{"a":1}'}),
        ("status=007", {"status": "007"}),
        ("status=NaN", {"status": "NaN"}),
        ("status=Infinity", {"status": "Infinity"}),
        ("status=True", {"status": "True"}),
        ("status=it's", {"status": "it's"}),
        ("big=123456789012345678901", {"big": "123456789012345678901"}),
        ("updated_at>=2026-01-01", {"updated_at": {"$gte": "2026-01-01"}}),
        ("updated_at>=2026", {"updated_at": {"$gte": "2026"}}),
        ("metadata.created_at<2026", {"metadata.created_at": {"$lt": "2026"}}),
        ("session_id=42", {"session_id": "42"}),
        ("session_id=true", {"session_id": "true"}),
        ("mood=😀", {"mood": "😀"}),
    ],
)
def test_a_condition_becomes_a_filter(text: str, expected: dict[str, Any]) -> None:
    found = parse_condition(text)
    assert found == expected
    assert repr(found) == repr(expected)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "it names no key"),
        ("   ", "it names no key"),
        ("!", "it names no key"),
        ("=x", "it names no key"),
        ("~x", "it names no key"),
        ("$or=1", "'$or' is not a key"),
        ("a..b=1", "has an empty step"),
        (".a", "has an empty step"),
        ("a.=1", "has an empty step"),
        ("!!a", "'!a' is not a key"),
        ("a==1", "there is no operator '=='"),
        ("a=>1", "there is no operator '=>'"),
        ("a=<1", "there is no operator '=<'"),
        ("a<>1", "there is no operator '<>'"),
        ("a=~x", "there is no operator '=~'"),
        ('a="x', 'the " is not closed'),
        ("a='", "the ' is not closed"),
        ('a="x"y"', "is not a JSON string"),
        ('a="\\q"', "is not a JSON string"),
    ],
)
def test_what_is_no_condition_is_refused_and_shown(text: str, reason: str) -> None:
    with pytest.raises(StorageValidationError) as caught:
        parse_condition(text)
    assert str(caught.value).startswith(repr(text))
    assert reason in str(caught.value)


def test_all_conditions_and_the_filter_must_hold() -> None:
    assert parse_filter([]) is None
    assert parse_filter(["a=b"]) == {"a": "b"}
    assert parse_filter([], '{"$or": [{"a": 1}]}') == {"$or": [{"a": 1}]}
    assert parse_filter(["a>=1", "a<5"], '{"b": 2}') == {"$and": [{"a": {"$gte": 1}}, {"a": {"$lt": 5}}, {"b": 2}]}


@given(st.text())
def test_any_text_is_a_filter_of_the_store_or_refused(text: str) -> None:
    try:
        filters = parse_condition(text)
        parse(session_filter(filters))
    except StorageValidationError:
        return
    assert len(filters) == 1


@given(st.text(st.characters(exclude_characters="'", exclude_categories=["Cs"])))
def test_single_quotes_keep_any_text_as_it_is(text: str) -> None:
    assert parse_condition(f"status='{text}'") == {"status": text}


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (["status=done"], {"metadata": {"status": "done"}}),
        (["metadata.status=done", "metadata.score=5"], {"metadata": {"status": "done", "score": 5}}),
        (["state.a.b=true"], {"state": {"a": {"b": True}}}),
        (["state.a=1", "state.a.b=2"], {"state": {"a": {"b": 2}}}),
        (['tags=["x", "y"]'], {"metadata": {"tags": ["x", "y"]}}),
        (['state.a={"b": {}}'], {"state": {"a": {"b": {}}}}),
        (["user=null"], {"metadata": {"user": None}}),
        (["user='null'"], {"metadata": {"user": "null"}}),
        (["a=b=c"], {"metadata": {"a": "b=c"}}),
        (["a="], {"metadata": {"a": ""}}),
        (["a\\.b=1"], {"metadata": {"a.b": 1}}),
        (["state.\\$x.y\\\\=1"], {"state": {"$x": {"y\\": 1}}}),
        ([], {"state": {"kept": 1}}),
        (["state.more=2"], {"state": {"kept": 1, "more": 2}}),
    ],
)
def test_settings_become_a_merge_patch(settings: list[str], expected: dict[str, Any]) -> None:
    patch = {"state": {"kept": 1}} if "kept" in repr(expected) else None
    assert parse_settings(settings, patch) == expected
    assert patch in (None, {"state": {"kept": 1}})


@pytest.mark.parametrize("text", ["status", "", "=x", "a..b=1", "$set=1", 'a="x'])
def test_what_is_no_setting_is_refused(text: str) -> None:
    with pytest.raises(StorageValidationError) as caught:
        parse_settings([text])
    # as the help of --set says it
    assert ("write key=value, as in status=done" in str(caught.value)) is ("=" not in text)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "PATCH is not JSON"),
        ("{", "PATCH is not JSON"),
        (b"\xff", "PATCH is not JSON"),
        ('{"a": NaN}', "PATCH is not JSON"),
        ("[" * 10_000, "PATCH is not JSON"),
        ("[1]", "PATCH holds a JSON list"),
        ("null", "PATCH holds a JSON NoneType"),
    ],
)
def test_an_object_is_read_exactly_or_refused(text: str | bytes, reason: str) -> None:
    with pytest.raises(StorageValidationError, match=reason):
        parse_object(text, "PATCH")
    assert parse_object('{"n": 123456789012345678901234567890}', "PATCH") == {"n": 123456789012345678901234567890}
