"""`haulier cell`: what is done to a cell and its tenants, on the databases of both cells."""

from __future__ import annotations

import click

from haulier.cli.cell_assign import assign
from haulier.cli.cell_move import move
from haulier.cli.parts.invocation import ClientGroup


@click.group("cell", cls=ClientGroup)
def cell() -> None:
    """Move a cell to another server, or a tenant to another cell."""


cell.add_command(assign)
cell.add_command(move)
