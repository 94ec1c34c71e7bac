import io
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Run, run_in_shell
from tests.filesystem.refused import Bad

Save = Callable[..., None]


@pytest.fixture
def typed(monkeypatch: pytest.MonkeyPatch) -> Callable[[str | bytes], None]:
    """Let a text stand in standard input."""

    def typed(text: str | bytes) -> None:
        data = text.encode() if isinstance(text, str) else text
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(data)))

    return typed


def test_init_makes_a_store_and_leaves_one_that_is_there(fsstore: Run, store: Path, save: Save) -> None:
    assert fsstore("init") == (0, "", f"fsstore: the store {store} is ready\n")
    save("a")
    assert fsstore("init", store).code == 0
    assert fsstore("count").out == "1\n"


def test_init_takes_a_shard_depth_that_a_store_then_keeps(fsstore: Run, store: Path) -> None:
    assert fsstore("init", "--shard-depth", "2").code == 0
    assert json.loads((store / "fsstore.json").read_text())["shard_depth"] == 2
    assert fsstore("init").code == 0
    assert fsstore("init", "--shard-depth", "2").code == 0
    result = fsstore("init", "--shard-depth", "1")
    assert result.code == 2
    assert "has the shard depth 2, which cannot be changed" in result.err


@pytest.mark.parametrize("depth", ["0", "3", "x"])
def test_init_refuses_a_shard_depth_out_of_range(fsstore: Run, store: Path, depth: str) -> None:
    assert fsstore("init", "--shard-depth", depth).code == 2
    assert not store.exists()


def test_put_saves_what_get_prints(fsstore: Run, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"metadata": {"mood": "😀"}, "messages": [{"b": 1, "a": 18446744073709551615}]}')
    assert fsstore("put", "a", tmp_path / "a.json") == (0, "a\n", "")
    result = fsstore("get", "a")
    assert result.json()["messages"] == [{"a": 18446744073709551615, "b": 1}]
    assert '"mood": "😀"' in result.out
    assert result.out == json.dumps(result.json(), indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def test_put_takes_the_id_from_the_session(fsstore: Run, typed: Callable[[str], None], tmp_path: Path) -> None:
    text = '{"metadata": {"session_id": "from/within ☃"}}'
    typed(text)
    assert fsstore("put").out == "from/within ☃\n"
    typed(text)
    assert fsstore("put", "-").out == "from/within ☃\n"
    (tmp_path / "a.json").write_bytes(b"\xef\xbb\xbf" + text.encode())
    assert fsstore("put", "-", tmp_path / "a.json").out == "from/within ☃\n"
    typed(text)
    assert fsstore("put", "other").out == "other\n"
    assert fsstore("get", "other").json()["metadata"]["session_id"] == "other"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b"", "standard input is not JSON"),
        (b"{", "standard input is not JSON"),
        (b"\xff\xfe", "standard input is not UTF-8"),
        (b"[]", "standard input holds a JSON list, not an object"),
        (b"{}", "the session has no id"),
        (b'{"metadata": 5}', "the session has no id"),
        (b'{"metadata": {"session_id": 5}}', "the session has no id"),
        (b'{"metadata": {"session_id": "a", "n": 1e999}}', "inf is not a JSON number"),
        (b'{"metadata": {"session_id": "\\u0000"}}', "U+0000"),
        (b'{"metadata": {"session_id": "' + b"x" * 2000 + b'"}}', "1 to 1024 characters"),
    ],
)
def test_put_refuses_what_is_no_session(fsstore: Run, typed: Callable[[bytes], None], text: bytes, reason: str) -> None:
    typed(text)
    result = fsstore("put")
    assert (result.code, result.out) == (2, "")
    assert reason in result.err


def test_put_names_a_file_that_is_not_there(fsstore: Run, store: Path) -> None:
    result = fsstore("put", "a", "/absent/file.json")
    assert result.code == 2
    assert "there is no file /absent/file.json" in result.err
    assert not store.exists()


def test_put_tells_when_a_file_can_not_be_read(fsstore: Run, tmp_path: Path) -> None:
    result = fsstore("put", "a", tmp_path)
    assert result.code == 5
    assert f"{tmp_path}: Is a directory" in result.err


def test_put_needs_standard_input_to_be_open(fsstore: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", None)
    assert fsstore("put", "a").code == 5


def test_put_with_an_expected_version_refuses_any_other(fsstore: Run, typed: Callable[[str], None]) -> None:
    typed("{}")
    assert fsstore("put", "a", "--expected-version", "0").code == 0
    typed("{}")
    result = fsstore("put", "a", "--expected-version", "0")
    assert result.code == 3
    assert "session 'a' exists already, with version 1; choose another id" in result.err
    typed("{}")
    assert fsstore("put", "a", "--expected-version", "1").code == 0


def test_get_prints_parts_of_a_session(fsstore: Run, save: Save) -> None:
    save("a", status="open")
    assert fsstore("get", "a", "--field", "status", "--field=user_id").json() == {
        "metadata": {"session_id": "a", "status": "open"}
    }
    assert fsstore("get", "nobody", "--field", "status").code == 1
    assert fsstore("get", "a", "--record", "--field", "status").code == 2


def test_get_prints_one_line_or_the_whole_record(fsstore: Run, save: Save) -> None:
    save("a", status="new")
    session = fsstore("get", "a").json()
    compact = fsstore("get", "a", "--format", "compact").out
    assert compact == json.dumps(session, separators=(",", ":"), sort_keys=True) + "\n"
    record = fsstore("get", "a", "--record").json()
    assert record["data"] == session
    assert (record["id"], record["type"], record["version"]) == ("a", "session", 1)


def test_a_document_edited_by_hand_beyond_what_can_be_saved_is_printed_as_it_is(
    fsstore: Run, save: Save, store: Path
) -> None:
    save("a", status="7" * 9)
    (document,) = store.glob("??/a.json")
    document.write_text(document.read_text().replace(f'"{"7" * 9}"', "7" * 30))
    assert fsstore("get", "a").json()["metadata"]["status"] == int("7" * 30)
    assert fsstore("get", "a", "--format", "compact").json()["metadata"]["status"] == int("7" * 30)
    for form in ("json", "jsonl", "table"):
        result = fsstore("ls", "--format", form)
        assert result.code == 0
        assert "7" * 30 in result.out


@pytest.mark.parametrize(
    ("command", "advice"),
    [
        (["get"], "check the id, or save the session first"),
        (["update", "--set", "a=1"], "check the id, or save the session first"),
        (["rm"], "check the id; there is nothing to remove"),
    ],
)
def test_a_session_that_is_not_there_is_not_found(fsstore: Run, command: list[str], advice: str) -> None:
    fsstore("init")
    result = fsstore(*command, "absent")
    assert result == (1, "", f"fsstore: error: there is no session 'absent'; {advice}\n")


@pytest.mark.parametrize("command", ["get", "ls", "export"])
def test_the_help_of_commands_that_read_speaks_of_what_is_read(fsstore: Run, command: str) -> None:
    said = " ".join(fsstore(command, "--help").out.split())
    assert "The largest session that is read" in said
    assert "that is written" not in said


def test_ids_that_look_like_options_or_paths_are_ids(fsstore: Run, typed: Callable[[str], None]) -> None:
    for session_id in ("--help", "../../etc/passwd", "-", "CON", "a b\u202e"):
        typed(json.dumps({"metadata": {"session_id": session_id}}))
        assert fsstore("put").out == session_id + "\n"
        assert fsstore("get", "--", session_id).json()["metadata"]["session_id"] == session_id


def test_update_merges_a_patch_and_settings(fsstore: Run, save: Save, typed: Callable[[str], None]) -> None:
    save("a", status="new", user_id="ann", tags=["x"])
    patch = '{"metadata": {"user_id": null, "status": "patched"}, "state": {"step": 1}}'
    assert fsstore("update", "a", patch, "--set", "status=set", "--set", "state.more=[1, 2]") == (0, "a\n", "")
    session = fsstore("get", "a").json()
    assert session["state"] == {"step": 1, "more": [1, 2]}
    assert session["metadata"]["status"] == "set"
    assert "user_id" not in session["metadata"]
    typed('{"state": null}')
    assert fsstore("update", "a", "-").code == 0
    assert "state" not in fsstore("get", "a").json()


@pytest.mark.parametrize("arguments", [[], ["[]"], ["{"], ["--set", "status"], ["{}", "--expected-version", "-1"]])
def test_update_refuses_what_is_no_change(fsstore: Run, save: Save, arguments: list[str]) -> None:
    save("a")
    assert fsstore("update", "a", *arguments).code == 2


def test_update_with_an_expected_version_refuses_any_other(fsstore: Run, save: Save) -> None:
    save("a")
    assert fsstore("update", "a", "--set", "x=1", "--expected-version", "7").code == 3
    assert fsstore("update", "a", "--set", "x=1", "--expected-version", "1").code == 0


def test_rm_removes_all_of_the_ids_or_none(fsstore: Run, save: Save) -> None:
    for session_id in "abc":
        save(session_id)
    assert fsstore("rm", "a", "absent", "b").code == 1
    assert fsstore("count").out == "3\n"
    assert fsstore("rm", "a", "b", "a") == (0, "", "")
    assert fsstore("rm", "--missing-ok", "a", "b", "c").code == 0
    assert fsstore("count").out == "0\n"


def test_rm_by_a_filter_needs_a_yes_where_nobody_can_be_asked(
    fsstore: Run, save: Save, typed: Callable[[str], None]
) -> None:
    save("a", status="old")
    save("b", status="new")
    typed("y\n")
    result = fsstore("rm", "--where", "status=old")
    assert result.code == 2
    assert "1 session would be removed; add --yes" in result.err
    assert fsstore("rm", "--where", "status=old", "--yes") == (0, "", "fsstore: 1 session removed\n")
    assert fsstore("rm", "--filter", "{}", "-y") == (0, "", "fsstore: 1 session removed\n")
    assert fsstore("rm", "--filter", "{}") == (0, "", "fsstore: 0 sessions removed\n")


def test_rm_by_a_filter_leaves_what_does_not_match_any_more(
    fsstore: Run, save: Save, monkeypatch: pytest.MonkeyPatch
) -> None:
    save("a", status="old")
    save("b", status="old")

    async def listed(*_: Any, **__: Any) -> list[dict[str, str]]:
        return [{"session_id": "a"}, {"session_id": "b"}, {"session_id": "gone"}]

    # the list as it was a moment ago: since then one session has changed, and one was removed
    fsstore("update", "b", "--set", "status=new")
    monkeypatch.setattr("fsstore.sessions.service.SessionService.list_metadata", listed)
    assert fsstore("rm", "--where", "status=old", "--yes").err == "fsstore: 1 session removed\n"
    assert fsstore("get", "b").code == 0


@pytest.mark.parametrize("arguments", [[], ["a", "--where", "status=old"], ["a", "--filter", "{}", "--yes"]])
def test_rm_refuses_to_guess_what_to_remove(fsstore: Run, save: Save, arguments: list[str]) -> None:
    save("a", status="old")
    assert fsstore("rm", *arguments).code == 2
    assert fsstore("count").out == "1\n"


def test_a_document_of_another_type_is_no_session(fsstore: Run, store: Path, save: Save) -> None:
    save("a")
    (path,) = [path for path in store.glob("*/*.json") if path.parent.name != ".fsstore"]
    record = json.loads(path.read_text())
    path.write_text(json.dumps({**record, "type": "note"}))
    assert fsstore("get", "a").code == 1
    assert fsstore("rm", "a").code == 3
    assert fsstore("update", "a", "--set", "x=1").code == 3


def test_a_corrupt_document_is_reported_and_never_taken_for_absent(fsstore: Run, store: Path, save: Save) -> None:
    save("a")
    (path,) = store.glob("??/a.json")
    path.write_text('{"torn')
    for command in (["get", "a"], ["update", "a", "--set", "x=1"]):
        result = fsstore(*command)
        assert (result.code, result.out) == (4, "")
        assert "cannot be read" in result.err
    assert path.read_text() == '{"torn'


@pytest.mark.parametrize("command", [["rm", "a"], ["rm", "--keep-damaged", "a", "b"], ["rm", "--missing-ok", "a", "c"]])
def test_a_corrupt_document_can_be_removed_and_kept_aside(
    fsstore: Run, store: Path, save: Save, command: list[str]
) -> None:
    save("a")
    save("b")
    (path,) = store.glob("??/a.json")
    path.write_text('{"torn')
    assert fsstore(*command) == (0, "", "")
    assert not path.exists()
    assert fsstore("health").code == 0
    kept = [file.read_text() for file in store.glob(".fsstore/quarantine/*")]
    assert kept == (['{"torn'] if "--keep-damaged" in command else [])


def test_what_the_disk_cannot_read_keeps_no_other_from_being_removed_by_a_filter(
    fsstore: Run, save: Save, monkeypatch: pytest.MonkeyPatch
) -> None:
    for session_id in ("a", "b", "c", "d", "e"):
        save(session_id, status="old")
    bad = Bad(monkeypatch)
    bad.bases = {"b.json"}
    result = fsstore("rm", "--where", "status=old", "--yes")
    assert result.code == 5
    assert result.err.startswith("fsstore: 4 sessions removed; 1 session could not be removed, the first because ")
    assert "Input/output error" in result.err
    bad.bases = set()
    assert fsstore("ls", "--format", "ids").out == "b\n"


def test_a_corrupt_document_can_be_replaced_and_is_kept_aside(fsstore: Run, store: Path, save: Save) -> None:
    save("a")
    (path,) = store.glob("??/a.json")
    path.write_text('{"torn')
    save("a", status="new")
    assert fsstore("get", "a").json()["metadata"]["status"] == "new"
    assert [file.read_text() for file in store.glob(".fsstore/quarantine/*")] == ['{"torn']


def test_the_largest_session_can_be_said_to_every_command_that_writes(
    fsstore: Run, tmp_path: Path, save: Save, monkeypatch: pytest.MonkeyPatch
) -> None:
    save("a")
    source = tmp_path / "long.json"
    source.write_text(json.dumps({"text": "x" * 1000}))
    for command in (["put", "b", str(source)], ["update", "a", "--set", f"text={'x' * 1000}"]):
        refused = fsstore(*command, "--max-bytes", "500")
        assert refused.code == 2
        assert "more than the 500 allowed" in refused.err
        assert "a larger --max-bytes" in refused.err
    monkeypatch.setenv("FSSTORE_MAX_BYTES", "500")
    assert fsstore("put", "b", source).code == 2
    assert fsstore("put", "b", source, "--max-bytes", "5000").code == 0
    assert fsstore("get", "b").json()["text"] == "x" * 1000
    assert fsstore("put", "b", source, "--max-bytes", "0").code == 2


def test_commands_that_do_not_fill_a_store_do_not_make_one(fsstore: Run, store: Path) -> None:
    commands = ["get a", "ls", "count", "update a --set x=1", "rm a", "export", "stats", "health"]
    for command in commands:
        result = fsstore(*command.split())
        assert result.code == 5
        assert "there is no store here" in result.err
    assert not os.path.lexists(store)


MARK = "\ufeff"


def test_json_from_an_editor_of_windows_is_taken_everywhere(
    fsstore: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    document = tmp_path / "session.json"
    document.write_bytes(f'{MARK}{{\r\n  "metadata": {{"status": "new"}}\r\n}}\r\n'.encode())
    assert fsstore("put", "a", document).code == 0
    assert fsstore("ls", "--filter", f'{MARK}{{"status": "new"}}', "--format", "ids").out == "a\n"
    assert fsstore("update", "a", f'{MARK}{{"metadata": {{"status": "patched"}}}}').code == 0
    assert fsstore("count", "--where", "status=patched").out == "1\n"
    monkeypatch.setenv("EDITOR", f"cp {document}")
    assert fsstore("edit", "a").code == 0
    assert fsstore("get", "a").json()["metadata"]["status"] == "new"


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_json_in_another_encoding_is_named_as_such(fsstore: Run, tmp_path: Path, encoding: str) -> None:
    (tmp_path / "session.json").write_text('{"metadata": {}}', encoding=encoding)
    result = fsstore("put", "a", tmp_path / "session.json")
    assert result.code == 2
    assert "is not UTF-8 but UTF-16 or UTF-32: save it as UTF-8" in result.err


@pytest.mark.parametrize(
    ("text", "place"),
    [
        (rb'{"t": "ab\ud800"}', "$.t: the string holds the lone surrogate U+D800 at offset 2"),
        (rb'{"a": [{"b": "\udc00"}]}', "$.a[0].b: the string holds the lone surrogate U+DC00 at offset 0"),
        (rb'{"a": {"k\udfff": 1}}', "$.a: the key 'k\\udfff' holds the lone surrogate U+DFFF at offset 1"),
        (b'{"t": "\xf0\x9f\x98\x80\xed\xa0\x80"}', "$.t: the string holds the lone surrogate U+D800 at offset 1"),
    ],
)
def test_a_lone_surrogate_is_told_with_its_path_and_offset(
    fsstore: Run, tmp_path: Path, text: bytes, place: str
) -> None:
    (tmp_path / "session.json").write_bytes(text)
    result = fsstore("put", "a", tmp_path / "session.json")
    assert result.code == 2
    assert place in result.err
    if text.isascii():
        assert place in fsstore("update", "a", text.decode()).err
        assert place in fsstore("count", "--filter", text.decode()).err


def test_a_number_in_a_condition_finds_the_text_too(fsstore: Run, save: Save) -> None:
    save("text", **{"user_id": "123", "done": "true", "a.b": 1})
    save("number", user_id=123, done=True)
    save("other", user_id=5, done=None)

    def found(condition: str) -> list[str]:
        return sorted(fsstore("ls", "--format", "ids", "--where", condition).out.split())

    assert found("user_id=123") == ["number", "text"]
    assert found("user_id!=123") == ["other"]
    assert found("user_id='123'") == ["text"]
    assert found("user_id>=5") == ["number", "other"]
    assert found("done=true") == ["number", "text"]
    assert found("done=null") == ["other"]
    assert found(r"a\.b=1") == ["text"]
    assert fsstore("count", "--where", "user_id=123").out == "2\n"
    assert fsstore("rm", "--yes", "--where", "user_id=123").code == 0
    assert found("done=null") == ["other"]


@pytest.mark.parametrize(
    ("patch", "remedy"),
    [
        ('{"$set": {"metadata.status": "done"}}', "{'metadata': {'status': ...}}"),
        ('{"metadata.status": "done"}', "{'metadata': {'status': ...}}"),
        ('{"metadata": {"tags": {"$push": "x"}}}', "edit_session"),
    ],
)
def test_update_refuses_a_patch_that_was_meant_otherwise(fsstore: Run, save: Save, patch: str, remedy: str) -> None:
    save("a", status="open", tags=[])

    refused = fsstore("update", "a", patch)

    assert (refused.code, refused.out) == (2, "")
    assert remedy in refused.err.replace("\n", " ")
    assert fsstore("get", "a").json()["metadata"]["status"] == "open"


def test_update_sets_a_key_with_a_dot_in_it(fsstore: Run, save: Save) -> None:
    save("a", status="open")

    assert fsstore("update", "a", "--set", r"gpt-4\.1=5", "--set", r"state.\$ref=x").code == 0

    session = fsstore("get", "a").json()
    assert (session["metadata"]["gpt-4.1"], session["state"]) == (5, {"$ref": "x"})


def test_an_order_that_is_none_is_refused_with_the_remedy(fsstore: Run, save: Save) -> None:
    save("a")

    refused = fsstore("ls", "--sort", "")

    assert refused.code == 2
    assert "--sort -updated_at" in refused.err.replace("\n", " ")


@pytest.mark.usefixtures("store")
def test_a_limit_that_no_memory_holds_asks_for_none() -> None:
    limit = str(1 << 50)
    assert run_in_shell("put", "a", "--max-bytes", limit, stdin=b'{"n": 1}').code == 0
    assert '"n": 1' in run_in_shell("get", "a", "--max-bytes", limit).out
