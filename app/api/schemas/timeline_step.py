"""The schemas of what happened to a job."""

from __future__ import annotations

from marshmallow import fields

from haulier.domain.job import JobStatus
from haulier.domain.timeline import What, Why

from .response_schemas import ResponseSchema, always, instant


class TimelineStep(ResponseSchema):
    """One step of what happened to a job."""

    at = instant("Time of the step. For `waited`: when the wait began.")
    # Not enums: acts of a newer release beside this one have names of their own.
    what = fields.String(
        **always(
            f"One of {', '.join(f'`{what}`' for what in What)}; or an operator's action, named as in `GET /audit`."
        )
    )
    why = fields.String(
        **always(
            f"Only for `waited`: the reason for the wait, one of {', '.join(f'`{why}`' for why in Why)}.", nullable=True
        )
    )
    by = fields.String(
        **always(
            "Who did it, as `actor` in `GET /audit`. For `enqueued`: the API key, if the request had an idempotency"
            " key. Null: nobody, unknown, or hidden from this API key.",
            nullable=True,
        )
    )
    worker = fields.String(**always("Only for runs: host and process id of the worker, if known.", nullable=True))
    attempt = fields.Integer(**always("Only for runs: number of the attempt.", nullable=True))
    error = fields.String(**always("Only for `failed`: the error.", nullable=True))
    seconds = fields.Float(
        **always(
            "Duration of the finished run or wait. Null while it lasts, or if unknown.",
            nullable=True,
            minimum=0,
        )
    )
    due_at = instant("Only for the last `waited`: when the job was or is due.", nullable=True)
    count = fields.Integer(
        **always("Only for `runs_not_kept`: number of runs that are not kept.", nullable=True, minimum=1)
    )
    schedule = fields.String(
        **always("Only for `enqueued`: the schedule that enqueued the job; null: none did.", nullable=True)
    )
    scheduled_for = instant("Only for `enqueued`: the tick that enqueued the job; null: none did.", nullable=True)
    late_seconds = fields.Float(
        **always(
            "Only for `enqueued`: delay after the tick, including jitter; null: no tick enqueued the job.",
            nullable=True,
        )
    )


class TimelineResponse(ResponseSchema):
    """What happened to a job."""

    status = fields.Enum(JobStatus, by_value=True, required=True, metadata={"x-component": "JobStatus"})
    steps = fields.List(fields.Nested(TimelineStep), **always("Oldest first."))
