"""`haulier errors`: groups of failed attempts."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import click

from haulier.cli.parts.completing import completes
from haulier.cli.parts.invocation import ClientGroup, Invocation, command, pass_invocation
from haulier.cli.parts.options import Duration, Instant, error_id, limit_option, show_list
from haulier.cli.terminal import words
from haulier.cli.terminal.output import Cell, Terminal, columns_of
from haulier.client.api import Call
from haulier.domain.span import SPANS

COLUMNS = columns_of("ID, KIND, FAILED, TO RETRY, FIRST, LAST, MUTED, ERROR", numbers="FAILED, TO RETRY", long="ERROR")
# This many queues of a group are named.
MOST_QUEUES = 5
span_option = click.option(
    "--span",
    type=click.Choice(list(SPANS)),
    default="24h",
    show_default=True,
    help="Length of the period that ends now.",
)


@click.group("errors", cls=ClientGroup)
def errors() -> None:
    """List groups of similar errors; mute a group."""


@command("list", example="haulier errors list --span 1h --kind mail")
@span_option
@click.option("--kind", metavar="KIND", shell_complete=completes("kinds"), help="Only jobs of this kind.")
@click.option("--queue", metavar="Q", shell_complete=completes("queues"), help="Only failures in this queue.")
@click.option("--text", metavar="TEXT", help="Only groups with this in their text or example. Case does not matter.")
@limit_option(50)
@pass_invocation
def list_errors(invocation: Invocation, /, limit: int, **asked: str | None) -> None:
    """List groups of similar errors, last seen first."""
    query = [(name, value) for name, value in asked.items() if value is not None]
    show_list(invocation, "/errors", COLUMNS, error_row, limit=limit, query=query)


def error_row(terminal: Terminal, group: dict[str, Any]) -> list[Cell]:
    """Return the row of a group."""
    return [
        group["id"],
        group["kind"],
        words.number(group["failed"]),
        words.number(group["retried"]),
        terminal.when(group["first_seen"]),
        terminal.when(group["last_seen"]),
        terminal.when(group["muted_until"]),
        group["text"],
    ]


@command("show", example='haulier errors show "no luck"')
@click.argument("given", metavar="ID|TEXT")
@span_option
@pass_invocation
def show(invocation: Invocation, given: str, span: str) -> None:
    """Show an error group, by its id or by a part of its text or example that no other group has."""
    api, terminal = invocation.api, invocation.terminal
    group = api.get(f"/errors/{error_id(api, given)}", [("span", span)]).body

    def people(group: dict[str, Any]) -> None:
        terminal.line(f"{group['kind']}  {group['text']}")
        terminal.line(
            f"{group['id']}  first {terminal.when(group['first_seen'])}, last {terminal.when(group['last_seen'])}"
        )
        if group["muted_until"]:
            terminal.line(f"muted until {group['muted_until']}")
        terminal.line()
        series = words.spark([step["failed"] + step["retried"] for step in group["series"]])
        failed, retried = words.number(group["failed"]), words.number(group["retried"])
        terminal.line(f"in {span}: {failed} failed permanently, {retried} to be retried  {series}")
        for each in group["queues"][:MOST_QUEUES]:
            counts = [words.number(each[name]) for name in ("failed", "retried")]
            terminal.line(f"  in {each['queue']}: {counts[0]} failed permanently, {counts[1]} to be retried")
        terminal.line()
        terminal.line(f"first error, job {group['example_job'] or 'of another queue'}:")
        terminal.block("", group["example"] or words.NOTHING)

    terminal.show(group, people)


@command("mute", example='haulier errors mute "no luck" --for 8h')
@click.argument("given", metavar="ID|TEXT")
@click.option("--for", "seconds", type=Duration(), metavar="S", help="Duration; a day by default.")
@click.option("--until", type=Instant(1), metavar="T", help="End time.")
@click.option("--off", is_flag=True, help="Unmute.")
@pass_invocation
def mute(invocation: Invocation, given: str, seconds: float | None, until: str | None, off: bool) -> None:
    """Mute an error group, so that the dashboard raises no notice for it."""
    if (seconds is not None) + (until is not None) + off > 1:
        raise click.UsageError("give only one of --for, --until and --off")
    api, terminal = invocation.api, invocation.terminal
    end = datetime.now(UTC) + timedelta(seconds=86_400 if seconds is None else seconds)
    muted_until = None if off else until or end.isoformat().replace("+00:00", "Z")
    call = Call("PATCH", f"/errors/{error_id(api, given)}", body={"muted_until": muted_until}, is_safe=True)
    group = api.send(call).body
    said = f"muted until {group['muted_until']}" if group["muted_until"] else "no longer muted"
    terminal.show(group, lambda group: terminal.line(f"{group['id']}  {said}"))


for each in (list_errors, show, mute):
    errors.add_command(each)
