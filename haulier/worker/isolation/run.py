"""What a child process does: it runs the jobs that the worker sends.

The main thread runs one job after the other. A second thread receives stops. A third, which starts when a handler first
reports progress, sends progress to the worker.
"""

from __future__ import annotations

import faulthandler
import json
import os
import pickle
import resource
import signal
import socket
import struct
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any, NoReturn

from haulier.config import Config
from haulier.domain.job import Json
from haulier.domain.outcome import Outcome
from haulier.domain.progress import Progress
from haulier.kinds import Fail, JobContext, Kind, StopReason, import_isolated
from haulier.kinds.sdk import turns
from haulier.libc import adopt_orphans, end_with_parent
from haulier.logs import setup
from haulier.worker.steps.execute import describe, run_one

# The length of a message, which stands before it on the socket, both ways.
LENGTH = struct.Struct(">I")
# A child whose address space has grown to this share of its limit has leaked memory, and is replaced after its job.
FULL_SHARE = 0.75
# Between two words on a job's progress: the worker writes down what it knows once a second.
TELL_SECONDS = 0.5
NICE = 5
MEGABYTE = 1024 * 1024


def serve(reaper: int, jobs: int, control: int, turn: int) -> NoReturn:
    """Run the jobs that come over the socket until it ends."""
    _end_with_reaper(reaper)
    # Processes whose parents have ended become children of this one, so that `_leaves_processes` sees them.
    adopt_orphans()
    # After a crash in C the log shows where.
    faulthandler.enable()
    with socket.socket(fileno=jobs) as sock:
        module, name, config = _read(sock)
        stops = _StopRequests(control)
        threading.Thread(target=stops.listen, name="control", daemon=True).start()
        setup(config.log_format, config.log_level, cell=config.cell)
        turns.share(turn)
        _limit(config)
        try:
            kind = import_isolated(module, name, config)
        except BaseException as error:
            _send(sock, {"refused": f"{type(error).__name__}: {describe(error)}"[:1000]})
        else:
            _send(sock, {"ready": True, "pid": os.getpid()})
            _run_jobs(sock, stops, kind, config)
    os._exit(0)


def _run_jobs(sock: socket.socket, stops: _StopRequests, kind: Kind, config: Config) -> None:
    limit, teller = config.isolated_memory_mb * MEGABYTE, _Teller(sock)
    while True:
        number, job = _read(sock)
        work, context = _Work(kind, config), _Context(job, config)
        context.speaks = teller.speaks
        stops.begin(number, context)
        teller.begin(number, context)
        outcome = work.run(context)
        teller.end()
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError, ValueError):
                stream.flush()
        is_full = work.is_out_of_memory or _size() > FULL_SHARE * limit
        is_spent = _leaves_processes() or is_full
        said = _message(outcome, is_spent=is_spent, again=work.again(number))
        _send(sock, {"number": number, "full": is_full, **said})


class _StopRequests:
    """The state that the two threads share: which job runs, and which job is to stop."""

    def __init__(self, control: int) -> None:
        self._control = control
        self._lock = threading.Lock()
        self._number = 0
        self._context: JobContext | None = None
        self._asked: dict[int, StopReason] = {}

    def begin(self, number: int, context: JobContext) -> None:
        with self._lock:
            self._number, self._context = number, context
            # The stop may have come before the job: it comes through the pipe, and the job through the socket.
            reason = self._asked.get(number)
            self._asked.clear()
        if reason is not None:
            context.stop(reason)

    def listen(self) -> None:
        """Pass the worker's stops on to the job."""
        with suppress(OSError), os.fdopen(self._control, "r", encoding="ascii") as lines:
            for line in lines:
                number, _, reason = line.strip().partition(" ")
                self._stop(int(number), StopReason(reason))

    def _stop(self, number: int, reason: StopReason) -> None:
        with self._lock:
            context = self._context if number == self._number else None
            if context is None:
                self._asked[number] = reason
        if context is not None:
            context.stop(reason)


class _Context(JobContext):
    """A context that lets the teller know when its handler first says how far it has come."""

    speaks: Callable[[], None]

    def progress(self, done: float, total: float | None = None, note: str | None = None) -> None:
        has_spoken = self.said is not None
        super().progress(done, total, note)
        if not has_spoken:
            self.speaks()


class _Teller:
    """Passes on what handlers say of their progress, and only while the job runs: then nobody else speaks."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._lock = threading.Lock()
        self._spoken, self._over = threading.Event(), threading.Event()
        self._thread: threading.Thread | None = None
        self._number = 0
        self._context: JobContext | None = None
        self._told: Progress | None = None

    def begin(self, number: int, context: JobContext) -> None:
        with self._lock:
            self._number, self._context = number, context
            self._over.clear()

    def end(self) -> None:
        with self._lock:
            self._context = None
            self._over.set()

    def speaks(self) -> None:
        """Have what was said passed on, from now on until the job ends."""
        self._spoken.set()
        if self._thread is None:
            # Memory may not suffice for one: that is no reason to fail a job.
            with suppress(RuntimeError, MemoryError):
                thread = threading.Thread(target=self._pass_on, name="teller", daemon=True)
                thread.start()
                self._thread = thread

    def _pass_on(self) -> None:
        while self._spoken.wait():
            self._spoken.clear()
            while self._tell() and not self._over.wait(TELL_SECONDS):
                pass

    def _tell(self) -> bool:
        """Say what is new; return whether there is a job that speaks."""
        with self._lock:
            said = None if self._context is None else self._context.said
            if said is not None and said != self._told:
                _send(self._sock, {"number": self._number, "progress": [said.done, said.total, said.note]})
            self._told = said
        return said is not None


class _Work:
    """One job in this process."""

    def __init__(self, kind: Kind, config: Config) -> None:
        self._kind, self._config = kind, config
        self.is_out_of_memory = False

    def run(self, context: JobContext) -> Outcome:
        return run_one(replace(self._kind, isolated=False, run=self._handle), context)

    def again(self, number: int) -> bool:
        """Return whether only a fresh process can say that the job needs too much memory."""
        return self.is_out_of_memory and number > 1

    def _handle(self, context: JobContext, payload: dict[str, Json]) -> Json:
        try:
            return self._kind.run(context, payload)
        except MemoryError as error:
            self.is_out_of_memory = True
            most = self._config.isolated_memory_mb
            raise Fail(f"it needs more memory than ISOLATED_MEMORY_MB allows ({most} MB)") from error


def _message(outcome: Outcome, *, is_spent: bool, again: bool) -> dict[str, Any]:
    return {
        "verb": str(outcome.verb),
        "result": outcome.result,
        "error": outcome.error,
        "delay": outcome.delay,
        "backoff": outcome.backoff,
        "leaves": is_spent,
        "again": again,
    }


def _end_with_reaper(reaper: int) -> None:
    # Ignore signals to stop: they are for the worker. Functions and not SIG_IGN, which programs that the job's handler
    # starts would inherit.
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: None)
    # The reaper has blocked all signals.
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    # Nobody but the reaper can kill this process in time.
    end_with_parent(signal.SIGKILL)
    if os.getppid() != reaper:
        os._exit(1)


def _limit(config: Config) -> None:
    most = config.isolated_memory_mb * MEGABYTE
    # A job that computes for seconds must not slow down the worker's own threads, the API and the database beside it.
    with suppress(OSError):
        os.nice(NICE)
    # Some systems do not enforce it, or do not have it.
    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_AS, (most, most))


def _leaves_processes() -> bool:
    """Return whether a process that the handler has started still runs; reap those that have ended."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        return False
    return True


def _size() -> int:
    """Return this process's address space, 0 if the system does not say. Units: bytes."""
    try:
        with open("/proc/self/statm", "rb") as file:
            return int(file.read().split()[0]) * resource.getpagesize()
    except OSError:
        return 0


def _read(sock: socket.socket) -> Any:
    [length] = LENGTH.unpack(_exactly(sock, LENGTH.size))
    return pickle.loads(_exactly(sock, length))


def _exactly(sock: socket.socket, size: int) -> bytes:
    read = bytearray()
    while len(read) < size:
        more = sock.recv(min(size - len(read), 1024 * 1024))
        if not more:
            os._exit(0)
        read += more
    return bytes(read)


def _send(sock: socket.socket, message: dict[str, Any]) -> None:
    packed = json.dumps(message).encode()
    try:
        sock.sendall(LENGTH.pack(len(packed)) + packed)
    except OSError:
        os._exit(1)
