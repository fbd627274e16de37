"""`haulier audit`: what operators did, newest first, from the database or over HTTP."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from haulier.cli.commands.record import show_record
from haulier.cli.connect import on_database
from haulier.cli.parts.invocation import Invocation, command, pass_invocation
from haulier.cli.parts.options import Instant
from haulier.cli.server import require
from haulier.cli.terminal.visible import visible
from haulier.domain.act import Act

if TYPE_CHECKING:
    from haulier.postgres.statements import Connection

MOST = 10_000
_PAST = Instant(-1)


@command("audit", example="haulier audit --action cancel --limit 5")
@click.option("--limit", type=click.IntRange(1, MOST), default=50, show_default=True, metavar="N", help="How many.")
@click.option("--job", metavar="ID", help="Only actions on this job.")
@click.option("--actor", metavar="KEY", help="Only actions by this actor: the id of an API key, env or cli.")
@click.option(
    "--action", type=click.Choice([str(act) for act in Act]), metavar="ACT", multiple=True, help="Only this action."
)
@click.option(
    "--target", metavar="NAME", help="Only actions on this queue or schedule, or on the key, worker, … with this id."
)
@click.option("--after", type=_PAST, metavar="T", help="Only actions after this time, or within this duration.")
@click.option("--before", type=_PAST, metavar="T", help="Only actions before this time, or longer ago than this.")
@pass_invocation
def audit(invocation: Invocation, /, limit: int, **asked: Any) -> None:
    """Show what operators did, newest first.

    Prints time, actor, action, target and changes. It reads the database if DATABASE_URL is set and neither --url nor
    --profile is given; otherwise it uses HTTP. Options other than --limit need HTTP.
    """
    actions = [("action", each) for each in asked.pop("action")]
    query = [*actions, *((name, str(value)) for name, value in asked.items() if value is not None)]
    if not invocation.is_on_database:
        show_record(invocation, query, limit)
        return
    require("haulier audit")
    if query or invocation.terminal.as_json:
        raise click.UsageError("options other than --limit need --url or --profile if DATABASE_URL is set")
    on_database("audit", lambda conn: _show(conn, limit))


def _show(conn: Connection, limit: int) -> None:
    from haulier.queue.access.audit_log import list_actions

    for each in list_actions(conn, limit=limit):
        what = each.job_id or each.key_id or each.target
        details = "" if each.details is None else f"  {each.details.decode()}"
        print(visible(f"{each.at:%Y-%m-%d %H:%M:%S}  {each.actor or '-':<12}  {each.action:<10}  {what}{details}"))
