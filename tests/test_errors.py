import copy
import errno
import pickle
from typing import Any

import pytest

import fsstore
from fsstore import errors
from fsstore.errors import (
    StorageClosedError,
    StorageConflictError,
    StorageCorruptedError,
    StorageError,
    StorageNotFoundError,
    StorageTimeoutError,
    StorageTransactionError,
    StorageUnavailableError,
    StorageValidationError,
)

EXAMPLES: list[tuple[StorageError, dict[str, Any]]] = [
    (StorageError("it broke", advice="mend it", outcome="unknown"), {"message": "it broke", "outcome": "unknown"}),
    (StorageNotFoundError("a"), {"id": "a"}),
    (StorageConflictError("a", expected=3, actual=4, reason="why"), {"id": "a", "expected": 3, "actual": 4}),
    (
        StorageValidationError("must be text", path="$.data.n", record_id="a", advice="write text"),
        {"reason": "must be text", "path": "$.data.n", "id": "a", "advice": "write text"},
    ),
    (
        StorageCorruptedError("a", path="61/a.json", reason="cut off"),
        {"id": "a", "path": "61/a.json", "reason": "cut off"},
    ),
    (
        StorageTransactionError("there is no 'a'", index=2, record_id="a"),
        {"reason": "there is no 'a'", "index": 2, "id": "a"},
    ),
    (
        StorageTimeoutError("the lock", path="lock", timeout_seconds=0.25),
        {"path": "lock", "timeout_seconds": 0.25},
    ),
    (StorageClosedError("store"), {"path": "store"}),
    (
        StorageUnavailableError("disk full", path="store", errno=errno.ENOSPC, advice="make room", outcome="unknown"),
        {"reason": "disk full", "path": "store", "errno": errno.ENOSPC, "advice": "make room", "outcome": "unknown"},
    ),
]
each_error = pytest.mark.parametrize(("error", "fields"), EXAMPLES, ids=lambda value: type(value).__name__)


def pickled(error: StorageError) -> Any:
    return pickle.loads(pickle.dumps(error))  # noqa: S301 - our own


def error_classes() -> set[type[StorageError]]:
    found = {value for value in vars(errors).values() if isinstance(value, type)}
    return {kind for kind in found if issubclass(kind, StorageError)}


def test_there_is_an_example_of_every_error() -> None:
    assert {type(error) for error, _ in EXAMPLES} == error_classes()


def test_every_error_is_public() -> None:
    assert {kind.__name__ for kind in error_classes()} == {name for name in fsstore.__all__ if name.endswith("Error")}


@each_error
def test_an_error_carries_its_fields(error: StorageError, fields: dict[str, Any]) -> None:
    assert {name: getattr(error, name) for name in fields} == fields


@each_error
def test_an_error_ends_with_what_to_do_next(error: StorageError, fields: dict[str, Any]) -> None:
    assert fields
    assert error.advice
    assert str(error) == f"{error.message}; {error.advice}"


@each_error
def test_an_error_survives_pickling_and_copying(error: StorageError, fields: dict[str, Any]) -> None:
    for again in (pickled(error), copy.copy(error), copy.deepcopy(error)):
        assert type(again) is type(error)
        assert {name: getattr(again, name) for name in fields} == fields
        assert (str(again), again.args, again.outcome) == (str(error), error.args, error.outcome)


@each_error
def test_an_error_keeps_its_notes_when_pickled(error: StorageError, fields: dict[str, Any]) -> None:
    assert fields
    noted = copy.copy(error)
    noted.add_note("while saving the day")

    assert pickled(noted).__notes__ == ["while saving the day"]


@each_error
def test_one_except_clause_catches_every_error(error: StorageError, fields: dict[str, Any]) -> None:
    assert fields
    with pytest.raises(StorageError):
        raise error


def test_a_write_is_not_applied_unless_the_error_says_otherwise() -> None:
    assert [error.outcome for error, fields in EXAMPLES if "outcome" not in fields] == ["not applied"] * 7


def test_errors_are_also_the_builtin_errors_they_resemble() -> None:
    assert issubclass(StorageValidationError, ValueError)
    assert issubclass(StorageTimeoutError, TimeoutError)


def test_messages_tell_id_place_and_versions() -> None:
    assert str(EXAMPLES[2][0]).startswith("document 'a' has version 4, expected 3 (why); ")
    assert str(EXAMPLES[3][0]) == "document 'a': $.data.n: must be text; write text"
    assert str(EXAMPLES[5][0]).startswith("the transaction was not applied: operation 2: there is no 'a'; ")
    assert str(StorageCorruptedError(None, path="x", reason="cut off")).startswith("the file at x can not be read")
    assert str(StorageValidationError("no")) == "no; correct the input"
    assert str(StorageError("plain")) == "plain"
