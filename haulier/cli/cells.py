"""`haulier cells`: what stands in front of several cells. Needs neither a database nor the API."""

from __future__ import annotations

from pathlib import Path

import click

from haulier.cells.cells_toml import read_cells
from haulier.cells.nginx import configuration
from haulier.cli.parts.invocation import ClientGroup, Command, Invocation, pass_invocation


@click.group("cells", cls=ClientGroup)
def cells() -> None:
    """Write the configuration of the router of several cells."""


@cells.command("nginx", cls=Command, example="haulier cells nginx cells.toml > /etc/nginx/conf.d/haulier.conf")
@click.argument("file", metavar="[FILE]", default="cells.toml", type=click.Path(path_type=Path))
@pass_invocation
def nginx(invocation: Invocation, file: Path) -> None:
    """Print a configuration for nginx, made from FILE (cells.toml).

    nginx then takes each call to the cell of the id in its path, or else to the cell of its API key.
    """
    invocation.terminal.raw(configuration(read_cells(file)))
