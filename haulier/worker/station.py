"""What the threads of one worker process share."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

from haulier.config import Config
from haulier.kinds import Kind
from haulier.postgres.database import Database
from haulier.worker.isolation.children import Children
from haulier.worker.metrics.counts import Tally, tally
from haulier.worker.shared.bell import Bell, Patience
from haulier.worker.shared.buffer import Buffer
from haulier.worker.shared.call_size import CallSize
from haulier.worker.shared.claim_size import ClaimSize
from haulier.worker.shared.held import HeldJobs
from haulier.worker.shared.lease import Lease
from haulier.worker.shared.marks import Marks
from haulier.worker.shared.notify_check import NotifyCheck
from haulier.worker.shared.outage import Outage
from haulier.worker.shared.refused import RefusalLog, Refused, RefusedLanes
from haulier.worker.shared.sleeper import Sleeper


@dataclass(frozen=True, slots=True)
class Station:
    """The process's shared things. `stopping` ends claiming; `closing` ends every thread, after the last job."""

    config: Config
    kinds: dict[str, Kind]
    database: Database
    lease: Lease
    bell: Bell
    sleeper: Sleeper
    notify_check: NotifyCheck
    buffer: Buffer
    tally: Tally
    call_size: CallSize
    children: Children
    refusal_log: RefusalLog
    unclaimable: Refused
    unsettled: Refused
    unclaimable_lanes: RefusedLanes = field(default_factory=RefusedLanes)
    marks: Marks = field(default_factory=Marks)
    held: HeldJobs = field(default_factory=HeldJobs)
    patience: Patience = field(default_factory=Patience)
    outage: Outage = field(default_factory=Outage)
    suspects_due: threading.Event = field(default_factory=threading.Event)
    beat_wanted: threading.Event = field(default_factory=threading.Event)
    stopping: threading.Event = field(default_factory=threading.Event)
    closing: threading.Event = field(default_factory=threading.Event)

    @classmethod
    def of(cls, config: Config, kinds: dict[str, Kind]) -> Station:
        """Return the station of a process with these settings; no connection is opened yet."""
        stopping, closing = threading.Event(), threading.Event()
        bell = Bell()
        lease = Lease(config.lease_seconds)
        call_size = CallSize()
        refusal_log = RefusalLog()
        return cls(
            config=config,
            kinds=kinds,
            database=Database(config.database_url, application_name="haulier worker"),
            lease=lease,
            bell=bell,
            sleeper=Sleeper(lease, poll_seconds=config.poll_seconds),
            notify_check=NotifyCheck(),
            buffer=Buffer(ClaimSize(config.worker_threads), bell, stopping, closing, call_size),
            call_size=call_size,
            refusal_log=refusal_log,
            unclaimable=Refused("claim", refusal_log),
            unsettled=Refused("settle", refusal_log),
            children=Children(config),
            tally=tally(config.worker_metrics_port),
            stopping=stopping,
            closing=closing,
        )
