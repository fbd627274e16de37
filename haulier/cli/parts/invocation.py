"""One call of `haulier`: the options that every command takes, wherever they stand, and what is made of them."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import cache, cached_property
from importlib import import_module
from typing import Any

import click
from click.core import ParameterSource

from haulier.cli.client import profiles
from haulier.cli.client.client_errors import Code, CommandError
from haulier.cli.client.service import Chosen, choose
from haulier.cli.terminal.output import Terminal
from haulier.client.api import Api
from haulier.config import client_variables
from haulier.version import version

COLORS = ("auto", "always", "never")
# What Python raises if the parts of an answer are missing, of another type, or too deep or too large.
MISSHAPEN = (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError)
NAMES = {"help_option_names": ["-h", "--help"]}


@dataclass
class Invocation:
    """What was asked for. `given` has the options by their names."""

    given: dict[str, Any] = field(default_factory=dict)

    @cached_property
    def variables(self) -> dict[str, str]:
        """Return what the environment says."""
        return client_variables()

    @cached_property
    def terminal(self) -> Terminal:
        """Return where to print."""
        return Terminal(
            as_json=self.given.get("as_json", False),
            color=self.given.get("color", "auto"),
            is_quiet=self.given.get("quiet", False),
            no_color="NO_COLOR" in self.variables or self.variables.get("TERM") == "dumb",
        )

    @property
    def names_a_service(self) -> bool:
        """Return whether a flag says which service is meant."""
        return "url" in self.given or "profile" in self.given

    @property
    def is_on_database(self) -> bool:
        """Return whether a command that works on the database as well as over HTTP is to work there."""
        return "DATABASE_URL" in self.variables and not self.names_a_service

    @cached_property
    def service(self) -> Chosen:
        """Return the service to be called. Raises: CommandError."""
        service = choose(self.variables, url=self.given.get("url"), profile=self.given.get("profile"))
        if service.is_plain:
            self.terminal.warn(f"{service.url} is not encrypted: others on the network can read the key")
        return service

    @cached_property
    def api(self) -> Api:
        """Return its API. Raises: CommandError."""
        trace = self.terminal.trace if self.given.get("verbose") else None
        api = Api(self.service, note=self.terminal.note, trace=trace)
        click.get_current_context().find_root().call_on_close(api.close)
        return api


pass_invocation = click.make_pass_decorator(Invocation, ensure=True)


def _misshapen(invocation: Invocation, error: Exception) -> Exception:
    """Return what to raise for an error of Python's: itself, or CommandError if a service was called before."""
    api = vars(invocation).get("api")
    if api is None or not api.was_called:
        return error
    if invocation.given.get("verbose"):
        for line in traceback.format_exception(error):
            for each in line.splitlines():
                invocation.terminal.trace(each)
    said = f"{api.service.host} answers, but not like Haulier {version()}: is the URL {api.service.url} right?"
    return CommandError(said, Code.UNREACHABLE)


def _keep(context: click.Context, parameter: click.Parameter, value: Any) -> None:
    invocation = context.ensure_object(Invocation)
    name = str(parameter.name)
    if context.get_parameter_source(name) is ParameterSource.COMMANDLINE:
        invocation.given[name] = value


def _complete_profile(_: click.Context, __: click.Parameter, begun: str) -> list[str]:
    variables = client_variables()
    # Completion at a Tab prints no error.
    with suppress(CommandError):
        return [name for name in profiles.read(profiles.path_in(variables)).by_name if name.startswith(begun)]
    return []


@cache
def shared_options() -> tuple[click.Parameter, ...]:
    """Return the options that every command takes, which stand before it or after it."""
    kept: dict[str, Any] = {"expose_value": False, "callback": _keep}
    return (
        click.Option(["--profile"], metavar="NAME", help="Profile to use.", shell_complete=_complete_profile, **kept),
        click.Option(["--url"], metavar="URL", help="URL of the service, instead of a profile.", **kept),
        click.Option(["--json", "as_json"], is_flag=True, help="Print the answer of the API, for programs.", **kept),
        click.Option(["--color"], type=click.Choice(COLORS), help="Whether to use colours.", **kept),
        click.Option(["-q", "--quiet"], is_flag=True, help="Do not print progress.", **kept),
        click.Option(["-v", "--verbose"], is_flag=True, help="Show requests and answers, without the key.", **kept),
    )


class Command(click.Command):
    """A command whose help ends with an example."""

    def __init__(self, *args: Any, example: str = "", **options: Any) -> None:
        super().__init__(*args, **{"context_settings": NAMES, **options})
        self.example = example

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the example."""
        if self.example:
            with formatter.section("Example"):
                for line in self.example.splitlines():
                    formatter.write(f"{'':>{formatter.current_indent}}{line}\n")


class ClientCommand(Command):
    """A command that calls the API."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command. Raises: CommandError also if an answer has not the shape of Haulier's answers."""
        try:
            return super().invoke(ctx)
        except MISSHAPEN as error:
            raise _misshapen(ctx.ensure_object(Invocation), error) from error

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        """Return its own options, and those of every command."""
        *own, help_option = super().get_params(ctx)
        return [*own, *shared_options(), help_option]

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write its own options, and after them those of every command."""
        shared = {option.name for option in shared_options()} | {"help"}
        written = [(each.name in shared, each.get_help_record(ctx)) for each in self.get_params(ctx)]
        for title, is_shared in (("Options", False), ("Options of every command", True)):
            records = [record for shares, record in written if record and shares is is_shared]
            if records:
                with formatter.section(title):
                    formatter.write_dl(records)


class ClientGroup(click.Group):
    """Commands about one thing."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the command of this name. Raises: click.UsageError, which names similar ones."""
        if not args[0].startswith("-") and not ctx.resilient_parsing and self.get_command(ctx, args[0]) is None:
            # Not by click, which knows only commands that are loaded.
            similar = get_close_matches(args[0], self.list_commands(ctx))
            suggestion = f" Did you mean {' or '.join(similar)}?" if similar else ""
            ctx.fail(f"No such command {args[0]!r}.{suggestion}")
        return super().resolve_command(ctx, args)

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **{"context_settings": NAMES, **options})

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse the arguments; without any, print the help on stderr and leave with 2, as click 8.2 does."""
        if not args and not ctx.resilient_parsing:
            click.echo(ctx.get_help(), err=True)
            ctx.exit(Code.USAGE)
        return super().parse_args(ctx, args)

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        """Return its own options, and those of every command."""
        *own, help_option = super().get_params(ctx)
        return [*own, *shared_options(), help_option]


def command(name: str, *, example: str, **options: Any) -> Callable[[Callable[..., Any]], ClientCommand]:
    """Return a decorator that makes a command of a function, whose docstring is its help."""
    return click.command(name, cls=ClientCommand, example=example, **options)


def load(place: str) -> click.Command:
    """Return the command that is there, as module:name."""
    module, _, name = place.partition(":")
    found: click.Command = getattr(import_module(module), name)
    return found
