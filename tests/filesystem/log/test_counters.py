from __future__ import annotations

import errno
import os
import struct
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fsstore.filesystem.disk.files import Tree
from fsstore.filesystem.disk.system import NotAFileError
from fsstore.filesystem.documents.layout import CONTROL, COUNTERS, FLOOR, STAGING
from fsstore.filesystem.log import counters as counting
from fsstore.filesystem.log.counters import UNNAMED, Counters, State, even, odd

NAMES = State._fields
LARGEST = 2**64 - 1
SIZE = 8 * len(NAMES)

# a busy machine is no failure
unhurried = settings(deadline=None)


@pytest.fixture(params=["pread", "no pread"])
def tree(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tree:
    if request.param == "no pread":
        monkeypatch.delattr(os, "pread")
        monkeypatch.delattr(os, "pwrite")
    tree = Tree(tmp_path)
    tree.make_directory(CONTROL)
    tree.make_directory(STAGING)
    return tree


@pytest.fixture
def counters(tree: Tree) -> Iterator[Counters]:
    # as they are once somebody has recovered
    tree.write_new(COUNTERS, bytes(SIZE))
    counters = Counters(tree)
    counters.open()
    yield counters
    counters.close()


@pytest.fixture
def other(tree: Tree) -> Iterator[Counters]:
    """Return the same counters as another process has them open."""
    other = Counters(tree)
    other.open()
    yield other
    other.close()


# -- counters -------------------------------------------------------------------------------------------------------


def test_counters_that_are_made_say_that_a_writer_may_have_died(tree: Tree) -> None:
    counters, other = Counters(tree), Counters(tree)
    counters.open()

    begun = counters.read()
    assert begun == State(applying=1, indexing=1, stale=begun.stale)
    assert begun.unfinished
    tree.unlink(COUNTERS)
    other.open()
    # nobody finds the number again under which the index was last in order
    assert other.read().stale != begun.stale
    assert (tree.root / COUNTERS).stat().st_size == SIZE
    counters.close()
    other.close()


@pytest.mark.parametrize("how", ["removed", "another", "moved"])
def test_a_reader_does_not_believe_counters_that_have_lost_their_name(
    counters: Counters, other: Counters, tree: Tree, how: str
) -> None:
    counters.write(applying=4, indexing=6)
    assert (other.applying(), other.look()) == (4, State(applying=4, indexing=6))
    if how == "moved":
        (tree.root / CONTROL).rename(tree.root / "elsewhere")
    else:
        tree.unlink(COUNTERS)
    if how == "another":
        tree.write_new(COUNTERS, bytes(SIZE))

    assert not other.are_named()
    assert other.applying() == UNNAMED
    assert other.applying() & 1
    assert other.look() == State(applying=UNNAMED, indexing=UNNAMED)
    assert other.read() == State(applying=4, indexing=6)


@pytest.mark.parametrize("value", [1, 2**32, LARGEST])
@pytest.mark.parametrize("name", NAMES)
def test_a_counter_changes_its_own_eight_bytes(
    counters: Counters, other: Counters, tree: Tree, name: str, value: int
) -> None:
    counters.write(**{name: value})

    at = 8 * NAMES.index(name)
    expected = bytes(at) + value.to_bytes(8, "little") + bytes(SIZE - at - 8)
    assert (tree.root / COUNTERS).read_bytes() == expected
    assert other.read() == State()._replace(**{name: value})


def test_several_counters_are_written_in_the_order_given(counters: Counters, monkeypatch: pytest.MonkeyPatch) -> None:
    name = "pwrite" if hasattr(os, "pwrite") else "write"
    written, write = [], getattr(os, name)

    def recording(descriptor: int, data: bytes, *offset: int) -> int:
        written.append(data)
        return int(write(descriptor, data, *offset))

    monkeypatch.setattr(os, name, recording)

    counters.write(stale=3, applying=2)

    # one call a counter: a reader sees the old value or the new one
    assert [int.from_bytes(data, "little") for data in written] == [3, 2]
    assert {len(data) for data in written} == {8}
    assert counters.read() == State(applying=2, stale=3)


def test_a_counter_grows_by_one_for_everybody(counters: Counters, other: Counters) -> None:
    assert [counters.increase("lock_requests"), other.increase("lock_requests"), counters.increase("stale")] == [
        1,
        2,
        1,
    ]
    assert counters.read() == other.read() == State(lock_requests=2, stale=1)


def test_one_counter_is_looked_at_on_its_own(counters: Counters, other: Counters) -> None:
    counters.write(applying=7, indexing=9)

    assert other.applying() == 7


def test_an_unknown_counter_is_a_mistake(counters: Counters) -> None:
    with pytest.raises(ValueError, match="not in tuple"):
        counters.write(aplying=1)


def test_a_write_that_fails_is_heard(counters: Counters, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> int:
        raise OSError(5, os.strerror(5))

    monkeypatch.setattr(os, "pwrite" if hasattr(os, "pwrite") else "write", fail)

    with pytest.raises(OSError, match=os.strerror(5)):
        counters.write(applying=1)
    assert counters.read() == State()


# -- what the counters mean -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("state", "unfinished"),
    [
        (State(), False),
        (State(applying=1), True),
        (State(indexing=1), True),
        (State(applying=3, indexing=1), True),
        (State(applying=2, indexing=4), False),
        (State(lock_requests=1, stale=1, newest=1, sealed=1, deleted=1), False),
    ],
)
def test_a_commit_is_unfinished_while_one_of_its_counters_is_odd(state: State, *, unfinished: bool) -> None:
    assert state.unfinished is unfinished


@pytest.mark.parametrize(
    ("state", "empty"),
    [
        (State(), True),
        (State(newest=1), False),
        (State(newest=2, sealed=2, deleted=1), False),
        (State(newest=2, sealed=2, deleted=2), True),
    ],
)
def test_the_log_is_empty_when_its_newest_segment_is_deleted(state: State, *, empty: bool) -> None:
    assert state.log_is_empty is empty


@unhurried
@given(st.integers(0, LARGEST - 2))
def test_odd_begins_and_even_ends(counter: int) -> None:
    assert odd(counter) in (counter + 1, counter + 2)
    assert odd(counter) % 2 == 1
    assert even(counter) in (counter, counter + 1)
    assert even(counter) % 2 == 0
    # what is begun again and ended is told from what was there before
    assert counter < odd(counter) < even(odd(counter))


# -- the file -------------------------------------------------------------------------------------------------------


def test_a_file_is_opened_once(counters: Counters) -> None:
    assert counters.open() is False


@pytest.mark.parametrize("again", [True, False], ids=["and made again", "for good"])
def test_a_file_that_was_removed_is_opened_anew(counters: Counters, tree: Tree, *, again: bool) -> None:
    counters.write(applying=1)
    tree.unlink(COUNTERS)
    if again:
        tree.write_new(COUNTERS, bytes(SIZE))

    assert counters.open() is True
    assert counters.read().applying == (0 if again else 1)
    counters.write(stale=5)
    assert (tree.root / COUNTERS).stat().st_size == SIZE


def test_opening_keeps_what_is_counted(counters: Counters, tree: Tree) -> None:
    counters.write(applying=4, lock_acquisitions=5)

    again = Counters(tree)
    assert again.open() is True

    assert again.read() == State(applying=4, lock_acquisitions=5)
    again.close()


@pytest.mark.parametrize("size", range(SIZE))
def test_what_a_short_file_lacks_reads_as_zeros(tree: Tree, size: int) -> None:
    tree.write_new(COUNTERS, b"\x01" * size)
    there = State(*struct.unpack(f"<{len(NAMES)}Q", (b"\x01" * size).ljust(SIZE, b"\0")))
    reader, writer = Counters(tree, read_only=True), Counters(tree)
    reader.open()
    writer.open()

    assert reader.read() == writer.read() == there
    assert reader.applying() == there.applying

    writer.write(**{NAMES[-1]: 7})
    assert reader.read() == there._replace(**{NAMES[-1]: 7})
    assert (tree.root / COUNTERS).stat().st_size == SIZE
    reader.close()
    writer.close()


def test_a_counter_that_is_closed_reads_as_zeros(counters: Counters) -> None:
    counters.write(applying=1)
    counters.close()
    counters.close()

    assert (counters.read(), counters.applying()) == (State(), 0)
    with pytest.raises(OSError, match=os.strerror(9)):
        counters.write(applying=3)
    assert counters.open() is True
    assert counters.applying() == 1


def open_descriptors() -> set[int]:
    found = set()
    for descriptor in range(64):
        with suppress(OSError):
            os.fstat(descriptor)
            found.add(descriptor)
    return found


def test_a_file_for_which_there_is_no_space_is_not_in_use(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> int:
        raise OSError(28, os.strerror(28))

    counters, before = Counters(tree), open_descriptors()
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", fail)
        with pytest.raises(OSError, match=os.strerror(28)):
            counters.open()

    assert open_descriptors() == before
    assert counters.open() is True
    assert (tree.root / COUNTERS).stat().st_size == SIZE
    counters.close()


def test_without_a_directory_there_are_no_counters(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        Counters(Tree(tmp_path)).open()


# -- a store that cannot be written --------------------------------------------------------------------------------


def test_a_reader_sees_the_counters_and_can_not_change_them(counters: Counters, tree: Tree) -> None:
    counters.write(applying=3, stale=4)
    reader = Counters(tree, read_only=True)

    assert reader.open() is True

    assert (reader.read(), reader.applying()) == (State(applying=3, stale=4), 3)
    with pytest.raises(OSError, match=os.strerror(9)):
        reader.write(applying=5)
    reader.close()


def test_where_nobody_can_write_and_nothing_is_counted_everything_is_zero(tmp_path: Path) -> None:
    reader = Counters(Tree(tmp_path), read_only=True)

    assert reader.open() is False
    assert (reader.read(), reader.applying()) == (State(), 0)
    assert list(tmp_path.iterdir()) == []


OBSTACLES: dict[str, Callable[[Path, Path], object]] = {
    "link": lambda path, elsewhere: path.symlink_to(elsewhere),
    "fifo": lambda path, _: os.mkfifo(path),
    "directory": lambda path, _: path.mkdir(),
}


@pytest.mark.parametrize("obstacle", OBSTACLES)
@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no such things to stand in the way")
def test_what_is_no_file_counts_nothing(tree: Tree, tmp_path: Path, obstacle: str) -> None:
    (tmp_path / "elsewhere").write_bytes(b"\x01" * SIZE)
    OBSTACLES[obstacle](tree.root / COUNTERS, tmp_path / "elsewhere")
    reader, writer = Counters(tree, read_only=True), Counters(tree)

    assert reader.open() is False
    assert (reader.read(), reader.applying()) == (State(), 0)
    with pytest.raises(NotAFileError):
        writer.open()


# -- the floor of versions ------------------------------------------------------------------------------------------


def noise(path: Path) -> None:
    path.write_bytes(b"\xff" * SIZE)


LOST: dict[str, Callable[[Path], object]] = {
    "removed": Path.unlink,
    "never written out": lambda path: path.write_bytes(b""),
    "zeros": lambda path: path.write_bytes(bytes(SIZE)),
    "noise": noise,
}


@pytest.mark.parametrize("how", LOST)
def test_a_floor_that_was_kept_outlives_the_counters(counters: Counters, tree: Tree, how: str) -> None:
    counters.keep_floor(7)
    assert counters.read().floor == 7
    LOST[how](tree.root / COUNTERS)

    again = Counters(tree)
    again.open()
    again.mend()

    assert again.read().floor == 7
    again.close()


def test_an_open_store_remembers_a_floor_that_nobody_has_kept(counters: Counters, tree: Tree) -> None:
    counters.write(floor=7)
    tree.unlink(COUNTERS)

    assert counters.open()
    counters.mend()

    assert counters.read().floor == 7


def test_counters_that_can_be_read_no_more_are_opened_anew(
    counters: Counters, tree: Tree, monkeypatch: pytest.MonkeyPatch
) -> None:
    # as on a medium that has died and was mounted again under an open store
    read, dead = counting._read_at, counters._descriptor

    def fails(descriptor: int, size: int) -> bytes:
        if descriptor == dead:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return read(descriptor, size)

    monkeypatch.setattr(counting, "_read_at", fails)
    (tree.root / COUNTERS).rename(tree.root / "elsewhere")
    counters.note_floor(7)

    assert counters.open()
    counters.mend()

    assert counters.read().floor == 7


def test_a_floor_is_kept_once_and_never_lowered(
    counters: Counters, other: Counters, tree: Tree, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[str] = []
    monkeypatch.setattr(Tree, "sync", lambda _tree, name: synced.append(name))
    counters.keep_floor()
    assert synced == []

    counters.write(floor=3)
    for _ in range(2):
        counters.keep_floor()
    other.keep_floor(2)
    other.keep_floor(5)
    counters.keep_floor()

    assert (tree.root / FLOOR).read_bytes() == b"00000000000000000005\n"
    assert counters.read().floor == 5
    assert tree.entries(STAGING) == []


@pytest.mark.parametrize("told", [b"", b"x", b"-3", b"9" * 31, b"\xff"])
def test_a_floor_that_is_none_is_passed_over(tree: Tree, told: bytes) -> None:
    tree.write_new(FLOOR, told)
    counters = Counters(tree)
    counters.open()
    counters.mend()

    assert counters.read().floor == 0
    counters.close()
