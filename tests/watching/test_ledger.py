import gc
import weakref

import pytest

from fsstore.errors import StorageClosedError, StorageUnavailableError
from fsstore.model.records import JsonObject
from fsstore.watching.ledger import KnownState, Ledger, Missed
from tests.watching.sources import Collecting

ONE, TWO = KnownState("a", 1, b"1"), KnownState("a", 2, b"2")


@pytest.fixture
def ledger() -> Ledger:
    return Ledger("somewhere")


def test_a_change_is_received_by_every_subscriber_with_its_number(ledger: Ledger) -> None:
    first, second = Collecting(), Collecting()
    assert ledger.subscribe(first) == 0
    ledger.publish("a", ONE, "own", {"id": "a"})
    assert ledger.subscribe(second) == 1
    ledger.publish("a", TWO, "store", {"id": "a", "version": 2})

    last = (2, "a", TWO, "store", {"id": "a", "version": 2})
    assert first.received == [(1, "a", ONE, "own", {"id": "a"}), last]
    assert second.received == [last]
    assert (ledger.get("a"), ledger.last_change("a")) == (TWO, 2)


def test_a_deletion_is_received_once_with_the_last_state(ledger: Ledger) -> None:
    subscriber = Collecting()
    ledger.adopt("a", ONE)
    ledger.subscribe(subscriber)
    for _ in range(2):
        ledger.publish("a", None, "external")
    ledger.publish("never there", None, "external")

    assert subscriber.received == [(1, "a", ONE, "external", None)]
    assert (ledger.get("a"), ledger.last_change("a"), ledger.serial) == (None, 0, 1)


def test_a_record_is_made_whole_only_for_those_who_ask_for_it(ledger: Ledger) -> None:
    part, every, made = {"id": "a", "data": {}}, {"id": "a", "data": {"n": 1}}, list[str]()

    def whole() -> JsonObject:
        made.append("a")
        return every

    content, asking = Collecting(), Collecting(asks_documents=True)
    ledger.subscribe(content)
    ledger.publish("a", ONE, "own", part, whole=whole)
    assert (content.received[0][-1], made) == (part, [])
    ledger.subscribe(asking)
    ledger.publish("a", TWO, "own", part, whole=whole)
    assert (asking.received[0][-1], made) == (every, ["a"])


def test_one_who_begins_to_ask_while_a_change_is_on_its_way_gets_the_whole_record(ledger: Ledger) -> None:
    asking, known = Collecting(asks_documents=True), Collecting()
    ledger.subscribe(known)

    class ComesBetween:
        """Stands for the guard, which another thread takes between two turns of the publisher."""

        def __init__(self) -> None:
            self.turns = 0

        def __enter__(self) -> None:
            self.turns += 1
            if self.turns == 2:
                ledger._watches.add(asking)

        def __exit__(self, *_: object) -> None: ...

    vars(ledger)["guard"] = ComesBetween()
    ledger.publish("a", ONE, "own", {"id": "a"}, whole=lambda: {"id": "a", "data": 1})
    assert asking.received[0][-1] == {"id": "a", "data": 1}


@pytest.mark.parametrize("name", ["", "/", "a/b", "a//b/", "/a", "\\", "ab/a.json", "größe\0"])
def test_a_name_is_a_mere_key(ledger: Ledger, name: str) -> None:
    """As ids are for a backend in memory: none of them is near another."""
    others = ["a", "b", "a/", "b/", "//"]
    for other in others:
        ledger.adopt(other, KnownState(other, 1, other))
    ledger.publish(name, ONE, "own")
    assert ledger.get(name) == ONE
    ledger.publish(name, None, "own")

    assert ledger.get(name) is None
    assert [ledger.get(other) for other in others] == [KnownState(other, 1, other) for other in others]


def test_what_was_adopted_is_no_change(ledger: Ledger) -> None:
    subscriber = Collecting()
    ledger.subscribe(subscriber)
    ledger.adopt("a", ONE)

    assert subscriber.received == []
    assert ledger.missed(0, ()) == Missed([], 0)
    assert ledger.get("a") == ONE


def test_what_was_missed_is_each_name_once_in_the_order_of_its_last_change(ledger: Ledger) -> None:
    for name in ("a", "b", "c", "b", "a"):
        ledger.publish(name, KnownState(name, ledger.serial, None), "own")

    assert ledger.missed(0, ()) == Missed(["c", "b", "a"], 5)
    assert ledger.missed(3, ()) == Missed(["b", "a"], 5)
    assert ledger.missed(5, ()) == Missed([], 5)


def test_a_deletion_is_missed_by_those_who_have_the_document(ledger: Ledger) -> None:
    for name in ("a", "b"):
        ledger.adopt(name, KnownState(name, 1, None))
    ledger.publish("a", None, "own")
    ledger.publish("b", TWO, "own")

    assert ledger.missed(0, {"a": "a", "b": "b"}) == Missed(["a", "b"], 2)
    assert ledger.missed(0, {"b": "b"}) == Missed(["b"], 2)
    assert ledger.missed(1, {"b": "b"}) == Missed(["b"], 2)


def test_many_changes_of_one_document_are_one_entry(ledger: Ledger) -> None:
    for version in range(1000):
        ledger.publish("a", KnownState("a", version, version), "own")

    assert len(ledger._states) == len(ledger._order) == 1
    ledger.publish("a", None, "own")
    assert not ledger._states
    assert not ledger._order


def test_who_has_unsubscribed_receives_nothing(ledger: Ledger) -> None:
    subscriber = Collecting()
    ledger.subscribe(subscriber)
    ledger.unsubscribe(subscriber)
    ledger.publish("a", ONE, "own")
    ledger.end(StorageClosedError(path="somewhere"))

    assert (subscriber.received, subscriber.reasons) == ([], [])


def test_a_subscriber_that_nobody_holds_is_forgotten(ledger: Ledger) -> None:
    subscriber = Collecting()
    ledger.subscribe(subscriber)
    reference = weakref.ref(subscriber)
    del subscriber
    gc.collect()

    assert reference() is None
    ledger.publish("a", ONE, "own")


def test_the_first_reason_ends_every_subscriber_the_late_ones_too(ledger: Ledger) -> None:
    early, late = Collecting(), Collecting()
    ledger.subscribe(early)
    failure = StorageUnavailableError(reason="gone")
    ledger.end(failure)
    ledger.end(StorageClosedError(path="somewhere"))
    ledger.subscribe(late)

    assert early.reasons == [failure, failure]
    assert late.reasons == [failure]
