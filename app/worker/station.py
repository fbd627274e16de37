"""What the threads of one worker process share."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

from app.config import Config
from app.kinds import Kind
from app.queue.connection import Database
from app.worker.buffer import Buffer
from app.worker.call_size import CallSize
from app.worker.children import Children
from app.worker.echo import Echo
from app.worker.holdings import Holdings
from app.worker.lanes import Lanes
from app.worker.lease import Lease
from app.worker.lookout import Lookout, Patience
from app.worker.metrics import Tally, tally
from app.worker.outage import Outage
from app.worker.pace import Pace
from app.worker.refused import Refused, RefusedLanes
from app.worker.slumber import Slumber


@dataclass(frozen=True, slots=True)
class Station:
    """The process's shared things. `stopping` ends claiming; `closing` ends every thread, after the last job."""

    config: Config
    kinds: dict[str, Kind]
    database: Database
    lease: Lease
    lookout: Lookout
    slumber: Slumber
    echo: Echo
    buffer: Buffer
    tally: Tally
    call_size: CallSize
    children: Children
    unclaimable: Refused = field(default_factory=lambda: Refused("claim"))
    unclaimable_lanes: RefusedLanes = field(default_factory=RefusedLanes)
    unsettled: Refused = field(default_factory=lambda: Refused("settle"))
    lanes: Lanes = field(default_factory=Lanes)
    holdings: Holdings = field(default_factory=Holdings)
    patience: Patience = field(default_factory=Patience)
    outage: Outage = field(default_factory=Outage)
    suspects_due: threading.Event = field(default_factory=threading.Event)
    pulse_wanted: threading.Event = field(default_factory=threading.Event)
    stopping: threading.Event = field(default_factory=threading.Event)
    closing: threading.Event = field(default_factory=threading.Event)

    @classmethod
    def of(cls, config: Config, kinds: dict[str, Kind]) -> Station:
        """Return the station of a process with these settings; no connection is opened yet."""
        stopping, closing = threading.Event(), threading.Event()
        lookout = Lookout()
        lease = Lease(config.lease_seconds)
        call_size = CallSize()
        return cls(
            config=config,
            kinds=kinds,
            database=Database(config.database_url, application_name="haulier worker"),
            lease=lease,
            lookout=lookout,
            slumber=Slumber(lease, poll_seconds=config.poll_seconds),
            echo=Echo(),
            buffer=Buffer(Pace(config.worker_threads), lookout, stopping, closing, call_size),
            call_size=call_size,
            children=Children(config),
            tally=tally(config.worker_metrics_port),
            stopping=stopping,
            closing=closing,
        )
