"""Counts for pages. If nobody counts, by setting or because no worker runs, they are unknown and pages show "–"."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from haulier.domain.span import SPANS
from haulier.postgres.statements import Connection
from haulier.queue.numbers.recent import Minute, recent_minutes
from haulier.queue.numbers.stats import Figures, Live, Queue, Shown, Stats, list_queues, stats

from ...http.auth import caller
from ...http.late_queues import with_lateness
from ...http.service import service
from ..kit.search_box import queues_read
from ..kit.viewer import viewer
from .queue_states import OLD


@dataclass(frozen=True, slots=True)
class Queues:
    """Queues by name, with the last minutes of each. `more` is true if others follow."""

    queues: Sequence[Queue]
    minutes: Mapping[str, Sequence[Minute]]
    more: bool


def is_on() -> bool:
    """Return whether workers count, by the setting of this process."""
    return service().config.counting == "on"


def figures(conn: Connection, span: str, of: Shown) -> Stats:
    """Return the figures of a span; unknown ones if nobody counts."""
    if not is_on():
        return Stats(span, SPANS[span][1])
    found = stats(conn, span, of)
    # While somebody counts, live jobs that were counted long ago are only very many.
    goes_on = any(at is not None and viewer().now - at <= OLD for at in (found.as_of, found.counted_at))
    return found if goes_on else replace(found, live=Live())


def as_known(queue: Queue) -> Queue:
    """Return the queue; without its counts if nobody counts."""
    return (
        queue if is_on() and queue.is_counted else replace(queue, live=Live(), last_minute=Figures(), counted_at=None)
    )


def read_queues(conn: Connection, *, limit: int, after: str = "") -> Queues:
    """Return the queues that the caller may see, by name, from behind `after` on."""
    found, more = list_queues(conn, after=after, limit=limit, queues=caller().queues)
    queues_read().note(each.name for each in found)
    known = with_lateness(conn, [as_known(each) for each in found])
    return Queues(known, minutes_of(conn, found), more)


def minutes_of(conn: Connection, queues: Sequence[Queue]) -> Mapping[str, Sequence[Minute]]:
    """Return the last minutes of the queues; none if nobody counts."""
    return recent_minutes(conn, [each.name for each in queues]) if is_on() else {}
