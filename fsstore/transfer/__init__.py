"""Sessions in and out of a store as JSON lines: one session a line, compact, keys sorted, UTF-8 unescaped.

The id of a session is its `metadata.session_id`. Memory is bounded by a batch and the longest line, both ways.

`sources` reads, `candidates` finds sessions in it, `importing` saves them; `exporting` writes to what `targets` opens;
`lines` is the format.
"""

from fsstore.transfer.exporting import export_sessions
from fsstore.transfer.importing import import_sessions
from fsstore.transfer.lines import STANDARD_STREAM, Progress, TransferReport, session_line

__all__ = ["STANDARD_STREAM", "Progress", "TransferReport", "export_sessions", "import_sessions", "session_line"]
