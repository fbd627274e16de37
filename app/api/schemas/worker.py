"""The schemas of workers."""

from __future__ import annotations

from marshmallow import fields

from haulier.domain.worker import WorkerState

from .response_schemas import ResponseSchema, always, instant


class WorkerJob(ResponseSchema):
    """A job that a worker has claimed."""

    id = fields.UUID(required=True, metadata={"x-component": "JobId"})
    kind = fields.String(required=True, metadata={"x-component": "JobKind"})
    queue = fields.String(required=True)
    since = instant("When it was claimed.")


class WorkerResponse(ResponseSchema):
    """A worker process."""

    id = fields.UUID(required=True)
    host = fields.String(required=True)
    pid = fields.Integer(required=True)
    version = fields.String(**always("Null: not stored yet.", nullable=True))
    threads = fields.Integer(**always("How many jobs it runs at once."))
    queues = fields.List(fields.String(), **always("That it serves; null: every queue.", nullable=True))
    kinds = fields.List(
        fields.String(), **always("That it knows; null: not stored yet, or the worker is gone.", nullable=True)
    )
    state = fields.Enum(
        WorkerState,
        by_value=True,
        **always(
            "`quiet`: an operator wants it to claim no more; `stopping`: it is to stop; `silent`: no sign of life"
            " for two thirds of its lease; `gone`: it has ended, which no list shows."
        ),
    )
    started_at = instant("When it registered.")
    beat_at = instant("Its last sign of life.")
    lease_ends = instant("When it is, or would have been, declared dead without another.")
    scans_fail = fields.Boolean(**always("Its looks for new jobs fail; its log says why."))
    running = fields.Integer(**always("How many jobs it has claimed.", minimum=0))


class OneWorkerResponse(WorkerResponse):
    """A worker process and its jobs."""

    jobs = fields.List(fields.Nested(WorkerJob), **always("The jobs that it has claimed, longest first; 100 at most."))
    ended_at = instant("When its row was deleted; null: it lives.", nullable=True)
    # Not an enum: a newer release beside this one may write others.
    ended_how = fields.String(**always("`stopped`, or `buried`: its lease had run out; null: it lives.", nullable=True))
