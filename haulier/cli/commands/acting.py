"""What `haulier jobs` does to jobs whose ids are given."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from haulier.cli.client.api import Answer, Call
from haulier.cli.client.errors import Code, CommandError, worst
from haulier.cli.commands.asking import ask
from haulier.cli.commands.completing import completes
from haulier.cli.commands.invocation import Invocation, command, pass_invocation
from haulier.cli.commands.options import flat, job_ids

# Of an id and what was answered about it: what to tell people.
Told = Callable[[str, Answer], str]


def each_of(invocation: Invocation, ids: list[str], call: Callable[[str], Call], said: Told) -> int:
    """Send a call for each id, say what became of it, and return the exit code: one refusal does not end it."""
    codes: list[Code] = []
    for each in ids:
        try:
            tell(invocation, each, invocation.api.send(call(each)), said)
            codes.append(Code.DONE)
        except CommandError as error:
            # Where nobody answers, or the key is bad, the next one would fare no better.
            if error.code in (Code.UNREACHABLE, Code.NO_KEY):
                raise
            invocation.terminal.warn(str(error))
            codes.append(error.code)
    return worst(codes)


def tell(invocation: Invocation, job_id: str, answer: Answer, said: Told) -> None:
    """Say what became of one."""
    if answer.body is not None or not invocation.terminal.as_json:
        invocation.terminal.show(answer.body, lambda _: invocation.terminal.line(said(job_id, answer)))


def _change(changes: dict[str, Any]) -> Callable[[str], Call]:
    # To change it to the same twice is to change it once.
    return lambda job: Call("PATCH", f"/jobs/{job}", body=changes, is_safe=True)


@command("cancel", example="haulier jobs cancel 01a2108e-9bc5-7bc3-a7c0-cbc0c5973a71")
@job_ids
@pass_invocation
def cancel(invocation: Invocation, given: list[list[str]]) -> int:
    """Cancel jobs.

    One that waits is cancelled; one that runs is asked to stop. With - ids are read from stdin.
    """

    def said(job: str, answer: Answer) -> str:
        return f"{job}  {'cancelled' if answer.status == 200 else 'runs, and was asked to stop'}"

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


@command("run-now", example="haulier jobs run-now 01a2108e-9bc5-7bc3-a7c0-cbc0c5973a71")
@job_ids
@pass_invocation
def run_now(invocation: Invocation, given: list[list[str]]) -> int:
    """Let jobs that wait for their time be due now."""
    return each_of(invocation, flat(given), _change({"delay_seconds": 0}), lambda job, _: f"{job}  due now")


@command("move", example="haulier jobs move 01a2108e-9bc5-7bc3-a7c0-cbc0c5973a71 --to bulk")
@job_ids
@click.option("--to", required=True, metavar="Q", shell_complete=completes("queues"), help="The queue to wait in.")
@pass_invocation
def move(invocation: Invocation, given: list[list[str]], to: str) -> int:
    """Let jobs wait in another queue."""
    return each_of(invocation, flat(given), _change({"queue": to}), lambda job, _: f"{job}  in {to}")


@command("priority", example="haulier jobs priority 01a2108e-9bc5-7bc3-a7c0-cbc0c5973a71 --to 10")
@job_ids
@click.option("--to", required=True, type=int, metavar="N", help="-100 to 100; higher first.")
@pass_invocation
def priority(invocation: Invocation, given: list[list[str]], to: int) -> int:
    """Let jobs run before others, or after them."""
    return each_of(invocation, flat(given), _change({"priority": to}), lambda job, _: f"{job}  priority {to}")


@command("delete", example="haulier jobs delete 01a2108e-9bc5-7bc3-a7c0-cbc0c5973a71")
@job_ids
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@pass_invocation
def delete(invocation: Invocation, given: list[list[str]], yes: bool) -> int:
    """Delete jobs that have ended, for good.

    It asks for the host of the service where the profile has confirm = true.
    """
    ids = flat(given)
    if invocation.service.confirm and not yes:
        ask(invocation, f"Delete {len(ids)} jobs for good", is_final=True)
    # Not sent again: the answer to the second one would be that there is no such job.
    return each_of(invocation, ids, lambda job: Call("DELETE", f"/jobs/{job}"), lambda job, _: f"{job}  deleted")


ACTS = (cancel, retry, run_now, move, priority, delete)
