"""What the machine draws: records, patches, operations, filters, orders; needs hypothesis.

Values come from small pools, so that ids meet again, filters find something, and numbers lie where types end.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

from hypothesis import strategies as st

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-3, 3)
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXTS
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=8,
)
IDS = st.sampled_from(["a", "b", "A", "é", "e\u0301", "../a", "CON", "\U0001f600", "\uffee", "a.", "x" * 1024])
WORDS = st.sampled_from(["open", "closed", "Open", "", "é", "\x00"])
NUMBERS = st.sampled_from([0, 1, -1, 0.5, -0.0, 1e308, 2**53 + 1, 2**63, 2**64 - 1])
TIMES = st.sampled_from(
    [
        *("2026-01-31T09:15:00.000000+00:00", "2026-01-31T09:15:00Z", "2026-01-31T10:15:00+01:00", "2026-01-31"),
        *("2026-01-31T09:15:00.5+00:00", "2026-01-31T09:15:00,25Z", "20260131T091500", "2026-W05-6", "2026-01", "2027"),
        *("2026-01-31T09:15:00.500000+00:00", "0001-01-02", "9999-12-30T00:00:00.000000+00:00"),
    ]
)
"""Instants near that at which a clock of the tests begins, as they may be written."""
MOMENTS = st.sampled_from(
    [
        datetime(2026, 1, 31, 9, 15, tzinfo=UTC),
        datetime(2026, 1, 31, 10, 15, 0, 500_000, tzinfo=timezone(timedelta(hours=1))),
        datetime(2026, 1, 31, 9, 15),  # noqa: DTZ001 - local time is allowed
    ]
)
METADATA = st.fixed_dictionaries(
    {},
    optional={
        "created_at": TIMES | WORDS | NUMBERS | st.none() | st.lists(TIMES | WORDS, max_size=2),
        "updated_at": TIMES,
        "status": WORDS | st.none() | NUMBERS,
        "tags": st.lists(WORDS | NUMBERS | st.booleans(), max_size=3) | WORDS,
        "n": NUMBERS | st.booleans() | WORDS,
        "owner": st.fixed_dictionaries({"name": WORDS}) | st.lists(st.fixed_dictionaries({"name": WORDS}), max_size=2),
        "any": VALUES,
        "a.b": WORDS | NUMBERS,
        "$set": WORDS | st.lists(WORDS, max_size=2),
    },
)
DATA = st.fixed_dictionaries({}, optional={"metadata": METADATA, "x": NUMBERS | WORDS, "more": VALUES}) | VALUES
RECORDS = st.fixed_dictionaries(
    {"id": IDS, "type": st.sampled_from(["note", "memo"]), "data": DATA},
    optional={
        "session_id": st.sampled_from(["s", "t", None]),
        "thread_id": st.sampled_from(["s", "t", None]),
        "metadata": METADATA,
        "colour": VALUES,
    },
)
PATCHES = st.fixed_dictionaries(
    {},
    optional={
        "data": st.fixed_dictionaries({}, optional={"metadata": METADATA | st.none(), "x": VALUES}),
        "session_id": st.sampled_from(["s", None]),
        "colour": VALUES,
    },
)
SAVES = st.fixed_dictionaries({"type": st.just("save"), "data": RECORDS})
UPDATES = st.fixed_dictionaries({"type": st.just("update"), "id": IDS, "data": PATCHES})
DELETES = st.fixed_dictionaries({"type": st.just("delete"), "id": IDS})

PATHS = st.sampled_from(
    [
        *("id", "type", "version", "session_id", "metadata.status", "data.x", "colour", "no.such.path"),
        *("data.metadata.status", "data.metadata.tags", "data.metadata.n", "data.metadata.any"),
        *("data.metadata.owner.name", "data.metadata.tags.0", "data.metadata"),
        *(
            r"data.metadata.a\.b",
            r"data.metadata.\$set",
            r"metadata.a\.b",
            r"data\.metadata.status",
            "data.metadata.a.b",
        ),
    ]
)
OPERANDS = WORDS | NUMBERS | st.booleans() | IDS | st.sampled_from(["note", "s"])
COMPARISONS = st.sampled_from(["$gt", "$gte", "$lt", "$lte"])
TESTS = (
    OPERANDS
    | st.none()
    | st.lists(OPERANDS, max_size=2)
    | st.dictionaries(COMPARISONS, OPERANDS, min_size=1, max_size=2)
    | st.dictionaries(st.sampled_from(["$eq", "$ne"]), OPERANDS | st.none(), min_size=1)
    | st.dictionaries(st.sampled_from(["$in", "$nin", "$all"]), st.lists(OPERANDS | st.none(), max_size=3), min_size=1)
    | st.fixed_dictionaries({"$exists": st.booleans()})
    | st.fixed_dictionaries({"$regex": st.sampled_from(["^o", "e$", "(?i)open", "."])})
    | st.fixed_dictionaries({"$not": st.dictionaries(COMPARISONS, OPERANDS, min_size=1, max_size=1)})
)
TIME_PATHS = st.sampled_from(["created_at", "updated_at", "data.metadata.created_at", "data.metadata.updated_at"])
TIME_OPERANDS = TIMES | MOMENTS
TIME_TESTS = (
    TIME_OPERANDS
    | st.none()
    | st.dictionaries(COMPARISONS, TIME_OPERANDS, min_size=1, max_size=2)
    | st.dictionaries(st.sampled_from(["$eq", "$ne"]), TIME_OPERANDS | st.none(), min_size=1)
    | st.dictionaries(
        st.sampled_from(["$in", "$nin", "$all"]), st.lists(TIME_OPERANDS | st.none(), max_size=3), min_size=1
    )
    | st.fixed_dictionaries({"$exists": st.booleans()})
    | st.fixed_dictionaries({"$regex": st.sampled_from(["Z$", "^2026", "e$"])})
    | st.fixed_dictionaries({"$not": st.dictionaries(COMPARISONS, TIME_OPERANDS, min_size=1, max_size=1)})
)
FIELDS = st.dictionaries(PATHS, TESTS, max_size=2) | st.dictionaries(TIME_PATHS, TIME_TESTS, min_size=1, max_size=2)
FILTERS = FIELDS | st.dictionaries(
    st.sampled_from(["$and", "$or", "$nor"]), st.lists(FIELDS, min_size=1, max_size=3), min_size=1, max_size=2
)
ORDERS = st.none() | st.builds("{}{}".format, st.sampled_from(["", "-"]), PATHS | TIME_PATHS)
VERSIONS = st.integers(0, 4)
WHICH = st.integers(0, 1)
