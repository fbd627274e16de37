"""Kinds as a team has them, which end in each way there is."""

from __future__ import annotations

import os
import threading
from typing import Any

from marshmallow import fields

from haulier.kinds import Fail, JobCancelled, JobContext, PayloadSchema, Retry, RetryPolicy, Snooze, kind

QUICK = RetryPolicy(base=0.05, cap=0.1)


class Nothing(PayloadSchema):
    pass


class Ways(PayloadSchema):
    way = fields.String(required=True)


class Naps(PayloadSchema):
    seconds = fields.List(fields.Float(), load_default=[])


class Anything(PayloadSchema):
    value = fields.Raw()


@kind("test.ways", schema=Ways, timeout=30, retry=QUICK)
def ways(context: JobContext, payload: dict[str, Any]) -> Any:
    """End in the way that the payload names."""
    ends: dict[str, Any] = {
        "returns": lambda: {"attempts": context.job.attempts},
        "returns_what_is_not_json": object,
        "returns_too_much": lambda: "x" * 70_000,
    }
    raised: dict[str, BaseException] = {
        "raises": ValueError("no luck"),
        "exits": SystemExit(3),
        "fails": Fail("hopeless"),
        "retries": Retry("later"),
        "retries_soon": Retry("soon", after=0.2),
        "snoozes": Snooze(0.2),
        "snoozes_oddly": Snooze(float("nan")),
    }
    if payload["way"] in raised:
        raise raised[payload["way"]]
    return ends[payload["way"]]()


@kind("test.naps", schema=Naps, timeout=30, retry=QUICK)
def naps(context: JobContext, payload: dict[str, Any]) -> int:
    """Wait for each of the times, and return how many there were."""
    for seconds in payload["seconds"]:
        context.wait(seconds)
    return len(payload["seconds"])


@kind("test.patient", schema=Nothing)
def patient(context: JobContext, payload: dict[str, Any]) -> None:
    """Wait for ever."""
    while not context.cancelled:
        context.wait(3600)


@kind("test.tidy", schema=Nothing, timeout=30, retry=QUICK)
def tidy(context: JobContext, payload: dict[str, Any]) -> str:
    """Return as if nothing had happened when it is asked to stop."""
    try:
        context.wait(60)
    except JobCancelled as stop:
        return f"tidied up: {stop.reason}"
    return "not asked"


@kind("test.echoes", schema=Anything)
def echoes(context: JobContext, payload: dict[str, Any]) -> Any:
    """Return what it was given, as it came."""
    return {"payload": payload["value"], "as_tuple": (1, 2), "type": type(payload["value"]).__name__}


@kind("test.tells", schema=Anything)
def tells(context: JobContext, payload: dict[str, Any]) -> None:
    """Say each of the words that it was given on its progress."""
    for word in payload["value"]:
        context.progress(*word)


@kind("test.job", schema=Nothing)
def about_its_job(context: JobContext, payload: dict[str, Any]) -> Any:
    """Return what the job says of itself."""
    job = context.job
    return {
        "id": str(job.id),
        "kind": job.kind,
        "attempts": job.attempts,
        "max_attempts": job.max_attempts,
        "snoozes": job.snoozes,
        "attempt": job.attempt,
        "timeout_seconds": job.timeout_seconds,
    }


@kind("test.needs", schema=Nothing, needs=("storage_url",))
def needs(context: JobContext, payload: dict[str, Any]) -> str | None:
    """Return the setting that it needs."""
    return context.settings.storage_url


@kind("test.apart", schema=Nothing, needs=("storage_url",), isolated=True, timeout=30)
def apart(context: JobContext, payload: dict[str, Any]) -> Any:
    """Return what an isolated kind sees."""
    settings = context.settings
    return [settings.database_url, settings.smtp_url, settings.storage_url]


@kind("test.process", schema=Nothing)
def process(context: JobContext, payload: dict[str, Any]) -> int:
    """Return the process in which it runs."""
    return os.getpid()


@kind("test.process_apart", schema=Nothing, isolated=True, timeout=30)
def process_apart(context: JobContext, payload: dict[str, Any]) -> int:
    """Return the process in which it runs, a child."""
    return os.getpid()


# What test.deaf waits for.
enough = threading.Event()


@kind("test.deaf", schema=Nothing, timeout=1)
def deaf(context: JobContext, payload: dict[str, Any]) -> None:
    """Not stop, whatever is asked."""
    enough.wait(60)
