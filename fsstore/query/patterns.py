r"""The regular expressions of `$regex`, searched in time linear in the text, whatever they are. Pure.

The engine is RE2 (https://github.com/google/re2/wiki/Syntax): what it has is what MongoDB's has too, and means the
same, but that `$` is the very end of the text. It has no look-around and no back-references, since nobody can search
for these in linear time: they are refused. Like MongoDB's, `\w`, `\d`, `\s` and `\b` know ASCII only; `\pL` is a letter
of any alphabet. The interpreter's lock is not held while a text is searched.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any

from fsstore.query.limits import MAX_PATTERN_CHARACTERS

# programs for which a small text takes long are refused; what is left of the large one makes searching fast
_PROGRAM_BYTES, _SEARCH_BYTES = 128 << 10, 8 << 20
# so all of them together have 256 MB, if they are as bad as can be; most have a few KB
_MOST_COMPILED = 32
# what Python writes in another way
_PYTHON_ONLY = re.compile(r"\\(?:u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|.)", re.DOTALL)
_ENDLESS = re.compile(r"(?<!\\)\{[0-9,]{6,}\}")
_SPECIAL = frozenset(r"\.^$*+?{}[]|()")
_SYNTAX = "https://github.com/google/re2/wiki/Syntax"


class PatternError(ValueError):
    """The text is no regular expression, or one that is not searched for; it says which."""


class Pattern:
    """A regular expression, equal to another of the same text."""

    __slots__ = ("_is_word", "text")

    def __init__(self, text: str) -> None:
        """Understand a regular expression; O(its length), 20 ms at most. Raises PatternError."""
        if len(text) > MAX_PATTERN_CHARACTERS:
            raise PatternError(f"has {len(text)} characters, more than {MAX_PATTERN_CHARACTERS}")
        if _ENDLESS.search(text):
            # the engine would take it for text
            raise PatternError("is not a regular expression that can be searched for: it repeats too often")
        self.text = text
        # most patterns are words, which Python finds faster than a call of RE2 begins
        self._is_word = _SPECIAL.isdisjoint(text)
        if not self._is_word:
            _compiled(text)

    def is_in(self, value: str) -> bool:
        """Whether the pattern is found anywhere in a text; O(its length)."""
        return self.text in value if self._is_word else _compiled(self.text).search(value) is not None

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Pattern) and self.text == other.text

    def __hash__(self) -> int:
        return hash(self.text)


@lru_cache(maxsize=64)
def pattern_of(text: str) -> Pattern:
    """Return the pattern of a text; those that were asked for lately are kept."""
    return Pattern(text)


@lru_cache(maxsize=_MOST_COMPILED)
def _compiled(text: str) -> Any:
    import re2  # noqa: PLC0415 - most filters have no pattern, and it takes its time to load

    def options(max_bytes: int) -> Any:
        made = re2.Options()
        made.log_errors = False
        made.max_mem = max_bytes
        return made

    text = _PYTHON_ONLY.sub(_as_re2, text)
    try:
        re2.compile(text, options(_PROGRAM_BYTES))
        return re2.compile(text, options(_SEARCH_BYTES))
    except re2.error as error:
        reason = error.args[0].decode("utf-8", "replace") if isinstance(error.args[0], bytes) else str(error)
        raise PatternError(f"is not a regular expression that can be searched for: {reason} (see {_SYNTAX})") from error


def _as_re2(escape: re.Match[str]) -> str:
    if escape[0] == r"\Z":
        return r"\z"
    return f"\\x{{{escape[1] or escape[2]}}}" if escape[1] or escape[2] else escape[0]
