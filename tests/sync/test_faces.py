"""The synchronous faces have what the asynchronous classes have, and nothing of their own."""

from __future__ import annotations

import inspect
import re
from typing import Any

import pytest

from fsstore import IUnifiedStorage, SessionService, SessionTransaction, TypedSessions, sync
from fsstore.sessions.typed import TypedTransaction
from fsstore.sync import faces
from tests.sync_face import FACE
from tests.sync_face import faces as written

PAIRS: list[tuple[type, type]] = [
    (SessionService, sync.SessionService),
    (IUnifiedStorage, sync.Storage),
    (SessionTransaction, sync.SessionTransaction),
    (TypedSessions, sync.TypedSessions),
    (TypedTransaction, sync.TypedTransaction),
]
OTHERWISE = {"edit_session": {"fn"}}
"""Parameters whose type is another: a function of an edit is a plain one."""


def test_the_faces_are_written_from_the_classes() -> None:
    assert FACE.read_text("utf-8") == written(), "run `python -m tests.sync_face`"


def public(kind: type) -> dict[str, Any]:
    return {
        name: value
        for name, value in inspect.getmembers(kind, inspect.isfunction)
        if name[0] != "_" and name != "clock"
    }


@pytest.mark.parametrize(("inner", "face"), PAIRS)
def test_each_method_has_the_name_the_arguments_the_defaults_and_the_words_of_the_other(
    inner: type, face: type
) -> None:
    ours, theirs = public(face), public(inner)
    assert theirs.keys() <= ours.keys()
    assert ours.keys() - theirs.keys() <= {"run"}
    for name, method in theirs.items():
        here, there = inspect.signature(ours[name]), inspect.signature(method)
        assert list(here.parameters) == list(there.parameters), name
        for parameter in set(here.parameters) - OTHERWISE.get(name, set()) - {"self"}:
            assert here.parameters[parameter] == there.parameters[parameter], name
        given = re.sub(r"^AsyncGenerator", "Iterator", str(there.return_annotation))
        assert str(here.return_annotation) == given, name
        assert not inspect.iscoroutinefunction(ours[name])
        if name in vars(faces.SessionMethods) or name in vars(faces.StorageMethods):
            words = (inspect.getdoc(method) or "").replace("`async with`", "`with`").replace("`async for`", "`for`")
            assert (inspect.getdoc(ours[name]) or "").split() == words.split(), name
