from __future__ import annotations

from fsstore.integrations.parts import part


def test_parts_of_ids_never_meet() -> None:
    texts = ["a", "a/", "/a", "%", "%25", "~", "%7E", "x" * 300, "x" * 301, "", "\N{SNOWMAN}"]
    assert len({part(text) for text in texts}) == len(texts)
    assert all("/" not in part(text) and len(part(text)) <= 220 for text in texts)
    assert not any(part(text).startswith("~") for text in [*texts, "~kv"])
