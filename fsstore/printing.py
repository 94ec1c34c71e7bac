"""Text from a store, made fit to be shown: what would steer a terminal, or turn the writing round, is escaped. Pure.

Names of files, ids, and what parsers say of the bytes they met come from all who can write into the store. They reach
people through errors and log messages. Invariant: the text of an error that fsstore makes, and every message on one of
its loggers, is printable; the fields of an error stay as they are.
"""

from __future__ import annotations

import logging
import re

_STEERING = re.compile(
    "[\x00-\x1f\x7f-\x9f"  # control characters, ESC and BEL among them
    "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"  # the direction of writing
    "\u2028\u2029"  # ends of lines
    "\ud800-\udfff]"  # bytes of names that are no text, which no stream takes
)
# a string of JSON escapes what comes before a space by itself
_STEERING_IN_JSON = re.compile("[\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\u2028\u2029]")


def printable_json(text: str) -> str:
    """Return JSON text that means the same, without characters that would steer a terminal."""
    return _STEERING_IN_JSON.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def printable(text: str) -> str:
    """Return the text on one line, without characters that would steer a terminal."""
    return _STEERING.sub(lambda found: ascii(found[0])[1:-1], text)


class PrintableFilter(logging.Filter):
    """Makes what log messages are about printable."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Let the message pass, with its arguments as printable text where they are neither numbers nor printable."""
        if isinstance(record.args, tuple):
            record.args = tuple(each if isinstance(each, int | float) else printable(str(each)) for each in record.args)
        return True


# a filter is not asked about what comes from a logger below its own
for _name in ("fsstore", "fsstore.filters", "fsstore.unreadable"):
    logging.getLogger(_name).addFilter(PrintableFilter())
