"""One job: its history, why it waits, its payload, and the acts on it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

from flask import request, url_for
from markupsafe import Markup
from werkzeug.exceptions import NotFound
from werkzeug.wrappers import Response

from haulier.domain.act import Act
from haulier.domain.api_key import Scope
from haulier.domain.errors import InvalidTransition, JobChanged, JobNotFound, NotRetryable, RowRefused
from haulier.domain.fingerprint import id_text
from haulier.domain.job import JobStatus
from haulier.domain.text import count, duration
from haulier.domain.timeline import Step, What, timeline
from haulier.domain.waiting import Reason
from haulier.postgres.statements import Connection
from haulier.queue import jobs
from haulier.queue.access.audit_log import Action, ActionFilter, find_actions
from haulier.queue.jobs.change import NONE, Changes
from haulier.queue.rows import StoredJob
from haulier.queue.stories.explain import Run, explain
from haulier.queue.stories.timeline import Trace, trace
from haulier.requests.invalid import Invalid

from ....http.acting import changed_as_it_is, copied_once
from ....http.acting import done as act_on
from ....http.auth import caller
from ....http.masking import as_shown, details_as_shown
from ....http.service import connection, service
from ...forms.change_form import Clash, Unread, form_of, read_form
from ...forms.job_form import Form, once_of
from ...kit.flash import Undo, done
from ...kit.page import Page
from ...kit.reading import Part, part, read
from ...kit.section import Section
from ...kit.viewer import viewer
from ...lists.job_totals import ENDED_BADLY
from ...words import charts
from ...words.edits import edits_of
from ...words.filters import exact, read_time, timeout_of, used
from ...words.history import LOOKS, in_words, lines, stretches, summary
from ...words.pretty_json import Printed, printed

EXPLAIN_SECONDS = 0.5
# This many of the last changes and retries are read: an entry may have 32 KiB.
MOST_EDITS = 100
EDITED = (Act.CHANGE, What.RETRIED)
CHANGED_BOTH = "Somebody else changed the same fields. The form below shows the current values."
NOT_ENDED = "Only failed or cancelled jobs can be retried."

section = Section("job", __name__, within="jobs")


@section.page("/jobs/<uuid:job_id>", Scope.READ, every=2)
def show(job_id: UUID) -> Page:
    """Return the page of a job."""
    return _page(job_id)


def _page(job_id: UUID, fault: str = "", form: Form | None = None, status: int = 200) -> Page:
    try:
        found = read(lambda conn: visible(conn, job_id))
    except JobNotFound as error:
        raise NotFound(_gone(job_id)) from error
    job = as_shown(found.job)
    is_live = not job.status.is_final
    steps = [_seen(step) for step in timeline(found._replace(job=job).facts)]
    over = stretches(steps)
    shown_lines = lines(steps, f"{job.attempts} of {count(job.max_attempts, 'attempt')} used")
    shows_hidden = request.args.get("show") == "hidden"
    is_whole = request.args.get("whole") == "1"

    hides = () if shows_hidden else service().config.hide_fields
    acts = _acts(job_id, steps)
    edits, original = edits_of(acts.value or (), hides, caller().may_use)

    def set_out(text: bytes) -> Printed:
        return printed(text, hides=hides, is_whole=is_whole)

    return Page(
        "job.html",
        f"{job.kind}, {job.id}",
        status=status,
        is_live=is_live,
        job=job,
        kept_until=job.finished_at and job.finished_at + timedelta(days=service().config.retention_days),
        error=None if found.error_id is None else id_text(found.error_id),
        history=[
            replace(line, changes=edits.get(step.at, ())) if step.what in EDITED else line
            for step, line in zip(steps, shown_lines, strict=True)
        ],
        # The first change may be one that was not read.
        original=original if len(acts.value or ()) < MOST_EDITS else None,
        acts=acts,
        summary=summary(steps, (job.finished_at - job.created_at).total_seconds()) if job.finished_at else "",
        strip=charts.strip([(each.look, each.seconds) for each in over], in_words(over)),
        looks=[(look, word) for look, word in LOOKS.items() if any(each.look == look for each in over)],
        explained=part(lambda conn: _explained(conn, job_id), seconds=EXPLAIN_SECONDS) if is_live else None,
        bar_of=_bar,
        asked_to_stop=next((step for step in reversed(steps) if step.what == What.CANCEL_REQUESTED), None),
        timeout=_timeout(job),
        payload=set_out(job.payload_text),
        result=set_out(job.result_text) if job.result_text != b"null" else None,
        progress=found.progress and job.progress and found.progress._replace(note=job.progress["note"]),
        unless=_unless(job),
        form=form or form_of(job),
        shows_hidden=shows_hidden,
        fault=fault,
    )


def _acts(job_id: UUID, steps: Sequence[Step]) -> Part[Sequence[Action]]:
    """Return what the audit says of retries and changes of the job, newest first."""
    if not any(step.what in EDITED for step in steps):
        return Part(())
    wanted = ActionFilter(job_id=job_id, actions=[Act.CHANGE, Act.RETRY], limit=MOST_EDITS)

    def look(conn: Connection) -> Sequence[Action]:
        found = map(details_as_shown, find_actions(conn, wanted).actions)
        return [each if caller().may_see_actors else replace(each, actor=None) for each in found]

    return part(look)


def _gone(job_id: UUID) -> str:
    """Return the message for a job that does not exist, or is in a queue that the viewer may not see."""
    message = f"No job has this id. Ended jobs are kept for {service().config.retention_days} days"
    by, seconds = viewer(), (job_id.int >> 80) / 1000
    # Ids of other versions hold no time, and Haulier makes no ids of the future.
    if job_id.version not in (7, 8) or seconds > by.now.timestamp():
        return f"{message}."
    return f"{message}; this id dates from {exact(datetime.fromtimestamp(seconds, UTC), by.prefers.time_zone, by.now)}."


def visible(conn: Connection, job_id: UUID) -> Trace:
    """Return the job and its trace. Raises: JobNotFound, also if the viewer may not see its queue."""
    found = trace(conn, job_id)
    if not caller().may_use(found.job.queue):
        raise JobNotFound(job_id)
    return found


def _seen(step: Step) -> Step:
    return step if caller().may_see_actors else replace(step, by=None)


def _timeout(job: StoredJob) -> str:
    if job.timeout_seconds is not None:
        return duration(job.timeout_seconds)
    if job.kind not in service().kinds:
        return "default of the kind, unknown here"
    of_kind = timeout_of(job.kind, None)
    return f"{duration(of_kind)} (default of the kind)" if of_kind else "none (default of the kind)"


def _explained(conn: Connection, job_id: UUID) -> tuple[Sequence[Reason], Run | None]:
    """Return why a job waits, and who runs it."""
    timeouts = {kind.name: kind.timeout for kind in service().kinds.values()}
    try:
        found = explain(conn, job_id, timeouts=timeouts)
    except JobNotFound:
        # Somebody has just deleted it; the next load of the page says so.
        return (), None
    return found.waiting.reasons(whole=caller().queues is None) if found.waiting else (), found.run


def _bar(run: Run) -> Markup | None:
    """Return how much of its timeout a run has used up, as a bar; None if it may run for ever."""
    if run.deadline is None or run.deadline <= run.since:
        return None
    return used(run.since, (run.deadline - run.since).total_seconds(), viewer().now)[1]


def _unless(job: StoredJob) -> Mapping[str, str | None]:
    """Return for each act why the state of the job forbids it; None if it does not."""
    status = job.status
    runs = "It is running. Cancel it first." if status is JobStatus.RUNNING else None
    ended = "It has ended." if status.is_final else None
    asked = "Cancel was already requested." if status is JobStatus.RUNNING and job.cancel_requested else None
    not_later = None if job.run_at > viewer().now else "It is already due."
    return {
        "cancel": ended or asked,
        "retry": None if status in ENDED_BADLY else NOT_ENDED,
        "run_now": ended or runs or not_later,
        "change": ended or runs,
        "delete": None if status.is_final else "It has not ended. Cancel it first.",
    }


def acted_or_page(job_id: UUID, act: Callable[[], Response | Page]) -> Response | Page:
    """Return the response of an act; if it is refused, the current page of the job, with the reason."""
    try:
        return act()
    except (InvalidTransition, JobChanged, NotRetryable) as error:
        return _page(job_id, fault=str(error), status=409)
    except RowRefused as error:
        return _page(job_id, fault=f"The database refused this: {error}", status=422)
    except Invalid as error:
        return _page(job_id, fault=str(error), status=422)


def _back(job_id: UUID, sentence: str, undo: Undo | None = None) -> Response:
    return done(sentence, url_for("ui.job.show", job_id=job_id), undo)


def cancelled(job_id: UUID, *, is_over: bool) -> tuple[str, Undo | None]:
    """Return the message for a cancelled job and what undoes the cancel: nothing if the job still runs."""
    if not is_over:
        return "Cancel requested. The job still runs.", None
    given = {"job_id": f"{job_id}"}
    with suppress(JobNotFound):
        run_at = read(lambda conn: visible(conn, job_id)).job.run_at
        # A retry is due at once. If the job was due later, undo has to restore that time as well.
        given.update({"due": run_at.isoformat()} if run_at > viewer().now else {})
    return "Cancelled.", Undo("Retry", "job.retry", given)


def _due() -> datetime | None:
    """Return when the job was due before the cancel that is undone; None: at once."""
    at = read_time(request.args.get("due", ""), UTC)
    return at if at is not None and at > viewer().now else None


@section.act("/jobs/<uuid:job_id>/cancel", Scope.OPERATE)
def cancel(job_id: UUID) -> Response | Page:
    """Cancel the job; if it runs, request that it stops."""

    def act() -> Response:
        with connection() as conn:
            is_over = jobs.cancel(conn, job_id, actor=caller().id, queues=caller().queues)
        return _back(job_id, *cancelled(job_id, is_over=is_over))

    return acted_or_page(job_id, act)


@section.act("/jobs/<uuid:job_id>/retry", Scope.OPERATE)
def retry(job_id: UUID) -> Response | Page:
    """Retry the job: queue it with all its attempts."""

    due = _due()

    def act() -> Response:
        act_on(jobs.retry, job_id, NONE if due is None else Changes.of(run_at=due.isoformat()))
        return _back(job_id, "Retried: the job is queued with all its attempts.")

    return acted_or_page(job_id, act)


@section.act("/jobs/<uuid:job_id>/run-now", Scope.OPERATE)
def run_now(job_id: UUID) -> Response | Page:
    """Make the job due now."""

    def act() -> Response:
        act_on(jobs.change, job_id, Changes.of(delay_seconds=0))
        return _back(job_id, "Due now. The next free thread runs it.")

    return acted_or_page(job_id, act)


@section.act("/jobs/<uuid:job_id>/change", Scope.OPERATE)
def change(job_id: UUID) -> Response | Page:
    """Change a waiting job as the form says."""

    def asked(job: StoredJob) -> tuple[Changes, str | None]:
        found = read_form(request.form, job, viewer().prefers.time_zone)
        return found.changes, found.queue

    def act() -> Response:
        changed_as_it_is(job_id, asked)
        return _back(job_id, "Changed.")

    try:
        return acted_or_page(job_id, act)
    except Clash as error:
        return _page(job_id, CHANGED_BOTH, error.form, 409)
    except Unread as error:
        return _page(job_id, form=error.form, status=422)


@section.act("/jobs/<uuid:job_id>/copy", Scope.OPERATE, also=Scope.ENQUEUE)
def copy(job_id: UUID) -> Response | Page:
    """Enqueue a copy of the job; once, however often the form is sent."""

    def act() -> Response:
        queue = read(lambda conn: visible(conn, job_id)).job.queue
        made = copied_once(job_id, f"copy-{job_id}-{once_of(request.form)}", queue=queue)
        return _back(made.job_id, "Copied. This is the copy." if made.is_new else "Already copied. This is the copy.")

    return acted_or_page(job_id, act)


@section.act("/jobs/<uuid:job_id>/delete", Scope.ADMIN)
def delete(job_id: UUID) -> Response | Page:
    """Delete the job permanently."""

    def act() -> Response:
        with connection() as conn:
            jobs.delete(conn, job_id, actor=caller().id, queues=caller().queues)
        return done("Deleted.", url_for("ui.jobs.show"))

    return acted_or_page(job_id, act)
