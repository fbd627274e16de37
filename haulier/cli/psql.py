"""`haulier psql`: psql on the database of `haulier run`, or on DATABASE_URL."""

from __future__ import annotations

from pathlib import Path

import click

from haulier.cli.server import server_command


@server_command("psql", example="haulier psql -- --list")
@click.argument("arguments", metavar="[-- ARGUMENTS]", nargs=-1)
def psql(arguments: tuple[str, ...]) -> None:
    """Open psql on the database of `haulier run` or on DATABASE_URL.

    If DATABASE_URL is not set, `haulier run` must be running in the current folder. psql gets the arguments after `--`.
    """
    from haulier.local import psql as local

    local.psql(Path.cwd(), "haulier run", arguments)
