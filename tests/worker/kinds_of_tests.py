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


class Number(Schema):
    number = fields.Integer(required=True, strict=True)


@kind("t.note", schema=Until, retry=QUICK)
def note_start(context, payload):
    """Run for a while, and return how often the job was claimed."""
    note("start", context)
    context.wait(payload["seconds"])
    note("end", context)
    return {"attempt": context.job.attempt}


@kind("t.cancelled", schema=Nothing, retry=QUICK)
def cancelled(context, payload):
    """Run until asked to stop."""
    note("start", context)
    try:
        context.wait(600)
    except JobCancelled:
        note(f"stop:{context.stop_reason}", context)
        raise


@kind("t.deaf", schema=Until, retry=QUICK)
def deaf(context, payload):
    """Run on, whatever is asked, until the file is there; then succeed."""
    note("start", context)
    while not Path(payload["file"]).exists():
        threading.Event().wait(0.02)
    note("end", context)
    return "done"


@kind("t.at_last", schema=Until, retry=QUICK)
def at_last(context, payload):
    """Fail twice; then run until the file is there, or until asked to stop."""
    note("start", context)
    if len(context.job.errors) < 2:
        raise RuntimeError(f"no luck {context.job.attempts}")
    while not Path(payload["file"]).exists():
        context.wait(0.02)
    return "done"


@kind("t.raises", schema=Nothing, retry=QUICK)
def raises(context, payload):
    """Fail each time."""
    note("start", context)
    raise ValueError("no luck \x00 this time")


@kind("t.exits", schema=Nothing, retry=QUICK)
def exits(context, payload):
    """Try to leave with the whole process."""
    note("start", context)
    sys.exit(3)


@kind("t.not_json", schema=Nothing, retry=QUICK)
def not_json(context, payload):
    """Return what cannot be stored."""
    note("start", context)
    return {"when": object()}


@kind("t.eats", schema=Nothing, retry=QUICK)
def eats(context, payload):
    """Swallow every Exception there is."""
    note("start", context)
    while True:
        try:
            context.wait(0.05)
        except Exception:
            note("ate", context)


@kind("t.silent_error", schema=Nothing, retry=QUICK)
def silent_error(context, payload):
    """Raise an error that cannot even say what it is."""

    class Unspeakable(Exception):
        def __str__(self):
            raise RuntimeError("not even this")

    raise Unspeakable


@kind("t.fails", schema=Nothing, retry=QUICK)
def fails(context, payload):
    """Fail for good."""
    note("start", context)
    raise Fail("it is hopeless")


@kind("t.asks_again", schema=Nothing, retry=RetryPolicy(base=50, cap=60))
def asks_again(context, payload):
    """Ask for a retry soon, though the kind's own back-off is long."""
    note("start", context)
    if context.job.attempts < 2:
        raise Retry("come back", after=0.1)
    return context.job.attempts


@kind("t.snoozes", schema=Nothing, retry=QUICK)
def snoozes(context, payload):
    """Snooze twice, then succeed."""
    note("start", context)
    if context.job.snoozes < 2:
        raise Snooze(0.05)
    return context.job.attempts


@kind("t.strict", schema=Number, retry=QUICK)
def strict(context, payload):
    """Have a payload that is checked."""
    return payload["number"]


@kind("t.kills", schema=Nothing, retry=QUICK)
def kills(context, payload):
    """Take the whole process along."""
    note("start", context)
    os.kill(os.getpid(), signal.SIGKILL)


@kind("t.needs", schema=Nothing, needs=("smtp_url",))
def needs(context, payload):
    """Need a setting."""


@kind("t.asks_oddly_to_retry", schema=Nothing, retry=QUICK)
def asks_oddly_to_retry(context, payload):
    """Ask for a delay as an HTTP header has it."""
    raise Retry("come back", after="60")


@kind("t.asks_oddly_to_snooze", schema=Nothing, retry=QUICK)
def asks_oddly_to_snooze(context, payload):
    """Ask for a delay that is none."""
    raise Snooze(None)


@kind("t.exits_when_asked_why", schema=Nothing, retry=QUICK)
def exits_when_asked_why(context, payload):
    """Raise an error that leaves with the whole process when it is to say what it is."""

    class Fatal(Exception):
        def __str__(self):
            sys.exit(4)

    raise Fatal


@kind("t.logs", schema=Nothing)
def logs(context, payload):
    """Log a line as any code does."""
    logging.getLogger("a.library").warning("said by the handler")


@kind("t.forks", schema=Nothing, retry=QUICK)
def forks(context, payload):
    """Let a child process come back from the handler, too."""
    note("start", context)
    child = os.fork()
    if child == 0:
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
