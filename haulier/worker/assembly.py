"""Puts a worker process together: makes the objects that its threads share, and gives each thread those it uses."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace

from haulier.config import Config
from haulier.kinds import Kind
from haulier.postgres.pool import Database
from haulier.worker.isolation.children import Children
from haulier.worker.lanes import Lanes
from haulier.worker.lanes.scan import Scanner
from haulier.worker.link import Link
from haulier.worker.metrics import counts
from haulier.worker.metrics.port import MetricsPort
from haulier.worker.process import Threads, Worker
from haulier.worker.steps.beat import Beat
from haulier.worker.steps.claim_less import SmallerClaims
from haulier.worker.steps.count import Counting
from haulier.worker.steps.fire import Firing
from haulier.worker.steps.operate import NextOperation, Operating
from haulier.worker.steps.pauses import Pauses
from haulier.worker.steps.progress import ProgressWriter
from haulier.worker.steps.report import Failures, Report
from haulier.worker.steps.rescue import Rescuer
from haulier.worker.steps.settle_and_claim import Calls, SettleAndClaim, SettleDoubtful
from haulier.worker.steps.strays import Strays
from haulier.worker.steps.suspects import Suspects, SuspectSearch
from haulier.worker.steps.timeouts import Timeouts
from haulier.worker.steps.vitals import VitalSigns, resident
from haulier.worker.supply import Supply
from haulier.worker.supply.held import HeldJob
from haulier.worker.supply.shutdown import Shutdown
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

    No thread or step gets the assembly itself: its signature would no longer say what it needs. A test of the
    architecture checks that.
    """

    def __init__(self, config: Config, kinds: Mapping[str, Kind]) -> None:
        self._config, self._kinds = config, kinds
        self.database = Database(config.database_url, application_name="haulier worker")
        # For the thread that has the buffer's place.
        self.place_database = self.database.in_turns()
        self.shutdown = Shutdown()
        self.link = Link(config, self.shutdown.closing)
        self.lanes = Lanes()
        tally = counts.tally(config.worker_metrics_port)
        self.supply = Supply(config, kinds, self.link.bell, self.shutdown, tally)
        self.next_operation = NextOperation()
        self.children = Children(config, lambda kind: counts.ISOLATED_ENDED.labels(kind).inc())
        self.has_schedules = threading.Event()
        success_level = logging.INFO if config.log_jobs == "on" else logging.DEBUG
        self.report = Report(tally, success_level, Failures())
        stopping, queues = self.shutdown.stopping, config.worker_queues
        # The steps of which a process has one each, whichever thread runs them.
        self.calls = Calls(self.place_database, self.supply, self.lanes, self.link, self.report)
        claims = SmallerClaims(self.calls, stopping)
        self.settle_and_claim = SettleAndClaim(self.calls, claims.claim_less, stopping)
        self.work = Work(kinds, self.children, self.link.lease, stopping, tally)
        self.suspects = Suspects(self.calls, claims, stopping, queues)
        self.scanner = Scanner(self.place_database, self.lanes.marks, queues)

    def runner(self, number: int) -> Runner:
        """Return a thread that runs jobs."""
        look = Look(
            scanner=self.scanner,
            lanes=self.lanes,
            link=self.link,
            stopping=self.shutdown.stopping,
            poll_seconds=self._config.poll_seconds,
        )
        return Runner(
            number=number,
            buffer=self.supply.buffer,
            lanes=self.lanes,
            link=self.link,
            work=self.work,
            settle_and_claim=self.settle_and_claim,
            look=look,
            suspects=self.suspects,
        )

    def settler(self) -> Settler:
        """Return the thread that settles what no runner has settled."""
        doubtful = SettleDoubtful(
            database=self.database,
            supply=self.supply,
            refused=self.lanes.refused_settles,
            report=self.report,
            stopping=self.shutdown.stopping,
        )
        return Settler(
            calls=self.calls,
            beside=replace(self.calls, database=self.database),
            doubtful=doubtful,
            database=self.database,
            shutdown=self.shutdown,
        )

    def heartbeat(self, running: Callable[[], Iterable[HeldJob | None]]) -> Heartbeat:
        """Return the thread that beats."""
        config, link, lanes, held = self._config, self.link, self.lanes, self.supply.held
        ends = self.children.ends.lately
        vitals = VitalSigns(running, self._kinds, self.children.handlers, ends, config.beat_seconds)
        return Heartbeat(
            database=self.database,
            link=link,
            held=held,
            beat=Beat(link, held, lanes.marks, config, vitals, self._kinds.keys()),
            pauses=Pauses(self.supply.buffer),
            progress=ProgressWriter(link.lease, running, at_most=min(1.0, config.beat_seconds / 2)),
            strays=Strays(link, held, lanes.refused_settles),
            suspects=SuspectSearch(link, held, lanes, self.next_operation, config.worker_queues),
            vitals=vitals,
            rescuer=Rescuer(link.lease, lanes.refused_rescues, lease_seconds=config.lease_seconds),
            has_schedules=self.has_schedules,
            shutdown=self.shutdown,
        )

    def listener(self) -> Listener:
        """Return the thread that receives notifications."""
        return Listener(
            config=self._config,
            link=self.link,
            buffer=self.supply.buffer,
            marks=self.lanes.marks,
            shutdown=self.shutdown,
        )

    def housekeeper(self) -> Housekeeper:
        """Return the thread that looks after partitions and old rows, and counts."""
        config, is_counting = self._config, self._config.counting == "on"
        counting = Counting(self.database, self.link.outage, config.retention_days) if is_counting else None
        return Housekeeper(
            config=config,
            database=self.database,
            outage=self.link.outage,
            closing=self.shutdown.closing,
            counting=counting,
        )

    def operations(self) -> Operations:
        """Return the thread that works operations off."""
        shutdown = self.shutdown
        return Operations(
            next_operation=self.next_operation,
            operating=Operating(self.database, self.link.outage, shutdown.stopping, shutdown.closing),
        )

    def scheduler(self) -> Scheduler:
        """Return the thread that fires schedules."""
        return Scheduler(
            database=self.database,
            firing=Firing(self.database, self.link.outage, self._config.retention_days),
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

        timeouts = Timeouts(running, self.supply.buffer, self._kinds, stuck_seconds=config.stuck_seconds)
        gauges = self._gauges(listener, housekeeper, timeouts)
        return Worker(
            config=config,
            kinds=self._kinds,
            database=self.database,
            place_database=self.place_database,
            shutdown=self.shutdown,
            supply=self.supply,
            link=self.link,
            children=self.children,
            next_operation=self.next_operation,
            timeouts=timeouts,
            measures=counts.Measures(self.supply.tally, gauges),
            threads=Threads(
                self.heartbeat(running),
                (self.settler(), listener, housekeeper, self.operations(), self.scheduler()),
                runners,
            ),
            metrics_port=metrics_port,
        )

    def _gauges(self, listener: Listener, housekeeper: Housekeeper, timeouts: Timeouts) -> counts.Gauges:
        config, threads = self._config, self._config.worker_threads
        is_by_direct_url = config.wake_ups == "on" and config.database_direct_url is not None
        return {
            counts.RUNNING: lambda: len(self.supply.held),
            counts.THREADS: lambda: threads - timeouts.stuck,
            counts.BEAT_AGE: lambda: self.link.lease.beat_age,
            counts.POLLING: lambda: not self.link.sleeper.is_woken,
            counts.THROUGH_DIRECT_URL: lambda: is_by_direct_url,
            counts.LISTEN_AGE: lambda: time.monotonic() - listener.heard_at,
            counts.HOUSEKEEPING_AGE: lambda: time.monotonic() - housekeeper.tidied_at,
            counts.SCANS_FAILING: lambda: self.lanes.marks.seconds_failing,
            # NaN is how Prometheus says that a value is unknown.
            counts.MEMORY: lambda: resident() or math.nan,
            counts.POLL_AGE: lambda: 0 if self.supply.buffer.is_busy(threads) else self.link.answer_age,
        }
