"""Which queues are late: their jobs wait too long, or will."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from haulier.domain.histogram import percentile, unpacked
from haulier.postgres.statements import Connection, rows
from haulier.queue.numbers.recent import LEAST_ENDED, WEEK_SECONDS
from haulier.queue.numbers.stats import Queue

# A queue is late if its oldest due job has waited for LATE_SECONDS, or for this many times the usual wait. Before the
# least time no queue is late, because a burst of jobs may take that long.
TIMES_USUAL, LEAST_SECONDS = 10, 60.0
# It is also late if its due jobs, if they are many, take longer than this at the rate of the last minute.
MANY_DUE, EMPTY_SECONDS = 100, 900.0


def with_lateness(conn: Connection, queues: Sequence[Queue], *, late_seconds: float) -> list[Queue]:
    """Return the queues, each with whether it is late. A paused queue, and one that was not counted, is not."""
    late = {queue.name for queue in queues if is_late(queue, late_seconds)}
    # A week of counts is only read for the few queues for which it decides.
    open_ = [each.name for each in queues if each.name not in late and is_late(each, LEAST_SECONDS)]
    waits = _usual_waits(conn, open_) if open_ else {}
    late |= {
        queue.name
        for queue in queues
        if queue.name in waits and is_late(queue, max(LEAST_SECONDS, TIMES_USUAL * waits[queue.name]))
    }
    return [replace(queue, is_late=queue.name in late) for queue in queues]


def is_late(queue: Queue, most_seconds: float) -> bool:
    """Return whether the oldest due job has waited this long, or the due jobs will take too long."""
    due, oldest = queue.live.due or 0, queue.live.oldest_due_seconds or 0.0
    # If nobody counts any more, jobs that have run long since would still be due.
    if queue.paused or not due or not queue.is_counted:
        return False
    ended = queue.last_minute.ended
    is_much = due >= MANY_DUE and ended > 0 and 60 * due / ended > EMPTY_SECONDS
    return is_much or oldest > most_seconds


def _usual_waits(conn: Connection, queues: Sequence[str]) -> dict[str, float]:
    """Return how long half of the jobs of these queues waited at most in the last week, but for the last day.

    A queue in which few jobs ended is absent.
    """
    found = {
        row["queue"]: unpacked(row["waited"])
        for row in rows(conn, "usual_waits", names=list(queues), span_seconds=WEEK_SECONDS)
    }
    medians = {name: percentile(waits, 0.5) for name, waits in found.items() if sum(waits.values()) >= LEAST_ENDED}
    return {name: median for name, median in medians.items() if median is not None}
