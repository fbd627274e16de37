"""`python -m haulier audit`: what operators did, newest first."""

from __future__ import annotations

import argparse

from haulier.postgres.statements import Connection
from haulier.queue.access.audit import list_actions

MOST = 10_000


def add_to(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the parser of `python -m haulier`. Shape: args.act then takes a connection and the args."""
    parser = commands.add_parser("audit", help="show what operators did, newest first: when, who, what, and to what")
    parser.add_argument("--limit", type=int, default=50, choices=range(1, MOST + 1), metavar="N", help="how many (50)")
    parser.set_defaults(act=_show)


def _show(conn: Connection, args: argparse.Namespace) -> None:
    for each in list_actions(conn, limit=args.limit):
        print(f"{each.at:%Y-%m-%d %H:%M:%S}  {each.actor or '-':<12}  {each.action:<10}  {each.job_id or each.key_id}")
