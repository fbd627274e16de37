"""The kinds of job that are measured, for HAULIER_KINDS=lab.bench.kinds. Their handlers do as little as possible."""

from __future__ import annotations

import base64
import os
import time
from typing import Any

from marshmallow import fields

from haulier.kinds import Fail, JobContext, PayloadSchema, kind

# The file to which `note` writes, and how long `sleep` takes at most.
NOTES = os.environ.get("BENCH_NOTES", os.devnull)
LONGEST_MILLISECONDS = 600_000
# The longest that are stored; random, so that nothing compresses them.
LONG_RESULT = base64.b64encode(os.urandom(48_000)).decode()
LONG_ERROR = base64.b64encode(os.urandom(3_000)).decode()


class Noop(PayloadSchema):
    """One field, so that there is something to validate."""

    n = fields.Integer(required=True)


class Sleep(PayloadSchema):
    """A duration to wait for."""

    milliseconds = fields.Integer(required=True)


class Blob(PayloadSchema):
    """A payload of some size."""

    text = fields.String(required=True)


class Heavy(PayloadSchema):
    """A number, and any other data."""

    n = fields.Integer(required=True)
    data = fields.Raw(required=True, allow_none=True)


@kind("noop", schema=Noop)
def noop(context: JobContext, payload: dict[str, Any]) -> None:
    """Do nothing."""


@kind("noop_isolated", schema=Noop, isolated=True)
def noop_isolated(context: JobContext, payload: dict[str, Any]) -> None:
    """Do nothing, in a process of its own."""


@kind("blob", schema=Blob)
def blob(context: JobContext, payload: dict[str, Any]) -> None:
    """Do nothing with a large payload."""


@kind("heavy", schema=Heavy)
def heavy(context: JobContext, payload: dict[str, Any]) -> None:
    """Do nothing with a large payload."""


@kind("long_result", schema=Heavy)
def long_result(context: JobContext, payload: dict[str, Any]) -> str:
    """Return 64 KB."""
    return LONG_RESULT


@kind("long_error", schema=Heavy)
def long_error(context: JobContext, payload: dict[str, Any]) -> None:
    """Fail with an error of 4 KB."""
    raise Fail(LONG_ERROR)


@kind("sleep", schema=Sleep)
def sleep(context: JobContext, payload: dict[str, Any]) -> None:
    """Wait, as a call to another service would."""
    context.wait(min(payload["milliseconds"], LONGEST_MILLISECONDS) / 1000)


@kind("started", schema=Noop)
def started(context: JobContext, payload: dict[str, Any]) -> None:
    """Note when it was started and by which process."""
    note(payload["n"])


def note(n: int) -> None:
    """Append a line: the number, the machine's monotonic clock, the process."""
    line = f"{n} {time.monotonic():.6f} {os.getpid()}\n"
    # One write to a file opened for appending: the lines of threads and processes do not mix.
    os.write(_notes(), line.encode())


def _notes() -> int:
    global _descriptor
    if _descriptor is None:
        _descriptor = os.open(NOTES, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    return _descriptor


_descriptor: int | None = None
