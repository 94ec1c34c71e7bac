"""One call of `edit_session`: its turn among the tasks, its tries, its timeout, and what its function must not do.

Invariants:
- Of the tasks of one event loop one at a time edits a session: they would only defeat each other.
- The timeout bounds everything that is awaited: the turn, reading, the function, the pauses and the commit, for whose
  answer it waits a moment longer.
- While the function runs, whatever it calls, also in tasks and threads that it starts, cannot write its session
  through a service over the same storage: it would wait for itself, or defeat the edit. What goes on after the function
  has returned may write.

A crash leaves nothing: an edit is one commit.
"""

from __future__ import annotations

import asyncio
import inspect
import random
from collections.abc import AsyncGenerator, Awaitable, Callable, Container, Mapping
from contextlib import asynccontextmanager, suppress
from contextvars import ContextVar
from typing import Any, TypeAlias

from fsstore.errors import StorageConflictError, StorageNotFoundError, StorageTimeoutError, StorageValidationError
from fsstore.interfaces import IUnifiedStorage
from fsstore.loops import check_loop
from fsstore.model.mutations import AnyMutation
from fsstore.model.records import JsonObject, check_id
from fsstore.model.times import format_time
from fsstore.model.values import snapshot
from fsstore.sessions.inputs import SessionInput
from fsstore.sessions.mutations import editing_session, shown

Edit: TypeAlias = "Callable[[JsonObject], Awaitable[SessionInput | None] | SessionInput | None]"
Turns: TypeAlias = dict[tuple[int, str], tuple[asyncio.Lock, int]]
"""By event loop and session: the lock, and how many tasks have it or wait for it."""

_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 0.0005, 0.02
_ONE_TRY_SECONDS = 5.0
_ANSWER_SECONDS = 0.25
_FOR_EVER_SECONDS = 1e9
_SHOWN_KEYS = 5
_LOST = (
    "it was written during every try, by somebody else or by fn itself: "
    "try again, raise timeout_seconds, or see who writes so often"
)
_TAKING = {
    "turn": ("the end of another task's edit", "let that edit end sooner, or raise timeout_seconds"),
    "read": ("the session", "try again, or raise timeout_seconds"),
    "fn": ("the end of fn", "nothing was written; make fn quicker, or raise timeout_seconds"),
    "commit": (
        "the answer to the commit",
        "the edit may have been written or not: read the session before you repeat it, or raise timeout_seconds",
    ),
}
"""What an edit waits for, step by step, and what to do when it takes too long."""


class _Run:
    """One run of the function of an edit."""

    __slots__ = ("bound", "is_active", "session_id", "storage", "waits_for")

    def __init__(self, storage: IUnifiedStorage, session_id: str, bound: asyncio.Timeout) -> None:
        self.storage = storage
        self.session_id = session_id
        self.bound = bound
        self.is_active = True
        # the session whose edit by another task it waits for, by an edit inside it
        self.waits_for: str | None = None


# of this task, and of those that started it: tasks, and threads of asyncio.to_thread, get a copy
_RUNS: ContextVar[tuple[_Run, ...]] = ContextVar("fsstore_edits", default=())


def refuse_inside_edit(storage: IUnifiedStorage, session_ids: Container[str], what: str) -> None:
    """Raise StorageValidationError if the caller runs inside the function of an edit of one of the sessions."""
    for run in _RUNS.get():
        if run.is_active and run.storage is storage and run.session_id in session_ids:
            raise StorageValidationError(
                reason=f"{what} cannot write the session inside the fn of edit_session for the same session",
                id=run.session_id,
                advice="change the draft that was given to fn, or do it after edit_session",
            )


class EditCall:
    """One call of `edit_session`."""

    def __init__(
        self, storage: IUnifiedStorage, session_id: str, fn: Edit, *, timeout_seconds: float, replace: bool
    ) -> None:
        """Take the call in. Raises StorageValidationError, also for a session that the caller is editing already."""
        check_loop()
        _check(fn, timeout_seconds)
        self._storage = storage
        self._session_id = check_id(session_id)
        refuse_inside_edit(storage, [session_id], "edit_session")
        self._fn = fn
        self._replace = replace
        self._timeout_seconds = min(timeout_seconds, _FOR_EVER_SECONDS)
        # a try that may take no time could never succeed
        self._deadline = asyncio.get_running_loop().time() + (self._timeout_seconds or _ONE_TRY_SECONDS)
        self._step = "turn"
        self._lost: StorageConflictError | None = None
        self._waited_for: str | None = None

    async def run(self, turns: Turns) -> JsonObject:
        """Edit, and return the session as saved."""
        try:
            async with asyncio.timeout_at(self._deadline) as bound, self._turn(turns):
                return await self._edit(bound)
        except TimeoutError as error:
            # those of fn and of the storage are their own
            if type(error) is not TimeoutError or not bound.expired():
                raise
            raise self._out_of_time() from error

    # -- the turn -----------------------------------------------------------------------------------------------------

    @asynccontextmanager
    async def _turn(self, turns: Turns) -> AsyncGenerator[None]:
        key = (id(asyncio.get_running_loop()), self._session_id)
        lock, waiting = turns.get(key) or (asyncio.Lock(), 0)
        if waiting and not self._timeout_seconds:
            raise self._out_of_time()
        turns[key] = (lock, waiting + 1)
        try:
            await self._acquire(lock)
            try:
                yield
            finally:
                # whoever is next may wait in a loop that was closed over this edit and that one
                with suppress(RuntimeError):
                    lock.release()
        finally:
            lock, waiting = turns.pop(key)
            if waiting > 1:
                turns[key] = (lock, waiting - 1)

    async def _acquire(self, lock: asyncio.Lock) -> None:
        around = [run for run in _RUNS.get() if run.is_active]
        for run in around:
            run.waits_for = self._session_id
        try:
            await lock.acquire()
        finally:
            # where its own time is up, what it has waited for is worth knowing
            for run in (run for run in around if not run.bound.expired()):
                run.waits_for = None

    # -- the tries ----------------------------------------------------------------------------------------------------

    async def _edit(self, bound: asyncio.Timeout) -> JsonObject:
        pause = _FIRST_PAUSE_SECONDS
        while True:
            self._step = "read"
            seen = await self._storage.load(self._session_id)
            if seen is None or seen["type"] != "session":
                raise StorageNotFoundError(id=self._session_id)
            self._step = "fn"
            draft: JsonObject = snapshot(shown(seen), record_id=self._session_id)
            edited = await self._edited(draft, bound)
            if self._is_late():
                raise self._out_of_time()
            now = format_time(self._storage.clock())
            # what fn has returned may be the caller's
            mutation, saved = editing_session(self._session_id, edited, now, seen=seen, copies=edited is not draft)
            # whether it was applied is worth knowing, and the answer is near
            bound.reschedule(self._deadline + _ANSWER_SECONDS)
            if await self._committed(mutation):
                return saved
            bound.reschedule(self._deadline)
            self._step = "read"
            await asyncio.sleep(random.uniform(0, pause))  # noqa: S311 - spreads the tries, hides nothing
            pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)

    async def _edited(self, draft: JsonObject, bound: asyncio.Timeout) -> SessionInput:
        """Let the function change the draft, and return the session that it wants."""
        run = _Run(self._storage, self._session_id, bound)
        before = _RUNS.set((*_RUNS.get(), run))
        try:
            returned: Any = self._fn(draft)
            if inspect.isawaitable(returned):
                returned = await returned
        except asyncio.CancelledError:
            if run.waits_for is not None:
                self._waited_for = run.waits_for
            raise
        finally:
            run.is_active = False
            # a coroutine that is thrown away is closed in the context of the code that does that
            with suppress(ValueError):
                _RUNS.reset(before)
        if returned is None or returned is draft:
            return draft
        if not self._replace:
            raise StorageValidationError(
                reason=f"it returned {_described(returned)}, which is not the draft",
                path="fn",
                id=self._session_id,
                advice="change the draft in place and return nothing, or pass replace=True to save what is returned",
            )
        session: SessionInput = returned
        return session

    async def _committed(self, mutation: AnyMutation) -> bool:
        """Commit; False when somebody else wrote in between and there is time for another try."""
        self._step = "commit"
        try:
            await self._storage.commit([mutation])
        except StorageConflictError as error:
            self._lost = StorageConflictError(
                id=error.id, expected=error.expected, actual=error.actual, reason=error.reason, advice=_LOST
            )
            if self._is_late() or not self._timeout_seconds:
                raise self._lost from error
            return False
        return True

    # -- the timeout --------------------------------------------------------------------------------------------------

    def _is_late(self) -> bool:
        return asyncio.get_running_loop().time() >= self._deadline

    def _out_of_time(self) -> StorageConflictError | StorageTimeoutError:
        if self._lost is not None and self._step != "commit":
            return self._lost
        what, advice = _TAKING[self._step]
        if self._waited_for is not None:
            what += f", which waits for another task's edit of session {self._waited_for!r},"
            advice = (
                "nothing was written; where edits of two sessions stand inside each other, take the sessions in the "
                "same order everywhere, or use transaction()"
            )
        elif self._step == "turn" and any(run.is_active for run in _RUNS.get()):
            advice += "; take sessions in the same order wherever an edit stands inside an edit"
        return StorageTimeoutError(
            id=self._session_id,
            path=f"session {self._session_id!r}",
            reason=what,
            timeout_seconds=self._timeout_seconds,
            advice=advice,
            outcome="unknown" if self._step == "commit" else "not applied",
        )


def _check(fn: Any, timeout_seconds: Any) -> None:
    if not callable(fn):
        raise StorageValidationError(
            reason=f"must be a function of the session, not {type(fn).__name__}",
            path="fn",
            advice="pass a function that changes the draft, or use update_session for a merge patch",
        )
    is_number = isinstance(timeout_seconds, int | float) and not isinstance(timeout_seconds, bool)
    # not a number is not zero or more
    if not is_number or not timeout_seconds >= 0:
        raise StorageValidationError(
            reason=f"must be a number of seconds, zero or more, not {timeout_seconds!r}",
            path="timeout_seconds",
            advice="leave it out for 30 seconds, or pass 0 for one try",
        )


def _described(returned: Any) -> str:
    """Return the type of a value, and the keys of an object; its content may be nobody's business."""
    kind = f"a value of type {type(returned).__name__}"
    if isinstance(returned, Mapping) and returned:
        keys = ", ".join(map(repr, list(returned)[:_SHOWN_KEYS]))
        return f"{kind} with the keys {keys}" + (", ..." if len(returned) > _SHOWN_KEYS else "")
    return kind
