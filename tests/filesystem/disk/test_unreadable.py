import errno
import logging

import pytest

from fsstore.errors import StorageTooLargeError, StorageUnavailableError
from fsstore.filesystem.disk.unreadable import Refusal, Unreadable

REFUSED = StorageUnavailableError(reason="Permission denied", errno=errno.EACCES)
TOO_LARGE = StorageTooLargeError(reason="9 bytes, more than 8")


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def unreadable(clock: Clock) -> Unreadable:
    return Unreadable(clock)


def test_what_is_noted_stays_until_it_is_forgotten(unreadable: Unreadable) -> None:
    assert not unreadable
    unreadable.note("3f/b.json", TOO_LARGE)
    unreadable.note("3f/", REFUSED)
    unreadable.note("3f/a.json", REFUSED)
    assert unreadable.all() == [
        Refusal("3f/", "Permission denied", is_too_large=False, advice=REFUSED.advice),
        Refusal("3f/a.json", "Permission denied", is_too_large=False, advice=REFUSED.advice),
        Refusal("3f/b.json", "9 bytes, more than 8", is_too_large=True, advice=TOO_LARGE.advice),
    ]
    assert unreadable.documents() == ["3f/a.json", "3f/b.json"]
    for name in ("3f/", "3f/a.json", "3f/b.json", "3f/never-noted.json"):
        unreadable.forget(name)
    assert not unreadable
    assert unreadable.documents() == []


@pytest.mark.parametrize("code", [errno.EMFILE, errno.ENFILE])
def test_an_error_of_the_process_says_nothing_of_a_document(unreadable: Unreadable, code: int) -> None:
    unreadable.note("3f/a.json", StorageUnavailableError(errno=code))
    assert not unreadable


def test_a_reason_is_logged_when_it_is_new(unreadable: Unreadable, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "fsstore"):
        for error in (REFUSED, REFUSED, TOO_LARGE, TOO_LARGE, REFUSED):
            unreadable.note("3f/a.json", error)
    assert [record.getMessage().partition(": ")[2] for record in caplog.records] == [
        "Permission denied",
        "9 bytes, more than 8",
        "Permission denied",
    ]


def test_it_is_looked_at_once_a_second(unreadable: Unreadable, clock: Clock) -> None:
    assert not unreadable.is_due()
    unreadable.note("3f/a.json", REFUSED)
    unreadable.note("3f/b.json", REFUSED)
    assert not unreadable.is_due()
    clock.now += 1.0
    # whoever asks first does it
    assert [unreadable.is_due(), unreadable.is_due()] == [True, False]
    unreadable.looked()
    clock.now += 0.9
    assert not unreadable.is_due()
    clock.now += 0.1
    assert unreadable.is_due()


def test_a_look_that_takes_long_is_repeated_late(unreadable: Unreadable, clock: Clock) -> None:
    unreadable.note("3f/a.json", REFUSED)
    clock.now += 1.0
    assert unreadable.is_due()
    clock.now += 3.0
    unreadable.looked()
    clock.now += 59.0
    assert not unreadable.is_due()
    clock.now += 1.0
    assert unreadable.is_due()
