"""What was done to a store, told by marks in the record, and what a store must therefore hold after a power cut.

Each piece of work has a number, which is also the value it writes, so that a document tells who wrote it. A `History`
is read from marks: `begun` before the work, with what it does to which document; then `acknowledged`, `refused` (it did
not happen and must never), `unsure`, or nothing. `gone` says that unsure work was looked for and not found after later
work was acknowledged: it must not come back.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

Contents = dict[str, int]
"""Which work wrote each document that is there."""
TORN = -1
"""What stands for the writer of a document that is reported as corrupt."""


def body(record_id: str, number: int) -> dict[str, Any]:
    """Return the data that the work of that number gives a document; the number makes it one sector or some pages."""
    text = f"{record_id} {number} " * (10 + number * 7 % 13 * 40)
    return {"number": number, "text": text, "metadata": {"status": f"n{number}", "tags": [record_id, f"n{number}"]}}


def document(record_id: str, number: int) -> dict[str, Any]:
    """Return a record that the work of that number saves."""
    return {"id": record_id, "type": "note", "data": body(record_id, number)}


def item(record_id: str, number: int, at: int) -> dict[str, Any]:
    """Return what the work of that number appends to a document that has so many items."""
    return {"number": number, "at": at, "text": f"{record_id} {number}"}


def number_in(data: dict[str, Any]) -> int:
    """Return the number of the work that has changed a document last, as its data tells it."""
    return int(data["log"][-1]["number"] if data.get("log") else data["number"])


def is_whole(record_id: str, data: dict[str, Any]) -> bool:
    """Whether data is what one work has saved and others, all of them, have appended to."""
    log, number = data.get("log", []), number_in(data)
    numbers = [data["number"], *(each["number"] for each in log)]
    metadata = body(record_id, number)["metadata"]
    saved = {**body(record_id, data["number"]), "metadata": metadata, **({"log": log} if log else {})}
    appended = [item(record_id, each["number"], at) for at, each in enumerate(log)]
    return data == saved and log == appended and numbers == sorted(numbers)


class Work(NamedTuple):
    """One commit, or one edit by another program: which documents it leaves there, and which not, and when it began."""

    number: int
    changes: dict[str, bool]
    durable: bool
    begun_ns: int


@dataclass(slots=True)
class History:
    """What was begun, and what was said of it."""

    works: dict[int, Work] = field(default_factory=dict)
    told: dict[int, str] = field(default_factory=dict)
    edits: bool = False

    @classmethod
    def read(cls, marks: Iterable[str]) -> History:
        """Return what marks tell."""
        history = cls()
        for mark in map(json.loads, marks):
            if mark["is"] == "begun":
                history.works[mark["number"]] = Work(mark["number"], mark["changes"], mark["durable"], mark["at"])
                history.edits |= mark["edit"]
            else:
                history.told[mark["number"]] = mark["is"]
        return history

    def ids(self) -> set[str]:
        """Return the ids of all documents that were ever written."""
        return {record_id for work in self.works.values() for record_id in work.changes}

    def may_be_torn(self, record_id: str) -> bool:
        """Whether a power cut may leave a document that has to be reported."""
        return any(record_id in work.changes and not work.durable for work in self.works.values())

    def violations(self, found: Contents) -> list[str]:
        """Return what is wrong with what was found, a line each."""
        wrong = [
            f"{key} holds {number}, which nobody wrote" for key, number in found.items() if not self._wrote(number, key)
        ]
        if wrong:
            return wrong
        seen = set(found.values())
        for work in self.works.values():
            told = self.told.get(work.number, "")
            if told in ("refused", "gone") and work.number in seen:
                wrong.append(f"{work.number} is there, but it was {told}")
            if work.durable and (told == "acknowledged" or work.number in seen):
                wrong += self._missing(work, found, told or "seen elsewhere")
        return wrong

    def _wrote(self, number: int, record_id: str) -> bool:
        work = self.works.get(number)
        if number == TORN:
            return self.may_be_torn(record_id)
        return work is not None and work.changes.get(record_id, False)

    def _missing(self, work: Work, found: Contents, why: str) -> list[str]:
        """Say which documents of a work that happened show neither it nor a later one."""
        return [
            f"{record_id} is {found.get(record_id, 'absent')}, but {work.number} was {why}"
            for record_id, there in work.changes.items()
            if not self._may_follow(work.number, record_id, found.get(record_id), there=there)
        ]

    def _may_follow(self, number: int, record_id: str, found: int | None, *, there: bool) -> bool:
        later = [work for work in self.works.values() if work.number > number and record_id in work.changes]
        if found == TORN:
            return any(not work.durable for work in later)
        if found is not None:
            return found >= number
        return not there or any(not work.changes[record_id] for work in later)


def begun(number: int, changes: dict[str, bool], *, durable: bool = True, edit: bool = False) -> str:
    """Return the mark of work that begins; `edit` when another program does it."""
    word = {"is": "begun", "number": number, "changes": changes, "durable": durable, "edit": edit}
    return json.dumps({**word, "at": time.time_ns()})


def told(number: int, word: str) -> str:
    """Return the mark of what became of work."""
    return json.dumps({"is": word, "number": number})
