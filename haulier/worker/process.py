"""The worker process: starts its threads, watches over them, and stops them in order."""

from __future__ import annotations

import faulthandler
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import FrameType

from haulier.config import Config
from haulier.domain.errors import DatabaseUnavailable
from haulier.kinds import Kind, StopReason, warn_missing
from haulier.logs import name_cell
from haulier.postgres.connection import parse
from haulier.postgres.limits import too_many
from haulier.postgres.pool import Database
from haulier.queue.upkeep.migrate import check_schema
from haulier.version import version
from haulier.worker.isolation.children import Children
from haulier.worker.link import Link
from haulier.worker.metrics.counts import Measures
from haulier.worker.metrics.port import MetricsPort
from haulier.worker.steps.operate import NextOperation
from haulier.worker.steps.timeouts import Timeouts
from haulier.worker.supply import Supply
from haulier.worker.supply.shutdown import Shutdown

# Python's switch interval. At its default of 5 ms, the thread that claims for all waits longer for the interpreter than
# for the database while other threads run quick jobs.
SWITCH_SECONDS = 0.001
STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
TICK_SECONDS = 0.1
# Of the time to stop, at most this much is kept for handlers to end after they were asked to stop.
GRACE_SECONDS = 5.0
# And this much to give back the jobs that they did not finish.
RELEASE_SECONDS = 1.0
JOIN_SECONDS = 2.0
# Faulthandler's C thread ends the process this long after the deadline; the platform kills it 5 s after the deadline.
OVERTIME_SECONDS = 3.0

log = logging.getLogger(__name__)


class Signals:
    """The signals that the process got. A handler only sets plain flags: an Event may deadlock in it."""

    def __init__(self) -> None:
        self.stop = False
        self._is_interrupted = False

    def install(self) -> None:
        """Take SIGTERM, SIGINT and SIGHUP."""
        for number in STOP_SIGNALS:
            signal.signal(number, self._take)
        # A parent (haulier/worker/parent.py) forks with these signals blocked; from here on they can be handled.
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)

    def _take(self, number: int, frame: FrameType | None) -> None:
        # Platforms repeat SIGTERM, so only a second SIGINT, a human's second Ctrl-C, means "at once".
        if number == signal.SIGINT:
            if self._is_interrupted:
                os._exit(130)
            self._is_interrupted = True
        self.stop = True


class Threads:
    """The threads of one process, in the order in which they start.

    Others are all but heartbeat and runners.
    """

    def __init__(
        self, heartbeat: threading.Thread, others: Sequence[threading.Thread], runners: Sequence[threading.Thread]
    ) -> None:
        self.heartbeat = heartbeat
        self._others = others
        self._runners = runners

    def start(self) -> None:
        """Start all of them."""
        for thread in (self.heartbeat, *self._others, *self._runners):
            thread.start()

    def dead(self) -> threading.Thread | None:
        """Return the first thread that has ended; None if all live."""
        all_of_them = (self.heartbeat, *self._others, *self._runners)
        return next((thread for thread in all_of_them if not thread.is_alive()), None)

    def join(self, seconds: float) -> None:
        """Wait for all but the runners to end, at most this long in all."""
        _join((self.heartbeat, *self._others), seconds)

    def join_runners(self, seconds: float) -> None:
        """Wait for the runners to end, at most this long in all: a handler may ignore the request to stop."""
        _join(self._runners, seconds)


def _join(threads: Iterable[threading.Thread], seconds: float) -> None:
    until = time.monotonic() + seconds
    for thread in threads:
        thread.join(max(0.0, until - time.monotonic()))


@dataclass(slots=True, kw_only=True)
class Worker:
    """One worker process."""

    config: Config
    kinds: Mapping[str, Kind]
    database: Database
    place_database: Database
    shutdown: Shutdown
    supply: Supply
    link: Link
    children: Children
    next_operation: NextOperation
    timeouts: Timeouts
    measures: Measures
    threads: Threads
    metrics_port: MetricsPort | None
    _signals: Signals = field(default_factory=Signals, init=False)
    # False for a guest, which neither hears signals nor ends the process, and leaves no thread behind.
    _owns_process: bool = field(default=False, init=False)
    _stop_metrics: Callable[[], None] | None = field(default=None, init=False)
    _cell: int | None = field(default=None, init=False)

    def run(self) -> int:
        """Work until a signal says to stop, and return the exit code: 0, or 1 when the process must be replaced.

        Raises: SchemaMismatch; ConfigError.
        """
        self._owns_process = True
        self._signals.install()
        sys.setswitchinterval(SWITCH_SECONDS)
        return self.work()

    def ask_to_stop(self) -> None:
        """Have `work` stop in order, as a signal would."""
        self._signals.stop = True

    def work(self) -> int:
        """Work as a guest, on any thread of another program, until asked to stop; return as `run` does."""
        parse(self.config.database_url)
        parse(self.config.direct_url, "DATABASE_DIRECT_URL")
        if not self._wait_for_database():
            return 0
        if self._owns_process:
            name_cell(self._cell)
            self._log_start()
        # Before the port opens: unset gauges are 0, which would mean a worker that listens and has just beaten.
        self.measures.take()
        if self.metrics_port is not None:
            self._stop_metrics = self.metrics_port.serve(self._cell)
        self.threads.start()
        broken = self._watch_threads()
        self._stop(in_time=not self.timeouts.stuck)
        return 1 if broken else 0

    def _log_start(self) -> None:
        config = self.config
        log.info(
            "Haulier %s, with up to %d database connections %s, and one more for housekeeping or counting",
            version(),
            config.worker_connections,
            f"of which {orm} are the handlers'" if (orm := config.orm_connections) else "for any number of threads",
        )
        for warning in warn_missing(self.kinds.values(), config):
            log.warning("%s", warning)

    def _wait_for_database(self) -> bool:
        while not self._signals.stop:
            try:
                with self.database.connection() as conn:
                    self._cell = check_schema(conn, cell=self.config.cell)
                    excess = too_many(conn, self.config.worker_connections)
                self.database.close()
            except DatabaseUnavailable as error:
                self.link.outage.failed(error)
                self.shutdown.stopping.wait(10 * TICK_SECONDS)
            else:
                self.link.outage.succeeded()
                if excess:
                    log.warning("%s: lower WORKER_PROCESSES or WEB_CONCURRENCY, or run fewer workers", excess)
                return True
        return False

    def _watch_threads(self) -> bool:
        """Watch the threads until a signal comes; True if the process must be replaced."""
        log.info(
            "working with %d threads on %s; kinds: %s",
            self.config.worker_threads,
            ", ".join(self.config.worker_queues) or "every queue",
            ", ".join(self.kinds),
        )
        while not self._signals.stop:
            self.shutdown.stopping.wait(TICK_SECONDS)
            self._look()
            if dead := self.threads.dead():
                log.critical("the thread %s has died, which is a bug: the process will be replaced", dead.name)
                return True
            if self.timeouts.stuck:
                log.error("a thread is stuck: the process drains and will be replaced")
                return True
        return False

    def _look(self) -> None:
        """Time jobs out, end idle children, update the metrics; ten times a second while the other threads work."""
        self.timeouts.enforce()
        self.children.tidy()
        self.measures.take()

    def _stop(self, *, in_time: bool) -> None:
        """Stop in order: claims, jobs, threads. Unless `in_time`, jobs may run to their end, until a signal comes."""
        held, heartbeat, seconds = self.supply.held, self.threads.heartbeat, self.config.shutdown_seconds
        self._stop_claiming()
        log.info("stopping: %d jobs are running", len(held))
        while not in_time and not self._signals.stop and heartbeat.is_alive():
            if held.wait_until_empty(TICK_SECONDS):
                break
            self._look()
        if self._owns_process:
            # A call that hangs, or a handler that holds the interpreter, must not keep the process alive until a
            # SIGKILL.
            faulthandler.dump_traceback_later(seconds + OVERTIME_SECONDS, exit=True)
        until = time.monotonic() + max(0.0, seconds - RELEASE_SECONDS)
        if not self._drain(until - min(GRACE_SECONDS, seconds / 4)):
            held.stop_all(StopReason.SHUTDOWN)
            self._drain(until)
        self._close()
        log.info("stopped")

    def _stop_claiming(self) -> None:
        """Claim and start nothing more."""
        self.shutdown.stopping.set()
        self.supply.buffer.empty()
        self.link.bell.ring()

    def _drain(self, until: float) -> bool:
        while (left := until - time.monotonic()) > 0:
            if self.supply.held.wait_until_empty(min(TICK_SECONDS, left)):
                return True
            self._look()
        return not len(self.supply.held)

    def _close(self) -> None:
        """End the threads; jobs that still run are given back."""
        self.shutdown.closing.set()
        # The jobs that children run are given back, and must not continue running.
        self.children.close()
        self.next_operation.close()
        self.link.beat_wanted.set()
        self.threads.join(JOIN_SECONDS)
        if self.threads.heartbeat.is_alive() and (left := len(self.supply.held)):
            log.error("could not give back %d jobs: another worker will rescue them", left)
        if self._stop_metrics is not None:
            self._stop_metrics()
        if not self._owns_process:
            self.threads.join_runners(JOIN_SECONDS)
        self.shutdown.over.set()
        # A thread that is still in a call has the place. From here on no thread gets it.
        if self.supply.buffer.take_place():
            self.place_database.close()
