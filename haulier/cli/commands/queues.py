"""`haulier queues`: how each queue is."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import click

from haulier.cli.parts.completing import completes
from haulier.cli.parts.invocation import ClientGroup, Invocation, command, pass_invocation
from haulier.cli.parts.options import limit_option, pause_at, pause_options, show_list, steer
from haulier.cli.terminal import words
from haulier.cli.terminal.output import Cell, Terminal, columns_of

COLUMNS = columns_of(
    "QUEUE, HOW, WAITING, LATER, RUNNING, OLDEST DUE, DONE/MIN, FAILED, EMPTY IN",
    numbers="WAITING, LATER, RUNNING, OLDEST DUE, DONE/MIN, FAILED",
)
# Of the jobs that ended in the last minute, from which share and number of failures on a queue counts as failing.
FAILING_SHARE, FAILING_JOBS = 0.1, 20
FEW = 100


@click.group("queues", cls=ClientGroup)
def queues() -> None:
    """List queues; pause and resume them."""


@command("list", example="haulier queues list")
@limit_option(200)
@pass_invocation
def list_queues(invocation: Invocation, limit: int) -> None:
    """List the queues that have jobs or were used recently.

    Figures are up to 20 s old. Rates are of the last minute, and "empty in" assumes that they continue.
    """
    show_list(invocation, "/queues", COLUMNS, queue_row, limit=limit)


@command("show", example="haulier queues show default")
@click.argument("name", metavar="Q", shell_complete=completes("queues"))
@pass_invocation
def show(invocation: Invocation, name: str) -> None:
    """Show a queue."""
    terminal = invocation.terminal
    queue = invocation.api.get(_path_of(name)).body
    terminal.show(queue, lambda queue: terminal.table(COLUMNS, [queue_row(terminal, queue)]))


def queue_row(terminal: Terminal, queue: dict[str, Any]) -> list[Cell]:
    """Return the row of a queue."""
    minute = queue["last_minute"]
    return [
        queue["name"],
        terminal.state(how(queue)),
        words.number(queue["due"]),
        words.number(queue["deferred"]),
        words.number(queue["running"]),
        words.duration(queue["oldest_due_seconds"]),
        words.number(ended(minute)),
        words.share(minute["failed"], ended(minute)),
        empty_in(terminal, queue),
    ]


def ended(minute: dict[str, int]) -> int:
    """Return how many jobs ended in the minute."""
    return minute["succeeded"] + minute["failed"] + minute["cancelled"]


def how(queue: dict[str, Any]) -> str:
    """Return how a queue is, in a word."""
    minute, due = queue["last_minute"], queue["due"] or 0
    if queue["paused"]:
        return "paused"
    if minute["failed"] >= FAILING_JOBS and minute["failed"] > FAILING_SHARE * ended(minute):
        return "failing"
    if queue.get("late"):
        return "late"
    return "well" if due or queue["running"] or ended(minute) else "idle"


def empty_in(terminal: Terminal, queue: dict[str, Any]) -> str:
    """Return when the queue will be empty, if it continues as in the last minute."""
    minute, due = queue["last_minute"], queue["due"] or 0
    if queue["paused"]:
        return f"until {terminal.when(queue['paused_until'])}" if queue["paused_until"] else words.NOTHING
    if not due:
        return words.NOTHING
    falls = ended(minute) - minute["arrived"]
    if falls > 0:
        return words.duration(60 * due / falls)
    if due < FEW and how(queue) == "well":
        return "soon"
    return f"never: +{words.number(-falls)}/min" if falls else "never"


@command("pause", example="haulier queues pause default --for 1h")
@click.argument("name", metavar="Q", shell_complete=completes("queues"))
@pause_options
@pass_invocation
def pause(invocation: Invocation, name: str, until: str | None, end: str | None) -> None:
    """Pause a queue: none of its jobs starts. Running jobs continue, and new jobs are stored."""
    pause_at(invocation, _path_of(name), until, end)


@command("resume", example="haulier queues resume default")
@click.argument("name", metavar="Q", shell_complete=completes("queues"))
@pass_invocation
def resume(invocation: Invocation, name: str) -> None:
    """Resume a queue."""
    steer(invocation, f"{_path_of(name)}/resume")


def _path_of(name: str) -> str:
    return f"/queues/{quote(name, safe='')}"


for each in (list_queues, show, pause, resume):
    queues.add_command(each)
