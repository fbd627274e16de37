"""Whether COUNTING is on. If it is off, pages show "–", not stale numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from haulier.domain.span import SPANS
from haulier.postgres.statements import Connection
from haulier.queue.numbers.recent import Minute, recent_minutes
from haulier.queue.numbers.stats import Figures, Live, Queue, Shown, Stats, list_queues, stats

from ...http.auth import caller
from ...http.service import service
from ..kit.search_box import queues_read


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
    return stats(conn, span, of) if is_on() else Stats(span, SPANS[span][1])


def as_known(queue: Queue) -> Queue:
    """Return the queue; without its counts if nobody counts."""
    return queue if is_on() else replace(queue, live=Live(), last_minute=Figures(), counted_at=None)


def read_queues(conn: Connection, *, limit: int, after: str = "") -> Queues:
    """Return the queues that the caller may see, by name, from behind `after` on."""
    found, more = list_queues(conn, after=after, limit=limit, queues=caller().queues)
    queues_read().note(each.name for each in found)
    return Queues([as_known(each) for each in found], minutes_of(conn, found), more)


def minutes_of(conn: Connection, queues: Sequence[Queue]) -> Mapping[str, Sequence[Minute]]:
    """Return the last minutes of the queues; none if nobody counts."""
    return recent_minutes(conn, [each.name for each in queues]) if is_on() else {}
