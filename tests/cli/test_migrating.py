from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from fsstore.cli import main
from tests.cli.conftest import Run

Save = Callable[..., None]


def test_a_migration_says_what_it_has_copied_and_that_both_are_the_same(
    fsstore: Run, save: Save, store: Path, tmp_path: Path
) -> None:
    save("a")
    save("b", status="open")
    target = tmp_path / "target"

    result = fsstore("migrate", store, target)

    assert (result.code, result.out) == (0, "")
    assert result.err.startswith("fsstore: copied 2 records; both stores hold the same 2 records (")
    assert "SHA-256 " in result.err
    assert fsstore("get", "b", "--store", target).json() == fsstore("get", "b").json()
    again = fsstore("migrate", store, target.as_uri()).err
    assert again.startswith("fsstore: copied 0 records, 2 were there before; both stores hold the same 2 records")
    assert fsstore("migrate", store, target, "--quiet", "--no-fsync") == (0, "", "")


def test_a_target_with_sessions_of_its_own_is_a_conflict_and_keeps_them(
    fsstore: Run, save: Save, store: Path, tmp_path: Path
) -> None:
    save("mine")
    assert fsstore("migrate", store, tmp_path / "target", "-q").code == 0
    fsstore("rm", "mine")
    save("yours")

    result = fsstore("migrate", store, tmp_path / "target")

    assert result.code == 3
    assert "mine" in result.err
    assert "the source has none" in result.err
    assert fsstore("ls", "--format", "ids", "--store", tmp_path / "target").out == "mine\n"


def test_what_cannot_be_read_is_named_and_the_rest_goes_over(
    fsstore: Run, save: Save, store: Path, tmp_path: Path
) -> None:
    save("a")
    save("b")
    (damaged,) = store.rglob("a.json")
    damaged.write_text("{")

    result = fsstore("migrate", store, tmp_path / "target", "-q")

    assert result.code == 4
    assert "1 file could not be read and did not go over: " in result.err
    assert fsstore("count", "--store", tmp_path / "target").out == "1\n"


@pytest.fixture
def in_its_folder(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(store.parent)


@pytest.mark.usefixtures("in_its_folder")
@pytest.mark.parametrize(
    ("source", "target", "said"),
    [
        ("memory:", "store", "SOURCE: a store in memory"),
        ("store", "memory:", "TARGET: a store in memory"),
        ("store", "store", "both are the same store"),
        ("store", "./store/../store", "both are the same store"),
        ("store", "nosuch://x", "there is no store of the scheme 'nosuch'"),
    ],
)
def test_stores_that_cannot_be_migrated_are_wrong_usage(
    fsstore: Run, save: Save, source: str, target: str, said: str
) -> None:
    save("a")

    result = fsstore("migrate", source, target)

    assert result.code == 2
    assert said in result.err


def test_a_source_that_is_not_there_is_unavailable_and_no_target_is_made(fsstore: Run, tmp_path: Path) -> None:
    assert fsstore("migrate", tmp_path / "absent", tmp_path / "target").code == 5
    assert not (tmp_path / "absent").exists()
    assert not (tmp_path / "target").exists()


def test_a_bar_moves_to_its_end(save: Save, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[int, int | None]] = []

    @contextmanager
    def bar(*_: object, **__: object) -> Iterator[Callable[[int, int | None], None]]:
        yield lambda done, total: seen.append((done, total))

    save("a")
    save("b")
    monkeypatch.setattr("fsstore.cli.migrating.bar", bar)
    monkeypatch.setattr("fsstore.cli.migrating.is_shown", lambda **_: True)

    assert main(["migrate", str(store), str(tmp_path / "target"), "-q"]) == 0
    assert seen[-1] == (4, 4)
