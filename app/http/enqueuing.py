"""The checks of every call and form that enqueues: fields, rights, length of the payload, number of queues."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

from flask import current_app
from marshmallow import ValidationError

from haulier.domain.job import MAX_PAYLOAD_BYTES, Json, NewJob
from haulier.domain.schedules.schedule import Rule
from haulier.queue import jobs
from haulier.queue.jobs.draft import Draft
from haulier.queue.schedules.schedules import Pause
from haulier.requests.invalid import Invalid, TooLarge, invalid
from haulier.requests.job_request import CreateJobRequest
from haulier.requests.schedule_request import check_name, read_schedule

from .auth import caller
from .queue_names import QueueNames
from .service import service


@dataclass(frozen=True, slots=True)
class AskedSchedule:
    """The schedule of a request. `draft` is its job; if pause is None, the schedule stays paused or not."""

    rule: Rule
    draft: Draft
    pause: Pause | None


@dataclass(frozen=True, slots=True)
class Enqueuing:
    """The checks of one application."""

    create_job: CreateJobRequest
    queue_names: QueueNames

    def draft(self, data: Json, idempotency_key: str | None = None) -> Draft:
        """Return the job of a request, with its payload as JSON. Raises: Invalid; Forbidden; TooLarge."""
        return _draft(self.create_job.load(data), idempotency_key)

    def schedule(self, name: str, data: Json) -> AskedSchedule:
        """Return the schedule of a request, its job checked as for a call. Raises: Invalid; Forbidden; TooLarge."""
        try:
            check_name(name)
        except ValidationError as error:
            raise Invalid({"name": error.messages}) from None
        try:
            asked = read_schedule(data, self.create_job)
        except ValidationError as error:
            raise invalid(error) from None
        return AskedSchedule(asked.rule, _draft(asked.job), asked.pause)


def _draft(job: NewJob, idempotency_key: str | None = None) -> Draft:
    by = caller()
    by.check_queue(job.queue)
    draft = jobs.draft(job, idempotency_key=idempotency_key, scope=by.id, in_cell=service().database.cell is not None)
    check_payload_size(draft.payload)
    return draft


def check_payload_size(payload: bytes) -> None:
    """Return if the payload, as compact JSON in UTF-8, is not too long. Raises: TooLarge."""
    if len(payload) > MAX_PAYLOAD_BYTES:
        raise TooLarge(f"payload has {len(payload)} bytes as JSON; at most {MAX_PAYLOAD_BYTES} are allowed")


def enqueuing() -> Enqueuing:
    """Return the checks of the current application."""
    return cast(Enqueuing, current_app.extensions["haulier_enqueuing"])
