"""`haulier jobs`: finds jobs and shows them; what is done to them is in other files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import click

from haulier.cli.job_commands.acting import ACTS
from haulier.cli.job_commands.changing import change, copy
from haulier.cli.job_commands.following import tail, watch
from haulier.cli.parts.invocation import ClientGroup, Invocation, command, pass_invocation
from haulier.cli.parts.job_view import JOB_COLUMNS, Job, job_row, show_job
from haulier.cli.parts.options import Ids, filtered, flat, limit_option, show_list, warn_of_end, with_error_found
from haulier.cli.terminal import words
from haulier.client.pages import MOST_A_PAGE, Listing
from haulier.domain.job import WAITING_STATUSES, JobOrder, JobStatus

# What an order of the list is of.
STATUSES_OF: Mapping[JobOrder, Sequence[JobStatus]] = {
    JobOrder.DUE: WAITING_STATUSES,
    JobOrder.STARTED: [JobStatus.RUNNING],
}


@click.group("jobs", cls=ClientGroup)
def jobs() -> None:
    """Find, cancel, retry, change and delete jobs."""


@command("list", example="haulier jobs list --status failed --kind send_email --after 1h")
@filtered
@click.option(
    "--sort",
    type=click.Choice([str(each) for each in JobOrder]),
    metavar="ORDER",
    help="due: next to run in a --queue; started: longest running. 200 jobs at most.",
)
@click.option("--ids", is_flag=True, help="Print only ids, one a line, for `haulier jobs cancel -` and the like.")
@limit_option(50)
@pass_invocation
def list_jobs(invocation: Invocation, query: list[tuple[str, str]], sort: str | None, ids: bool, limit: int) -> None:
    """List jobs, newest first.

    Options marked * may be repeated: a job matches if any of the values does.
    """
    terminal = invocation.terminal
    if ids and terminal.as_json:
        raise click.UsageError("give either --ids or --json")
    wanted = with_error_found(invocation.api, query if sort is None else [*query, *_in_order(sort, query, limit)])
    if ids:
        items = Listing(invocation.api, "/jobs", wanted, limit=limit)
        for job in items:
            terminal.line(job["id"])
        warn_of_end(terminal, "/jobs", items)
        return
    show_list(invocation, "/jobs", JOB_COLUMNS, job_row, limit=limit, query=wanted)


def _in_order(sort: str, query: list[tuple[str, str]], limit: int) -> list[tuple[str, str]]:
    """Return the order, and the statuses that go with it if none is asked for. Raises: click.UsageError."""
    if limit > MOST_A_PAGE:
        raise click.UsageError(f"--sort: lists at most {MOST_A_PAGE} jobs")
    of_order = [] if any(name == "status" for name, _ in query) else STATUSES_OF[JobOrder(sort)]
    return [("sort", sort), *(("status", str(each)) for each in of_order)]


@command("show", example="haulier jobs show 01a2108e-9bc5-7bc3-a7c0-cbc0c5973a71")
@click.argument("given", metavar="ID", type=Ids())
@pass_invocation
def show(invocation: Invocation, given: list[str]) -> None:
    """Show a job, its timeline, and why it waits."""
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

    "at least" before the number means that there may be more. Options marked * may be repeated: a job matches if any
    of the values does.
    """
    counted = invocation.api.get("/jobs/count", with_error_found(invocation.api, query)).body

    def people(counted: dict[str, Any]) -> None:
        about = "" if counted["is_exact"] else "at least "
        number = words.number(counted["count"]) if invocation.terminal.is_screen else str(counted["count"])
        invocation.terminal.line(f"{about}{number}")

    invocation.terminal.show(counted, people)


for each in (list_jobs, show, count, watch, tail, *ACTS, change, copy):
    jobs.add_command(each)
