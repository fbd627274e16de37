"""Ways in which a history loses the partition for now."""

from __future__ import annotations

import pytest

from tests.queue.upkeep.archive import Archive


def no_partition(archive: Archive) -> None:
    archive.remove_partitions()


def bound_moved_to_now(archive: Archive) -> None:
    archive.remove_partitions()
    archive.sql(
        "DO $$ BEGIN EXECUTE format('CREATE TABLE haulier.finished_job_moved PARTITION OF haulier.finished_job"
        " FOR VALUES FROM (%L) TO (%L)', now() - interval '1 day', now()); END $$"
    )


def detached_and_kept(archive: Archive) -> None:
    archive.remove_partitions(keep=True)


def a_hole_where_today_was(archive: Archive) -> None:
    today = archive.partitions()[0]
    archive.sql(f"ALTER TABLE haulier.finished_job DETACH PARTITION haulier.{today}")


def a_hole_at_todays_rest(archive: Archive) -> None:
    a_hole_where_today_was(archive)
    archive.sql(
        "DO $$ BEGIN EXECUTE format('CREATE TABLE haulier.finished_job_moved PARTITION OF haulier.finished_job"
        " FOR VALUES FROM (%L) TO (%L)', now() - interval '9 days', now()); END $$"
    )


every_loss = pytest.mark.parametrize(
    "lose", [no_partition, bound_moved_to_now, detached_and_kept, a_hole_where_today_was, a_hole_at_todays_rest]
)
