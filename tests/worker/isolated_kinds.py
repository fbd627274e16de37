"""Kinds that run in processes of their own, and do there what would end or hold up a worker."""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import stat
import subprocess
import sys
import threading
from contextlib import contextmanager
from pathlib import Path

from kinds_of_tests import QUICK, Nothing, Until, Which, Words, end, note
from marshmallow import Schema, fields

from haulier.kinds import JobCancelled, RetryPolicy, kind

# For the ledger.
READS = ("TEST_LEDGER",)
kept = []


class Megabytes(Schema):
    megabytes = fields.Integer(required=True)
    kept = fields.Boolean(load_default=False)


@kind("i.note", schema=Until, retry=QUICK, isolated=True, reads=READS)
def run(context, payload):
    """Run for a while, and say in which process."""
    note("start", context)
    try:
        context.wait(payload["seconds"])
    except JobCancelled:
        note(f"stop:{context.stop_reason}", context)
        raise
    note("end", context)
    return {"pid": os.getpid(), "attempt": context.job.attempts}


@kind("i.quick", schema=Nothing, retry=QUICK, isolated=True)
def quick(context, payload):
    """Do nothing."""


@kind("i.holds", schema=Until, retry=QUICK, isolated=True, reads=READS)
def holds(context, payload):
    """Hold the interpreter: no other thread of the process runs meanwhile."""
    note("start", context)
    ctypes.PyDLL(None).usleep(int(payload["seconds"] * 1_000_000))
    note("end", context)
    return "held"


@kind("i.dies", schema=Which, retry=QUICK, isolated=True, reads=READS)
def dies(context, payload):
    """End the process, or let what the worker waits for be gone though the process is not."""
    note("start", context)
    if payload["which"] == "closes":
        os.closerange(3, 64)
    else:
        os.kill(os.getpid(), signal.Signals[payload["which"]])
    threading.Event().wait(30)


@kind("i.takes", schema=Megabytes, retry=QUICK, isolated=True, reads=READS)
def takes(context, payload):
    note("start", context)
    taken = bytearray(payload["megabytes"] * 1024 * 1024)
    if payload["kept"]:
        kept.append(taken)
    return {"pid": os.getpid()}


# Its own back-off is long.
kind("i.ends", schema=Which, retry=RetryPolicy(base=50, cap=60), isolated=True, reads=READS)(end)


@kind("i.sees", schema=Nothing, needs=("mail_from",), isolated=True, reads=("storage_url", "AWS_*"))
def sees(context, payload):
    """Say what there is to be seen."""
    settings = context.settings
    limits = Path("/proc/self/limits").read_text().splitlines()
    return {
        "environ": dict(os.environ),
        "settings": repr([getattr(settings, name) for name in settings.__dataclass_fields__]),
        "limit": next(line.split()[3] for line in limits if line.startswith("Max address space")),
        "modules": [
            name for name in ("psycopg2", "flask", "haulier.queue", "haulier.worker.process") if name in sys.modules
        ],
    }


@kind("i.which", schema=Nothing, retry=QUICK, isolated=True)
def which_job(context, payload):
    return str(context.job.id)


@kind("i.tells", schema=Words, retry=QUICK, isolated=True, reads=READS)
def tells(context, payload):
    """Say how far it has come, each word half a second after the one before, and run on until the file is there."""
    note("start", context)
    for word in payload["words"]:
        context.progress(**word)
        context.wait(payload["seconds"])
    while payload["file"] and not Path(payload["file"]).exists():
        context.wait(0.02)


class Leaving(Schema):
    end = fields.String(required=True)
    leaves = fields.String(required=True)


def leave_nothing():
    """Leave no process behind."""


def leave_a_fork():
    """Leave a copy of this process behind, which holds all that this process has open."""
    return os.fork() or wait_for_ever()


def leave_a_program():
    return subprocess.Popen(["sleep", "600"]).pid


def leave_a_daemon():
    """Leave a copy of this process behind that has a session of its own, and whose parent is gone."""
    reader, writer = os.pipe()
    if (between := os.fork()) == 0:
        os.setsid()
        if os.fork() == 0:
            os.write(writer, str(os.getpid()).encode())
            wait_for_ever()
        os._exit(0)
    os.waitpid(between, 0)
    return int(os.read(reader, 20))


def wait_for_ever():
    while True:
        threading.Event().wait(60)


def leave_an_open_socket():
    """Have a process that is not below this one hold all sockets of this one."""
    sockets = [fd for fd in map(int, os.listdir("/proc/self/fd")) if fd > 2 and is_socket(fd)]
    with socket.socket(socket.AF_UNIX) as lender:
        lender.connect(str(Path(os.environ["TEST_LEDGER"]).parent / "borrower"))
        socket.send_fds(lender, [b"x"], sockets)


def is_socket(fd):
    try:
        return stat.S_ISSOCK(os.fstat(fd).st_mode)
    except OSError:
        return False


LEAVES = {
    "nothing": leave_nothing,
    "fork": leave_a_fork,
    "program": leave_a_program,
    "daemon": leave_a_daemon,
    "socket": leave_an_open_socket,
}


@kind("i.leaves", schema=Leaving, retry=QUICK, isolated=True, reads=READS)
def leaves(context, payload):
    """Leave a process behind and end in one of many ways; the second time just return."""
    ledger = Path(os.environ["TEST_LEDGER"])
    if ledger.exists() and f"ready {context.job.id}" in ledger.read_text():
        return "the second time"
    if left := LEAVES[payload["leaves"]]():
        note(f"left:{left}", context)
    note("ready", context)
    if payload["end"] == "raises":
        raise ValueError("no luck")
    if payload["end"] == "exits":
        os._exit(7)
    if payload["end"] == "crashes":
        ctypes.string_at(0)
    if payload["end"] == "stops":
        context.wait(60)
    if payload["end"] != "returns":
        wait_for_ever()
    return "the first time"


@contextmanager
def noted(context):
    """Note each run of a middleware, and the process that it runs in."""
    note("enter", context)
    try:
        yield
    finally:
        note("leave", context)
