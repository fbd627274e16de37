"""The schemas of what happened to a job."""

from __future__ import annotations

from marshmallow import fields

from haulier.domain.job import JobStatus
from haulier.domain.timeline import What, Why

from .response_schemas import ResponseSchema, always, instant


class TimelineStep(ResponseSchema):
    """One step of what happened to a job."""

    at = instant("When it was; of `waited`: when the wait began.")
    # Not enums: acts of a newer release beside this one have names of their own.
    what = fields.String(
        **always(
            f"One of {', '.join(f'`{what}`' for what in What)}; or an act of an operator, as `GET /audit` names it."
        )
    )
    why = fields.String(
        **always(f"Of `waited`, what came before it: one of {', '.join(f'`{why}`' for why in Why)}.", nullable=True)
    )
    by = fields.String(
        **always(
            "Who did it, as `actor` of `GET /audit`; of `enqueued` the API key, if that sent an idempotency key."
            " Null: nobody, not known, or hidden from this API key.",
            nullable=True,
        )
    )
    worker = fields.String(**always("Of a run: the host and process id of its worker, if known.", nullable=True))
    attempt = fields.Integer(**always("Of a run: its number among the attempts.", nullable=True))
    error = fields.String(**always("Of `failed`: why.", nullable=True))
    seconds = fields.Float(
        **always(
            "How long the run that ended, or the wait, took; null: not known, or it still waits.",
            nullable=True,
            minimum=0,
        )
    )
    due_at = instant("Of the last `waited`: when the job was or is due.", nullable=True)
    count = fields.Integer(**always("Of `runs_not_kept`: how many there were besides.", nullable=True, minimum=1))
    schedule = fields.String(**always("Of `enqueued`: the schedule whose tick did it; null: none.", nullable=True))
    scheduled_for = instant("Of `enqueued`: that tick; null: none did it.", nullable=True)
    late_seconds = fields.Float(
        **always(
            "Of `enqueued`: how long after the tick that was, its jitter included; null: no tick did it.", nullable=True
        )
    )


class TimelineResponse(ResponseSchema):
    """What happened to a job."""

    status = fields.Enum(JobStatus, by_value=True, required=True, metadata={"x-component": "JobStatus"})
    steps = fields.List(fields.Nested(TimelineStep), **always("Oldest first."))
