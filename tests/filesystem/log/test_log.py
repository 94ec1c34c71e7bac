from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from fsstore.filesystem.disk.files import Tree
from fsstore.filesystem.disk.system import unavailable
from fsstore.filesystem.documents.layout import CONTROL, COUNTERS, LOG, QUARANTINE, STAGING, segment_name
from fsstore.filesystem.log.counters import Counters, State
from fsstore.filesystem.log.log import Log, NotSyncedError, UnknownOutcomeError
from fsstore.filesystem.log.records import LoggedChange
from tests.filesystem.log.test_records import packed, saved


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    tree = Tree(tmp_path)
    tree.make_directory(CONTROL)
    tree.make_directory(LOG)
    tree.make_directory(STAGING)
    return tree


@pytest.fixture
def counters(tree: Tree) -> Iterator[Counters]:
    # as they are once somebody has recovered
    tree.write_new(COUNTERS, b"")
    counters = Counters(tree)
    counters.open()
    yield counters
    counters.close()


@pytest.fixture
def log(tree: Tree, counters: Counters) -> Iterator[Log]:
    log = Log(tree, counters)
    yield log
    log.close()


def append(log: Log, *changes: LoggedChange, durable: bool = True) -> int:
    return log.append(list(changes), log._counters.read(), durable=durable)


def ids(log: Log) -> list[list[str]]:
    """Return the ids in each segment; none of them may be damaged."""
    segments = log.read(log.numbers())
    assert {segment.damage for segment in segments} <= {""}
    return [[change.id for change in segment.changes] for segment in segments]


def inode(tree: Tree, name: str) -> int:
    return (tree.root / name).stat().st_ino


def size_of(tree: Tree, number: int) -> int:
    return (tree.root / segment_name(number)).stat().st_size


def failing(number: int) -> Callable[..., Any]:
    def fail(*_: object, **__: object) -> Any:
        raise OSError(number, os.strerror(number))

    return fail


def filling_up(room: int) -> Callable[[int, Any], int]:
    """Return a write for which there is only so much room on the disk."""
    write, left = os.write, [room]

    def limited(descriptor: int, data: Any) -> int:
        if not left[0]:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        done = write(descriptor, data[: left[0]])
        left[0] -= done
        return done

    return limited


# -- segments -------------------------------------------------------------------------------------------------------


def test_a_log_begins_with_its_first_record(log: Log, counters: Counters) -> None:
    assert (log.numbers(), log.read([])) == ([], [])

    a, b, c = (saved(name)._replace(time_ns=time_ns) for name, time_ns in (("a", 7), ("b", 8), ("c", 9)))
    sizes = [append(log, a), append(log, b, c)]

    (segment,) = log.read([1])
    assert (segment.number, segment.damage) == (1, "")
    # a record has one time
    assert segment.changes == [a, b._replace(time_ns=9), c]
    assert sizes == sorted(sizes)
    assert size_of(log._tree, 1) == sizes[-1]
    assert counters.read() == State(newest=1)
    assert log.position == (1, sizes[-1])


def test_a_sealed_segment_takes_no_more_records(log: Log, counters: Counters) -> None:
    append(log, saved("a"))
    counters.write(sealed=1)
    size = append(log, saved("b"))

    assert ids(log) == [["a"], ["b"]]
    assert size < 200
    assert counters.read() == State(newest=2, sealed=1)


def test_processes_take_turns_in_one_segment(log: Log, counters: Counters, tree: Tree) -> None:
    other = Log(tree, counters)
    told: list[list[str]] = [[], []]
    for turn in range(12):
        if turn == 8:
            counters.write(sealed=1)
        writing = (log, other)[turn % 2]
        for at in range(turn):
            append(writing, saved(f"{turn}-{at}"))
            told[turn >= 8].append(f"{turn}-{at}")
        writing.trim()
    other.close()

    assert ids(log) == told


def test_zeros_are_written_ahead_of_many_records_and_are_gone_at_the_end_of_the_turn(log: Log, tree: Tree) -> None:
    sizes = []
    for at in range(40):
        end = append(log, saved(f"{at}", "x" * 100))
        sizes.append(size_of(tree, 1) - end)
    # one that stands alone pays nothing, and of many few have the size of the file changed
    assert sizes[:2] == [0, 0]
    assert 0 < max(sizes) <= 40 * 200
    assert sum(after > before for before, after in pairwise(sizes)) < 8
    assert ids(log) == [[f"{at}" for at in range(40)]]
    log.trim()
    assert size_of(tree, 1) == end
    log.trim()
    assert append(log, saved("next")) == size_of(tree, 1)
    assert ids(log) == [[*(f"{at}" for at in range(40)), "next"]]


@pytest.mark.parametrize("cut", [0, 1, 20, 60])
def test_a_record_torn_before_zeros_is_a_commit_that_never_happened(log: Log, tree: Tree, cut: int) -> None:
    for at in range(20):
        append(log, saved(f"{at}", "x" * 100))
    end = append(log, saved("torn", "x" * 100))
    path = tree.root / segment_name(1)
    data = bytearray(path.read_bytes())
    assert len(data) > end
    data[end - cut : end] = bytes(cut)
    path.write_bytes(data)
    assert ids(log) == [[*(f"{at}" for at in range(20)), *([] if cut else ["torn"])]]


def test_where_there_is_no_room_for_zeros_records_are_written_all_the_same(
    log: Log, tree: Tree, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = os.write

    def no_room_for_zeros(descriptor: int, data: bytes) -> int:
        if not any(data):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(descriptor, data)

    monkeypatch.setattr(os, "write", no_room_for_zeros)
    for at in range(30):
        assert append(log, saved(f"{at}", "x" * 100)) == size_of(tree, 1)
    assert ids(log) == [[f"{at}" for at in range(30)]]


def test_a_segment_whose_zeros_will_not_go_takes_no_more_records(
    log: Log, tree: Tree, counters: Counters, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = Log(tree, counters)
    for at in range(30):
        append(log, saved(f"{at}", "x" * 100))
    with monkeypatch.context() as patch:
        patch.setattr(os, "ftruncate", failing(errno.EIO))
        log.trim()
    append(other, saved("other"))
    other.close()
    append(log, saved("next"))
    assert ids(log) == [[f"{at}" for at in range(30)], ["other", "next"]]


def test_segments_are_read_in_the_order_of_their_numbers(log: Log, counters: Counters, tree: Tree) -> None:
    for number in range(1, 13):
        append(log, saved(f"{number}"))
        counters.write(sealed=number)
    tree.write_new(f"{LOG}/000000000001.log.bak", b"foreign")
    tree.write_new(f"{LOG}/notes.txt", b"foreign")

    assert log.numbers() == list(range(1, 13))
    assert ids(log) == [[f"{number}"] for number in range(1, 13)]
    assert [segment.number for segment in log.read([12, 2, 7])] == [2, 7, 12]


def test_deleted_segments_are_passed_over(log: Log, counters: Counters) -> None:
    for number in (1, 2, 3):
        append(log, saved(f"{number}"))
        counters.write(sealed=number)
    log.delete(1)

    assert log.numbers() == [2, 3]
    assert [segment.number for segment in log.read([1, 2, 3])] == [2, 3]


def test_a_missing_segment_says_nothing_about_the_one_before_it(log: Log, counters: Counters) -> None:
    append(log, saved("a"), saved("b", "x" * 1000))
    counters.write(sealed=1)
    append(log, saved("c"))
    counters.write(sealed=2)
    append(log, saved("d"))
    log.delete(2)

    assert ids(log) == [["a", "b"], ["d"]]


def test_where_boots_have_no_id_a_log_is_read_all_the_same(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "read_text", failing(errno.ENOENT))
    append(log, saved("a"))

    assert ids(log) == [["a"]]


# -- what is synced -------------------------------------------------------------------------------------------------


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return the inodes that are synced, in order."""
    inodes: list[int] = []
    for call in ("fsync", "fdatasync"):
        monkeypatch.setattr(os, call, lambda descriptor: inodes.append(os.fstat(descriptor).st_ino), raising=False)
    return inodes


def test_a_durable_record_is_synced_and_its_segment_named_on_disk(log: Log, tree: Tree, synced: list[int]) -> None:
    append(log, saved("a"))
    append(log, saved("b"))

    segment = inode(tree, segment_name(1))
    assert synced == [inode(tree, LOG), segment, segment]


def test_a_record_that_need_not_last_is_not_synced(log: Log, tree: Tree, synced: list[int]) -> None:
    append(log, saved("a"), durable=False)
    assert synced == []

    append(log, saved("b"))
    assert synced == [inode(tree, LOG), inode(tree, segment_name(1))]
    assert [change.durable for change in log.read([1])[0].changes] == [False, True]


def test_a_deletion_is_on_disk_before_the_next(log: Log, counters: Counters, tree: Tree, synced: list[int]) -> None:
    append(log, saved("a"))
    counters.write(sealed=1)
    synced.clear()

    log.delete(1)

    assert log.numbers() == []
    assert synced == [inode(tree, LOG)]


# -- failures -------------------------------------------------------------------------------------------------------


def test_short_writes_make_whole_records(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    write = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: write(descriptor, data[:7]))

    append(log, saved("a"), saved("b"))

    assert ids(log) == [["a", "b"]]


@pytest.mark.parametrize("room", range(0, 80, 7))
def test_a_record_that_does_not_fit_is_cut_off_and_a_new_segment_begun(
    log: Log, counters: Counters, monkeypatch: pytest.MonkeyPatch, room: int
) -> None:
    size = append(log, saved("a"))
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", filling_up(room))
        with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)) as caught:
            append(log, saved("b", "x" * 100))

    assert not isinstance(caught.value, NotSyncedError | UnknownOutcomeError)
    assert size_of(log._tree, 1) == size
    assert counters.read() == State(newest=1, sealed=1)
    append(log, saved("c"))
    assert ids(log) == [["a"], ["c"]]
    assert log.read([2])[0].previous_size == size


def test_a_record_that_could_not_be_synced_is_cut_off_and_that_segment_never_touched_again(
    log: Log, tree: Tree, monkeypatch: pytest.MonkeyPatch
) -> None:
    size = append(log, saved("a"))
    first = inode(tree, segment_name(1))
    with monkeypatch.context() as patch:
        patch.setattr(os, "fdatasync", failing(errno.EIO), raising=False)
        with pytest.raises(NotSyncedError) as caught:
            append(log, saved("b"))
    assert caught.value.errno == errno.EIO

    synced: list[int] = []

    def syncing(descriptor: int) -> None:
        synced.append(os.fstat(descriptor).st_ino)

    monkeypatch.setattr(os, "fdatasync", syncing, raising=False)
    append(log, saved("c"))

    assert synced == [inode(tree, segment_name(2))]
    assert (inode(tree, segment_name(1)), size_of(tree, 1)) == (first, size)
    assert ids(log) == [["a"], ["c"]]


@pytest.mark.parametrize("followed", [True, False])
def test_a_record_that_a_power_cut_brings_back_is_void_once_another_follows(
    log: Log, tree: Tree, monkeypatch: pytest.MonkeyPatch, *, followed: bool
) -> None:
    append(log, saved("a"))
    with monkeypatch.context() as patch:
        patch.setattr(os, "fdatasync", failing(errno.EIO), raising=False)
        with pytest.raises(NotSyncedError):
            append(log, saved("b"))
    if followed:
        append(log, saved("c"))

    with (tree.root / segment_name(1)).open("ab") as segment:
        segment.write(packed([saved("b")], durable=True))

    # before that nobody can tell, and the commit was reported as unknown
    assert ids(log) == ([["a"], ["c"]] if followed else [["a", "b"]])


@pytest.mark.parametrize(
    ("failure", "number"), [("write", errno.ENOSPC), ("fdatasync", errno.EIO)], ids=["not written", "not synced"]
)
@pytest.mark.parametrize("second", ["ftruncate", "pwrite"])
def test_what_became_of_a_record_that_can_not_be_cut_off_is_unknown(
    log: Log, monkeypatch: pytest.MonkeyPatch, failure: str, number: int, second: str
) -> None:
    append(log, saved("a"))
    with monkeypatch.context() as patch:
        patch.setattr(os, failure, filling_up(10) if failure == "write" else failing(number), raising=False)
        patch.setattr(os, second, failing(errno.EROFS))
        with pytest.raises(UnknownOutcomeError) as caught:
            append(log, saved("b"))

    # the first failure is the one that is told
    assert caught.value.errno == number
    assert ids(log)[0][:1] == ["a"]


@pytest.mark.parametrize("room", range(0, 40, 3))
def test_of_a_segment_that_could_not_be_begun_nothing_is_left(
    log: Log, counters: Counters, monkeypatch: pytest.MonkeyPatch, room: int
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", filling_up(room))
        with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)):
            append(log, saved("a"))

    assert (log.numbers(), counters.read()) == ([], State())
    append(log, saved("a"))
    assert ids(log) == [["a"]]


def test_of_a_segment_that_could_not_be_counted_nothing_is_left(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", failing(errno.EIO))
        with pytest.raises(OSError, match=os.strerror(errno.EIO)):
            append(log, saved("a"))

    assert log.numbers() == []
    append(log, saved("a"))
    assert ids(log) == [["a"]]


def test_a_segment_whose_name_could_not_be_synced_takes_no_record(
    log: Log, counters: Counters, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", failing(errno.EIO))
        with pytest.raises(OSError, match=os.strerror(errno.EIO)):
            append(log, saved("a"))

    assert counters.read() == State(newest=1, sealed=1)
    append(log, saved("b"))
    assert ids(log) == [[], ["b"]]


def test_a_segment_that_the_medium_does_not_give_back_is_named_with_what_to_do(
    log: Log, tree: Tree, monkeypatch: pytest.MonkeyPatch
) -> None:
    append(log, saved("a"))
    with monkeypatch.context() as patch:
        patch.setattr(os, "pread", failing(errno.EIO))
        with pytest.raises(OSError, match=os.strerror(errno.EIO)) as raised:
            log.read(log.numbers())

    said = unavailable(raised.value, str(tree.root))
    assert said.path == tree.path(segment_name(1))
    assert said.errno == errno.EIO
    assert "commits that were not in place yet are in this file alone. If it cannot be saved" in said.advice
    assert f"move the file to {QUARANTINE}/" in said.advice
    # nothing has moved it
    assert ids(log) == [["a"]]


def test_a_log_without_its_directory_takes_no_record(log: Log, tree: Tree) -> None:
    tree.remove_directory(LOG)

    with pytest.raises(FileNotFoundError):
        append(log, saved("a"))
    assert log.numbers() == []
