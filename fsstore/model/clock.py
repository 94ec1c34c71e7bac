"""A clock that stands still until somebody turns it: for tests, and for fixtures whose times are to stay. Pure."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from fsstore.model.times import format_time


class HandClock:
    """A clock that stands still until it is turned."""

    def __init__(self, now: datetime = datetime(2026, 1, 31, 9, 15, tzinfo=UTC)) -> None:
        self.now = now

    def __call__(self) -> datetime:
        """Return the time it shows."""
        return self.now

    def turn(self, seconds: float = 1.0) -> str:
        """Move on, or back, and return the new time as a record shows it."""
        self.now += timedelta(seconds=seconds)
        return self.text

    @property
    def text(self) -> str:
        """The time as a record shows it."""
        return format_time(self.now)
