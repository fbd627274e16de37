"""`haulier schedules`: over HTTP."""

from __future__ import annotations

import click

from haulier.cli.commands.invocation import ClientGroup
from haulier.cli.commands.schedule_rules import create, edit
from haulier.cli.commands.schedules import COMMANDS


@click.group("schedules", cls=ClientGroup)
def schedules() -> None:
    """See, make and steer what is enqueued by the clock."""


for each in (*COMMANDS, create, edit):
    schedules.add_command(each)
