from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from fsstore.errors import StorageConflictError, StorageNotFoundError, StorageValidationError
from fsstore.filesystem.disk.files import Tree
from fsstore.filesystem.documents.codec import encode
from fsstore.filesystem.documents.documents import Documents
from fsstore.filesystem.documents.layout import CONTROL, MARKER, STAGING, Layout
from fsstore.filesystem.documents.marker import StoreRoot
from fsstore.filesystem.documents.sealed import Sealed, seal
from fsstore.filesystem.log.records import NO_DOCUMENT
from fsstore.filesystem.write.draft import Drafting, Group
from fsstore.model.mutations import AnyMutation, Mutation, deleting, patching, saving
from fsstore.testing import HandClock
from tests.filesystem.watched import document

LIMIT = 1 << 16


@pytest.fixture
def documents(tmp_path: Path) -> Documents:
    tree = Tree(tmp_path)
    for directory in (CONTROL, STAGING):
        tree.make_directory(directory)
    tree.write_new(MARKER, b'{"format": 1, "shard_depth": 1}')
    made = Documents(tree, Layout(1), max_bytes=LIMIT)
    for record_id in ("a", "b"):
        name = made.name(record_id)
        tree.make_directory(name.rpartition("/")[0])
        tree.write_new(name, encode(document(record_id, "old"), max_bytes=LIMIT))
    return made


@pytest.fixture
def draft(documents: Documents) -> Callable[..., Group]:
    clock = HandClock()
    drafting = Drafting(documents, clock, lambda name: 0)  # noqa: ARG005 - an index that knows nothing

    def draft(*commits: list[AnyMutation]) -> Group:
        def sealed(change: AnyMutation) -> Sealed:
            return seal(change, lambda: clock().isoformat(), max_bytes=LIMIT)

        return drafting.draft([[sealed(change) for change in commit] for commit in commits], 0)

    return draft


def fails(record: dict[str, Any] | None) -> dict[str, Any] | None:
    raise LookupError(f"no {record}")


def new(record_id: str) -> dict[str, Any]:
    return {"id": record_id, "type": "note", "data": {}}


def test_a_group_drafts_each_document_once_as_its_last_commit_leaves_it(draft: Callable[..., Group]) -> None:
    group = draft([patching("a", {"data": {"one": 1}})], [patching("a", {"data": {"two": 2}})], [saving(new("new"))])
    assert group.drafts.keys() == {"a", "new"}
    record = group.drafts["a"].record()
    assert record is not None
    assert record["version"] == 3
    assert record["data"] == {"metadata": {"status": "old"}, "one": 1, "two": 2}
    outcomes = [result[0] for result in group.results if not isinstance(result, BaseException)]
    assert [outcome.after for outcome in outcomes] == [2, 3, 1]
    assert not group.has_batch


def test_a_refused_commit_leaves_no_draft_and_the_others_stay(draft: Callable[..., Group]) -> None:
    group = draft(
        [patching("a", {"data": {"one": 1}})],
        [patching("a", {"data": {"two": 2}}), patching("none", {"data": {}})],
        [saving(new("b"), expected_version=7)],
        [Mutation("b", fails)],
        [patching("a", {"data": {"three": 3}})],
    )
    kinds = [type(result) for result in group.results]
    assert kinds[1:4] == [StorageNotFoundError, StorageConflictError, LookupError]
    assert group.drafts.keys() == {"a"}
    record = group.drafts["a"].record()
    assert record is not None
    assert set(record["data"]) == {"metadata", "one", "three"}


def test_a_batch_is_more_than_one_document_and_nothing_is_written(
    draft: Callable[..., Group], documents: Documents, tmp_path: Path
) -> None:
    before = sorted(tmp_path.rglob("*"))
    group = draft([patching("a", {"data": {}}), deleting("b")])
    assert group.has_batch
    assert sorted(tmp_path.rglob("*")) == before
    assert documents.read("b") is not None


def test_what_the_log_is_to_know_holds_the_hash_of_what_was_there(
    draft: Callable[..., Group], documents: Documents
) -> None:
    found = documents.read("a")
    assert found is not None
    group = draft([deleting("a")], [saving(new("new"))])
    assert group.drafts["a"].logged[:3] == ("a", found.digest, None)
    assert group.drafts["new"].logged[:2] == ("new", NO_DOCUMENT)


def test_deleting_what_is_not_there_is_no_change(draft: Callable[..., Group]) -> None:
    group = draft([deleting("none")], [saving(new("brief"))], [deleting("brief")])
    # what one group makes and deletes raises the floor all the same
    assert group.drafts.keys() == {"brief"}
    assert (group.drafts["brief"].text, group.drafts["brief"].previous, group.floor) == (None, None, 1)


def test_no_draft_holds_what_is_the_callers(draft: Callable[..., Group]) -> None:
    theirs: dict[str, Any] = {"id": "a", "type": "note", "data": {"metadata": {"list": [1]}}}

    def rule(record: dict[str, Any] | None) -> dict[str, Any]:
        assert record is not None
        return {**record, **theirs}

    group = draft([Mutation("a", rule)])
    theirs["data"]["metadata"]["list"].append(2)
    assert group.drafts["a"].part is not None
    assert group.drafts["a"].part["data"]["metadata"]["list"] == [1]


def test_what_a_patch_makes_too_large_is_refused(draft: Callable[..., Group]) -> None:
    group = draft([patching("a", {"data": {"metadata": {"long": "x" * LIMIT}}})])
    assert [type(result) for result in group.results] == [StorageValidationError]
    assert group.drafts == {}


@pytest.mark.parametrize("moment", ["it is read again", "it is looked for"])
def test_a_document_is_not_taken_for_absent_where_the_store_is_moved_away_twice(
    documents: Documents, draft: Callable[..., Group], monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    store = documents.tree.root
    away = store.with_name("away")
    reads = count(1)
    read, check = Documents.read_in_turn, StoreRoot.check

    def move_back() -> None:
        if away.exists():
            away.rename(store)

    def read_while_away(self: Documents, record_id: str) -> Any:
        move_back()
        if next(reads) > 1 + (moment == "it is read again"):
            return read(self, record_id)
        store.rename(away)
        try:
            return read(self, record_id)
        finally:
            move_back()

    def check_before_it_goes(self: StoreRoot) -> tuple[int, int]:
        identity = check(self)
        store.rename(away)
        return identity

    monkeypatch.setattr(Documents, "read_in_turn", read_while_away)
    if moment == "it is looked for":
        monkeypatch.setattr(StoreRoot, "check", check_before_it_goes)
    try:
        group = draft([patching("a", {"data": {"new": 1}})])
    finally:
        move_back()
    assert group.drafts["a"].previous is not None
