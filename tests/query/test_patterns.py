import re
import threading
import time
from contextlib import suppress
from random import Random
from typing import Self

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fsstore.query.limits import MAX_PATTERN_CHARACTERS
from fsstore.query.patterns import Pattern, PatternError

FOUND = [
    ("b.d", "abcde", True),
    ("^x$", "x", True),
    ("^x$", "xy", False),
    ("(?i)DRAFT", "a draft", True),
    ("(?i)GRÖSSE", "größe", False),
    ("(?i)Ö", "ö", True),
    ("word", "a word", True),
    ("word", "a Word", False),
    ("é|𝄞", "a 𝄞", True),
    (r"\d+\.\d", "3.1", True),
    (r"\w", "é", False),
    (r"\pL", "é", True),
    (r"(?s)a.b", "a\nb", True),
    (r"a.b", "a\nb", False),
    (r"(?m)^b$", "a\nb\nc", True),
    (r"a\Z", "a", True),
    (r"a\Z", "a\n", False),
    ("a$", "a\n", False),
    (r"\u00e9\U0001d11e", "é𝄞", True),
    (r"\\u00e9", r"\u00e9", True),
    (re.escape('a b-#~&\t\n[(.é"'), 'a b-#~&\t\n[(.é"', True),
    ("(?P<name>a)", "a", True),
    ("\0", "a\0", True),
    ("", "", True),
]

REFUSED = [
    "(",
    "(?=a)b",
    "(?<!a)b",
    r"(a)\1",
    "(?P<n>a)(?P=n)",
    "a*+",
    "(?>a)",
    "a{1001}",
    "a{99999999999}",
    "[z-a]",
    "*",
]


@pytest.mark.parametrize(("pattern", "text", "is_found"), FOUND)
def test_a_pattern_is_found_anywhere_in_a_text(pattern: str, text: str, *, is_found: bool) -> None:
    assert Pattern(pattern).is_in(text) is is_found


@pytest.mark.parametrize("pattern", REFUSED)
def test_what_cannot_be_searched_for_in_linear_time_is_refused_with_the_reason(pattern: str) -> None:
    with pytest.raises(PatternError, match=r"is not a regular expression that can be searched for: ."):
        Pattern(pattern)


def test_a_pattern_that_is_too_long_or_needs_too_much_memory_is_refused() -> None:
    with pytest.raises(PatternError, match=f"more than {MAX_PATTERN_CHARACTERS}"):
        Pattern("a" * (MAX_PATTERN_CHARACTERS + 1))
    began = time.thread_time()
    with pytest.raises(PatternError, match="too large"):
        Pattern(r"(?:[\pL\pN]{1,30}){1,30}z")
    assert time.thread_time() - began < 1


def test_patterns_are_equal_by_their_text() -> None:
    assert Pattern("a.") == Pattern("a.")
    assert hash(Pattern("a.")) == hash(Pattern("a."))
    assert Pattern("a.") != Pattern("a")
    assert Pattern("a.") != "a."


PLAIN = ["a", "^a", "b$", "(?i)^A", r"\.", "^$", "[0-9]", "é|𝄞", "\0", ".", "a+b*", "(a|b){2}", "[^a]", "(?:ab)?c"]


@pytest.mark.parametrize("pattern", PLAIN)
def test_python_finds_the_same_where_both_mean_the_same(pattern: str) -> None:
    rng = Random(pattern)
    for _ in range(500):
        text = "".join(rng.choices("aAb.cé𝄞0\0", k=rng.randrange(6)))
        assert Pattern(pattern).is_in(text) == (re.search(pattern, text) is not None), text


class Ticking:
    """A thread that notes when it had the interpreter's lock."""

    def __enter__(self) -> Self:
        self._ticks, self._is_done = list[float](), threading.Event()
        self._thread = threading.Thread(target=self._tick)
        self._thread.start()
        return self

    def _tick(self) -> None:
        while not self._is_done.wait(0.001):
            self._ticks.append(time.perf_counter())

    def between(self, began: float, ended: float) -> int:
        return sum(began < at < ended for at in self._ticks)

    def __exit__(self, *_: object) -> None:
        self._is_done.set()
        self._thread.join()


def nested(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    repeats = st.sampled_from(["+", "*", "?", "{2,}", "{0,9}", "{3}", "+?", "{1,30}"])
    return st.one_of(
        st.builds("({}){}".format, inner, repeats),
        st.builds("(?:{}|{}){}".format, inner, inner, repeats),
        st.builds("{}{}".format, inner, inner),
    )


NESTED = st.recursive(st.sampled_from(["a", "a+", "[ab]", ".", ".*", r"\w", r"\pL", "aa?"]), nested, max_leaves=12)


@settings(max_examples=300, deadline=None)
@given(NESTED, st.sampled_from(["^{}$", "{}", "{}b", "(?i){}c$"]), st.integers(1, 800))
def test_nested_patterns_take_no_time_to_speak_of(pattern: str, around: str, length: int) -> None:
    """A backtracking engine needs years for some of these. CPU time, since the machine may be busy."""
    began = time.thread_time()
    with suppress(PatternError):
        Pattern(around.format(pattern)).is_in("a" * length + "!")
    assert time.thread_time() - began < 1


def test_a_long_search_does_not_hold_the_interpreters_lock() -> None:
    pattern, text = Pattern("(?i)(?:(?:a?){30}){30}b"), "a" * 30_000_000
    with Ticking() as ticking:
        began = time.perf_counter()
        assert not pattern.is_in(text)
        ended = time.perf_counter()
    # one of them may come before the search has begun; on a busy machine it may be few
    assert ticking.between(began, ended) > 2


def test_the_worst_case_of_backtracking_is_linear() -> None:
    began = time.thread_time()
    assert not Pattern("^(a+)+$").is_in("a" * 100_000 + "!")
    assert time.thread_time() - began < 1
