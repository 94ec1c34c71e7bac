"""What a time is: which text names an instant, in which zone, and what is refused and how."""

from __future__ import annotations

import time
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta, timezone, tzinfo
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fsstore.errors import StorageValidationError
from fsstore.model.mutations import saving
from fsstore.model.records import JsonObject
from fsstore.model.times import canonical_time, format_time, has_offset, instant_of, utc_now, with_canonical_times
from fsstore.query.conditions import Order
from fsstore.query.filters import matches, parse
from fsstore.query.orders import parse_order
from fsstore.testing.times import NO_TIMES, SAME_MOMENT, LocalZones

TIME = "2026-01-31T09:15:00.000000+00:00"


def instant(value: Any) -> str:
    return canonical_time(value, "$.created_at", "a")


# -- what is read -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "first"),
    [
        ("2026Z", None),
        ("2026-01-31T09:15Z", TIME),
        ("2026-01-31T09:15:00.000000999Z", TIME),
        ("2026-031T09:15Z", TIME),
        ("2026031T0915Z", TIME),
        ("2026-W05-6T09:15Z", TIME),
        ("2026-01-31T14:45+0530", TIME),
        ("2026-01-31T09Z", "2026-01-31T09:00:00.000000+00:00"),
        ("2024-366T00Z", "2024-12-31T00:00:00.000000+00:00"),
        ("0001-001T00Z", "0001-01-01T00:00:00.000000+00:00"),
        ("9999-12-31T23:59:59.999999Z", "9999-12-31T23:59:59.999999+00:00"),
        ("0001-000T00Z", None),
        ("9999-366T00Z", None),
        ("2026-01-31T09.5Z", None),
        ("2026-01-31T09:15,5Z", None),
        ("2026-01-31T09:15:00+01:30.5", None),
        ("2026-1-31", None),
        (" 2026", None),
        ("\uff12026", None),
    ],
)
def test_text_names_an_instant_or_none(text: str, first: str | None) -> None:
    assert instant_of(text) == first
    if first is None:
        with pytest.raises(StorageValidationError):
            instant(text)
    else:
        assert instant(text) == first


@pytest.mark.parametrize("given", SAME_MOMENT)
def test_an_instant_has_one_text(given: Any) -> None:
    assert instant(given) == SAME_MOMENT[0]


class TestLocalTime(LocalZones):
    @pytest.mark.parametrize(
        ("text", "utc", "new_york"),
        [
            ("2026", "2026-01-01T00:00:00", "2026-01-01T05:00:00"),
            ("2026-07", "2026-07-01T00:00:00", "2026-07-01T04:00:00"),
            ("2026-07-01", "2026-07-01T00:00:00", "2026-07-01T04:00:00"),
            ("2026-W27-3T12:00", "2026-07-01T12:00:00", "2026-07-01T16:00:00"),
            ("2026-182T12:00:00,5", "2026-07-01T12:00:00.5", "2026-07-01T16:00:00.5"),
            # an hour that the clock shows twice
            ("2026-11-01T01:30", "2026-11-01T01:30:00", "2026-11-01T05:30:00"),
        ],
    )
    @pytest.mark.skipif(not hasattr(time, "tzset"), reason="this system has one local zone for all processes")
    def test_text_without_an_offset_is_local_time(self, local_zone: str, text: str, utc: str, new_york: str) -> None:
        expected = utc if local_zone == "UTC0" else new_york
        assert instant(text) == format_time(datetime.fromisoformat(expected).replace(tzinfo=UTC))

    @pytest.mark.skipif(not hasattr(time, "tzset"), reason="this system has one local zone for all processes")
    def test_an_hour_that_comes_twice_is_the_one_its_fold_tells(self, local_zone: str) -> None:
        twice = datetime(2026, 11, 1, 1, 30)  # noqa: DTZ001 - that it is naive is the point
        hours = 0 if local_zone == "UTC0" else 1
        moments = [datetime.fromisoformat(instant(twice.replace(fold=fold))) for fold in (0, 1)]
        assert moments[1] - moments[0] == timedelta(hours=hours)

    def test_the_ends_of_the_calendar_are_times_or_refused(self, local_zone: str) -> None:
        for naive in (datetime.min, datetime.max):  # noqa: DTZ901 - that they are naive is the point
            for value in (naive, naive.isoformat()):
                with suppress(StorageValidationError):
                    # that no other error is raised is the point
                    assert instant(value)[:4] == f"{naive.year:04}", local_zone
            assert instant(naive.replace(tzinfo=UTC)) == naive.isoformat(timespec="microseconds") + "+00:00"

    @pytest.mark.skipif(not hasattr(time, "tzset"), reason="this system has one local zone for all processes")
    def test_a_filter_that_was_understood_before_is_understood_anew_in_another_zone(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        found = []
        record: JsonObject = {"id": "a", "created_at": "2026-07-01T16:00:00.000000+00:00"}
        try:
            for zone in ("UTC0", "EST5EDT,M3.2.0,M11.1.0", "UTC+4"):
                monkeypatch.setenv("TZ", zone)
                time.tzset()
                found.append(matches({"created_at": "2026-07-01T12:00"}, record))
        finally:
            monkeypatch.undo()
            time.tzset()
        assert found == [False, True, True]


# -- what is refused --------------------------------------------------------------------------------------------------


class Nowhere(tzinfo):
    def utcoffset(self, when: datetime | None) -> timedelta:
        raise RuntimeError(f"nobody knows {when}")

    def dst(self, when: datetime | None) -> timedelta:
        return self.utcoffset(when)

    def tzname(self, when: datetime | None) -> str:
        return str(self.utcoffset(when))


@pytest.mark.parametrize(
    "value",
    [*NO_TIMES, None, b"2026", datetime(2026, 1, 1, tzinfo=Nowhere())],
)
def test_what_is_no_time_is_refused_with_its_place(value: Any) -> None:
    with pytest.raises(StorageValidationError, match="must be an ISO 8601 time") as caught:
        instant(value)

    assert (caught.value.path, caught.value.id) == ("$.created_at", "a")


@pytest.mark.parametrize(
    ("value", "remedy"),
    [
        (date(2026, 1, 5), "combine the date with a time of day"),
        (1_769_850_900, "datetime.fromtimestamp"),
        ("yesterday", "2026-01-31T09:15:00"),
        (datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=1))), "within the years 1 to 9999"),
    ],
)
def test_the_error_says_what_to_give_instead(value: Any, remedy: str) -> None:
    with pytest.raises(StorageValidationError) as caught:
        instant(value)

    assert remedy in caught.value.advice


class NoTime(datetime):
    def astimezone(self, tz: tzinfo | None = None) -> NoTime:  # noqa: ARG002 - as libraries have it for missing times
        return self

    def isoformat(self, sep: str = "T", timespec: str = "auto") -> str:  # noqa: ARG002 - the same
        return "NaT"


def test_a_datetime_that_stands_for_no_time_is_none() -> None:
    with pytest.raises(StorageValidationError):
        instant(NoTime(2026, 1, 1))


def test_a_bad_time_is_blamed_on_its_own_key() -> None:
    good: JsonObject = {"id": "a", "type": "t", "data": {}, "created_at": TIME, "updated_at": "yesterday"}
    for keep_times in (False, True):
        with pytest.raises(StorageValidationError) as caught:
            saving(good, keep_times=keep_times).apply(None, TIME)
        assert caught.value.path == "$.updated_at"
    with pytest.raises(StorageValidationError) as caught:
        with_canonical_times({"created_at": 5, "updated_at": TIME}, "$.metadata", "a")
    assert caught.value.path == "$.metadata.created_at"


def test_an_offset_is_seen_in_any_form() -> None:
    assert has_offset(TIME)
    assert has_offset("2026-031T09Z")
    assert has_offset(datetime.now(UTC))
    assert not has_offset("2026")
    assert not has_offset(datetime(2026, 1, 1))  # noqa: DTZ001 - that it is naive is the point


# -- orders and filters -----------------------------------------------------------------------------------------------


MOMENTS = st.datetimes(
    min_value=datetime(2, 1, 1),  # noqa: DTZ001 - hypothesis adds the zone
    max_value=datetime(9998, 1, 1),  # noqa: DTZ001 - the same
    timezones=st.sampled_from([UTC, timezone(timedelta(hours=5, minutes=45)), timezone(timedelta(hours=-11))]),
)


@given(MOMENTS, MOMENTS)
def test_times_sort_as_text_as_they_do_as_moments(left: datetime, right: datetime) -> None:
    assert (format_time(left) < format_time(right)) == (left < right)
    assert datetime.fromisoformat(format_time(left)) == left
    assert instant(left.isoformat()) == instant(left) == format_time(left)


@given(MOMENTS, MOMENTS)
def test_filters_and_orders_compare_the_moments_of_any_text(left: datetime, right: datetime) -> None:
    record: JsonObject = {"id": "a", "data": {"metadata": {"created_at": left.isoformat()}}}
    other: JsonObject = {"id": "b", "data": {"metadata": {"created_at": right.isoformat()}}}
    path = "data.metadata.created_at"

    for operator, holds in (("$gt", left > right), ("$gte", left >= right), ("$eq", left == right)):
        assert matches({path: {operator: right}}, record) == holds
        assert matches({path: {operator: right.isoformat()}}, record) == holds
    key = parse_order(path).key
    assert (key(record) < key(other)) == (left <= right)


def test_the_order_of_what_stands_for_a_time_is_total() -> None:
    values: list[Any] = ["2026", "2026-01-01T00:00:01Z", "yesterday", "", "?", 5, None, True, [], {}, "0001-01-02", 1e9]
    order = Order(("data", "metadata", "updated_at"), descending=False)
    records = [{"id": str(at), "data": {"metadata": {"updated_at": value}}} for at, value in enumerate(values)]

    places = [order.place(record) for record in sorted(records, key=order.key)]

    assert places == sorted(places)
    assert len({(rank, place) for rank, place in places}) == len(values) - 1


def test_a_datetime_elsewhere_in_a_filter_is_refused_with_the_remedy() -> None:
    for filters in ({"due": utc_now()}, {"$or": [{"due": {"$in": [utc_now()]}}]}, {"due": {"$gt": date(2026, 1, 1)}}):
        with pytest.raises(StorageValidationError, match="created_at and updated_at only") as caught:
            parse(filters)
        assert "due" in str(caught.value.path)


def test_a_datetime_beside_a_key_that_is_no_text_is_refused() -> None:
    wrong: list[Any] = [
        {("due",): utc_now()},
        {5: [utc_now()]},
        {"created_at": {5: utc_now()}},
        {"$or": [{5: utc_now()}]},
    ]
    for filters in wrong:
        with pytest.raises(StorageValidationError, match="not str"):
            parse(filters)


def test_the_place_of_a_bad_operand_is_named_within_the_filter() -> None:
    for operand in ("soon", datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=1)))):
        with pytest.raises(StorageValidationError) as caught:
            parse({"$and": [{"type": "t"}, {"updated_at": {"$in": [TIME, operand]}}]})
        assert str(caught.value.path).startswith("$['$and'][1].updated_at['$in']")


def test_the_present_is_aware_and_in_utc() -> None:
    assert utc_now().tzinfo is UTC
