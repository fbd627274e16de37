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
    since = instant("When the worker claimed the job.")


class WorkerResponse(ResponseSchema):
    """A worker process."""

    id = fields.UUID(required=True)
    host = fields.String(required=True)
    pid = fields.Integer(required=True)
    version = fields.String(**always("Null: not stored yet.", nullable=True))
    threads = fields.Integer(**always("Number of jobs that the worker can run at once."))
    queues = fields.List(
        fields.String(), **always("The queues that the worker serves; null: all queues.", nullable=True)
    )
    kinds = fields.List(
        fields.String(),
        **always("The kinds that the worker knows; null: not stored yet, or the worker is gone.", nullable=True),
    )
    state = fields.Enum(
        WorkerState,
        by_value=True,
        **always(
            "`quiet`: an operator has stopped it from claiming jobs; `stopping`: it is shutting down; `silent`: no"
            " heartbeat for two thirds of its lease; `gone`: it has ended (lists do not show it)."
        ),
    )
    started_at = instant("When the worker registered.")
    beat_at = instant("Last heartbeat.")
    lease_ends = instant("When the worker is, or would have been, declared dead without another heartbeat.")
    scans_fail = fields.Boolean(**always("Whether the worker fails to look for new jobs; its log says why."))
    running = fields.Integer(**always("Number of jobs that the worker has claimed.", minimum=0))


class OneWorkerResponse(WorkerResponse):
    """A worker process and its jobs."""

    jobs = fields.List(
        fields.Nested(WorkerJob), **always("The jobs that the worker has claimed, longest first; at most 100.")
    )
    ended_at = instant("When the worker ended; null: it is running.", nullable=True)
    # Not an enum: a newer release beside this one may write others.
    ended_how = fields.String(
        **always("`stopped`, or `buried`: its lease ran out; null: it is running.", nullable=True)
    )
