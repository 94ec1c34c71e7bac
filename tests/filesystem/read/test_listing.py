import errno
from pathlib import Path

import pytest

from fsstore import FileStorage
from fsstore.errors import StorageUnavailableError
from fsstore.filesystem.documents.documents import Document


async def test_an_error_in_a_list_that_somebody_keeps_does_not_hold_the_index_at_that_moment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with await FileStorage.open(tmp_path) as storage:
        await storage.batch_save({"id": name} for name in "abc")
        assert await storage.count() == 3
        read = storage._documents.read

        def failing(record_id: str, *, keeping: bool) -> Document | None:
            if record_id == "b":
                raise StorageUnavailableError(reason="too many open files", path="b", errno=errno.EMFILE)
            return read(record_id, keeping=keeping)

        with monkeypatch.context() as patched:
            patched.setattr(storage._documents, "read", failing)
            # an error keeps the frames that it came through, and a cursor in one of them would keep its snapshot
            with pytest.raises(StorageUnavailableError) as kept:
                await storage.list()
        await storage.save({"id": "d"})
        assert await storage.count() == 4
        assert await storage.query("SELECT id FROM documents WHERE id = 'd'") == [{"id": "d"}]
        assert kept.value.outcome == "not applied"
