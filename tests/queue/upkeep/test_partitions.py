"""Making the history's partitions: it ..."""

from __future__ import annotations

import threading
from contextlib import closing
from datetime import UTC, datetime, timedelta

import pytest

from haulier.domain.errors import DatabaseUnavailable
from haulier.postgres.connection import connect
from haulier.queue.upkeep import partitions
from haulier.queue.upkeep.partitions import days_ahead, ensure_partitions
from tests.conftest import PATIENCE
from tests.queue.upkeep.losses import a_hole_where_today_was


def test_migrate_makes_partitions_days_ahead_without_a_gap(archive):
    bounds = archive.bounds()

    assert all(upper == lower for (_, upper), (lower, _) in zip(bounds, bounds[1:], strict=False))
    assert all(upper - lower == timedelta(days=1) and lower.hour == 0 for lower, upper in bounds)
    assert bounds[0][0] <= datetime.now(UTC)
    assert bounds[-1][1] - datetime.now(UTC) >= timedelta(days=partitions.DAYS_AHEAD)
    assert 7 <= days_ahead(archive.conn) <= 8


def test_makes_nothing_where_history_reaches_far_enough(archive):
    made = ensure_partitions(archive.conn, retention_days=30)

    assert made == []


@pytest.mark.parametrize(
    ("retention_days", "step"),
    [(1, "day"), (30, "day"), (31, "day"), (32, "week"), (370, "week"), (371, "month"), (3650, "month")],
)
def test_a_partition_is_so_long_that_about_sixty_hold_the_history(retention_days, step):
    assert partitions.step(retention_days) == step


@pytest.mark.parametrize(("retention_days", "longest"), [(90, timedelta(days=7)), (400, timedelta(days=31))])
def test_makes_longer_partitions_for_a_longer_retention(archive, retention_days, longest):
    archive.remove_partitions()

    ensure_partitions(archive.conn, retention_days=retention_days)

    bounds = archive.bounds()
    assert all(upper == lower for (_, upper), (lower, _) in zip(bounds, bounds[1:], strict=False))
    assert bounds[0][0] <= datetime.now(UTC)
    assert bounds[-1][1] - datetime.now(UTC) >= timedelta(days=partitions.DAYS_AHEAD)
    assert all(timedelta(0) < upper - lower <= longest for lower, upper in bounds)
    assert len(bounds) <= 3


def test_goes_on_from_days_to_weeks_where_the_retention_grows(archive):
    before = archive.bounds()
    for name in archive.partitions()[-3:]:
        archive.sql(f"DROP TABLE haulier.{name}")

    ensure_partitions(archive.conn, retention_days=90)

    bounds = archive.bounds()
    assert bounds[: len(before) - 3] == before[:-3]
    assert all(upper == lower for (_, upper), (lower, _) in zip(bounds, bounds[1:], strict=False))
    assert bounds[-1][1].weekday() == 0


def test_fills_a_hole_up_to_the_next_partition_whatever_the_step(archive):
    before = archive.bounds()
    a_hole_where_today_was(archive)

    ensure_partitions(archive.conn, retention_days=90)

    assert archive.bounds() == before


def test_several_make_them_at_once_and_each_is_made_once(archive):
    archive.remove_partitions()
    barrier, made, errors = threading.Barrier(5), [], []

    def make() -> None:
        with closing(connect(archive.url)) as mine:
            barrier.wait(PATIENCE)
            try:
                made.extend(ensure_partitions(mine, retention_days=30))
            except DatabaseUnavailable as error:  # patience ran out: allowed, the others do the work
                errors.append(error)

    threads = [threading.Thread(target=make) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)

    bounds = archive.bounds()
    assert len(errors) < 5
    assert sorted(made) == archive.partitions()
    assert all(upper == lower for (_, upper), (lower, _) in zip(bounds, bounds[1:], strict=False))
