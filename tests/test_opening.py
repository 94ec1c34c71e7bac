import getpass
import inspect
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypedDict

import pytest

from fsstore import MemoryStorage, SessionService, open_sessions, open_storage
from fsstore.errors import StorageClosedError, StorageUnavailableError, StorageValidationError
from fsstore.filesystem.storage import FileStorage
from fsstore.interfaces import IUnifiedStorage
from fsstore.legacy import LegacySessionStoreAdapter
from fsstore.opening import SCHEMES, Scheme
from fsstore.options import FileOptions, MemoryOptions
from fsstore.paths import path_of
from fsstore.testing import HandClock


def entries(directory: Path) -> list[str]:
    return [entry.name for entry in directory.iterdir()]


async def test_a_store_is_opened_by_await_and_closed_by_hand() -> None:
    storage = await open_storage("memory:")
    assert await storage.save({"id": "a"}) == "a"

    await storage.close()

    with pytest.raises(StorageClosedError):
        await storage.load("a")


async def test_a_store_is_closed_at_the_end_of_its_block() -> None:
    async with open_storage("memory:") as storage:
        await storage.save({"id": "a"})
    with pytest.raises(StorageClosedError):
        await storage.load("a")

    async with open_sessions("memory:") as sessions:
        await sessions.save_session("a", {})
    with pytest.raises(StorageClosedError):
        await sessions.get_session("a")


async def test_a_block_that_is_left_by_an_exception_closes_the_store() -> None:
    opened: list[IUnifiedStorage] = []

    async def leave() -> None:
        async with open_storage("memory:") as storage:
            opened.append(storage)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await leave()

    with pytest.raises(StorageClosedError):
        await opened[0].load("a")


async def test_sessions_are_a_service_on_the_storage() -> None:
    async with open_sessions("memory:") as sessions:
        assert isinstance(sessions, SessionService)
        await sessions.save_session("a", {})
        assert (await sessions.storage.load("a") or {})["type"] == "session"


@pytest.mark.parametrize("url", ["memory:", "memory:/", "memory://"])
async def test_every_way_to_write_the_memory_store(url: str) -> None:
    async with open_storage(url) as storage:
        assert isinstance(storage, MemoryStorage)


async def test_options_reach_the_backend(tmp_path: Path) -> None:
    clock = HandClock()

    for url in ("memory:", str(tmp_path / "store")):
        async with open_storage(url, clock=clock) as storage:
            await storage.save({"id": "a"})
            assert (await storage.load("a") or {})["created_at"] == clock.text


SPELLINGS: dict[str, Callable[[Path], str | Path]] = {
    "a path": lambda path: path,
    "text": str,
    "a relative path": os.path.relpath,
    "a url": lambda path: path.as_uri(),
    "a url with the name of this machine": lambda path: path.as_uri().replace("file://", "file://localhost"),
}


@pytest.mark.parametrize("spelling", SPELLINGS)
@pytest.mark.parametrize("name", ["store", "my store", "größe", "a%20b", "a#b?c", "a:b"])
async def test_every_way_to_write_a_path_finds_the_same_directory(tmp_path: Path, name: str, spelling: str) -> None:
    path = tmp_path / name
    async with open_storage(path, fsync=False) as storage:
        await storage.save({"id": "a"})

    async with open_storage(SPELLINGS[spelling](path), create=False) as storage:
        assert await storage.exists("a")


async def test_a_scheme_may_stand_before_a_plain_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    async with open_storage("file:my store", fsync=False) as storage:
        await storage.save({"id": "a"})

    absolute = [f"file:{tmp_path}/my%20store", f"file:{tmp_path}/my store", f"file://{tmp_path}/my store"]
    for url in (*absolute, "file:./my store"):
        async with open_storage(url, create=False) as storage:
            assert await storage.exists("a")


@pytest.mark.parametrize("tail", ["?mode=ro", "#part"])
async def test_a_url_with_a_query_or_a_fragment_does_not_open_another_directory(tmp_path: Path, tail: str) -> None:
    with pytest.raises(StorageValidationError):
        await open_storage(f"file://{tmp_path}/store{tail}")

    assert entries(tmp_path) == []


@pytest.mark.parametrize(
    "url",
    ["", "file:", "file://", "redis://localhost", "sqlite:x.db", "memory:name", "memory://host/x", "file://host/share"],
)
async def test_a_url_of_no_store_is_refused(url: str) -> None:
    with pytest.raises(StorageValidationError) as caught:
        await open_storage(url)

    assert caught.value.path == "url"


@pytest.mark.parametrize("url", ["memory:", "store"])
async def test_an_unknown_option_is_refused(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    with pytest.raises(StorageValidationError, match="no_such_option"):
        await open_storage(url, no_such_option=1)

    assert entries(tmp_path) == []


@pytest.mark.parametrize("url", ["memory:", "store"])
@pytest.mark.parametrize("opening", [open_storage, open_sessions])
async def test_an_option_of_another_type_is_refused_at_opening(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, opening: Any
) -> None:
    monkeypatch.chdir(tmp_path)

    for option, given in (("clock", 3), ("clock", None), ("create", None), ("live", "no"), ("polling", 1)):
        with pytest.raises(StorageValidationError) as caught:
            await opening(url, **{option: given})
        assert caught.value.path == option
    assert entries(tmp_path) == []


async def test_nothing_is_opened_before_it_is_awaited(tmp_path: Path) -> None:
    open_sessions(tmp_path / "store")
    open_storage("redis://localhost")

    assert entries(tmp_path) == []


async def test_a_store_that_must_exist_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(StorageUnavailableError):
        await open_sessions(tmp_path / "store", create=False)

    assert entries(tmp_path) == []


@pytest.mark.skipif(sys.platform == "win32", reason="there a letter and a colon are a drive")
async def test_a_single_letter_before_a_colon_belongs_to_the_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    async with open_storage("c:store", fsync=False) as storage:
        await storage.save({"id": "a"})

    assert entries(tmp_path) == ["c:store"]


# -- what is no path --------------------------------------------------------------------------------------------------

SECRETS = ("hunter2", "admin")
FOREIGN_URLS = {
    "s3://bucket/hunter2": "s3",
    "postgresql+asyncpg://admin:hunter2@host/db": "postgresql+asyncpg",
    "mysql://admin:hunter2@host/db": "mysql",
    "sqlite+aiosqlite:///hunter2.db": "sqlite+aiosqlite",
    "sqlite+aiosqlite:hunter2.db": "sqlite+aiosqlite",
    "SQLITE:///hunter2.db": "sqlite",
    "redis://:hunter2@localhost:6379/0": "redis",
    "rediss+sentinel.v2://admin:hunter2@host": "rediss+sentinel.v2",
    "redis:hunter2": "redis",
    "jdbc:postgresql://host/db?user=admin&password=hunter2": "jdbc",
    "https://host/store?token=hunter2#admin": "https",
    "h2://hunter2": "h2",
    "c://hunter2": "c",
    "X-Y.z+1://hunter2": "x-y.z+1",
    " s3://bucket/hunter2": "s3",
    "\ts3://bucket/hunter2\n": "s3",
    "'postgresql+psycopg://admin:hunter2@host/db'": "",
    '"postgresql+psycopg://admin:hunter2@host/db"': "",
    "url=s3://bucket/hunter2": "",
    "://admin:hunter2@host": "",
    "1st://hunter2": "",
    "~://hunter2": "",
    "memory+x://hunter2": "memory+x",
    "file+x://hunter2": "file+x",
}


def told(error: BaseException) -> str:
    """Return everything that an error, and what caused it, says or carries."""
    causes = [cause for cause in (error.__cause__, error.__context__) if cause is not None]
    return " ".join([str(error), repr(error), repr(error.args), repr(vars(error)), *map(told, causes)])


@pytest.mark.parametrize("url", FOREIGN_URLS)
async def test_a_url_of_another_system_is_refused_without_its_secrets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    monkeypatch.chdir(tmp_path)
    openings: list[Any] = [open_storage(url), open_sessions(url)]
    if "://" in url:
        openings.append(FileStorage.open(url))
    for opening in openings:
        with pytest.raises(StorageValidationError) as caught:
            await opening
        assert not [secret for secret in SECRETS if secret in told(caught.value)]
    with pytest.raises(StorageValidationError) as caught, LegacySessionStoreAdapter(url):
        pass
    assert not [secret for secret in SECRETS if secret in told(caught.value)]
    with pytest.raises(StorageValidationError, match="file: or memory:") as caught:
        await open_storage(url)
    assert repr(FOREIGN_URLS[url]) in str(caught.value) or not FOREIGN_URLS[url]
    assert entries(tmp_path) == []


@pytest.mark.parametrize(
    "url",
    [
        "file://admin:hunter2@host/store",
        "file://host/store?password=hunter2",
        "file:///store?password=hunter2",
        "file:///store#hunter2",
        "file://[hunter2/store",
        "file:postgresql://admin:hunter2@host",
        "memory:hunter2",
        "memory://admin:hunter2@host",
        "MEMORY:///hunter2",
    ],
)
async def test_a_url_of_our_own_that_is_wrong_is_refused_without_its_secrets(url: str) -> None:
    with pytest.raises(StorageValidationError) as caught:
        await open_storage(url)

    assert not [secret for secret in SECRETS if secret in told(caught.value)]


@pytest.mark.parametrize("url", ["Memory:", "MEMORY://", "memory:///", " memory://"])
async def test_the_case_of_a_scheme_makes_no_difference_for_memory(url: str) -> None:
    async with open_storage(url) as storage:
        assert isinstance(storage, MemoryStorage)


@pytest.mark.parametrize("scheme", ["FILE://", "File:", "file://LOCALHOST", " file://"])
async def test_the_case_of_a_scheme_makes_no_difference_for_files(tmp_path: Path, scheme: str) -> None:
    async with open_storage(f"{scheme}{tmp_path}/store", fsync=False):
        pass

    assert entries(tmp_path) == ["store"]


PATHS = {
    "./a://b": "a:/b",
    "x/a://b": "x/a:/b",
    "./s3://u:pw@h": "s3:/u:pw@h",
    ".\\a://b": ".\\a:/b",
    "run-12:30": "run-12:30",
    "2026-01-01T10:00:00+01:00": "2026-01-01T10:00:00+01:00",
    "C:\\x": "C:\\x",
    "C:/x": "C:/x",
    "a.b:c": "a.b:c",
    "./~": "~",
    "./~/x": "~/x",
    "x/~": "x/~",
    "a~": "a~",
    "file:relative": "relative",
    "file:a%3A//b": "a:/b",
    "file:a%7Eb": "a~b",
    "file:tab%09and%0Aline": "tab\tand\nline",
    "file:tab\tand\nline": "tab\tand\nline",
    "file:%FF": os.fsdecode(b"\xff"),
}
"""What is a path, and what of it is made below the current directory."""


@pytest.mark.skipif(sys.platform == "win32", reason="there some of these characters are in no name")
@pytest.mark.parametrize("url", PATHS)
async def test_what_is_a_path_stays_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    made = tmp_path / "work" / PATHS[url]
    made.parent.mkdir(parents=True, exist_ok=True)

    async with open_storage(url, fsync=False) as storage:
        await storage.save({"id": "a"})

    assert (made / "fsstore.json").exists()
    assert entries(tmp_path / "home") == []


class Named:
    """A path object of somebody's own."""

    def __init__(self, path: str | bytes) -> None:
        self.path = path

    def __fspath__(self) -> str | bytes:
        return self.path


@pytest.mark.parametrize("given", [Path("s3://bucket"), Path("file:x"), Named("s3://bucket"), Named(b"memory:")])
async def test_a_path_object_is_never_a_url(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: Any) -> None:
    monkeypatch.chdir(tmp_path)
    made = tmp_path / os.fsdecode(given)
    made.parent.mkdir(exist_ok=True)

    async with open_storage(given, fsync=False):
        pass

    assert (made / "fsstore.json").exists()


@pytest.mark.parametrize(
    "given",
    ["", " ", "\n\t", "a\0b", "file:a%00b", "file:%20", None, 7, b"bytes", ["list"], "a\ud800b", Named("")],
)
async def test_what_names_nothing_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: Any) -> None:
    monkeypatch.chdir(tmp_path)
    for opening in (open_storage(given), open_sessions(given)):
        with pytest.raises(StorageValidationError) as caught:
            await opening
        assert caught.value.path == "url"
        assert caught.value.advice
    assert entries(tmp_path) == []


# -- the home ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "given",
    [
        *("~", "~/x", "~/x/", "~/größe", "~/a://b", "~//x", "file:~/x", "file://~/x", "FILE:~", "file:%7E/x"),
        *(Path("~"), Path("~/x"), Named("~/x"), Named(b"~/x")),
    ],
)
async def test_a_tilde_is_the_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: Any) -> None:
    (tmp_path / "home/a:").mkdir(parents=True)
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))

    async with open_storage(given, fsync=False):
        pass

    (marker,) = (tmp_path / "home").rglob("fsstore.json")
    assert "~" not in str(marker.relative_to(tmp_path))
    assert entries(tmp_path / "work") == []


async def test_the_engine_itself_knows_the_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    for given in ("~/text", Path("~/object")):
        await (await FileStorage.open(given, fsync=False)).close()

    assert sorted(entries(tmp_path)) == ["object", "text"]


async def test_the_home_of_another_user_is_found() -> None:
    pwd = pytest.importorskip("pwd")
    user = getpass.getuser()

    assert path_of(f"~{user}/x") == f"{pwd.getpwnam(user).pw_dir}/x"


@pytest.mark.parametrize(
    "given",
    [
        "~nobody-of-that-name",
        "~nobody-of-that-name/x",
        "file:~nobody-of-that-name/x",
        "file:///~/x",
        Path("~nobody-of-that-name"),
    ],
)
async def test_a_home_that_is_not_there_is_no_directory_of_that_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(StorageValidationError, match="~"):
        await open_storage(given)

    assert entries(tmp_path) == []


async def test_a_current_directory_that_is_gone_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    with pytest.raises(StorageUnavailableError, match="current directory was removed"):
        await open_storage("store")


async def test_an_option_does_not_replace_the_path(tmp_path: Path) -> None:
    with pytest.raises(StorageValidationError, match="path"):
        await open_storage(tmp_path / "store", path=tmp_path / "other")

    assert entries(tmp_path) == []


# -- options ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "option", "nearest"),
    [
        ("store", "fsnyc", "fsync"),
        ("file:store", "Fsync", "fsync"),
        ("store", "shard-depth", "shard_depth"),
        ("store", "timeout_seconds", "lock_timeout_seconds"),
        ("store", "network", "allow_network"),
        ("memory:", "clocks", "clock"),
    ],
)
async def test_a_wrong_option_names_the_nearest_right_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, url: str, option: str, nearest: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(StorageValidationError) as caught:
        await open_sessions(url, **{option: 1})

    assert caught.value.path == "options"
    assert caught.value.reason == f"unknown option {option!r}, the nearest is {nearest!r}"
    assert entries(tmp_path) == []


async def test_every_wrong_option_is_reported_at_once_with_all_that_there_are(tmp_path: Path) -> None:
    with pytest.raises(StorageValidationError) as caught:
        await open_storage(tmp_path / "store", fsnyc=False, create=True, qqq=1)
    assert str(caught.value) == (
        "options: unknown option 'fsnyc', the nearest is 'fsync', and unknown option 'qqq'; options of file: are "
        "allow_network, clock, create, file_mode, fsync, live, lock_timeout_seconds, max_bytes, polling, read_only, "
        "reconcile, shard_depth"
    )

    with pytest.raises(StorageValidationError) as caught:
        await open_storage("memory:", fsync=False)
    assert str(caught.value) == "options: unknown option 'fsync'; options of memory: are clock, create, live, polling"


async def test_a_store_in_memory_takes_what_has_no_meaning_there() -> None:
    async with open_storage("memory:", create=False, live=True, polling=True) as storage:
        assert await storage.save({"id": "a"}) == "a"


def test_the_table_has_the_options_of_each_backend_with_their_types() -> None:
    of_files = inspect.signature(FileStorage.open).parameters.values()
    of_memory = inspect.signature(MemoryStorage).parameters.values()

    assert annotations_of(FileOptions) == {
        option.name: option.annotation for option in of_files if option.kind is option.KEYWORD_ONLY
    }
    assert {option.name: option.annotation for option in of_memory}.items() <= annotations_of(MemoryOptions).items()


def annotations_of(options: type) -> dict[str, str]:
    return {name: reference.__forward_arg__ for name, reference in options.__annotations__.items()}


async def test_a_further_backend_is_one_more_row(monkeypatch: pytest.MonkeyPatch) -> None:
    class OddOptions(TypedDict, total=False):
        pool_size: int

    opened: list[tuple[str, OddOptions]] = []

    async def open_odd(place: str, options: OddOptions) -> IUnifiedStorage:
        opened.append((place, options))
        return MemoryStorage()

    row = Scheme("odd", OddOptions, str.upper, open_odd)
    monkeypatch.setattr("fsstore.opening.SCHEMES", {**SCHEMES, row.name: row})

    async with open_storage("odd://host/db", pool_size=3):
        assert opened == [("//HOST/DB", {"pool_size": 3})]
    with pytest.raises(StorageValidationError, match="the nearest is 'pool_size'; options of odd: are pool_size"):
        await open_storage("odd:", pool=3)
    with pytest.raises(StorageValidationError, match="file: or memory: or postgresql: or postgres: or odd:"):
        await open_storage("redis:")


def test_a_store_that_was_not_opened_says_how(tmp_path: Path) -> None:
    opening: Any = open_sessions(tmp_path / "store")

    with pytest.raises(AttributeError, match=r"no 'list_sessions'; write `async with open_sessions.*fsstore\.sync"):
        opening.list_sessions()
    with pytest.raises(TypeError, match=r"`async with`.*fsstore\.sync"), opening:
        pass
    assert not hasattr(opening, "__wrapped__")
    assert not (tmp_path / "store").exists()


async def test_a_file_where_the_store_would_be_is_answered_with_what_may_be_there(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")

    for path in (tmp_path / "file", tmp_path / "file" / "store"):
        with pytest.raises(StorageUnavailableError, match="name a directory: that of the store, or of a new one"):
            await open_sessions(path)
