import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from fsstore.filesystem.documents import documents
from tests.cli.conftest import Run, Terminal

Save = Callable[..., None]
LONG_AGO = 1_700_000_000


@pytest.fixture
def torn(fsstore: Run, save: Save, store: Path) -> Path:
    """Return the torn one of three sessions that are indexed."""
    for number in range(3):
        save(f"s{number}", status="done")
    assert fsstore("count").out == "3\n"
    (path,) = store.glob("??/s1.json")
    path.write_text("{")
    # or a repair would wait for whoever is writing it
    os.utime(path, (LONG_AGO, LONG_AGO))
    return path


def test_a_clean_store_is_told_to_be_one(fsstore: Run, save: Save) -> None:
    save("a")
    fsstore("count")
    for arguments in (["verify"], ["verify", "--hash"]):
        result = fsstore(*arguments)
        assert result.code == 0
        assert result.err == ""
        lines = result.out.splitlines()
        assert lines[:2] == ["clean\tyes", "documents\t1"]
        assert lines[-2:] == ["damage\t0", "notes\t0"]


def test_damage_is_told_and_ends_with_4(fsstore: Run, torn: Path) -> None:
    result = fsstore("verify")
    assert result.code == 4
    assert "clean\tno\n" in result.out
    header, finding = result.out.splitlines()[-2:]
    assert header == "damage\tfile\treason"
    assert finding.startswith(f"unreadable\t{torn.parent.name}/s1.json\t")
    result = fsstore("verify", "--format", "json")
    assert result.code == 4
    assert result.json()["counts"]["unreadable"] == 1
    assert torn.read_text() == "{"


def test_notes_alone_end_with_0(fsstore: Run, save: Save, store: Path) -> None:
    save("a", status="new")
    fsstore("count")
    (path,) = store.glob("??/a.json")
    path.write_text(path.read_text().replace('"new"', '"by hand"'))
    result = fsstore("verify")
    assert result.code == 0
    assert result.out.splitlines()[-1].startswith(f"outdated\t{path.parent.name}/a.json\t")
    report = fsstore("verify", "--hash", "--format", "json").json()
    assert (report["clean"], report["hashed"]) == (True, True)
    assert [(finding["kind"], finding["damage"]) for finding in report["findings"]] == [("outdated", False)]


def test_a_repair_sets_aside_and_leaves_a_clean_store(fsstore: Run, torn: Path, store: Path) -> None:
    result = fsstore("repair")
    assert result.code == 0
    assert "moved\t1\n" in result.out
    assert f"\n{torn.parent.name}/s1.json\t.fsstore/quarantine/" in result.out
    (aside,) = (store / ".fsstore/quarantine").iterdir()
    assert aside.read_text() == "{"
    assert fsstore("verify", "--hash").code == 0
    assert fsstore("count").out == "2\n"
    report = fsstore("repair", "--format", "json").json()
    assert report == {"moved": [], "altered": [], "left": [], "indexed": 2}
    assert aside.exists()


def test_a_repair_that_leaves_damage_ends_with_4(fsstore: Run, store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fsstore("init")
    (store / "fsstore.json").write_text('{"format": 1, "shard_depth": 1, "max_bytes": 1000}')
    monkeypatch.setattr(documents, "READ_BYTES", 1000)
    large = json.dumps({"id": "large", "data": "x" * 2000})
    (store / "00").mkdir(exist_ok=True)
    (store / "00/large.json").write_text(large)
    result = fsstore("repair")
    assert result.code == 4
    assert "left\t1\n" in result.out
    assert "\ntoo large\t00/large.json\t" in result.out
    assert (store / "00/large.json").read_text() == large


@pytest.mark.parametrize("name", ["verify", "repair"])
def test_a_store_without_files_says_so(fsstore: Run, name: str) -> None:
    result = fsstore(name, "--store", "memory:")
    assert result.code == 2
    assert result.err == (f"fsstore: error: store: this store cannot {name}: it keeps no files; name a directory\n")


def test_a_damaged_marker_is_told_and_ends_with_4(fsstore: Run, save: Save, store: Path) -> None:
    save("a")
    (store / "fsstore.json").write_text('{"format": 1')
    for name in ("verify", "repair"):
        result = fsstore(name)
        assert result.code == 4
        assert "fsstore.json" in result.err


@pytest.mark.usefixtures("torn")
def test_a_terminal_shows_a_bar_and_what_was_found() -> None:
    code, shown = Terminal("verify").finish()
    assert code == 4
    assert "verifying" in shown
    assert "━" in shown
    assert "unreadable" in shown
    code, shown = Terminal("verify", "--quiet").finish()
    assert (code, "verifying" in shown) == (4, False)
    code, shown = Terminal("repair").finish()
    assert code == 0
    assert "repairing" in shown


@pytest.mark.parametrize("command", ["ls", "health", "verify", "repair"])
def test_a_damaged_marker_has_the_same_advice_at_every_command(
    fsstore: Run, save: Save, store: Path, command: str
) -> None:
    save("a")
    (store / "fsstore.json").write_text("{")
    result = fsstore(command)
    assert result.code == 4
    assert 'or write {"format": 1, "shard_depth": 1} into it' in result.err
    assert "fsstore repair" not in result.err
    assert (store / "fsstore.json").read_text() == "{"
