"""What secrets look like: the names they are kept under, and their own well-known shapes. Pure: no I/O.

A guess by design, that errs on the side of telling: it finds what services hand out with a prefix of their own, and
what stands under a name such as `password`. It cannot find a secret that looks like a word under a harmless name.

Every pattern takes time linear in the text: a run of characters is entered at its start only, and repetitions within
one match are bounded or cannot overlap what follows them.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

PLACEHOLDER = "[redacted]"
"""Stands where a secret stood; it looks like none itself."""

_SHOWN_CHARACTERS, _SHOWN_FROM_CHARACTERS = 4, 20
_LONGEST_BLANK_CHARACTERS, _LONGEST_TOKEN_CHARACTERS, _MOST_WORDS = 200, 4096, 10

# a reference, a blank to be filled in, a type in a schema
_NO_SECRET = re.compile(
    r"(?i)(?:\$\{[^{}]*\}|\$\w+|%\w+%|\{\{.*\}\}|<[^<>]*>|\[[^\[\]]*\]|\([^()]*\)|[*x.\u2022-]+"
    r"|env[:.].*|os\.environ.*|null|none|nil|true|false|string|str|undefined|redacted|required|optional)?",
    re.DOTALL,
)
_UUID = re.compile(r"(?i)[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_PIECES = re.compile(r"[A-Za-z0-9]+")
_SWITCHES = re.compile(r"(?<=[0-9])(?=[A-Za-z])|(?<=[A-Za-z])(?=[0-9])")


# -- what a value has to be -------------------------------------------------------------------------------------------


def _is_given(text: str) -> bool:
    """Whether there is a value at all: not a placeholder, and not a sentence about one."""
    text = text.strip()
    is_blank = len(text) <= _LONGEST_BLANK_CHARACTERS and _NO_SECRET.fullmatch(text)
    return not is_blank and len(text.split(None, _MOST_WORDS)) < _MOST_WORDS


def _is_token(text: str) -> bool:
    """Whether it may be a token, where the name alone does not say so: models call the parts of a text tokens too."""
    return (
        len(text) >= 8  # noqa: PLR2004 - shorter ones are words more often than secrets
        and not any(character.isspace() for character in text)
        and (any(character.isdigit() for character in text) or len(text) >= _SHOWN_FROM_CHARACTERS)
        and _is_given(text)
    )


def _is_random(text: str) -> bool:
    """Whether it was made by chance rather than by people: no words, numbers or paths, and not a plain UUID."""
    if not 12 <= len(text) <= _LONGEST_TOKEN_CHARACTERS or _UUID.fullmatch(text) or not _is_token(text):  # noqa: PLR2004
        return False
    return _entropy_bits(text) >= 3 and any(map(_is_mixed, _PIECES.findall(text)))  # noqa: PLR2004 - bits a character


def _is_mixed(piece: str) -> bool:
    switches = len(_SWITCHES.findall(piece))
    if len(piece) >= 16:  # noqa: PLR2004 - long enough for no word with a number behind it
        return switches > 0 or (len(piece) >= 32 and not piece.islower() and not piece.isupper())  # noqa: PLR2004
    return len(piece) >= 6 and switches > 1  # noqa: PLR2004 - `sonnet4` is a name, `s3cr3t` is none


def _entropy_bits(text: str) -> float:
    """Return Shannon's entropy of the characters, in bits a character."""
    return -sum(count / len(text) * math.log2(count / len(text)) for count in Counter(text).values())


def _is_assigned(text: str) -> bool:
    """Whether what stands behind `password=` in a text is a value and not the next word of a sentence."""
    has_both = any(character.isdigit() for character in text) and any(character.isalpha() for character in text)
    return has_both and _is_given(text)


def _is_credential(text: str) -> bool:
    """Whether what stands behind `Bearer` is one, and not a word."""
    return any(character.isdigit() for character in text) or not (text[1:].islower() or text.isupper())


# -- names ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Suspicion:
    """That a value is a secret because of the name it stands under, if it is such a value."""

    accepts: Callable[[str], bool]
    takes_numbers: bool = False

    def holds(self, value: Any) -> bool:
        """Whether the value, and not only its name, looks like a secret."""
        if type(value) is str:
            return self.accepts(value)
        return self.takes_numbers and type(value) in (int, float)


STRONG = Suspicion(_is_given, takes_numbers=True)
MIDDLE = Suspicion(_is_token)
WEAK = Suspicion(_is_random)

_NAMES = (
    (
        STRONG,
        re.compile(
            r"(?:password|passwd|passphrase|passcode|secret|(?:^|_)pwd|(?:^|_)(?:proxy_)?authorization"
            r"|(?:api|access|private|secret|encryption|signing|ssh|master|account|license)_?key|(?:^|_)connection_string"
            r"|(?:access|refresh|id|auth|api|bot|bearer|session|secret|security)_?token)s?"
        ),
    ),
    (MIDDLE, re.compile(r"(?:^|_)(?:token|jwt|bearer|credential|(?:set_)?cookie)s?")),
    (WEAK, re.compile(r"(?:^|_)(?:key|auth)s?")),
)
_HARMLESS = re.compile(r"(?:.*_)?(?:public_key|(?:page|next|continuation|sync|eos|bos|pad|unk|stop)_token)s?")
_HUMPS = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_NO_WORD = re.compile(r"[^a-z0-9]+")
_LONGEST_NAME_CHARACTERS = 100


def suspicion_of(key: str) -> Suspicion | None:
    """Return what the name of a value lets one expect of it: `apiKey`, `OPENAI_API_KEY` and `x-api-key` are alike."""
    return _suspicion_of(key) if len(key) <= _LONGEST_NAME_CHARACTERS else None


# there are few names, and many times each; long ones are not kept
@lru_cache(maxsize=4096)
def _suspicion_of(key: str) -> Suspicion | None:
    words = _NO_WORD.sub("_", _HUMPS.sub("_", key).lower()).strip("_")
    if _HARMLESS.fullmatch(words):
        return None
    for suspicion, names in _NAMES:
        for found in names.finditer(words):
            if found.end() == len(words):
                return suspicion
    return None


# -- shapes -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Shape:
    """How one kind of secret is written. A group `secret` is the part that is one; without it, all of a match is.

    One of the `needles`, in lower case, is in every text that has the shape, which rules most texts out at once.
    """

    name: str
    needles: tuple[str, ...]
    pattern: re.Pattern[str]
    accepts: Callable[[str], bool] | None = None

    def spans(self, text: str) -> Iterator[tuple[int, int]]:
        """Give where secrets of this shape begin and end."""
        part = "secret" if "secret" in self.pattern.groupindex else 0
        for found in self.pattern.finditer(text):
            if self.accepts is None or self.accepts(found[part]):
                yield found.span(part)


def _shape(name: str, needles: str, pattern: str, accepts: Callable[[str], bool] | None = None) -> Shape:
    return Shape(name, tuple(needles.split()), re.compile(pattern, re.ASCII), accepts)


# a run of such characters is entered at its start only, else a long one would be gone through from each of its places
_START = r"(?<![A-Za-z0-9_-])"

SHAPES = (
    _shape(
        "private key",
        "-----begin",
        # what is cut off before its end is a secret all the same
        r"-----BEGIN (?:[A-Z0-9]{1,20} ){0,3}PRIVATE KEY(?: BLOCK)?-----(?:[^-]|-(?!----)){0,65536}+"
        r"(?:-----END [A-Z0-9 ]{0,60}-----)?",
    ),
    _shape("JSON web token", "eyj", _START + r"eyJ[\w-]{5,}\.eyJ[\w-]{5,}(?:\.[\w-]*){1,3}"),
    _shape("secret key (sk-)", "sk-", _START + r"sk-(?=[\w-]*[0-9])[\w-]{16,}"),
    _shape("GitHub token", "ghp_ gho_ ghu_ ghs_ ghr_", _START + r"gh[pousr]_[A-Za-z0-9]{20,}"),
    _shape("GitHub token", "github_pat_", _START + r"github_pat_\w{20,}"),
    _shape("GitLab token", "glpat-", _START + r"glpat-[\w-]{16,}"),
    _shape("AWS access key", "akia asia", _START + r"(?:AKIA|ASIA)[0-9A-Z]{16}(?![0-9A-Za-z])"),
    _shape("Google API key", "aiza", _START + r"AIza[\w-]{35}"),
    _shape("Google OAuth token", "ya29. gocspx-", _START + r"(?:ya29\.|GOCSPX-)[\w-]{16,}"),
    _shape("Slack token", "xox xapp-", _START + r"(?:xox[abeoprs]|xapp)-[A-Za-z0-9-]{10,}"),
    _shape("Slack webhook", "hooks.slack.com/", r"hooks\.slack\.com/(?:services|workflows)/(?P<secret>[\w/]{16,})"),
    _shape(
        "Stripe key", "sk_live_ rk_live_ sk_test_ rk_test_ whsec_", _START + r"(?:[sr]k_(?:live|test)|whsec)_\w{10,}"
    ),
    _shape("npm token", "npm_", _START + r"npm_[A-Za-z0-9]{30,}"),
    _shape("PyPI token", "pypi-", _START + r"pypi-[\w-]{30,}"),
    _shape("Hugging Face token", "hf_", _START + r"hf_[A-Za-z0-9]{20,}"),
    _shape("SendGrid key", "sg.", _START + r"SG\.[\w-]{16,}\.[\w-]{16,}"),
    _shape(
        "credential in a header",
        "bearer basic",
        r"(?i)" + _START + r"(?:bearer|basic)\s{1,4}(?P<secret>[A-Za-z0-9._~+/-]{12,}={0,2})",
        _is_credential,
    ),
    _shape(
        "password in a URL",
        "://",
        r"(?<![A-Za-z0-9+.-])[A-Za-z][A-Za-z0-9+.-]{0,30}://[^\s/:@?#\"'<>]{0,256}:(?P<secret>[^\s/@?#\"'<>]{1,256})@",
        _is_given,
    ),
    _shape(
        "assignment",
        "key secret token passw authorization",
        r"(?i)(?:(?:api|access|secret|private)[_-]?key|secret|token|passw(?:or)?d|authorization)"
        r"\\{0,8}[\"']?\s{0,4}[:=]\s{0,4}\\{0,8}[\"']?(?P<secret>[^\s\"'\\,;&<>()\[\]{}$]{6,})",
        _is_assigned,
    ),
)


_NEEDLES = tuple((needle, at) for at, shape in enumerate(SHAPES) for needle in shape.needles)
_SHORTEST_CHARACTERS = len("a://:x@")


def shapes_in(text: str) -> list[tuple[str, int, int]]:
    """Return the secrets in a text, in their order: the name of the shape, begin and end; O(its length).

    What several shapes have found is one secret, with the name of the first of them.
    """
    if len(text) < _SHORTEST_CHARACTERS:
        return []
    folded = text.lower()
    likely = {at for needle, at in _NEEDLES if needle in folded}
    found = [(start, at, stop) for at in likely for start, stop in SHAPES[at].spans(text)]
    joined: list[tuple[str, int, int]] = []
    for start, at, stop in sorted(found):
        if joined and start < joined[-1][2]:
            name, first, last = joined[-1]
            joined[-1] = name, first, max(last, stop)
        else:
            joined.append((SHAPES[at].name, start, stop))
    return joined


def shapes_in_key(key: str) -> Sequence[tuple[str, int, int]]:
    """Return what `shapes_in` does, for a key: there are few of them, and many times each."""
    return _shapes_in_key(key) if len(key) <= _LONGEST_NAME_CHARACTERS else shapes_in(key)


@lru_cache(maxsize=4096)
def _shapes_in_key(key: str) -> Sequence[tuple[str, int, int]]:
    return tuple(shapes_in(key))


def hint(value: Any) -> str:
    """Return what may be shown of a secret: its length, and how it begins if enough is left to guess."""
    if type(value) is not str:
        return "a number" if type(value) in (int, float) else "a value"
    shown = f"{value[:_SHOWN_CHARACTERS]}…, " if len(value) >= _SHOWN_FROM_CHARACTERS else ""
    return f"{shown}{len(value)} characters"
