"""The worker process: starts its threads, watches over them, and stops them in order."""

from __future__ import annotations

import faulthandler
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from types import FrameType

from haulier.config import Config
from haulier.domain.errors import DatabaseUnavailable
from haulier.kinds import Kind, StopReason, warn_missing
from haulier.postgres.connection import parse
from haulier.queue.upkeep.migrate import check_schema
from haulier.worker.metrics import counts
from haulier.worker.metrics.port import MetricsPort
from haulier.worker.shared.buffer import Ended
from haulier.worker.shared.held import HeldJob
from haulier.worker.station import Station
from haulier.worker.steps.execute import failed_attempt, job_fields
from haulier.worker.threads.heartbeat import Heartbeat
from haulier.worker.threads.housekeeper import Housekeeper
from haulier.worker.threads.listener import Listener
from haulier.worker.threads.runner import Runner
from haulier.worker.threads.settler import Settler

# A thread that runs quick jobs is asked so often to let another go on; at Python's own 5 ms the one that claims for all
# waits longer for its turn than for the database.
SWITCH_SECONDS = 0.001
STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
TICK_SECONDS = 0.1
# Of the time to stop, this much at most is left to handlers that were asked to.
GRACE_SECONDS = 5.0
# And this much to give back what they did not finish.
RELEASE_SECONDS = 1.0
JOIN_SECONDS = 2.0
# Past its deadline by this much, the process is ended from outside of Python: the platform kills 5 s after it.
OVERTIME_SECONDS = 3.0

log = logging.getLogger(__name__)


class Signals:
    """What the process was told. A handler sets plain flags and nothing else: an Event may deadlock there."""

    def __init__(self) -> None:
        self.stop = False
        self._is_interrupted = False

    def install(self) -> None:
        """Take SIGTERM, SIGINT and SIGHUP."""
        for number in STOP_SIGNALS:
            signal.signal(number, self._take)
        # A parent (haulier/worker/parent.py) forks with them blocked, until they can be obeyed.
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)

    def _take(self, number: int, frame: FrameType | None) -> None:
        # Platforms repeat SIGTERM; only a human who presses Ctrl-C twice wants it now.
        if number == signal.SIGINT:
            if self._is_interrupted:
                os._exit(130)
            self._is_interrupted = True
        self.stop = True


class Worker:
    """One worker process."""

    def __init__(self, config: Config, kinds: dict[str, Kind], metrics_port: MetricsPort | None = None) -> None:
        self._config = config
        self._exposition = metrics_port
        self._signals = Signals()
        self._station = Station.of(config, kinds)
        self._pulse = Heartbeat(self._station)
        self._listener, self._housekeeper = Listener(self._station), Housekeeper(self._station)
        self._others = (Settler(self._station), self._listener, self._housekeeper)
        self._runners = [Runner(self._station, number) for number in range(1, config.worker_threads + 1)]
        self._stuck = 0
        self._stop_metrics: Callable[[], None] | None = None
        # Nobody sets it: a wait on it is a sleep that a signal may cut short.
        self._tick = threading.Event()

    def run(self) -> int:
        """Work until told to stop, and return the exit code: 0, or 1 when the process must be replaced.

        Raises: SchemaMismatch; ConfigError.
        """
        self._signals.install()
        sys.setswitchinterval(SWITCH_SECONDS)
        parse(self._config.database_url)
        parse(self._config.direct_url, "DATABASE_DIRECT_URL")
        if not self._wait_for_database():
            return 0
        self._say_what_it_takes()
        # Nobody shall read of a worker that listens and has just beaten before it did either.
        self._measure()
        if self._exposition is not None:
            self._stop_metrics = self._exposition.serve()
        for thread in (self._pulse, *self._others, *self._runners):
            thread.start()
        broken = self._watch()
        self._stop(in_time=not self._stuck)
        return 1 if broken else 0

    def _say_what_it_takes(self) -> None:
        config = self._config
        log.info(
            "up to %d database connections: %d threads and %d beside them; one more for housekeeping, now and then",
            config.worker_connections,
            config.worker_threads,
            config.worker_connections - config.worker_threads,
        )
        if "WORKER_THREADS" in config.reduced:
            log.warning("WORKER_THREADS is reduced to %d by DB_CONNECTION_LIMIT", config.worker_threads)
        for warning in warn_missing(self._station.kinds.values(), config):
            log.warning("%s", warning)

    def _wait_for_database(self) -> bool:
        station = self._station
        while not self._signals.stop:
            try:
                with station.database.connection() as conn:
                    check_schema(conn)
                station.database.close()
            except DatabaseUnavailable as error:
                station.outage.failed(error)
                self._tick.wait(10 * TICK_SECONDS)
            else:
                station.outage.succeeded()
                return True
        return False

    def _watch(self) -> bool:
        """Look after the threads until told to stop; True when the process must be replaced."""
        log.info(
            "working with %d threads on %s; kinds: %s",
            self._config.worker_threads,
            ", ".join(self._config.worker_queues) or "every queue",
            ", ".join(self._station.kinds),
        )
        while not self._signals.stop:
            self._tick.wait(TICK_SECONDS)
            self._look_after()
            for thread in (self._pulse, *self._others, *self._runners):
                if not thread.is_alive():
                    log.critical("the thread %s has died, which is a bug: the process is to be replaced", thread.name)
                    return True
            if self._stuck:
                log.error("a thread is stuck: the process drains and is to be replaced")
                return True
        return False

    def _look_after(self) -> None:
        self._look_after_jobs()
        self._station.children.tidy()
        self._measure()

    def _look_after_jobs(self) -> None:
        now = time.monotonic()
        for runner in self._runners:
            running = runner.running
            if running is None or running.has_ended or running.began_at is None or running.timeout is None:
                continue
            if now - running.began_at <= running.timeout:
                continue
            if running.timed_out_at is None:
                running.timed_out_at = now
                running.context.stop(StopReason.TIMEOUT)
            elif now - running.timed_out_at > self._config.stuck_seconds:
                self._give_up(running)

    def _give_up(self, running: HeldJob) -> None:
        """Give up the claim of a job whose thread cannot be stopped; the fence makes that safe."""
        station, job, timeout = self._station, running.job, running.timeout
        error = f"timed out after {timeout} s, and did not stop within another {self._config.stuck_seconds:g} s"
        running.has_ended = True
        station.buffer.add(Ended(running, failed_attempt(station.kinds[job.kind], job, error)))
        self._stuck += 1
        counts.STUCK.set(self._stuck)
        log.error("stuck: %s", error, extra=job_fields(job))

    def _measure(self) -> None:
        station = self._station
        # What began is told here as well: an exchange may be as far off as the end of the run.
        station.tally.flush()
        held = len(station.held)
        counts.RUNNING.set(held)
        counts.THREADS.set(len(self._runners) - self._stuck)
        counts.BEAT_AGE.set(station.lease.beat_age)
        counts.POLLING.set(not station.sleeper.is_woken)
        config = self._config
        counts.THROUGH_DIRECT_URL.set(config.wake_ups == "on" and config.database_direct_url is not None)
        counts.LISTEN_AGE.set(time.monotonic() - self._listener.heard_at)
        counts.HOUSEKEEPING_AGE.set(time.monotonic() - self._housekeeper.tidied_at)
        counts.SCANS_FAILING.set(station.marks.seconds_failing)
        is_busy = station.buffer.running >= len(self._runners) or station.bell.is_reserved
        counts.POLL_AGE.set(0 if is_busy else station.bell.answer_age)

    def _stop(self, *, in_time: bool) -> None:
        """Stop in order: claims, jobs, beat. Without a signal to obey, running jobs are given all their time."""
        station, seconds = self._station, self._config.shutdown_seconds
        station.stopping.set()
        station.buffer.empty()
        station.bell.ring()
        log.info("stopping: %d jobs are running", len(station.held))
        while not in_time and not self._signals.stop and self._pulse.is_alive():
            if station.held.wait_until_empty(TICK_SECONDS):
                break
            self._look_after()
        # A call that hangs, or a handler that holds the interpreter, must not keep the process until it is killed.
        faulthandler.dump_traceback_later(seconds + OVERTIME_SECONDS, exit=True)
        until = time.monotonic() + max(0.0, seconds - RELEASE_SECONDS)
        if not self._drain(until - min(GRACE_SECONDS, seconds / 4)):
            station.held.stop([running.fence for running in station.held.all()], StopReason.SHUTDOWN)
            self._drain(until)
        station.closing.set()
        # What they run is given back, and must not go on.
        station.children.close()
        station.beat_wanted.set()
        until = time.monotonic() + JOIN_SECONDS
        for thread in (self._pulse, *self._others):
            thread.join(max(0.0, until - time.monotonic()))
        if self._pulse.is_alive() and (left := len(station.held)):
            log.error("could not give back %d jobs, which will be rescued", left)
        if self._stop_metrics is not None:
            self._stop_metrics()
        log.info("stopped")

    def _drain(self, until: float) -> bool:
        while (left := until - time.monotonic()) > 0:
            if self._station.held.wait_until_empty(min(TICK_SECONDS, left)):
                return True
            self._look_after()
        return not len(self._station.held)
