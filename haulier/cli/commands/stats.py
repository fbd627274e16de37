"""`haulier stats`: figures of the last hour, day, week or month."""

from __future__ import annotations

from typing import Any

import click

from haulier.cli.parts.completing import completes
from haulier.cli.parts.invocation import Invocation, command, pass_invocation
from haulier.cli.parts.options import span_option
from haulier.cli.terminal import words
from haulier.cli.terminal.output import Column, Terminal

COUNTS = ("arrived", "succeeded", "failed", "cancelled", "attempts")
TIMES = {"waited": "wait_seconds", "ran": "run_seconds"}
PERCENTILES = ("p50", "p95", "p99")


@command("stats", example="haulier stats --span 24h --queue default")
@span_option
@click.option("--queue", metavar="Q", shell_complete=completes("queues"), help="Only this queue.")
@click.option("--kind", metavar="KIND", shell_complete=completes("kinds"), help="Only this kind.")
@pass_invocation
def stats(invocation: Invocation, /, **asked: str | None) -> None:
    """Show statistics: arrivals, outcomes, wait times and run times."""
    query = [(name, value) for name, value in asked.items() if value is not None]
    found = invocation.api.get("/stats", query).body
    invocation.terminal.show(found, lambda found: _people(invocation.terminal, found))


def _people(terminal: Terminal, found: dict[str, Any]) -> None:
    if found["as_of"] is None:
        terminal.warn("nothing has been counted yet: no worker with COUNTING=on has run")
    terminal.line(f"last {found['span']}, as of {terminal.when(found['as_of'])}")
    totals = found["totals"]
    columns = [Column(name.upper(), is_number=True) for name in COUNTS]
    terminal.table(columns, [[words.number(totals[name]) for name in COUNTS]])
    terminal.line()
    columns = [Column(""), *(Column(name.upper(), is_number=True) for name in PERCENTILES)]
    terminal.table(
        columns, [[verb, *(words.duration(totals[name][each]) for each in PERCENTILES)] for verb, name in TIMES.items()]
    )
    terminal.line()
    terminal.line(now(found))
    for name, values in series(found).items():
        terminal.line(f"{words.spark(values)}  {name}")


def now(found: dict[str, Any]) -> str:
    """Return the live jobs in a line."""
    return (
        f"waiting {words.number(found['due'])} due, {words.number(found['deferred'])} later"
        f"   oldest {words.duration(found['oldest_due_seconds'])}   running {words.number(found['running'])}"
    )


def series(found: dict[str, Any]) -> dict[str, list[float | None]]:
    """Return what a line of blocks shows, by its name."""
    steps = found["series"]
    ended = [step["succeeded"] + step["failed"] + step["cancelled"] for step in steps]
    return {
        "throughput": ended,
        "failures": [step["failed"] for step in steps],
        "backlog": [step["due"] for step in steps],
    }
