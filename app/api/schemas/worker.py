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


def _bytes(name: str, text: str) -> fields.Integer:
    return fields.Integer(attribute=name, **always(f"{text} Null: unknown.", nullable=True, minimum=0))


def _cores() -> fields.Float:
    text = "Processor cores in use, on average since the heartbeat before; null: unknown."
    return fields.Float(attribute="cpu", **always(text, nullable=True, minimum=0))


class IsolatedProcessResponse(ResponseSchema):
    """A process that runs jobs of an isolated kind."""

    kind = fields.String(required=True, metadata={"x-component": "JobKind"})
    pid = fields.Integer(required=True)
    memory_bytes = _bytes("memory", "Resident memory.")
    cpu_cores = _cores()


class IsolatedEndsResponse(ResponseSchema):
    """Isolated processes of a kind that ended in one way."""

    kind = fields.String(required=True, metadata={"x-component": "JobKind"})
    how = fields.String(**always("Such as `was killed by SIGKILL`."))
    times = fields.Integer(**always("How many within the last hour.", minimum=1))


class VitalsResponse(ResponseSchema):
    """What the last heartbeat of a worker said of it."""

    memory_bytes = _bytes("memory", "Resident memory of the process, without isolated processes.")
    usual_memory_bytes = _bytes("usual_memory", "Its memory after the first minutes of work.")
    memory_grows = fields.Boolean(
        attribute="is_growing", **always("Whether the memory has grown steadily to 1.5 times the usual size or more.")
    )
    cpu_cores = _cores()
    busy_threads = fields.Float(
        attribute="busy",
        **always(
            "Threads in a handler, on average since the heartbeat before; null: unknown.", nullable=True, minimum=0
        ),
    )
    busy_minutes = fields.List(
        fields.Float(allow_none=True),
        **always("The same per minute, at most 60, oldest first; the last minute is unfinished. Null: unknown."),
    )
    isolated = fields.List(fields.Nested(IsolatedProcessResponse), **always("Its isolated processes; at most 20."))
    isolated_ended = fields.Integer(
        **always("Isolated processes that died, or were replaced to free their memory, since its start.", minimum=0)
    )
    isolated_ends = fields.List(
        fields.Nested(IsolatedEndsResponse),
        attribute="ends",
        **always("Those of the last hour, by kind and reason; at most 20."),
    )


class WorkerResponse(ResponseSchema):
    """A worker process."""

    id = fields.UUID(required=True)
    host = fields.String(required=True)
    pid = fields.Integer(required=True)
    version = fields.String(**always("Null: not stored yet.", nullable=True))
    release = fields.String(**always("The team's release, from `RELEASE`; null: nothing names it.", nullable=True))
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
    vitals = fields.Nested(
        VitalsResponse,
        **always("Null: no heartbeat yet, the worker is gone, or your key is limited to queues.", nullable=True),
    )
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
