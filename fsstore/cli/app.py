"""The commands, and the options that stand before them, put together for typer."""

from typing import Annotated, Any

import typer
from typer.core import TyperGroup

import fsstore
from fsstore.cli import checking, listing, moving, report, sessions
from fsstore.cli.failures import PipeClosedError


class Commands(TyperGroup):
    """All commands, with one way out for a closed pipe, which typer would turn into its own exit code."""

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
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback(invoke_without_command=True)(_before_commands)
    app.command("init")(sessions.init)
    app.command("put")(sessions.put)
    app.command("get")(sessions.get)
    app.command("ls")(listing.ls)
    app.command("count")(listing.count)
    app.command("update")(sessions.update)
    app.command("rm")(sessions.rm)
    app.command("import")(moving.import_)
    app.command("export")(moving.export)
    app.command("stats")(report.stats)
    app.command("health")(report.health)
    app.command("verify")(checking.verify)
    app.command("repair")(checking.repair)
    return app


def _before_commands(
    context: typer.Context,
    *,
    version: Annotated[bool, typer.Option("--version", help="Print the version and end.")] = False,
    _debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    if version:
        typer.echo(f"fsstore {fsstore.__version__}")
        raise typer.Exit
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())
