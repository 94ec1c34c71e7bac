"""The documents that ADK's sessions are, and what changes them. Pure.

    app/APP                    the state that all sessions of an app share
    user/APP/USER              the state that all sessions of a user share
    session/APP/USER/SESSION   a session: its own state, and its events

A slash stands between parts only (see `parts`). State is in the metadata: an index has that, so that a list opens no
document, and filters reach into it. A change of state is `dict.update`: a value takes the place of another one as a
whole, and None is a value.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from pydantic_core import to_jsonable_python

from fsstore.errors import StorageCorruptedError, StorageNotFoundError, StorageValidationError
from fsstore.integrations.parts import part
from fsstore.model.expected import Expected
from fsstore.model.mutations import AnyMutation, Append, Check, Mutation
from fsstore.model.records import Filters, JsonObject
from fsstore.sessions.appending import appending_session
from fsstore.sessions.mutations import SESSION, saving_session

APP = "google_adk.app"
USER = "google_adk.user"

EVENTS = "events"

_AFTER_SLASH = "0"
"""The character after the slash: where the range of what is below a name ends."""

_logger = logging.getLogger("fsstore")


class Owner(NamedTuple):
    """An app, and a user of it."""

    app_name: str
    user_id: str

    @property
    def app_document(self) -> str:
        """The id of the state of the app."""
        return f"app/{part(self.app_name)}"

    @property
    def user_document(self) -> str:
        """The id of the state of the user."""
        return f"user/{part(self.app_name)}/{part(self.user_id)}"

    def session_document(self, session_id: str) -> str:
        """Return the id of a session."""
        return f"session/{part(self.app_name)}/{part(self.user_id)}/{part(session_id)}"


class Scopes(NamedTuple):
    """State by how far it reaches; keys have no prefix."""

    app: JsonObject
    user: JsonObject
    session: JsonObject

    def merged(self) -> JsonObject:
        """Return the state as a session shows it."""
        app = {f"app:{key}": value for key, value in self.app.items()}
        user = {f"user:{key}": value for key, value in self.user.items()}
        return {**self.session, **app, **user}


def scopes_of(state: Mapping[str, Any] | None) -> Scopes:
    """Take a state apart, as JSON; what begins with `temp:` is left out.

    A value that is no JSON becomes its text, with a warning, as in ADK's own stores. Raises StorageValidationError for
    what has no text either, such as a value that contains itself.
    """
    scopes = Scopes({}, {}, {})
    for key, value in (state or {}).items():
        # with the colon: "app" and "user" alone are keys like any other
        if key.startswith("app:"):
            scopes.app[key.removeprefix("app:")] = value
        elif key.startswith("user:"):
            scopes.user[key.removeprefix("user:")] = value
        elif not key.startswith("temp:"):
            scopes.session[key] = value
    return Scopes(*map(_json_of, scopes))


def _json_of(state: JsonObject) -> JsonObject:
    try:
        plain: JsonObject = to_jsonable_python(state)
    except ValueError as error:
        _logger.warning("a state holds what is no JSON, and is stored as text: %s", error)
        return _text_of(state)
    return plain


def _text_of(state: JsonObject) -> JsonObject:
    try:
        plain: JsonObject = to_jsonable_python(state, serialize_unknown=True)
    except ValueError as error:
        raise StorageValidationError(reason=f"the state cannot be stored: {error}", path="state") from error
    return plain


def state_of(metadata: Any) -> JsonObject:
    """Return the state that a document has; a document edited by hand may hold anything, or none."""
    state = metadata.get("state") if isinstance(metadata, Mapping) else None
    return state if isinstance(state, dict) else {}


# -- what a commit is made of -----------------------------------------------------------------------------------------


def making(
    owner: Owner, session_id: str, scopes: Scopes, events: Sequence[JsonObject] = (), *, at: float, now: str
) -> list[AnyMutation]:
    """Make a session that must not be there, last updated `at` (a Unix time), and change what it shares."""
    metadata = {**owner._asdict(), "adk_session_id": session_id, "last_update_time": at, "state": scopes.session}
    data = {"metadata": metadata, EVENTS: [*events]}
    save = saving_session(owner.session_document(session_id), data, now, expected_version=0)
    return [save, *_sharing(owner, scopes)]


def appending(
    owner: Owner, session_id: str, event: JsonObject, scopes: Scopes, *, version: int, now: str
) -> list[AnyMutation]:
    """Put an event at the end of a session that must be of that version, and change all state in the same commit."""
    document = owner.session_document(session_id)
    changes: list[AnyMutation] = [Check(document, Expected(version, SESSION))]
    metadata = {"last_update_time": event["timestamp"]}
    if any(value is None or isinstance(value, dict) for value in scopes.session.values()):
        # a merge patch cannot say either, so the document is parsed
        changes.append(_updating(document, scopes.session))
        scopes = scopes._replace(session={})
    change = appending_session(
        document, [event], now, path=EVENTS, metadata={**metadata, "state": scopes.session}, create=False
    )
    return [*changes, _taken_literally(change), *_sharing(owner, scopes)]


def _taken_literally(change: Append) -> Append:
    """Allow any key in the patch: those of a state are the agent's, also with dots in them."""
    return change if change.patch is None else change._replace(patch=change.patch._replace(misread=()))


def _sharing(owner: Owner, scopes: Scopes) -> list[AnyMutation]:
    made: list[AnyMutation] = []
    if scopes.app:
        made.append(_sharing_one(owner.app_document, APP, {"app_name": owner.app_name}, scopes.app))
    if scopes.user:
        made.append(_sharing_one(owner.user_document, USER, owner._asdict(), scopes.user))
    return made


def _sharing_one(document: str, kind: str, own: JsonObject, delta: JsonObject) -> Mutation:
    absent: JsonObject = {"type": kind, "data": {"metadata": own}}

    def rule(current: JsonObject | None) -> JsonObject:
        Expected(type=kind).check(document, current)
        return _updated(current or absent, delta)

    return Mutation(document, rule)


def _updating(document: str, delta: JsonObject) -> Mutation:
    """Change the state of a session, which an earlier change of the commit has found to be there."""

    def rule(current: JsonObject | None) -> JsonObject:
        if current is None:
            raise StorageNotFoundError(id=document)
        return _updated(current, delta)

    return Mutation(document, rule)


def _updated(record: JsonObject, delta: JsonObject) -> JsonObject:
    """Return a record with another state. Raises StorageCorruptedError for one that somebody has changed by hand."""
    metadata = record["data"].get("metadata", {}) if type(record["data"]) is dict else None
    if type(metadata) is not dict or type(metadata.get("state", {})) is not dict:
        raise StorageCorruptedError(id=record.get("id"), reason="it holds no state of ADK")
    changed = {**metadata, "state": {**state_of(metadata), **delta}}
    return {**record, "data": {**record["data"], "metadata": changed}}


# -- what is listed ---------------------------------------------------------------------------------------------------


def sessions_of(app_name: str, user_id: str | None) -> Filters:
    """Match the sessions of an app, or of one user of it."""
    return _below(SESSION, "session", app_name, *(() if user_id is None else (user_id,)))


def users_of(app_name: str) -> Filters:
    """Match what has the state of the users of an app."""
    return _below(USER, "user", app_name)


def _below(kind: str, *names: str) -> Filters:
    below = "/".join(map(part, names)) + "/"
    return {"type": kind, "id": {"$gte": below, "$lt": below[:-1] + _AFTER_SLASH}}
