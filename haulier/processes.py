"""Keeps child processes running: forks them, replaces those that die, and stops them in order.

It has one thread and no connection, so that at any time a fork copies no held lock and shares no socket.
"""

from __future__ import annotations

import logging
import os
import select
import signal
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import NoReturn

STOP_SIGNALS = {signal.SIGTERM, signal.SIGINT, signal.SIGHUP}
SIGNALS = STOP_SIGNALS | {signal.SIGCHLD}
# A process that lived for less than this died at its start, and its successor may too: each successor comes later.
EARLY_SECONDS = 10.0
FIRST_PAUSE_SECONDS = 1.0
# This many times in a row the system may refuse a process: what it lacks, the platform may have if it starts all again.
MOST_REFUSALS = 5
# A process ends itself 3 s past its time to stop (haulier/worker/process.py). This process kills one that does not,
# a second before the platform would kill everything.
OVERTIME_SECONDS = 4.0
# Exit codes of a child: it was asked to stop, by the parent or anybody else; it got SIGINT twice.
STOPPED, INTERRUPTED = 0, 130

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Child:
    """A process and its place, which counts from 1."""

    place: int
    name: str
    pid: int
    born_at: float = field(default_factory=time.monotonic)

    def __str__(self) -> str:
        return f"{self.name} (pid {self.pid})"

    @property
    def age(self) -> float:
        """Return how long it has lived. Units: seconds."""
        return time.monotonic() - self.born_at


class Processes:
    """Processes in places 1, 2, …; a subclass says what they do, and what becomes of the place of one that has ended.

    `together` is what the log calls all of them.
    Units: longest_pause is the most seconds that a place is kept free.
    """

    together = "processes"
    longest_pause = 30.0

    def __init__(self, names: Sequence[str], shutdown_seconds: float) -> None:
        self._names = names
        self._shutdown_seconds = shutdown_seconds
        self._pid = os.getpid()
        self._children: dict[int, Child] = {}
        # When the next process of each free place is to start, and how long the place was kept free the last time.
        self._due: dict[int, float] = {}
        self._pauses: dict[int, float] = {}
        self._refusals = dict.fromkeys(range(1, len(names) + 1), 0)
        self._interrupts = 0
        self._kill_at: float | None = None
        self._code = 0

    def work(self, place: int) -> NoReturn:
        """Run the process of this place; called in a fork of this process."""
        raise NotImplementedError

    def lose(self, child: Child, code: int) -> None:
        """Decide what follows an end while none is to stop: `replace` it, `stop` all, or leave its place free."""
        raise NotImplementedError

    def run(self) -> int:
        """Keep them running until stopped, and return the exit code: 0, 1, or 130 for a second SIGINT."""
        # Python writes each signal's number into this pipe (`set_wakeup_fd`); handlers do nothing.
        self._bell = os.pipe()
        for end in self._bell:
            os.set_blocking(end, False)
        for number in SIGNALS:
            signal.signal(number, lambda number, frame: None)
        signal.set_wakeup_fd(self._bell[1], warn_on_full_buffer=False)
        self._due = dict.fromkeys(range(1, len(self._names) + 1), time.monotonic())
        while self._due or self._children:
            self._fill_places()
            if self._obey(self._wait()):
                return INTERRUPTED
            self._reap()
            if self._kill_at is not None and self._kill_at <= time.monotonic():
                self._signal_all(signal.SIGKILL)
        log.info("all %s have stopped", self.together)
        return self._code

    def stop(self, code: int = 0) -> None:
        """Ask all to stop, and have `run` return this code, unless it has another already."""
        # By SIGTERM: a terminal's SIGINT has reached them too, and a second one means "at once".
        log.info("stopping %d %s", len(self._children), self.together)
        self._code = self._code or code
        self._due.clear()
        self._kill_at = time.monotonic() + self._shutdown_seconds + OVERTIME_SECONDS
        self._signal_all(signal.SIGTERM)

    def replace(self, child: Child, code: int) -> None:
        """Have the place of a child that has ended filled again."""
        pause = self._free(child.place, is_early=child.age < EARLY_SECONDS)
        log.error("%s %s after %.1f s; it is replaced in %.0f s", child, how(code), child.age, pause)

    def forked(self) -> None:
        """Drop, in a fork, the parent's signal handling. Signals to stop stay blocked until the child has handlers."""
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGCHLD})
        for end in self._bell:
            os.close(end)

    def _wait(self) -> bytes:
        """Wait for signals or for something to do, and return the signals."""
        if not (self._due or self._children):
            return b""  # none could be started, and none is to be any more
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
                self.stop()
        if self._interrupts < 2:
            return False
        self._signal_all(signal.SIGKILL)
        return True

    def _signal_all(self, number: int) -> None:
        # No child in this dict has been waited for, so each pid is still that child's.
        for child in sorted(self._children.values(), key=lambda child: child.place):
            self.send(child, number)

    def send(self, child: Child, number: int) -> None:
        """Send it a signal."""
        os.kill(child.pid, number)

    def _reap(self) -> None:
        while self._children:
            # Any child: this may be process 1 of its container, which inherits orphans and has to reap them too.
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                return
            if child := self._children.pop(pid, None):
                self._note_end(child, os.waitstatus_to_exitcode(status))

    def _note_end(self, child: Child, code: int) -> None:
        self.ended(child)
        if self._kill_at is None:
            self.lose(child, code)
        elif not self.stopped_well(code):
            log.warning("%s %s while stopping", child, how(code))
            self._code = self._code or (INTERRUPTED if code == INTERRUPTED else 1)

    def ended(self, child: Child) -> None:
        """Called after each end of a process; a subclass may override it."""

    def stopped_well(self, code: int) -> bool:
        """Return whether this exit code is right for a process that was asked to stop."""
        return code == STOPPED

    def _free(self, place: int, *, is_early: bool) -> float:
        """Have the place filled again, and return in how many seconds."""
        pause = min(self.longest_pause, 2 * self._pauses.get(place, 0.0) or FIRST_PAUSE_SECONDS) if is_early else 0.0
        self._pauses[place] = pause
        self._due[place] = time.monotonic() + pause
        return pause

    def _fill_places(self) -> None:
        now = time.monotonic()
        for place in [place for place, due in self._due.items() if due <= now]:
            # None is to be started any more if an earlier one of these has had all stopped.
            if self._due.pop(place, None) is None:
                return
            try:
                self._fork(place)
            except OSError as error:
                self._note_refusal(place, error)

    def _note_refusal(self, place: int, error: OSError) -> None:
        name = self._names[place - 1]
        self._refusals[place] += 1
        if self._refusals[place] == MOST_REFUSALS:
            log.critical("cannot start %s, %d times in a row: exiting with code 1: %s", name, MOST_REFUSALS, error)
            self.stop(1)
            return
        pause = self._free(place, is_early=True)
        log.error("cannot start %s, trying again in %.0f s: %s", name, pause, error)

    def _fork(self, place: int) -> None:
        flush()
        # A signal to the child stays blocked until the child has handlers of its own. With the handlers it inherits,
        # the signal's number would go into this process's pipe.
        signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        try:
            pid = os.fork()
            if pid == 0:
                self.work(place)
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
        self._refusals[place] = 0
        child = self._children[pid] = Child(place, self._names[place - 1], pid)
        log.info("started %s", child)
        self.started(child)

    def started(self, child: Child) -> None:
        """Called after each start of a process; a subclass may override it."""


def leave(code: int) -> NoReturn:
    """End this process at once, without waiting for threads that handlers have started."""
    flush()
    os._exit(code)


def flush() -> None:
    """Write out what is buffered. An error, as of a full disk, is ignored: it changes neither work nor exit code."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(AttributeError, OSError, ValueError):
            stream.flush()


def how(code: int) -> str:
    """Return in words how a process has ended."""
    if code >= 0:
        return f"exited with code {code}"
    try:
        return f"was killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"was killed by signal {-code}"
