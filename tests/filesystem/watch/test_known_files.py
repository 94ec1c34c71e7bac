import sys
import tracemalloc
from typing import Any

from fsstore.filesystem.disk.trust import RACY_NS
from fsstore.filesystem.watch.known_files import UNKNOWN, KnownFiles
from fsstore.watching.ledger import KnownState, Ledger
from tests.watching.sources import Collecting


def state(record_id: str, version: int = 1) -> KnownState:
    return KnownState(record_id, version, version)


def test_marks_are_kept_by_directory_and_states_in_the_ledger() -> None:
    ledger = Ledger("here")
    known = KnownFiles(ledger)
    known.adopt("ab/one.json", state("one"), 1)
    known.adopt("ab/two.json", state("two"), 2)
    known.adopt("cd/ef/three.json", state("three"), 3)

    assert sorted(known.directories()) == ["ab", "cd/ef"]
    assert known.within("ab") == {"ab/one.json": 1, "ab/two.json": 2}
    assert known.within("cd") == known.within("") == {}
    assert [known.mark(name) for name in ("ab/two.json", "ab/none.json", "none")] == [2, UNKNOWN, UNKNOWN]
    assert known.get("cd/ef/three.json") == ledger.get("cd/ef/three.json") == state("three")


def test_publishing_keeps_both_in_step() -> None:
    ledger, subscriber = Ledger("here"), Collecting()
    known = KnownFiles(ledger)
    ledger.subscribe(subscriber)
    known.publish("ab/one.json", state("one"), 1, "own", {"id": "one"})
    known.publish("ab/one.json", state("one", 2), 5, "store", {"id": "one"})
    assert (known.mark("ab/one.json"), known.get("ab/one.json")) == (5, state("one", 2))

    for _ in range(2):
        known.publish_deletion("ab/one.json", "external")
    known.publish_deletion("never/there.json", "external")

    assert (known.mark("ab/one.json"), known.get("ab/one.json"), known.directories()) == (UNKNOWN, None, [])
    assert [(name, origin) for _, name, _, origin, _ in subscriber.received] == [
        ("ab/one.json", "own"),
        ("ab/one.json", "store"),
        ("ab/one.json", "external"),
    ]


def test_what_is_doubtful_is_due_after_two_seconds_and_again_until_it_is_sure() -> None:
    known = KnownFiles(Ledger("here"))
    assert known.due() == float("inf")
    known.doubt("a", 10.0)
    known.doubt("b", 11.0)
    known.doubt("a", 12.0)
    assert [known.is_doubtful(name) for name in "abc"] == [True, True, False]
    assert known.due() == 11.0 + RACY_NS / 1e9
    assert known.take_due(13.0) == []
    assert known.take_due(13.5) == ["b"]
    assert known.take_due(20.0) == ["a", "b"]
    known.is_sure("a")
    known.is_sure("c")
    assert known.take_due(30.0) == ["b"]
    known.adopt("b", state("b"), 1)
    known.publish_deletion("b", "external")
    assert (known.due(), known.take_due(99.0)) == (float("inf"), [])


def test_a_document_costs_about_500_bytes() -> None:
    """As `FileStorage.watch` states it; each has changed since watching began, and has bytes of its own."""
    documents = 2_000
    known = KnownFiles(Ledger("here"))
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        for turn in range(2):
            for number in range(documents):
                name, digest = f"{number % 256:02x}/session-{number:08}.json", number.to_bytes(16, "big")
                seen: tuple[str, KnownState, int] = (
                    name,
                    KnownState(f"session-{number:08}", 1, digest),
                    sys.maxsize - number - turn,
                )
                known.publish(*seen, "external", _NO_RECORD)
        cost = (tracemalloc.get_traced_memory()[0] - before) / documents
    finally:
        tracemalloc.stop()

    assert 200 < cost < 600


_NO_RECORD: dict[str, Any] = {}
