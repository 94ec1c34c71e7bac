import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fsstore import sync
from fsstore.cli import listing
from tests.cli.conftest import Run, lines

Save = Callable[..., None]
STATUSES = ("active", "failed", "done")


@pytest.fixture
def imported(fsstore: Run, tmp_path: Path) -> list[dict[str, Any]]:
    """Import 250 sessions, and return them in the default order: the most recently updated first, ties by id."""
    sessions: list[dict[str, Any]] = [
        {
            "metadata": {
                "session_id": f"s{number:03}",
                "status": STATUSES[number % 3],
                "tags": ["even"] if number % 2 == 0 else [],
                "score": number,
                "created_at": "2026-01-01T00:00:00.000000+00:00",
                "updated_at": f"2026-02-{1 + number % 28:02}T00:00:00.000000+00:00",
            },
            "messages": [{"role": "user", "text": f"é😀\u2028 {number}"}],
            "state": {"step": number % 5},
        }
        for number in range(250)
    ]
    (tmp_path / "sessions.jsonl").write_text(lines(sessions))
    assert fsstore("import", tmp_path / "sessions.jsonl", "--quiet").code == 0
    sessions.sort(key=lambda session: session["metadata"]["session_id"])
    return sorted(sessions, key=lambda session: session["metadata"]["updated_at"], reverse=True)


def test_json_lines_are_what_a_script_finds_in_the_imported_file(
    fsstore: Run, imported: list[dict[str, Any]], tmp_path: Path
) -> None:
    assert imported
    found = []
    with (tmp_path / "sessions.jsonl").open() as file:
        for line in file:
            session = json.loads(line)
            if session["metadata"]["status"] == "failed":
                found.append(session)
    found.sort(key=lambda session: session["metadata"]["session_id"])
    found.sort(key=lambda session: session["metadata"]["updated_at"], reverse=True)
    expected = [json.dumps(session, sort_keys=True, ensure_ascii=False, separators=(",", ":")) for session in found]
    assert fsstore("ls", "--format", "jsonl", "--where", "status=failed").out.split("\n") == [*expected, ""]


def test_fields_print_parts_of_sessions(fsstore: Run, imported: list[dict[str, Any]]) -> None:
    def part(session: dict[str, Any]) -> dict[str, Any]:
        metadata = session["metadata"]
        kept = {"metadata": {key: metadata[key] for key in ("session_id", "score")}, "state": session["state"]}
        return {**kept, "messages": [{"role": "user"}]}

    fields = ("--field", "score", "--field", ".state", "--field", "messages.role")
    assert fsstore("ls", "--format", "jsonl", *fields).out == lines([*map(part, imported)])
    found = fsstore("ls", "--format", "json", "--sort", "-score", "--limit", "2", *fields).json()
    assert [session["metadata"]["score"] for session in found] == [249, 248]
    for form in ("table", "ids"):
        refused = fsstore("ls", "--format", form, "--field", "score")
        assert (refused.code, "give --format jsonl" in refused.err) == (2, True)
    assert "write '.messages'" in fsstore("ls", "--format", "json", "--field", "messages").err


def test_json_lines_come_page_by_page_in_order(fsstore: Run, imported: list[dict[str, Any]]) -> None:
    assert fsstore("ls", "--format", "jsonl").out == lines(imported)
    assert fsstore("ls", "--format", "jsonl", "--limit", "150").out == lines(imported[:150])
    assert fsstore("ls", "--format", "jsonl", "--limit", "0").out == ""
    assert fsstore("ls", "--format", "jsonl", "--offset", "240").out == lines(imported[240:])


def test_json_is_one_list(fsstore: Run, imported: list[dict[str, Any]]) -> None:
    result = fsstore("ls", "--format", "json")
    assert result.json() == imported
    assert result.out == json.dumps(imported, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
    assert fsstore("ls", "--format", "json", "--where", "status=absent").out == "[]\n"


@pytest.mark.parametrize("form", ["json", "jsonl"])
def test_the_default_order_is_streamed_in_pages(
    fsstore: Run, imported: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    assert imported

    async def refuse(*_: Any, **__: Any) -> None:
        pytest.fail("the whole list was asked for")

    monkeypatch.setattr(listing, "_PAGE_SESSIONS", 7)
    monkeypatch.setattr("fsstore.sessions.service.SessionService.list_sessions", refuse)
    for order in ([], ["--sort", "-updated_at"], ["--limit", "20"]):
        assert fsstore("ls", "--format", form, *order).code == 0


def test_ids_are_one_a_line(fsstore: Run, imported: list[dict[str, Any]]) -> None:
    expected = [session["metadata"]["session_id"] for session in imported]
    assert fsstore("ls", "--format", "ids").out.split() == expected
    assert fsstore("ls", "--format", "ids", "--limit", "3", "--offset", "2").out.split() == expected[2:5]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--where", "score<2"], ["s001", "s000"]),
        (["--where", "score<2", "--sort", "score"], ["s000", "s001"]),
        (["--where", "score>=248", "--sort", "-score"], ["s249", "s248"]),
        (["--where", "tags=even", "--where", "score<=4", "--sort", "session_id"], ["s000", "s002", "s004"]),
        (["--where", "session_id~^s00[12]$", "--sort", "session_id"], ["s001", "s002"]),
        (["--where", "state.step=4", "--where", "score<10", "--sort", "score"], ["s004", "s009"]),
        (["--where", "updated_at>=2026-02-28", "--where", "score<60", "--sort", "score"], ["s027", "s055"]),
        (["--where", "updated_at>=2027"], []),
        (["--where", "score!=1", "--where", "score<3", "--sort", "score"], ["s000", "s002"]),
        (["--where", "user_id"], []),
        (["--where", "!user_id", "--limit", "1", "--sort", "score"], ["s000"]),
        (["--filter", '{"$or": [{"score": 3}, {"score": {"$gt": 248}}]}', "--sort", "score"], ["s003", "s249"]),
        (
            ["--where", "score<9", "--filter", '{"status": {"$in": ["done"]}}', "--sort", "score"],
            ["s002", "s005", "s008"],
        ),
    ],
)
def test_conditions_and_orders_choose_the_sessions(
    fsstore: Run, imported: list[dict[str, Any]], arguments: list[str], expected: list[str]
) -> None:
    assert imported
    assert fsstore("ls", "--format", "ids", *arguments).out.split() == expected
    texts = fsstore("ls", "--format", "jsonl", *arguments).out.split("\n")[:-1]
    assert [json.loads(text)["metadata"]["session_id"] for text in texts] == expected


def test_count_counts_what_matches(fsstore: Run, imported: list[dict[str, Any]]) -> None:
    assert fsstore("count").out == f"{len(imported)}\n"
    assert fsstore("count", "--where", "status=failed").out == "83\n"
    assert fsstore("count", "--filter", '{"$nor": [{"status": "failed"}]}').out == "167\n"


@pytest.mark.parametrize(
    "arguments",
    [
        ["--where", "a==1"],
        ["--where", ""],
        ["--where", "name~("],
        ["--filter", "{"],
        ["--filter", "[]"],
        ["--filter", '{"a": {"$gte": null}}'],
        ["--filter", '{"$ro": [{}]}'],
        ["--filter", "[" * 100_000],
        ["--where", "a~" + "(" * 5000],
    ],
)
@pytest.mark.parametrize("command", ["ls", "count", "export", "rm"])
def test_a_filter_that_can_not_be_understood_is_refused(fsstore: Run, command: str, arguments: list[str]) -> None:
    fsstore("init")
    result = fsstore(command, *arguments)
    assert (result.code, result.out) == (2, "")
    assert result.err.startswith("fsstore: error: ")


@pytest.mark.parametrize(
    "arguments", [["--limit", "-1"], ["--offset", "x"], ["--format", "xml"], ["--sort", "$a"], ["--sort", ""]]
)
def test_options_of_ls_out_of_range_are_refused(fsstore: Run, arguments: list[str]) -> None:
    fsstore("init")
    assert fsstore("ls", *arguments).code == 2


def test_a_table_is_separated_by_tabs_where_it_is_piped(fsstore: Run, save: Save) -> None:
    save("a", status="new", user_id="ann", tags=["x", "y"])
    header, row = fsstore("ls").out.splitlines()
    assert header.split("\t") == ["id", "status", "user", "tags", "updated"]
    assert row.split("\t")[:4] == ["a", "new", "ann", "x, y"]


def test_a_table_leaves_out_columns_in_which_nothing_stands(fsstore: Run, save: Save) -> None:
    fsstore("init")
    assert fsstore("ls").out == "id\tstatus\tuser\ttags\tupdated\n"
    save("a")
    assert fsstore("ls").out.splitlines()[0] == "id\tupdated"


def test_a_table_shows_times_short(fsstore: Run, tmp_path: Path) -> None:
    session = {
        "metadata": {"session_id": "a", "created_at": "2020-01-01T00:00:00Z", "updated_at": "2020-02-03T04:05:06Z"}
    }
    (tmp_path / "old.jsonl").write_text(json.dumps(session))
    fsstore("import", tmp_path / "old.jsonl")
    assert fsstore("ls").out.splitlines()[1] == "a\t2020-02-03"


def test_hostile_metadata_can_not_break_the_table(fsstore: Run, save: Save) -> None:
    save("a", status="x\ny\tz", user_id={"no": "string"}, tags=[1, None, "\x1b[31mred\u202e\x9b"])
    row = fsstore("ls").out.splitlines()[1].split("\t")
    assert row[:4] == ["a", "x\\ny\\tz", '{"no":"string"}', "1, , \\x1b[31mred\\u202e\\x9b"]


def test_times_are_compared_as_instants_however_they_are_written(fsstore: Run, tmp_path: Path) -> None:
    written = {
        "a": "2026-01-05T10:00:00Z",
        "b": "2026-01-05T15:30:00.5+05:30",
        "c": "20260105T100001Z",
        "d": "2027-01-01T00:00:00+00:00",
    }
    sessions = [
        {"metadata": {"session_id": name, "created_at": value, "updated_at": value}} for name, value in written.items()
    ]
    (tmp_path / "times.jsonl").write_text(lines(sessions))
    assert fsstore("import", tmp_path / "times.jsonl", "--quiet").code == 0

    def found(*arguments: str) -> list[str]:
        return str(fsstore("ls", "--format", "ids", *arguments).out).split()

    assert found() == [*"dcba"]
    assert found("--sort", "created_at") == [*"abcd"]
    assert found("--where", "updated_at>=2026-01", "--where", "updated_at<2026-12") == [*"cba"]
    assert found("--where", "updated_at>=2026") == [*"dcba"]
    assert found("--where", "created_at>2026-01-05T10:00:00+00:00", "--where", "created_at<2026-02") == [*"cb"]
    assert found("--where", "created_at=2026-01-05T11:00:00.5+01:00") == ["b"]
    assert found("--where", "created_at!=2026-01-05T10:00Z") == [*"dcb"]
    refused = fsstore("ls", "--where", "updated_at>yesterday")
    assert refused.code == 2
    assert "must be an ISO 8601 time" in refused.err


# -- files that were edited by hand -----------------------------------------------------------------------------------


def by_hand(store: Path, session_id: str, edit: Callable[[dict[str, Any]], None]) -> None:
    """Change the file of a session as a person would."""
    (path,) = store.glob(f"??/{session_id}.json")
    record = json.loads(path.read_text())
    edit(record)
    path.write_text(json.dumps(record))


def without_id(record: dict[str, Any]) -> None:
    del record["data"]["metadata"]["session_id"]


def of_another(record: dict[str, Any]) -> None:
    record["session_id"] = record["data"]["metadata"]["session_id"] = "other"


def without_metadata(record: dict[str, Any]) -> None:
    del record["data"]["metadata"]


def with_a_list_for_metadata(record: dict[str, Any]) -> None:
    record["data"]["metadata"] = ["no", "object"]


@pytest.mark.parametrize(
    "edit", [without_id, of_another, without_metadata, with_a_list_for_metadata], ids=lambda edit: edit.__name__
)
def test_a_session_that_was_edited_by_hand_has_the_id_of_its_record(
    fsstore: Run, save: Save, store: Path, edit: Callable[[dict[str, Any]], None]
) -> None:
    for session_id in ("a", "b", "other"):
        save(session_id, status="x")
    by_hand(store, "b", edit)
    assert sorted(fsstore("ls", "--format", "ids").out.split()) == ["a", "b", "other"]
    assert sorted(line.split("\t")[0] for line in fsstore("ls").out.splitlines()[1:]) == ["a", "b", "other"]
    assert fsstore("ls", "--format", "ids", "--where", "session_id=b").out == "b\n"
    assert fsstore("ls", "--format", "ids", "--where", "session_id=other").out == "other\n"
    assert fsstore("ls", "--format", "ids", "--sort", "session_id").out.split() == ["a", "b", "other"]
    if edit is not with_a_list_for_metadata:
        for form in ("json", "jsonl"):
            out = fsstore("ls", "--format", form, "--where", "session_id=b").out
            (session,) = json.loads(out) if form == "json" else [json.loads(out)]
            assert session["metadata"]["session_id"] == "b"
        assert fsstore("get", "b").json()["metadata"]["session_id"] == "b"
    assert fsstore("verify").code == 0


@pytest.mark.parametrize("edit", [without_id, of_another], ids=lambda edit: edit.__name__)
def test_removing_by_a_filter_removes_what_was_edited_by_hand_and_nothing_else(
    fsstore: Run, save: Save, store: Path, edit: Callable[[dict[str, Any]], None]
) -> None:
    save("b", status="old")
    save("other", status="new")
    by_hand(store, "b", edit)
    result = fsstore("rm", "--where", "status=old", "--yes")
    assert (result.code, result.err) == (0, "fsstore: 1 session removed\n")
    assert fsstore("ls", "--format", "ids").out == "other\n"


# -- what cannot be read ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["table", "ids", "json", "jsonl"])
def test_a_list_names_what_it_leaves_out_every_time(fsstore: Run, save: Save, store: Path, form: str) -> None:
    for session_id in ("a", "b", "c"):
        save(session_id)
    (path,) = store.glob("??/b.json")
    path.write_text("{")
    for _ in range(3):
        result = fsstore("ls", "--format", form)
        assert result.code == 0
        assert result.err == (
            f"fsstore: 1 file cannot be read and is left out: {path.parent.name}/b.json; fsstore health says why\n"
        )
    path.unlink()
    assert fsstore("ls", "--format", form).err == ""


@pytest.mark.parametrize("command", [["count"], ["stats"], ["rm", "--where", "status=x", "--yes"]])
def test_whatever_looks_at_many_sessions_names_what_it_leaves_out(
    fsstore: Run, save: Save, store: Path, command: list[str]
) -> None:
    for number in range(14):
        save(f"s{number}", status="x")
    paths = sorted(store.glob("??/s?.json"))
    for path in paths:
        path.write_text("{")
    result = fsstore(*command)
    assert result.code == 0
    assert "10 files cannot be read and are left out" in result.err
    assert f"{paths[0].parent.name}/{paths[0].name}" in result.err
    assert "and 5 more" in result.err


def test_an_order_that_is_none_is_refused_in_the_words_of_the_command_line(fsstore: Run) -> None:
    result = fsstore("ls", "--sort", "updated_at desc")

    assert (result.code, result.out) == (2, "")
    assert result.err.endswith(
        "error: --sort: must be one key, not 'updated_at desc'; "
        "write - before the key for descending: --sort -updated_at\n"
    )


def test_records_of_another_type_are_listed_when_they_are_asked_for(fsstore: Run, store: Path) -> None:
    with sync.open_storage(store) as storage:
        for step, source in enumerate(("input", "loop", "loop")):
            metadata = {"source": source, "step": step}
            storage.save({"id": f"t/{step}", "type": "langgraph.checkpoint", "data": {"metadata": metadata}})
    asked = ("ls", "--type", "langgraph.checkpoint")
    assert fsstore("ls", "--format", "ids").out == ""
    assert fsstore(*asked, "--format", "ids", "--sort", "step").out == "t/0\nt/1\nt/2\n"
    assert fsstore(*asked, "--format", "ids", "--where", "source=loop", "--where", "step>=2").out == "t/2\n"
    assert fsstore(*asked, "--limit", "1", "--sort", "-session_id").out.splitlines()[1].startswith("t/2")
    (record,) = json.loads(fsstore(*asked, "--format", "json", "--where", "source=input").out)
    assert (record["id"], record["data"]["metadata"]["step"]) == ("t/0", 0)
    refused = fsstore(*asked, "--filter", '{"step": {"$gtt": 1}}')
    assert (refused.code, "$gt" in refused.err) == (2, True)
    refused = fsstore(*asked, "--format", "json", "--field", "step")
    assert (refused.code, "either --type or --field" in refused.err) == (2, True)
