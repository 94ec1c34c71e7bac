"""JSON Merge Patch, RFC 7396. Pure: neither the target nor the patch is changed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def merge_patch(target: Any, patch: Any) -> Any:
    """Return the target with the patch applied: null removes a key, an object merges, anything else replaces.

    The result shares its unchanged parts with the target and its new parts with the patch. O(keys touched).
    """
    if not isinstance(patch, Mapping):
        return patch
    merged = dict(target) if isinstance(target, Mapping) else {}
    for key, value in patch.items():
        if value is None:
            merged.pop(key, None)
        else:
            merged[key] = merge_patch(merged.get(key), value)
    return merged
