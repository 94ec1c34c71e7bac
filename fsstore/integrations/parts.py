"""The parts of an id: what frameworks name anyhow, as text that a slash may stand between. Pure.

Parts are percent-encoded. Two texts never have the same part, and none begins with a tilde.
"""

from __future__ import annotations

from hashlib import blake2b
from urllib.parse import quote

_LONGEST_PART = 220
"""Four parts and what is between them must fit into an id."""


def part(text: str) -> str:
    """Return a part of an id; two texts never have the same."""
    # a tilde, which is left as it is by others, marks what was shortened
    encoded = quote(text, safe=":|", errors="surrogatepass").replace("~", "%7E")
    if len(encoded) <= _LONGEST_PART:
        return encoded
    return (
        f"{encoded[: _LONGEST_PART - 41]}~{blake2b(text.encode('utf-8', 'surrogatepass'), digest_size=20).hexdigest()}"
    )
