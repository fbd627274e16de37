"""The numbers, as worker processes count them. They ..."""

from __future__ import annotations

import threading
import time
from contextlib import closing

import pytest

from haulier.postgres.connection import connect
from haulier.postgres.pool import Database
from haulier.postgres.statements import Connection
from haulier.queue.numbers import counts, depths
from haulier.worker.link.outage import Outage
from haulier.worker.steps.count import Counting
from haulier.worker.threads import housekeeper
from tests.conftest import eventually
from tests.queue.upkeep.histories import in_numbers

WHO = "SELECT counted_by FROM haulier.counting WHERE counted_until > now()"
COUNTED = "SELECT sum(arrived), sum(succeeded) FROM haulier.rollup"
# A span ends up to 15 s after the jobs; a machine that others use takes as long again.
WITHIN = 40.0


def test_are_counted_while_jobs_run_and_what_no_longer_lives_is_forgotten(spawn_worker, enqueue, sql, conn):
    for _ in range(20):
        enqueue("t.note")
    process = spawn_worker()

    eventually(lambda: sql(COUNTED) == [(20, 20)], within=WITHIN)
    eventually(lambda: sql("SELECT count(*) FROM haulier.depth") == [(0,)], within=WITHIN)
    assert in_numbers(conn) == {("default", "t.note", 20, 20, 0, 0, 20)}
    assert "could not be counted" not in process.log
    process.terminate()
    assert process.wait() == 0
    assert sql(WHO) == []


@pytest.mark.slow
def test_are_counted_by_another_process_when_the_first_is_killed(spawn_worker, enqueue, sql, conn):
    first = spawn_worker()
    [(counter,)] = eventually(lambda: sql(WHO), within=WITHIN)
    spawn_worker()

    first.kill()
    enqueue("t.note")
    # As if its turn had ended by time.
    sql("UPDATE haulier.counting SET counted_until = now()")

    eventually(lambda: sql(WHO) not in ([], [(counter,)]), within=WITHIN)
    eventually(lambda: sql(COUNTED) == [(1, 1)], within=WITHIN)


def test_are_not_counted_if_that_is_turned_off(spawn_worker, enqueue, finished, sql):
    process = spawn_worker(COUNTING="off")

    finished(enqueue("t.note"))

    process.terminate()
    assert process.wait() == 0
    assert sql("SELECT count(*) FROM haulier.counting") == [(0,)]


def test_of_live_jobs_that_cannot_be_read_in_time_are_not_tried_again_at_once(database, config, sql, monkeypatch):
    with closing(connect(database)) as other, other.cursor() as cursor, closing(Database(database)) as own:
        counting = Counting(own, Outage(threading.Event(), threads=1), config.retention_days)
        begun = counting.turn()
        tried: list[float] = []
        count_live = depths.count_live

        def trying(conn: Connection) -> None:
            tried.append(time.monotonic())
            count_live(conn)

        monkeypatch.setattr(depths, "count_live", trying)
        monkeypatch.setattr(counts, "LIVE_SECONDS", 0.5)
        cursor.execute("BEGIN; LOCK TABLE haulier.depth IN ACCESS EXCLUSIVE MODE")
        while not tried:
            counting.turn()
        for _ in range(3):
            counting.turn()
        cursor.execute("ROLLBACK")

    assert begun > 0
    assert len(tried) == 1
    assert sql("SELECT depth_at FROM haulier.counting") == [(None,)]


def test_begin_when_the_process_has_had_time_to_run_jobs(database, config, sql, monkeypatch):
    monkeypatch.setattr(housekeeper, "COUNT_AFTER_SECONDS", 1.0)
    closed, outage = threading.Event(), Outage(threading.Event(), threads=1)
    with closing(Database(database)) as own:
        counting = Counting(own, outage, config.retention_days)
        began_at = time.monotonic()
        thread = housekeeper.Housekeeper(config=config, database=own, outage=outage, closing=closed, counting=counting)
        thread.start()
        try:
            eventually(lambda: sql("SELECT count(*) FROM haulier.counting") == [(1,)], within=WITHIN)
            waited = time.monotonic() - began_at
        finally:
            closed.set()
            thread.join(WITHIN)

    assert waited >= 1.0
    assert not thread.is_alive()


def test_wait_between_the_spans_of_a_day_that_nobody_counted(database, config, sql):
    with closing(Database(database)) as own:
        counting = Counting(own, Outage(threading.Event(), threads=1), config.retention_days)
        begun, first = counting.turn(), counting.turn()

    assert sql("SELECT through < now() - interval '1 hour' FROM haulier.counting") == [(True,)]
    assert begun > 0
    assert 0 < first < 5
