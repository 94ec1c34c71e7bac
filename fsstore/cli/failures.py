"""From an error to an exit code and one line that says what happened and what to do next.

0 done, 1 not found, 2 wrong usage or input, 3 conflict, 4 corrupt, 5 unavailable, timed out or closed, 70 an error in
fsstore itself, 130 stopped by the user, 141 the reader of the output went away. For scrub 1 is that secrets were found,
for import --skip-invalid 2 is that something was left out, and for import 4 that a document could not be replaced.
"""

import re

from fsstore.errors import (
    StorageConflictError,
    StorageCorruptedError,
    StorageError,
    StorageNotFoundError,
    StorageTransactionError,
    StorageValidationError,
)
from fsstore.filesystem.disk.system import unavailable

NOT_FOUND, USAGE, CONFLICT, CORRUPT, UNAVAILABLE = 1, 2, 3, 4, 5
EXPOSED = 1
# as sysexits.h has it, and as a shell reports a process that SIGINT or SIGPIPE ended
INTERNAL, INTERRUPTED, PIPE_CLOSED = 70, 130, 141

_CODES: tuple[tuple[type[StorageError], int], ...] = (
    (StorageNotFoundError, NOT_FOUND),
    (StorageValidationError, USAGE),
    (StorageConflictError, CONFLICT),
    (StorageTransactionError, CONFLICT),
    (StorageCorruptedError, CORRUPT),
    # what is left is unavailable, timed out or closed
    (StorageError, UNAVAILABLE),
)


# how typer, and pydantic, which newer versions of typer ask, say what is wrong
_OURS = (
    (re.compile("Value error, "), ""),
    (re.compile(r"Input should be greater than or equal to (\S+)"), r"must be \1 or more"),
    (re.compile(r"Input should be less than or equal to (\S+)"), r"must be \1 or less"),
    (re.compile(r"Input should be a valid integer.*"), "must be a whole number"),
    (re.compile(r"\.? (?:Did you mean|\(Possible options:) (.*?)[?)]+$"), r"; did you mean \1?"),
)


# what an error advises a program to do, and what the reader of a terminal can do; in this order
_FOR_COMMANDS = (
    (re.compile(r"open_sessions\(path\) or (?=`fsstore )"), ""),
    (re.compile(r", or open it with create=True"), ""),
    (re.compile(r", or use edit_session, which does that"), ""),
    (re.compile(r"with edit_session first"), "with `fsstore update` first"),
    (
        re.compile(r", as rotate_session does with a session, or raise max_bytes"),
        ", or give a larger --max-bytes, which put, update and import take",
    ),
    (re.compile(r"open the store with a larger max_bytes"), "give get, ls or export a larger --max-bytes"),
    (
        re.compile(r", or allow_network=True if a single process uses the store"),
        "; only a program may open this one, with allow_network=True, and no other beside it",
    ),
    (re.compile(r"replace_surrogates \((--replace-surrogates)\)"), r"\1"),
    (re.compile(r", as by text\.encode\(.*\); (?=`fsstore import)"), "; "),
    (re.compile(r"give a datetime or ISO"), "give ISO"),
    (re.compile(r"with urllib\.parse\.quote\(PASSWORD, ''\) if it has one"), "with the password percent-encoded"),
    (re.compile(r"raise lock_timeout_seconds, or "), "or "),
    (re.compile(r",? (?:or raise (?:connect_)?timeout_seconds|or raise pool_size|lower pool_size(?=,))"), ""),
)


class PipeClosedError(Exception):
    """Nobody reads the output any more. Not an OSError, which typer would take for its own business."""


def explain(error: BaseException) -> tuple[int, str]:
    """Return the exit code for an error, and its text."""
    for kind, code in _CODES:
        if isinstance(error, kind):
            error.word_for_sessions()
            return code, _for_commands(error)
    if isinstance(error, OSError):
        return UNAVAILABLE, str(unavailable(error, "the system"))
    if is_usage_error(error):
        return USAGE, _usage(error)
    return (
        INTERNAL,
        f"internal error: {type(error).__name__}: {error}; run it again with --debug and report what it shows",
    )


def _for_commands(error: StorageError) -> str:
    """Return the text of an error with advice for who has no program to change; a text of the caller's own stays."""
    text = str(error)
    if not error.advice or not text.endswith(error.advice):
        return text
    return text.removesuffix(error.advice) + for_commands(error.advice)


def for_commands(advice: str) -> str:
    """Return advice that names calls and options of Python with the commands and options of the command line."""
    for call, command in _FOR_COMMANDS:
        advice = call.sub(command, advice)
    return advice


def is_usage_error(error: BaseException) -> bool:
    """Whether typer raised it about the command line. Its base class has no public name that all its versions share."""
    return hasattr(error, "format_message")


def _usage(error: BaseException) -> str:
    message = " ".join(str(error.format_message()).split()).rstrip(".")  # type: ignore[attr-defined]
    for theirs, ours in _OURS:
        message = theirs.sub(ours, message)
    context = getattr(error, "ctx", None)
    if context is not None and context.parent is None and not getattr(error, "possibilities", True):
        message += ": the options of a command stand behind its name, as in fsstore ls --store PATH"
    command = context.command_path if context is not None else "fsstore"
    return f"{message}{'' if message.endswith('?') else ';'} see '{command} --help'"
