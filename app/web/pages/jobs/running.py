"""The jobs that run now, longest first, each with its timeout."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import partial
from uuid import UUID

from flask import request
from werkzeug.wrappers import Response

from haulier.domain.api_key import Scope
from haulier.domain.errors import InvalidTransition
from haulier.domain.job import NAME_PATTERN
from haulier.postgres.statements import Connection
from haulier.queue import jobs as job_acts
from haulier.queue.search.running import RunningJob, list_running
from haulier.requests.fields import read_uuid

from ....http.auth import caller
from ....http.masking import masked_kinds
from ....http.service import connection
from ...kit.flash import done
from ...kit.menu import MenuEntry
from ...kit.page import Page
from ...kit.reading import kept, part
from ...kit.return_to import asked as asked_place
from ...kit.section import Section
from ...kit.templates import url
from ...kit.viewer import viewer
from ...lists.fleet import fleet
from ...words.filters import timeout_of, used
from .job import cancelled

MOST = 200

section = Section("running", __name__, MenuEntry("Work", 30, "Running", "running", "r"))


@section.page("/running", Scope.READ, every=2)
def show() -> Page:
    """Return the running jobs."""
    asked, odd = _asked()
    found = kept("running", (asked["queue"], asked["kind"], asked["worker"]), lambda: part(partial(_jobs, asked)))
    jobs, has_more = found.value or ([], False)
    if asked["by"] == "worker":
        # Jobs of dead workers come last.
        jobs = sorted(jobs, key=lambda job: (job.worker is None, job.worker or ""))
    at = partial(_at, asked)
    orders = (("", "Longest first"), ("worker", "By worker"))
    return Page(
        "running.html",
        "Running",
        asked=asked,
        odd=odd,
        at=at,
        found=found,
        jobs=jobs,
        has_more=has_more,
        # A note may quote a secret of the payload, which is not read here.
        masked=masked_kinds(),
        timeout_of=lambda job: timeout_of(job.kind, job.timeout_seconds),
        used=partial(used, now=viewer().now),
        fleet=kept("threads", (), lambda: part(partial(fleet, counts_jobs=True))).value,
        tabs=[(at(by=by), text, by == asked["by"]) for by, text in orders],
    )


def _at(asked: Mapping[str, str], **changes: str) -> str:
    """Return the URL of the list with these filters."""
    return url("running.show", **{**asked, **changes})


def _asked() -> tuple[Mapping[str, str], str]:
    """Return the filters in the URL, "" for those that are not there, and which of them are invalid."""
    given = {name: request.args.get(name, "").strip()[:200] for name in ("queue", "kind", "worker")}
    is_good = {
        "queue": _is_name(given["queue"]),
        "kind": _is_name(given["kind"]),
        "worker": read_uuid(given["worker"]) is not None,
    }
    odd = ", ".join(f"{name} {text}" for name, text in given.items() if text and not is_good[name])
    by = "worker" if request.args.get("by") == "worker" else ""
    return {**{name: text if is_good[name] else "" for name, text in given.items()}, "by": by}, odd


def _is_name(text: str) -> bool:
    return re.fullmatch(NAME_PATTERN, text) is not None


def _jobs(asked: Mapping[str, str], conn: Connection) -> tuple[list[RunningJob], bool]:
    """Return the running jobs, longest first, and whether more run."""
    queues = caller().queues
    if asked["queue"]:
        queues = [asked["queue"]] if caller().may_use(asked["queue"]) else []
    kinds = [asked["kind"]] if asked["kind"] else None
    return list_running(conn, queues=queues, kinds=kinds, worker=read_uuid(asked["worker"]), limit=MOST)


@section.act("/running/<uuid:job_id>/stop", Scope.OPERATE)
def stop(job_id: UUID) -> Response:
    """Request that a running job stops."""
    try:
        with connection() as conn:
            is_over = job_acts.cancel(conn, job_id, actor=caller().id, queues=caller().queues)
    except InvalidTransition:
        return done("The job had already ended.", asked_place())
    sentence, undo = cancelled(job_id, is_over=is_over)
    return done(sentence, asked_place(), undo)
