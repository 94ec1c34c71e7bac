"""Every error that fsstore raises on purpose.

Each error says what happened, carries the facts as fields, and ends with what to do next. An error about a write
also says what became of it: `outcome` is "not applied", "applied" or "unknown".
"""

from __future__ import annotations

from typing import Any, Literal

Outcome = Literal["not applied", "applied", "unknown"]


class StorageError(Exception):
    """Base of all errors of the store; `except StorageError` catches every one of them."""

    outcome: Outcome = "not applied"

    def __init__(self, message: str, *, advice: str = "", outcome: Outcome | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.advice = advice
        if outcome is not None:
            self.outcome = outcome

    def __str__(self) -> str:
        return f"{self.message}; {self.advice}" if self.advice else self.message

    def __reduce__(self) -> tuple[Any, ...]:
        # the constructors are keyword-only, so pickling (a process pool sends errors home) restores the fields instead
        return _restore, (type(self), self.__dict__.copy())


def _restore(kind: type[StorageError], fields: dict[str, Any]) -> StorageError:
    error = kind.__new__(kind)
    Exception.__init__(error, fields.get("message", ""))
    error.__dict__.update(fields)
    return error


class StorageNotFoundError(StorageError):
    """There is no document with that id."""

    def __init__(self, record_id: str) -> None:
        super().__init__(
            f"there is no document {record_id!r}",
            advice="check the id, or save the document first",
        )
        self.id = record_id


class StorageConflictError(StorageError):
    """The document is not what the caller based its write on; somebody else wrote in between.

    `expected` and `actual` are versions; 0 means that there is no document. They may be equal: the document was then
    edited by hand, or deleted and made again, since it was read.
    """

    def __init__(self, record_id: str, *, expected: int, actual: int, reason: str = "") -> None:
        super().__init__(
            f"document {record_id!r} has version {actual}, expected {expected}" + (f" ({reason})" if reason else ""),
            advice="read it again and repeat the change, or use edit_session, which does that",
        )
        self.id = record_id
        self.expected = expected
        self.actual = actual


class StorageValidationError(StorageError, ValueError):
    """The input can not be stored or understood. `path` is the JSON path of the value at fault, `id` its document."""

    def __init__(
        self, reason: str, *, path: str = "", record_id: str | None = None, advice: str = "correct the input"
    ) -> None:
        where = f"document {record_id!r}: " if record_id is not None else ""
        at = f"{path}: " if path else ""
        super().__init__(f"{where}{at}{reason}", advice=advice)
        self.reason = reason
        self.path = path
        self.id = record_id


class StorageCorruptedError(StorageError):
    """What lies on disk is not a document of this store. It is neither served nor overwritten."""

    def __init__(
        self,
        record_id: str | None,
        *,
        path: str,
        reason: str,
        advice: str = "repair the file by hand, or restore it from git or a backup; `fsstore repair` sets it aside",
    ) -> None:
        name = f"document {record_id!r}" if record_id is not None else "the file"
        super().__init__(f"{name} at {path} can not be read: {reason}", advice=advice)
        self.id = record_id
        self.path = path
        self.reason = reason


class StorageTransactionError(StorageError):
    """A transaction was refused as a whole; nothing of it was applied. `index` is the operation at fault."""

    def __init__(self, reason: str, *, index: int | None = None, record_id: str | None = None) -> None:
        at = f"operation {index}: " if index is not None else ""
        super().__init__(f"the transaction was not applied: {at}{reason}", advice="correct that operation and repeat")
        self.reason = reason
        self.index = index
        self.id = record_id


class StorageTimeoutError(StorageError, TimeoutError):
    """The lock of the store, or the end of somebody else's batch, did not come within the time allowed."""

    def __init__(
        self,
        what: str,
        *,
        path: str,
        timeout_seconds: float,
        advice: str = "try again, raise lock_timeout_seconds, or see which process holds the store",
    ) -> None:
        super().__init__(f"{what} at {path} did not come within {timeout_seconds:g} s", advice=advice)
        self.path = path
        self.timeout_seconds = timeout_seconds


class StorageClosedError(StorageError):
    """The store was closed, or was never opened."""

    def __init__(self, path: str) -> None:
        super().__init__(f"the store {path} is closed", advice="open it again")
        self.path = path


class StorageUnavailableError(StorageError):
    """The system refused: disk full, permission, a medium that can not be written, a path that is not a store.

    `errno` is the system's number where there is one.
    """

    def __init__(
        self,
        reason: str,
        *,
        path: str,
        errno: int | None = None,
        advice: str = "free the resource named above and try again",
        outcome: Outcome | None = None,
    ) -> None:
        super().__init__(f"{path}: {reason}", advice=advice, outcome=outcome)
        self.reason = reason
        self.path = path
        self.errno = errno
