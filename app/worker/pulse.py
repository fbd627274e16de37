"""The thread that keeps this process's lease alive, hears of cancels, and takes the jobs of the dead."""

from __future__ import annotations

import logging
import os
import socket
import threading
import time

from app.domain.errors import DatabaseUnavailable
from app.domain.outcome import Outcome
from app.kinds import StopReason
from app.queue import consume
from app.queue.connection import Connection
from app.worker import metrics
from app.worker.station import Station

# How often to ask for cancels while jobs run: the knock of LISTEN is quicker, but may be absent.
CANCEL_SECONDS = 0.4
SUSPECT_SECONDS = 2.0
AWAY_PAUSE_SECONDS = 0.5

log = logging.getLogger(__name__)


class Pulse(threading.Thread):
    """Beats three times a lease, on a connection of its own, until the last job has drained."""

    def __init__(self, station: Station) -> None:
        super().__init__(name="pulse", daemon=True)
        self._station = station
        self._asked_at = float("-inf")
        self._swept_at = float("-inf")
        self._suspects_at = float("-inf")

    def run(self) -> None:
        """Beat until the process closes."""
        station = self._station
        try:
            while not station.closing.is_set():
                try:
                    with station.database.connection() as conn:
                        self._tick(conn)
                except DatabaseUnavailable as error:
                    station.lease.missed()
                    station.outage.failed(error)
                    station.closing.wait(AWAY_PAUSE_SECONDS)
                    continue
                station.outage.succeeded()
                station.pulse_wanted.wait(CANCEL_SECONDS)
        finally:
            station.database.close()

    def _tick(self, conn: Connection) -> None:
        station, now = self._station, time.monotonic()
        wanted = station.pulse_wanted.is_set()
        station.pulse_wanted.clear()
        if station.lease.registered_as is None:
            self.register(conn)
        elif station.lease.beat_age >= station.config.beat_seconds:
            self._beat(conn)
        if wanted or len(station.holdings) or now - self._asked_at >= station.config.beat_seconds:
            self._asked_at = now
            self._compare(conn)
        if now - self._suspects_at >= SUSPECT_SECONDS:
            self._suspects_at = now
            self._look_for_suspects(conn)
        if station.lease.may_rescue and now - self._swept_at >= station.config.lease_seconds / 6:
            self._swept_at = now
            self._rescue(conn)

    def register(self, conn: Connection) -> None:
        """Enter this process among the workers."""
        station, began_at = self._station, time.monotonic()
        worker_id = consume.register(
            conn,
            host=socket.gethostname(),
            pid=os.getpid(),
            threads=station.config.worker_threads,
            queues=station.config.worker_queues,
            lease_seconds=station.config.lease_seconds,
        )
        station.lease.registered(worker_id, began_at)
        station.lookout.ring()
        log.info("registered as worker %s", worker_id)

    def _beat(self, conn: Connection) -> None:
        station, began_at = self._station, time.monotonic()
        worker_id = station.lease.registered_as
        assert worker_id is not None
        if consume.beat(conn, worker_id):
            station.lease.beaten(began_at)
            return
        held = station.holdings.all()
        log.warning("this worker was declared dead and gives up its %d jobs: it registers anew", len(held))
        station.lease.lost()
        station.holdings.stop([running.fence for running in held], StopReason.LEASE_LOST)
        self.register(conn)

    def _compare(self, conn: Connection) -> None:
        """Hold the database's opinion of what this worker runs against the process's own."""
        station, worker_id = self._station, self._station.lease.registered_as
        assert worker_id is not None
        rows = consume.held(conn, worker_id)
        station.holdings.stop([row.fence for row in rows if row.cancel_requested], StopReason.CANCELLED)
        # The connection was cut between a claim's commit and its reply: nobody here knows of these.
        strangers = station.holdings.strangers(rows)
        if strangers:
            given_back = consume.settle(conn, [consume.Settlement(fence, Outcome.release()) for fence in strangers])
            metrics.STRANGERS.inc(len(given_back))
            station.lookout.ring()
            for job_id in given_back:
                log.warning("gave back a job whose claim was never answered", extra={"job_id": str(job_id)})

    def _look_for_suspects(self, conn: Connection) -> None:
        station = self._station
        due = consume.seconds_until_due(conn, queues=station.config.worker_queues, suspect=True)
        if due is not None and due <= 0:
            station.suspects_due.set()
            station.lookout.ring()

    def _rescue(self, conn: Connection) -> None:
        rescued = consume.rescue(conn)
        for worker in rescued.workers:
            log.warning("worker %s let its lease run out", worker)
        for job_id, status in rescued.jobs.items():
            log.warning("rescued: now %s", status, extra={"job_id": str(job_id)})
        metrics.RESCUED.inc(len(rescued.jobs))
        if rescued.jobs:
            self._suspects_at = float("-inf")
