"""`haulier run`: the API and a worker on one's own machine, with the kinds of the working directory."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_to(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the parser of `python -m haulier`."""
    parser = commands.add_parser(
        "run", help="API and worker on one's own machine, on DATABASE_URL or, where haulier[local] is, an own Postgres"
    )
    parser.set_defaults(start=_run)


def _run(args: argparse.Namespace) -> int:
    from haulier.local.run import run

    return run(Path.cwd(), "haulier run")
