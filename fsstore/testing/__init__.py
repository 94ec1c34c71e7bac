"""The published contract tests: a backend that passes them is a backend.

A test module of a new backend is one class:

    from fsstore.testing import SessionContract, StorageContract

    class TestMine(StorageContract, SessionContract):
        async def open_store(self, path):
            return await MyStorage.open(path)

and `WatchContract` too if it promises `watching`. For the comparison with a plain dict under random commands, one line
more:

    from fsstore.testing.machine import storage_machine

    TestMineAtRandom = storage_machine(MyStorage.open)

The tests read `storage.guarantees` where backends promise different things; none is skipped, and none asks for a class.
They need pytest and pytest-asyncio, the machine hypothesis too; the rest of fsstore imports none of these.
"""

from __future__ import annotations

import pytest

# before the modules are imported, so that a failing assert in them shows its values as one in a test file does
pytest.register_assert_rewrite(
    *(
        f"{__name__}.{module}"
        for module in (
            *("cleanup", "exactness", "fields", "finding", "lists", "machine", "patches", "records", "tasks"),
            *("transactions", "times", "versions", "watching", "sessions"),
            *(
                f"session_{part}"
                for part in (
                    *("appends", "changes", "edit_timeouts", "edits", "lists", "models", "refusals", "times"),
                    *("transactions", "typed", "versions"),
                )
            ),
        )
    )
)

from fsstore.model.clock import HandClock  # noqa: E402
from fsstore.testing.cleanup import CleanupContract  # noqa: E402
from fsstore.testing.exactness import ExactnessContract  # noqa: E402
from fsstore.testing.fields import FieldContract, SessionFieldContract  # noqa: E402
from fsstore.testing.finding import FindingContract  # noqa: E402
from fsstore.testing.lists import ListContract  # noqa: E402
from fsstore.testing.patches import PatchContract, SessionPatchContract  # noqa: E402
from fsstore.testing.records import RecordContract  # noqa: E402
from fsstore.testing.session_appends import SessionAppendContract, SessionTailContract  # noqa: E402
from fsstore.testing.session_changes import SessionEditContract  # noqa: E402
from fsstore.testing.session_edit_timeouts import SessionEditTimeoutContract  # noqa: E402
from fsstore.testing.session_edits import SessionEditInsideContract, SessionEditReturnContract  # noqa: E402
from fsstore.testing.session_lists import SessionListContract  # noqa: E402
from fsstore.testing.session_models import SessionModelContract  # noqa: E402
from fsstore.testing.session_refusals import SessionRefusalContract  # noqa: E402
from fsstore.testing.session_times import SessionTimeContract  # noqa: E402
from fsstore.testing.session_transactions import SessionTransactionContract  # noqa: E402
from fsstore.testing.session_typed import SessionTypedContract  # noqa: E402
from fsstore.testing.session_versions import SessionVersionContract  # noqa: E402
from fsstore.testing.sessions import SessionRecordContract  # noqa: E402
from fsstore.testing.tasks import TaskContract  # noqa: E402
from fsstore.testing.times import TimeContract  # noqa: E402
from fsstore.testing.transactions import TransactionContract  # noqa: E402
from fsstore.testing.versions import VersionContract  # noqa: E402
from fsstore.testing.watching import WatchContract  # noqa: E402

__all__ = ["HandClock", "SessionContract", "StorageContract", "WatchContract"]


class StorageContract(
    RecordContract,
    VersionContract,
    PatchContract,
    ExactnessContract,
    FindingContract,
    FieldContract,
    ListContract,
    TransactionContract,
    TaskContract,
    CleanupContract,
    TimeContract,
):
    """Everything that `IUnifiedStorage` promises."""


class SessionContract(
    SessionRecordContract,
    SessionVersionContract,
    SessionModelContract,
    SessionTypedContract,
    SessionListContract,
    SessionRefusalContract,
    SessionFieldContract,
    SessionPatchContract,
    SessionAppendContract,
    SessionTailContract,
    SessionEditContract,
    SessionEditReturnContract,
    SessionEditTimeoutContract,
    SessionEditInsideContract,
    SessionTransactionContract,
    SessionTimeContract,
):
    """Everything that `SessionService` promises on top of a storage."""
