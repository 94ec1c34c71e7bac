"""Time and ids that depend on a seed alone; nothing in this package asks the system for either."""

from datetime import UTC, datetime, timedelta
from random import Random


def iso(moment: datetime) -> str:
    """Write an aware UTC moment as ISO 8601, always with six digits of microseconds and `+00:00`."""
    return moment.astimezone(UTC).isoformat(timespec="microseconds")


class Clock:
    """A clock that stands still until work is said to have taken time."""

    def __init__(self, start: datetime, chance: Random) -> None:
        """Start at `start` (aware UTC); `chance` draws how long things take."""
        self.now = start
        self._chance = chance

    def spend(self, low_seconds: float, high_seconds: float) -> int:
        """Move on by a random span, at least one microsecond; returns it in milliseconds."""
        microseconds = max(1, int(self._chance.uniform(low_seconds, high_seconds) * 1_000_000))
        self.now += timedelta(microseconds=microseconds)
        return microseconds // 1000


class Ids:
    """Ids drawn from one random stream, so that a run can be repeated id for id."""

    def __init__(self, chance: Random) -> None:
        """Draw from `chance`, which nobody else should use."""
        self._chance = chance

    def make(self, prefix: str, digits: int = 12) -> str:
        """Return `prefix` followed by that many hex digits."""
        return f"{prefix}{self._chance.getrandbits(digits * 4):0{digits}x}"

    def timed(self, moment: datetime) -> str:
        """Return a UUID of version 7 (RFC 9562, 5.7): ids of later milliseconds sort after earlier ones."""
        milliseconds = int(moment.timestamp() * 1000)
        bits = milliseconds << 80 | 0x7 << 76 | self._chance.getrandbits(12) << 64
        digits = f"{bits | 0x2 << 62 | self._chance.getrandbits(62):032x}"
        return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))
