"""What runs at this moment, longest first, and against which timeout."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from urllib.parse import urlencode
from uuid import UUID

from flask import request, url_for
from markupsafe import Markup
from werkzeug.wrappers import Response

from haulier.domain.api_key import Scope
from haulier.domain.errors import InvalidTransition
from haulier.domain.job import NAME_PATTERN
from haulier.postgres.statements import Connection
from haulier.queue import produce
from haulier.queue.produce.running import RunningJob, list_running

from ...http.door import caller
from ...http.ids import read_uuid
from ...http.service import connection
from ..answering import Page
from ..fleet import fleet
from ..places import asked as asked_place
from ..rail import Rail
from ..reading import kept, part
from ..saying import done
from ..section import Section
from ..timeouts import timeout_of, used
from ..viewer import viewer
from .job import cancelled

MOST = 200

section = Section("running", __name__, Rail("Work", 30, "Running", "running", "r"))


@dataclass(frozen=True, slots=True)
class Asked:
    """What the URL asks for; "" where it does not."""

    queue: str
    kind: str
    worker: str
    by: str

    def query(self, **changes: str) -> dict[str, str]:
        """Return the query of this page, or of a like one."""
        names = ("queue", "kind", "worker", "by")
        return {name: text for name in names if (text := changes.get(name, getattr(self, name)))}


@dataclass(frozen=True, slots=True)
class Jobs:
    """The jobs that run. Shape: more tells that not all are among them."""

    jobs: Sequence[RunningJob]
    more: bool


@dataclass(frozen=True, slots=True)
class Threads:
    """Of all that live together: threads, jobs that are claimed, and of those how many no thread can have begun.

    Shape: more tells that there are further workers, so that all of these are lower bounds.
    """

    threads: int
    claimed: int
    ahead: int
    more: bool


@dataclass(frozen=True, slots=True)
class Row:
    """A job that runs. Units: timeout is seconds; None: it may run for ever. Shape: mark is near, past or ""."""

    job: RunningJob
    timeout: float | None
    mark: str
    bar: Markup | None


@section.page("/running", Scope.READ, every=2)
def show() -> Page:
    """Return the jobs that run."""
    asked, odd = _asked()
    found = kept("running", (asked.queue, asked.kind, asked.worker), lambda: part(partial(_jobs, asked)))
    rows = [_row(job, viewer().now) for job in (found.value.jobs if found.value else ())]
    if asked.by == "worker":
        # Those of dead workers last.
        rows.sort(key=lambda row: (row.job.worker is None, row.job.worker or ""))
    places = (("", "Longest first"), ("worker", "By worker"))
    tabs = [(_at(asked.query(by=by)), text, by == asked.by) for by, text in places]
    threads = kept("threads", (), lambda: part(_threads))
    return Page("running.html", "Running", asked=asked, odd=odd, found=found, threads=threads, rows=rows, tabs=tabs)


def _at(query: dict[str, str]) -> str:
    return url_for("ui.running.show") + (f"?{urlencode(query)}" if query else "")


def _asked() -> tuple[Asked, str]:
    given = {name: request.args.get(name, "").strip()[:200] for name in ("queue", "kind", "worker", "by")}
    fits: Mapping[str, bool] = {
        "queue": _is_name(given["queue"]),
        "kind": _is_name(given["kind"]),
        "worker": read_uuid(given["worker"]) is not None,
    }
    odd = ", ".join(f"{name} {given[name]}" for name, is_so in fits.items() if given[name] and not is_so)
    kept_ = {name: given[name] if is_so else "" for name, is_so in fits.items()}
    return Asked(**kept_, by="worker" if given["by"] == "worker" else ""), odd


def _is_name(text: str) -> bool:
    return re.fullmatch(NAME_PATTERN, text) is not None


def _jobs(asked: Asked, conn: Connection) -> Jobs:
    queues = caller().queues
    if asked.queue:
        queues = [asked.queue] if queues is None or asked.queue in queues else []
    kinds = [asked.kind] if asked.kind else None
    return Jobs(*list_running(conn, queues=queues, kinds=kinds, worker=read_uuid(asked.worker), limit=MOST))


def _threads(conn: Connection) -> Threads:
    found = fleet(conn, counts_jobs=True)
    held = [(each.running or 0, each.threads) for each in found.living]
    ahead = sum(max(0, running - threads) for running, threads in held)
    return Threads(found.threads, sum(running for running, _ in held), ahead, found.more)


def _row(job: RunningJob, now: datetime) -> Row:
    timeout = timeout_of(job.kind, job.timeout_seconds)
    mark, bar = used(job.started_at, timeout, now) if timeout else ("", None)
    return Row(job, timeout, mark, bar)


@section.act("/running/<uuid:job_id>/stop", Scope.OPERATE)
def stop(job_id: UUID) -> Response:
    """Ask a job to stop."""
    try:
        with connection() as conn:
            is_over = produce.cancel(conn, job_id, actor=caller().id, queues=caller().queues)
    except InvalidTransition:
        return done("It had ended already.", asked_place())
    sentence, undo = cancelled(job_id, is_over=is_over)
    return done(sentence, asked_place(), undo)
