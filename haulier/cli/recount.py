"""`python -m haulier recount`: the numbers of the last 24 hours, counted again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from haulier.cli.connect import on_database
from haulier.cli.server import server_command

if TYPE_CHECKING:
    from haulier.postgres.statements import Connection


@server_command("recount", example="haulier recount")
def recount() -> None:
    """Recount the live jobs and those of the last 24 hours.

    It is safe to repeat.
    """
    on_database("recount", _recount)


def _recount(conn: Connection) -> None:
    from haulier.queue.numbers.counts import recount
    from haulier.queue.numbers.depths import count_live

    late = recount(conn)
    if late is None:
        print("nothing has been counted yet: no worker with COUNTING=on has run")
    else:
        count_live(conn)
        print(f"counted again: {late.arrived} missing arrivals and {late.ended} missing ends were added")
