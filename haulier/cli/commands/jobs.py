"""`haulier jobs`: finds jobs and shows them; what is done to them is in other files."""

from __future__ import annotations

from typing import Any

import click

from haulier.cli.client.pages import Listing
from haulier.cli.commands.acting import ACTS
from haulier.cli.commands.changing import change, copy
from haulier.cli.commands.following import tail, watch
from haulier.cli.commands.invocation import ClientGroup, Invocation, command, pass_invocation
from haulier.cli.commands.job_view import JOB_COLUMNS, Job, job_row, show_job
from haulier.cli.commands.options import Ids, filtered, flat, with_error_found
from haulier.cli.terminal import words


@click.group("jobs", cls=ClientGroup)
def jobs() -> None:
    """Find jobs; cancel, retry, change, delete them."""


@command("list", example="haulier jobs list --status failed --kind send_email --after 1h")
@filtered
@click.option("--limit", type=click.IntRange(1), default=50, show_default=True, metavar="N", help="How many at most.")
@pass_invocation
def list_jobs(invocation: Invocation, query: list[tuple[str, str]], limit: int) -> None:
    """List jobs, newest first.

    Options that are marked * may be given more than once: any of them will do.
    """
    terminal, api = invocation.terminal, invocation.api
    found = Listing(api, "/jobs", with_error_found(api, query), limit=limit)
    terminal.show_each(found, lambda jobs: terminal.table(JOB_COLUMNS, [job_row(terminal, job) for job in jobs]))
    if found.looked_back_to:
        terminal.warn(f"looked back to {found.looked_back_to}; older jobs may match: --before {found.looked_back_to}")


@command("show", example="haulier jobs show 01a2108e-9bc5-7bc3-a7c0-cbc0c5973a71")
@click.argument("given", metavar="ID", type=Ids())
@pass_invocation
def show(invocation: Invocation, given: list[str]) -> None:
    """Show a job: what happened to it, and why it waits."""
    [job_id] = flat([given])
    api, terminal = invocation.api, invocation.terminal
    job = api.get(f"/jobs/{job_id}").body
    if terminal.as_json:
        terminal.json(job)
        return
    steps = api.get(f"/jobs/{job_id}/timeline").body["steps"]
    is_live = job["status"] in ("queued", "retrying", "running")
    show_job(terminal, Job(job, steps, api.get(f"/jobs/{job_id}/explain").body if is_live else None))


@command("count", example="haulier jobs count --status queued --queue default")
@filtered
@pass_invocation
def count(invocation: Invocation, query: list[tuple[str, str]]) -> None:
    """Count jobs.

    "at least" stands before the number where there may be more. Options that are marked * may be given more than
    once: any of them will do.
    """
    counted = invocation.api.get("/jobs/count", with_error_found(invocation.api, query)).body

    def people(counted: dict[str, Any]) -> None:
        about = "" if counted["is_exact"] else "at least "
        number = words.number(counted["count"]) if invocation.terminal.is_screen else str(counted["count"])
        invocation.terminal.line(f"{about}{number}")

    invocation.terminal.show(counted, people)


for each in (list_jobs, show, count, watch, tail, *ACTS, change, copy):
    jobs.add_command(each)
