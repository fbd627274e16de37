"""How schedules are: why one does not fire, what is overdue, whose jobs fail, and what is corrected. It ..."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest
from psycopg2.extensions import connection as Connection

from haulier.domain.claim import Fence, Settlement
from haulier.domain.errors import ScheduleNotFound
from haulier.domain.job import JobStatus
from haulier.domain.outcome import Outcome
from haulier.queue import claims, jobs
from haulier.queue import jobs as job_acts
from haulier.queue.schedules import recompute, schedules
from haulier.queue.schedules.fire import fire_due
from haulier.queue.schedules.schedule_health import (
    COUNTED,
    LOOKED_AT,
    Overdue,
    Skips,
    failures,
    newest_outcomes,
    overdue,
    skipping,
    unfired,
)
from haulier.queue.schedules.schedules import LOOKED_BACK, Tick, last_ticks, list_ticks, states_of_fired
from tests import queueing
from tests.conftest import sql_on
from tests.queue.plans import buffers, explain
from tests.queue.schedules.schedules import Sql, plant

DUE_IN_A_MINUTE = {"seconds_ago": 60, "every_seconds": 120}


def fire(conn: Connection) -> int:
    return fire_due(conn, retention_days=30).fired


def codes(conn: Connection, name: str = "nightly") -> list[str]:
    return [reason.code for reason in unfired(conn, name, retention_days=30).reasons()]


def worker(conn: Connection, *, is_introduced: bool = True) -> None:
    """Register a worker, which then stores its version and kinds or not."""
    worker_id = claims.register(conn, host="dock", pid=7, threads=8, queues=(), lease_seconds=60)
    if is_introduced:
        claims.introduce(conn, worker_id, kinds=["mail"])


# Why one does not fire


def test_explains_by_the_facts_of_firing(conn, sql, time):
    plant(sql, overlap="queue_one", **DUE_IN_A_MINUTE)
    worker(conn)
    fire(conn)
    before = codes(conn)
    schedules.pause_schedule(conn, "nightly")
    paused = codes(conn)
    schedules.resume_schedule(conn, "nightly")
    time("now() + interval '61 seconds'")
    due = codes(conn)
    fired = fire(conn), codes(conn)
    time("now() + interval '181 seconds'")
    fire(conn)
    waits = unfired(conn, "nightly", retention_days=30).reasons()
    [(live,)] = sql("SELECT id FROM haulier.job")
    jobs.cancel(conn, live)
    is_free = codes(conn)

    assert (before, paused, due) == (["not_due"], ["not_due", "paused"], [])
    assert fired == (1, ["not_due", "overlap"])
    assert [(reason.code, reason.link) for reason in waits] == [("not_due", None), ("overlap", f"/jobs/{live}")]
    assert is_free == ["not_due"]
    time("now() + interval '183 seconds'")
    assert fire(conn) == 1


@pytest.mark.parametrize("is_introduced", [False, True])
def test_says_that_no_worker_fires_it_until_one_runs(conn, sql, is_introduced):
    plant(sql, seconds_ago=3)
    sql("UPDATE haulier.schedule SET next_at = look_at RETURNING 1")

    before = codes(conn), overdue(conn).workers
    worker(conn, is_introduced=is_introduced)

    assert before == (["no_worker"], 0)
    assert (codes(conn), overdue(conn).workers) == ([], 1)


def test_knows_no_schedule_that_is_absent_or_in_no_queue_of_the_caller(conn, sql):
    plant(sql, job={"kind": "mail", "payload": {}, "queue": "bulk"})

    assert unfired(conn, "nightly", retention_days=30, queues=["bulk"]).schedule.name == "nightly"
    for name, queues in (("nightly", ["mail"]), ("other", None)):
        with pytest.raises(ScheduleNotFound):
            unfired(conn, name, retention_days=30, queues=queues)


# What is overdue


def test_counts_what_is_due_and_undecided(conn, sql, time):
    for name in ("a", "b", "c"):
        plant(sql, name, **DUE_IN_A_MINUTE)
    plant(sql, "passes", **DUE_IN_A_MINUTE)
    fire(conn)
    schedules.pause_schedule(conn, "passes")
    at_first = overdue(conn)
    [(oldest,)] = sql("SELECT min(next_at) FROM haulier.schedule WHERE name <> 'passes'")
    time(f"'{oldest}'::timestamptz + interval '90 seconds'")

    found = overdue(conn)
    fire(conn)

    assert at_first == Overdue()
    assert (found.schedules, found.workers, found.oldest_seconds) == (3, 0, 90)
    assert overdue(conn) == Overdue()


def test_counts_no_tick_that_waits_for_its_jitter_or_just_came(conn, sql, time):
    plant(sql, jitter_seconds=60, **DUE_IN_A_MINUTE)
    fire(conn)
    sql("UPDATE haulier.schedule SET look_at = next_at + interval '40 seconds' RETURNING 1")

    def at(seconds: float) -> Overdue:
        time(f"(SELECT next_at + interval '{seconds} seconds' FROM haulier.schedule)")
        return overdue(conn)

    assert [(each.schedules, round(each.oldest_seconds)) for each in (at(39), at(45), at(55))] == [
        (0, 0),
        (0, 5),
        (1, 15),
    ]


# Whose jobs fail


def run_all(conn: Connection, outcomes: list[Outcome | None], name: str = "nightly") -> None:
    """Fire one tick per outcome, and let its job end with it; None: the job stays live."""
    worker_id = claims.register(conn, host="dock", pid=7, threads=1, queues=(), lease_seconds=60)
    for number, outcome in enumerate(outcomes):
        sql_on(conn)(
            "SELECT haulier.fire_ticks(ARRAY[%s], ARRAY[now() + make_interval(secs => %s)], '{fired}')", name, number
        )
        if outcome is not None:
            [job] = queueing.claim(conn, worker_id=worker_id, claim_id=uuid4(), queues=())
            claims.settle(conn, [Settlement(Fence.of(job), outcome)], worker_name="dock:7")


FAILS, SUCCEEDS = Outcome.fail_for_good("no luck"), Outcome.complete()
# The failures in a row that these outcomes come to. The last schedule's jobs of None stay live.
COUNTS: dict[str, tuple[list[Outcome | None], int]] = {
    "none": ([], 0),
    "two": ([FAILS, FAILS], 2),
    "since-a-success": ([SUCCEEDS, FAILS, FAILS, FAILS], 3),
    "before-a-success": ([FAILS, FAILS, FAILS, SUCCEEDS], 0),
    "around-a-success": ([FAILS, FAILS, SUCCEEDS, FAILS], 1),
    "many": ([FAILS] * 7, COUNTED),
    "before-live-ones": ([FAILS, FAILS, FAILS, None, None], 3),
}


def test_counts_the_failures_since_the_last_success(conn, sql):
    for name, (outcomes, _) in COUNTS.items():
        plant(sql, name, every_seconds=3600)
        run_all(conn, outcomes, name)

    assert failures(conn).in_a_row == {name: expected for name, (_, expected) in COUNTS.items()}


def test_goes_on_behind_the_last_schedule_that_it_looked_at(conn, sql):
    for number in range(LOOKED_AT + 3):
        plant(sql, f"s{number:03}")

    first = failures(conn)
    second = failures(conn, first.last)

    assert (len(first.in_a_row), first.last) == (LOOKED_AT, f"s{LOOKED_AT - 1:03}")
    assert (len(second.in_a_row), second.last) == (3, None)


def test_reads_only_the_last_ticks_however_many_there_are(conn, sql):
    plant(sql, every_seconds=3600)
    run_all(conn, [FAILS] * 6)
    sql(
        "INSERT INTO haulier.tick (schedule, schedule_id, scheduled_at, outcome)"
        " SELECT name, id, now() - make_interval(secs => n), 'skipped_paused'"
        " FROM haulier.schedule CROSS JOIN generate_series(1, 20000) AS n"
    )
    sql("ANALYZE haulier.tick")

    for name, parameters, read in (
        ("failures_in_a_row", {"limit": 50, "count": 5, "most": 500}, [COUNTED]),
        ("last_ticks", {"names": ["nightly"], "most": LOOKED_BACK}, [1, 1]),
    ):
        _, nodes = explain(conn, name, parameters)
        assert [node["Actual Rows"] for node in nodes if node.get("Relation Name") == "tick"] == read
        assert buffers(nodes) < 200


# --- Jobs of ticks


FIRE = "SELECT haulier.fire_ticks(ARRAY['nightly'], ARRAY[now() + make_interval(secs => %s)], ARRAY['fired'])"


def fired(conn: Connection, sql: Sql, times: int) -> list[Tick]:
    for seconds in range(times):
        sql(FIRE, seconds)
    return list_ticks(conn, "nightly")[0]


def run(conn: Connection, outcome: Outcome, jobs: int) -> list[UUID]:
    worker = claims.register(conn, host="dock", pid=7, threads=8, queues=(), lease_seconds=60)
    claimed = queueing.claim(conn, worker_id=worker, claim_id=uuid4(), queues=(), limit=jobs)
    claims.settle(conn, [Settlement(Fence.of(job), outcome) for job in claimed])
    return [job.id for job in claimed]


def test_has_live_and_ended_jobs_and_none_that_is_gone(conn, sql):
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
    assert states_of_fired(conn, ticks, queues=["mail"]) == {}
    assert states_of_fired(conn, ticks, queues=["default", "mail"]) == found


def test_looks_at_no_partition_of_before_the_tick(conn):
    # There are partitions of today and of the next seven days.
    sent = {"ids": [uuid4()], "ats": [datetime.now(UTC) + timedelta(days=5)], "queues": None}

    _, nodes = explain(conn, "states_of_fired", sent)

    loops = [node["Actual Loops"] for node in nodes if "finished_job_" in node.get("Relation Name", "")]
    assert len(loops) >= 8
    assert 3 <= len([each for each in loops if each]) <= 5


def test_finds_the_last_fired_tick_behind_skipped_ones(conn, sql):
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


# --- Corrections


def test_corrects_what_a_release_of_the_zones_has_moved(conn, sql):
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


def test_goes_through_all_of_them_and_names_those_that_it_cannot_compute(conn, sql, monkeypatch):
    monkeypatch.setattr(recompute, "AT_ONCE", 2)
    for number in range(5):
        plant(sql, f"s{number}", cron="@daily", **({"time_zone": "Mars/Olympus"} if number in (2, 3) else {}))

    done = recompute.recompute(conn)

    assert done.corrected == ["s0", "s1", "s4"]
    assert done.failed == dict.fromkeys(
        ("s2", "s3"), "time_zone: Must be the name of a time zone, such as Europe/Berlin."
    )


def test_waits_for_nobody_who_has_a_schedule(holding, conn, sql):
    plant(sql, "held", cron="@daily")
    plant(sql, "other", cron="@daily")

    with holding("SELECT FROM haulier.schedule WHERE name = 'held' FOR UPDATE"):
        assert recompute.recompute(conn).corrected == ["other"]


# Which skip repeatedly


TICKS = """
    INSERT INTO haulier.tick (schedule, schedule_id, scheduled_at, outcome, decided_at, fired_at, job_id)
    SELECT name, id, at, outcome, at, CASE outcome WHEN 'fired' THEN at END,
        CASE outcome WHEN 'fired' THEN gen_random_uuid() END
    FROM haulier.schedule
    CROSS JOIN unnest(%s::text[]) WITH ORDINALITY AS ticks (outcome, place)
    CROSS JOIN LATERAL (SELECT now() - make_interval(mins => place::integer) AS at) AS minute
    WHERE name = %s
    RETURNING 1
"""
LETTERS = {"f": "fired", "s": "skipped_overlap", "m": "skipped_missed", "p": "skipped_paused"}


def ticked(sql: Sql, newest_first: str, name: str) -> None:
    plant(sql, name, overlap="skip", seconds_ago=3600)
    sql("UPDATE haulier.schedule SET updated_at = now() - interval '1 day' WHERE name = %s RETURNING 1", name)
    sql(TICKS, [LETTERS[letter] for letter in newest_first], name)


def test_names_the_schedules_that_skip_three_ticks_in_a_row(conn: Connection, sql: Sql) -> None:
    for name, outcomes in (
        ("a-third", "sssf"),
        ("b-second", "ssfss"),
        # A run ends in between: its next run will take as long.
        ("c-mostly", "fsssfsssf"),
        ("d-mended", "ffsssf"),
        ("e-long-ago", "sfffffffffsss"),
        ("f-missed", "mmmmf"),
        ("g-resumed", "spsss"),
        ("h-changed", "sssf"),
        ("i-paused", "sssf"),
        ("j-allows", "sssf"),
    ):
        ticked(sql, outcomes, name)
    sql("UPDATE haulier.schedule SET updated_at = now() WHERE name = 'h-changed' RETURNING 1")
    schedules.pause_schedule(conn, "i-paused")
    sql("UPDATE haulier.schedule SET overlap = 'allow' WHERE name = 'j-allows' RETURNING 1")

    assert skipping(conn) == ([Skips("a-third", 3, 4), Skips("c-mostly", 6, 9)], True)
    assert skipping(conn, queues=["other"]) == ([], True)
    assert newest_outcomes(conn, ["e-long-ago"]) == {"e-long-ago": ["skipped_overlap", *["fired"] * 9]}
