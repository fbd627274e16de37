"""`haulier workers`: which there are, and lets one claim no more."""

from __future__ import annotations

from typing import Any

import click

from haulier.cli.job_commands.acting import each_of
from haulier.cli.parts.invocation import ClientGroup, Invocation, command, pass_invocation
from haulier.cli.parts.options import Ids, flat, limit_option, show_list
from haulier.cli.terminal import words
from haulier.cli.terminal.output import Cell, Terminal, columns_of
from haulier.client.api import Call
from haulier.domain.worker import worker_name

COLUMNS = columns_of(
    "ID, STATE, WHERE, VERSION, THREADS, RUNNING, STARTED, LAST BEAT, QUEUES", numbers="THREADS, RUNNING", long="QUEUES"
)
worker_ids = click.argument("given", metavar="ID...", nargs=-1, type=Ids())


@click.group("workers", cls=ClientGroup)
def workers() -> None:
    """List workers; stop one from claiming jobs."""


@command("list", example="haulier workers list")
@limit_option(200)
@pass_invocation
def list_workers(invocation: Invocation, limit: int) -> None:
    """List the workers, newest first."""
    show_list(invocation, "/workers", COLUMNS, worker_row, limit=limit)


def worker_row(terminal: Terminal, worker: dict[str, Any]) -> list[Cell]:
    """Return the row of a worker."""
    return [
        worker["id"],
        terminal.state(worker["state"]),
        worker_name(worker["host"], worker["pid"]),
        worker["version"] or words.NOTHING,
        str(worker["threads"]),
        str(worker["running"]),
        terminal.when(worker["started_at"]),
        terminal.when(worker["beat_at"]),
        "all" if worker["queues"] is None else ", ".join(worker["queues"]),
    ]


@command("quiet", example="haulier workers quiet 01a2108e-9bc5-7bc3-a7c0-000000000008")
@worker_ids
@pass_invocation
def quiet(invocation: Invocation, given: list[list[str]]) -> int:
    """Stop workers from claiming jobs. Running jobs continue."""
    return _set(invocation, flat(given), is_quiet=True)


@command("wake", example="haulier workers wake 01a2108e-9bc5-7bc3-a7c0-000000000008")
@worker_ids
@pass_invocation
def wake(invocation: Invocation, given: list[list[str]]) -> int:
    """Let workers claim jobs again."""
    return _set(invocation, flat(given), is_quiet=False)


def _set(invocation: Invocation, ids: list[str], *, is_quiet: bool) -> int:
    return each_of(
        invocation,
        ids,
        lambda worker: Call("PATCH", f"/workers/{worker}", body={"quiet": is_quiet}, is_safe=True),
        lambda worker, answer: f"{worker}  {answer.body['state']}",
    )


for each in (list_workers, quiet, wake):
    workers.add_command(each)
