"""How a queue is, in a word, and when it will be empty: data in, words out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median

from haulier.domain.text import duration, number
from haulier.domain.worker import WorkerState
from haulier.queue.produce.recent import Minute
from haulier.queue.produce.stats import Queue
from haulier.queue.produce.workers import Worker

# Failing: so many of what ended in ten minutes failed for good, and that many of a hundred.
LEAST_FAILED, FAILED_SHARE = 20, 0.1
# Growing: what is due rose in so many minutes on end, and the oldest has been due for so long.
RISING_MINUTES, LATE_SECONDS = 3, 60.0
# Fewer that are due are gone before anybody has looked; the fall is that of so many minutes.
FEW_DUE, FALL_MINUTES = 100, 5
# The worst first, for lists of which only the beginning is shown.
WORST_FIRST = ("Failing", "Unserved", "Growing", "Paused", "Well", "Idle")


@dataclass(frozen=True, slots=True)
class Word:
    """How a queue is. Shape: status is the one of a job whose shape and colour it has; None: neither."""

    text: str
    status: str | None = None
    why: str = ""


@dataclass(frozen=True, slots=True)
class QueueRow:
    """A queue as pages show it."""

    queue: Queue
    word: Word
    empty_in: str


def row_of(queue: Queue, workers: Sequence[Worker] | None, minutes: Sequence[Minute]) -> QueueRow:
    """Return the queue as pages show it; for the rest see `word_of`."""
    return QueueRow(queue, word_of(queue, workers, minutes), empty_in(queue, minutes))


def word_of(queue: Queue, workers: Sequence[Worker] | None, minutes: Sequence[Minute]) -> Word:
    """Return how the queue is. Shape: workers None: not known. The last of the minutes is not over."""
    due = queue.live.due or 0
    if queue.paused:
        return Word("Paused", "queued", "No job of it starts.")
    if due and workers is not None and not serving(queue.name, workers):
        return Word("Unserved", "failed_permanent", "Jobs are due, and no live worker serves it.")
    if is_failing(minutes):
        return Word("Failing", "failed_permanent", "Over a tenth of what ended in ten minutes failed for good.")
    if is_growing(queue, minutes):
        return Word("Growing", "retrying", "What is due rose in each of the last three minutes.")
    if due or queue.live.running or queue.last_minute.succeeded:
        return Word("Well", "succeeded")
    return Word("Idle")


def serving(name: str, workers: Sequence[Worker]) -> list[Worker]:
    """Return the live workers that serve the queue."""
    alive = [each for each in workers if each.state is not WorkerState.GONE]
    return [each for each in alive if each.queues is None or name in each.queues]


def is_failing(minutes: Sequence[Minute]) -> bool:
    """Tell whether much of what ended in these minutes failed for good."""
    failed = sum(each.failed for each in minutes)
    ended = failed + sum(each.succeeded for each in minutes)
    return failed >= LEAST_FAILED and failed > FAILED_SHARE * ended


def _whole(minutes: Sequence[Minute]) -> list[int]:
    return [each.due for each in minutes[:-1] if each.due is not None]


def is_growing(queue: Queue, minutes: Sequence[Minute]) -> bool:
    """Tell whether ever more jobs are due, and have been for a while."""
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
    if due < FEW_DUE:
        return "at once"
    known = _whole(minutes)[-FALL_MINUTES - 1 :]
    if len(known) < 2:
        return "not known"
    fall = median(before - after for before, after in pairwise(known))
    if fall <= 0:
        return f"never: +{number(-fall)}/min" if fall else "never: it stays"
    return duration(60 * due / fall)
