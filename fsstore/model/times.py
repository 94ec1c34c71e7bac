"""Times: the instants that people, programs and files name, and the one text that the store keeps of each. Pure.

- The text of an instant is UTC with microseconds (`2026-01-31T09:15:00.000000+00:00`), so that instants have the order
  of their texts, in Python and in SQL alike.
- A time without an offset is local time, as `datetime.now()` gives it. Of an hour that comes twice it is the first one,
  unless the `fold` of a datetime says otherwise.
- Text is ISO 8601. Less than a whole time is its first instant: `2026` is the beginning of that year.
- `TIME_PATHS` are the paths of a record where an instant is expected: filters and orders compare instants there.
"""

from __future__ import annotations

import re
from calendar import isleap
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Any

from fsstore.errors import StorageValidationError

TIME_KEYS = ("created_at", "updated_at")
TIME_PATHS = frozenset(path for key in TIME_KEYS for path in ((key,), ("data", "metadata", key)))

_EXAMPLES = "'2026-01-31T09:15:00+00:00' or '2026-01'"
_ADVICE = f"give a datetime or ISO 8601 text, as in {_EXAMPLES}; without an offset it is local time"

# the store's form of a time, which needs no parsing; the last days of the months are left to who knows them
_CANONICAL = re.compile(
    r"[1-9][0-9]{3}-(0[1-9]|1[0-2])-(0[1-9]|1[0-9]|2[0-8])T([01][0-9]|2[0-3])(:[0-5][0-9]){2}\.[0-9]{6}\+00:00"
)
_YEAR_OR_MONTH = re.compile(r"[0-9]{4}(-[0-9]{2})?")
_DAY_OF_YEAR = re.compile(r"([0-9]{4})-?([0-9]{3})(T.*)?")
# the standard library takes these for fractions of a second
_PART_OF_AN_HOUR = re.compile(r"[^0-9:][0-9]{2}(:?[0-9]{2})?[.,]")


class _SystemClock:
    """The clock of the system. No function, since `help` shows where that lies in memory when it is a default."""

    def __call__(self) -> datetime:
        """Return the present time, aware, in UTC."""
        return datetime.now(UTC)

    def __repr__(self) -> str:
        return "utc_now"


utc_now = _SystemClock()
"""Returns the present time, aware, in UTC."""


class Moment:
    """The present, in the store's form, as it was when it was first asked for: one commit has one time."""

    __slots__ = ("_clock", "_text")

    def __init__(self, clock: Callable[[], datetime]) -> None:
        self._clock = clock
        self._text = ""

    def __call__(self) -> str:
        """Return it."""
        self._text = self._text or format_time(self._clock())
        return self._text


def format_time(moment: datetime) -> str:
    """Write a time as the store does: UTC, ISO 8601, microseconds; a naive one is local time.

    Raises ValueError and OverflowError where UTC has no such year.
    """
    return moment.astimezone(UTC).isoformat(timespec="microseconds")


def canonical_time(value: Any, path: str, record_id: str | None) -> str:
    """Return a datetime, or ISO 8601 text, in the store's form; raise StorageValidationError for anything else."""
    if type(value) is str and _CANONICAL.fullmatch(value):
        return value
    try:
        return _instant(value)
    except ValueError as error:
        raise StorageValidationError(
            reason=f"must be an ISO 8601 time: {error}", path=path, id=record_id, advice=_advice(value)
        ) from error


def instant_of(text: str) -> str | None:
    """Return ISO 8601 text in the store's form; None for text that is no time."""
    if _CANONICAL.fullmatch(text):
        return text
    try:
        return _instant(text)
    except ValueError:
        return None


def has_offset(value: datetime | str) -> bool:
    """Whether a time, which is one, says how far from UTC it is."""
    moment = _read(value) if isinstance(value, str) else value
    return moment.utcoffset() is not None


def with_canonical_times(record: Mapping[str, Any], path: str, record_id: str | None) -> dict[str, Any]:
    """Return a shallow copy in which `created_at` and `updated_at`, where they are there, are in the store's form.

    None stays. Raises StorageValidationError, with the path of the key at fault below `path`.
    """
    copy = dict(record)
    for key in TIME_KEYS:
        if copy.get(key) is not None:
            copy[key] = canonical_time(copy[key], f"{path}.{key}", record_id)
    return copy


def _instant(value: Any) -> str:
    """Return the text of an instant; raise ValueError, with the reason, where there is none."""
    moment = _read(value) if isinstance(value, str) else value
    if not isinstance(moment, datetime):
        raise ValueError(f"{type(value).__name__} is no time")  # noqa: TRY004 - the caller's input, refused with its reason
    try:
        text = format_time(moment)
    except Exception as error:  # the zone of a datetime is the caller's code, and may raise anything
        raise ValueError(f"{value!r} is no instant in UTC: {error}") from error
    if not _CANONICAL.fullmatch(text):
        # such as the datetime of a library that stands for no time at all
        datetime.fromisoformat(text)
    return text


def _read(text: str) -> datetime:
    if _PART_OF_AN_HOUR.search(text):
        raise ValueError(f"{text!r} has a fraction, which only seconds may have")
    if _YEAR_OR_MONTH.fullmatch(text):
        return datetime.fromisoformat(f"{text}-01-01"[: len("2026-01-01")])
    if day := _DAY_OF_YEAR.fullmatch(text):
        year, number = int(day[1]), int(day[2])
        if not 1 <= number <= 365 + isleap(year):
            raise ValueError(f"{day[1]} has no day {day[2]}")
        return datetime.fromisoformat(f"{date(year, 1, 1) + timedelta(days=number - 1)}{day[3] or ''}")
    return datetime.fromisoformat(text)


def _advice(value: Any) -> str:
    if isinstance(value, datetime):
        return "give one within the years 1 to 9999, in UTC too, and with a zone that knows its offset"
    if isinstance(value, date):
        return f"combine the date with a time of day: {_ADVICE}"
    if isinstance(value, int | float):
        return f"for seconds since 1970 use datetime.fromtimestamp(seconds, UTC): {_ADVICE}"
    return _ADVICE
