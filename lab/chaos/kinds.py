"""The kinds of job that the suite runs, for HAULIER_KINDS=lab.chaos.kinds: good ones, and one for each way to go wrong.

Each handler records its starts and ends in the ledger that CHAOS_LEDGER names. If CHAOS_CLOCK names a file, Python's
clock in this process is off by the number of seconds in that file.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import struct
import threading
import time
from pathlib import Path
from typing import Any

from marshmallow import fields

from haulier.kinds import JobCancelled, JobContext, PayloadSchema, RetryPolicy, kind
from lab.chaos.ledger import Event, Writer
from lab.descendants import parent

QUICK = RetryPolicy(base=0.1, cap=0.5)
# The isolated kinds, and the variables of the environment that their processes see.
APART = ("c.apart", "c.apart_exits", "c.apart_holds", "c.apart_grows")
READS = ("CHAOS_LEDGER", "CHAOS_CLOCK")
# Keeps the memory that `leaks` takes.
LEAKED: list[bytes] = []


class Order(PayloadSchema):
    """The job's instructions. `n` is the client's own number; the first `times` attempts go wrong; mark is of the
    operator who changed it last.
    """

    n = fields.Integer(required=True)
    ms = fields.Integer(load_default=0)
    times = fields.Integer(load_default=1)
    mark = fields.Integer(load_default=0)


def note(event: Event, context: JobContext) -> None:
    """Write a record into the ledger."""
    job = context.job
    assert job.claim is not None
    # An isolated kind runs in a child process: record the worker, which started the reaper, which started the child.
    pid = parent(os.getppid()) if job.kind in APART else os.getpid()
    _ledger().write(event, job.id, job.claim, job.attempt, pid)


def done(context: JobContext) -> dict[str, object]:
    """Note the end, and return a result that names the claim, so that the row shows which claim has settled it."""
    note(Event.END, context)
    return {"claim": str(context.job.claim), "attempt": context.job.attempt, "pid": os.getpid()}


def is_bad(context: JobContext, payload: dict[str, Any]) -> bool:
    """Note the start, and tell whether this attempt is to go wrong."""
    note(Event.START, context)
    times: int = payload["times"]
    return context.job.attempts <= times


@kind("c.works", schema=Order, retry=QUICK)
def works(context: JobContext, payload: dict[str, Any]) -> dict[str, object]:
    """Take some time, and succeed; stop when asked to."""
    note(Event.START, context)
    if payload["ms"]:
        _wait(context, payload["ms"] / 1000)
    return done(context)


# Separate kinds, as in real use for work of such different lengths: how much is claimed ahead depends on the kind.
kind("c.quick", schema=Order, retry=QUICK)(works)
kind("c.long", schema=Order, retry=QUICK)(works)


@kind("c.raises", schema=Order, retry=QUICK)
def raises(context: JobContext, payload: dict[str, Any]) -> dict[str, object]:
    """Raise, or take some time and succeed."""
    if is_bad(context, payload):
        note(Event.RAISED, context)
        raise ValueError("no luck this time")
    if payload["ms"]:
        _wait(context, payload["ms"] / 1000)
    return done(context)


# Operators act only on jobs of this kind, so that the end of all other jobs stays certain.
kind("c.acted", schema=Order, retry=QUICK)(raises)


@kind("c.dawdles", schema=Order, retry=QUICK)
def dawdles(context: JobContext, payload: dict[str, Any]) -> dict[str, object]:
    """Run past its timeout, and stop when it is asked to."""
    if is_bad(context, payload):
        _wait(context, 60)
    return done(context)


@kind("c.hangs", schema=Order, retry=QUICK)
def hangs(context: JobContext, payload: dict[str, Any]) -> dict[str, object]:
    """Run past its timeout, ignore the stop, and then return as if it had succeeded."""
    if is_bad(context, payload):
        _sleep(payload["ms"] / 1000)
    return done(context)


@kind("c.deaf", schema=Order, retry=QUICK)
def deaf(context: JobContext, payload: dict[str, Any]) -> dict[str, object]:
    """Ignore a cancel."""
    note(Event.START, context)
    _sleep(payload["ms"] / 1000)
    return done(context)


@kind("c.leaks", schema=Order, retry=QUICK)
def leaks(context: JobContext, payload: dict[str, Any]) -> dict[str, object]:
    """Keep 100 MB that nobody needs."""
    if is_bad(context, payload):
        LEAKED.append(b"x" * 100_000_000)
    return done(context)


@kind("c.holds", schema=Order, retry=QUICK)
def holds(context: JobContext, payload: dict[str, Any]) -> dict[str, object]:
    """Let no other thread of the process run for a while, as a bad regular expression does."""
    if is_bad(context, payload):
        # PyDLL, unlike CDLL, keeps the interpreter's lock.
        ctypes.PyDLL(None).usleep(payload["ms"] * 1000)
    return done(context)


@kind("c.exits", schema=Order, retry=QUICK)
def exits(context: JobContext, payload: dict[str, Any]) -> dict[str, object]:
    """End the whole process."""
    if is_bad(context, payload):
        os._exit(3)
    return done(context)


@kind("c.apart_grows", schema=Order, retry=QUICK, isolated=True, reads=READS)
def grows(context: JobContext, payload: dict[str, Any]) -> dict[str, object]:
    """Take more memory than a child process may have."""
    if is_bad(context, payload):
        LEAKED.append(b"x" * 1_000_000_000)
    return done(context)


kind("c.apart", schema=Order, retry=QUICK, isolated=True, reads=READS)(works)
kind("c.apart_exits", schema=Order, retry=QUICK, isolated=True, reads=READS)(exits)
kind("c.apart_holds", schema=Order, retry=QUICK, isolated=True, reads=READS)(holds)


def _wait(context: JobContext, seconds: float) -> None:
    try:
        context.wait(seconds)
    except JobCancelled:
        note(Event.STOPPED, context)
        raise


def _sleep(seconds: float) -> None:
    threading.Event().wait(seconds)


def _ledger() -> Writer:
    global _writer
    if _writer is None:
        _writer = Writer(Path(os.environ["CHAOS_LEDGER"]))
    return _writer


_writer: Writer | None = None


def _shift_clock(path: str) -> None:
    """Let time.time() and time.time_ns() be off by the number in the file, which may change at any time."""
    with open(path, "rb") as file:
        shared = mmap.mmap(file.fileno(), 8, access=mmap.ACCESS_READ)
    real, real_ns = time.time, time.time_ns

    def offset() -> float:
        return float(struct.unpack("<d", shared[:8])[0])

    time.time = lambda: real() + offset()
    time.time_ns = lambda: real_ns() + int(offset() * 1e9)


if os.environ.get("CHAOS_CLOCK"):
    _shift_clock(os.environ["CHAOS_CLOCK"])
