"""Making the history's partitions: it ..."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import pairwise

from haulier.domain.errors import DatabaseUnavailable
from haulier.queue.upkeep import partitions
from haulier.queue.upkeep.partitions import days_ahead, ensure_partitions
from tests.queue.upkeep.losses import a_hole_where_today_was
from tests.rivals import at_the_same_moment, connected


def test_migrate_makes_partitions_days_ahead_without_a_gap(archive):
    bounds = archive.bounds()

    assert all(upper == lower for (_, upper), (lower, _) in pairwise(bounds))
    assert all(upper - lower == timedelta(days=1) and lower.hour == 0 for lower, upper in bounds)
    assert bounds[0][0] <= datetime.now(UTC)
    assert bounds[-1][1] - datetime.now(UTC) >= timedelta(days=partitions.DAYS_AHEAD)
    assert 7 <= days_ahead(archive.conn) <= 8
    assert ensure_partitions(archive.conn, retention_days=30) == []


def test_a_partition_is_so_long_that_about_sixty_hold_the_history():
    steps = {1: "day", 30: "day", 31: "day", 32: "week", 370: "week", 371: "month", 3650: "month"}

    assert {days: partitions.step(days) for days in steps} == steps


def test_makes_longer_partitions_for_a_longer_retention(archive):
    for retention_days, longest in ((90, timedelta(days=7)), (400, timedelta(days=31))):
        archive.remove_partitions()
        ensure_partitions(archive.conn, retention_days=retention_days)

        bounds = archive.bounds()
        assert all(upper == lower for (_, upper), (lower, _) in pairwise(bounds))
        assert bounds[0][0] <= datetime.now(UTC)
        assert bounds[-1][1] - datetime.now(UTC) >= timedelta(days=partitions.DAYS_AHEAD)
        assert all(timedelta(0) < upper - lower <= longest for lower, upper in bounds)
        assert len(bounds) <= 3


def test_goes_on_from_days_to_weeks_if_the_retention_grows(archive):
    before = archive.bounds()
    for name in archive.partitions()[-3:]:
        archive.sql(f"DROP TABLE haulier.{name}")

    ensure_partitions(archive.conn, retention_days=90)

    bounds = archive.bounds()
    assert bounds[: len(before) - 3] == before[:-3]
    assert all(upper == lower for (_, upper), (lower, _) in pairwise(bounds))
    assert bounds[-1][1].weekday() == 0


def test_fills_a_hole_up_to_the_next_partition_whatever_the_step(archive):
    before = archive.bounds()
    a_hole_where_today_was(archive)

    ensure_partitions(archive.conn, retention_days=90)

    assert archive.bounds() == before


def test_several_make_them_at_once_and_each_is_made_once(archive):
    archive.remove_partitions()

    made = at_the_same_moment(*[connected(archive.url, partial(ensure_partitions, retention_days=30))] * 5)

    bounds = archive.bounds()
    # One whose patience ran out leaves the work to the others.
    done = [each for each in made if not isinstance(each, DatabaseUnavailable)]
    assert done
    assert sorted(name for names in done for name in names) == archive.partitions()
    assert all(upper == lower for (_, upper), (lower, _) in pairwise(bounds))
