import os
from pathlib import Path

import pytest

from fsstore.errors import StorageUnavailableError
from fsstore.filesystem.disk.files import Tree
from fsstore.filesystem.documents.layout import CONTROL
from fsstore.filesystem.open_store import OpenStore, Options
from fsstore.model.times import utc_now
from tests.filesystem.faults import descriptors, threads_of_the_store

OPTIONS = Options(
    create=True,
    fsync=False,
    max_bytes=1 << 20,
    lock_timeout_seconds=10.0,
    reconcile="first-use",
    shard_depth=1,
    allow_network=False,
)


def opened(path: Path, options: Options = OPTIONS) -> OpenStore:
    return OpenStore(Tree(path, trusted=f"{CONTROL}/"), options, utc_now)


def test_what_is_opened_is_released_again(tmp_path: Path) -> None:
    before = descriptors()
    store = opened(tmp_path / "store")
    assert store.writer is not None
    assert store.process == os.getpid()
    assert [thread.name for thread in threads_of_the_store()] == ["fsstore-writer"]
    store.close()
    assert threads_of_the_store() == []
    assert descriptors() == before


def test_opening_looks_at_no_document(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened(tmp_path).close()
    (tmp_path / "3f").mkdir()
    (tmp_path / "3f" / "a.json").write_text("torn {")
    entered: list[str] = []
    real = Tree.entries

    def entries(tree: Tree, name: str = "") -> list[str]:
        entered.append(name)
        return real(tree, name)

    monkeypatch.setattr(Tree, "entries", entries)
    opened(tmp_path).close()
    assert not [name for name in entered if name.startswith("3f")]


def test_what_cannot_be_opened_leaves_no_thread(tmp_path: Path) -> None:
    opened(tmp_path).close()
    for name in ("lock", "seq"):
        (tmp_path / CONTROL / name).unlink(missing_ok=True)
        (tmp_path / CONTROL / name).mkdir()
    with pytest.raises(StorageUnavailableError, match="in the way"):
        opened(tmp_path)
    assert threads_of_the_store() == []
