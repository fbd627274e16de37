"""`haulier jobs watch` and `haulier jobs tail`: what happens to jobs, as it does."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from threading import Event
from typing import Any

import click

from haulier.cli.client.client_errors import Code, CommandError
from haulier.cli.job_commands.enqueue import ENDS, FOR_EVER
from haulier.cli.parts.invocation import Invocation, command, pass_invocation
from haulier.cli.parts.options import Duration, filtered, flat, job_ids, with_error_found
from haulier.cli.terminal import words
from haulier.client.pages import Listing
from haulier.client.waiting import GROWTH, LATER, SOON

Job = dict[str, Any]
# What ends is asked for this long after it: a worker may take some seconds to store it.
OVERLAP = timedelta(seconds=10)
MOST_A_TURN = 2000


@command("watch", example="haulier jobs watch 01a2108e-9bc5-7bc3-a7c0-cbc0c5973a71")
@job_ids
@click.option("--wait", type=Duration(), default=FOR_EVER, metavar="S", help="Stop after this duration.")
@pass_invocation
def watch(invocation: Invocation, given: list[list[str]], wait: float) -> Code:
    """Watch jobs until they have ended.

    The exit code is 0 if all jobs succeeded, 7 if one failed permanently, 8 if one was cancelled, 124 if one did not
    end in time.
    """
    until, pause, woken = time.monotonic() + wait, SOON, Event()
    left = flat(given)
    seen: dict[str, tuple[Any, ...]] = {}
    codes: set[Code] = set()
    while True:
        for job_id in list(left):
            job = invocation.api.get(f"/jobs/{job_id}").body
            if seen.get(job_id) != (now := (job["status"], job["attempts"], job["progress"])):
                seen[job_id], pause = now, SOON
                show_step(invocation, job)
            if job["status"] in ENDS:
                left.remove(job_id)
                codes.add(ENDS[job["status"]])
        if not left:
            return next((code for code in (Code.JOB_FAILED, Code.JOB_CANCELLED) if code in codes), Code.DONE)
        if time.monotonic() >= until:
            raise CommandError(f"not ended after {words.duration(wait)}: {', '.join(left)}", Code.WAITED)
        woken.wait(min(pause, max(0.0, until - time.monotonic())))
        pause = min(pause * GROWTH, LATER)


def show_step(invocation: Invocation, job: Job) -> None:
    """Show where a job stands, in a line."""
    terminal = invocation.terminal
    at = job["finished_at"] or (job["started_at"] if job["status"] == "running" else job["updated_at"])
    shown = words.clock(at) if terminal.is_screen else at

    def people(job: Job) -> None:
        cells = [shown, job["id"], terminal.state(job["status"]), job["kind"], job["queue"], _detail(job)]
        terminal.styled(*cells)

    terminal.show(job, people)


def _detail(job: Job) -> str:
    if job["status"] == "running":
        progress = job.get("progress")
        total = f" of {progress['total']}" if progress and progress["total"] else ""
        said = f"{progress['done']}{total} {progress['note'] or ''}".strip() if progress else ""
        return f"attempt {job['attempts']}  {said}".rstrip()
    ran = words.since(job["started_at"], job["finished_at"])
    took = "" if ran is None else f"ran {words.duration(ran)}"
    failed = job["status"] in ("failed_permanent", "retrying")
    error = (job["last_error"] or "").split("\n", 1)[0] if failed else ""
    return "  ".join(each for each in (took, error) if each)


@command("tail", example="haulier jobs tail --kind summarize_text --for 1s")
@filtered
@click.option("--every", type=Duration(), default=1.0, show_default=True, metavar="S", help="Polling interval.")
@click.option(
    "--for",
    "seconds",
    type=Duration(),
    default=FOR_EVER,
    metavar="S",
    help="Stop after this duration; by default on Ctrl-C.",
)
@pass_invocation
def tail(invocation: Invocation, query: list[tuple[str, str]], every: float, seconds: float) -> None:
    """Show jobs as they start and end.

    A job shorter than --every is shown only when it ends. Options marked * may be repeated: a job matches if any of
    the values does.
    """
    if any(name.startswith("finished_") for name, _ in query):
        raise click.UsageError("--finished-after and --finished-before cannot be used here")
    until, woken = time.monotonic() + seconds, Event()
    looking = Looking(invocation, with_error_found(invocation.api, query))
    while True:
        for job in looking.news():
            show_step(invocation, job)
        left = until - time.monotonic()
        if left <= 0:
            return
        woken.wait(min(max(every, SOON), left))


@dataclass
class Looking:
    """What begins and ends from now on."""

    invocation: Invocation
    query: list[tuple[str, str]]
    has_begun: bool = False
    running: set[tuple[str, int]] = field(default_factory=set)
    ended: dict[str, str] = field(default_factory=dict)

    def news(self) -> list[Job]:
        """Return the jobs that have begun or ended since the last look, in order."""
        # Asked first: what ends between the two is in the second at least.
        running = list(self._running())
        at = self.invocation.api.get("/jobs", [("limit", "1")]).at
        begun = [job for job in running if (job["id"], job["attempts"]) not in self.running]
        self.running = {(job["id"], job["attempts"]) for job in running}
        ended = self._ended_since(at - OVERLAP)
        # What had begun or ended before is known now, and not shown.
        is_first, self.has_begun = not self.has_begun, True
        return [] if is_first else [*sorted(begun, key=lambda job: str(job["started_at"])), *ended]

    def _running(self) -> Iterator[Job]:
        statuses = [value for name, value in self.query if name == "status"]
        if not statuses or "running" in statuses:
            others = [(name, value) for name, value in self.query if name != "status"]
            yield from Listing(self.invocation.api, "/jobs", [*others, ("status", "running")], limit=MOST_A_TURN)

    def _ended_since(self, since: datetime) -> list[Job]:
        asked = [*self.query, ("finished_after", since.isoformat().replace("+00:00", "Z"))]
        found = list(Listing(self.invocation.api, "/jobs", asked, limit=MOST_A_TURN))
        if len(found) == MOST_A_TURN:
            self.invocation.terminal.warn(
                f"more than {MOST_A_TURN:,} jobs ended since the last look: not all are shown"
            )
        fresh = [job for job in found if self.ended.get(job["id"]) != job["finished_at"]]
        self.ended = {job["id"]: job["finished_at"] for job in found}
        return sorted(fresh, key=lambda job: str(job["finished_at"]))
