"""A backend compared with a plain dict under random commands; needs hypothesis.

The oracle is `StorageMachine.model`: a dict from ids to the records as they should be, kept by the rules of the
contract alone. Filters and orders are judged by `fsstore.query.filters` and `orders`, which define what they mean.
Where a store may be shared, commands go through two handles in turn; where it outlives its handles, it is opened again
in between.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import aclosing
from pathlib import Path
from typing import Any, ClassVar, TypeVar
from unittest import TestCase

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from fsstore.errors import StorageConflictError, StorageNotFoundError, StorageTransactionError, StorageValidationError
from fsstore.interfaces import IUnifiedStorage, summary
from fsstore.model.clock import HandClock
from fsstore.model.mutations import AnyMutation, deleting, patching, saving
from fsstore.model.patch import RECORD_TOPS, merge_patch, misread_keys, refuse_misread
from fsstore.model.records import JsonObject, Records
from fsstore.query.filters import matches
from fsstore.query.orders import parse_order
from fsstore.testing.backend import DAY_SECONDS, outlives_its_handle
from fsstore.testing.draws import DELETES, FILTERS, IDS, ORDERS, PATCHES, RECORDS, SAVES, UPDATES, VERSIONS, WHICH
from fsstore.testing.examples import REFUSED_VALUES, exact_text

T = TypeVar("T")


class StorageMachine(RuleBasedStateMachine):
    """Random commands on a store and on a dict; after each of them both hold the same."""

    open_store: ClassVar[Callable[[Path], Awaitable[IUnifiedStorage]]]

    def __init__(self) -> None:
        super().__init__()
        self.model: dict[str, JsonObject] = {}
        # the highest version that was deleted
        self.floor = 0
        self.clock = HandClock()
        self._loop = asyncio.new_event_loop()
        self._place = tempfile.TemporaryDirectory()
        self._handles: list[IUnifiedStorage] = []

    # -- opening and closing ------------------------------------------------------------------------------------------

    def run(self, call: Coroutine[Any, Any, T]) -> T:
        """Run a call on the private loop."""
        return self._loop.run_until_complete(call)

    def handle(self, which: int) -> IUnifiedStorage:
        """Return one of the open handles."""
        return self._handles[which % len(self._handles)]

    async def _open(self) -> None:
        first = await self._open_one()
        self._handles = [first, await self._open_one()] if first.guarantees.cross_process else [first]

    async def _open_one(self) -> IUnifiedStorage:
        storage = await type(self).open_store(Path(self._place.name) / "store")
        storage.clock = self.clock
        return storage

    async def _close(self) -> None:
        for storage in self._handles:
            await storage.close()

    @initialize()
    def open(self) -> None:
        """Open the store, twice where it may be shared."""
        self.run(self._open())

    @rule()
    def reopen(self) -> None:
        """Close every handle and open the store again."""
        lasting = outlives_its_handle(self.handle(0))
        self.run(self._close())
        self.run(self._open())
        if not lasting:
            self.model.clear()
            self.floor = 0

    def teardown(self) -> None:
        """Leave nothing behind."""
        try:
            self.run(self._close())
        finally:
            self.run(self._loop.shutdown_asyncgens())
            self.run(self._loop.shutdown_default_executor())
            self._loop.close()
            self._place.cleanup()

    # -- the oracle ---------------------------------------------------------------------------------------------------

    def put(self, model: dict[str, JsonObject], record: JsonObject) -> None:
        """Save a record in a model."""
        before = model.get(record["id"])
        model[record["id"]] = {
            **record,
            "version": (self.floor if before is None else before["version"]) + 1,
            "created_at": self.clock.text if before is None else before["created_at"],
            "updated_at": self.clock.text,
        }

    def apply(self, model: dict[str, JsonObject], operation: JsonObject) -> bool:
        """Apply an operation of a transaction to a model; False when it cannot be."""
        if operation["type"] == "save":
            self.put(model, operation["data"])
        elif operation["type"] == "delete":
            self.remove(model, operation["id"])
        elif operation["id"] not in model or is_misread(model[operation["id"]], operation["data"]):
            return False
        else:
            self.put(model, merge_patch(model[operation["id"]], operation["data"]))
        return True

    def remove(self, model: dict[str, JsonObject], record_id: str) -> bool:
        """Delete a record from a model; False when it is absent. What is made later begins above its version."""
        removed = model.pop(record_id, None)
        if removed is not None:
            self.floor = max(self.floor, removed["version"])
        return removed is not None

    def matching(self, filters: JsonObject | None, order_by: str | None) -> Records:
        """Return the records of the model that match, in order."""
        found = [record for record in self.model.values() if matches(filters, record)]
        return sorted(found, key=parse_order(order_by).key)

    # -- changes ------------------------------------------------------------------------------------------------------

    @rule(seconds=st.sampled_from([0.000001, 1.0, DAY_SECONDS]))
    def time_passes(self, seconds: float) -> None:
        """Turn the clock; otherwise it stands, and changes share a time."""
        self.clock.turn(seconds)

    @rule(which=WHICH, record=RECORDS)
    def save(self, which: int, record: JsonObject) -> None:
        """Save a record."""
        assert self.run(self.handle(which).save(record)) == record["id"]
        self.put(self.model, record)
        self.check(1 - which, record["id"])

    @rule(which=WHICH, record_id=IDS, patch=PATCHES)
    def update(self, which: int, record_id: str, patch: JsonObject) -> None:
        """Patch a record, or get an error: it is not there, or what the patch would make is refused."""
        call = self.handle(which).update(record_id, patch)
        if record_id in self.model and is_misread(self.model[record_id], patch):
            self.refused(call, StorageValidationError)
        elif record_id in self.model:
            assert self.run(call) is True
            self.put(self.model, merge_patch(self.model[record_id], patch))
        else:
            self.refused(call, StorageNotFoundError)
        self.check(1 - which, record_id)

    @rule(which=WHICH, record_id=IDS)
    def delete(self, which: int, record_id: str) -> None:
        """Delete a record."""
        was_there = self.remove(self.model, record_id)
        assert self.run(self.handle(which).delete(record_id)) is was_there
        self.check(1 - which, record_id)

    @rule(
        which=WHICH, record=RECORDS, expected=VERSIONS, patch=PATCHES, kind=st.sampled_from(["save", "patch", "delete"])
    )
    def change_an_expected_version(
        self, which: int, record: JsonObject, expected: int, patch: JsonObject, kind: str
    ) -> None:
        """Change a record only if it has a version."""
        record_id = record["id"]
        mutations: dict[str, AnyMutation] = {
            "save": saving(record, expected_version=expected),
            "patch": patching(record_id, patch, expected_version=expected),
            "delete": deleting(record_id, expected_version=expected),
        }
        call = self.handle(which).commit([mutations[kind]])
        before = self.model.get(record_id)
        if expected != (0 if before is None else before["version"]):
            self.refused(call, StorageConflictError)
        elif kind == "patch" and before is None:
            self.refused(call, StorageNotFoundError)
        elif kind == "patch" and is_misread(before, patch):
            self.refused(call, StorageValidationError)
        else:
            self.run(call)
            self.apply(
                self.model,
                {"type": {"patch": "update"}.get(kind, kind), "id": record_id}
                | ({"data": record if kind == "save" else patch}),
            )
        self.check(1 - which, record_id)

    @rule(which=WHICH, operations=st.lists(SAVES | UPDATES | DELETES, max_size=6))
    def transaction(self, which: int, operations: Records) -> None:
        """Apply operations, all or none."""
        draft, floor = dict(self.model), self.floor
        call = self.handle(which).transaction(operations)
        if all(self.apply(draft, operation) for operation in operations):
            assert self.run(call) is True
            self.model = draft
        else:
            self.floor = floor
            self.refused(call, StorageTransactionError, StorageValidationError)
        self.check_everything(1 - which)

    @rule(which=WHICH, record=RECORDS, name=st.sampled_from(sorted(REFUSED_VALUES)))
    def save_what_is_not_json(self, which: int, record: JsonObject, name: str) -> None:
        """Be refused, alone and in a batch."""
        bad = {**record, "data": {"list": [0, REFUSED_VALUES[name]]}}
        self.refused(self.handle(which).save(bad), StorageValidationError)
        self.refused(self.handle(which).batch_save([record, bad]), StorageValidationError)
        self.check(1 - which, record["id"])

    @rule(which=WHICH, days=st.sampled_from([0, 0.5, 1, 3]))
    def clean_up(self, which: int, days: float) -> None:
        """Remove what is old."""
        limit = HandClock(self.clock.now).turn(-days * DAY_SECONDS)
        old = [name for name, record in self.model.items() if record["updated_at"] < limit]
        assert self.run(self.handle(which).cleanup_old_data(days)) == len(old)
        for name in old:
            self.remove(self.model, name)

    # -- looks --------------------------------------------------------------------------------------------------------

    @rule(which=WHICH, record_id=IDS)
    def check(self, which: int, record_id: str) -> None:
        """Load a record."""
        loaded = self.run(self.handle(which).load(record_id))
        assert exact_text(loaded) == exact_text(self.model.get(record_id))
        assert self.run(self.handle(which).exists(record_id)) is (record_id in self.model)

    @rule(which=WHICH)
    def check_everything(self, which: int) -> None:
        """List everything."""
        assert exact_text(self.run(self.handle(which).list())) == exact_text(self.matching(None, None))

    @rule(which=WHICH, filters=FILTERS, order_by=ORDERS, limit=st.none() | st.integers(0, 5), offset=st.integers(0, 3))
    def find(self, which: int, filters: JsonObject, order_by: str | None, limit: int | None, offset: int) -> None:
        """List what matches, whole and as metadata."""
        storage = self.handle(which)
        expected = self.matching(filters, order_by)[offset : None if limit is None else offset + limit]

        found = self.run(storage.list(filters, limit, order_by=order_by, offset=offset))
        views = self.run(storage.list_metadata(filters, limit, order_by=order_by, offset=offset))

        assert exact_text(found) == exact_text(expected)
        assert exact_text(views) == exact_text([summary(record) for record in expected])

    @rule(which=WHICH, filters=FILTERS, batch_size=st.integers(1, 5))
    def count_and_stream(self, which: int, filters: JsonObject, batch_size: int) -> None:
        """Count what matches, and stream it in the order of ids."""
        expected = self.matching(filters, "id")

        batches = self.run(self._streamed(which, filters, batch_size))

        assert self.run(self.handle(which).count(filters)) == len(expected)
        assert exact_text([record for batch in batches for record in batch]) == exact_text(expected)
        assert all(0 < len(batch) <= batch_size for batch in batches)

    async def _streamed(self, which: int, filters: JsonObject, batch_size: int) -> list[Records]:
        async with aclosing(self.handle(which).stream_list(filters, batch_size)) as batches:
            return [batch async for batch in batches]

    @rule(which=WHICH)
    def query(self, which: int) -> None:
        """Ask the relation."""
        rows = self.run(self.handle(which).query("SELECT id, type, version, session_id FROM documents ORDER BY id"))
        assert rows == [
            {key: record.get(key) for key in ("id", "type", "version", "session_id")}
            for record in self.matching(None, "id")
        ]

    @rule(which=WHICH)
    def health(self, which: int) -> None:
        """Find nothing damaged. No invariant: looking for damage may repair it."""
        report = self.run(self.handle(which).health_check())
        assert (report["status"], report["documents"]) == ("ok", len(self.model))

    def refused(self, call: Coroutine[Any, Any, Any], *kinds: type[Exception]) -> None:
        """Expect an error of one of these kinds."""
        try:
            result = self.run(call)
        except kinds:
            return
        raise AssertionError(f"{result!r} came where {kinds} was due")


def is_misread(record: JsonObject | None, patch: JsonObject) -> bool:
    """Whether a patch is refused since it would make keys that were meant as operators or paths."""
    try:
        refuse_misread(record, patch, misread_keys(patch, RECORD_TOPS), RECORD_TOPS, record_id="")
    except StorageValidationError:
        return True
    return False


def storage_machine(
    open_store: Callable[[Path], Awaitable[IUnifiedStorage]], *, examples: int = 30, steps: int = 30
) -> type[TestCase]:
    """Return a test case that compares stores, opened by that function, with a dict under random commands.

    `examples` sequences of at most `steps` commands are tried; a failing one is shortened and printed.
    """
    machine: Any = type("StorageMachine", (StorageMachine,), {"open_store": staticmethod(open_store)})
    case: type[TestCase] = machine.TestCase
    case.settings = settings(  # type: ignore[attr-defined]  # hypothesis sets it on a class that it makes itself
        max_examples=examples,
        stateful_step_count=steps,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )
    return case
