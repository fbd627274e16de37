"""A job, as people see it: a row, or what happened to it in order of time."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from haulier.cli.terminal import words
from haulier.cli.terminal.output import INDENT, Cell, Styled, Terminal, columns_of

# What a step is called; others are called as the API calls them.
WORDS = {
    "began": "attempt {number} began",
    "failed": "attempt {number} failed",
    "failed_permanent": "failed permanently",
    "put_back": "snoozed or given back",
    "runs_not_kept": "{number} earlier runs are not kept",
    "acts_not_kept": "earlier actions of operators are not shown",
}
WHYS = {
    "turn": "for a worker",
    "back_off": "after a failure",
    "snoozed": "because its handler snoozed it",
    "given_back": "because it was given back",
    "not_known": "for an unknown reason",
}
JOB_COLUMNS = columns_of(
    "ID, STATUS, KIND, QUEUE, ATTEMPTS, CREATED, LAST ERROR", numbers="ATTEMPTS", long="LAST ERROR"
)


def job_row(terminal: Terminal, job: dict[str, Any]) -> list[Cell]:
    """Return the row of a job."""
    # One that a later attempt has made up for would look like a failure.
    is_over = job["status"] in ("succeeded", "cancelled")
    error = "" if is_over else (job["last_error"] or "").split("\n", 1)[0]
    return [
        job["id"],
        terminal.state(job["status"]),
        job["kind"],
        job["queue"],
        f"{job['attempts']} of {job['max_attempts']}",
        terminal.when(job["created_at"]),
        error,
    ]


@dataclass(frozen=True, slots=True)
class Job:
    """A job with its explanation and timeline. `steps` and why are None if nothing is known of these."""

    job: dict[str, Any]
    steps: list[dict[str, Any]]
    why: dict[str, Any] | None = None


def show_job(terminal: Terminal, shown: Job) -> None:
    """Show a job: what happened to it, and why it waits or who runs it if that is known."""
    job = shown.job
    attempts = f"{job['attempts']} of {job['max_attempts']} attempts"
    terminal.styled(Styled(job["kind"], "bold", job["kind"]), terminal.state(job["status"]), attempts)
    about = [f"queue {job['queue']}"]
    about += [f"priority {job['priority']}"] if job["priority"] else []
    about += [f"tags {', '.join(job['tags'])}"] if job["tags"] else []
    about += [f"key {job['idempotency_key']}"] if job["idempotency_key"] else []
    terminal.line(f"{job['id']}  {'  '.join(about)}")
    if job["schedule"]:
        terminal.line(f"tick of {job['scheduled_for']} of the schedule {job['schedule']}")
    terminal.line()
    for step in shown.steps:
        _show_step(terminal, step)
    _show_now(terminal, job, shown.why)
    terminal.line()
    terminal.block("payload", json.dumps(job["payload"], ensure_ascii=False))
    if job["result"] is not None:
        terminal.block("result", json.dumps(job["result"], ensure_ascii=False))


def _show_step(terminal: Terminal, step: dict[str, Any]) -> None:
    at = words.clock(step["at"]) if terminal.is_screen else step["at"]
    terminal.line(f"{at:<{INDENT - 2}}  {said(step)}".rstrip())
    if step["error"]:
        terminal.block("", step["error"])


def said(step: dict[str, Any]) -> str:
    """Return a step in words. A newer service may have steps of other names."""
    what = WORDS.get(step["what"], step["what"].replace("_", " "))
    number = step["attempt"] if step["attempt"] is not None else step["count"]
    took = "" if step["seconds"] is None else words.duration(step["seconds"])
    parts = [what.format(number=number)]
    parts += [took] if took and step["what"] == "waited" else []
    parts += [WHYS.get(step["why"], step["why"])] if step["why"] else []
    parts += [f"by {step['by']}"] if step["by"] else []
    parts += [_tick(step)] if step["scheduled_for"] else []
    parts += [f"on {step['worker']}"] if step["worker"] else []
    parts += [f" ran {took}"] if took and step["what"] != "waited" else []
    return " ".join(parts)


def _tick(step: dict[str, Any]) -> str:
    return f"by the schedule {step['schedule']}, {words.duration(step['late_seconds'])} after its tick"


def _show_now(terminal: Terminal, job: dict[str, Any], explained: dict[str, Any] | None) -> None:
    progress = job["progress"]
    if progress:
        of_total = f" of {words.number(progress['total'])}" if progress["total"] else ""
        terminal.line(f"{'progress':<{INDENT}}{words.number(progress['done'])}{of_total}  {progress['note'] or ''}")
    if not explained:
        return
    for reason in explained["reasons"]:
        until = f" (until {reason['until']})" if reason.get("until") else ""
        terminal.line(f"{'waits':<{INDENT}}{reason['message']}{until}")
    if run := explained.get("run"):
        deadline = f", until {run['deadline']} at the latest" if run.get("deadline") else ""
        terminal.line(f"{'runs':<{INDENT}}on {run['worker'] or 'a worker that is gone'}{deadline}")
