"""What a mutation expects to find, so that nobody overwrites what they have not seen. Pure."""

from __future__ import annotations

from types import EllipsisType
from typing import Any, NamedTuple

from fsstore.errors import StorageConflictError, StorageNotFoundError, StorageValidationError
from fsstore.model.records import JsonObject, version_of
from fsstore.model.values import write_json

_TAKEN = "choose another id, or leave out the expected version to change the document that is there"


class Expected(NamedTuple):
    """What a mutation expects to find; it is refused, and its whole commit with it, where it finds something else."""

    version: int | None = None
    """The version that is there; 0 for none, None for any."""
    type: str | None = None
    """The type that a record has, if there is one."""
    exists: bool = False
    """There is a record."""
    seen: JsonObject | EllipsisType | None = ...
    """The whole record that is there, None for none; `...` for any."""

    @property
    def is_any(self) -> bool:
        """Whether a record that is there need not be read to know that it may be replaced or removed."""
        return self.version is None and self.seen is ...

    def check(self, record_id: str, current: JsonObject | None, *, advice: str | None = None) -> None:
        """Raise StorageConflictError, or StorageNotFoundError, with that advice, unless that is what is there."""
        if self.type is not None and current is not None and current["type"] != self.type:
            raise StorageConflictError(
                id=record_id,
                expected=0,
                actual=current["version"],
                reason=f"there is a document of type {current['type']!r} under that id",
                advice=f"choose another id for the {self.type}, or delete that document first",
            )
        if self.version is not None:
            self._check_version(record_id, version_of(current))
        if self.seen is not ...:
            _check_seen(record_id, current, self.seen)
        if self.exists and current is None:
            raise StorageNotFoundError(id=record_id, advice=advice)

    def _check_version(self, record_id: str, actual: int) -> None:
        expected: Any = self.version
        if type(expected) is not int or expected < 0:
            raise StorageValidationError(
                reason=f"must be a version, or 0 for none, not {expected!r}",
                path="expected_version",
                id=record_id,
                advice="pass get_record(...)['version']",
            )
        if actual != expected:
            raise StorageConflictError(
                id=record_id, expected=expected, actual=actual, advice=_TAKEN if expected == 0 else None
            )


def _check_seen(record_id: str, current: JsonObject | None, seen: JsonObject | None) -> None:
    """Compare value by value: a version does not show a document that was made again, or edited by hand."""
    # as text, since to Python 1 equals True and 1.0, and a hand edit from one to the other is one
    if write_json(current) != write_json(seen):
        raise StorageConflictError(
            id=record_id,
            expected=version_of(seen),
            actual=version_of(current),
            reason="its content is not what was read",
        )
