"""This process's row in `worker`: inserted, renewed, and inserted again after the process was declared dead."""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass, field
from uuid import UUID

from haulier.config import Config
from haulier.domain.errors import Refusal, reason
from haulier.kinds import StopReason
from haulier.postgres.errors import translated
from haulier.postgres.statements import Connection
from haulier.queue import claims
from haulier.queue.health.deployments import note_deployment
from haulier.worker.lanes.marks import Marks
from haulier.worker.link import Link
from haulier.worker.steps.sparing_log import SparingLog
from haulier.worker.steps.vitals import VitalSigns
from haulier.worker.supply.held import HeldJobs

# A log line names at most this many jobs.
NAMED_JOBS = 10

log = logging.getLogger(__name__)
sparing = SparingLog(log)


@dataclass(frozen=True, slots=True)
class Beat:
    """Renews the lease of one process, at least three times a lease."""

    link: Link
    held: HeldJobs
    marks: Marks
    config: Config
    vitals: VitalSigns
    kinds: Collection[str] = ()
    # Whether the row says what this process is.
    introduced: threading.Event = field(default_factory=threading.Event)

    @property
    def seconds(self) -> float:
        """Return the time from one beat to the next."""
        return self.config.beat_seconds

    def is_due(self) -> bool:
        """Return whether the last beat is long enough ago."""
        return self.link.lease.beat_age >= self.seconds

    def register(self, conn: Connection) -> None:
        """Insert this process's row."""
        config, began_at = self.config, time.monotonic()
        worker_id = claims.register(
            conn,
            host=socket.gethostname(),
            pid=os.getpid(),
            threads=config.worker_threads,
            queues=config.worker_queues,
            lease_seconds=config.lease_seconds,
        )
        self.link.lease.registered(worker_id, began_at)
        self.link.bell.ring()
        log.info("registered as worker %s", worker_id)
        self.introduced.clear()
        self._introduce(conn, worker_id)

    def _introduce(self, conn: Connection, worker_id: UUID) -> None:
        # Operators want to know it, and no job needs it: if the database refuses it, the worker continues all the same.
        try:
            with translated():
                claims.introduce(conn, worker_id, kinds=sorted(self.kinds), release=self.config.release)
        except Refusal as error:
            sparing.warning(
                f"the database refuses to store this worker's version and kinds: {reason(error)}", about="kinds"
            )
        else:
            self.introduced.set()
            # Charts mark it; without it they lack a mark.
            with suppress(Refusal), translated():
                note_deployment(conn, self.config.release, worker=worker_id)

    def beat(self, conn: Connection) -> None:
        """Renew the lease; if that is too late, give up the jobs held here, and register again."""
        lease, began_at = self.link.lease, time.monotonic()
        worker_id = lease.registered_as
        assert worker_id is not None
        gap = claims.beat(conn, worker_id, scans_fail=self.marks.seconds_failing > 0, vitals=self.vitals.take())
        if gap is not None:
            lease.beaten(began_at, gap)
            if not self.introduced.is_set():
                self._introduce(conn, worker_id)
            return
        held = self.held.all()
        jobs = [running.job for running in held if running.began_at is not None and not running.has_ended]
        log.warning(
            "this worker was declared dead and gives up its %d jobs; it registers again (silent for %.1f s,"
            " LEASE_SECONDS is %g; running: %s)",
            len(held),
            lease.beat_age,
            self.config.lease_seconds,
            ", ".join(f"{job.kind} {job.id}" for job in jobs[:NAMED_JOBS]) or "none",
        )
        lease.lost()
        self.held.stop_all(StopReason.LEASE_LOST)
        self.held.lost()
        self.register(conn)
