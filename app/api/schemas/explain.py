"""The schemas of why a job waits."""

from __future__ import annotations

from typing import Any

from marshmallow import fields

from haulier.domain.job import JobStatus
from haulier.domain.schedules.schedule_waiting import ScheduleCode
from haulier.domain.waiting import Code

from ...http.own_path import own_path
from .response_schemas import ResponseSchema, always, instant


class OwnPath(fields.String):
    """A path of this service."""

    def _serialize(self, value: str | None, attr: str | None, obj: Any, **kwargs: Any) -> str | None:
        return None if value is None else own_path(value)


class WaitReason(ResponseSchema):
    """A reason for which a job waits."""

    code: fields.Field[Any] = fields.Enum(Code, by_value=True, **always("For programs."))
    message = fields.String(**always("One sentence for humans."))
    since = instant("When this began; null: unknown.", nullable=True)
    until = instant("When this ends; null: unknown.", nullable=True)
    link = OwnPath(**always("Path of a call with more details, or null.", nullable=True))


class ScheduleReason(WaitReason):
    """A reason for which a schedule does not fire."""

    code = fields.Enum(ScheduleCode, by_value=True, **always("For programs."))


class ScheduleExplainResponse(ResponseSchema):
    """Why a schedule does not fire."""

    reasons = fields.List(
        fields.Nested(ScheduleReason),
        **always("Everything that keeps the schedule from firing now; empty: it fires at once."),
    )


class JobRun(ResponseSchema):
    """Who runs a job."""

    worker_id = fields.UUID(required=True)
    worker = fields.String(
        **always(
            "Host and process id of the worker; null: it was declared dead, and another worker will take the job over.",
            nullable=True,
        )
    )
    lease_ends = instant(
        "When the worker is declared dead unless it sends a heartbeat; null: it was declared dead.", nullable=True
    )
    since = instant("When the job was claimed.")
    deadline = instant("The earliest time at which the run times out; null: never, or unknown.", nullable=True)


class ExplainResponse(ResponseSchema):
    """Why a job waits, or who runs it."""

    status = fields.Enum(JobStatus, by_value=True, required=True, metadata={"x-component": "JobStatus"})
    reasons = fields.List(
        fields.Nested(WaitReason),
        **always(
            "Everything that keeps a waiting job from starting; empty: it starts at once, is running or has ended."
        ),
    )
    run = fields.Nested(JobRun, **always("The current run; null: the job is not running.", nullable=True))
