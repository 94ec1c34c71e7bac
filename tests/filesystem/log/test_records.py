from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fsstore.filesystem.log.records import NO_DOCUMENT, NO_LIMIT, LoggedChange, Segment, pack, pack_header, unpack

MAGIC = b"\xf5LR\n"
IDS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40) | st.just("\U0001f600" * 1024)
HASHES = st.binary(min_size=16, max_size=16)
DATA = st.none() | st.binary(max_size=200) | st.just(MAGIC * 3)
GROUPS = st.lists(st.tuples(st.lists(st.tuples(IDS, HASHES, DATA), max_size=4), st.booleans()), max_size=4)

# a busy machine is no failure
unhurried = settings(deadline=None)


@pytest.fixture
def header() -> bytes:
    """Return the header of a first segment."""
    return pack_header(NO_LIMIT)


def packed(changes: list[LoggedChange], *, durable: bool) -> bytes:
    return b"".join(pack(changes, durable=durable))


def saved(record_id: str, text: str = "x", *, durable: bool = True) -> LoggedChange:
    return LoggedChange(record_id, NO_DOCUMENT, text.encode(), durable)


# none of its bytes is zero, so that zeros in their place are damage
FLOOR = 0x0102030405060708
RECORDS = [
    packed([saved("a", "first"), LoggedChange("gone", b"\x01" * 16, None, durable=True, floor=FLOOR)], durable=True),
    packed([saved("b", "second\n" * 10)], durable=True),
    packed([saved("c", "third"), saved("\u00e9", "")], durable=True),
]


def changes_of(*records: bytes) -> list[LoggedChange]:
    return [change for record in records for change in unpack(1, record).changes]


@unhurried
@given(GROUPS)
def test_what_is_packed_is_what_is_unpacked(groups: list[tuple[list[tuple[str, bytes, bytes | None]], bool]]) -> None:
    changes = [[LoggedChange(*change, durable) for change in group] for group, durable in groups]
    data = b"".join(packed(group, durable=durable) for group, (_, durable) in zip(changes, groups, strict=True))

    segment = unpack(7, data)

    assert segment.changes == [change for group in changes for change in group]
    assert segment.number == 7


def test_a_segment_tells_the_size_before_it_and_where_each_of_its_records_ends(header: bytes) -> None:
    segment = unpack(1, header + b"".join(RECORDS))

    assert segment == Segment(1, 1 << 62, changes_of(*RECORDS))
    ends = [len(header) + sum(map(len, RECORDS[: at + 1])) for at in range(len(RECORDS))]
    assert segment.ends == [end for end, record in zip(ends, RECORDS, strict=True) for _ in changes_of(record)]


@pytest.mark.parametrize("number", range(3))
def test_a_record_torn_anywhere_at_the_end_is_a_commit_that_never_happened(header: bytes, number: int) -> None:
    whole, torn = RECORDS[:number], RECORDS[number]
    before = header + b"".join(whole)

    for size in range(len(torn)):
        # cut off, with zeros where the bytes did not arrive, or with what the disk held before
        for rest in (b"", bytes(len(torn) - size), b"\xa5" * (len(torn) - size)):
            segment = unpack(1, before + torn[:size] + rest)
            assert segment.changes == changes_of(*whole), size
            assert segment.damage == "", size


def test_a_header_torn_anywhere_is_a_segment_in_which_nothing_happened(header: bytes) -> None:
    for size in range(len(header)):
        for rest in (b"", bytes(len(header) - size)):
            assert unpack(1, header[:size] + rest) == Segment(1, 1 << 62, []), size


def flips(data: bytes) -> Iterator[bytes]:
    """Give the bytes with each of their bits turned over."""
    for at in range(8 * len(data)):
        flipped = bytearray(data)
        flipped[at // 8] ^= 1 << at % 8
        yield bytes(flipped)


def test_a_record_damaged_in_the_middle_is_reported_and_the_others_are_read(header: bytes) -> None:
    first, middle, last = RECORDS

    for damaged in flips(middle):
        segment = unpack(1, header + first + damaged + last)
        assert segment.changes == changes_of(first, last)
        assert segment.damage == (f"the record at byte {len(header + first)} is damaged and has whole ones behind it")


def test_of_several_damaged_records_none_hides_a_whole_one(header: bytes) -> None:
    first, middle, last = RECORDS
    bad = [record[:-1] + b"\x00" for record in RECORDS]

    segment = unpack(1, header + bad[0] + first + bad[1] + b"noise" + MAGIC + b"noise" + middle + bad[2] + last)

    assert segment.changes == changes_of(*RECORDS)
    assert segment.damage


def test_a_damaged_header_is_reported_and_loses_no_record(header: bytes) -> None:
    for damaged in flips(header):
        segment = unpack(1, damaged + b"".join(RECORDS))
        assert segment.changes == changes_of(*RECORDS)
        assert segment.previous_size == 1 << 62
        assert segment.damage


def test_an_empty_segment_is_whole() -> None:
    assert unpack(1, b"") == Segment(1, 1 << 62, [])


@unhurried
@given(st.binary(max_size=300))
def test_noise_is_no_record(noise: bytes) -> None:
    assert unpack(1, noise).changes == []
    assert unpack(1, RECORDS[0] + noise).changes == changes_of(RECORDS[0])


def test_a_record_that_says_it_is_endless_is_none(header: bytes) -> None:
    endless = MAGIC + (1).to_bytes(4, "little") + (2**64 - 1).to_bytes(8, "little") + bytes(4)

    assert unpack(1, header + endless + RECORDS[0]).changes == changes_of(RECORDS[0])


def test_a_deletion_of_before_there_was_a_floor_is_read(header: bytes) -> None:
    body = struct.pack("<BH16sQ", 2, 4, b"\x01" * 16, 0) + b"gone"
    head = struct.pack("<4sIQQ", MAGIC, 1, len(body), 7)
    record = head + struct.pack("<I", zlib.crc32(body, zlib.crc32(head))) + body

    assert unpack(1, header + record).changes == [LoggedChange("gone", b"\x01" * 16, None, durable=True, time_ns=7)]


@pytest.mark.parametrize(
    ("version", "changed_ns", "is_after"), [(1, 5, True), (1, 10, False), (2, 5, True), (3, 5, False)]
)
@pytest.mark.parametrize("is_deleted", [False, True])
def test_a_change_is_after_what_has_an_earlier_time_and_no_version_above(
    version: int, changed_ns: int, *, is_after: bool, is_deleted: bool
) -> None:
    def document(number: int) -> bytes:
        return b'{\n  "id": "a",\n  "version": %d\n}\n' % number

    data = None if is_deleted else document(2)
    change = LoggedChange("a", NO_DOCUMENT, data, durable=True, time_ns=10, floor=2 if is_deleted else 0)
    assert change.is_after(document(version), changed_ns) == is_after
