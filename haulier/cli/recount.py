"""`python -m haulier recount`: the numbers of the last 24 hours, counted again."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from haulier.cli.database import on_database

if TYPE_CHECKING:
    from haulier.postgres.statements import Connection


def add_to(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the parser of `python -m haulier`."""
    parser = commands.add_parser(
        "recount", help="count the jobs of the last 24 hours, and those that live, again; safe to repeat"
    )
    parser.set_defaults(start=on_database(_recount))


def _recount(conn: Connection, _: argparse.Namespace) -> None:
    from haulier.queue.upkeep.numbers import recount

    late = recount(conn)
    if late is None:
        print("nothing has been counted yet: no worker with COUNTING=on has run")
    else:
        print(f"counted again: {late.arrived} arrivals and {late.ended} ends had been missed")
