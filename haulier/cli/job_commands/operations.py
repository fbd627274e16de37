"""`haulier ops`, and what is done to all jobs of a filter: what it would be, a question, how far it is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from threading import Event
from typing import Any

import click

from haulier.cli.client.client_errors import Code
from haulier.cli.parts.asking import ask
from haulier.cli.parts.invocation import ClientGroup, Invocation, command, pass_invocation
from haulier.cli.parts.job_view import JOB_COLUMNS, job_row
from haulier.cli.parts.options import Ids, filter_in_json, limit_option, show_list
from haulier.cli.terminal import words
from haulier.cli.terminal.output import Cell, Terminal, columns_of
from haulier.cli.terminal.screen import Bar
from haulier.client.api import Call, Query
from haulier.client.api_errors import HaulierError, Refused, Unreachable

Operation = dict[str, Any]
COLUMNS = columns_of(
    "ID, STATUS, ACTION, MATCHED, DONE, SKIPPED, FAILED, BY, BEGAN, FILTER",
    numbers="MATCHED, DONE, SKIPPED, FAILED",
    long="FILTER",
)
OVER = ("done", "cancelled", "failed")
# Of looking how far an operation is. A look does some of it if no worker is running.
SECONDS = 0.2
# What is said of each action: what is asked, what is under way, what was done.
WORDS = {
    "cancel": ("Cancel", "Cancelling", "cancelled"),
    "retry": ("Retry", "Retrying", "retried"),
    "delete": ("Permanently delete", "Deleting", "deleted"),
    "change": ("Change", "Changing", "changed"),
}


@dataclass(frozen=True, slots=True)
class Order:
    """What is to be done to the jobs of a filter."""

    action: str
    query: Query
    is_everything: bool = False
    changes: dict[str, Any] = field(default_factory=dict)
    spread_seconds: int = 0

    @property
    def body(self) -> dict[str, Any]:
        """Return it as the API reads it."""
        more = {"changes": self.changes, "spread_seconds": self.spread_seconds}
        asked = {name: value for name, value in more.items() if value}
        return {"action": self.action, "filter": self.filter, **asked}

    @property
    def filter(self) -> dict[str, Any]:
        """Return the filter as an object. Raises: click.UsageError for none, since it would mean every job."""
        if self.is_everything:
            if self.query:
                raise click.UsageError("--everything cannot be combined with a filter")
            return {"all": True}
        if not self.query:
            raise click.UsageError("--all needs a filter, such as --status failed, or --everything for every job")
        return filter_in_json(self.query)


@dataclass(frozen=True, slots=True)
class How:
    """How an order is carried out."""

    is_preview: bool = False
    is_sure: bool = False
    waits: bool = True


def carry_out(invocation: Invocation, order: Order, how: How) -> Code:
    """Preview an order, ask, start it and watch it; return the exit code. Raises: CommandError."""
    api, terminal = invocation.api, invocation.terminal
    # A preview only notes what it counted.
    preview = api.send(Call("POST", "/operations", body={**order.body, "dry_run": True}, is_safe=True)).body
    if how.is_preview:
        terminal.show(preview, lambda preview: _show_preview(terminal, preview))
        return Code.DONE
    if preview["matched"] == 0 and preview["matched_is"] == "exact":
        terminal.show(preview, lambda _: terminal.line("no job matches"))
        return Code.DONE
    if not how.is_sure:
        ask(invocation, f"{matched(preview)}. {WORDS[order.action][0]} them", is_final=order.action == "delete")
    # Without the pause to think again: whoever starts it has just been asked, or has said --yes.
    begun = {**order.body, "as_of": preview["as_of"], "starts_in_seconds": 0}
    try:
        operation = api.send(Call("POST", "/operations", body=begun)).body
    except (KeyboardInterrupt, Unreachable):
        terminal.warn("the operation may have started: see haulier ops list")
        raise
    if not how.waits:
        terminal.show(operation, lambda operation: terminal.line(operation["id"]))
        return Code.DONE
    return watch_to_end(invocation, operation)


def matched(preview: dict[str, Any]) -> str:
    """Return how many jobs match, and of which kinds."""
    about = {"exact": "", "about": "about ", "more_than": "more than "}[preview["matched_is"]]
    kinds = ", ".join(f"{kind} {words.number(jobs)}" for kind, jobs in list(preview["by_kind"].items())[:5])
    jobs = preview["matched"]
    return f"{about}{words.number(jobs)} {'job matches' if jobs == 1 else 'jobs match'}{f': {kinds}' if kinds else ''}"


def _show_preview(terminal: Terminal, preview: dict[str, Any]) -> None:
    terminal.line(f"{matched(preview)}, as of {preview['as_of']}; the newest:")
    terminal.table(JOB_COLUMNS, [job_row(terminal, job) for job in preview["first"]])


def watch_to_end(invocation: Invocation, operation: Operation) -> Code:
    """Show how far an operation is until it is over; return the exit code."""
    terminal, look, woken = invocation.terminal, _looking(invocation, operation["id"]), Event()
    try:
        with Bar(terminal, WORDS[operation["action"]][1], total_of(operation)) as bar:
            while operation["status"] not in OVER:
                operation = look()
                bar.at(operation["done"] + operation["skipped"] + operation["failed"], total_of(operation))
                if operation["status"] not in OVER:
                    woken.wait(SECONDS)
    except (KeyboardInterrupt, HaulierError):
        terminal.warn(f"the operation {operation['id']} continues: haulier ops watch {operation['id']}")
        raise
    terminal.show(operation, lambda operation: terminal.line(summary(operation)))
    is_whole = operation["status"] == "done" and not operation["failed"]
    return Code.DONE if is_whole else Code.IN_PART


def total_of(operation: Operation) -> int | None:
    """Return how many jobs the operation acts on; None if only a lower bound was counted."""
    matched: int = operation["matched"]
    return None if operation["matched_is"] == "more_than" else matched


def _looking(invocation: Invocation, operation_id: str) -> Callable[[], Operation]:
    """Return what looks at an operation, and does some of it if no worker is running and the key may do so."""
    path, api, may_advance = f"/operations/{operation_id}", invocation.api, True

    def look() -> Operation:
        nonlocal may_advance
        if may_advance:
            try:
                advanced: Operation = api.send(Call("POST", f"{path}/advance", is_safe=True)).body
                return advanced
            except Refused as error:
                # Of a delete that takes the scope admin, and to watch it does not.
                if error.status != 403:
                    raise
                may_advance = False
        looked: Operation = api.get(path).body
        return looked

    return look


def summary(operation: Operation) -> str:
    """Return what an operation has done, in a sentence."""
    parts = [f"{words.number(operation['done'])} {WORDS[operation['action']][2]}"]
    if operation["skipped"]:
        parts.append(f"{words.number(operation['skipped'])} skipped because they had changed")
    if operation["failed"]:
        parts.append(f"{words.number(operation['failed'])} refused by the database")
    if operation["status"] != "done":
        why = f": {operation['error']}" if operation["error"] else ""
        parts.append(f"then the operation {'was cancelled' if operation['status'] == 'cancelled' else 'failed'}{why}")
    return ", ".join(parts)


@click.group("ops", cls=ClientGroup)
def ops() -> None:
    """List, watch, cancel and resume operations, which act on all jobs that match a filter."""


operation_id = click.argument("given", metavar="ID", type=Ids())


@command("list", example="haulier ops list")
@limit_option(50)
@pass_invocation
def list_operations(invocation: Invocation, limit: int) -> None:
    """List operations, newest first."""
    show_list(invocation, "/operations", COLUMNS, operation_row, limit=limit)


def operation_row(terminal: Terminal, operation: Operation) -> list[Cell]:
    """Return the row of an operation."""
    conditions = operation["filter"].items()
    return [
        operation["id"],
        terminal.state(operation["status"]),
        operation["action"],
        words.number(operation["matched"]),
        words.number(operation["done"]),
        words.number(operation["skipped"]),
        words.number(operation["failed"]),
        operation["actor"] or words.NOTHING,
        terminal.when(operation["started_at"]),
        "  ".join(f"{name} {','.join(value) if isinstance(value, list) else value}" for name, value in conditions),
    ]


@command("show", example="haulier ops show 01a2108e-9bc5-7bc3-a7c0-0000000000a1")
@operation_id
@pass_invocation
def show(invocation: Invocation, given: list[str]) -> None:
    """Show an operation and its progress."""
    _show(invocation, invocation.api.get(f"/operations/{given[0]}").body)


@command("watch", example="haulier ops watch 01a2108e-9bc5-7bc3-a7c0-0000000000a1")
@operation_id
@pass_invocation
def watch(invocation: Invocation, given: list[str]) -> Code:
    """Watch an operation until it ends.

    The exit code is 6 if the operation was cancelled, failed, or was refused for some jobs.
    """
    return watch_to_end(invocation, invocation.api.get(f"/operations/{given[0]}").body)


@command("cancel", example="haulier ops cancel 01a2108e-9bc5-7bc3-a7c0-0000000000a1")
@operation_id
@pass_invocation
def cancel(invocation: Invocation, given: list[str]) -> None:
    """Cancel an operation. Jobs already changed stay changed."""
    _show(invocation, invocation.api.send(Call("POST", f"/operations/{given[0]}/cancel")).body)


@command("resume", example="haulier ops resume 01a2108e-9bc5-7bc3-a7c0-0000000000a1")
@operation_id
@pass_invocation
def resume(invocation: Invocation, given: list[str]) -> None:
    """Continue a cancelled or failed operation."""
    _show(invocation, invocation.api.send(Call("POST", f"/operations/{given[0]}/resume")).body)


def _show(invocation: Invocation, operation: Operation) -> None:
    terminal = invocation.terminal
    terminal.show(operation, lambda operation: terminal.table(COLUMNS, [operation_row(terminal, operation)]))


for each in (list_operations, show, watch, cancel, resume):
    ops.add_command(each)
