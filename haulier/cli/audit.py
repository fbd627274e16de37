"""`python -m haulier audit`: what operators did, newest first."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from haulier.cli.database import on_database

if TYPE_CHECKING:
    from haulier.postgres.statements import Connection

MOST = 10_000


def add_to(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the parser of `python -m haulier`."""
    parser = commands.add_parser(
        "audit", help="show what operators did, newest first: when, who, what, to what, with what changed"
    )
    parser.add_argument("--limit", type=int, default=50, choices=range(1, MOST + 1), metavar="N", help="how many (50)")
    parser.set_defaults(start=on_database(_show))


def _show(conn: Connection, args: argparse.Namespace) -> None:
    from haulier.queue.access.audit import list_actions

    for each in list_actions(conn, limit=args.limit):
        what = each.job_id or each.key_id or each.target
        told = "" if each.details is None else f"  {each.details.decode()}"
        print(f"{each.at:%Y-%m-%d %H:%M:%S}  {each.actor or '-':<12}  {each.action:<10}  {what}{told}")
