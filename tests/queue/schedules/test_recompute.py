"""Correcting when schedules are due next: it ..."""

from __future__ import annotations

from contextlib import closing

from psycopg2.extensions import connection as Connection

from haulier.postgres.connection import connect
from haulier.queue.schedules import recompute
from haulier.queue.schedules.fire import fire_due
from tests.conftest import Sql, sql_on
from tests.queue.schedules.schedules import plant


def test_corrects_what_a_release_of_the_zones_has_moved(conn: Connection, sql: Sql) -> None:
    for name in ("earlier", "later", "right"):
        plant(sql, name, cron="@daily", time_zone="Europe/Berlin", jitter_seconds=60)
    fire_due(conn, retention_days=30)
    due = dict(sql("SELECT name, (next_at, look_at)::text FROM haulier.schedule"))
    sql(
        "UPDATE haulier.schedule SET next_at = next_at + interval '1 day', look_at = '9000-01-01'"
        " WHERE name = 'later' RETURNING 1"
    )
    sql("UPDATE haulier.schedule SET next_at = next_at - interval '1 hour' WHERE name = 'earlier' RETURNING 1")

    done = recompute.recompute(conn)

    assert (sorted(done.corrected), done.failed) == (["earlier", "later"], {})
    found = dict(sql("SELECT name, (next_at, look_at)::text FROM haulier.schedule"))
    assert {name: found[name] for name in ("earlier", "right")} == {name: due[name] for name in ("earlier", "right")}
    # At the tick with its jitter.
    assert sql(
        "SELECT look_at BETWEEN next_at AND next_at + interval '60 s' FROM haulier.schedule WHERE name = 'later'"
    ) == [(True,)]
    assert recompute.recompute(conn).corrected == []


def test_goes_through_all_of_them_and_names_those_that_it_cannot_compute(
    conn: Connection, sql: Sql, monkeypatch
) -> None:
    monkeypatch.setattr(recompute, "AT_ONCE", 2)
    for number in range(5):
        plant(sql, f"s{number}", cron="@daily", **({"time_zone": "Mars/Olympus"} if number in (2, 3) else {}))

    done = recompute.recompute(conn)

    assert done.corrected == ["s0", "s1", "s4"]
    assert done.failed == dict.fromkeys(("s2", "s3"), "time_zone: Not the name of a time zone, such as Europe/Berlin.")


def test_waits_for_nobody_who_has_a_schedule(database: str, conn: Connection, sql: Sql) -> None:
    plant(sql, "held", cron="@daily")
    plant(sql, "other", cron="@daily")
    with closing(connect(database)) as holder:
        sql_on(holder)("BEGIN")
        sql_on(holder)("SELECT FROM haulier.schedule WHERE name = 'held' FOR UPDATE")
        done = recompute.recompute(conn)
        sql_on(holder)("ROLLBACK")

    assert done.corrected == ["other"]
