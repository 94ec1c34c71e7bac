from __future__ import annotations

import copy
import json
import random
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fsstore.merging.merge import Conflict, Merged, merge, same
from fsstore.model.records import JsonObject

unhurried = settings(deadline=None)


def session(**changes: Any) -> JsonObject:
    """Return a record of a session; `metadata` and `messages` may be given, and keys of the record."""
    metadata = {"session_id": "s-1", "status": "open", "updated_at": time(0), **changes.pop("metadata", {})}
    data = {"metadata": metadata, "messages": changes.pop("messages", []), **changes.pop("data", {})}
    record = {"id": "s-1", "type": "session", "version": 1, "created_at": time(0), "updated_at": time(0)}
    return {**record, "data": data, **changes}


def time(second: int) -> str:
    return f"2026-01-01T00:00:{second:02d}.000000+00:00"


def message(text: str, second: int | None = None, **more: Any) -> JsonObject:
    return {"content": text, **({} if second is None else {"created_at": time(second)}), **more}


def contents(merged: Merged) -> list[str]:
    assert merged.conflicts == []
    return [entry["content"] for entry in merged.value["data"]["messages"]]


def paths(merged: Merged) -> list[str]:
    return [conflict.path for conflict in merged.conflicts]


# -- objects ----------------------------------------------------------------------------------------------------------


def test_changes_of_different_keys_are_all_taken() -> None:
    base = session(metadata={"a": 1, "gone": 1, "kept": {"x": 1, "y": 1}})
    ours = session(metadata={"a": 2, "gone": 1, "kept": {"x": 2, "y": 1}, "new": "ours"})
    theirs = session(metadata={"a": 1, "kept": {"x": 1, "y": 2}, "other": None})
    merged = merge(base, ours, theirs)
    assert merged.conflicts == []
    metadata = merged.value["data"]["metadata"]
    assert {key: metadata.get(key, "absent") for key in ("a", "gone", "kept", "new", "other")} == {
        "a": 2,
        "gone": "absent",
        "kept": {"x": 2, "y": 2},
        "new": "ours",
        "other": None,
    }


def test_a_conflict_is_the_smallest_part_and_names_its_path() -> None:
    base = session(metadata={"plan": {"step": 1, "a b": 1, "same": 1}})
    ours = session(metadata={"plan": {"step": 2, "a b": 2, "same": 1, "mine": 1}})
    theirs = session(metadata={"plan": {"step": 3, "same": 1, "yours": 1}})
    merged = merge(base, ours, theirs)
    assert sorted(merged.conflicts, key=lambda conflict: conflict.path) == [
        Conflict("$.data.metadata.plan.step", (1,), (2,), (3,)),
        Conflict("$.data.metadata.plan['a b']", (1,), (2,), ()),
    ]
    assert merged.taking("ours")["data"]["metadata"]["plan"] == {
        "step": 2,
        "a b": 2,
        "same": 1,
        "mine": 1,
        "yours": 1,
    }
    assert merged.taking("theirs")["data"]["metadata"]["plan"] == {"step": 3, "same": 1, "mine": 1, "yours": 1}


def test_values_that_python_holds_equal_are_not_the_same() -> None:
    merged = merge(
        session(metadata={"n": 1, "z": 0.0}),
        session(metadata={"n": True, "z": -0.0}),
        session(metadata={"n": 1.0, "z": 0.0, "more": 1}),
    )
    assert paths(merged) == ["$.data.metadata.n"]
    assert repr(merged.value["data"]["metadata"]["z"]) == "-0.0"


@pytest.mark.parametrize(("one", "other"), [({}, []), ("a", {"a": 1}), (None, 0), ([1], {"0": 1})])
def test_values_of_different_kinds_conflict(one: Any, other: Any) -> None:
    merged = merge(session(), session(metadata={"x": one}), session(metadata={"x": other}))
    assert merged.conflicts == [Conflict("$.data.metadata.x", (), (one,), (other,))]


def test_a_scalar_that_both_turn_into_an_object_is_merged_key_by_key() -> None:
    merged = merge(session(metadata={"x": None}), session(metadata={"x": {"a": 1}}), session(metadata={"x": {"b": 2}}))
    assert merged.taking("ours")["data"]["metadata"]["x"] == {"a": 1, "b": 2}
    assert merged.conflicts == []


def test_a_merge_does_not_change_what_it_is_given() -> None:
    base = session(messages=[message("a", 1)])
    ours = session(messages=[message("a", 1), message("b", 3)], metadata={"x": 1})
    theirs = session(messages=[message("a", 1), message("c", 2)], metadata={"x": 2})
    given_documents = copy.deepcopy((base, ours, theirs))
    merge(base, ours, theirs)
    assert (base, ours, theirs) == given_documents


def test_a_document_as_deep_as_the_store_allows_is_merged() -> None:
    def nested(value: Any) -> Any:
        for _ in range(195):
            value = {"a": value} if isinstance(value, list) else [value]
        return value

    base, ours, theirs = ({"x": 0, "y": 0}, {"x": 1, "y": 0}, {"x": 0, "y": 1})
    merged = merge(*(session(data={"deep": nested(value)}) for value in (base, ours, theirs)))
    assert paths(merged) == []
    assert same(merged.value["data"]["deep"], nested({"x": 1, "y": 1}))


# -- the stamps of the store ------------------------------------------------------------------------------------------


def test_version_and_times_never_conflict() -> None:
    base = session(version=3)
    ours = session(version=5, updated_at=time(7), metadata={"a": 1, "updated_at": time(7)})
    theirs = session(version=4, updated_at=time(9), metadata={"b": 1, "updated_at": "2026-01-01T01:00:09+01:00"})
    for one, other in ((ours, theirs), (theirs, ours)):
        merged = merge(base, one, other)
        assert merged.conflicts == []
        assert merged.value["version"] == 6
        assert merged.value["updated_at"] == time(9)
        assert merged.value["data"]["metadata"]["updated_at"] == "2026-01-01T01:00:09+01:00"


def test_the_time_of_the_making_is_the_earlier_one_where_both_sides_have_made_it() -> None:
    ours = session(created_at=time(5), metadata={"created_at": time(5)})
    theirs = session(created_at=time(4), metadata={"created_at": time(4)})
    for one, other in ((ours, theirs), (theirs, ours)):
        merged = merge(None, one, other)
        assert merged.conflicts == []
        assert merged.value["created_at"] == merged.value["data"]["metadata"]["created_at"] == time(4)


def test_a_merge_of_two_edits_by_hand_has_a_version_of_its_own() -> None:
    assert merge(session(), session(metadata={"a": 1}), session(metadata={"b": 1})).value["version"] == 2


def test_times_that_are_none_conflict_as_anything_else() -> None:
    ours, theirs = session(metadata={"updated_at": "noon"}), session(metadata={"updated_at": time(2)})
    assert paths(merge(session(), ours, theirs)) == ["$.data.metadata.updated_at"]


def test_the_version_stays_one_that_the_store_can_read() -> None:
    last = 2**63 - 1
    ours, theirs = session(version=last, metadata={"a": 1}), session(version=2, metadata={"b": 1})
    assert merge(session(), ours, theirs).value["version"] == last


def test_documents_of_different_ids_are_never_mixed() -> None:
    base, ours, theirs = session(), session(id="s-2"), session(metadata={"status": "done"})
    merged = merge(base, ours, theirs)
    assert merged.conflicts == [Conflict("$", (base,), (ours,), (theirs,))]
    assert merged.taking("theirs") == theirs


def test_a_base_of_another_id_is_no_ancestor() -> None:
    base = session(id="s-0", metadata={"old": 1, "status": "base"})
    ours, theirs = session(metadata={"old": 1, "status": "done"}), session(metadata={"status": "base"})
    merged = merge(base, ours, theirs)
    assert paths(merged) == ["$.data.metadata.status"]
    assert merged.taking("ours")["data"]["metadata"]["old"] == 1


# -- lists ------------------------------------------------------------------------------------------------------------

A, B = message("a", 1), message("b", 2)


def test_additions_of_both_sides_stand_in_time_order() -> None:
    ours = session(messages=[A, message("o4", 4), message("o8", 8)])
    theirs = session(messages=[A, message("t3", 3), message("t4", 4), message("t9", 9)])
    assert contents(merge(session(messages=[A]), ours, theirs)) == ["a", "t3", "o4", "t4", "o8", "t9"]


@pytest.mark.parametrize(
    ("early", "late"),
    [
        ({"timestamp": 1_767_225_600}, {"timestamp": 1_767_225_601.5}),
        ({"timestamp": 1_767_225_600_000}, {"timestamp": "2026-01-01T00:00:01Z"}),
        ({"at": "2026-01-01T01:00:00+01:00"}, {"at": "2026-01-01T00:30:00"}),
        ({"started_at": time(1)}, {"created_at": time(2)}),
    ],
)
def test_times_come_in_many_forms(early: JsonObject, late: JsonObject) -> None:
    ours, theirs = session(messages=[{"content": "late", **late}]), session(messages=[{"content": "early", **early}])
    assert contents(merge(session(), ours, theirs)) == ["early", "late"]


def test_what_carries_no_time_stays_with_what_is_before_it() -> None:
    ours = session(messages=[A, message("o1", 3), message("o2"), message("o3", 6)])
    theirs = session(messages=[A, message("t0"), message("t1", 4), message("t2")])
    assert contents(merge(session(messages=[A]), ours, theirs)) == ["a", "t0", "o1", "o2", "t1", "t2", "o3"]


def test_where_a_side_has_no_times_ours_comes_before_theirs() -> None:
    ours, theirs = session(messages=[message("o", 9)]), session(messages=[message("t"), message("u")])
    assert contents(merge(session(), ours, theirs)) == ["o", "t", "u"]
    assert contents(merge(session(), theirs, ours)) == ["t", "u", "o"]


def test_what_both_sides_add_is_there_once() -> None:
    ours = session(messages=[A, message("x"), message("both"), message("y")])
    theirs = session(messages=[A, message("both"), message("z")])
    assert contents(merge(session(messages=[A]), ours, theirs)) == ["a", "x", "both", "y", "z"]
    crossed = merge(
        session(), session(messages=[message("x"), message("y")]), session(messages=[message("y"), message("x")])
    )
    assert sorted(contents(crossed)) == ["x", "y"]


def test_the_order_of_keys_makes_no_other_message() -> None:
    ours, theirs = session(messages=[{"content": "x", "n": {"a": 1, "b": 2}}]), session(messages=[])
    theirs["data"]["messages"] = [message("t"), {"n": {"b": 2, "a": 1}, "content": "x"}]
    assert contents(merge(session(), ours, theirs)) == ["t", "x"]


def test_what_one_side_adds_twice_is_there_twice() -> None:
    ours, theirs = session(messages=[message("x"), message("x")]), session(messages=[message("x"), message("t")])
    assert sorted(contents(merge(session(), ours, theirs))) == ["t", "x", "x"]


def test_tags_of_both_sides_are_kept_and_removals_too() -> None:
    base = session(metadata={"tags": ["old", "kept"]})
    ours = session(metadata={"tags": ["kept", "ours"]})
    theirs = session(metadata={"tags": ["old", "kept", "theirs"]})
    assert merge(base, ours, theirs).value["data"]["metadata"]["tags"] == ["kept", "ours", "theirs"]


def test_an_edited_message_and_new_ones_are_merged() -> None:
    ours = session(messages=[message("a", 1, redacted=True), B])
    theirs = session(messages=[A, B, message("t", 5)])
    merged = merge(session(messages=[A, B]), ours, theirs)
    assert contents(merged) == ["a", "b", "t"]
    assert merged.value["data"]["messages"][0]["redacted"] is True


def test_the_last_message_may_be_edited_by_both_before_they_add_more() -> None:
    ours = session(messages=[message("a", 1, read=True), message("o", 6)])
    theirs = session(messages=[message("a", 1, score=2), message("t", 5)])
    merged = merge(session(messages=[A]), ours, theirs)
    assert contents(merged) == ["a", "t", "o"]
    assert merged.value["data"]["messages"][0] == message("a", 1, read=True, score=2)


def test_messages_with_an_id_are_known_by_it() -> None:
    base = session(messages=[message("a", 1, id="m1"), message("b", 2, id="m2")])
    ours = session(messages=[message("0", 0, id="m0"), message("a!", 1, id="m1"), message("b", 2, id="m2")])
    theirs = session(messages=[message("a?", 1, id="m1"), message("b", 2, id="m2", read=True)])
    merged = merge(base, ours, theirs)
    assert merged.conflicts == [
        Conflict("$.data.messages[?@.id=='m1'].content", ("a",), ("a!",), ("a?",)),
    ]
    assert [entry["id"] for entry in merged.taking("ours")["data"]["messages"]] == ["m0", "m1", "m2"]
    assert merged.taking("ours")["data"]["messages"][2]["read"] is True


def test_a_message_that_both_have_added_in_different_words_is_one_conflict() -> None:
    ours = session(messages=[message("o", 1, id="m1"), message("x", 2, id="m2")])
    theirs = session(messages=[message("x", 2, id="m2"), message("t", 1, id="m1")])
    merged = merge(session(), ours, theirs)
    assert paths(merged) == ["$.data.messages[?@.id=='m1'].content"]
    assert len(merged.taking("theirs")["data"]["messages"]) == 2


def test_an_id_that_stands_twice_tells_nothing_apart() -> None:
    ours = session(messages=[message("x", 1, id="m1"), message("y", 2, id="m1")])
    theirs = session(messages=[message("y", 2, id="m1"), message("z", 3, id="m2")])
    assert contents(merge(session(), ours, theirs)) == ["x", "y", "z"]


def test_an_edit_and_a_removal_of_one_message_conflict_and_the_rest_is_merged() -> None:
    base = session(messages=[A, B, message("c", 3)])
    ours = session(messages=[A, message("c", 3)])
    theirs = session(messages=[A, message("b!", 2), message("c", 3), message("t", 4)])
    merged = merge(base, ours, theirs)
    assert merged.conflicts == [Conflict("$.data.messages[1]", (B,), (), (message("b!", 2),))]
    assert len(merged.taking("ours")["data"]["messages"]) == 3
    assert len(merged.taking("theirs")["data"]["messages"]) == 4


def test_numbers_in_a_list_conflict_as_a_run_of_elements() -> None:
    base, ours, theirs = (session(data={"vector": vector}) for vector in ([1, 2, 3, 4], [1, 7, 8, 4], [1, 9, 9, 4]))
    assert merge(base, ours, theirs).conflicts == [Conflict("$.data.vector[1:3]", (2, 3), (7, 8), (9, 9))]


def test_a_removal_at_the_head_and_additions_at_the_end_are_merged() -> None:
    talk = [message(str(number), number) for number in range(10)]
    merged = merge(session(messages=talk), session(messages=talk[5:]), session(messages=[*talk, message("new", 30)]))
    assert contents(merged) == ["5", "6", "7", "8", "9", "new"]


def test_long_lists_of_few_values_take_no_long_time() -> None:
    many = [0, 1] * 20_000
    ours, theirs = [2, *many[:10_000], 5, *many[10_000:], 3], [*many[:20_000], 6, *many[20_000:], 4]
    merged = merge(*(session(data={"series": series}) for series in (many, ours, theirs)))
    assert len(merged.taking("ours")["data"]["series"]) >= len(many)


def test_messages_in_another_order_are_kept_once() -> None:
    talk = [message(str(number)) for number in range(6)]
    ours = [talk[at] for at in (3, 4, 5, 0, 1, 2)]
    merged = merge(session(messages=talk), session(messages=ours), session(messages=[*talk, message("new")]))
    for side in ("ours", "theirs"):
        found = merged.taking("ours" if side == "ours" else "theirs")["data"]["messages"]
        assert sorted(entry["content"] for entry in found) == ["0", "1", "2", "3", "4", "5", "new"]


def numbered(*ids: int, **more: Any) -> JsonObject:
    return session(messages=[{"id": f"m{number}"} for number in ids], **more)


def ids(document: Any) -> list[str]:
    return [entry["id"] for entry in document["data"]["messages"]]


def test_what_both_sides_have_moved_is_there_once() -> None:
    base, ours, theirs = ((1, 2, 3), (2, 3, 1), (2, 1, 3))
    merged = merge(numbered(*base), numbered(*ours), numbered(*theirs))
    assert merged.conflicts == []
    assert ids(merged.value) == ["m2", "m3", "m1"]
    for values in ([1, 2, 3], ["1", "2", "3"], [{"x": 1}, {"x": 2}, {"x": 3}], [[1], [2], [3]]):
        tags = [[values[at - 1] for at in order] for order in (base, ours, theirs)]
        moved = merge(*(session(metadata={"tags": each}) for each in tags))
        assert moved.value["data"]["metadata"]["tags"] == [values[1], values[2], values[0]]


def test_orders_that_no_order_satisfies_are_one_conflict_of_the_smallest_part() -> None:
    merged = merge(numbered(0, 1, 2, 3, 4), numbered(0, 1, 3, 2, 4, 5), numbered(0, 2, 1, 3, 4))
    (conflict,) = merged.conflicts
    assert (conflict.path, conflict.label) == ("$.data.messages[1:4]", "$.data.messages[1:4] (order)")
    assert ids(merged.taking("ours")) == ["m0", "m1", "m3", "m2", "m4", "m5"]
    assert ids(merged.taking("theirs")) == ["m0", "m2", "m1", "m3", "m4", "m5"]


def test_an_id_that_both_sides_insert_in_two_places_is_there_once() -> None:
    merged = merge(numbered(1, 2, 3), numbered(9, 1, 2, 3), numbered(1, 2, 3, 9))
    assert [conflict.is_order for conflict in merged.conflicts] == [True]
    for side in (merged.taking("ours"), merged.taking("theirs")):
        assert sorted(ids(side)) == ["m1", "m2", "m3", "m9"]
    tags = merge(*(session(metadata={"tags": [*tags]}) for tags in ("ab", "abx", "axb")))
    assert sorted(tags.taking("ours")["data"]["metadata"]["tags"]) == ["a", "b", "x"]


def test_a_move_against_an_edit_is_both_and_against_a_deletion_a_deletion() -> None:
    theirs = numbered(1, 2, 3)
    theirs["data"]["messages"][0]["text"] = "edited"
    merged = merge(numbered(1, 2, 3), numbered(2, 3, 1), theirs)
    assert merged.conflicts == []
    assert ids(merged.value) == ["m2", "m3", "m1"]
    assert merged.value["data"]["messages"][2]["text"] == "edited"
    gone = merge(numbered(1, 2, 3), numbered(2, 3, 1), numbered(2, 3, metadata={"x": 1}))
    assert ids(gone.value) == ["m2", "m3"]
    talk = [message(text) for text in "abc"]
    moved = merge(
        session(messages=talk), session(messages=[*talk[1:], talk[0]]), session(messages=[*talk[1:], message("new")])
    )
    assert contents(moved) == ["b", "c", "new"]


def test_an_edit_of_both_in_a_conflict_of_orders_goes_with_the_order() -> None:
    base, ours, theirs = numbered(1, 2, 3), numbered(1, 3, 2), numbered(2, 1, 3)
    for side in (ours, theirs):
        side["data"]["messages"][0]["text"] = side["data"]["messages"][0]["id"]
        side["data"]["messages"][1]["seen"] = side is ours
    ours["data"]["messages"][2]["text"] = "by ours"
    merged = merge(base, ours, theirs)
    assert len(merged.conflicts) == 1
    assert merged.taking("ours")["data"]["messages"][2] == {"id": "m2", "text": "by ours"}
    assert merged.taking("theirs")["data"]["messages"][0] == {"id": "m2", "text": "m2"}


def test_what_both_sides_add_within_a_conflict_of_orders_is_on_both_sides_its_own_first() -> None:
    merged = merge(numbered(1, 2, 3), numbered(1, 7, 3, 2), numbered(2, 1, 8, 3))
    assert len(merged.conflicts) == 1
    assert ids(merged.taking("ours")) == ["m1", "m7", "m8", "m3", "m2"]
    assert ids(merged.taking("theirs")) == ["m2", "m1", "m8", "m7", "m3"]


def test_what_one_side_adds_stays_behind_what_the_other_has_moved() -> None:
    merged = merge(numbered(1, 2, 3), numbered(1, 2, 9, 3), numbered(3, 1, 2))
    assert merged.conflicts == []
    assert ids(merged.value) == ["m3", "m1", "m2", "m9"]


def test_numbers_that_both_sides_replace_are_a_conflict_though_each_stands_once() -> None:
    base, ours, theirs = (session(data={"vector": vector}) for vector in ([1, 2, 3, 4], [1, 7, 8, 4], [1, 9, 10, 4]))
    assert paths(merge(base, ours, theirs)) == ["$.data.vector[1:3]"]
    labels = (session(metadata={"tags": tags}) for tags in (["draft"], ["review"], ["urgent"]))
    assert merge(*labels).value["data"]["metadata"]["tags"] == ["review", "urgent"]


def test_lists_that_both_sides_have_sorted_in_their_ways_take_no_long_time() -> None:
    chance = random.Random(5)
    orders = [[*range(3000)] for _ in range(3)]
    chance.shuffle(orders[1])
    chance.shuffle(orders[2])
    merged = merge(*(numbered(*order) for order in orders))
    assert [conflict.is_order for conflict in merged.conflicts] == [True]
    assert ids(merged.taking("theirs")) == [f"m{number}" for number in orders[2]]


# -- laws -------------------------------------------------------------------------------------------------------------

SCALARS = st.sampled_from([None, True, 0, 1, 1.0, "", "a", "b", time(1), time(2)])
KEYS = st.sampled_from(["id", "a", "b", "created_at", "updated_at", "metadata", "version", "data"])
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4), max_leaves=12
)
DOCUMENTS = st.dictionaries(KEYS, VALUES, max_size=5).map(lambda more: {**more, "id": "s-1", "version": 1})


def edited(value: Any) -> st.SearchStrategy[Any]:
    """Give versions of a value: most parts stay as they are."""
    if isinstance(value, dict) and value:
        return st.one_of(
            st.just(value),
            st.fixed_dictionaries({key: edited(item) for key, item in value.items() if key != "id"}).map(
                lambda changed: {**value, **changed}
            ),
            st.sampled_from(sorted(value)).map(
                lambda gone: {key: item for key, item in value.items() if key != gone or key == "id"}
            ),
            st.dictionaries(KEYS.filter("id".__ne__), SCALARS, min_size=1, max_size=1).map(
                lambda new: {**value, **new}
            ),
        )
    if isinstance(value, list) and value:
        return st.one_of(
            st.just(value),
            st.lists(VALUES, max_size=3).map(lambda added: [*value, *added]),
            st.tuples(*map(edited, value)).map(list),
            st.integers(0, len(value) - 1).map(lambda at: value[:at] + value[at + 1 :]),
            st.permutations(value),
        )
    return st.just(value) | VALUES


@st.composite
def histories(draw: st.DrawFn) -> tuple[JsonObject, JsonObject, JsonObject]:
    base = draw(DOCUMENTS)
    return base, draw(edited(base)), draw(edited(base))


def leaves(value: Any, steps: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Give the paths of all keys of objects that lie in no list."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield (*steps, key)
            yield from leaves(item, (*steps, key))


@unhurried
@given(histories())
def test_an_unchanged_side_gives_the_other_side(history: tuple[JsonObject, JsonObject, JsonObject]) -> None:
    base, one, _ = history
    for merged in (merge(base, one, base), merge(base, base, one), merge(base, one, one), merge(None, one, one)):
        assert same(merged.value, one)


@settings(unhurried, max_examples=200)
@given(histories())
def test_swapping_the_sides_swaps_the_conflicts(history: tuple[JsonObject, JsonObject, JsonObject]) -> None:
    base, one, other = history
    forth, back = merge(base, one, other), merge(base, other, one)

    assert told(forth.conflicts) == told(
        Conflict(conflict.path, conflict.base, conflict.theirs, conflict.ours, conflict.is_order)
        for conflict in back.conflicts
    )


def told(conflicts: Iterable[Conflict]) -> list[str]:
    return sorted(
        json.dumps([conflict.path, conflict.is_order, conflict.base, conflict.ours, conflict.theirs], sort_keys=True)
        for conflict in conflicts
    )


@settings(unhurried, max_examples=200)
@given(histories())
def test_no_key_is_lost_and_none_comes_from_nowhere(history: tuple[JsonObject, JsonObject, JsonObject]) -> None:
    base, one, other = history
    merged = merge(base, one, other)
    before, ours, theirs = (set(leaves(value)) for value in (base, one, other))
    for side, own in (("ours", ours), ("theirs", theirs)):
        taken = set(leaves(merged.taking("ours" if side == "ours" else "theirs")))
        assert taken <= ours | theirs
        # what both have is there; what a side has made is there if that side is taken
        assert {path for path in ours & theirs if not conflicting(merged, path)} <= taken
        assert {path for path in own - before if not conflicting(merged, path)} <= taken


def conflicting(merged: Merged, path: tuple[Any, ...]) -> bool:
    """Whether a path leads into a conflict."""
    value = merged.value
    for step in path:
        if isinstance(value, Conflict):
            return True
        if not isinstance(value, dict) or step not in value:
            return False
        value = value[step]
    return isinstance(value, Conflict)


MESSAGES = st.lists(
    st.fixed_dictionaries({"content": st.sampled_from("abcd")}, optional={"created_at": st.integers(0, 9).map(time)}),
    max_size=6,
)


@unhurried
@given(MESSAGES, MESSAGES, MESSAGES)
def test_additions_of_both_sides_are_kept_in_the_order_of_each(
    base: list[Any], ours: list[Any], theirs: list[Any]
) -> None:
    merged = merge(
        session(messages=base), session(messages=base + ours), session(messages=base + theirs, metadata={"x": 1})
    )
    assert merged.conflicts == []
    messages = merged.value["data"]["messages"]
    assert messages[: len(base)] == base

    def counted(entries: list[Any]) -> Counter[str]:
        return Counter(json.dumps(entry, sort_keys=True) for entry in entries)

    assert counted(messages[len(base) :]) == counted(ours) | counted(theirs)
    assert is_within(ours, messages[len(base) :])


def is_within(few: list[Any], many: list[Any]) -> bool:
    """Whether the elements stand in the other list in the same order."""
    rest = iter(many)
    return all(entry in rest for entry in few)


@unhurried
@given(histories())
def test_a_merge_is_always_the_same(history: tuple[JsonObject, JsonObject, JsonObject]) -> None:
    assert repr(merge(*history)) == repr(merge(*copy.deepcopy(history)))


# -- lists of all kinds -----------------------------------------------------------------------------------------------

ELEMENTS = st.one_of(
    st.integers(0, 3).map(lambda number: {"id": f"m{number}"}),
    st.integers(0, 2).map(lambda number: {"content": number}),
    st.sampled_from(["a", "b", 1, 2, None, [1], [2]]),
)


@st.composite
def moved_lists(draw: st.DrawFn) -> tuple[list[Any], list[Any], list[Any]]:
    """Give a list and two versions of it: moved by little or by much, with elements put in, taken out and edited."""
    base = draw(st.lists(ELEMENTS, max_size=6))

    def version() -> list[Any]:
        items = draw(st.permutations(base)) if draw(st.booleans()) else list(base)
        for _ in range(draw(st.integers(0, 2))):
            at = draw(st.integers(0, len(items)))
            items[at : at + draw(st.integers(0, 1))] = draw(st.lists(ELEMENTS, max_size=1))
        return [
            {**item, "read": draw(st.booleans())} if isinstance(item, dict) and not draw(st.integers(0, 3)) else item
            for item in items
        ]

    return base, version(), version()


def keyed(lists: Iterable[list[Any]]) -> list[Counter[str]]:
    """Count elements by their ids where no list holds one twice, else by what they hold."""

    def id_of(value: Any) -> str:
        return f"id {value['id']}" if isinstance(value, dict) and "id" in value else ""

    lists = list(lists)
    first = [Counter(map(id_of, values)) for values in lists[:3]]
    usable = {name for name in {*first[0], *first[1], *first[2]} if name and max(each[name] for each in first) == 1}
    return [
        Counter(name if (name := id_of(value)) in usable else json.dumps(value, sort_keys=True) for value in values)
        for values in lists
    ]


@settings(unhurried, max_examples=400)
@given(moved_lists())
def test_no_list_loses_or_doubles_what_was_only_moved(lists: tuple[list[Any], list[Any], list[Any]]) -> None:
    merged = merge(*(session(data={"list": values}) for values in lists))
    for chosen in (merged.taking("ours"), merged.taking("theirs")):
        base, ours, theirs, found = keyed((*lists, chosen["data"]["list"]))
        for name in base | ours | theirs:
            old, one, other = base[name], ours[name], theirs[name]
            if name.startswith("id "):
                assert found[name] <= 1
            elif old:
                # what both sides have edited in one place may become the same as what stands in another
                assert found[name] <= max(one, other, one + other - old)
            if old == one == other == 1:
                # nobody has deleted it
                assert found[name] == 1


@settings(unhurried, max_examples=300)
@given(moved_lists())
def test_swapping_the_sides_of_moves_swaps_the_conflicts(lists: tuple[list[Any], list[Any], list[Any]]) -> None:
    base, one, other = (session(data={"list": values}) for values in lists)
    assert told(merge(base, one, other).conflicts) == told(
        Conflict(conflict.path, conflict.base, conflict.theirs, conflict.ours, conflict.is_order)
        for conflict in merge(base, other, one).conflicts
    )
