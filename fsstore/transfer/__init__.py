"""Sessions in and out of a store as JSON lines, and a whole store into another one.

A line is one session, compact, keys sorted, UTF-8 unescaped. The id of a session is its `metadata.session_id`. Memory
is bounded by a batch and the longest line, both ways.

`sources` reads, `candidates` finds sessions in it, `importing` saves them; `exporting` writes to what `targets` opens;
`lines` is the format. `migrating` takes records from one store to another.
"""

from fsstore.transfer.exporting import export_sessions
from fsstore.transfer.importing import import_sessions
from fsstore.transfer.lines import STANDARD_STREAM, Progress, TransferReport, session_line
from fsstore.transfer.migrating import MigrationReport, migrate_store

__all__ = [
    "STANDARD_STREAM",
    "MigrationReport",
    "Progress",
    "TransferReport",
    "export_sessions",
    "import_sessions",
    "migrate_store",
    "session_line",
]
