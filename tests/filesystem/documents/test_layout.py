import hashlib
import re
import unicodedata
from collections import Counter
from itertools import pairwise
from typing import Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fsstore.errors import StorageValidationError
from fsstore.filesystem.documents.layout import (
    SHARD_DEPTHS,
    Layout,
    depth_of,
    is_document,
    is_shard,
    segment_name,
    segment_number,
    shard_of,
)
from fsstore.model.records import MAX_ID_CHARACTERS, check_id
from fsstore.testing.examples import HOSTILE_IDS

CONTROLS = [*map(chr, range(32)), "\x7f"]
ANY_TEXT = st.characters(exclude_categories=["Cs"], exclude_characters=CONTROLS)
CONFUSABLE = st.sampled_from("aAbB09.-_~ /\\:\u00e9e\u0301\u00c9\ufb01fi\u0130i\u0307\u212akK\u00dfs\u3000\U0001f600")
IDS = st.text(ANY_TEXT | CONFUSABLE, min_size=1, max_size=80) | st.text(
    CONFUSABLE, min_size=90, max_size=MAX_ID_CHARACTERS
)
FORMS: tuple[Literal["NFC", "NFD", "NFKC", "NFKD"], ...] = ("NFC", "NFD", "NFKC", "NFKD")

# Microsoft, "Naming Files, Paths, and Namespaces"; the superscripts count as digits there
DEVICES = re.compile(r"(con|prn|aux|nul|conin\$|conout\$|(com|lpt)[0-9\u00b9\u00b2\u00b3])\Z", re.IGNORECASE)

# a busy machine is no failure
unhurried = settings(deadline=None)
both_depths = pytest.mark.parametrize("depth", SHARD_DEPTHS)


def base_of(name: str) -> str:
    return name.rpartition("/")[2]


def lookalikes(record_id: str) -> set[str]:
    """Return ids that a careless system takes for this one, and itself."""
    folded = {record_id, record_id.upper(), record_id.lower(), record_id.casefold(), record_id.swapcase()}
    normal = {unicodedata.normalize(form, text) for form in FORMS for text in folded}
    dressed = {f"{record_id}{end}" for end in (".", " ", "..", ".json")} | {f".{record_id}", f" {record_id}"}
    return {text for text in folded | normal | dressed if 1 <= len(text) <= MAX_ID_CHARACTERS}


def as_other_systems_see(name: str) -> set[str]:
    """Return what a name may become on a system that folds case or normalises."""
    folded = {name, name.casefold(), name.lower(), name.upper()}
    seen = {unicodedata.normalize(form, text) for form in FORMS for text in folded}
    return {text.casefold().rstrip(". ") for text in seen}


def assert_safe(name: str, depth: int) -> None:
    *shards, base = name.split("/")
    assert len(shards) == depth
    assert all(map(is_shard, shards))
    assert is_document(base)
    assert re.fullmatch(r"[a-z0-9._~-]+", base)
    assert len(base.encode()) <= 255
    assert not DEVICES.match(base.partition(".")[0])


# -- documents ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "record_id", ["a", "0", "_", "-", "session-42", "a.b_c-d", "-rf", "v1.2.3", "console", "com10", "x" * 100]
)
def test_a_plain_id_is_its_own_name(record_id: str) -> None:
    assert base_of(Layout(1).name(record_id)) == f"{record_id}.json"


@pytest.mark.parametrize(
    ("record_id", "slug"),
    [
        ("../../etc/passwd", "etc-passwd"),
        ("CON", "con"),
        ("con", "con"),
        ("nul.txt", "nul-txt"),
        ("com1", "com1"),
        ("LPT9.log", "lpt9-log"),
        ("trailing.", "trailing"),
        ("trailing ", "trailing"),
        (".hidden", "hidden"),
        ("Upper", "upper"),
        ("Gr\u00fc\u00dfe \u00e9 \u4e16", "grue-e"),
        ("a~b", "a-b"),
        ("a/b\\c", "a-b-c"),
        ("\U0001f600", ""),
        ("..", ""),
        ("x" * 101, "x" * 40),
        ("x" * MAX_ID_CHARACTERS, "x" * 40),
    ],
)
def test_any_other_id_is_named_by_its_slug_and_its_hash(record_id: str, slug: str) -> None:
    digest = hashlib.blake2b(record_id.encode(), digest_size=16).hexdigest()

    assert base_of(Layout(1).name(record_id)) == f"{slug}~{digest}.json"


@pytest.mark.parametrize(
    ("record_id", "depth", "name"),
    [
        ("a", 1, "27/a.json"),
        ("a", 2, "27/c3/a.json"),
        ("session-42", 1, "f9/session-42.json"),
        ("../../etc/passwd", 2, "03/d9/etc-passwd~03d915744132df301bb7f67f4e92a4e9.json"),
    ],
)
def test_names_are_part_of_the_format(record_id: str, depth: int, name: str) -> None:
    assert Layout(depth).name(record_id) == name


@both_depths
@pytest.mark.parametrize("record_id", HOSTILE_IDS)
def test_no_hostile_id_leaves_its_shard(record_id: str, depth: int) -> None:
    assert_safe(Layout(depth).name(record_id), depth)


@both_depths
@unhurried
@given(record_id=IDS)
def test_no_id_at_all_leaves_its_shard(record_id: str, depth: int) -> None:
    assert_safe(Layout(depth).name(check_id(record_id)), depth)


def test_hostile_ids_have_names_of_their_own_on_every_system() -> None:
    ids = {text for record_id in HOSTILE_IDS for text in lookalikes(record_id)}
    names = [as_other_systems_see(Layout(1).name(record_id)) for record_id in ids]

    assert len(set().union(*names)) == sum(map(len, names)) == len(ids)


@unhurried
@given(IDS, IDS)
def test_ids_that_look_alike_have_names_of_their_own_on_every_system(one: str, other: str) -> None:
    ids = lookalikes(one) | lookalikes(other)
    names = [as_other_systems_see(base_of(Layout(1).name(record_id))) for record_id in ids]

    assert len(set().union(*names)) == sum(map(len, names)) == len(ids)


def test_an_id_made_like_a_hashed_name_is_not_that_name() -> None:
    taken = base_of(Layout(1).name("Upper")).removesuffix(".json")

    assert base_of(Layout(1).name(taken)) != f"{taken}.json"


@pytest.mark.parametrize("control", CONTROLS)
def test_controls_never_get_as_far_as_a_name(control: str) -> None:
    with pytest.raises(StorageValidationError):
        check_id(f"a{control}b")


# -- shards ---------------------------------------------------------------------------------------------------------


@unhurried
@given(IDS)
def test_a_shard_is_named_by_the_first_bytes_of_the_hash(record_id: str) -> None:
    digest = hashlib.blake2b(record_id.encode(), digest_size=16).hexdigest()
    shallow, deep = Layout(1).name(record_id), Layout(2).name(record_id)

    assert shard_of(shallow) == digest[:2]
    assert shard_of(deep) == f"{digest[:2]}/{digest[2:4]}"
    assert base_of(shallow) == base_of(deep)


def test_ids_that_count_up_are_spread_over_all_shards() -> None:
    layout = Layout(1)
    shards = Counter(shard_of(layout.name(f"session-{number}")) for number in range(10_240))

    assert len(shards) == 256
    assert max(shards.values()) < 2 * 40


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        *((name, True) for name in ("00", "3f", "ff", "99")),
        *(
            (name, False)
            for name in ("3F", "3", "3ff", "", "zz", ".git", "3f\n", "3f.", "a/", "\u0661\u0661", ".fsstore")
        ),
    ],
)
def test_only_two_hex_digits_are_a_shard(name: str, *, expected: bool) -> None:
    assert is_shard(name) is expected


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        *((name, True) for name in ("a.json", "-rf.json", "~0123.json", "a.json.json")),
        *(
            (name, False)
            for name in (".a.json", "._a.json", ".json", "a.json~", "#a.json#", "a.JSON", "a.json.tmp", "")
        ),
    ],
)
def test_what_editors_and_systems_leave_is_no_document(name: str, *, expected: bool) -> None:
    assert is_document(name) is expected


# -- segments of the log --------------------------------------------------------------------------------------------


@unhurried
@given(st.integers(0, 10**12 - 1))
def test_the_name_of_a_segment_gives_its_number_back(number: int) -> None:
    assert segment_number(base_of(segment_name(number))) == number


@unhurried
@given(st.lists(st.integers(0, 10**12 - 1), min_size=2, unique=True).map(sorted))
def test_names_of_segments_sort_as_their_numbers_do(numbers: list[int]) -> None:
    names = map(segment_name, numbers)

    assert all(one < next_one for one, next_one in pairwise(names))


@pytest.mark.parametrize(
    "base",
    [
        *("", ".log", "1.log", "000000000001", "00000000000a.log", "-00000000001.log", "0000000000001.log"),
        *("000000000001.LOG", "000000000001.log.bak", "000000000001.log~", "000000000001.log.log"),
        "\u0661" * 12 + ".log",
    ],
)
def test_a_foreign_file_among_the_segments_has_no_number(base: str) -> None:
    assert segment_number(base) is None


@pytest.mark.parametrize("depth", [1, 2])
@pytest.mark.parametrize("record_id", ["plain", "S 1", "con", "über~x", "a" * 200, "trailing.", "~", "x~" + "0" * 32])
def test_a_name_tells_the_depth_at_which_it_lies(record_id: str, depth: int) -> None:
    assert depth_of(Layout(depth).name(record_id)) == depth


@pytest.mark.parametrize(
    "name",
    ["00/plain.json", "ca/s-1 (conflicted copy).json", "ca/s~3f.json", "ca/S-1.json", "00/00/00/plain.json", "a.json"],
)
def test_a_name_that_lies_where_no_depth_puts_it_tells_none(name: str) -> None:
    assert depth_of(name) is None
