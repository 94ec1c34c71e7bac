import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from fsstore import FileStorage
from fsstore.filesystem.disk.files import Signature, Tree
from fsstore.filesystem.watch import scanner
from fsstore.filesystem.watch.scanner import Pace
from tests.filesystem.watched import name_of, put, told


def test_the_bounds_are_those_that_are_documented() -> None:
    """As `FileStorage.watch` and the README state them."""
    assert Pace(look_seconds=0.5, sweep_seconds=5.0, share=0.02) == scanner.BESIDE_EVENTS
    assert Pace(look_seconds=0.25, sweep_seconds=0.5, share=0.1) == scanner.WITHOUT_EVENTS


@pytest.mark.usefixtures("silent")
async def test_a_directory_that_can_not_be_entered_keeps_no_other_waiting(
    storage: FileStorage, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, closed = Tree.signatures, name_of("n1").partition("/")[0]
    is_closed = threading.Event()
    is_closed.set()

    def signatures(tree: Tree, name: str) -> Iterator[tuple[str, Signature | None]]:
        if name == closed and is_closed.is_set():
            raise PermissionError(13, "Permission denied", name)
        return real(tree, name)

    await storage.list()
    monkeypatch.setattr(Tree, "signatures", signatures)
    async with storage.watch() as changes:
        put(store, "n1", "edited")
        put(store, "n2", "edited")
        assert await told(changes, 1) == [("updated", "n2", "external")]
        is_closed.clear()
        assert await told(changes, 1) == [("updated", "n1", "external")]
