"""EXECUTOR=simulated: every kind does fake work of a few milliseconds, and only a hash decides how each attempt ends.

A run has three steps of one to three milliseconds. In a job's first attempt each step fails with a probability of
one tenth, so that about 27 of 100 first attempts fail; attempt 2 and later always succeeds.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from uuid import UUID

from haulier.domain.job import Json
from haulier.kinds.sdk.context import JobContext
from haulier.kinds.sdk.registry import Kind

STEPS = 3
FAILURE_RATE = 0.1
SHORTEST_STEP, LONGEST_STEP = 0.001, 0.003


def simulate(kind: Kind) -> Kind:
    """Return the kind with fake work in place of its own; its payload is still checked, its settings are not needed."""
    return replace(kind, run=_run, needs=(), check=None, isolated=False)


def failing_step(job_id: UUID, attempt: int) -> int | None:
    """Return the step, counted from 0, at which this attempt fails, or None if it succeeds."""
    if attempt >= 2:
        return None
    return next((step for step in range(STEPS) if _chance(job_id, attempt, step, "fail") < FAILURE_RATE), None)


def _run(context: JobContext, payload: dict[str, Json]) -> Json:
    job, failing = context.job, failing_step(context.job.id, context.job.attempts)
    for step in range(STEPS):
        spread = LONGEST_STEP - SHORTEST_STEP
        context.wait(SHORTEST_STEP + spread * _chance(job.id, job.attempts, step, "last"))
        if step == failing:
            raise RuntimeError(f"simulated failure of attempt {job.attempts} at step {step}")
    return {"simulated": True, "steps": STEPS}


def _chance(job_id: UUID, attempt: int, step: int, purpose: str) -> float:
    """Return a number from 0 to 1, 1 excluded, the same for the same arguments in every process."""
    digest = hashlib.sha256(f"{job_id}/{attempt}/{step}/{purpose}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64
