import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Run, Terminal, run_in_shell

SECRET = "ghp_" + "aB3dE5gH7j" * 4
Put = Callable[..., None]


@pytest.fixture
def put(fsstore: Run, tmp_path: Path) -> Put:
    """Save a session."""

    def put(session_id: str, /, **session: Any) -> None:
        (tmp_path / "session.json").write_text(json.dumps(session))
        assert fsstore("put", session_id, tmp_path / "session.json").code == 0

    return put


def test_a_store_without_secrets_is_clean(fsstore: Run, put: Put, store: Path) -> None:
    put("a", messages=[{"text": "about tokens"}])
    assert fsstore("scrub") == (0, "", "fsstore: 1 document checked; no secret found\n")
    assert fsstore("scrub", store, "-q") == (0, "", "")
    assert fsstore("scrub", "--format", "json", "-q").json() == {
        "clean": True,
        "documents": 1,
        "secrets": [],
        "unreadable": [],
        "replaced": 0,
        "failures": [],
    }
    assert fsstore("scrub", store.parent / "absent").code == 5


def test_what_looks_like_a_secret_is_told_and_never_shown(fsstore: Run, put: Put) -> None:
    put("a", settings={"password": "hunter2"}, messages=[{"text": f"use {SECRET} now"}], headers={SECRET: 1})
    outputs = [fsstore("scrub", "--format", form) for form in ("table", "json", "jsonl")]
    for result in outputs:
        assert result.code == 1
        assert "hunter2" not in result.out + result.err
        assert SECRET not in result.out + result.err
        assert "3 values found; remove them" in result.err
    table, whole, lines = outputs
    assert table.out.splitlines() == [
        "id\tpath\tlooks like\thint",
        "a\t$.data.headers['[redacted]']\tGitHub token\tghp_…, 44 characters",
        "a\t$.data.messages[0].text\tGitHub token\tghp_…, 44 characters",
        "a\t$.data.settings.password\tname of the key\t7 characters",
    ]
    assert [found["path"] for found in whole.json()["secrets"]] == [
        line.split("\t")[1] for line in table.out.splitlines()[1:]
    ]
    assert [json.loads(line)["kind"] for line in lines.out.splitlines()] == ["secret"] * 3


def test_what_is_none_can_be_ignored(fsstore: Run, put: Put) -> None:
    put("a", settings={"password": "hunter2"}, logins=[{"token": "tok-12345"}])
    assert fsstore("scrub", "--ignore", "settings.password").code == 1
    assert fsstore("scrub", "--ignore", "settings", "--ignore", "$.data.logins[0].token").code == 0
    result = fsstore("scrub", "--ignore", "a..b")
    assert (result.code, result.out) == (2, "")
    assert "ignore: 'a..b'" in result.err


def test_secrets_are_replaced_when_that_is_wanted(fsstore: Run, put: Put) -> None:
    put("a", settings={"password": "hunter2", "note": "keep"}, messages=[{"text": f"use {SECRET} now"}])
    put("b", settings={"password": "hunter2"})
    refused = fsstore("scrub", "--redact")
    assert refused.code == 2
    assert "3 values in 2 documents would be replaced; add --yes" in refused.err
    assert fsstore("get", "b").json()["settings"] == {"password": "hunter2"}
    result = fsstore("scrub", "--redact", "--yes", "--ignore", "$.data.settings", "--format", "json")
    assert (result.code, result.json()["replaced"]) == (0, 1)
    result = fsstore("scrub", "--redact", "--yes", "--format", "jsonl")
    assert result.code == 0
    assert [json.loads(line) for line in result.out.splitlines()][2:] == [
        {"kind": "replaced", "id": "a", "values": 1},
        {"kind": "replaced", "id": "b", "values": 1},
    ]
    assert "2 values found; 2 replaced\n" in result.err
    session = fsstore("get", "a").json()
    assert session["settings"] == {"password": "[redacted]", "note": "keep"}
    assert session["messages"] == [{"text": "use [redacted] now"}]
    assert fsstore("scrub").code == 0
    assert fsstore("verify").code == 0


def test_what_can_not_be_replaced_is_still_a_finding(fsstore: Run, put: Put, store: Path) -> None:
    put("a", headers={SECRET: 1})
    assert "1 value found; 0 replaced; 1 left: what stands in keys" in fsstore("scrub", "--redact", "--yes").err
    put("b", settings={"password": "hunter2"}, n="7" * 9)
    (document,) = store.glob("??/b.json")
    document.write_text(document.read_text().replace(f'"{"7" * 9}"', "7" * 30))
    result = fsstore("scrub", "--redact", "--yes", "--format", "json")
    assert result.code == 1
    assert [failure["id"] for failure in result.json()["failures"]] == ["b"]
    assert "1 document could not be changed, the first because" in result.err
    assert "64 bits" in result.err


def test_an_unreadable_document_is_told_and_stops_nothing(fsstore: Run, put: Put, store: Path) -> None:
    for name in ("a", "b", "c"):
        put(name, settings={"password": "hunter2"} if name == "c" else {})
    (document,) = store.glob("??/b.json")
    document.write_text("{")
    result = fsstore("scrub", "--format", "jsonl")
    assert result.code == 1
    assert [json.loads(line)["kind"] for line in result.out.splitlines()] == ["secret", "unreadable"]
    assert document.name in result.out
    result = fsstore("scrub", "--redact", "-y")
    assert (result.code, result.err.count("unreadable")) == (4, 1)
    assert f"unreadable\treason\n{document.parent.name}/b.json\t" in result.out
    assert fsstore("scrub", "-q").code == 4


def test_looking_changes_nothing(fsstore: Run, put: Put, store: Path) -> None:
    put("a", settings={"password": "hunter2"})
    before = {path: path.read_bytes() for path in store.glob("??/*.json")}
    assert fsstore("scrub").code == 1
    assert {path: path.read_bytes() for path in store.glob("??/*.json")} == before


def test_a_terminal_is_asked_before_secrets_are_replaced(put: Put) -> None:
    put("a", settings={"password": "hunter2"})
    for answer, code in ((b"n\n", 130), (b"\n", 130), (b"\x04", 130), (b"y\n", 0)):
        terminal = Terminal("scrub", "--redact")
        shown = terminal.read_until(b"[y/N] ")
        assert b"Replace 1 value in 1 document? [y/N] " in shown
        assert b"$.data.settings.password" in shown
        assert b"scrubbing" in shown
        assert "━".encode() in shown
        terminal.type(answer)
        assert terminal.finish()[0] == code
    assert run_in_shell("get", "a").json()["settings"] == {"password": "[redacted]"}
    put("b", settings={"password": "hunter2"})
    code, shown_in_all = Terminal("scrub", "--format", "jsonl", env={"NO_COLOR": "1"}).finish()
    assert code == 1
    assert '"id":"b"' in shown_in_all
    assert "hunter2" not in shown_in_all
