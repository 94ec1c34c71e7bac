"""The command line: `fsstore init | put | get | edit | ls | count | update | rm | watch | import | export | ...`.

This module starts a command and turns whatever becomes of it into an exit code and, for an error, one line on standard
error (`failures` says which). The other modules: `app` puts the commands together, `getting`, `sessions`, `editing`,
`listing`, `watching`, `appending`, `moving`, `report`, `checking`, `scrubbing`, `guides` and `git` are the commands,
`options` is what they share, `opening` opens their store, `where` reads their expressions, `output` and `progress`
print, `asking` asks. For git, `repository` and `attributes` are its settings, `driver` is what it starts, `transcript`
is how it shows a document, and `marking` how a conflict looks in one.

Importing this module is cheap; what a command needs is loaded when it runs.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

_DEBUG = "--debug"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; `arguments` are those of the process unless given."""
    from fsstore.cli.output import prepare_streams  # noqa: PLC0415 - see the module's docstring

    given = list(sys.argv[1:] if arguments is None else arguments)
    debug = _takes_debug(given)
    prepare_streams()
    try:
        code = _run(given)
        # here, since an error while the interpreter shuts down could not be reported any more
        _flush()
    except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 - the last frame: every error becomes an exit code
        return _fail(error, debug=debug)
    return code


def _takes_debug(arguments: list[str]) -> bool:
    """Whether `--debug` is among the options, before or after the command; it is taken out of them."""
    end = arguments.index("--") if "--" in arguments else len(arguments)
    found = _DEBUG in arguments[:end]
    arguments[:end] = [argument for argument in arguments[:end] if argument != _DEBUG]
    return found


def _run(arguments: list[str]) -> int:
    if arguments[:1] == ["get"]:
        from fsstore.cli.getting import plainly_asked, show_session  # noqa: PLC0415 - see the module's docstring

        if (wanted := plainly_asked(arguments[1:])) is not None:
            show_session(wanted)
            return 0
    from typer.main import get_command  # noqa: PLC0415 - see the module's docstring

    from fsstore.cli.app import build  # noqa: PLC0415 - the same

    result = get_command(build())(args=arguments, prog_name="fsstore", standalone_mode=False)
    return result if isinstance(result, int) else 0


def _fail(error: BaseException, *, debug: bool) -> int:
    """Tell the user what went wrong, and return the exit code for it."""
    import typer  # noqa: PLC0415 - see the module's docstring

    from fsstore.cli.failures import INTERRUPTED, PIPE_CLOSED, PipeClosedError, explain  # noqa: PLC0415 - the same
    from fsstore.cli.output import say  # noqa: PLC0415 - the same

    _discard_unwritten()
    if isinstance(error, PipeClosedError | BrokenPipeError):
        return PIPE_CLOSED
    if isinstance(error, KeyboardInterrupt | typer.Abort):
        say("stopped")
        return INTERRUPTED
    if debug:
        import traceback  # noqa: PLC0415 - see the module's docstring

        traceback.print_exception(error)
    code, text = explain(error)
    say(f"error: {text}")
    return code


def _flush() -> None:
    if sys.stdout is not None:
        sys.stdout.flush()


def _discard_unwritten() -> None:
    """Write what is still buffered, or give it up: the interpreter would fail over it once more at its end."""
    try:
        _flush()
    except OSError:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)
