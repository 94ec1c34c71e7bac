import ast
import copy
import errno
import pickle
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import fsstore
from fsstore import errors
from fsstore.errors import (
    StorageClosedError,
    StorageConflictError,
    StorageCorruptedError,
    StorageError,
    StorageNotFoundError,
    StorageTimeoutError,
    StorageTooLargeError,
    StorageTransactionError,
    StorageUnavailableError,
    StorageValidationError,
)

EXAMPLES: list[tuple[StorageError, dict[str, Any]]] = [
    (
        StorageError(reason="it broke", advice="mend it", outcome="unknown"),
        {"reason": "it broke", "outcome": "unknown"},
    ),
    (StorageNotFoundError(id="a"), {"id": "a"}),
    (StorageConflictError(id="a", expected=3, actual=4, reason="why"), {"id": "a", "expected": 3, "actual": 4}),
    (
        StorageValidationError(reason="must be text", path="$.data.n", id="a", advice="write text"),
        {"reason": "must be text", "path": "$.data.n", "id": "a", "advice": "write text"},
    ),
    (
        StorageCorruptedError(id="a", path="61/a.json", reason="cut off"),
        {"id": "a", "path": "61/a.json", "reason": "cut off"},
    ),
    (
        StorageTransactionError(reason="there is no 'a'", index=2, id="a"),
        {"reason": "there is no 'a'", "index": 2, "id": "a"},
    ),
    (
        StorageTimeoutError(reason="the writer lock", path="lock", timeout_seconds=0.25),
        {"reason": "the writer lock", "path": "lock", "timeout_seconds": 0.25},
    ),
    (StorageClosedError(path="store"), {"path": "store"}),
    (
        StorageTooLargeError(id="a", path="61/a.json", reason="9 bytes, more than 8"),
        {"id": "a", "path": "61/a.json", "reason": "9 bytes, more than 8"},
    ),
    (
        StorageUnavailableError(
            reason="disk full", path="store", errno=errno.ENOSPC, advice="make room", outcome="unknown"
        ),
        {"reason": "disk full", "path": "store", "errno": errno.ENOSPC, "advice": "make room", "outcome": "unknown"},
    ),
]
FACTS = {
    "id": st.text(),
    "path": st.text(),
    "reason": st.text(),
    "expected": st.integers(),
    "actual": st.integers(),
    "index": st.integers(),
    "errno": st.sampled_from(list(errno.errorcode)),
    "timeout_seconds": st.floats(allow_nan=False),
}
OUTCOMES = ("not applied", "applied", "unknown")
each_error = pytest.mark.parametrize(("error", "fields"), EXAMPLES, ids=lambda value: type(value).__name__)


def pickled(error: StorageError) -> Any:
    return pickle.loads(pickle.dumps(error))  # noqa: S301 - our own


def error_classes() -> set[type[StorageError]]:
    found = {value for value in vars(errors).values() if isinstance(value, type)}
    return {kind for kind in found if issubclass(kind, StorageError)}


each_class = pytest.mark.parametrize("kind", sorted(error_classes(), key=str))


def told(error: StorageError) -> dict[str, Any]:
    """Return all that an error says."""
    names = [*FACTS, "message", "advice", "outcome", "args"]
    return {"text": str(error), **{name: getattr(error, name) for name in names}}


def test_there_is_an_example_of_every_error() -> None:
    assert {type(error) for error, _ in EXAMPLES} == error_classes()


def test_every_error_is_public() -> None:
    assert {kind.__name__ for kind in error_classes()} == {name for name in fsstore.__all__ if name.endswith("Error")}


# -- a text of the caller's own -------------------------------------------------------------------------------------


@each_class
@given(
    text=st.text(),
    facts=st.fixed_dictionaries({}, optional=FACTS),
    advice=st.none() | st.text(),
    outcome=st.none() | st.sampled_from(OUTCOMES),
)
def test_a_text_stays_as_it_is_given_beside_any_facts(
    kind: type[StorageError], text: str, facts: dict[str, Any], advice: str | None, outcome: Any
) -> None:
    error = kind(text, **facts, advice=advice, outcome=outcome)

    assert (str(error), error.message, error.args) == (text, text, (text,))
    assert {name: getattr(error, name) for name in FACTS} == dict.fromkeys(FACTS) | facts
    assert (error.advice, error.outcome) == (advice or "", outcome or "not applied")
    assert [told(again) for again in (pickled(error), copy.copy(error), copy.deepcopy(error))] == [told(error)] * 3


@each_class
@given(facts=st.fixed_dictionaries({}, optional=FACTS))
def test_without_a_text_the_facts_make_one_whichever_they_are(kind: type[StorageError], facts: dict[str, Any]) -> None:
    error = kind(**facts)

    assert {name: getattr(error, name) for name in FACTS} == dict.fromkeys(FACTS) | facts
    assert error.message
    assert error.advice
    assert str(error) == f"{error.message}; {error.advice}"
    assert "None" not in str(error) or any("None" in str(fact) for fact in facts.values())
    assert told(pickled(error)) == told(error)


@each_class
def test_only_the_text_is_positional(kind: type[StorageError]) -> None:
    with pytest.raises(TypeError):
        kind("text", "more")  # type: ignore[call-arg]


def test_an_empty_text_and_an_exception_are_texts_too() -> None:
    assert str(StorageError("")) == ""
    assert str(StorageNotFoundError("")) == ""
    assert str(StorageError(KeyError("k"))) == "'k'"  # type: ignore[arg-type]


@each_class
def test_an_error_that_was_raised_from_another_keeps_its_text_when_pickled(kind: type[StorageError]) -> None:
    def save() -> None:
        try:
            int("inner")
        except ValueError as error:
            raise kind("Failed to save session x: inner") from error

    with pytest.raises(kind) as caught:
        save()

    assert isinstance(caught.value.__cause__, ValueError)
    assert told(pickled(caught.value)) == told(caught.value)
    assert str(pickled(caught.value)) == "Failed to save session x: inner"


class QuotaError(StorageUnavailableError):
    """A caller's own error, with a constructor of its own."""

    def __init__(self, user: str, limit: int) -> None:
        super().__init__(f"{user} has used all {limit} sessions", path="quota")
        self.user = user


class BareError(StorageError):
    """One that does not call the constructor of its base."""

    def __init__(self, number: int) -> None:
        self.number = number


def test_a_subclass_may_have_a_constructor_of_its_own() -> None:
    error = QuotaError("ann", 3)

    assert str(error) == "ann has used all 3 sessions"
    for again in (pickled(error), copy.copy(error), copy.deepcopy(error)):
        assert (type(again), str(again), again.user, again.path) == (QuotaError, str(error), "ann", "quota")


def test_a_subclass_that_forgets_the_constructor_still_has_every_field() -> None:
    error = BareError(7)

    assert (error.id, error.path, error.errno, error.advice, error.outcome) == (None, None, None, "", "not applied")
    assert (str(error), pickled(error).number) == ("7", 7)


# -- our own --------------------------------------------------------------------------------------------------------


def test_fsstore_raises_its_own_errors_with_facts_and_no_text() -> None:
    """A text of ours would stand without the facts beside it, and without what to do next."""
    home = Path(fsstore.__file__).parent
    names = {kind.__name__ for kind in error_classes()}
    with_text = [
        f"{path.relative_to(home)}:{node.lineno}"
        for path in sorted(home.rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] in names and node.args
    ]

    assert with_text == []


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
    assert [error.outcome for error, fields in EXAMPLES if "outcome" not in fields] == ["not applied"] * 8


def test_errors_are_also_the_builtin_errors_they_resemble() -> None:
    with pytest.raises(ValueError, match=r"^bad$"):
        raise StorageValidationError("bad")
    with pytest.raises(TimeoutError, match=r"^late$"):
        raise StorageTimeoutError("late", errno=errno.ETIMEDOUT)


def test_more_advice_becomes_part_of_the_text() -> None:
    ours, theirs = StorageNotFoundError(id="a"), StorageNotFoundError("Session not found: a")
    for error in (ours, theirs):
        error.advise("your text is kept")

    assert str(ours) == "there is no document 'a'; check the id, or save the document first; your text is kept"
    assert (str(theirs), theirs.advice) == ("Session not found: a; your text is kept", "your text is kept")


def test_advice_fits_what_the_system_said() -> None:
    full, denied, other = (
        StorageUnavailableError(reason="no", path="store", errno=number)
        for number in (errno.ENOSPC, errno.EACCES, errno.EBUSY)
    )

    assert str(full) == "store: no; make room on that file system and try again"
    assert str(denied).startswith("store: no; give this user the permission")
    assert str(other) == "store: no; remove the cause named above and try again"


def test_messages_say_id_place_and_versions() -> None:
    assert str(EXAMPLES[2][0]).startswith("document 'a' has version 4, expected 3 (why); ")
    assert str(EXAMPLES[3][0]) == "document 'a': $.data.n: must be text; write text"
    assert str(EXAMPLES[5][0]).startswith("the transaction was not applied: operation 2: there is no 'a'; ")
    assert str(EXAMPLES[6][0]).startswith("timed out after 0.25 s waiting for the writer lock (lock); ")
    assert str(StorageCorruptedError(path="x", reason="cut off")).startswith("the file at x cannot be read: cut off; ")
    assert str(StorageConflictError(id="a", reason="it is in use")).startswith("document 'a' is in conflict: it is in ")
    assert str(StorageValidationError(reason="no")) == "no; correct the input"
