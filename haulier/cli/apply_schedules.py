"""`haulier schedules`: over HTTP, but for `apply`, which works on the database as `migrate` does."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from haulier.cli.commands.schedule_rules import create, edit
from haulier.cli.commands.schedules import COMMANDS
from haulier.cli.connect import on_database
from haulier.cli.migrate import correct_times
from haulier.cli.parts.invocation import ClientGroup, Invocation, pass_invocation
from haulier.cli.server import ServerCommand, find_modules_here, server_command
from haulier.config import Config
from haulier.domain.errors import ConfigError

if TYPE_CHECKING:
    from haulier.domain.schedules.schedule import Rule
    from haulier.kinds import Kind
    from haulier.postgres.statements import Connection
    from haulier.queue.schedules.schedule_file import Step

# This many faults of a file are printed, and this much of each.
MOST_FAULTS, LONGEST_FAULT = 100, 1000
DONE = {"create": "created", "change": "changed", "remove": "removed", "leave": "left as it is"}
WOULD = {"create": "would create", "change": "would change", "remove": "would remove", "leave": "would leave as it is"}


class Schedules(ClientGroup):
    """The commands, of which the help says where they work."""

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write them below the place where they work."""
        for title, is_server in (("Over HTTP", False), ("On the database of DATABASE_URL", True)):
            named = [each for each in self.commands.items() if isinstance(each[1], ServerCommand) is is_server]
            with formatter.section(title):
                formatter.write_dl([(name, each.get_short_help_str(limit=60)) for name, each in named])


@click.group("schedules", cls=Schedules)
def schedules() -> None:
    """List, create, change, pause and run schedules."""


@server_command("apply", example="haulier schedules apply schedules.toml --dry-run")
@click.argument("file", metavar="FILE", type=click.Path(path_type=Path))
@click.option("--dry-run", is_flag=True, help="Only print what would change.")
@click.option("--json", "as_json", is_flag=True, help="Print one line of JSON per schedule.")
@pass_invocation
def apply(invocation: Invocation, file: Path, dry_run: bool, as_json: bool) -> None:
    """Create, change and remove schedules as a file says.

    It works on the database of DATABASE_URL, needs the rights of `haulier migrate`, and applies the whole file or
    nothing. Schedules that a former version of the file created are removed if the file no longer has them. Schedules
    created through the API are left alone, and a file that names one is refused. Pauses stay.
    """
    if as_json:
        invocation.given["as_json"] = True
    config = Config.from_env()
    wanted = _read(invocation, file, config)
    on_database("schedules apply", lambda conn: _apply(invocation, conn, config, wanted, dry_run=dry_run))


def _read(invocation: Invocation, file: Path, config: Config) -> dict[str, Rule]:
    from haulier.schedules_toml import FaultyFile, read_schedules

    try:
        return read_schedules(file, _kinds(invocation, config))
    except FaultyFile as error:
        for fault in error.faults[:MOST_FAULTS]:
            invocation.terminal.warn(fault[:LONGEST_FAULT])
        raise


def _kinds(invocation: Invocation, config: Config) -> Mapping[str, Kind] | None:
    """Return the kinds; none if they cannot be loaded, for the release phase may lack what their modules import."""
    from haulier.kinds import load_kinds

    find_modules_here()
    try:
        return load_kinds(config)
    except ConfigError as error:
        invocation.terminal.warn(f"{error}: kinds and payloads are not checked")
        return None


def _apply(
    invocation: Invocation, conn: Connection, config: Config, wanted: Mapping[str, Rule], *, dry_run: bool
) -> None:
    from haulier.queue.schedules.schedule_file import apply_file, plan_file

    steps = plan_file(conn, wanted) if dry_run else apply_file(conn, wanted, retention_days=config.retention_days)
    for step in steps:
        _say(invocation, step, WOULD if dry_run else DONE)
    if not invocation.terminal.as_json:
        invocation.terminal.line(_summary(steps, WOULD if dry_run else DONE))
    if not dry_run:
        correct_times(conn, sys.stderr)


def _say(invocation: Invocation, step: Step, words: Mapping[str, str]) -> None:
    if invocation.terminal.as_json:
        invocation.terminal.json({"name": step.name, "action": str(step.action), "changes": step.changes})
    elif step.action != "leave":
        changes = ", ".join(_change(name, change) for name, change in sorted(step.changes.items()))
        invocation.terminal.line(f"{words[step.action]}  {step.name}{f': {changes}' if changes else ''}")


def _change(name: str, change: Mapping[str, Any]) -> str:
    # Of a payload nothing is shown: a kind's schema may mark a part of it as secret, and this goes into a log.
    if not change:
        return name
    old, new = (json.dumps(change[when], ensure_ascii=False) for when in ("old", "new"))
    return f"{name} {old} to {new}"


def _summary(steps: list[Step], words: Mapping[str, str]) -> str:
    counts = {action: sum(step.action == action for step in steps) for action in words}
    return ", ".join(f"{words[action]}: {count}" for action, count in counts.items())


for each in (*COMMANDS, create, edit, apply):
    schedules.add_command(each)
