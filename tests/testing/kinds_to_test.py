"""Kinds as a team has them, which end in each way there is."""

from __future__ import annotations

import os
import threading
from typing import Any

from marshmallow import fields

from haulier.kinds import Fail, JobCancelled, JobContext, PayloadSchema, Retry, RetryPolicy, Snooze, kind

# Long enough to be seen between two attempts on a busy machine.
QUICK = RetryPolicy(base=0.5, cap=1.0)


class Ways(PayloadSchema):
    way = fields.String(required=True)


class Naps(PayloadSchema):
    seconds = fields.List(fields.Float(), load_default=[])


class Anything(PayloadSchema):
    value = fields.Raw()


@kind("test.ways", schema=Ways, timeout=30, retry=QUICK)
def ways(context: JobContext, payload: dict[str, Any]) -> Any:
    returned: dict[str, Any] = {
        "returns": {"attempts": context.job.attempts},
        "returns_what_is_not_json": object(),
        "returns_too_much": "x" * 70_000,
    }
    raised: dict[str, BaseException] = {
        "raises": ValueError("no luck"),
        "exits": SystemExit(3),
        "fails": Fail("hopeless"),
        "retries": Retry("later"),
        "retries_soon": Retry("soon", after=0.6),
        "snoozes": Snooze(0.6),
        "snoozes_oddly": Snooze(float("nan")),
    }
    if payload["way"] in raised:
        raise raised[payload["way"]]
    return returned[payload["way"]]


@kind("test.naps", schema=Naps, timeout=30, retry=QUICK)
def naps(context: JobContext, payload: dict[str, Any]) -> int:
    """Wait for each of the times, and return how many there were."""
    for seconds in payload["seconds"]:
        context.wait(seconds)
    return len(payload["seconds"])


@kind("test.patient", schema=PayloadSchema)
def patient(context: JobContext, payload: dict[str, Any]) -> None:
    while not context.cancelled:
        context.wait(3600)


@kind("test.tidy", schema=PayloadSchema, timeout=30, retry=QUICK)
def tidy(context: JobContext, payload: dict[str, Any]) -> str:
    """Return as if nothing had happened when it is asked to stop."""
    try:
        context.wait(60)
    except JobCancelled as stop:
        return f"tidied up: {stop.reason}"
    return "not asked"


@kind("test.echoes", schema=Anything)
def echoes(context: JobContext, payload: dict[str, Any]) -> Any:
    return {"payload": payload["value"], "as_tuple": (1, 2), "type": type(payload["value"]).__name__}


@kind("test.tells", schema=Anything)
def tells(context: JobContext, payload: dict[str, Any]) -> None:
    for word in payload["value"]:
        context.progress(*word)


@kind("test.job", schema=PayloadSchema)
def about_its_job(context: JobContext, payload: dict[str, Any]) -> Any:
    names = ("kind", "attempts", "max_attempts", "snoozes", "attempt", "timeout_seconds")
    return {"id": str(context.job.id), **{name: getattr(context.job, name) for name in names}}


@kind("test.here", schema=PayloadSchema, needs=("storage_url",))
def here(context: JobContext, payload: dict[str, Any]) -> Any:
    """Return the process in which it runs, and the settings that it sees."""
    settings = context.settings
    return [os.getpid(), settings.database_url, settings.smtp_url, settings.storage_url]


@kind("test.apart", schema=PayloadSchema, needs=("storage_url",), isolated=True, timeout=30)
def apart(context: JobContext, payload: dict[str, Any]) -> Any:
    return here(context, payload)


# What test.deaf waits for.
enough = threading.Event()


@kind("test.deaf", schema=PayloadSchema, timeout=1)
def deaf(context: JobContext, payload: dict[str, Any]) -> None:
    enough.wait(60)
