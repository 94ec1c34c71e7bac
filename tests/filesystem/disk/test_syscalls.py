import ctypes
import errno
import os
from pathlib import Path
from typing import Any

import pytest

from fsstore.filesystem.disk import syscalls
from fsstore.filesystem.disk.syscalls import exchange


@pytest.fixture
def pair(tmp_path: Path) -> tuple[str, str]:
    for name in ("first", "second"):
        (tmp_path / name).write_text(name)
    return str(tmp_path / "first"), str(tmp_path / "second")


def read(pair: tuple[str, str]) -> list[str]:
    return [Path(path).read_text() for path in pair]


def test_two_names_change_places_or_nothing_happens(pair: tuple[str, str]) -> None:
    inodes = [Path(path).stat().st_ino for path in pair]
    if exchange(*pair, None, None):
        assert read(pair) == ["second", "first"]
        assert [Path(path).stat().st_ino for path in pair] == inodes[::-1]
    else:
        assert read(pair) == ["first", "second"]


def test_names_are_relative_to_descriptors_of_their_directories(tmp_path: Path, pair: tuple[str, str]) -> None:
    by_path = exchange(*pair, None, None)
    descriptor = os.open(tmp_path, os.O_RDONLY)
    try:
        assert exchange("first", "second", descriptor, descriptor) is by_path
    finally:
        os.close(descriptor)
    assert read(pair) == ["first", "second"]


def test_a_name_that_is_missing_makes_no_exchange(tmp_path: Path, pair: tuple[str, str]) -> None:
    assert not exchange(pair[0], str(tmp_path / "none"), None, None)
    assert read(pair) == ["first", "second"]


@pytest.mark.parametrize("number", sorted(syscalls._UNABLE))
def test_a_system_that_is_unable_is_told_from_one_that_fails(
    pair: tuple[str, str], monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    assert not refused(pair, monkeypatch, number)


def test_a_failure_is_raised_with_its_number(pair: tuple[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(OSError, match="Input/output") as raised:
        refused(pair, monkeypatch, errno.EIO)
    assert raised.value.errno == errno.EIO


def refused(pair: tuple[str, str], monkeypatch: pytest.MonkeyPatch, number: int) -> bool:
    def refuse(*_: Any) -> int:
        ctypes.set_errno(number)
        return -1

    monkeypatch.setattr(syscalls, "_RENAMEAT2", refuse)
    return exchange(*pair, None, None)


def test_where_the_c_library_has_no_such_call_nothing_is_tried(
    pair: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(syscalls, "_RENAMEAT2", None)
    assert not exchange(*pair, None, None)
    assert read(pair) == ["first", "second"]


def test_a_c_library_without_the_call_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def old(*_: Any, **__: Any) -> object:
        return object()

    monkeypatch.setattr(ctypes, "CDLL", old)
    assert syscalls._function() is None
