"""Kinds that misbehave in every way a handler can; each writes what it does into the ledger file of the test."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
import time
from pathlib import Path

from marshmallow import Schema, fields

from haulier.kinds import Fail, JobCancelled, Retry, RetryPolicy, Snooze, kind

QUICK = RetryPolicy(base=0.05, cap=0.1)

if os.environ.get("TEST_DIES_AT_ONCE"):
    # Not the process that imports this: each that it forks.
    DEADLY = signal.Signals[os.environ["TEST_DIES_AT_ONCE"]]
    os.register_at_fork(after_in_child=lambda: os.kill(os.getpid(), DEADLY))
if rarely := os.environ.get("TEST_FULL_SCAN_SECONDS"):
    import haulier.worker.lanes.marks

    haulier.worker.lanes.marks.FULL_SCAN_SECONDS = float(rarely)
if os.environ.get("TEST_THREAD_AT_IMPORT"):
    threading.Thread(target=threading.Event().wait, name="of-a-kind", daemon=True).start()


def note(event, context):
    """Add a line to the ledger; one write with O_APPEND, so that lines of several processes never mix."""
    line = f"{event} {context.job.id} {context.job.attempt} {os.getpid()} {time.monotonic()}\n"
    ledger = os.open(os.environ["TEST_LEDGER"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    try:
        os.write(ledger, line.encode())
    finally:
        os.close(ledger)


class Nothing(Schema):
    pass


class Until(Schema):
    seconds = fields.Float(load_default=0.0)
    file = fields.String(load_default=None)


@kind("t.note", schema=Until, retry=QUICK)
def note_start(context, payload):
    """Run for a while, and return how often the job was claimed."""
    note("start", context)
    context.wait(payload["seconds"])
    note("end", context)
    return {"attempt": context.job.attempt}


@kind("t.cancelled", schema=Nothing, retry=QUICK)
def cancelled(context, payload):
    note("start", context)
    try:
        context.wait(600)
    except JobCancelled:
        note(f"stop:{context.stop_reason}", context)
        raise


class Which(Schema):
    which = fields.String(required=True)


class Unspeakable(Exception):
    def __str__(self):
        raise RuntimeError("not even this")


class Fatal(Exception):
    def __str__(self):
        sys.exit(4)


RAISES = {
    "fail": lambda: Fail("it is hopeless"),
    "raise": lambda: ValueError("no luck \x00 this time"),
    "exit": lambda: SystemExit(3),
    # An error that cannot even say what it is, and one that leaves with the whole process when it is to say so.
    "unspeakable": Unspeakable,
    "fatal": Fatal,
    "retry as an HTTP header has it": lambda: Retry("come back", after="60"),
    "snooze for no time": lambda: Snooze(None),
    "snooze for nan": lambda: Snooze(float("nan")),
    "retry in an age": lambda: Retry("come back", after=1e30),
}
RETURNS = {"not_json": {"when": object()}, "long": "x" * 70_000, "umlaut": "ä\n☃"}


def end(context, payload):
    """End in one of the ways that a handler has."""
    note("start", context)
    which = payload["which"]
    if which in RAISES:
        raise RAISES[which]()
    if which == "retry" and context.job.attempts < 2:
        raise Retry("come back", after=0.1)
    if which == "snooze" and context.job.snoozes < 2:
        raise Snooze(0.05)
    if which == "log":
        logging.getLogger("a.library").warning("said by the handler")
    return RETURNS.get(which, which)


kind("t.ends", schema=Which, retry=QUICK)(end)
# Its own back-off is long.
kind("t.ends_late", schema=Which, retry=RetryPolicy(base=50, cap=60))(end)


@kind("t.deaf", schema=Until, retry=QUICK)
def deaf(context, payload):
    """Run on, whatever is asked, until the file is there; then succeed."""
    note("start", context)
    while not Path(payload["file"]).exists():
        threading.Event().wait(0.02)
    note("end", context)
    return "done"


@kind("t.eats", schema=Nothing, retry=QUICK)
def eats(context, payload):
    note("start", context)
    while True:
        try:
            context.wait(0.05)
        except Exception:
            note("ate", context)


@kind("t.kills", schema=Nothing, retry=QUICK)
def kills(context, payload):
    note("start", context)
    os.kill(os.getpid(), signal.SIGKILL)


@kind("t.needs", schema=Nothing, needs=("smtp_url",))
def needs(context, payload):
    """Need a setting."""


@kind("t.forks", schema=Nothing, retry=QUICK)
def forks(context, payload):
    note("start", context)
    if (child := os.fork()) == 0:
        sys.exit(3)
    _, status = os.waitpid(child, 0)
    return f"parent, child left with {os.waitstatus_to_exitcode(status)}"


@kind("t.upset", schema=Nothing, retry=QUICK)
def upset(context, payload):
    """Be cut off in its work by an error of its own."""
    note("start", context)
    try:
        context.wait(60)
    except JobCancelled as stop:
        raise ConnectionError("cut off") from stop


class Words(Until):
    words = fields.List(fields.Dict(), required=True)


@kind("t.tells", schema=Words, retry=QUICK)
def tells(context, payload):
    """Say how far it has come, and run on for a while, or until the file is there."""
    note("start", context)
    for word in payload["words"]:
        context.progress(**word)
    context.wait(payload["seconds"])
    while payload["file"] and not Path(payload["file"]).exists():
        context.wait(0.02)
