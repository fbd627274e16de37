"""What `haulier jobs` does to jobs: to those whose ids are given, at once; or to all of a filter, as an operation."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import click

from haulier.cli.client.client_errors import Code, code_of, worst
from haulier.cli.job_commands.operations import How, Order, carry_out
from haulier.cli.parts.asking import ask
from haulier.cli.parts.completing import completes
from haulier.cli.parts.invocation import Invocation, command, pass_invocation
from haulier.cli.parts.options import Duration, Ids, filtered, flat, whole, with_error_found
from haulier.client.api import Answer, Call
from haulier.domain.errors import HaulierError

# From an id and the answer about it: the line to print.
Message = Callable[[str, Answer], str]


@dataclass(frozen=True, slots=True)
class Chosen:
    """Which jobs are meant, and how it is done to them. `ids` is empty if it is all of the filter."""

    ids: list[str]
    query: list[tuple[str, str]]
    is_everything: bool
    how: How


CHOICES = (
    click.argument("given", metavar="[ID...]", nargs=-1, type=Ids()),
    click.option("--all", "is_all", is_flag=True, help="Act on all jobs that match the filter, by an operation."),
    click.option("--everything", is_flag=True, help="With --all instead of a filter: every job."),
    click.option("--dry-run", is_flag=True, help="With --all: only print which jobs match."),
    click.option("-y", "--yes", is_flag=True, help="Do not ask for confirmation."),
    click.option("--no-wait", is_flag=True, help="With --all: print the id of the operation and do not wait for it."),
)
spread_option = click.option(
    "--spread", type=Duration(), help="With --all: spread the due times evenly over this duration."
)


def choosing(act: Callable[..., Any]) -> Callable[..., Any]:
    """Let the command take ids, or a filter and --all, as one argument. `chosen`."""

    @functools.wraps(act)
    def with_choice(*args: Any, query: list[tuple[str, str]], **given: Any) -> Any:
        choice = {name: given.pop(name) for name in ("given", "is_all", "everything", "dry_run", "yes", "no_wait")}
        return act(*args, chosen=_chosen(query, **choice), **given)

    found = filtered(with_choice)
    for option in reversed(CHOICES):
        found = option(found)
    return found


def _chosen(query: list[tuple[str, str]], given: list[list[str]], is_all: bool, **choice: bool) -> Chosen:
    how = How(choice["dry_run"], choice["yes"], not choice["no_wait"])
    if is_all:
        if given:
            raise click.UsageError("give either ids, or --all and a filter")
        return Chosen([], query, choice["everything"], how)
    if query or choice["everything"] or choice["dry_run"] or choice["no_wait"]:
        raise click.UsageError("a filter, --everything, --dry-run and --no-wait need --all, which takes no ids")
    return Chosen(flat(given), query, False, how)


@dataclass(frozen=True, slots=True)
class Act:
    """What is done to a job: to one by a call, to all of a filter by an operation."""

    action: str
    call: Callable[[str], Call]
    message: Message
    changes: dict[str, Any] | None = None
    spread: float | None = None


def do(invocation: Invocation, chosen: Chosen, act: Act) -> int:
    """Do it to the jobs that were chosen, and return the exit code. Raises: CommandError."""
    if chosen.ids:
        if act.spread:
            raise click.UsageError("--spread needs --all")
        return each_of(invocation, chosen.ids, act.call, act.message)
    query = with_error_found(invocation.api, chosen.query)
    order = Order(act.action, query, chosen.is_everything, act.changes or {}, int(act.spread or 0))
    return carry_out(invocation, order, chosen.how)


def each_of(invocation: Invocation, ids: list[str], call: Callable[[str], Call], message: Message) -> int:
    """Send a call for each id, say what became of it, and return the exit code: one refusal does not end it."""
    codes: list[Code] = []
    for each in ids:
        try:
            tell(invocation, each, invocation.api.send(call(each)), message)
            codes.append(Code.DONE)
        except HaulierError as error:
            # If nobody answers, or the key is bad, the next one would fare no better.
            if code_of(error) in (Code.UNREACHABLE, Code.NO_KEY):
                raise
            invocation.terminal.warn(str(error))
            codes.append(code_of(error))
    return worst(codes)


def tell(invocation: Invocation, job_id: str, answer: Answer, message: Message) -> None:
    """Say what became of one."""
    if answer.body is not None or not invocation.terminal.as_json:
        invocation.terminal.show(answer.body, lambda _: invocation.terminal.line(message(job_id, answer)))


def _change(changes: dict[str, Any]) -> Callable[[str], Call]:
    # To change it to the same twice is to change it once.
    return lambda job: Call("PATCH", f"/jobs/{job}", body=changes, is_safe=True)


@command(
    "cancel",
    example="""\
haulier jobs cancel 01a2108e-9bc5-7bc3-a7c0-cbc0c5973a71
haulier jobs cancel --status queued --kind summarize_text --all --yes""",
)
@choosing
@pass_invocation
def cancel(invocation: Invocation, chosen: Chosen) -> int:
    """Cancel jobs.

    Waiting jobs are cancelled; running jobs are asked to stop. - reads ids from stdin.
    """

    def message(job: str, answer: Answer) -> str:
        return f"{job}  {'cancelled' if answer.status == 200 else 'running, asked to stop'}"

    return do(invocation, chosen, Act("cancel", lambda job: Call("POST", f"/jobs/{job}/cancel", is_safe=True), message))


@command(
    "retry",
    example="""\
haulier jobs retry 01a2108e-9bc5-7bc3-a7c0-cbc0c5973a71
haulier jobs retry --kind summarize_text --all --yes --timeout 5m --max-attempts 5""",
)
@choosing
@spread_option
@click.option("--to-queue", metavar="Q", shell_complete=completes("queues"), help="New queue of the jobs.")
@click.option("--to-priority", type=int, metavar="N", help="New priority, -100 to 100; higher runs first.")
@click.option("--max-attempts", type=int, metavar="N", help="New number of attempts.")
@click.option("--timeout", type=Duration(), help="New time limit of one attempt.")
@pass_invocation
def retry(invocation: Invocation, /, chosen: Chosen, spread: float | None, **asked: Any) -> int:
    """Queue failed or cancelled jobs again.

    They get all their attempts again. - reads ids from stdin.
    """
    named = {
        "queue": asked["to_queue"],
        "priority": asked["to_priority"],
        "max_attempts": asked["max_attempts"],
        "timeout_seconds": whole("--timeout", asked["timeout"]),
    }
    changes = {name: value for name, value in named.items() if value is not None}
    call: Callable[[str], Call] = lambda job: Call("POST", f"/jobs/{job}/retry", body=changes or None)  # noqa: E731
    return do(invocation, chosen, Act("retry", call, lambda job, _: f"{job}  queued again", changes, spread))


@command("run-now", example="haulier jobs run-now 01a2108e-9bc5-7bc3-a7c0-cbc0c5973a71")
@choosing
@spread_option
@pass_invocation
def run_now(invocation: Invocation, chosen: Chosen, spread: float | None) -> int:
    """Make waiting jobs due now."""
    changes = {"delay_seconds": 0}
    return do(invocation, chosen, Act("change", _change(changes), lambda job, _: f"{job}  due now", changes, spread))


@command("move", example="haulier jobs move 01a2108e-9bc5-7bc3-a7c0-cbc0c5973a71 --to bulk")
@choosing
@click.option("--to", required=True, metavar="Q", shell_complete=completes("queues"), help="The new queue.")
@pass_invocation
def move(invocation: Invocation, chosen: Chosen, to: str) -> int:
    """Move waiting jobs to another queue."""
    changes = {"queue": to}
    return do(invocation, chosen, Act("change", _change(changes), lambda job, _: f"{job}  in {to}", changes))


@command("priority", example="haulier jobs priority 01a2108e-9bc5-7bc3-a7c0-cbc0c5973a71 --to 10")
@choosing
@click.option("--to", required=True, type=int, metavar="N", help="-100 to 100; higher runs first.")
@pass_invocation
def priority(invocation: Invocation, chosen: Chosen, to: int) -> int:
    """Change the priority of waiting jobs."""
    changes = {"priority": to}
    return do(invocation, chosen, Act("change", _change(changes), lambda job, _: f"{job}  priority {to}", changes))


@command("delete", example="haulier jobs delete --status cancelled --before 30d --all --yes")
@choosing
@pass_invocation
def delete(invocation: Invocation, chosen: Chosen) -> int:
    """Delete finished jobs permanently."""
    if chosen.ids and invocation.service.confirm and not chosen.how.is_sure:
        ask(invocation, f"Delete {len(chosen.ids)} jobs permanently", is_final=True)
    # Not sent again: the answer to the second one would be that there is no such job.
    act = Act("delete", lambda job: Call("DELETE", f"/jobs/{job}"), lambda job, _: f"{job}  deleted")
    return do(invocation, chosen, act)


ACTS = (cancel, retry, run_now, move, priority, delete)
