"""The thread that keeps this process's lease alive, hears of cancels, and takes the jobs of the dead."""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
from collections.abc import Callable
from typing import TypeVar
from uuid import UUID

from haulier.domain.claim import ClaimRequest, Fence, Held, Settlement
from haulier.domain.errors import DatabaseUnavailable, Refusal, RefusedForNow
from haulier.domain.job import JobStatus
from haulier.domain.outcome import Outcome
from haulier.kinds import StopReason
from haulier.postgres.errors import translated
from haulier.postgres.statements import Connection
from haulier.queue import consume
from haulier.queue.consume.wakeups import call_myself
from haulier.worker.metrics import counts
from haulier.worker.shared.bell import TURN_SECONDS
from haulier.worker.shared.sparing_log import SparingLog
from haulier.worker.station import Station
from haulier.worker.steps.rescue import Rescuer

# How often to ask for cancels while jobs run: the knock of LISTEN is quicker, but may be absent.
CANCEL_SECONDS = 0.4
SUSPECT_SECONDS = 2.0
AWAY_PAUSE_SECONDS = 0.5
# Of the time, at most, to compare with the database what this process runs.
COMPARING_SHARE = 1 / 50
# After an error that nobody foresaw, which may well come again.
BUG_PAUSE_SECONDS = 2.0
# The last chance to give jobs back is asked for again this soon.
LEAVE_PAUSE_SECONDS = 0.2
# A line of the log names so many jobs at most.
NAMED_JOBS = 10

T = TypeVar("T")

log = logging.getLogger(__name__)
sparing = SparingLog(log)


class Heartbeat(threading.Thread):
    """Beats three times a lease, on a connection of its own, until the last job has drained."""

    def __init__(self, station: Station) -> None:
        super().__init__(name="pulse", daemon=True)
        self._station = station
        self._rescuer = Rescuer(station)
        self._compare_at = float("-inf")
        self._has_failed = False
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
                except Refusal as error:
                    station.lease.missed()
                    station.outage.failed(error)
                    station.closing.wait(AWAY_PAUSE_SECONDS)
                except Exception:
                    station.lease.missed()
                    log.exception("the heartbeat's round failed; trying again in %.0f s", BUG_PAUSE_SECONDS)
                    station.closing.wait(BUG_PAUSE_SECONDS)
                else:
                    if not self._has_failed:
                        station.outage.succeeded()
                    station.beat_wanted.wait(min(CANCEL_SECONDS, station.config.beat_seconds / 4))
            self._leave()
        finally:
            station.database.close()

    def _tick(self, conn: Connection) -> None:
        station, now, self._has_failed = self._station, time.monotonic(), False
        wanted = station.beat_wanted.is_set()
        station.beat_wanted.clear()
        to_sweep = self._rescuer.is_due()
        if station.lease.registered_as is None:
            self.register(conn)
        # Right before a sweep as well: the beat tells whether the database's clock jumped, or this machine slept.
        elif to_sweep or station.lease.beat_age >= station.config.beat_seconds:
            self._beat(conn)
        # The beat goes first, and each other by itself: what is wrong with one must not cost the lease, nor the next.
        self._try(self._call, conn)
        if wanted or len(station.held):
            self._try(self._hear_of_cancels, conn)
        if station.held.unsure():
            self._try(self._look_for_unanswered, conn)
        if now >= self._compare_at:
            self._try(self._compare, conn)
            # While somebody holds a snapshot it walks over all that has run since then.
            cost = time.monotonic() - now
            self._compare_at = now + max(station.config.beat_seconds, cost / COMPARING_SHARE)
        if now - self._suspects_at >= SUSPECT_SECONDS:
            self._suspects_at = now
            self._try(self._look_for_suspects, conn)
        if to_sweep and station.lease.may_rescue and self._try(self._rescuer.sweep, conn):
            self._suspects_at = float("-inf")

    def _try(self, step: Callable[[Connection], T], conn: Connection) -> T | None:
        """Return what the step returns; None where the database refuses a statement of it, which is told.

        Nothing is done where the beat is due again, since the steps before have taken so long.
        """
        if self._station.lease.beat_age >= self._station.config.beat_seconds:
            return None
        try:
            with translated():
                return step(conn)
        except Refusal as error:
            self._has_failed = True
            self._station.outage.failed(error)
            return None

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
        station.bell.ring()
        log.info("registered as worker %s", worker_id)

    def _call(self, conn: Connection) -> None:
        """Let the listener hear whether it hears."""
        worker_id, number = self._station.lease.registered_as, self._station.notify_check.wanted
        if number is not None and worker_id is not None:
            call_myself(conn, worker_id)
            self._station.notify_check.called(number)

    def _beat(self, conn: Connection) -> None:
        station, began_at = self._station, time.monotonic()
        worker_id = station.lease.registered_as
        assert worker_id is not None
        gap = consume.beat(conn, worker_id, scans_fail=station.marks.seconds_failing > 0)
        if gap is not None:
            station.lease.beaten(began_at, gap)
            return
        held = station.held.all()
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
        station.held.stop([running.fence for running in held], StopReason.LEASE_LOST)
        station.held.lost()
        self.register(conn)

    def _hear_of_cancels(self, conn: Connection) -> None:
        station, worker_id = self._station, self._station.lease.registered_as
        assert worker_id is not None
        station.held.stop(consume.cancelled(conn, worker_id), StopReason.CANCELLED)

    def _look_for_unanswered(self, conn: Connection) -> None:
        """Look for what claims have brought that were never answered: the connection was cut before the reply."""
        worker_id = self._station.lease.registered_as
        assert worker_id is not None
        self._give_strangers_back(conn, consume.held(conn, worker_id, self._station.held.unsure()))

    def _compare(self, conn: Connection) -> None:
        """Hold the database's opinion of what this worker runs against the process's own."""
        worker_id = self._station.lease.registered_as
        assert worker_id is not None
        self._give_strangers_back(conn, consume.strays(conn, worker_id, self._station.held.known()))

    def _give_strangers_back(self, conn: Connection, rows: list[Held]) -> None:
        """Give back those of the jobs that nobody here holds."""
        station = self._station
        found = station.held.strangers(rows)
        # What the database refuses to take back is tried again after a pause.
        strangers = [fence for fence in found if not station.unsettled.is_waiting(fence.id)]
        if not strangers:
            return
        given_back = self._give_back(conn, strangers)
        counts.STRANGERS.inc(len(given_back))
        station.bell.ring()
        for job_id in given_back:
            sparing.warning("gave back a job whose claim was never answered", extra={"job_id": str(job_id)})
        left = {fence.claim for fence in found if fence.id not in given_back}
        for claim_id in {fence.claim for fence in found} - left:
            station.held.found(claim_id)

    def _look_for_suspects(self, conn: Connection) -> None:
        station = self._station
        lanes = consume.lanes(conn, queues=station.config.worker_queues, suspect=True)
        marks = [lane.head for lane in lanes if lane.seconds <= 0]
        passed_over = station.unclaimable.waiting()
        worker_id = station.lease.registered_as
        if not marks or worker_id is None:
            return
        # One that cannot be claimed is not worth standing still for.
        if passed_over and not consume.has_next(
            conn, ClaimRequest(worker_id, consume.new_claim(), marks, 1, 1, suspect=True, passed_over=passed_over)
        ):
            return
        # Whoever runs nothing is alone already. The others finish what they run first, and claim nothing meanwhile:
        # one process after the other, so that a single suspect does not make all of them stand still.
        if station.held.is_alone() or consume.has_turn(conn, worker_id, slot_seconds=TURN_SECONDS):
            station.suspects_due.set()
            station.bell.ring()

    def _leave(self) -> None:
        """Give back, without blame, what the database thinks this worker runs, and take its row away.

        Here, because this thread has a connection, and a further one may not be had. The main thread waits for it no
        longer than its deadline allows; what is left then is rescued.
        """
        station, worker_id = self._station, self._station.lease.registered_as
        while worker_id is not None:
            try:
                with station.database.connection() as conn:
                    held = consume.held(conn, worker_id, station.held.known())
                    for job_id in self._give_back(conn, [row.fence for row in held]):
                        sparing.warning("released unfinished", extra={"job_id": str(job_id)})
                    left = consume.held(conn, worker_id, station.held.known())
                    # What the database refuses to take back is an orphan from now on, and taken by others.
                    if all(station.unsettled.is_waiting(row.fence.id) for row in left):
                        consume.deregister(conn, worker_id)
                        return
            except (DatabaseUnavailable, Refusal) as error:
                station.outage.failed(error)
            self._pause.wait(LEAVE_PAUSE_SECONDS)

    def _give_back(self, conn: Connection, fences: list[Fence]) -> list[UUID]:
        """Give the jobs back without blame, and return those that were still ours.

        One whose row somebody has locked is left for the next time: the beat, and the others, must not wait for it.
        """
        started = {running.fence for running in self._station.held.all() if running.began_at is not None}
        settlements = [
            Settlement(fence, Outcome.release() if fence in started else Outcome.give_back()) for fence in fences
        ]
        given_back = []
        for fence, became in zip(fences, consume.settle_each(conn, settlements), strict=True):
            if isinstance(became, JobStatus):
                given_back.append(fence.id)
                self._station.unsettled.forget([fence.id])
            elif became is not None:
                self._station.unsettled.add(fence.id, became, may_pass=isinstance(became, RefusedForNow))
        return given_back
