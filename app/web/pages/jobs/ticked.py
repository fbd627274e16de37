"""Act at once on the selected jobs of a list, one after the other; or lead to the preview of all that match."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from uuid import UUID

from flask import redirect, request, url_for
from werkzeug.wrappers import Response

from haulier.domain.api_key import Scope
from haulier.domain.errors import (
    InvalidTransition,
    JobChanged,
    JobNotFound,
    Locked,
    NotRetryable,
    Refusal,
    TooFewAttempts,
    reason,
)
from haulier.domain.text import count
from haulier.queue import jobs as job_acts
from haulier.queue.jobs.change import Changes
from haulier.requests.fields import read_uuid
from haulier.requests.invalid import Invalid

from ....http.acting import done as act_on
from ....http.auth import caller
from ....http.service import connection
from ...forms.bulk import VERBS, Choices, read_choices
from ...kit.flash import done
from ...kit.job_list_url import LIMITS
from ...kit.page import Page
from ...kit.return_to import asked as asked_place
from ...kit.section import Section
from ...kit.viewer import viewer

# As many jobs as a list shows, and seconds for all of them; the page says how many were not reached.
MOST, MOST_SECONDS = LIMITS[-1], 10.0
LEFT_ALONE = (InvalidTransition, JobChanged, JobNotFound, Locked, NotRetryable, TooFewAttempts, Invalid)

section = Section("ticked", __name__, within="jobs")


def _of_all() -> Response | None:
    """Return the way to the preview if the form asks for all matching jobs, whose filters it also has."""
    # The browser sends the same form there.
    return redirect(url_for("ui.operations.preview"), 307) if request.form.get("all") else None


def _ids() -> list[UUID]:
    """Return the ids of the selected jobs, each once. Raises: Invalid."""
    read = [read_uuid(text) for text in request.form.getlist("id")]
    found = list(dict.fromkeys(each for each in read if each is not None))
    if None in read:
        raise Invalid({"id": ["Must be the id of a job."]})
    if len(found) > MOST:
        raise Invalid({"id": [f"At most {MOST} jobs at once."]})
    return found


def _each(act: Callable[[UUID], str], ids: Sequence[UUID]) -> Response:
    """Act on each job and report the counts. `act` returns what was done, in a word."""
    if not ids:
        return done("No job was selected.", asked_place())
    until, counts, left, refused = time.monotonic() + MOST_SECONDS, dict[str, int](), 0, list[str]()
    for place, job_id in enumerate(ids):
        if time.monotonic() > until:
            rest = count(len(ids) - place, "job was", "jobs were")
            return done(f"{_report(counts, left, refused)} {rest} not reached in time.", asked_place())
        try:
            what = act(job_id)
            counts[what] = counts.get(what, 0) + 1
        except LEFT_ALONE:
            left += 1
        except Refusal as error:
            refused.append(reason(error))
    return done(_report(counts, left, refused), asked_place())


def _report(counts: dict[str, int], left: int, refused: Sequence[str]) -> str:
    sentences = [f"{what} {count(jobs, 'job')}." for what, jobs in counts.items()] or ["Nothing was done."]
    if left:
        why = "it had changed or its state" if left == 1 else "they had changed or their state"
        sentences.append(f"Skipped {count(left, 'job')}: {why} does not allow this.")
    if refused:
        sentences.append(f"The database refused {count(len(refused), 'job')}: {refused[0].rstrip('.')}.")
    return " ".join(sentences)


@section.act("/jobs/ticked/retry", Scope.OPERATE)
def retry() -> Response:
    """Retry the selected jobs."""

    def act(job_id: UUID) -> str:
        act_on(job_acts.retry, job_id)
        return "Retried"

    return _of_all() or _each(act, _ids())


@section.act("/jobs/ticked/run-now", Scope.OPERATE)
def run_now() -> Response:
    """Make the selected jobs due now."""

    def act(job_id: UUID) -> str:
        act_on(job_acts.change, job_id, Changes.of(delay_seconds=0))
        return "Due now:"

    return _of_all() or _each(act, _ids())


@section.act("/jobs/ticked/cancel", Scope.OPERATE)
def cancel() -> Response:
    """Cancel the selected jobs; request that running ones stop."""

    def act(job_id: UUID) -> str:
        with connection() as conn:
            is_over = job_acts.cancel(conn, job_id, actor=caller().id, queues=caller().queues)
        return "Cancelled" if is_over else "Cancel requested for"

    return _of_all() or _each(act, _ids())


@section.act("/jobs/ticked/change", Scope.OPERATE)
def change() -> Response | Page:
    """Change the selected jobs as far as they wait, after the new values were typed."""
    if at_all := _of_all():
        return at_all
    ids, choices = _ids(), read_choices(request.form, VERBS["change"], viewer().prefers.time_zone)
    if ids and "sure" not in request.form:
        return _asked("change", ids, choices, {})
    if ids and choices.faults:
        return _asked("change", ids, choices, choices.faults)
    queue = choices.value("queue") or None

    def act(job_id: UUID) -> str:
        act_on(job_acts.change, job_id, Changes.of(**choices.changes), queue=queue)
        return "Changed"

    return _each(act, ids)


def _asked(verb: str, ids: Sequence[UUID], choices: Choices, faults: Mapping[str, str]) -> Page:
    """Return the page on which the act is confirmed."""
    title, status = f"{VERBS[verb].word} {count(len(ids), 'job')}", 422 if faults else 200
    values: dict[str, Any] = {"ids": ids, "choices": choices, "faults": faults}
    return Page("ticked.html", title, status=status, verb=VERBS[verb], back=asked_place(), **values)


@section.act("/jobs/ticked/delete", Scope.ADMIN)
def delete() -> Response | Page:
    """Delete the selected jobs permanently after their number was typed."""
    if at_all := _of_all():
        return at_all
    ids, sure = _ids(), request.form.get("sure", "").strip()
    if ids and sure != str(len(ids)):
        return _asked("delete", ids, Choices(), {"sure": f"Type {len(ids)}."} if sure else {})

    def act(job_id: UUID) -> str:
        with connection() as conn:
            job_acts.delete(conn, job_id, actor=caller().id, queues=caller().queues)
        return "Deleted"

    return _each(act, ids)
