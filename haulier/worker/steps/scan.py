"""The look for jobs in lanes that are new to this process: at all lanes from their start, or where there are too many
at a part of them at a time, and at what has come lately."""

from __future__ import annotations

import time

from haulier.domain.claim import Lane
from haulier.domain.errors import DatabaseUnavailable, Refusal
from haulier.postgres.statements import Connection
from haulier.queue import consume
from haulier.worker.shared.marks import SOON_SECONDS
from haulier.worker.station import Station

# A job comes when its transaction began, and is seen when that has committed.
LATE_SECONDS = 2.0
# Of what came before the last look so long ago, nobody has looked; it is left to the look that goes round.
LONGEST_SECONDS = 60.0


def scan(station: Station) -> None:
    """Look once. Raises: DatabaseUnavailable; Refusal."""
    lanes, queues, began_at = station.marks, station.config.worker_queues, time.monotonic()
    try:
        with station.database.connection() as conn:
            found = consume.stretch(conn, queues=queues, after=lanes.place, limit=lanes.at_once)
            others = _others(station, conn) if lanes.is_going_round else []
    except (DatabaseUnavailable, Refusal):
        lanes.scan_failed()
        raise
    lanes.scanned(found.lanes, began_at=began_at, end=found.end, others=others)


def _others(station: Station, conn: Connection) -> list[Lane]:
    """Return the lanes that must not wait until the look has gone round: the busy, and those of new jobs."""
    lanes, queues = station.marks, station.config.worker_queues
    seconds = min(lanes.seconds_since_scan + LATE_SECONDS, LONGEST_SECONDS)
    fresh = consume.fresh_lanes(conn, seconds=seconds, soon_seconds=SOON_SECONDS)
    return consume.heads(conn, {*lanes.busy, *(lane for lane in fresh if not queues or lane[0] in queues)})
