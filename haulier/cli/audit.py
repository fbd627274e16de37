"""`python -m haulier audit`: what operators did, newest first."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from haulier.cli.database import on_database
from haulier.cli.server import server_command

if TYPE_CHECKING:
    from haulier.postgres.statements import Connection

MOST = 10_000


@server_command("audit", example="haulier audit --limit 5")
@click.option("--limit", type=click.IntRange(1, MOST), default=50, show_default=True, metavar="N", help="How many.")
def audit(limit: int) -> None:
    """Show what operators did, newest first.

    When, who, what, and to what.
    """
    on_database("audit", lambda conn: _show(conn, limit))


def _show(conn: Connection, limit: int) -> None:
    from haulier.queue.access.audit import list_actions

    for each in list_actions(conn, limit=limit):
        what = each.job_id or each.key_id or each.target
        print(f"{each.at:%Y-%m-%d %H:%M:%S}  {each.actor or '-':<12}  {each.action:<10}  {what}")
