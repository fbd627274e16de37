"""`haulier jobs`: finds jobs, shows them, and acts on those whose ids are given."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from haulier.cli.client.api import Answer, Call
from haulier.cli.client.errors import Code, CommandError, worst
from haulier.cli.client.pages import Listing
from haulier.cli.commands.following import tail, watch
from haulier.cli.commands.invocation import ClientGroup, Invocation, command, pass_invocation
from haulier.cli.commands.job_view import JOB_COLUMNS, Job, job_row, show_job
from haulier.cli.commands.options import Ids, filtered, flat, job_ids, with_error_found
from haulier.cli.terminal import words

# Of an id and what was answered about it: what to tell people.
Told = Callable[[str, Answer], str]


@click.group("jobs", cls=ClientGroup)
def jobs() -> None:
    """Find jobs, cancel them, retry them."""


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


@command("cancel", example="haulier jobs cancel 01a2108e-9bc5-7bc3-a7c0-cbc0c5973a71")
@job_ids
@pass_invocation
def cancel(invocation: Invocation, given: list[list[str]]) -> int:
    """Cancel jobs.

    One that waits is cancelled; one that runs is asked to stop. With - ids are read from stdin.
    """

    def said(job_id: str, answer: Answer) -> str:
        return f"{job_id}  {'cancelled' if answer.status == 200 else 'runs, and was asked to stop'}"

    return each_of(invocation, flat(given), lambda job: Call("POST", f"/jobs/{job}/cancel", is_safe=True), said)


@command("retry", example="haulier jobs retry 01a2108e-9bc5-7bc3-a7c0-cbc0c5973a71")
@job_ids
@pass_invocation
def retry(invocation: Invocation, given: list[list[str]]) -> int:
    """Queue jobs again that have failed for good, or were cancelled.

    They have a full budget of attempts again. With - ids are read from stdin.
    """
    return each_of(
        invocation, flat(given), lambda job: Call("POST", f"/jobs/{job}/retry"), lambda job, _: f"{job}  queued again"
    )


def each_of(invocation: Invocation, ids: list[str], call: Callable[[str], Call], said: Told) -> int:
    """Send a call for each id, say what became of it, and return the exit code: one refusal does not end it."""
    codes: list[Code] = []
    for job_id in ids:
        try:
            answer = invocation.api.send(call(job_id))
        except CommandError as error:
            # Where nobody answers, or the key is bad, the next one would fare no better.
            if error.code in (Code.UNREACHABLE, Code.NO_KEY):
                raise
            invocation.terminal.warn(str(error))
            codes.append(error.code)
        else:
            tell(invocation, job_id, answer, said)
            codes.append(Code.DONE)
    return worst(codes)


def tell(invocation: Invocation, job_id: str, answer: Answer, said: Told) -> None:
    """Say what became of one."""
    invocation.terminal.show(answer.body, lambda _: invocation.terminal.line(said(job_id, answer)))


for each in (list_jobs, show, count, cancel, retry, watch, tail):
    jobs.add_command(each)
