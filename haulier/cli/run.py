"""`haulier run`: the API and a worker on one's own machine, with the kinds of the working directory."""

from __future__ import annotations

from pathlib import Path

from haulier.cli.server import server_command


@server_command("run", example="HAULIER_KINDS=kinds haulier run", extra="server")
def run() -> int:
    """Run API and worker on your own machine.

    It uses the database of DATABASE_URL, or an embedded Postgres if the extra `local` is installed.
    """
    from haulier.local import run as local

    return local.run(Path.cwd(), "haulier run")
