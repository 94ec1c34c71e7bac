"""The commands, and the options that stand before them, put together for typer.

A command is loaded when it is called for, with its module: typer works out every option of a command when it is made,
which for all of them costs as much as it takes to answer. The help, completion and a name that is none need them all.
"""

from importlib import import_module
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command, get_group

import fsstore
from fsstore.cli.failures import PipeClosedError, is_usage_error
from fsstore.model.values import is_text

_COMMANDS = {
    "init": "sessions:init",
    "put": "sessions:put",
    "get": "sessions:get",
    "edit": "editing:edit",
    "ls": "listing:ls",
    "count": "listing:count",
    "append": "appending:append",
    "update": "sessions:update",
    "rm": "sessions:rm",
    "watch": "watching:watch",
    "import": "moving:import_",
    "export": "moving:export",
    "migrate": "migrating:migrate",
    "stats": "report:stats",
    "health": "report:health",
    "verify": "checking:verify",
    "repair": "checking:repair",
    "scrub": "scrubbing:scrub",
    "git": "git.commands:commands",
    "guide": "guides:guide",
}
"""Where each command is, in the order of the help: a function, or an application of its own with several commands."""

_PLAIN: Any = {"rich_markup_mode": None, "pretty_exceptions_enable": False}


_PATHS = frozenset({"store", "location", "sources", "source", "target"})
"""Parameters that name files and directories, which on some systems may be any bytes."""


class Command(TyperCommand):
    """A command that takes text: bytes that are no UTF-8 are wrong usage, but in the name of a file."""

    def parse_args(self, ctx: Any, args: Any) -> Any:
        """Read the arguments. Raises BadParameter for one that is no text, also from the environment."""
        try:
            rest = super().parse_args(ctx, args)
        except Exception as error:
            # its parser does not say so of an option without its value, or with one too many
            if is_usage_error(error) and getattr(error, "ctx", ctx) is None:
                error.ctx = ctx  # type: ignore[attr-defined]
            raise
        param: Any  # typer's own kind of it differs between its versions
        for param in self.params:
            given = ctx.params.get(param.name)
            for value in given if isinstance(given, list | tuple) else [given]:
                # while the shell completes, nothing is refused
                if ctx.resilient_parsing or param.name in _PATHS or not isinstance(value, str) or is_text(value):
                    continue
                raise typer.BadParameter(f"{value!r} is not UTF-8.", ctx=ctx, param=param)
        return rest


class Commands(TyperGroup):
    """All commands, with one way out for a closed pipe, which typer would turn into its own exit code."""

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002 - the group's interface
        """Return the names of all commands; none is loaded."""
        return list(dict.fromkeys((*_COMMANDS, *self.commands)))

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Return a command, and load it first where that was not done; None when there is none of that name."""
        # for a name that is none all are loaded: typer looks among them for the one that was meant
        known = cmd_name in _COMMANDS or cmd_name in self.commands
        for name in [cmd_name] if known else _COMMANDS:
            if name not in self.commands:
                self.commands[name] = _loaded(name)
        return super().get_command(ctx, cmd_name)

    def invoke(self, ctx: Any) -> Any:
        """Run the command. Raises PipeClosedError when nobody reads its output any more."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError as error:
            raise PipeClosedError from error


def build() -> typer.Typer:
    """Return the application. Help and errors are plain: with rich, every command would pay for loading it."""
    app = typer.Typer(
        name="fsstore",
        cls=Commands,
        help="Sessions in a directory: every session is one readable JSON file.",
        context_settings={"help_option_names": ["-h", "--help"]},
        **_PLAIN,
    )
    app.callback(invoke_without_command=True)(_before_commands)
    return app


def _loaded(name: str) -> Any:
    module, _, attribute = _COMMANDS[name].partition(":")
    found = getattr(import_module(f"fsstore.cli.{module}"), attribute)
    if isinstance(found, typer.Typer):
        return get_group(found)
    alone = typer.Typer(add_completion=False, **_PLAIN)
    alone.command(name, cls=Command)(found)
    return get_command(alone)


def _before_commands(
    context: typer.Context,
    *,
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False,
    _debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    if version:
        typer.echo(f"fsstore {fsstore.__version__}")
        raise typer.Exit
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())
