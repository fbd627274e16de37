"""The parent of several worker processes: forks them, replaces those that die, and stops them in order.

It has one thread and no connection, so that at any time a fork copies no held lock and shares no socket.
"""

from __future__ import annotations

import logging
import os
import select
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import NoReturn

from haulier.config import Config
from haulier.domain.errors import HaulierError
from haulier.worker.metrics.port import MetricsPort

STOP_SIGNALS = {signal.SIGTERM, signal.SIGINT, signal.SIGHUP}
SIGNALS = STOP_SIGNALS | {signal.SIGCHLD}
# A process that lived for less than this died at its start, and its successor may too: each successor comes later.
EARLY_SECONDS = 10.0
FIRST_PAUSE_SECONDS = 1.0
LONGEST_PAUSE_SECONDS = 30.0
# A process ends itself 3 s past its time to stop (haulier/worker/process.py). This process kills one that does not,
# a second before the platform would kill everything.
OVERTIME_SECONDS = 4.0
# Exit codes of a child: it was told to stop, by the parent or anybody else; it got SIGINT twice; its settings or the
# schema do not fit.
STOPPED, INTERRUPTED, UNFIT = 0, 130, 78

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Child:
    place: int
    pid: int
    born_at: float = field(default_factory=time.monotonic)

    def __str__(self) -> str:
        return f"worker process {self.place} (pid {self.pid})"


class Parent:
    """Several worker processes, in places 1, 2, …"""

    def __init__(self, config: Config, metrics_port: MetricsPort | None, work: Callable[[], int]) -> None:
        self._config = config
        self._counts = metrics_port.counts if metrics_port else None
        # What a child runs; returns the child's exit code.
        self._work = work
        self._pid = os.getpid()
        self._children: dict[int, _Child] = {}
        # When the next process of each free place is to start, and how long the place was kept free the last time.
        self._due: dict[int, float] = {}
        self._pauses: dict[int, float] = {}
        self._interrupts = 0
        self._kill_at: float | None = None
        self._code = 0

    def run(self) -> int:
        """Keep the processes running until told to stop, and return the exit code: 0, 1, or 130 for a second SIGINT."""
        self._say_what_it_takes()
        # Python writes each signal's number into this pipe (`set_wakeup_fd`); handlers do nothing.
        self._bell = os.pipe()
        # Nothing is ever written to this pipe. The children read its end when this process ends, in whatever way.
        self._lifeline = os.pipe()
        for end in self._bell:
            os.set_blocking(end, False)
        for number in SIGNALS:
            signal.signal(number, lambda number, frame: None)
        signal.set_wakeup_fd(self._bell[1], warn_on_full_buffer=False)
        self._due = dict.fromkeys(range(1, self._config.worker_processes + 1), time.monotonic())
        while self._due or self._children:
            self._fill_places()
            if self._obey(self._wait()):
                return INTERRUPTED
            self._reap()
            if self._kill_at is not None and self._kill_at <= time.monotonic():
                self._signal_all(signal.SIGKILL)
        log.info("all worker processes have stopped")
        return self._code

    def _say_what_it_takes(self) -> None:
        config = self._config
        log.info(
            "starting %d worker processes, with up to %d database connections together",
            config.worker_processes,
            config.worker_processes * config.worker_connections,
        )
        if others := [thread.name for thread in threading.enumerate() if thread is not threading.main_thread()]:
            log.warning("the import of the kinds started threads, which the worker processes lack: %s", others)

    def _wait(self) -> bytes:
        """Wait for signals or for something to do, and return the signals."""
        until = [*self._due.values(), *([] if self._kill_at is None else [self._kill_at])]
        select.select([self._bell[0]], [], [], max(0.0, min(until) - time.monotonic()) if until else None)
        with suppress(BlockingIOError):
            return os.read(self._bell[0], 4096)
        return b""

    def _obey(self, signals: bytes) -> bool:
        """Do what the signals ask for; True when this process is to leave at once."""
        for number in signals:
            if number == signal.SIGINT:
                self._interrupts += 1
            if number in STOP_SIGNALS and self._kill_at is None:
                self._stop()
        if self._interrupts < 2:
            return False
        self._signal_all(signal.SIGKILL)
        return True

    def _stop(self) -> None:
        """Ask all to stop, by SIGTERM: a terminal's SIGINT has reached them too, and a second one means "at once"."""
        log.info("stopping %d worker processes", len(self._children))
        self._due.clear()
        self._kill_at = time.monotonic() + self._config.shutdown_seconds + OVERTIME_SECONDS
        self._signal_all(signal.SIGTERM)

    def _signal_all(self, number: int) -> None:
        # No child in this dict has been waited for, so each pid is still that child's.
        for pid in self._children:
            os.kill(pid, number)

    def _reap(self) -> None:
        while self._children:
            # Any child: this may be process 1 of its container, which inherits orphans and has to reap them too.
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                return
            if child := self._children.pop(pid, None):
                self._lose(child, os.waitstatus_to_exitcode(status))

    def _lose(self, child: _Child, code: int) -> None:
        if self._counts is not None:
            self._counts.forget(child.place)
        if self._kill_at is not None:
            if code != STOPPED:
                log.warning("%s %s while it stopped", child, _how(code))
                self._code = self._code or (INTERRUPTED if code == INTERRUPTED else 1)
        elif code in (STOPPED, INTERRUPTED):
            log.info("%s was told to stop, and gets no successor", child)
        elif code == UNFIT:
            self._code = 1
            self._stop()
        else:
            lived = time.monotonic() - child.born_at
            pause = self._free(child.place, is_early=lived < EARLY_SECONDS)
            log.error("%s %s after %.1f s; its successor comes in %.0f s", child, _how(code), lived, pause)

    def _free(self, place: int, *, is_early: bool) -> float:
        """Have the place filled again, and return in how many seconds."""
        pause = min(LONGEST_PAUSE_SECONDS, 2 * self._pauses.get(place, 0.0) or FIRST_PAUSE_SECONDS) if is_early else 0.0
        self._pauses[place] = pause
        self._due[place] = time.monotonic() + pause
        return pause

    def _fill_places(self) -> None:
        now = time.monotonic()
        for place in [place for place, due in self._due.items() if due <= now]:
            del self._due[place]
            try:
                self._fork(place)
            except OSError as error:
                pause = self._free(place, is_early=True)
                log.error("cannot start worker process %d, trying again in %.0f s: %s", place, pause, error)

    def _fork(self, place: int) -> None:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        # A signal to the child stays blocked until the child has handlers of its own (`Signals.install`). With the
        # handlers it inherits, the signal's number would go into this process's pipe.
        signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        try:
            pid = os.fork()
            if pid == 0:
                self._run_child(place)
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
        child = self._children[pid] = _Child(place, pid)
        log.info("started %s", child)

    def _run_child(self, place: int) -> NoReturn:
        code = 1
        try:
            self._drop_parent_state(place)
            code = self._work()
        except HaulierError as error:
            log.critical("%s", error)
            code = UNFIT
        except BaseException:
            log.critical("the worker process ends by an error, which is a bug", exc_info=True)
        finally:
            if os.getppid() != self._pid and self._counts is not None:
                self._counts.remove()
            with suppress(OSError, ValueError):
                sys.stdout.flush()
                sys.stderr.flush()
            # Not sys.exit: it would unwind into the parent's own code, and wait for threads that handlers have started.
            os._exit(code)

    def _drop_parent_state(self, place: int) -> None:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGCHLD})
        for end in (*self._bell, self._lifeline[1]):
            os.close(end)
        if self._counts is not None:
            self._counts.take(place)
        threading.Thread(target=self._stop_with_parent, name="lifeline", daemon=True).start()

    def _stop_with_parent(self) -> None:
        os.read(self._lifeline[0], 1)
        log.warning("the parent process is gone: stopping")
        os.kill(os.getpid(), signal.SIGTERM)


def _how(code: int) -> str:
    if code >= 0:
        return f"left with exit code {code}"
    try:
        return f"was killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"was killed by signal {-code}"
