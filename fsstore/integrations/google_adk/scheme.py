"""Where the URIs of the service lead: `fsstore:///data/sessions`. Pure."""

from __future__ import annotations

import os
from urllib.parse import unquote

from fsstore.errors import StorageValidationError

SCHEME = "fsstore"


def place_of(uri: str | os.PathLike[str]) -> str | os.PathLike[str]:
    """Return what `open_storage` takes for a URI; anything without the scheme is that already.

    `fsstore:///data/sessions` is a path from the root, `fsstore://data/sessions` one from the working directory; both
    may be percent-encoded. Raises StorageValidationError where no directory is named, or more than that.
    """
    if not isinstance(uri, str) or not uri.startswith(f"{SCHEME}:"):
        return uri
    written = uri.removeprefix(f"{SCHEME}:").removeprefix("//")
    if not written or "?" in written or "#" in written:
        raise StorageValidationError(
            reason=f"must name a directory and nothing else, not {uri!r}",
            path="uri",
            advice="write fsstore:///data/sessions, and give options as keyword arguments",
        )
    return unquote(written)
