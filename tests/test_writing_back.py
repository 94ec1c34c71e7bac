from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import pytest

from fsstore.filesystem.disk.files import Tree
from fsstore.fixtures import Contents, contents_of, differences
from fsstore.writing_back import Ending, Update, write_back
from tests.pytest_projects import make_store

A, B = "27/a.json", "96/b.json"


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return make_store(tmp_path / "sessions", "a", "b")


@pytest.fixture
def given(store: Path) -> Contents:
    return contents_of(store)


def ending(test: str, store: Path, given: Contents, **changes: bytes | None) -> Ending:
    """Return the ending of a test that left these bytes in the documents `a` and `b`, or none."""
    names = {"a": A, "b": B, "new": "00/new.json"}
    found = {names[key]: (given.get(names[key]), data) for key, data in changes.items()}
    return Ending(test, store, found)


def only(updates: list[Update]) -> Update:
    (update,) = updates
    return update


def test_files_are_replaced_added_and_removed(store: Path, given: Contents) -> None:
    update = only(write_back([ending("t", store, given, a=b"A", b=None, new=b"N")]))

    assert update.written == {A: "changed", B: "removed", "00/new.json": "added"}
    assert update.refusals == []
    assert (store / A).read_bytes() == b"A"
    assert (store / "00" / "new.json").read_bytes() == b"N"
    assert not (store / "96").exists()
    assert differences(store, given).keys() == {A, B, "00/new.json"}


def test_a_directory_that_is_not_empty_stays(store: Path, given: Contents) -> None:
    (store / "96" / "notes.txt").touch()

    update = only(write_back([ending("t", store, given, b=None)]))

    assert update.written == {B: "removed"}
    assert [path.name for path in (store / "96").iterdir()] == ["notes.txt"]


def test_rights_stay_and_new_files_get_those_of_the_user(store: Path, given: Contents) -> None:
    (store / A).chmod(0o640)
    before = os.umask(0o022)
    try:
        write_back([ending("t", store, given, a=b"A", new=b"N")])
    finally:
        os.umask(before)

    assert stat.S_IMODE((store / A).stat().st_mode) == 0o640
    assert stat.S_IMODE((store / "00" / "new.json").stat().st_mode) == 0o644


def test_a_version_alone_is_no_change(store: Path, given: Contents) -> None:
    was = (store / A).read_bytes()
    saved_again = was.replace(b'"version": 1', b'"version": 7')
    assert saved_again != was

    for data, is_written in ((saved_again, False), (saved_again.replace(b"open", b"shut"), True)):
        update = only(write_back([ending("t", store, given, a=data)]))
        assert bool(update.written) is is_written
        assert (store / A).read_bytes() == (data if is_written else was)


def test_a_number_that_becomes_true_is_a_change(store: Path, given: Contents) -> None:
    one = (store / A).read_bytes().replace(b'"open"', b"1")
    (store / A).write_bytes(one)
    given = contents_of(store)

    for other in (b"true", b"1.0"):
        changed = one.replace(b'"status": 1', b'"status": ' + other)
        assert only(write_back([ending("t", store, given, a=changed)])).written == {A: "changed"}
        (store / A).write_bytes(one)


def test_a_test_is_written_as_a_whole_or_not_at_all(store: Path, given: Contents) -> None:
    updates = write_back(
        [
            ending("one", store, given, a=b"1", new=b"N"),
            ending("two", store, given, a=b"2"),
            ending("three", store, given, b=b"3"),
        ]
    )

    update = only(updates)
    assert update.written == {B: "changed"}
    (refusal,) = update.refusals
    assert refusal.startswith(f"{A}: one and two leave it different")
    assert not (store / "00").exists()


def test_to_remove_what_another_changes_is_a_conflict(store: Path, given: Contents) -> None:
    before = (store / A).read_bytes()

    update = only(write_back([ending("one", store, given, a=None), ending("two", store, given, a=b"2")]))

    assert update.written == {}
    assert len(update.refusals) == 1
    assert (store / A).read_bytes() == before


def test_what_came_out_the_same_is_no_part_of_a_conflict(store: Path, given: Contents) -> None:
    saved_again = (store / A).read_bytes().replace(b'"version": 1', b'"version": 2')

    update = only(write_back([ending("one", store, given, a=saved_again), ending("two", store, given, a=b"2")]))

    assert update.refusals == []
    assert update.written == {A: "changed"}


@pytest.mark.parametrize("meanwhile", [b"by hand", None])
def test_somebody_elses_change_is_not_overwritten(store: Path, given: Contents, meanwhile: bytes | None) -> None:
    if meanwhile is None:
        (store / A).unlink()
    else:
        (store / A).write_bytes(meanwhile)

    update = only(write_back([ending("one", store, given, a=b"1", b=b"1"), ending("two", store, given, new=b"N")]))

    assert update.written == {"00/new.json": "added"}
    assert update.refusals == [f"{A}: changed by somebody else since one copied it; run it again"]
    assert ((store / A).read_bytes() if (store / A).exists() else None) == meanwhile


def test_somebody_elses_change_to_the_same_is_no_trouble(store: Path, given: Contents) -> None:
    (store / A).write_bytes(b"1")

    update = only(write_back([ending("one", store, given, a=b"1")]))

    assert (update.written, update.refusals) == ({}, [])


def test_each_directory_has_its_own_update(store: Path, given: Contents, tmp_path: Path) -> None:
    other = make_store(tmp_path / "other", "a")

    first, second = write_back([ending("t", store, given, a=b"1"), ending("u", other, contents_of(other), a=b"2")])

    assert (first.fixtures, first.written, first.refusals) == (other, {A: "changed"}, [])
    assert (second.fixtures, second.written, second.refusals) == (store, {A: "changed"}, [])


@pytest.mark.parametrize("step", ["write_new", "replace"])
def test_what_the_system_refuses_is_told_with_what_was_written_before(
    store: Path, given: Contents, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    before, working = (store / B).read_bytes(), getattr(Tree, step)

    def refuse(tree: Tree, *names: str) -> object:
        if B.split("/")[1] in "".join(map(str, names)):
            raise OSError(errno.EROFS, "Read-only file system", str(store / B))
        return working(tree, *names)

    monkeypatch.setattr(Tree, step, refuse)

    update = only(write_back([ending("t", store, given, a=b"1", b=b"2")]))

    assert update.written == {A: "changed"}
    assert update.refusals == [f"{store / B}: Read-only file system; make it writable, and run the tests again"]
    assert (store / B).read_bytes() == before
    assert [path.name for path in (store / "96").iterdir()] == ["b.json"]
