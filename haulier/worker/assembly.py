"""Puts a worker process together: makes what its threads share, and gives each thread what it uses."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping

from haulier.config import Config
from haulier.kinds import Kind
from haulier.postgres.database import Database
from haulier.worker.isolation.children import Children
from haulier.worker.metrics import counts
from haulier.worker.metrics.port import MetricsPort
from haulier.worker.process import Stop, Threads, Watch, Worker
from haulier.worker.shared.bell import Bell
from haulier.worker.shared.buffer import Buffer
from haulier.worker.shared.call_size import CallSize
from haulier.worker.shared.claim_size import ClaimSize
from haulier.worker.shared.failures import Failures
from haulier.worker.shared.held import HeldJob, HeldJobs
from haulier.worker.shared.lease import Lease
from haulier.worker.shared.marks import Marks
from haulier.worker.shared.next_operation import NextOperation
from haulier.worker.shared.notify_check import NotifyCheck
from haulier.worker.shared.outage import Outage
from haulier.worker.shared.refused import Refusals
from haulier.worker.shared.shutdown import Shutdown
from haulier.worker.shared.sleeper import Sleeper
from haulier.worker.steps.beat import Beat
from haulier.worker.steps.claim_less import SmallerClaims
from haulier.worker.steps.count import Counting
from haulier.worker.steps.fire import Firing
from haulier.worker.steps.operate import Operating
from haulier.worker.steps.pauses import Pauses
from haulier.worker.steps.progress import ProgressWriter
from haulier.worker.steps.report import Report
from haulier.worker.steps.rescue import Rescuer
from haulier.worker.steps.scan import Scanner
from haulier.worker.steps.settle_and_claim import Calls, NextClaim, SettleAndClaim
from haulier.worker.steps.settle_doubtful import SettleDoubtful
from haulier.worker.steps.strays import Strays
from haulier.worker.steps.suspects import SuspectClaim, Suspects, SuspectSearch
from haulier.worker.steps.timeouts import Timeouts
from haulier.worker.steps.wait import Waiting
from haulier.worker.threads.heartbeat import Heartbeat
from haulier.worker.threads.housekeeper import Housekeeper
from haulier.worker.threads.listener import Listener
from haulier.worker.threads.operations import Operations
from haulier.worker.threads.runner import Look, Runner, Work
from haulier.worker.threads.scheduler import Scheduler
from haulier.worker.threads.settler import Settler


def assemble(config: Config, kinds: Mapping[str, Kind], metrics_port: MetricsPort | None) -> Worker:
    """Return a worker process with these settings, not yet started; no connection is opened yet."""
    return Assembly(config, kinds).worker(metrics_port)


class Assembly:
    """The shared objects of one process, and the methods that make its steps and threads.

    No thread or step gets the assembly itself: its signature would no longer say what it needs. The architecture test
    checks that.
    """

    def __init__(self, config: Config, kinds: Mapping[str, Kind]) -> None:
        self._config, self._kinds = config, kinds
        self.database = Database(config.database_url, application_name="haulier worker")
        # For whoever has the buffer's place.
        self.place_database = self.database.in_turns()
        self.shutdown = Shutdown()
        self.outage = Outage(self.shutdown.closing, threads=config.worker_threads)
        self.lease = Lease(config.lease_seconds)
        self.held = HeldJobs(kinds, config)
        self.marks = Marks()
        self.refusals = Refusals()
        self.bell = Bell()
        self.sleeper = Sleeper(self.lease, poll_seconds=config.poll_seconds)
        self.notify_check = NotifyCheck()
        self.next_operation = NextOperation()
        self.call_size = CallSize()
        self.buffer = Buffer(ClaimSize(config.worker_threads), self.call_size, self.bell, self.shutdown)
        self.children = Children(config)
        self.tally = counts.tally(config.worker_metrics_port)
        success_level = logging.INFO if config.log_jobs == "on" else logging.DEBUG
        self.report = Report(self.tally, success_level, Failures())
        self.beat_wanted, self.suspects_due = threading.Event(), threading.Event()
        self.has_schedules = threading.Event()
        self._make_steps()

    def _make_steps(self) -> None:
        """Make the steps of which a process has one each, whichever thread runs them."""
        stopping, queues = self.shutdown.stopping, self._config.worker_queues
        next_claim = NextClaim(self.lease, stopping, self.marks, self.refusals, self.bell)
        self.calls = Calls(
            database=self.place_database,
            buffer=self.buffer,
            held=self.held,
            next_claim=next_claim,
            report=self.report,
            call_size=self.call_size,
            outage=self.outage,
            beat_wanted=self.beat_wanted,
        )
        claims = SmallerClaims(self.calls, self.refusals, self.call_size, self.outage, stopping)
        self.settle_and_claim = SettleAndClaim(next_claim, self.calls, claims.claim_less, self.call_size, self.outage)
        self.work = Work(self._kinds, self.children, self.lease, stopping, self.tally)
        claim = SuspectClaim(
            self.place_database, self.lease, self.refusals.to_claim, claims, self.outage, stopping, queues
        )
        self.suspects = Suspects(
            self.suspects_due, self.buffer, self.marks, self.held, self.calls, claim, self.outage, stopping
        )
        self.scanner = Scanner(self.place_database, self.marks, queues)

    def runner(self, number: int) -> Runner:
        """Return a thread that runs jobs."""
        waiting = Waiting(
            self.place_database,
            self.sleeper,
            self.bell,
            self.marks,
            self.lease,
            stopping=self.shutdown.stopping,
            suspects_due=self.suspects_due,
            poll_seconds=self._config.poll_seconds,
        )
        look = Look(self.settle_and_claim, self.scanner, waiting, self.buffer, self.marks, self.bell, self.outage)
        return Runner(
            number=number,
            buffer=self.buffer,
            work=self.work,
            look=look,
            suspects=self.suspects,
            outage=self.outage,
        )

    def settler(self) -> Settler:
        """Return the thread that settles what no runner has settled."""
        doubtful = SettleDoubtful(
            database=self.database,
            buffer=self.buffer,
            held=self.held,
            refused=self.refusals.to_settle,
            report=self.report,
            stopping=self.shutdown.stopping,
        )
        return Settler(
            buffer=self.buffer,
            marks=self.marks,
            calls=self.calls,
            doubtful=doubtful,
            database=self.database,
            outage=self.outage,
            shutdown=self.shutdown,
        )

    def heartbeat(self, running: Callable[[], Iterable[HeldJob | None]]) -> Heartbeat:
        """Return the thread that beats."""
        config, lease, held, bell, refusals = self._config, self.lease, self.held, self.bell, self.refusals
        return Heartbeat(
            database=self.database,
            lease=lease,
            held=held,
            beat=Beat(lease, held, self.marks, bell, config, self._kinds.keys()),
            pauses=Pauses(self.buffer),
            progress=ProgressWriter(lease, running, at_most=min(1.0, config.beat_seconds / 2)),
            strays=Strays(lease, held, refusals.to_settle, bell),
            suspects=SuspectSearch(
                lease, held, refusals.to_claim, self.suspects_due, bell, self.next_operation, config.worker_queues
            ),
            rescuer=Rescuer(lease, refusals.to_rescue, lease_seconds=config.lease_seconds),
            notify_check=self.notify_check,
            outage=self.outage,
            beat_wanted=self.beat_wanted,
            has_schedules=self.has_schedules,
            shutdown=self.shutdown,
        )

    def listener(self) -> Listener:
        """Return the thread that receives notifications."""
        return Listener(
            config=self._config,
            sleeper=self.sleeper,
            notify_check=self.notify_check,
            bell=self.bell,
            beat_wanted=self.beat_wanted,
            lease=self.lease,
            buffer=self.buffer,
            marks=self.marks,
            outage=self.outage,
            shutdown=self.shutdown,
        )

    def housekeeper(self) -> Housekeeper:
        """Return the thread that looks after partitions and old rows, and counts."""
        config, is_counting = self._config, self._config.counting == "on"
        counting = Counting(self.database, self.outage, config.retention_days) if is_counting else None
        return Housekeeper(
            config=config,
            database=self.database,
            outage=self.outage,
            closing=self.shutdown.closing,
            counting=counting,
        )

    def operations(self) -> Operations:
        """Return the thread that works operations off."""
        shutdown = self.shutdown
        return Operations(
            next_operation=self.next_operation,
            operating=Operating(self.database, self.outage, shutdown.stopping, shutdown.closing),
        )

    def scheduler(self) -> Scheduler:
        """Return the thread that fires schedules."""
        return Scheduler(
            database=self.database,
            firing=Firing(self.database, self.outage, self._config.retention_days),
            has_schedules=self.has_schedules,
            stopping=self.shutdown.stopping,
        )

    def worker(self, metrics_port: MetricsPort | None) -> Worker:
        """Return the process with all its threads; to be called once."""
        config = self._config
        listener, housekeeper = self.listener(), self.housekeeper()
        runners = [self.runner(number) for number in range(1, config.worker_threads + 1)]

        def running() -> Iterator[HeldJob | None]:
            return (runner.running for runner in runners)

        timeouts = Timeouts(running, self.buffer, self._kinds, stuck_seconds=config.stuck_seconds)
        gauges = self._gauges(listener, housekeeper, timeouts)
        return Worker(
            config=config,
            kinds=self._kinds,
            database=self.database,
            place_database=self.place_database,
            outage=self.outage,
            threads=Threads(
                self.heartbeat(running),
                (self.settler(), listener, housekeeper, self.operations(), self.scheduler()),
                runners,
            ),
            watch=Watch(timeouts, self.children, counts.Measures(self.tally, gauges)),
            stop=Stop(
                self.shutdown,
                self.buffer,
                self.bell,
                self.held,
                self.children,
                self.beat_wanted,
                self.next_operation,
            ),
            metrics_port=metrics_port,
        )

    def _gauges(self, listener: Listener, housekeeper: Housekeeper, timeouts: Timeouts) -> counts.Gauges:
        config, threads = self._config, self._config.worker_threads
        is_by_direct_url = config.wake_ups == "on" and config.database_direct_url is not None
        return {
            counts.RUNNING: lambda: len(self.held),
            counts.THREADS: lambda: threads - timeouts.stuck,
            counts.BEAT_AGE: lambda: self.lease.beat_age,
            counts.POLLING: lambda: not self.sleeper.is_woken,
            counts.THROUGH_DIRECT_URL: lambda: is_by_direct_url,
            counts.LISTEN_AGE: lambda: time.monotonic() - listener.heard_at,
            counts.HOUSEKEEPING_AGE: lambda: time.monotonic() - housekeeper.tidied_at,
            counts.SCANS_FAILING: lambda: self.marks.seconds_failing,
            counts.POLL_AGE: lambda: 0 if self.buffer.is_busy(threads) else self.bell.answer_age,
        }
