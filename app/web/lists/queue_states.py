"""How a queue is, in a word, and when it will be empty: data in, words out."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import pairwise
from statistics import median

from haulier.domain.text import duration, number
from haulier.queue.health.overview import UNSERVED_SECONDS
from haulier.queue.numbers.recent import Minute
from haulier.queue.numbers.stats import Queue

from .fleet import Fleet

# Older counts do not say whether jobs are due. A worker counts every 10 s, and more rarely only beside very many jobs.
FRESH = timedelta(seconds=30)
# A worker that is replaced in order is away for some seconds.
DUE_FOR = timedelta(seconds=UNSERVED_SECONDS)

# Failing: so many of what ended in ten minutes failed for good, and that many of a hundred.
LEAST_FAILED, FAILED_SHARE = 20, 0.1
# It is also so many times what is usual there, or halfway from that to all.
TIMES_USUAL = 5
# Growing: what is due rose in so many minutes on end, and the oldest has been due for so long.
RISING_MINUTES, LATE_SECONDS = 3, 60.0
# Fewer that are due are gone before anybody has looked; the fall is that of so many minutes.
FEW_DUE, FALL_MINUTES = 100, 5
# The worst first, for lists of which only the beginning is shown.
WORST_FIRST = ("Failing", "Unserved", "Growing", "Paused", "Not known", "Well", "Idle")


@dataclass(frozen=True, slots=True)
class Word:
    """How a queue is. `status` is the one of a job whose shape and colour it has; None: neither."""

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
    """What is known of queues beside what was counted of each.

    Fleet None: not known. minutes are the last ones of each queue, the last of which is not over. unserved are those of
    which a look at the jobs has found that nobody takes them. usual is which share of jobs fails for good, if that is
    known.
    """

    now: datetime
    fleet: Fleet | None = None
    minutes: Mapping[str, Sequence[Minute]] = field(default_factory=dict)
    unserved: Collection[str] = ()
    usual: Mapping[str, float] = field(default_factory=dict)

    def fails(self, queue: Queue) -> bool:
        """Return whether more of what ended in the queue of late failed for good than is usual there."""
        return is_failing(self.minutes.get(queue.name, ()), self.usual.get(queue.name, 0.0))


def row_of(queue: Queue, known: Known) -> QueueRow:
    """Return the queue as pages show it."""
    word = word_of(queue, known)
    return QueueRow(queue, word, "–" if word == UNSERVED else empty_in(queue, known.minutes.get(queue.name, ())))


UNSERVED = Word("Unserved", "failed_permanent", "Jobs are due, and no live worker serves it.")


def word_of(queue: Queue, known: Known) -> Word:
    """Return how the queue is."""
    minutes = known.minutes.get(queue.name, ())
    if queue.paused:
        return Word("Paused", "queued", "No job of it starts.")
    if is_unserved(queue, known):
        return UNSERVED
    if queue.counted_at is None:
        return Word("Not known", why="Nothing has been counted.")
    if known.fails(queue):
        return Word("Failing", "failed_permanent", "Over a tenth of what ended in ten minutes failed for good.")
    if is_growing(queue, minutes):
        return Word("Growing", "retrying", "What is due rose in each of the last three minutes.")
    if queue.live.due or queue.live.running or queue.last_minute.succeeded:
        return Word("Well", "succeeded")
    return Word("Idle")


def is_unserved(queue: Queue, known: Known) -> bool:
    """Return whether jobs of the queue are due, and no live worker takes them."""
    if queue.paused or queue.name in known.unserved:
        return not queue.paused
    is_due = bool(queue.live.due) and is_fresh(queue, known.now)
    return is_due and known.fleet is not None and known.fleet.leaves(queue.name)


def is_fresh(queue: Queue, now: datetime) -> bool:
    """Return whether what was counted of the queue says whether jobs of it are due."""
    return queue.counted_at is not None and now - queue.counted_at <= FRESH


def needs_look(queues: Sequence[Queue], fleet: Fleet, now: datetime) -> bool:
    """Return whether only a look at the jobs can say which queues are unserved."""
    return fleet.more or not fleet.takes or not queues or not all(is_fresh(each, now) for each in queues)


def is_failing(minutes: Sequence[Minute], usual: float = 0.0) -> bool:
    """Return whether much of what ended in these minutes failed for good, and far more than the share that is usual."""
    failed = sum(each.failed for each in minutes)
    ended = failed + sum(each.succeeded for each in minutes)
    # Five times a quarter is more than all.
    most = max(FAILED_SHARE, min(TIMES_USUAL * usual, (1 + usual) / 2))
    return failed >= LEAST_FAILED and failed > most * ended


def _whole(minutes: Sequence[Minute]) -> list[int]:
    return [each.due for each in minutes[:-1] if each.due is not None]


def is_growing(queue: Queue, minutes: Sequence[Minute]) -> bool:
    """Return whether ever more jobs are due, and have been for a while."""
    known = _whole(minutes)[-RISING_MINUTES - 1 :]
    rises = [after - before for before, after in pairwise(known)]
    is_late = (queue.live.oldest_due_seconds or 0) > LATE_SECONDS
    return is_late and len(rises) == RISING_MINUTES and all(rise > 0 for rise in rises)


def rise(minutes: Sequence[Minute]) -> float:
    """Return by how much what is due has risen in a minute of the last ones, in the middle."""
    return median(after - before for before, after in pairwise(_whole(minutes)[-RISING_MINUTES - 1 :]))


def empty_in(queue: Queue, minutes: Sequence[Minute]) -> str:
    """Return in how long nothing of the queue is due any more: an estimate, by how fast that has fallen of late."""
    due = queue.live.due
    if queue.paused or due is None:
        return "–"
    is_late = due > 0 and (queue.live.oldest_due_seconds or 0) > LATE_SECONDS
    if due < FEW_DUE and not is_late:
        return "at once"
    known = _whole(minutes)[-FALL_MINUTES - 1 :]
    if len(known) < 2:
        return "not known"
    fall = median(before - after for before, after in pairwise(known))
    if due < FEW_DUE:
        return "at once" if fall > 0 else "–"
    if fall <= 0:
        return f"never: +{number(-fall)}/min" if fall else "never: it stays"
    return duration(60 * due / fall)
