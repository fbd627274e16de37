"""`haulier cell move`: the database of a cell goes to another server."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from haulier.cli.client.client_errors import Code, CommandError
from haulier.cli.parts.invocation import ClientGroup, Invocation, command, pass_invocation
from haulier.cli.server import require
from haulier.cli.terminal.output import columns_of
from haulier.config import Config
from haulier.domain.errors import ConfigError

if TYPE_CHECKING:
    from haulier.cells.move.sides import Move

COLUMNS = columns_of("table, state, source MB, target MB", numbers="source MB, target MB")
# What a copy wrote on the machine of docs/benchmarks.md.
MB_PER_SECOND = 10


@click.group("move", cls=ClientGroup)
def move() -> None:
    """Move the database of DATABASE_URL to TARGET_DATABASE_URL while it works."""


@command("prepare", example="haulier cell move prepare")
@pass_invocation
def prepare(invocation: Invocation) -> None:
    """Check both servers, close the target, and start to copy.

    It can be repeated. It refuses with the setting to change, and then nothing has changed.
    """

    def act(found: Move, config: Config) -> None:
        from haulier.cells.move.prepare import prepare

        left_out = prepare(found, config.source_database_url or config.direct_url)
        for name in left_out:
            invocation.terminal.warn(f"haulier.{name} is not moved: it is no table of Haulier's")
        _show(invocation, found)

    _with_move(invocation, act)


@command("status", example="haulier cell move status")
@pass_invocation
def status(invocation: Invocation) -> None:
    """Show how far the move has come, and what comes next."""
    _with_move(invocation, lambda found, _: _show(invocation, found), locked=False)


@command("switch", example="haulier cell move switch --within 15")
@click.option(
    "--within",
    type=click.FloatRange(1, 600),
    default=15.0,
    show_default=True,
    metavar="SECONDS",
    help="Seconds for the target to catch up; after that the source opens again.",
)
@pass_invocation
def switch(invocation: Invocation, within: float) -> None:
    """Close the source, and open the target once it has everything.

    It can be repeated, and continues a switch that was interrupted.
    """

    def act(found: Move, _: Config) -> None:
        from haulier.cells.move.switch import switch

        switch(found, within=within)
        _show(invocation, found)

    _with_move(invocation, act)


@command("abort", example="haulier cell move abort")
@pass_invocation
def abort(invocation: Invocation) -> None:
    """Give the move up: the source serves, and the target is emptied.

    It can be repeated. It refuses once the target has opened.
    """

    def act(found: Move, _: Config) -> None:
        from haulier.cells.move.abort import abort

        abort(found)
        _show(invocation, found)

    _with_move(invocation, act, needs_target=False)


for each in (prepare, status, switch, abort):
    move.add_command(each)


def _with_move(
    invocation: Invocation, act: Callable[[Move, Config], None], *, locked: bool = True, needs_target: bool = True
) -> None:
    path = click.get_current_context().command_path
    require(path)
    if invocation.names_a_service:
        raise CommandError(
            f"`{path}` uses DATABASE_URL and TARGET_DATABASE_URL, so --url and --profile do not apply", Code.USAGE
        )
    from haulier.cells.move.sides import move_of

    config = Config.from_env()
    if config.target_database_url is None:
        raise ConfigError("TARGET_DATABASE_URL is not set: set it to the address of the database that gets the cell")
    with move_of(config.direct_url, config.target_database_url, locked=locked, needs_target=needs_target) as found:
        act(found, config)


def _show(invocation: Invocation, found: Move) -> None:
    from haulier.cells.move.progress import progress

    invocation.terminal.show(progress(found), lambda shown: _people(invocation, shown))


def _people(invocation: Invocation, shown: dict[str, Any]) -> None:
    terminal, tables = invocation.terminal, shown["tables"]
    if tables:
        cells = [[each["name"], each["state"], _mb(each["source_bytes"]), _mb(each["target_bytes"])] for each in tables]
        terminal.table(COLUMNS, cells)
    if shown["stage"] == "copying":
        source, target = (sum(each[name] for each in tables) for name in ("source_bytes", "target_bytes"))
        minutes = max(0, source - target) / 1e6 / MB_PER_SECOND / 60
        terminal.line(
            f"{_mb(target)} of {_mb(source)} MB; about {minutes:.0f} minutes are left at {MB_PER_SECOND} MB/s"
        )
    if (lag := shown["lag_bytes"]) is not None:
        terminal.line(f"the target is {_mb(lag)} MB behind{'' if shown['connected'] else ', and not connected'}")
    for name in ("source", "target"):
        terminal.line(f"the {name} is {'closed' if shown[f'{name}_closed'] else 'open'}")
    terminal.line(f"stage: {shown['stage']}; next: {shown['next']}")


def _mb(number: int) -> str:
    return f"{number / 1e6:.1f}"
