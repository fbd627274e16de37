"""The state of a queue in a word, and when it will be empty: data in, words out."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from haulier.domain.text import duration, number
from haulier.queue.health.overview import UNSERVED_SECONDS
from haulier.queue.numbers.recent import Minute
from haulier.queue.numbers.stats import Queue

from .fleet import Fleet

# Older counts do not show whether jobs are due. A worker counts every 10 s, and less often only with very many jobs.
FRESH = timedelta(seconds=30)
# Counting has stopped if it has not come further than this. Then the numbers of live jobs are unknown.
OLD = timedelta(seconds=60)
# A deploy leaves a queue without its worker for some seconds.
DUE_FOR = timedelta(seconds=UNSERVED_SECONDS)

# Failing: at least this many jobs failed in ten minutes, and at least this share of the jobs that ended.
LEAST_FAILED, FAILED_SHARE = 20, 0.1
# The share is also this many times the usual share, or halfway from that to all.
TIMES_USUAL = 5
# Fewer due jobs are gone before anybody has looked, unless the oldest is this late.
FEW_DUE, LATE_SECONDS = 100, 60.0
# Worst first, for lists that show only their beginning.
WORST_FIRST = ("Failing", "Unserved", "Late", "Paused", "Unknown", "OK", "Idle")


@dataclass(frozen=True, slots=True)
class Word:
    """The state of a queue. It has the shape and colour of the job status `status`; None: neither."""

    text: str
    status: str | None = None
    why: str = ""


@dataclass(frozen=True, slots=True)
class QueueRow:
    """A queue as pages show it."""

    queue: Queue
    word: Word
    empty_in: str


@dataclass(frozen=True, slots=True)
class Known:
    """What is known about queues besides their counts.

    `fleet` is None if unknown. `minutes` are the last minutes of each queue, the last one unfinished. `unserved` are
    queues with due jobs that no worker takes, found by reading the jobs. `usual` is the usual share of failed jobs.
    """

    now: datetime
    fleet: Fleet | None = None
    minutes: Mapping[str, Sequence[Minute]] = field(default_factory=dict)
    unserved: Collection[str] = ()
    usual: Mapping[str, float] = field(default_factory=dict)

    def fails(self, queue: Queue) -> bool:
        """Return whether more jobs of the queue failed recently than is usual there."""
        return is_failing(self.minutes.get(queue.name, ()), self.usual.get(queue.name, 0.0))


def row_of(queue: Queue, known: Known) -> QueueRow:
    """Return the queue as pages show it."""
    word = word_of(queue, known)
    return QueueRow(queue, word, "–" if word == UNSERVED else empty_in(queue))


def worst_first(rows: Iterable[QueueRow]) -> list[QueueRow]:
    """Return the queues by their states, those with the most due jobs first, then by name."""
    return sorted(rows, key=lambda row: (WORST_FIRST.index(row.word.text), -(row.queue.live.due or 0), row.queue.name))


UNSERVED = Word("Unserved", "failed_permanent", "Jobs are due, but no worker serves this queue.")


def word_of(queue: Queue, known: Known) -> Word:
    """Return the state of the queue."""
    if queue.paused:
        return Word("Paused", "queued", "No job in it starts.")
    if is_unserved(queue, known):
        return UNSERVED
    if queue.counted_at is None:
        return Word("Unknown", why="Nobody has counted its jobs recently.")
    if known.fails(queue):
        return Word("Failing", "failed_permanent", "More than 10 % of the jobs of the last 10 minutes failed.")
    if queue.is_late:
        return Word("Late", "retrying", "Its jobs wait too long, or will take over 15 minutes.")
    if queue.live.due or queue.live.running or queue.last_minute.succeeded:
        return Word("OK", "succeeded")
    return Word("Idle")


def is_unserved(queue: Queue, known: Known) -> bool:
    """Return whether jobs of the queue are due and no live worker takes them."""
    if queue.paused or queue.name in known.unserved:
        return not queue.paused
    is_due = bool(queue.live.due) and is_fresh(queue, known.now)
    return is_due and known.fleet is not None and known.fleet.leaves(queue.name)


def is_fresh(queue: Queue, now: datetime) -> bool:
    """Return whether the counts of the queue are new enough to show whether jobs are due."""
    return queue.counted_at is not None and now - queue.counted_at <= FRESH


def needs_look(queues: Sequence[Queue], fleet: Fleet, now: datetime) -> bool:
    """Return whether only reading the jobs can show which queues are unserved."""
    return fleet.more or not fleet.takes or not queues or not all(is_fresh(each, now) for each in queues)


def is_failing(minutes: Sequence[Minute], usual: float = 0.0) -> bool:
    """Return whether many of the jobs that ended in these minutes failed, and far more than usual."""
    failed = sum(each.failed for each in minutes)
    ended = failed + sum(each.succeeded for each in minutes)
    # Five times a quarter is more than all.
    most = max(FAILED_SHARE, min(TIMES_USUAL * usual, (1 + usual) / 2))
    return failed >= LEAST_FAILED and failed > most * ended


def empty_in(queue: Queue) -> str:
    """Return how long until no job is due, if it continues as in the last minute."""
    due, minute = queue.live.due, queue.last_minute
    if queue.paused or due is None:
        return "–"
    if due < FEW_DUE and (not due or (queue.live.oldest_due_seconds or 0) <= LATE_SECONDS):
        return "seconds"
    fall = minute.ended - minute.arrived
    if fall > 0:
        seconds = 60 * due / fall
        return duration(seconds if seconds < 600 else 60 * round(seconds / 60))
    return f"growing by {number(-fall)}/min" if fall else "not draining"
