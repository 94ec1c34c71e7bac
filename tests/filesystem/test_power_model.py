"""The model of a disk that the fault campaign cuts the power of: it varies what may vary, and nothing else."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest

from tests.campaign.cut_states import cut_states
from tests.campaign.interpose import Call
from tests.campaign.power import PAGE, SECTOR, Disk, Tree

WHOLE = bytes(range(1, 256)) * 40


class Recording:
    """Calls as the library would record them, and what a cut after the last of them may leave."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._inodes: dict[str, int] = {}
        self._calls: list[Call] = []
        self.disk = Disk(root)

    def call(self, name: str, path: str = "", other: str = "", *, data: bytes = b"", offset: int = 0) -> None:
        if name == "create":
            self._inodes[path] = 1000 + len(self._inodes)
        inode = self._inodes.get(path, 0)
        if name == "rename":
            self._inodes[other] = self._inodes.pop(path)
        second = other if name == "failed" else f"{self._root}/{other}"
        self._calls.append(Call(name, f"{self._root}/{path}".rstrip("/"), second, inode, offset, data))

    def write(self, path: str, data: bytes, *, syncs: bool = False) -> None:
        self.call("create", path)
        self.call("write", path, data=data)
        if syncs:
            self.call("sync", path)

    def left(self) -> list[Tree]:
        """Return what a cut after the last call may leave."""
        *earlier, last = self._calls
        for call in earlier:
            self.disk.apply(call)
        states = cut_states(self.disk, [last], Random(0), is_minor=lambda _path: False)
        return [state.tree for state in states]


@pytest.fixture
def recording(tmp_path: Path) -> Recording:
    return Recording(tmp_path)


def contents(trees: list[Tree], path: str) -> set[bytes | None]:
    return {tree.get(path) for tree in trees}


def test_what_is_not_synced_may_be_there_lost_torn_or_zeros(recording: Recording) -> None:
    recording.write("a", WHOLE)
    recording.call("sync")
    found = contents(recording.left(), "a")
    assert {b"", WHOLE, bytes(len(WHOLE)), WHOLE[:SECTOR]} <= found
    assert any(held and len(held) == len(WHOLE) and held[:PAGE] == bytes(PAGE) and any(held) for held in found)
    assert None not in found, "the directory was synced"


def test_what_is_synced_never_varies(recording: Recording) -> None:
    recording.write("a", WHOLE, syncs=True)
    recording.call("sync")
    assert recording.left() == [{"a": WHOLE}]


def test_the_sync_of_a_file_says_nothing_of_its_name(recording: Recording) -> None:
    recording.write("a", WHOLE, syncs=True)
    assert contents(recording.left(), "a") == {None, WHOLE}


def test_a_file_renamed_before_its_sync_may_be_empty(recording: Recording) -> None:
    recording.write("new", WHOLE)
    recording.call("rename", "new", "a")
    recording.call("sync")
    assert b"" in contents(recording.left(), "a")


def test_a_rename_within_a_directory_is_one_change(recording: Recording) -> None:
    recording.write("a", b"old", syncs=True)
    recording.write("new", b"new", syncs=True)
    recording.call("sync")
    recording.call("rename", "new", "a")
    assert recording.left() == [{"a": b"old", "new": b"new"}, {"a": b"new"}]


def test_a_file_renamed_to_another_directory_may_be_in_both_or_in_none(recording: Recording) -> None:
    for directory in ("one", "two"):
        recording.call("mkdir", directory)
    recording.call("sync")
    recording.write("one/a", WHOLE, syncs=True)
    recording.call("sync", "one")
    recording.call("rename", "one/a", "two/a")
    found = [("one/a" in tree, "two/a" in tree) for tree in recording.left()]
    assert sorted(found) == [(False, False), (False, True), (True, False), (True, True)]


def test_an_unlink_may_be_undone_until_its_directory_is_synced(recording: Recording) -> None:
    recording.write("a", b"old", syncs=True)
    recording.call("sync")
    recording.call("unlink", "a")
    assert contents(recording.left(), "a") == {None, b"old"}
    recording.call("sync")
    assert contents(recording.left(), "a") == {None}


def test_names_in_a_directory_are_lost_with_its_own(recording: Recording) -> None:
    recording.call("mkdir", "shard")
    recording.write("shard/a", WHOLE, syncs=True)
    recording.call("sync", "shard")
    assert recording.left() == [{}, {"shard": None, "shard/a": WHOLE}]


def test_of_two_writes_to_one_sector_the_later_is_never_there_alone(recording: Recording) -> None:
    recording.write("a", b"--", syncs=True)
    recording.call("sync")
    recording.call("write", "a", data=b"1", offset=0)
    recording.call("write", "a", data=b"2", offset=1)
    assert contents(recording.left(), "a") == {b"--", b"1-", b"12"}


def test_a_sync_after_one_that_failed_proves_nothing_of_what_that_one_lost(recording: Recording) -> None:
    recording.write("a", b"old", syncs=True)
    recording.call("sync")
    recording.call("write", "a", data=b"new", offset=0)
    recording.call("failed", "a", "fdatasync")
    recording.call("write", "a", data=b"!", offset=3)
    recording.call("sync", "a")
    assert contents(recording.left(), "a") == {b"old!", b"new!"}


def test_an_exchange_of_names_is_done_or_not(recording: Recording) -> None:
    recording.write("a", b"1", syncs=True)
    recording.write("b", b"2", syncs=True)
    recording.call("sync")
    recording.call("exchange", "a", "b")
    assert recording.left() == [{"a": b"1", "b": b"2"}, {"a": b"2", "b": b"1"}]


def test_a_file_with_two_names_is_one_file(recording: Recording) -> None:
    recording.write("a", WHOLE, syncs=True)
    recording.call("link", "a", "b")
    recording.call("sync")
    recording.call("unlink", "a")
    recording.call("sync")
    assert recording.left() == [{"b": WHOLE}]


def test_what_is_there_before_the_record_is_certain(tmp_path: Path) -> None:
    (tmp_path / "shard").mkdir()
    (tmp_path / "shard" / "a").write_bytes(WHOLE)
    recording = Recording(tmp_path)
    recording.call("mark", "word")
    assert recording.left() == [{"shard": None, "shard/a": WHOLE}]
