"""How schedules are: why one does not fire, which ticks are overdue, and whose jobs fail one after the other."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from itertools import groupby, takewhile

from haulier.domain.errors import ScheduleNotFound
from haulier.domain.schedules.schedule import TickOutcome
from haulier.domain.schedules.schedule_waiting import Unfired
from haulier.postgres.statements import Connection, rows
from haulier.postgres.values import array, utc
from haulier.queue.schedules.fire import schedule_of

# A tick that is due for this long, and that nobody has decided, is overdue. A worker that is replaced, or learns of the
# first schedule, needs some seconds. Units: seconds.
OVERDUE_SECONDS = 10.0
# This many overdue schedules are counted at most.
MOST_OVERDUE = 10_000
# This many schedules are looked at in one call for jobs that fail; of each the last so many jobs that have ended, which
# have to be among its newest this many ticks.
LOOKED_AT, COUNTED, LOOKED_BACK = 50, 5, 500
# A schedule skips repeatedly if SKIPPED_IN_A_ROW of its NEWEST ticks were skipped in a row, and not all of the last
# FIRED_AGAIN fired. The first MOST_OVERLAPPING schedules by name are checked.
NEWEST, SKIPPED_IN_A_ROW, FIRED_AGAIN, MOST_OVERLAPPING = 10, 3, 2, 500


@dataclass(frozen=True, slots=True)
class Overdue:
    """The schedules that nobody fires.

    `schedules` are those with a tick that has been due for OVERDUE_SECONDS, MOST_OVERDUE at most of those that can fire
    and of those that cannot; these are counted in refused, too. `oldest_seconds` is how long the oldest tick has been
    due; workers are those that live and fire schedules.
    """

    schedules: int = 0
    oldest_seconds: float = 0.0
    workers: int = 0
    refused: int = 0


@dataclass(frozen=True, slots=True)
class Failures:
    """How many of the last jobs of some schedules failed permanently, one after the other: COUNTED at most.

    `last` is the name behind which to continue; None if these were the last schedules.
    """

    in_a_row: dict[str, int]
    last: str | None


def unfired(conn: Connection, name: str, *, retention_days: int, queues: Sequence[str] | None = None) -> Unfired:
    """Return what is known of why the schedule does not fire just now. Raises: ScheduleNotFound."""
    found = rows(conn, "explain_schedule", name=name, queues=None if queues is None else array(queues))
    if not found:
        raise ScheduleNotFound(name)
    [row] = found
    return Unfired(
        schedule_of(row),
        now=utc(row["now"]),
        looked_for=utc(row["look_at"]),
        live_job=row["live_job"],
        workers=row["workers"],
        keep=timedelta(days=retention_days),
    )


def overdue(conn: Connection) -> Overdue:
    """Return how many schedules have ticks that are due and that nobody has decided, and since when."""
    [row] = rows(conn, "overdue_schedules", due_for=OVERDUE_SECONDS, limit=MOST_OVERDUE)
    return Overdue(row["schedules"], row["oldest_seconds"], row["workers"], row["refused"])


def failures(conn: Connection, after: str | None = None) -> Failures:
    """Return for the next LOOKED_AT schedules after this name how many of their last jobs in a row have failed.

    Jobs that are live or were deleted are skipped.
    """
    found = rows(conn, "failures_in_a_row", after_name=after, limit=LOOKED_AT, count=COUNTED, most=LOOKED_BACK)
    in_a_row = {row["name"]: row["failures"] for row in found}
    return Failures(in_a_row, found[-1]["name"] if len(found) == LOOKED_AT else None)


@dataclass(frozen=True, slots=True)
class Skips:
    """A schedule that skips ticks repeatedly because its previous run is still going, and how many of its last ticks.

    `is_of_file`: it comes from schedules.toml.
    """

    name: str
    skipped: int
    ticks: int
    is_of_file: bool = False


def newest_outcomes(conn: Connection, names: Sequence[str]) -> dict[str, Sequence[str]]:
    """Return what became of the NEWEST ticks of each of these schedules, newest first. One without ticks is absent."""
    found = rows(conn, "newest_outcomes", names=array(names), most=NEWEST, since_change=False)
    return {row["name"]: row["outcomes"] for row in found}


def skipping(conn: Connection, *, queues: Sequence[str] | None = None) -> tuple[list[Skips], bool]:
    """Return the schedules that skip repeatedly since they were last changed or resumed, and whether all were checked.

    `queues` are those that the caller may see; None: every queue.
    """
    shown = None if queues is None else array(queues)
    found = rows(
        conn, "outcomes_of_overlapping", queues=shown, limit=MOST_OVERLAPPING + 1, most=NEWEST, since_change=True
    )
    skips = [_skips(row["name"], row["outcomes"] or (), is_of_file=row["source"] == "file") for row in found]
    return [each for each in skips[:MOST_OVERLAPPING] if each], len(found) <= MOST_OVERLAPPING


def _skips(name: str, outcomes: Sequence[str], *, is_of_file: bool) -> Skips | None:
    """Return how often a schedule skipped since its last pause; None if not repeatedly. Newest first."""
    since = list(takewhile(lambda outcome: outcome != TickOutcome.SKIPPED_PAUSED, outcomes))
    runs = [len(list(run)) for outcome, run in groupby(since) if outcome == TickOutcome.SKIPPED_OVERLAP]
    if max(runs, default=0) < SKIPPED_IN_A_ROW or since[:FIRED_AGAIN] == [TickOutcome.FIRED] * FIRED_AGAIN:
        return None
    return Skips(name, sum(runs), len(since), is_of_file)


class FailureRounds:
    """The schedules whose last jobs failed one after the other. All are looked at in rounds, some at a time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        # What the last whole round found, None before that, and what this one has so far.
        self._before: dict[str, int] | None = None
        self._round: dict[str, int] = {}
        self._after: str | None = None

    def look(self, conn: Connection, looks: int = 1) -> None:
        """Look at the next LOOKED_AT ones this many times, or up to the last by name. Raises: DatabaseUnavailable."""
        with self._lock:
            for _ in range(looks):
                found = failures(conn, self._after)
                self._round = {**self._round, **found.in_a_row}
                self._after = found.last
                if found.last is None:
                    self._before, self._round = self._round, {}
                    return

    @property
    def known(self) -> dict[str, int]:
        """Return how many of the last jobs of each schedule failed, as far as it was looked at."""
        return {**(self._before or {}), **self._round}

    @property
    def is_whole(self) -> bool:
        """Return whether each schedule was looked at since this began."""
        return self._before is not None
