"""What a store can be in while another process holds its lock, and lets go of it no more."""

from pathlib import Path

from fsstore.filesystem.disk.files import Tree
from fsstore.filesystem.documents.codec import encode
from fsstore.filesystem.log.counters import Counters
from tests.filesystem.faults import place

WITHOUT_END = 600.0


def write(store: Path, record_id: str, value: int) -> None:
    """Put a document in place without the index, as an editor does it, or a commit that is not at its end."""
    times = dict.fromkeys(("created_at", "updated_at"), "2026-01-31T09:15:00.000000+00:00")
    record = {"id": record_id, "type": "document", "version": 1, "data": value, **times}
    file = place(store, record_id)
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(encode(record, max_bytes=1 << 20))


def a_commit_that_the_index_lacks(store: Path) -> None:
    """Leave a document, and the counters, as a commit does whose writer holds the lock."""
    counters = Counters(Tree(store))
    counters.open()
    counters.write(indexing=counters.read().indexing | 1)
    counters.close()
    write(store, "a", 5)
