"""Tools behind a line that can drop: exchange rates, sensors, service logs.

The services are functions of their arguments, so that what they answer can be repeated; only the line fails.
"""

import math
from collections import Counter
from datetime import datetime, timedelta
from random import Random
from typing import Any

from langchain_core.tools import ToolException

from tests.workflow.tools.dates import parse_day

# units of the currency for one USD, around which the rate of a day wanders by at most two per cent
_PER_USD = {
    "USD": 1.0,
    "EUR": 0.88,
    "GBP": 0.75,
    "JPY": 149.0,
    "CNY": 7.15,
    "CHF": 0.81,
    "SEK": 9.6,
    "KRW": 1390.0,
}
_DROPS = (
    (ConnectionError, "{service}: connection reset by peer"),
    (TimeoutError, "{service}: no answer within 10 s"),
    (ConnectionError, "{service}: 503 service unavailable"),
    (TimeoutError, "{service}: deadline exceeded after 15 s"),
)
_SENSORS = {
    "greenhouse-1": ("temperature", "°C", 23.0, 5.0),
    "greenhouse-2": ("humidity", "%", 64.0, 9.0),
    "cold-store-3": ("temperature", "°C", -18.5, 0.8),
    "workshop-air": ("pm2.5", "µg/m³", 17.0, 8.0),
    "harbour-tide": ("water level", "cm", 210.0, 95.0),
    "温室-东": ("temperature", "°C", 25.5, 4.0),
    "倉庫-05": ("humidity", "%", 48.0, 6.0),
}
_LOG_LINES = {
    "INFO": [
        "request finished path=/v1/orders status=200 ms={ms}",
        "cache warm keys={n}",
        "worker {w} picked job {n}",
        "session resumed user=u{n} attempt=1",
        "設定を再読込しました version={n}",
    ],
    "WARN": [
        "slow query table=orders ms={ms}9",
        "retrying upstream=payments attempt={w}",
        "queue depth {n} above soft limit 500",
        "磁盘剩余空间低于 {w}0% volume=/data",
    ],
    "ERROR": [
        "upstream=payments timed out after 3000 ms trace={n:05x}",
        "checkout failed: connection pool exhausted size=20 waiting={w}",
        "could not write report: disk quota exceeded",
    ],
}
_SERVICES = ["checkout", "search", "mailer", "sync", "gateway"]


class Line:
    """The way to a remote service; it drops as many of the next calls as it was told to."""

    def __init__(self, chance: Random) -> None:
        """Start without trouble; `chance` picks how a call fails."""
        self.drops: Counter[str] = Counter()
        self._chance = chance

    def reach(self, service: str) -> None:
        """Return when the call got through; raises ConnectionError or TimeoutError when it was dropped."""
        if self.drops[service] > 0:
            self.drops[service] -= 1
            kind, wording = self._chance.choice(_DROPS)
            raise kind(wording.format(service=service))


class Services:
    """The remote services, reached over one line."""

    def __init__(self, line: Line) -> None:
        """Use `line` for every call."""
        self._line = line

    def exchange_rate(self, base: str, quote: str, day: str) -> dict[str, Any]:
        """Return how much of `quote` one unit of `base` bought on a day (YYYY-MM-DD)."""
        self._line.reach("rates")
        ordinal = parse_day(day).toordinal()
        rate = _per_usd(quote, ordinal) / _per_usd(base, ordinal)
        return {"base": base, "quote": quote, "day": day, "rate": round(rate, 4)}

    def read_sensor(self, device: str, until: str, hours: int = 12) -> dict[str, Any]:
        """Read a device's hourly values for the hours before `until` (ISO 8601), at most 72."""
        self._line.reach("sensors")
        if device not in _SENSORS:
            message = f"no device {device!r}; known: {', '.join(_SENSORS)}"
            raise ToolException(message)
        what, unit, level, swing = _SENSORS[device]
        end = datetime.fromisoformat(until).replace(minute=0, second=0, microsecond=0)
        times = [end - timedelta(hours=back) for back in range(min(hours, 72), 0, -1)]
        readings = [{"at": f"{at:%m-%d %H:%M}", "value": _reading(device, at, level, swing)} for at in times]
        return {"device": device, "measures": what, "unit": unit, "readings": readings}

    def search_logs(self, service: str, until: str, level: str = "WARN", limit: int = 20) -> dict[str, Any]:
        """Return the latest log lines of a service before `until` (ISO 8601), of a level or worse."""
        self._line.reach("logs")
        if service not in _SERVICES or level not in _LOG_LINES:
            message = f"unknown service or level: {service!r}, {level!r}"
            raise ToolException(message)
        levels = list(_LOG_LINES)[list(_LOG_LINES).index(level) :]
        lines = [_log_line(service, datetime.fromisoformat(until), back, levels) for back in range(limit, 0, -1)]
        return {"service": service, "level": level, "lines": lines}


def devices() -> list[str]:
    """Return the ids of all devices that can be read."""
    return list(_SENSORS)


def services() -> list[str]:
    """Return the names of all services that keep a log."""
    return list(_SERVICES)


def _per_usd(currency: str, ordinal: int) -> float:
    try:
        middle = _PER_USD[currency]
    except KeyError as error:
        message = f"unknown currency {currency!r}; known: {', '.join(_PER_USD)}"
        raise ToolException(message) from error
    return middle if currency == "USD" else middle * (1 + Random(f"{currency} {ordinal}").uniform(-0.02, 0.02))


def _reading(device: str, at: datetime, level: float, swing: float) -> float:
    noise = Random(f"{device} {at:%Y-%m-%d %H}").uniform(-0.4, 0.4)
    return round(level + swing * (math.sin(at.hour / 24 * math.tau) + noise) / 1.4, 1)


def _log_line(service: str, until: datetime, back: int, levels: list[str]) -> str:
    at = until - timedelta(seconds=41 * back)
    chance = Random(f"{service} {at:%Y-%m-%dT%H:%M} {back}")
    level = chance.choice(levels)
    wording = chance.choice(_LOG_LINES[level])
    text = wording.format(ms=chance.randint(8, 480), n=chance.randint(100, 9999), w=chance.randint(1, 6))
    return f"{at:%Y-%m-%dT%H:%M:%SZ} {level:<5} {service} {text}"
