"""What a worker has counted: of a span of time, and of each queue. No job is looked at, however many there are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from haulier.domain.errors import QueueNotFound
from haulier.domain.histogram import percentiles as percentiles_of
from haulier.domain.histogram import unpacked
from haulier.domain.span import SPANS
from haulier.postgres.statements import Connection, Row, rows
from haulier.postgres.values import utc


@dataclass(frozen=True, slots=True)
class Percentiles:
    """Durations that half, 95 % and 99 % of the jobs did not exceed, within 12 %; None if no job ended."""

    p50: float | None = None
    p95: float | None = None
    p99: float | None = None


@dataclass(frozen=True, slots=True)
class Figures:
    """What came and ended in some time. `wait` and run are of the last runs of jobs that succeeded or failed."""

    arrived: int = 0
    succeeded: int = 0
    failed: int = 0
    cancelled: int = 0
    attempts: int = 0
    wait_seconds: Percentiles = field(default_factory=Percentiles)
    run_seconds: Percentiles = field(default_factory=Percentiles)

    @property
    def ended(self) -> int:
        """Return how many jobs ended, in any way."""
        return self.succeeded + self.failed + self.cancelled


@dataclass(frozen=True, slots=True)
class Step(Figures):
    """A step of a series: its figures, the most jobs that were due at once, and how many ran when last counted.

    None if live jobs were not counted within it, or if there had been none before.
    """

    at: datetime | None = None
    due: int | None = None
    running: int | None = None
    oldest_due_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Live:
    """The live jobs as they were counted at some time; None if they never were."""

    waiting: int | None = None
    due: int | None = None
    running: int | None = None
    oldest_due_seconds: float | None = None

    @property
    def deferred(self) -> int | None:
        """Return how many wait for a later time."""
        return None if self.waiting is None or self.due is None else self.waiting - self.due


@dataclass(frozen=True, slots=True)
class Stats:
    """The figures of a span. They reach up to as_of, which is None if nothing has been counted.

    `ran` has how many of the jobs took how long: a histogram of haulier.domain.histogram, whose percentiles the totals
    have.
    """

    span: str
    step_seconds: int
    as_of: datetime | None = None
    counted_at: datetime | None = None
    totals: Figures = field(default_factory=Figures)
    live: Live = field(default_factory=Live)
    series: Sequence[Step] = ()
    ran: Mapping[int, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Queue:
    """A queue: its live jobs, and what came and ended in the last minute that has been counted.

    `paused_until` is None also if the pause has no end. `paused_by` is who set that end last, as `actor` of the audit,
    and paused_for the reason; not every caller may see these. `is_counted` is false if nobody has counted for a
    minute. `is_late` is only known after `with_lateness`.
    """

    name: str
    live: Live
    last_minute: Figures
    counted_at: datetime | None
    paused: bool = False
    paused_until: datetime | None = None
    paused_since: datetime | None = None
    paused_by: str | None = None
    paused_for: str | None = None
    is_counted: bool = True
    is_late: bool = False


@dataclass(frozen=True, slots=True)
class Shown:
    """Which jobs the figures are of. `queues` are those that the caller may see; None: every queue."""

    queue: str | None = None
    kind: str | None = None
    queues: Sequence[str] | None = None

    def parameters(self) -> dict[str, Any]:
        """Return what the statements are sent with."""
        return {"queue": self.queue, "kind": self.kind, "queues": None if self.queues is None else list(self.queues)}


def stats(conn: Connection, span: str, shown: Shown) -> Stats:
    """Return the figures of a span of SPANS that ends now, or if counting has come to."""
    seconds, step = SPANS[span]
    reach = rows(conn, "counted_through", series_seconds=step, **shown.parameters())
    if not reach:
        return Stats(span, step)
    [reached] = reach
    times = {
        "series_seconds": step,
        "span_from": reached["span_to"] - timedelta(seconds=seconds),
        "span_to": reached["span_to"],
    }
    figures = {
        row["series_at"]: {**row, **{name: unpacked(row[name]) for name in HISTOGRAMS}}
        for row in rows(conn, "stats_figures", **times, **shown.parameters())
    }
    series = [_step(at, figures.get(at, {})) for at in _times(times["span_from"], times["span_to"], step)]
    waited, ran = (_sum(row[name] for row in figures.values()) for name in HISTOGRAMS)
    return Stats(
        span,
        step,
        utc(reached["through"]),
        _utc(reached["depth_at"]),
        _totals(list(figures.values()), waited, ran),
        _live(reached, reached["depth_at"]),
        series,
        ran,
    )


def succeeded_and_kept(
    conn: Connection, *, kinds: Sequence[str] | None = None, queues: Sequence[str] | None = None
) -> int | None:
    """Return about how many jobs of these kinds and queues have succeeded and are kept; None if that is not known.

    Jobs that were deleted are counted, and jobs of the last seconds are not.
    """
    named = [None if names is None else list(names) for names in (kinds, queues)]
    found = rows(conn, "succeeded_and_kept", kinds=named[0], queues=named[1])
    return found[0]["succeeded"] if found else None


def _utc(at: datetime | None) -> datetime | None:
    return None if at is None else utc(at)


def _times(begin: datetime, end: datetime, step: int) -> list[datetime]:
    return [begin + timedelta(seconds=step * number) for number in range(round((end - begin).total_seconds() / step))]


def percentiles(buckets: Mapping[int, int]) -> Percentiles:
    """Return the percentiles of a histogram."""
    return Percentiles(*percentiles_of(buckets, (0.5, 0.95, 0.99)))


COUNTS = ("arrived", "succeeded", "failed", "cancelled", "attempts")
HISTOGRAMS = ("waited", "ran")


def _step(at: datetime, row: Row) -> Step:
    return Step(
        **{name: row.get(name, 0) for name in COUNTS},
        wait_seconds=percentiles(row.get("waited", {})),
        run_seconds=percentiles(row.get("ran", {})),
        at=utc(at),
        due=row.get("due"),
        running=row.get("running"),
        oldest_due_seconds=row.get("oldest"),
    )


def _sum(histograms: Iterable[Mapping[int, int]]) -> Mapping[int, int]:
    found = Counter[int]()
    for each in histograms:
        found.update(each)
    return found


def _totals(found: Sequence[Row], waited: Mapping[int, int], ran: Mapping[int, int]) -> Figures:
    return Figures(
        **{name: sum(row[name] for row in found) for name in COUNTS},
        wait_seconds=percentiles(waited),
        run_seconds=percentiles(ran),
    )


def _live(row: Row, counted_at: datetime | None) -> Live:
    if counted_at is None:
        return Live()
    return Live(row["waiting"], row["due"], row["running"], row["oldest_due_seconds"])


def list_queues(
    conn: Connection, *, after: str = "", limit: int = 50, queues: Sequence[str] | None = None
) -> tuple[list[Queue], bool]:
    """Return the queues after this name, by name, and whether more follow.

    Those that have live jobs, are paused, or were recently used; queues are those that the caller may see, None: every
    queue.
    """
    found = _queues(conn, Shown(queues=queues), after, limit + 1)
    return found[:limit], len(found) > limit


def get_queue(conn: Connection, name: str) -> Queue:
    """Return the queue. Raises: QueueNotFound if it has no live job, is not paused and was not recently used."""
    found = _queues(conn, Shown(queue=name), "", 1)
    if not found:
        raise QueueNotFound(name)
    return found[0]


def find_or_empty(conn: Connection, name: str) -> Queue:
    """Return the queue; one without figures if `get_queue` raises."""
    try:
        return get_queue(conn, name)
    except QueueNotFound:
        return Queue(name, Live(), Figures(), None)


def _queues(conn: Connection, shown: Shown, after: str, limit: int) -> list[Queue]:
    parameters = shown.parameters()
    del parameters["kind"]
    return [
        Queue(
            row["name"],
            _live(row, row["depth_at"]),
            Figures(row["arrived"], row["succeeded"], row["failed"], row["cancelled"]),
            _utc(row["depth_at"]),
            row["paused"],
            _utc(row["paused_until"]),
            _utc(row["paused_since"]),
            row["paused_by"],
            row["paused_for"],
            is_counted=bool(row["is_counted"]),
        )
        for row in rows(conn, "list_queues", after_queue=after, limit=limit, **parameters)
    ]
