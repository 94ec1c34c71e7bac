"""Tools for dates: a calendar, and an agenda that can be booked."""

from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from typing import Any, Literal

from langchain_core.tools import ToolException

_OPENS, _CLOSES = time(9), time(18)
_SATURDAY = 6
_WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")


def calendar(
    action: Literal["weekday", "between", "add"], day: str, other: str | None = None, days: int | None = None
) -> dict[str, Any]:
    """Look up a day (YYYY-MM-DD), count the days between two days, or add days to one."""
    start = parse_day(day)
    if action == "between":
        end = parse_day(other or "")
        return {"from": day, "to": other, "days": (end - start).days, "weekends": _weekend_days(start, end)}
    if action == "add":
        if days is None:
            message = "action 'add' needs days"
            raise ToolException(message)
        start += timedelta(days=days)
    year, week, weekday = start.isocalendar()
    return {
        "date": start.isoformat(),
        "weekday": _WEEKDAYS[weekday - 1],
        "iso_week": f"{year}-W{week:02d}",
        "day_of_year": start.timetuple().tm_yday,
        "weekend": weekday >= _SATURDAY,
    }


@dataclass
class Agenda:
    """One person's working days, 09:00 to 18:00, in memory."""

    bookings: list[dict[str, Any]] = field(default_factory=list)

    def free_slots(self, day: str, minutes: int = 30) -> dict[str, Any]:
        """List the free stretches of a working day that last at least that many minutes."""
        if parse_day(day).isoweekday() >= _SATURDAY:
            message = f"{day} is on a weekend; the agenda covers working days"
            raise ToolException(message)
        slots, free_from = [], _OPENS
        for booking in [*self._on(day), {"start": f"{_CLOSES:%H:%M}", "end": f"{_CLOSES:%H:%M}"}]:
            begin = time.fromisoformat(booking["start"])
            if _minutes(begin) - _minutes(free_from) >= minutes:
                slots.append({"start": f"{free_from:%H:%M}", "end": f"{begin:%H:%M}"})
            free_from = max(free_from, time.fromisoformat(booking["end"]))
        return {"day": day, "free": slots}

    def book_slot(self, day: str, start: str, minutes: int, title: str) -> dict[str, Any]:
        """Book a stretch of a day; refused when it overlaps another booking."""
        begin = datetime.combine(parse_day(day), _parse_time(start))
        end = begin + timedelta(minutes=minutes)
        booking = {"day": day, "start": f"{begin:%H:%M}", "end": f"{end:%H:%M}", "title": title}
        for other in self._on(day):
            if booking["start"] < other["end"] and other["start"] < booking["end"]:
                message = f"{start} overlaps {other['title']!r} ({other['start']}-{other['end']})"
                raise ToolException(message)
        self.bookings.append(booking)
        return {"booked": booking, "bookings_that_day": len(self._on(day))}

    def _on(self, day: str) -> list[dict[str, Any]]:
        return sorted((one for one in self.bookings if one["day"] == day), key=lambda one: str(one["start"]))


def parse_day(text: str) -> date:
    """Read YYYY-MM-DD; the message is ours, since the interpreter's differs between versions."""
    try:
        return date.fromisoformat(text)
    except ValueError as error:
        message = f"{text!r} is not a day of the calendar (YYYY-MM-DD)"
        raise ToolException(message) from error


def _parse_time(text: str) -> time:
    try:
        return time.fromisoformat(text)
    except ValueError as error:
        message = f"{text!r} is not a time of day (HH:MM)"
        raise ToolException(message) from error


def _minutes(moment: time) -> int:
    return moment.hour * 60 + moment.minute


def _weekend_days(start: date, end: date) -> int:
    span = range(max(0, (end - start).days))
    return sum((start + timedelta(days=offset)).isoweekday() >= _SATURDAY for offset in span)
