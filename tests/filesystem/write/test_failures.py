import asyncio
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from fsstore import FileStorage
from fsstore.errors import StorageError
from fsstore.filesystem.disk.files import Tree
from fsstore.filesystem.log.records import LoggedChange
from fsstore.filesystem.write.commit import Committer
from tests.filesystem.faults import contents, cut_off

pytestmark = pytest.mark.usefixtures("file_clock")


@pytest.fixture
def removals(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Have the control directory removed under a commit, and the log once it was written again; return what was."""
    came: list[str] = []
    place, log_again = Tree.exchange, Committer.log_again

    def removed_before(tree: Tree, staged: str, name: str) -> Any:
        if not came:
            came.append("staging")
            shutil.rmtree(tree.path(".fsstore"))
        return place(tree, staged, name)

    def removed_after(committer: Committer, changes: list[LoggedChange]) -> None:
        log_again(committer, changes)
        came.append("log")
        shutil.rmtree(committer._documents.tree.path(".fsstore/log"))

    monkeypatch.setattr(Tree, "exchange", removed_before)
    monkeypatch.setattr(Committer, "log_again", removed_after)
    return came


@pytest.mark.parametrize("fsync", [True, False])
@pytest.mark.parametrize("ids", ["a", "ab"])
async def test_a_commit_whose_record_is_removed_again_and_again_is_done_or_refused(
    removals: list[str], tmp_path: Path, ids: Sequence[str], *, fsync: bool
) -> None:
    store = tmp_path / "store"
    async with await FileStorage.open(store, fsync=fsync) as storage:
        await storage.batch_save({"id": name, "data": "old"} for name in ids)
        removals.clear()
        saving = storage.batch_save({"id": name, "data": "new"} for name in ids)
        (came,) = await asyncio.gather(saving, return_exceptions=True)
        assert isinstance(came, StorageError) or not isinstance(came, BaseException)
        data = "old" if isinstance(came, StorageError) else "new"
        assert removals[0] == "staging"
        left = cut_off(storage, store, tmp_path / "left")
        for path in (store, left):
            async with await FileStorage.open(path) as other:
                found = {record_id: record["data"] for record_id, record in (await contents(other)).items()}
            assert found == dict.fromkeys(ids, data)
