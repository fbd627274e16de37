"""The thread that keeps this process's lease alive, hears of cancels, and takes the jobs of the dead."""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
from collections.abc import Collection
from uuid import UUID

from app.domain.errors import DatabaseUnavailable
from app.domain.outcome import Outcome
from app.kinds import StopReason
from app.queue import consume
from app.queue.connection import Connection
from app.queue.listen import call_myself
from app.worker import metrics
from app.worker.lookout import TURN_SECONDS
from app.worker.station import Station

# How often to ask for cancels while jobs run: the knock of LISTEN is quicker, but may be absent.
CANCEL_SECONDS = 0.4
SUSPECT_SECONDS = 2.0
AWAY_PAUSE_SECONDS = 0.5
# After an error that nobody foresaw, which may well come again.
BUG_PAUSE_SECONDS = 2.0
# The last chance to give jobs back is asked for again this soon.
LEAVE_PAUSE_SECONDS = 0.2
# A line of the log names so many jobs at most.
NAMED_JOBS = 10

log = logging.getLogger(__name__)


class Pulse(threading.Thread):
    """Beats three times a lease, on a connection of its own, until the last job has drained."""

    def __init__(self, station: Station) -> None:
        super().__init__(name="pulse", daemon=True)
        self._station = station
        self._asked_at = float("-inf")
        self._swept_at = float("-inf")
        self._suspects_at = float("-inf")
        # Nobody sets it: a wait on it is a sleep.
        self._pause = threading.Event()

    def run(self) -> None:
        """Beat until the process closes, then give back what it still holds and take its row away."""
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
                # The beat goes first, so that whatever is wrong with the rest does not cost the lease.
                except Exception:
                    station.lease.missed()
                    log.exception("the heartbeat's round failed; trying again in %.0f s", BUG_PAUSE_SECONDS)
                    station.closing.wait(BUG_PAUSE_SECONDS)
                else:
                    station.outage.succeeded()
                    station.pulse_wanted.wait(min(CANCEL_SECONDS, station.config.beat_seconds / 4))
            self._leave()
        finally:
            station.database.close()

    def _tick(self, conn: Connection) -> None:
        station, now = self._station, time.monotonic()
        wanted = station.pulse_wanted.is_set()
        station.pulse_wanted.clear()
        to_sweep = station.lease.may_rescue and now - self._swept_at >= station.config.lease_seconds / 6
        if station.lease.registered_as is None:
            self.register(conn)
        # Right before a sweep as well: the beat tells whether the database's clock jumped, or this machine slept.
        elif to_sweep or station.lease.beat_age >= station.config.beat_seconds:
            self._beat(conn)
        self._call(conn)
        if wanted or now - self._asked_at >= station.config.beat_seconds:
            self._asked_at = now
            self._compare(conn)
        elif len(station.holdings):
            self._compare(conn, known=station.holdings.claims())
        if now - self._suspects_at >= SUSPECT_SECONDS:
            self._suspects_at = now
            self._look_for_suspects(conn)
        if to_sweep and station.lease.may_rescue:
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

    def _call(self, conn: Connection) -> None:
        """Let the listener hear whether it hears."""
        worker_id, number = self._station.lease.registered_as, self._station.echo.wanted
        if number is not None and worker_id is not None:
            call_myself(conn, worker_id)
            self._station.echo.called(number)

    def _beat(self, conn: Connection) -> None:
        station, began_at = self._station, time.monotonic()
        worker_id = station.lease.registered_as
        assert worker_id is not None
        gap = consume.beat(conn, worker_id)
        if gap is not None:
            station.lease.beaten(began_at, gap)
            return
        held = station.holdings.all()
        running = [each.job for each in held if each.began_at is not None and not each.has_ended]
        log.warning(
            "this worker was declared dead and gives up its %d jobs: it registers anew"
            " (silent for %.1f s, LEASE_SECONDS is %g; in their handlers: %s)",
            len(held),
            station.lease.beat_age,
            station.config.lease_seconds,
            ", ".join(f"{job.kind} {job.id}" for job in running[:NAMED_JOBS]) or "none",
        )
        station.lease.lost()
        station.holdings.stop([running.fence for running in held], StopReason.LEASE_LOST)
        self.register(conn)

    def _compare(self, conn: Connection, *, known: Collection[UUID] = ()) -> None:
        """Hold the database's opinion of what this worker runs against the process's own, but for claims known here."""
        station, worker_id = self._station, self._station.lease.registered_as
        assert worker_id is not None
        rows = consume.held(conn, worker_id, known=known)
        station.holdings.stop([row.fence for row in rows if row.cancel_requested], StopReason.CANCELLED)
        # The connection was cut between a claim's commit and its reply: nobody here knows of these.
        strangers = station.holdings.strangers(rows)
        if strangers:
            given_back = self._give_back(conn, strangers)
            metrics.STRANGERS.inc(len(given_back))
            station.lookout.ring()
            for job_id in given_back:
                log.warning("gave back a job whose claim was never answered", extra={"job_id": str(job_id)})

    def _look_for_suspects(self, conn: Connection) -> None:
        station = self._station
        due = consume.seconds_until_due(conn, queues=station.config.worker_queues, suspect=True)
        if due is None or due > 0:
            return
        # Whoever runs nothing is alone already. The others finish what they run first, and claim nothing meanwhile:
        # one process after the other, so that a single suspect does not make all of them stand still.
        worker_id = station.lease.registered_as
        if not len(station.holdings) or (
            worker_id is not None and consume.has_turn(conn, worker_id, slot_seconds=TURN_SECONDS)
        ):
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

    def _leave(self) -> None:
        """Give back, without blame, what the database thinks this worker runs, and take its row away.

        Here, because this thread has a connection, and a further one may not be had. The main thread waits for it no
        longer than its deadline allows; what is left then is rescued.
        """
        station, worker_id = self._station, self._station.lease.registered_as
        while worker_id is not None:
            try:
                with station.database.connection() as conn:
                    for job_id in self._give_back(conn, [row.fence for row in consume.held(conn, worker_id)]):
                        log.warning("released unfinished", extra={"job_id": str(job_id)})
                    if not consume.held(conn, worker_id):
                        consume.deregister(conn, worker_id)
                        return
            except DatabaseUnavailable as error:
                station.outage.failed(error)
            self._pause.wait(LEAVE_PAUSE_SECONDS)

    def _give_back(self, conn: Connection, fences: list[consume.Fence]) -> list[UUID]:
        """Give the jobs back without blame, and return those that were still ours.

        One whose row somebody has locked is left for the next time: the beat, and the others, must not wait for it.
        """
        started = {running.fence for running in self._station.holdings.all() if running.began_at is not None}
        settlements = [
            consume.Settlement(fence, Outcome.release() if fence in started else Outcome.give_back())
            for fence in fences
        ]
        return list(consume.settle(conn, settlements, lock_seconds=0))
