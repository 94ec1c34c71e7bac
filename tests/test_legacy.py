import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from fsstore import LegacySessionStoreAdapter, open_sessions
from fsstore.errors import StorageClosedError, StorageConflictError, StorageUnavailableError, StorageValidationError


@pytest.fixture(params=["memory", "files"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return "memory:" if request.param == "memory" else str(tmp_path / "store")


def left_behind(before: list[threading.Thread]) -> list[threading.Thread]:
    """Return the threads that were not there before, and do not end."""
    added = [thread for thread in threading.enumerate() if thread not in before]
    for thread in added:
        # one that is about to end is no leak
        thread.join(timeout=10)
    return [thread for thread in added if thread.is_alive()]


def use(url: str) -> None:
    """Go once through the whole old interface."""
    with LegacySessionStoreAdapter(url) as store:
        assert store.save_session("a", {"n": 1, "metadata": {"status": "open"}}) is True
        session = store.get_session("a")
        assert session is not None
        assert (session["n"], session["metadata"]["session_id"]) == (1, "a")
        assert store.session_exists("a") is True
        assert store.update_session("a", {"n": 2}) is True
        assert (store.get_session("a") or {})["n"] == 2
        assert store.batch_save_sessions({"b": {}, "c": {"metadata": {"status": "open"}}}) is True
        open_ones = store.list_sessions({"status": "open"})
        assert sorted(found["metadata"]["session_id"] for found in open_ones) == ["a", "c"]
        assert len(store.list_sessions(limit=2)) == 2
        assert store.delete_session("a") is True
        assert store.batch_delete_sessions(["b", "nobody"]) is True
        assert [found["metadata"]["session_id"] for found in store.list_sessions()] == ["c"]


def test_it_works_without_a_loop(url: str) -> None:
    use(url)


async def test_it_works_inside_a_running_loop(url: str) -> None:
    use(url)


async def test_it_works_from_a_thread_beside_a_running_loop(url: str) -> None:
    await asyncio.to_thread(use, url)


def test_it_works_before_and_after_a_loop_ran(tmp_path: Path) -> None:
    path = tmp_path / "store"

    async def look() -> int:
        async with open_sessions(path) as sessions:
            return await sessions.count_sessions()

    use(str(path))
    assert asyncio.run(look()) == 1
    use(str(path))
    assert asyncio.run(look()) == 1


def test_it_may_be_shared_by_many_threads(url: str) -> None:
    with LegacySessionStoreAdapter(url) as store, ThreadPoolExecutor(8) as threads:
        store.save_session("shared", {})

        def work(number: int) -> None:
            store.save_session(f"own{number}", {"n": number})
            store.update_session("shared", {f"key{number}": number})

        list(threads.map(work, range(40)))

        shared = store.get_session("shared")
        assert shared is not None
        assert {key: shared[key] for key in shared if key != "metadata"} == {f"key{n}": n for n in range(40)}
        assert len(store.list_sessions()) == 41


def test_absence_is_no_error(url: str) -> None:
    with LegacySessionStoreAdapter(url) as store:
        assert store.get_session("nobody") is None
        assert store.session_exists("nobody") is False
        assert store.update_session("nobody", {"n": 1}) is False
        assert store.delete_session("nobody") is False
        assert store.batch_delete_sessions(["nobody"]) is True
        assert store.list_sessions() == []


def test_what_is_wrong_is_still_an_error(url: str) -> None:
    with LegacySessionStoreAdapter(url) as store:
        with pytest.raises(StorageValidationError):
            store.save_session("a", {"n": float("nan")})
        with pytest.raises(StorageValidationError):
            store.get_session("")
        with pytest.raises(StorageValidationError):
            store.list_sessions({"$what": 1})
        assert store.list_sessions() == []


def test_a_record_of_another_type_is_not_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "store"

    async def prepare() -> None:
        async with open_sessions(path) as sessions:
            await sessions.storage.save({"id": "a", "type": "note"})

    asyncio.run(prepare())
    with LegacySessionStoreAdapter(path) as store, pytest.raises(StorageConflictError):
        store.save_session("a", {})


def test_closing_ends_the_private_thread_and_its_loop(url: str) -> None:
    before = threading.enumerate()

    store = LegacySessionStoreAdapter(url)
    store.save_session("a", {})
    store.list_sessions()
    # a store in memory needs no thread
    assert bool(set(threading.enumerate()) - set(before)) is (url != "memory:")
    store.close()
    store.close()

    assert left_behind(before) == []


def test_every_call_is_refused_after_close(url: str) -> None:
    store = LegacySessionStoreAdapter(url)
    store.close()

    for call in (
        lambda: store.save_session("a", {}),
        lambda: store.get_session("a"),
        lambda: store.session_exists("a"),
        lambda: store.update_session("a", {}),
        lambda: store.delete_session("a"),
        store.list_sessions,
        lambda: store.batch_save_sessions({"a": {}}),
        lambda: store.batch_delete_sessions(["a"]),
    ):
        with pytest.raises(StorageClosedError) as caught:
            call()
        assert caught.value.path == url


def test_a_store_that_can_not_be_opened_leaves_no_thread_behind(tmp_path: Path) -> None:
    before = threading.enumerate()

    with pytest.raises(StorageUnavailableError):
        LegacySessionStoreAdapter(tmp_path / "store", create=False)
    with pytest.raises(StorageValidationError):
        LegacySessionStoreAdapter("redis://localhost")

    assert left_behind(before) == []


def test_a_block_left_by_an_exception_closes_the_store(url: str) -> None:
    before = threading.enumerate()

    with pytest.raises(ZeroDivisionError), LegacySessionStoreAdapter(url):
        raise ZeroDivisionError

    assert left_behind(before) == []


def test_one_id_is_not_taken_for_the_ids_of_its_letters(url: str) -> None:
    with LegacySessionStoreAdapter(url) as store:
        store.batch_save_sessions({"a": {}, "b": {}})

        with pytest.raises(StorageValidationError, match="one id, not several"):
            store.batch_delete_sessions("ab")

        assert store.session_exists("a")
        assert store.session_exists("b")
