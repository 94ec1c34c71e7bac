import fcntl
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from fsstore.filesystem.disk.files import Tree
from fsstore.filesystem.log import shared_lock
from fsstore.filesystem.log.shared_lock import locked
from tests.filesystem.crashing import as_another_user
from tests.filesystem.faults import descriptors

NAME = "lock"


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    (tmp_path / NAME).touch()
    return Tree(tmp_path)


@contextmanager
def held(tree: Tree, kind: int) -> Iterator[None]:
    descriptor = os.open(tree.path(NAME), os.O_RDWR)
    fcntl.flock(descriptor, kind)
    yield
    os.close(descriptor)


def is_free(tree: Tree) -> bool:
    with locked(tree, NAME, shared=False) as is_locked:
        return is_locked is True


@pytest.mark.parametrize("shared", [True, False])
def test_a_lock_keeps_writers_out_until_its_block_ends(tree: Tree, *, shared: bool) -> None:
    with locked(tree, NAME, shared=shared) as is_locked:
        assert is_locked is True
        assert not is_free(tree)
    assert is_free(tree)


def test_many_may_share_and_one_who_writes_is_in_the_way_of_all(tree: Tree) -> None:
    with locked(tree, NAME, shared=True), locked(tree, NAME, shared=True) as second:
        assert second is True
    with held(tree, fcntl.LOCK_EX), locked(tree, NAME, shared=True) as is_locked:
        assert is_locked is False
    with held(tree, fcntl.LOCK_SH), locked(tree, NAME, shared=False) as is_locked:
        assert is_locked is False


def test_what_is_not_there_or_may_not_be_opened_cannot_be_locked(tree: Tree, tmp_path: Path) -> None:
    with locked(tree, "missing", shared=True) as is_locked:
        assert is_locked is None
    (tmp_path / "link").symlink_to(NAME)
    with locked(tree, "link", shared=True) as is_locked:
        assert is_locked is None


def test_a_system_without_such_locks_is_said_to_have_none(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared_lock, "_SHARED", 0)
    with locked(tree, NAME, shared=True) as is_locked:
        assert is_locked is None


def test_who_may_not_write_the_file_can_lock_it() -> None:
    with tempfile.TemporaryDirectory() as directory:
        Path(directory).chmod(0o755)
        (Path(directory) / NAME).touch()
        (Path(directory) / NAME).chmod(0o444)

        def look() -> None:
            assert not os.access(Path(directory) / NAME, os.W_OK)
            with locked(Tree(Path(directory)), NAME, shared=True) as is_locked:
                assert is_locked is True

        if (ended := as_another_user(look)) is None:
            # this user is none who may do everything
            look()
        assert not ended


def test_no_descriptor_stays_open_whatever_is_raised(tree: Tree) -> None:
    before = descriptors()
    with pytest.raises(ZeroDivisionError), locked(tree, NAME, shared=True):
        raise ZeroDivisionError
    with locked(tree, "missing", shared=True):
        pass
    assert descriptors() == before
    assert is_free(tree)
