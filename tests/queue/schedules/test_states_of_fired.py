"""The states of jobs that ticks have enqueued: it ..."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

from psycopg2.extensions import connection as Connection

from haulier.domain.claim import Fence, Settlement
from haulier.domain.job import JobStatus
from haulier.domain.outcome import Outcome
from haulier.queue import claims
from haulier.queue import jobs as job_acts
from haulier.queue.schedules.schedules import LOOKED_BACK, Tick, last_ticks, list_ticks, states_of_fired
from tests import queueing
from tests.queue.plans import explain
from tests.queue.schedules.schedules import Sql, plant

FIRE = "SELECT haulier.fire_ticks(ARRAY['nightly'], ARRAY[now() + make_interval(secs => %s)], ARRAY['fired'])"


def fired(conn: Connection, sql: Sql, times: int) -> list[Tick]:
    """Return ticks that have fired, the newest first."""
    for seconds in range(times):
        sql(FIRE, seconds)
    return list_ticks(conn, "nightly")[0]


def run(conn: Connection, outcome: Outcome, jobs: int) -> list[UUID]:
    """End this many jobs with the outcome, and return their ids."""
    worker = claims.register(conn, host="dock", pid=7, threads=8, queues=(), lease_seconds=60)
    claimed = queueing.claim(conn, worker_id=worker, claim_id=uuid4(), queues=(), limit=jobs)
    claims.settle(conn, [Settlement(Fence.of(job), outcome) for job in claimed])
    return [job.id for job in claimed]


def test_has_live_and_ended_jobs_and_none_that_is_gone(conn: Connection, sql: Sql) -> None:
    plant(sql, every_seconds=3600)
    ticks = fired(conn, sql, 4)
    [done] = run(conn, Outcome.complete(), 1)
    [failed, deleted] = run(conn, Outcome.fail_for_good("no luck"), 2)
    job_acts.delete(conn, deleted)
    [waiting] = {tick.job_id for tick in ticks} - {done, failed, deleted}

    found = states_of_fired(conn, ticks)

    assert found == {
        done: JobStatus.SUCCEEDED,
        failed: JobStatus.FAILED_PERMANENT,
        waiting: JobStatus.QUEUED,
    }


def test_has_no_job_in_a_queue_that_may_not_be_seen(conn: Connection, sql: Sql) -> None:
    plant(sql, every_seconds=3600)
    ticks = fired(conn, sql, 2)
    run(conn, Outcome.complete(), 1)

    assert states_of_fired(conn, ticks, queues=["mail"]) == {}
    assert len(states_of_fired(conn, ticks, queues=["default", "mail"])) == 2


def test_looks_at_no_partition_of_before_the_tick(conn: Connection) -> None:
    # There are partitions of today and of the next seven days.
    sent = {"ids": [uuid4()], "ats": [datetime.now(UTC) + timedelta(days=5)], "queues": None}

    _, nodes = explain(conn, "states_of_fired", sent)

    loops = [node["Actual Loops"] for node in nodes if "finished_job_" in node.get("Relation Name", "")]
    assert len(loops) >= 8
    assert 3 <= len([each for each in loops if each]) <= 5


def test_finds_the_last_fired_tick_behind_skipped_ones(conn: Connection, sql: Sql) -> None:
    plant(sql, every_seconds=3600)
    plant(sql, "never", every_seconds=3600)
    none = last_ticks(conn, ["nightly", "never", "absent"])
    [tick] = fired(conn, sql, 1)
    at_once = last_ticks(conn, ["nightly"])
    pass_by = (
        "INSERT INTO haulier.tick (schedule, schedule_id, scheduled_at, outcome)"
        " SELECT name, id, now() + make_interval(hours => n), 'skipped_paused'"
        " FROM haulier.schedule CROSS JOIN generate_series(%s, %s) AS n WHERE name = 'nightly'"
    )
    sql(pass_by, 1, LOOKED_BACK - 1)
    last = last_ticks(conn, ["nightly", "never"])
    sql(pass_by, LOOKED_BACK, LOOKED_BACK)
    beyond = last_ticks(conn, ["nightly"])

    assert none == {}
    assert (at_once["nightly"].tick, at_once["nightly"].fired) == (tick, tick)
    assert last.keys() == {"nightly"}
    assert (last["nightly"].tick.outcome, last["nightly"].fired) == ("skipped_paused", tick)
    assert beyond["nightly"].fired is None


def test_reads_one_tick_if_the_last_one_fired(conn: Connection, sql: Sql) -> None:
    plant(sql, every_seconds=3600)
    sql(
        "INSERT INTO haulier.tick (schedule, schedule_id, scheduled_at, outcome)"
        " SELECT name, id, now() - make_interval(secs => n), 'skipped_paused'"
        " FROM haulier.schedule CROSS JOIN generate_series(1, 20000) AS n"
    )
    fired(conn, sql, 1)
    sql("ANALYZE haulier.tick")

    _, nodes = explain(conn, "last_ticks", {"names": ["nightly"], "most": LOOKED_BACK})

    assert [node["Actual Rows"] for node in nodes if node.get("Relation Name") == "tick"] == [1, 1]
