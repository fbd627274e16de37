"""The numbers, as worker processes count them. They ..."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing

import pytest

from haulier.postgres.connection import connect
from haulier.postgres.pool import Database
from haulier.postgres.statements import Connection
from haulier.queue.numbers import counts, depths
from haulier.queue.upkeep import purge
from haulier.worker.link.outage import Outage
from haulier.worker.steps.count import Counting
from haulier.worker.threads import housekeeper
from haulier.worker.threads.housekeeper import Housekeeper
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
    assert "counting failed" not in process.log
    process.terminate()
    assert process.wait() == 0
    assert sql(WHO) == []


@pytest.fixture
def own(database) -> Iterator[Database]:
    with closing(Database(database)) as own:
        yield own


@pytest.fixture
def counting(own, config) -> Counting:
    return Counting(own, Outage(threading.Event(), threads=1), config.retention_days)


@pytest.fixture
def housekeeper_of(own, config) -> Callable[..., Housekeeper]:
    """Give a function that returns a housekeeper which counts, or does not."""
    outage, closed = Outage(threading.Event(), threads=1), threading.Event()
    return lambda **more: Housekeeper(config=config, database=own, outage=outage, closing=closed, **more)


def test_are_not_counted_if_that_is_turned_off(spawn_worker, enqueue, finished, sql):
    process = spawn_worker(COUNTING="off")

    finished(enqueue("t.note"))

    process.terminate()
    assert process.wait() == 0
    assert sql("SELECT count(*) FROM haulier.counting") == [(0,)]


def test_of_live_jobs_that_cannot_be_read_in_time_are_not_tried_again_at_once(database, counting, sql, monkeypatch):
    begun = counting.turn()
    tried: list[Connection] = []
    count_live = depths.count_live
    monkeypatch.setattr(depths, "count_live", lambda conn: tried.append(conn) or count_live(conn))
    monkeypatch.setattr(counts, "LIVE_SECONDS", 0.5)
    with closing(connect(database)) as other, other.cursor() as cursor:
        cursor.execute("BEGIN; LOCK TABLE haulier.depth IN ACCESS EXCLUSIVE MODE")
        while not tried:
            counting.turn()
        for _ in range(3):
            counting.turn()

    assert begun > 0
    assert len(tried) == 1
    assert sql("SELECT depth_at FROM haulier.counting") == [(None,)]


def test_begin_when_the_process_has_had_time_to_run_jobs(counting, housekeeper_of, sql, monkeypatch):
    monkeypatch.setattr(housekeeper, "COUNT_AFTER_SECONDS", 1.0)
    began_at = time.monotonic()
    thread = housekeeper_of(counting=counting)
    thread.start()
    try:
        eventually(lambda: sql("SELECT count(*) FROM haulier.counting") == [(1,)], within=WITHIN)
        waited = time.monotonic() - began_at
    finally:
        thread.closing.set()
        thread.join(WITHIN)

    assert waited >= 1.0
    assert not thread.is_alive()


def test_wait_between_the_spans_of_a_day_that_nobody_counted(counting, sql):
    begun, first = counting.turn(), counting.turn()

    assert sql("SELECT through < now() - interval '1 hour' FROM haulier.counting") == [(True,)]
    assert begun > 0
    assert 0 < first < 5


def test_of_errors_are_tidied_on_where_the_last_turn_ended(housekeeper_of, sql, monkeypatch):
    monkeypatch.setattr(purge, "AT_ONCE", 2)
    monkeypatch.setattr(purge, "ERRORS_SECONDS", 0.0)
    sql(
        "INSERT INTO haulier.error_group (id, kind, text, example, example_job, example_queue, first_seen)"
        " SELECT id, 'mail', 'no luck', 'no luck', haulier.uuidv7(), 'default', now() - interval '99 days'"
        " FROM generate_series(1, 4) AS id"
    )
    sql(
        "INSERT INTO haulier.error_count (error_id, minute, queue, source, failed, retried)"
        " SELECT id, now(), 'default', 0, 1, 0 FROM generate_series(1, 2) AS id"
    )
    keeper, left = housekeeper_of(), []

    for _ in range(2):
        assert keeper.tidy()
        left.append([id for (id,) in sql("SELECT id FROM haulier.error_group ORDER BY id")])

    assert left == [[1, 2, 3, 4], [1, 2]]
