import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from fsstore.filesystem.disk.descriptors import read_all, write_all, write_parts


@pytest.fixture
def descriptor(tmp_path: Path) -> Iterator[int]:
    """Return the descriptor of a new file that may be read and written."""
    opened = os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT)
    yield opened
    os.close(opened)


@pytest.fixture
def sizes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return how many bytes each write is given from now on."""
    found: list[int] = []
    write = os.write

    def writing(descriptor: int, data: bytes) -> int:
        found.append(len(data))
        return write(descriptor, data)

    monkeypatch.setattr(os, "write", writing)
    return found


def test_all_bytes_are_written_however_many_calls_it_takes(descriptor: int, monkeypatch: pytest.MonkeyPatch) -> None:
    write = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: write(descriptor, data[:7]))

    write_all(descriptor, bytes(range(250)))

    assert read_all(descriptor, 250) == bytes(range(250))


def test_a_long_record_is_written_in_pieces(descriptor: int, sizes: list[int]) -> None:
    parts = [os.urandom(30_000) for _ in range(20)] + [b"", b"end"]

    write_parts(descriptor, parts)

    assert read_all(descriptor, sum(map(len, parts))) == b"".join(parts)
    assert max(sizes) < 100_000


@pytest.mark.parametrize("has_pread", [True, False])
def test_a_file_that_has_grown_or_shrunk_shows_as_such(
    descriptor: int, monkeypatch: pytest.MonkeyPatch, *, has_pread: bool
) -> None:
    if not has_pread:
        monkeypatch.delattr(os, "pread", raising=False)
    write_all(descriptor, b"0123456789")

    assert read_all(descriptor, 10) == b"0123456789"
    assert read_all(descriptor, 5) == b"012345"
    assert read_all(descriptor, 20) == b"0123456789"
