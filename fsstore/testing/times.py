"""The contract of times: how they may be given, that they are instants, and that they never run backwards."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Iterator
from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any

import pytest

from fsstore.errors import StorageValidationError
from fsstore.interfaces import IUnifiedStorage
from fsstore.model.clock import HandClock
from fsstore.model.mutations import saving
from fsstore.model.records import JsonObject
from fsstore.testing.backend import BackendFixtures, refusal
from fsstore.testing.finding import ids_of, streamed_records

INDIA = timezone(timedelta(hours=5, minutes=30))
ZONES = ("UTC0", "EST5EDT,M3.2.0,M11.1.0")
"""Local zones, in the form that needs no data of the system's."""

MOMENT = "2026-01-05T10:15:00.500000+00:00"
SAME_MOMENT: tuple[Any, ...] = (
    MOMENT,
    datetime(2026, 1, 5, 10, 15, 0, 500_000, tzinfo=UTC),
    datetime(2026, 1, 5, 15, 45, 0, 500_000, tzinfo=INDIA),
    "2026-01-05T10:15:00.5Z",
    "2026-01-05T15:45:00,5+05:30",
    "20260105T101500.5Z",
    "2026-W02-1T10:15:00.5Z",
    "2026-005T10:15:00.500Z",
    "2026-01-05 10:15:00.5+00:00",
)
"""One instant, as it may be given."""

NO_TIMES: tuple[Any, ...] = (
    *("", "yesterday", "2026-13", "2026-02-30", "2026-366", "202601", "2026-01-05T10.5Z", "0001-01-01T00:00+14:00"),
    *("9999-12-31T23:59-01:00", "10:15", "2026-01-05T10:15:00+25:00"),
    *(5, 1_769_850_900.5, True, ["2026"], {"year": 2026}, date(2026, 1, 5), timedelta(1)),
    datetime(1, 1, 1, tzinfo=INDIA),
    datetime(9999, 12, 31, 23, tzinfo=timezone(timedelta(hours=-1))),
)
"""What is no instant that the store can hold."""

WRITTEN: dict[str, Any] = {
    "a": "2026-01-05T10:00:00Z",
    "b": "2026-01-05T15:30:00.5+05:30",
    "c": "2026-01-05T09:00:00.25-02:00",
    "d": "20260105T111500Z",
    "e": "2026-01-06",
    "f": "yesterday",
    "g": 5,
    "h": None,
    "i": ["2026-01-05T10:00:00.000Z", "soon"],
}
"""What programs write as a time into a document; "x" has none. The instants come first, in their order."""

TIME_FILTERS: dict[str, tuple[Any, str]] = {
    "the instant in another form": ("2026-01-05T10:00:00+00:00", "ai"),
    "the instant with another offset": ("2026-01-05T05:00:00.5-05:00", "b"),
    "a datetime": (datetime(2026, 1, 5, 16, 30, 0, 250_000, tzinfo=INDIA), "c"),
    "none": (None, "hx"),
    "$eq": ({"$eq": "2026-01-05T11:15Z"}, "d"),
    "$ne": ({"$ne": "2026-01-05T11:15Z"}, "abcefghix"),
    "$gt, half a second later": ({"$gt": "2026-01-05T10:00:00Z"}, "bcde"),
    "$gte": ({"$gte": "2026-01-05T10:00:00.500Z"}, "bcde"),
    "$lt": ({"$lt": "2026-01-05T11:00:00.25+00:00"}, "abi"),
    "$lte": ({"$lte": datetime(2026, 1, 5, 11, 0, 0, 250_000, tzinfo=UTC)}, "abci"),
    "a range": ({"$gt": "2026-01-05T10:00:00.1Z", "$lt": "20260105T110001Z"}, "bc"),
    "$in": ({"$in": ["2026-01-05T12:15+01:00", None, "2026-01-05T15:30+05:30"]}, "adhix"),
    "$nin": ({"$nin": ["2026-01-05T12:15+01:00", None]}, "abcefgi"),
    "$not": ({"$not": {"$gt": "2026-01-05T10:15Z"}}, "abfghix"),
    "$all": ({"$all": ["2026-01-05T10:00Z"]}, "ai"),
    "$exists": ({"$exists": False}, "x"),
    "$regex sees what is written": ({"$regex": r"Z$|^y"}, "adfi"),
    "less than a time is its first instant": ({"$gte": "2026", "$lt": "2027-01"}, "abcdei"),
}
"""Filters on such a time, and the ids that match."""

NO_OPERANDS: tuple[Any, ...] = (
    *("yesterday", 5, True, "", ["2026"], {"year": 2026}, datetime(1, 1, 1, tzinfo=INDIA)),
    *({"$gt": 5}, {"$lt": "soon"}, {"$gte": None}, {"$in": ["2026", "soon"]}, {"$nin": [5]}, {"$all": [1]}),
    *({"$ne": "soon"}, {"$eq": False}, {"$not": {"$lte": "tomorrow"}}, {"$lt": date(2026, 1, 5)}),
)
"""What a time cannot be compared with."""

ENVELOPE_PATHS = ("created_at", "updated_at")
METADATA_PATHS = ("data.metadata.created_at", "data.metadata.updated_at")


def naive_and_its_instant() -> tuple[datetime, str]:
    """Return a local time, and the instant that it is by the C library."""
    naive = datetime(2026, 7, 1, 12, 0, 0, 5)  # noqa: DTZ001 - that it is naive is the point
    seconds = time.mktime((2026, 7, 1, 12, 0, 0, 0, 0, -1))
    moment = datetime.fromtimestamp(seconds, UTC).replace(microsecond=5)
    return naive, moment.isoformat(timespec="microseconds")


class LocalZones:
    """A test with `local_zone` runs in two local zones, where the system lets a process have its own."""

    @pytest.fixture(params=ZONES)
    def local_zone(self, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
        """Set the local zone of the process."""
        set_zone = getattr(time, "tzset", lambda: None)
        with monkeypatch.context() as changed:
            changed.setenv("TZ", request.param)
            set_zone()
            yield request.param
        set_zone()


class TimeContract(LocalZones, BackendFixtures):
    """The times of records."""

    # -- given and kept -----------------------------------------------------------------------------------------------

    async def test_a_time_may_be_given_in_any_form_and_is_kept_as_the_instant(self, storage: IUnifiedStorage) -> None:
        for at, given in enumerate(SAME_MOMENT):
            records = [{"id": f"{how}{at}", "created_at": given, "updated_at": given} for how in "sbt"]
            await storage.save(records[0])
            await storage.batch_save(records[1:2])
            await storage.transaction([{"type": "save", "data": records[2]}])
            await storage.update(f"s{at}", {"updated_at": given, "created_at": given})

        found = await storage.list()

        assert len(found) == 3 * len(SAME_MOMENT)
        assert {record["created_at"] for record in found} == {MOMENT}
        assert await storage.count({"created_at": SAME_MOMENT[1]}) == len(found)

    async def test_a_time_without_an_offset_is_local_time(self, storage: IUnifiedStorage, local_zone: str) -> None:
        naive, instant = naive_and_its_instant()
        for record_id, given in (("a", naive), ("b", naive.isoformat())):
            await storage.save({"id": record_id, "type": local_zone, "created_at": given, "updated_at": given})
            await storage.update(record_id, {"updated_at": given})

        assert {record["created_at"] for record in await storage.list()} == {instant}
        for operand in (naive, naive.isoformat(), instant):
            assert await storage.count({"created_at": operand}) == 2
            assert await storage.count({"created_at": {"$gt": operand}}) == 0

    @pytest.mark.parametrize("key", ENVELOPE_PATHS)
    async def test_what_is_no_time_is_refused_by_its_key_with_the_remedy(
        self, storage: IUnifiedStorage, key: str
    ) -> None:
        await storage.save({"id": "there"})
        before = await storage.list()
        for given in NO_TIMES:
            for record_id in ("new", "there"):
                record = {"id": record_id, "type": "document", "data": {}, key: given}
                calls: list[Awaitable[Any]] = [
                    storage.save(record),
                    storage.batch_save([{"id": "other"}, record]),
                    storage.transaction([{"type": "save", "data": record}]),
                    storage.commit([saving(record, keep_times=True)]),
                    storage.update(record_id, {key: given}),
                ]
                for call in calls:
                    error = await refusal(call, StorageValidationError)
                    assert error is not None, given
                    assert (error.path, error.id) == (f"$.{key}", record_id)
                    assert "ISO 8601" in error.advice or "years 1 to 9999" in error.advice

        assert await storage.list() == before

    async def test_none_is_no_time_given(self, storage: IUnifiedStorage, clock: HandClock) -> None:
        await storage.save({"id": "a", "created_at": None, "updated_at": None})
        await storage.update("a", {"created_at": None, "updated_at": None})

        record = await storage.load("a")
        assert record is not None
        assert record["created_at"] == record["updated_at"] == clock.text

    # -- a clock that is set back -------------------------------------------------------------------------------------

    async def test_an_update_is_never_before_what_was_there(self, storage: IUnifiedStorage, clock: HandClock) -> None:
        for record_id in "abc":
            await storage.save({"id": record_id, "data": {"metadata": {"n": 0}}})
        made = clock.text
        clock.turn(60)
        latest = clock.text
        await storage.update("a", {"data": {"metadata": {"n": 1}}})
        clock.turn(-86_400)

        await storage.update("a", {"data": {"metadata": {"n": 2}}})
        await storage.save({"id": "b", "data": {"metadata": {"n": 2}}})
        await storage.transaction([{"type": "save", "data": {"id": "c", "data": []}}])

        found = {record["id"]: (record["created_at"], record["updated_at"]) for record in await storage.list()}
        assert found == {"a": (made, latest), "b": (made, made), "c": (made, made)}

    async def test_a_creation_in_the_future_stays_and_no_update_is_before_it(
        self, storage: IUnifiedStorage, clock: HandClock
    ) -> None:
        future = "2099-01-01T00:00:00.000000+00:00"
        await storage.save({"id": "a", "created_at": future})
        await storage.save({"id": "b"})
        clock.turn()

        await storage.save({"id": "a", "data": {"metadata": {}}})
        # of what is there already the creation does not count
        await storage.save({"id": "b", "data": {"metadata": {}}, "created_at": future})
        await storage.save({"id": "b", "data": [], "created_at": future})

        found = {record["id"]: (record["created_at"], record["updated_at"]) for record in await storage.list()}
        assert found["a"] == (future, future)
        assert found["b"][1] == clock.text

    # -- filters and orders -------------------------------------------------------------------------------------------

    async def _save_written(self, storage: IUnifiedStorage, *, odd: bool) -> None:
        # with text that SQLite cannot hold beside them, an index goes another way
        beside = {"odd": "\0"} if odd else {}
        records: list[JsonObject] = [
            {"id": record_id, "data": {"metadata": {"created_at": value, "updated_at": value, **beside}}}
            for record_id, value in WRITTEN.items()
        ]
        await storage.batch_save([*records, {"id": "x", "data": {"metadata": beside}}])

    @pytest.mark.parametrize("odd", [False, True])
    @pytest.mark.parametrize("path", METADATA_PATHS)
    async def test_filters_on_times_compare_instants(self, storage: IUnifiedStorage, path: str, *, odd: bool) -> None:
        await self._save_written(storage, odd=odd)
        expected = {name: list(ids) for name, (_, ids) in TIME_FILTERS.items()}

        listed = {name: await storage.list({path: test}, order_by="id") for name, (test, _) in TIME_FILTERS.items()}
        views = {name: await storage.list_metadata({path: test}) for name, (test, _) in TIME_FILTERS.items()}
        streamed = {name: await streamed_records(storage, {path: test}) for name, (test, _) in TIME_FILTERS.items()}
        counted = {name: await storage.count({path: test}) for name, (test, _) in TIME_FILTERS.items()}

        assert {name: ids_of(records) for name, records in listed.items()} == expected
        assert {name: sorted(ids_of(records)) for name, records in views.items()} == expected
        assert {name: ids_of(records) for name, records in streamed.items()} == expected
        assert counted == {name: len(ids) for name, ids in expected.items()}
        # documents are not changed by being compared
        assert (await storage.list({"id": "b"}))[0]["data"]["metadata"]["created_at"] == WRITTEN["b"]

    @pytest.mark.parametrize("odd", [False, True])
    @pytest.mark.parametrize("path", METADATA_PATHS)
    async def test_orders_by_times_go_by_the_instants(self, storage: IUnifiedStorage, path: str, *, odd: bool) -> None:
        await self._save_written(storage, odd=odd)

        up, down = await storage.list(order_by=path), await storage.list(order_by=f"-{path}")

        # nothing, numbers, instants, other text, arrays
        assert ids_of(up) == [*"hx", "g", *"abcdefi"]
        assert ids_of(down) == [*"ifedcba", "g", *"hx"]
        assert ids_of(await storage.list_metadata(order_by=path)) == ids_of(up)

    @pytest.mark.parametrize("path", ENVELOPE_PATHS)
    async def test_times_of_the_record_itself_are_instants_too(self, storage: IUnifiedStorage, path: str) -> None:
        times = {record_id: value for record_id, value in WRITTEN.items() if record_id in "abcd"}
        await storage.commit(
            [
                saving({"id": key, "type": "t", "data": {}, **dict.fromkeys(ENVELOPE_PATHS, value)}, keep_times=True)
                for key, value in times.items()
            ]
        )

        for name, (test, ids) in TIME_FILTERS.items():
            # what is kept of these is the instant, and not the text
            if name not in ("none", "$exists", "$regex sees what is written"):
                expected = [record_id for record_id in ids if record_id in times]
                assert (name, ids_of(await storage.list({path: test}, order_by=path))) == (name, expected)
                assert await storage.count({path: test}) == len(expected)
        assert ids_of(await storage.list(order_by=f"-{path}")) == ids_of(await storage.list()) == [*"dcba"]

    @pytest.mark.parametrize("path", [*ENVELOPE_PATHS, *METADATA_PATHS])
    async def test_a_time_is_compared_with_times_only(self, storage: IUnifiedStorage, path: str) -> None:
        for operand in NO_OPERANDS:
            for filters in ({path: operand}, {"$or": [{path: operand}, {"id": "a"}]}):
                for call in (storage.list(filters), storage.count(filters), storage.list_metadata(filters)):
                    error = await refusal(call, StorageValidationError)
                    assert error is not None, operand
                    assert path in str(error.path)
                    assert "ISO 8601" in str(error)
