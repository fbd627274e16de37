"""A job, as people see it: a row, or what happened to it in order of time."""

from __future__ import annotations

import json
from typing import Any

from haulier.cli.terminal import words
from haulier.cli.terminal.output import INDENT, Cell, Column, Styled, Terminal

JOB_COLUMNS = [
    Column("ID"),
    Column("STATUS"),
    Column("KIND"),
    Column("QUEUE"),
    Column("ATTEMPTS", is_number=True),
    Column("CREATED"),
    Column("LAST ERROR", is_long=True),
]


def job_row(terminal: Terminal, job: dict[str, Any]) -> list[Cell]:
    """Return the row of a job."""
    error = (job["last_error"] or "").split("\n", 1)[0]
    return [
        job["id"],
        terminal.state(job["status"]),
        job["kind"],
        job["queue"],
        f"{job['attempts']} of {job['max_attempts']}",
        terminal.when(job["created_at"]),
        error,
    ]


def show_job(terminal: Terminal, job: dict[str, Any], explained: dict[str, Any] | None) -> None:
    """Show a job, and why it waits or who runs it where that is known."""
    attempts = f"{job['attempts']} of {job['max_attempts']} attempts"
    terminal.styled(Styled(job["kind"], "bold", job["kind"]), terminal.state(job["status"]), attempts)
    about = [f"queue {job['queue']}"]
    about += [f"priority {job['priority']}"] if job["priority"] else []
    about += [f"tags {', '.join(job['tags'])}"] if job.get("tags") else []
    terminal.line(f"{job['id']}  {'  '.join(about)}")
    terminal.line()
    for at, said, took in timeline(job):
        shown = words.clock(at) if terminal.is_screen else at or words.NOTHING
        terminal.line(f"{shown:<{INDENT - 2}}  {said}{took}")
    for attempt in job["errors"][-1:]:
        terminal.block("", attempt["error"])
    _show_now(terminal, job, explained)
    terminal.line()
    terminal.block("payload", json.dumps(job["payload"], ensure_ascii=False))
    if job["result"] is not None:
        terminal.block("result", json.dumps(job["result"], ensure_ascii=False))


def timeline(job: dict[str, Any]) -> list[tuple[str | None, str, str]]:
    """Return what happened, in order: when, what, and how long it took."""
    key = f", key {job['idempotency_key']}" if job["idempotency_key"] else ""
    failed = job["errors"]
    starts = [attempt.get("started_at") for attempt in failed]
    first = next((start for start in [*starts, job["started_at"]] if start), None)
    steps = [(job["created_at"], f"enqueued{key}", _took("waited", job["created_at"], first))]
    # The last attempts alone are kept.
    if failed and failed[0]["attempt"] > 1:
        steps.append((None, f"{failed[0]['attempt'] - 1} attempts before", ""))
    for attempt in failed:
        where = f" on {attempt['worker']}" if attempt.get("worker") else ""
        begun = attempt.get("started_at")
        steps.append(
            (begun or attempt["at"], f"attempt {attempt['attempt']} failed{where}", _took("ran", begun, attempt["at"]))
        )
    last_failure = failed[-1]["at"] if failed else ""
    if job["started_at"] and job["started_at"] > last_failure:
        steps.append(
            (job["started_at"], f"attempt {job['attempts']}", _took("ran", job["started_at"], job["finished_at"]))
        )
    if job["finished_at"]:
        steps.append((job["finished_at"], job["status"].replace("failed_permanent", "failed for good"), ""))
    return steps


def _took(verb: str, start: str | None, end: str | None) -> str:
    seconds = words.since(start, end)
    return "" if seconds is None else f"  {verb} {words.duration(seconds)}"


def _show_now(terminal: Terminal, job: dict[str, Any], explained: dict[str, Any] | None) -> None:
    progress = job.get("progress")
    if progress:
        of_total = f" of {words.number(progress['total'])}" if progress["total"] else ""
        terminal.line(f"{'progress':<{INDENT}}{words.number(progress['done'])}{of_total}  {progress['note'] or ''}")
    if not explained:
        return
    for reason in explained["reasons"]:
        until = f" (until {reason['until']})" if reason.get("until") else ""
        terminal.line(f"{'waits':<{INDENT}}{reason['message']}{until}")
    if run := explained.get("run"):
        deadline = f", until {run['deadline']} at most" if run.get("deadline") else ""
        terminal.line(f"{'runs':<{INDENT}}on {run['worker'] or 'a worker that is gone'}{deadline}")
