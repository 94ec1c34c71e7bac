from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from fsstore.errors import StorageCorruptedError, StorageUnavailableError
from fsstore.filesystem import documents, files
from fsstore.filesystem.documents import Documents
from fsstore.filesystem.files import Tree
from fsstore.filesystem.layout import Layout


def test_a_file_that_is_written_again_and_again_is_not_waited_for_without_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Documents(Tree(tmp_path), Layout(1), max_bytes=1 << 20)
    path = tmp_path / store.name("a")
    path.parent.mkdir()
    path.write_bytes(b"{ half a docu")
    pauses: list[float] = []

    def pause(seconds: float) -> None:
        pauses.append(seconds)
        assert len(pauses) < 1000, "it waits for ever, and with it whoever wants the lock"

    # whenever it is looked at, the file has just been written
    clock = SimpleNamespace(time_ns=lambda: path.stat().st_mtime_ns, sleep=pause)
    monkeypatch.setattr(documents, "time", clock)

    with pytest.raises(StorageCorruptedError):
        store.read("a")
    assert 0 < sum(pauses) < 1


def test_a_file_that_changes_under_each_read_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Documents(Tree(tmp_path), Layout(1), max_bytes=1 << 20)
    path = tmp_path / store.name("a")
    path.parent.mkdir()
    path.write_bytes(b"{}")
    read_all, reads = files._read_all, 0

    def read_and_grow(descriptor: int, size: int) -> bytes:
        nonlocal reads
        reads += 1
        assert reads < 1000, "it reads for ever, and with it whoever wants the lock waits"
        data = read_all(descriptor, size)
        path.write_bytes(path.read_bytes() + b" ")
        return data

    monkeypatch.setattr(files, "_read_all", read_and_grow)

    with pytest.raises(StorageUnavailableError, match="all the time"):
        store.read("a")
