"""What the threads of one worker process share."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

from haulier.config import Config
from haulier.kinds import Kind
from haulier.postgres.database import Database
from haulier.worker.buffer import Buffer
from haulier.worker.call_size import CallSize
from haulier.worker.children import Children
from haulier.worker.echo import Echo
from haulier.worker.holdings import Holdings
from haulier.worker.lanes import Lanes
from haulier.worker.lease import Lease
from haulier.worker.lookout import Lookout, Patience
from haulier.worker.metrics import Tally, tally
from haulier.worker.outage import Outage
from haulier.worker.pace import Pace
from haulier.worker.refused import Refused, RefusedLanes
from haulier.worker.slumber import Slumber


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
