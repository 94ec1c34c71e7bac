"""What was seen of one document, before it is known whether that is a change. Pure."""

from __future__ import annotations

from typing import NamedTuple

from fsstore.filesystem.documents.documents import Document
from fsstore.filesystem.index.rows import Known


class Observation(NamedTuple):
    """A document as it was seen: with what is there, or with the mark of what cannot be read, or absent."""

    document: Document | None = None
    unreadable: int | None = None
    is_known: bool = False
    is_sure: bool = False
    """Whether what was seen stands for the file as long as it has the same mark: see `trust`."""

    def is_indexed_as(self, row: Known | None) -> bool:
        """Whether the index, which has this row of the document or none, says what was seen."""
        if self.document is None or row is None:
            return self.document is None and row is None
        return (row.signature, row.digest) == (self.document.signature, self.document.digest)
