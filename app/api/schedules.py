"""Schedules: what there is, what an operator makes of them, and what became of their ticks."""

from __future__ import annotations

import re
from dataclasses import asdict, replace
from datetime import UTC, datetime
from typing import Any

from flask.views import MethodView

from haulier.domain.api_key import Scope
from haulier.domain.errors import PauseInThePast, ScheduleNotFound
from haulier.domain.job import NAME_PATTERN
from haulier.domain.schedules.preview import Preview, preview
from haulier.domain.schedules.schedule import InvalidSchedule, next_ticks
from haulier.queue.schedules.schedule_health import unfired
from haulier.queue.schedules.schedules import (
    Shown,
    delete_schedule,
    get_schedule,
    list_schedules,
    list_ticks,
    pause_schedule,
    put_schedule,
    resume_schedule,
    run_schedule,
)
from haulier.requests.cursor import entry_cursor, entry_of
from haulier.requests.invalid import Invalid, load
from haulier.requests.lists import ListSchedules, ListTicks
from haulier.requests.schedule_request import PauseSchedule, PreviewSchedule, PutSchedule, read_preview, timetable_of

from ..http.auth import caller
from ..http.enqueuing import enqueuing
from ..http.masking import schedule_as_shown
from ..http.own_path import own_path
from ..http.routes import needs
from ..http.service import connection, service
from .openapi.document import NEXT_PAGE, fails, takes
from .reading import Blueprint, ViewResult, json_body, next_page, optional_body
from .schemas.explain import ScheduleExplainResponse
from .schemas.schedule import (
    SHOWN_TICKS,
    OneScheduleResponse,
    PreviewedTick,
    RunResponse,
    ScheduleResponse,
    TickResponse,
)

blp = Blueprint("schedules", __name__, description="Schedules, which enqueue jobs at set times.")

PAUSE = PauseSchedule()
WHY = "a schedule is shared by every queue"


@blp.route("/schedules")
class Schedules(MethodView):
    """All schedules."""

    @needs(Scope.READ)
    @fails(blp, 422, 503)
    @blp.doc(operationId="list_schedules")
    @blp.arguments(ListSchedules(), location="query")
    @blp.response(200, ScheduleResponse(many=True), headers=NEXT_PAGE, description="The schedules, by name.")
    def get(self, asked: dict[str, Any]) -> ViewResult:
        """List the schedules, by name.

        For the next page, follow the `Link` header or repeat the call with `cursor` set to `Next-Cursor`.
        """
        with connection() as conn:
            found, has_more = list_schedules(
                conn, after=asked.get("cursor"), limit=asked["limit"], queues=caller().queues
            )
        return [_shown(each) for each in found], 200, next_page(found[-1].schedule.name) if has_more else {}


@blp.route("/schedules/preview")
class PreviewOfSchedule(MethodView):
    """What a schedule would come to."""

    @needs(Scope.READ, slow=True)
    @fails(blp, 400, 413, 415, 422, 503)
    @blp.doc(operationId="preview_schedule", requestBody=takes(PreviewSchedule))
    @blp.response(200, PreviewedTick(many=True), description="The ticks, earliest first.")
    def post(self) -> list[Preview]:
        """Preview when a schedule would fire and how clock changes affect it. Nothing is stored."""
        asked = read_preview(json_body())
        after = asked.get("after") or datetime.now(UTC).replace(microsecond=0)
        return preview(timetable_of(asked, counts_from=after), after, asked["count"])


@blp.route("/schedules/<name>")
class OneSchedule(MethodView):
    """One schedule."""

    @needs(Scope.READ)
    @fails(blp, 404, 503)
    @blp.doc(operationId="get_schedule")
    @blp.response(200, OneScheduleResponse(), description="The schedule with its last and next ticks.")
    def get(self, name: str) -> dict[str, Any]:
        """Get a schedule, its next ten ticks and the outcome of the last ten."""
        return _whole(_checked(name))

    @needs(Scope.ADMIN, every_queue=WHY)
    @fails(blp, 400, 404, 409, 413, 415, 422, 503)
    @blp.doc(operationId="put_schedule", requestBody=takes(PutSchedule))
    @blp.alt_response(201, schema=OneScheduleResponse(), description="The schedule was created.")
    @blp.response(200, OneScheduleResponse(), description="The schedule as it is now.")
    def put(self, name: str) -> ViewResult:
        """Create or change a schedule.

        Sending the same schedule again changes nothing. Ticks already due fire by the old rule first, so a change
        neither repeats nor loses a tick. Without `paused`, the pause stays as it is. 404 for an invalid schedule name.
        """
        asked = enqueuing().schedule(_checked(name), json_body())
        with connection() as conn:
            enqueuing().queue_names.check(conn, asked.draft)
            try:
                is_new = put_schedule(
                    conn,
                    name,
                    asked.rule,
                    retention_days=service().config.retention_days,
                    pause=asked.pause,
                    actor=caller().id,
                )
            except PauseInThePast:
                raise Invalid({"paused_until": ["Must be in the future."]}) from None
        return _whole(name), 201 if is_new else 200, {}

    @needs(Scope.ADMIN, every_queue=WHY)
    @fails(blp, 404, 409, 422, 503)
    @blp.doc(operationId="delete_schedule")
    @blp.response(204, description="The schedule is deleted.")
    def delete(self, name: str) -> ViewResult:
        """Delete a schedule. Ticks that have not fired are dropped. Jobs already enqueued still run."""
        with connection() as conn:
            delete_schedule(conn, _checked(name), actor=caller().id)
        return "", 204, {}


@blp.route("/schedules/<name>/run")
class Run(MethodView):
    """A schedule, fired by hand."""

    @needs(Scope.OPERATE, enqueues=True)
    @fails(blp, 404, 409, 422, 503)
    @blp.doc(operationId="run_schedule")
    @blp.response(201, RunResponse(), description="The job is stored and will run.")
    def post(self, name: str) -> ViewResult:
        """Enqueue the job of a schedule now, even if the schedule is paused.

        The body may be empty. 409 if a job of the schedule is live and `overlap` is not `allow`; the message names
        that job.
        """
        with connection() as conn:
            job_id = run_schedule(conn, _checked(name), queues=caller().queues, actor=caller().id)
        return {"job_id": job_id}, 201, {"Location": own_path(f"/jobs/{job_id}")}


@blp.route("/schedules/<name>/pause")
class PauseOfSchedule(MethodView):
    """The pause of a schedule."""

    @needs(Scope.OPERATE)
    @fails(blp, 400, 404, 413, 415, 422, 503)
    @blp.doc(operationId="pause_schedule", requestBody=takes(PauseSchedule, required=False))
    @blp.response(200, OneScheduleResponse(), description="The schedule as it is now.")
    def post(self, name: str) -> dict[str, Any]:
        """Pause a schedule, until a given time or until it is resumed.

        The body may be empty. Ticks during the pause get the outcome `skipped_paused` and do not fire later.
        """
        asked = load(PAUSE, optional_body())
        with connection() as conn:
            get_schedule(conn, _checked(name), queues=caller().queues)
            try:
                pause_schedule(conn, name, until=asked.get("until"), actor=caller().id)
            except PauseInThePast:
                raise Invalid({"until": ["Must be in the future."]}) from None
        return _whole(name)


@blp.route("/schedules/<name>/resume")
class ResumeOfSchedule(MethodView):
    """The end of a schedule's pause."""

    @needs(Scope.OPERATE)
    @fails(blp, 404, 422, 503)
    @blp.doc(operationId="resume_schedule")
    @blp.response(200, OneScheduleResponse(), description="The schedule as it is now.")
    def post(self, name: str) -> dict[str, Any]:
        """Resume a schedule. The body may be empty. Does nothing if the schedule is not paused."""
        with connection() as conn:
            get_schedule(conn, _checked(name), queues=caller().queues)
            resume_schedule(conn, name, actor=caller().id)
        return _whole(name)


@blp.route("/schedules/<name>/explain")
class ExplainSchedule(MethodView):
    """Why a schedule does not fire."""

    @needs(Scope.READ)
    @fails(blp, 404, 503)
    @blp.doc(operationId="explain_schedule")
    @blp.response(200, ScheduleExplainResponse(), description="Why the schedule does not fire now.")
    def get(self, name: str) -> dict[str, Any]:
        """Explain why a schedule does not fire now.

        `reasons` lists everything that keeps the schedule from firing; once none is left, it fires.
        """
        with connection() as conn:
            found = unfired(
                conn, _checked(name), retention_days=service().config.retention_days, queues=caller().queues
            )
        return {"reasons": replace(found, schedule=schedule_as_shown(found.schedule)).reasons()}


@blp.route("/schedules/<name>/ticks")
class Ticks(MethodView):
    """What became of the ticks of a schedule."""

    @needs(Scope.READ)
    @fails(blp, 404, 422, 503)
    @blp.doc(operationId="list_ticks")
    @blp.arguments(ListTicks(), location="query")
    @blp.response(200, TickResponse(many=True), headers=NEXT_PAGE, description="The ticks, newest first.")
    def get(self, asked: dict[str, Any], name: str) -> ViewResult:
        """List the past ticks of a schedule with their outcomes, newest first.

        Ticks of a deleted schedule with the same name follow. For the next page, follow the `Link` header or repeat
        the call with `cursor` set to `Next-Cursor`.
        """
        with connection() as conn:
            get_schedule(conn, _checked(name), queues=caller().queues)
            before = entry_of(asked["cursor"]) if "cursor" in asked else None
            found, has_more = list_ticks(conn, name, before=before, limit=asked["limit"])
        last = entry_cursor(found[-1].scheduled_at, found[-1].schedule_id) if has_more else None
        return found, 200, {} if last is None else next_page(last)


def _checked(name: str) -> str:
    # A name that is none cannot be sent to the database: it may hold a NUL.
    if not re.fullmatch(NAME_PATTERN, name):
        raise ScheduleNotFound(name[:100])
    return name


def _shown(found: Shown) -> dict[str, Any]:
    schedule, is_paused = schedule_as_shown(found.schedule), found.schedule.is_paused(found.now)
    return {
        **asdict(schedule.rule),
        "name": schedule.name,
        "paused": is_paused,
        "paused_until": schedule.paused_until if is_paused else None,
        "source": schedule.source,
        "next_at": found.next_at,
        "waiting_at": schedule.pending_at,
        "refused": schedule.refused,
        "created_at": found.created_at,
        "updated_at": found.updated_at,
    }


def _whole(name: str) -> dict[str, Any]:
    with connection() as conn:
        found = get_schedule(conn, name, queues=caller().queues)
        last, _ = list_ticks(conn, name, limit=SHOWN_TICKS)
    return {**_shown(found), "next_ticks": _next(found), "last_ticks": last}


def _next(found: Shown) -> list[datetime]:
    after = max(found.schedule.decided_to, found.now)
    try:
        return next_ticks(found.schedule, after, SHOWN_TICKS)
    except InvalidSchedule:
        # Its zone is known no more.
        return []
