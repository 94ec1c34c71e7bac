"""Every error that fsstore raises on purpose.

The first argument of each class is a text, which stays as it is given: callers raise these errors, too. The facts are
keyword-only fields, which every error has: None where a fact is not known, so that `except StorageError` can read all.
fsstore itself gives facts and no text; the text is then made of them: it says what happened, and ends with what to do
next. An error about a write also says what became of it: `outcome` is "not applied", "applied" or "unknown".
"""

from __future__ import annotations

import errno as numbers
import re
from typing import Any, ClassVar, Literal

from fsstore.printing import printable

Outcome = Literal["not applied", "applied", "unknown"]

_IN_RECORD = re.compile(r"\$\.data(?=[.\[]|\Z)")
_DOCUMENT = re.compile(r"\bdocument(?=s?\b)")


class StorageError(Exception):
    """Base of all errors of the store; `except StorageError` catches every one of them.

    `message` says what happened, without the advice. With a text of the caller's own, the message is that text, and the
    advice is empty unless the caller gives it as a field.
    """

    id: str | None = None
    """The document at fault."""
    path: str | None = None
    """The JSON path, the file, or the store at fault."""
    reason: str | None = None
    """What is wrong there."""
    expected: int | None = None
    """The version that the caller expected to find; 0 means no document."""
    actual: int | None = None
    """The version that was found; 0 means no document."""
    index: int | None = None
    """The position of the operation at fault in its transaction."""
    errno: int | None = None
    """The operating system's number of the error."""
    timeout_seconds: float | None = None
    """How long was waited."""
    message: str = ""
    advice: str = ""
    outcome: Outcome = "not applied"

    _usual_advice: ClassVar[str] = "see the error that caused it"
    _noun = "document"
    _has_own_text = False

    def __init__(
        self,
        text: str | None = None,
        *,
        id: str | None = None,
        path: str | None = None,
        reason: str | None = None,
        expected: int | None = None,
        actual: int | None = None,
        index: int | None = None,
        errno: int | None = None,
        timeout_seconds: float | None = None,
        advice: str | None = None,
        outcome: Outcome | None = None,
    ) -> None:
        self.id, self.path, self.reason = id, path, reason
        self.expected, self.actual, self.index = expected, actual, index
        self.errno, self.timeout_seconds = errno, timeout_seconds
        if outcome is not None:
            self.outcome = outcome
        if text is not None:
            self.message, self.advice, self._has_own_text = str(text), advice or "", True
            super().__init__(text)
        else:
            self.message = printable(self._happened())
            self.advice = printable(self._advised() if advice is None else advice)
            super().__init__(self._joined())

    def _happened(self) -> str:
        """Say what happened, as far as the fields say."""
        return self.reason or "the operation failed"

    def _advised(self) -> str:
        """Say what to do next, where the code that raises this does not."""
        return self._usual_advice

    def _joined(self) -> str:
        return f"{self.message}; {self.advice}" if self.advice else self.message

    def _named(self) -> str:
        return f"the {self._noun}" if self.id is None else f"{self._noun} {self.id!r}"

    def word_for_sessions(self) -> None:
        """Word the error for a caller of sessions: it names a session, and a JSON path starts at the session.

        A text of the caller's own stays as it is. Doing it again changes nothing.
        """
        if self._noun == "session" or self._has_own_text:
            return
        self._noun = "session"
        if self.id is not None and self.path is not None and _IN_RECORD.match(self.path):
            self.path = "$" + self.path.removeprefix("$.data")
        self.message = printable(self._happened())
        self.advice = _DOCUMENT.sub("session", self.advice)
        self.args = (self._joined(),)

    def advise(self, more: str) -> None:
        """Add to what the caller can do next; it becomes part of the text."""
        more = printable(more)
        self.advice = f"{self.advice}; {more}" if self.advice else more
        self.args = (f"{self}; {more}",)

    # an OSError, which a timeout is, would look at its own fields
    __str__ = Exception.__str__

    def __reduce__(self) -> tuple[Any, ...]:
        # without the constructor, whose arguments a subclass may have changed: a process pool sends errors home
        return _restore, (type(self), self.args, self.__dict__.copy())


def _restore(kind: type[StorageError], args: tuple[Any, ...], fields: dict[str, Any]) -> StorageError:
    error = kind.__new__(kind)
    Exception.__init__(error, *args)
    error.__dict__.update(fields)
    return error


class StorageNotFoundError(StorageError):
    """There is no document with that id."""

    _usual_advice = "check the id, or save the document first"

    def _happened(self) -> str:
        return f"there is no such {self._noun}" if self.id is None else f"there is no {self._noun} {self.id!r}"


class StorageConflictError(StorageError):
    """The document is not what the caller based its write on; somebody else wrote in between.

    `expected` and `actual` are versions; 0 means that there is no document. They may be equal: the document was then
    edited by hand, or deleted and made again, since it was read.
    """

    _usual_advice = "read it again and repeat the change"

    def _happened(self) -> str:
        name = self._named()
        if self.expected is None or self.actual is None:
            return f"{name} is in conflict: {self.reason or 'it is not what was read'}"
        more = f" ({self.reason})" if self.reason else ""
        if self.expected == 0 < self.actual:
            return f"{name} exists already, with version {self.actual}{more}"
        if self.actual == 0 < self.expected:
            absent = f"such {self._noun}" if self.id is None else f"{self._noun} {self.id!r}"
            return f"there is no {absent}, expected version {self.expected}{more}"
        return f"{name} has version {self.actual}, expected {self.expected}{more}"

    def _advised(self) -> str:
        if self.actual == 0 < (self.expected or 0):
            return "check the id; it may have been deleted since it was read"
        return self._usual_advice

    def word_for_sessions(self) -> None:
        """Word the error for a caller of sessions, who has `edit_session`, which documents have not."""
        super().word_for_sessions()
        if self.advice == self._usual_advice and not self._has_own_text:
            self.advice = f"{self.advice}, or use edit_session, which does that"
            self.args = (self._joined(),)


class StorageValidationError(StorageError, ValueError):
    """The input cannot be stored or understood. `path` is the JSON path of the value at fault, `id` its document."""

    _usual_advice = "correct the input"

    def _happened(self) -> str:
        where = f"{self._named()}: " if self.id is not None else ""
        at = f"{self.path}: " if self.path else ""
        return f"{where}{at}{self.reason or 'the input is not valid'}"


class StorageCorruptedError(StorageError):
    """What lies on disk is not a document of this store. It is neither served nor overwritten."""

    _usual_advice = "correct it by hand, or restore it from git or a backup"

    def _happened(self) -> str:
        name = "the file" if self.id is None else self._named()
        at = f" at {self.path}" if self.path else ""
        return f"{name}{at} cannot be read: {self.reason or 'it is damaged'}"


class StorageTransactionError(StorageError):
    """A transaction was refused as a whole; nothing of it was applied. `index` is the operation at fault."""

    _usual_advice = "correct that operation and repeat the transaction"

    def _happened(self) -> str:
        at = f"operation {self.index}: " if self.index is not None else ""
        return f"the transaction was not applied: {at}{self.reason or 'an operation is not possible'}"


class StorageTimeoutError(StorageError, TimeoutError):
    """Waiting for the lock of the store, or for the end of another process's batch, took longer than is allowed.

    `reason` names what was waited for.
    """

    _usual_advice = "try again, raise lock_timeout_seconds, or see which process holds the store"

    def _happened(self) -> str:
        after = f" after {self.timeout_seconds:g} s" if self.timeout_seconds is not None else ""
        waiting = f" waiting for {self.reason}" if self.reason else ""
        return f"timed out{after}{waiting}" + (f" ({self.path})" if self.path else "")


class StorageClosedError(StorageError):
    """The store was closed, or was never opened."""

    _usual_advice = "open it again"

    def _happened(self) -> str:
        name = f"the store {self.path}" if self.path else "the store"
        return f"{name} is closed" + (f": {self.reason}" if self.reason else "")


class StorageUnavailableError(StorageError):
    """The system refused: disk full, permission, a medium that cannot be written, a path that is not a store.

    `errno` is the system's number where there is one.
    """

    _usual_advice = "remove the cause named above and try again"
    _advice_by_errno: ClassVar[dict[int | None, str]] = {
        numbers.ENOSPC: "make room on that file system and try again",
        numbers.EDQUOT: "make room, or have the quota raised, and try again",
        numbers.EACCES: "give this user the permission, or run as one who has it, and try again",
        numbers.EPERM: "give this user the permission, or run as one who has it, and try again",
        numbers.EROFS: "mount the file system for writing, or open the store elsewhere",
        numbers.EMFILE: "close files, or raise the limit of open files (ulimit -n), and try again",
        numbers.ENFILE: "close files, or raise the system's limit of open files, and try again",
        numbers.EEXIST: "choose a path where there is a directory, or nothing",
        numbers.ENOTDIR: "choose a path where there is a directory, or nothing",
        numbers.EISDIR: "choose a path where there is a file, or nothing",
        numbers.ENOENT: "restore what is missing, or check the path",
        numbers.EIO: "check the medium and the system's log before you trust it with more",
    }

    def _happened(self) -> str:
        return f"{self.path or 'the store'}: {self.reason or 'it is not available'}"

    def _advised(self) -> str:
        return self._advice_by_errno.get(self.errno, self._usual_advice)


class StorageTooLargeError(StorageUnavailableError):
    """A document has more bytes than are read. It is not damaged: it can be deleted, and replaced unconditionally."""

    _usual_advice = "open the store with a larger max_bytes, delete the document, or save another one in its place"

    def _happened(self) -> str:
        at = f" at {self.path}" if self.path else ""
        return f"{self._named()}{at} is too large: {self.reason or 'it has more bytes than are read'}"

    def _advised(self) -> str:
        return self._usual_advice
