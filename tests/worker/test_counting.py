"""The numbers, as worker processes count them. They ..."""

from __future__ import annotations

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


def test_are_not_counted_where_that_is_turned_off(spawn_worker, enqueue, finished, sql):
    process = spawn_worker(COUNTING="off")

    finished(enqueue("t.note"))

    process.terminate()
    assert process.wait() == 0
    assert sql("SELECT count(*) FROM haulier.counting") == [(0,)]
