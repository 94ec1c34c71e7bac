"""The command that lets a person change a session in an editor: edit.

Invariants:
- Nothing is saved but what is valid, and only over exactly what the editor was given: somebody else's change in
  between, also one by hand, is never lost.
- What was written in the editor is never lost either: whatever refuses it, the file stays, and its place is reported.
- The text lies in a private directory, 0700 with a file of 0600, so that also what an editor leaves beside it is
  private; it is removed once nothing in it is needed any more.
- The store is closed while the editor is open.
"""

import os
import re
import shlex
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fsstore.cli.asking import can_ask, says_yes
from fsstore.cli.opening import with_store
from fsstore.cli.options import Store
from fsstore.cli.output import say, show_lines
from fsstore.cli.sessions import SessionId
from fsstore.errors import StorageError, StorageNotFoundError, StorageUnavailableError, StorageValidationError
from fsstore.model.json_text import BYTE_ORDER_MARK
from fsstore.model.values import write_json
from fsstore.printing import printable

if TYPE_CHECKING:
    from fsstore.model.records import JsonObject
    from fsstore.sessions.service import SessionService

_EMPTY: "JsonObject" = {"metadata": {}, "settings": {}, "thread_configs": {}, "workflow_state": {}}
_EDITORS = ("sensible-editor", "editor", "nano", "vim", "vi", "emacs", "notepad")
_ADVICE = "set VISUAL or EDITOR to one that is there, as in EDITOR='code --wait'"
_PLACE = re.compile(r"(?P<reason>.*) at line (?P<line>[0-9]+) column (?P<column>[0-9]+)", re.DOTALL)


def edit(
    session_id: SessionId,
    *,
    create: Annotated[bool, typer.Option("--create", help="Write a new session; it must not exist yet.")] = False,
    store: Store = None,
) -> None:
    """Change a session in an editor, and save what is valid.

    The editor is $VISUAL, $EDITOR, or one that is there. Saves if nobody changed the session in between, and prints
    the id. A text that is refused is kept in a file.
    """
    from fsstore.model.records import check_id  # noqa: PLC0415 - only this command needs it

    check_id(session_id)
    seen = with_store(store, lambda sessions: _seen(sessions, session_id, create=create), create=create)
    given = write_json(_EMPTY if seen is None else _shown(seen), indent=True)
    with _draft(session_id, given) as draft:
        saved = None
        while saved is None:
            _run_editor(draft)
            try:
                saved = _save_edited(store, session_id, draft, given, seen)
            except StorageValidationError as error:
                if not _goes_on(error):
                    raise
    if saved:
        show_lines(session_id)
    else:
        say("nothing was changed")


def _save_edited(store: str | None, session_id: str, draft: Path, given: bytes, seen: "JsonObject | None") -> bool:
    """Save what stands in the file; False when it is what was given."""
    edited = _edited(draft, given, session_id)
    if edited is not None:
        with_store(store, lambda sessions: _save(sessions, session_id, edited, seen))
    return edited is not None


# -- the store --------------------------------------------------------------------------------------------------------


async def _seen(sessions: "SessionService", session_id: str, *, create: bool) -> "JsonObject | None":
    from fsstore.model.expected import Expected  # noqa: PLC0415 - only this command needs it

    if create:
        # of any type: a document that is no session is in the way too
        Expected(version=0).check(session_id, await sessions.storage.load(session_id))
        return None
    # as it is, not as it is shown: nothing else may be there when it is saved
    seen = await sessions.storage.load(session_id)
    if seen is None or seen["type"] != "session":
        raise StorageNotFoundError(id=session_id)
    return seen


def _shown(seen: "JsonObject") -> "JsonObject":
    from fsstore.sessions.mutations import shown  # noqa: PLC0415 - only this command needs it

    session: JsonObject = shown(seen)
    return session


async def _save(sessions: "SessionService", session_id: str, data: "JsonObject", seen: "JsonObject | None") -> None:
    from fsstore.model.times import format_time  # noqa: PLC0415 - only this command needs it
    from fsstore.sessions.mutations import editing_session  # noqa: PLC0415 - the same

    if seen is None:
        await sessions.save_session(session_id, data, expected_version=0)
        return
    # not by the version alone, which does not distinguish a document from one that was edited by hand meanwhile
    mutation, _ = editing_session(session_id, data, format_time(sessions.storage.clock()), seen=seen)
    await sessions.storage.commit([mutation])


# -- the text ---------------------------------------------------------------------------------------------------------


@contextmanager
def _draft(session_id: str, text: bytes) -> Iterator[Path]:
    """Give a private file with a text, and remove it; if the block fails, what was written into it stays."""
    folder = Path(tempfile.mkdtemp(prefix="fsstore-edit-"))
    path = folder / f"{re.sub(r'[^A-Za-z0-9._-]+', '-', session_id).strip('.-')[:60] or 'session'}.json"
    try:
        path.touch(mode=0o600)
        path.write_bytes(text)
    except OSError:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    try:
        yield path
    except StorageError as error:
        if _was_changed(path, text):
            error.advise(f"your text is kept in {path}")
            raise
        shutil.rmtree(folder, ignore_errors=True)
        raise
    except BaseException:
        if _was_changed(path, text):
            say(f"your text is kept in {path}")
        else:
            shutil.rmtree(folder, ignore_errors=True)
        raise
    else:
        shutil.rmtree(folder, ignore_errors=True)


def _was_changed(path: Path, text: bytes) -> bool:
    try:
        return path.read_bytes() != text
    except FileNotFoundError:
        return False
    except OSError:
        return True  # what cannot be read must not be thrown away


def _edited(draft: Path, given: bytes, session_id: str) -> "JsonObject | None":
    """Return the session that stands in the file, None if it is the one that was given."""
    try:
        text = draft.read_bytes().removeprefix(BYTE_ORDER_MARK)
    except FileNotFoundError as error:
        raise StorageUnavailableError(
            reason="the editor took it away", path=str(draft), advice="edit it again"
        ) from error
    if text == given:
        return None
    session = _parsed(text)
    if write_json(session, indent=True) == given:
        return None
    _check(session, session_id)
    return session


def _parsed(text: bytes) -> "JsonObject":
    from fsstore.model.json_text import read_exact  # noqa: PLC0415 - only this command needs it

    try:
        session = read_exact(text)
    except ValueError as error:
        place = _PLACE.fullmatch(str(error))
        where = f"line {place['line']}, column {place['column']}: " if place else ""
        reason = place["reason"] if place else str(error)
        raise StorageValidationError(reason=f"{where}the text {reason}") from error
    if type(session) is not dict:
        raise StorageValidationError(reason=f"the text is a JSON {type(session).__name__}, a session is an object")
    return session


def _check(session: "JsonObject", session_id: str) -> None:
    """Raise StorageValidationError unless it is a session that can be saved under that id."""
    from fsstore.model.times import format_time, utc_now  # noqa: PLC0415 - the same
    from fsstore.sessions.models import SessionData  # noqa: PLC0415 - the same
    from fsstore.sessions.models.loading import load_model  # noqa: PLC0415 - only this command needs it

    now = format_time(utc_now())
    try:
        load_model(SessionData, session, session_id=session_id, created_at=now, updated_at=now)
    except StorageValidationError as error:
        # the advice is for a caller of Python
        refused = StorageValidationError(reason=error.reason, path=error.path, id=session_id)
        refused.word_for_sessions()
        raise refused from error
    named = session.get("metadata", {}).get("session_id", session_id)
    if named != session_id:
        raise StorageValidationError(
            reason=f"the id is {session_id!r} and cannot be changed to {named!r}",
            path="$.metadata.session_id",
            advice="put it back, and use edit --create for a new session",
        )


def _goes_on(error: StorageValidationError) -> bool:
    """Report what is wrong, and return whether the user wants to go on."""
    if not can_ask():
        return False
    say(f"this cannot be saved: {error}")
    return says_yes("Edit it again?", unless_no=True)


# -- the editor -------------------------------------------------------------------------------------------------------


def _run_editor(path: Path) -> None:
    """Let the user edit a file. Raises StorageUnavailableError when the editor cannot be started, or failed."""
    command = _editor()
    shown = printable(shlex.join(command))
    try:
        process = subprocess.Popen([*command, str(path)])  # noqa: S603 - the user's own choice
    except OSError as error:
        raise StorageUnavailableError(
            reason=error.strerror or str(error), path=f"the editor {shown}", errno=error.errno, advice=_ADVICE
        ) from error
    # Ctrl-C is the editor's now; not ignored before it starts, since it would inherit that
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        code = process.wait()
    finally:
        signal.signal(signal.SIGINT, before)
    if code:
        raise StorageUnavailableError(
            reason=f"it ended with the exit code {code}",
            path=f"the editor {shown}",
            advice="nothing was saved; " + _ADVICE,
        )


def _editor() -> list[str]:
    """Return the command that the user wants to edit with, and its arguments."""
    for variable in ("VISUAL", "EDITOR"):
        if text := os.environ.get(variable, "").strip():
            try:
                return shlex.split(text, posix=os.name == "posix")
            except ValueError as error:
                raise StorageValidationError(reason=f"{text!r}: {error}", path=variable, advice=_ADVICE) from error
    for name in _EDITORS:
        if found := shutil.which(name):
            return [found]
    raise StorageUnavailableError(reason="none was found", path="an editor", advice=_ADVICE)
