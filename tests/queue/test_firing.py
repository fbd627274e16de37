"""Firing: each tick has one row and at most one job, whoever fires and dies, and whatever the clock does. It ..."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import pytest
from prometheus_client import REGISTRY
from psycopg2.extensions import connection as Connection

from haulier.domain.errors import Refusal
from haulier.domain.outcome import Outcome
from haulier.postgres.connection import connect
from haulier.postgres.database import Database
from haulier.postgres.errors import translated
from haulier.postgres.statements import transaction
from haulier.queue import firing, produce
from haulier.queue.firing import Fired, any_schedule, fire_due, next_look
from haulier.queue.upkeep.purge import purge_ticks
from haulier.worker.link.outage import Outage
from haulier.worker.steps.fire import LOCKED_SECONDS, LOOK_SECONDS, Firing
from tests.conftest import PATIENCE, sql_on
from tests.queue.schedules import Sql, plant, set_time, ticks
from tests.roles import Roles

FIRED, OVERLAP, MISSED = "fired", "skipped_overlap", "skipped_missed"


def fire(conn: Connection, **options: Any) -> Fired:
    return fire_due(conn, retention_days=30, **options)


def outcomes(sql: Sql, name: str = "nightly") -> list[str]:
    return [outcome for outcome, _ in ticks(sql, name)]


@pytest.fixture
def time(sql: Sql) -> Iterator[Callable[[str], None]]:
    """Give a function that moves the time by which schedules go."""
    yield lambda expression: set_time(sql, expression)
    set_time(sql)


def test_enqueues_a_job_for_each_tick_which_knows_its_tick(conn: Connection, sql: Sql) -> None:
    job = {
        "kind": "mail",
        "payload": {"n": 1.50},
        "queue": "bulk",
        "priority": 7,
        "max_attempts": 2,
        "tags": ["a", "b"],
    }
    plant(sql, seconds_ago=60, every_seconds=20, job={**job, "timeout_seconds": 9})

    fired = fire(conn)

    assert (fired.decided, fired.fired, fired.failed) == (1, 3, {})
    jobs = produce.list_jobs(conn, produce.JobFilter()).jobs
    found = [
        (each.schedule, each.queue, each.priority, each.max_attempts, each.timeout_seconds, each.tags) for each in jobs
    ]
    assert found == [("nightly", "bulk", 7, 2, 9, ["a", "b"])] * 3
    rows = sql("SELECT scheduled_at, job_id FROM haulier.tick WHERE fired_at IS NOT NULL ORDER BY scheduled_at")
    assert {(each.scheduled_for, each.id) for each in jobs} == set(rows)
    assert sql("SELECT DISTINCT payload FROM haulier.job") == [({"n": 1.5},)]


def test_its_job_keeps_its_tick_from_claim_to_history_and_back(
    conn: Connection, sql: Sql, claim: Callable[..., Any], settle: Callable[..., Any]
) -> None:
    plant(sql, seconds_ago=20, every_seconds=20)
    fire(conn)
    [(at,)] = sql("SELECT scheduled_at FROM haulier.tick")

    job = claim()
    settle(job, Outcome.fail_for_good("no luck"))
    ended = produce.get(conn, job.id)
    again = produce.retry(conn, job.id)
    produce.cancel(conn, job.id)
    cancelled = produce.get(conn, job.id)

    assert [(each.schedule, each.scheduled_for) for each in (job, ended, again, cancelled)] == [("nightly", at)] * 4


def test_fires_nothing_twice_and_says_when_the_next_is_due(conn: Connection, sql: Sql) -> None:
    plant(sql, seconds_ago=20, every_seconds=20)
    fire(conn)

    assert fire(conn) == Fired(0, 0, {})
    assert 0 < (next_look(conn) or 0) <= 20
    assert next_look(conn, passed_over=["nightly"]) is None
    assert any_schedule(conn)


def test_two_that_fire_at_once_share_the_schedules(
    conn: Connection, sql: Sql, at_once: Callable[..., list[Any]]
) -> None:
    for number in range(30):
        plant(sql, f"s{number}", seconds_ago=4)

    done = at_once(4, lambda _, mine: fire(mine))

    assert [each for each in done if isinstance(each, Exception)] == []
    assert sum(each.fired for each in done) >= 120
    doubled = "SELECT count(*), count(DISTINCT (schedule, scheduled_for)) FROM haulier.job"
    [(jobs, distinct)] = sql(doubled)
    assert jobs == distinct == sql("SELECT count(*) FROM haulier.tick")[0][0]


def test_passes_over_what_another_decides_and_what_a_killed_one_had_decided_is_fired_once(
    conn: Connection, sql: Sql, open_conn: Callable[[], Connection]
) -> None:
    plant(sql, seconds_ago=60, every_seconds=20)
    other = open_conn()
    with pytest.raises(RuntimeError), transaction(other):
        assert fire(other).fired == 3
        assert fire(conn) == Fired(0, 0, {})
        raise RuntimeError("killed before the commit")

    assert sql("SELECT count(*) FROM haulier.job") == [(0,)]
    assert fire(conn).fired >= 3
    assert Counter(outcomes(sql)) == {FIRED: sql("SELECT count(*) FROM haulier.job")[0][0]}


def test_the_key_of_a_tick_is_a_second_guard(conn: Connection, sql: Sql) -> None:
    plant(sql, seconds_ago=60, every_seconds=20)
    before = "SELECT name, counts_from, decided_to, look_at FROM haulier.schedule"
    [(_, counts_from, decided_to, look_at)] = sql(before)
    fire(conn)
    # As a restored row, or one that somebody has changed by hand.
    sql("UPDATE haulier.schedule SET decided_to = %s, look_at = %s RETURNING 1", decided_to, look_at)

    fire(conn)

    assert counts_from == decided_to
    jobs = sql("SELECT scheduled_for FROM haulier.job")
    assert len(jobs) == len(set(jobs)) == len(ticks(sql)) >= 3


def test_while_a_job_lives_no_tick_fires_with_skip(
    conn: Connection, sql: Sql, claim: Callable[..., Any], settle: Callable[..., Any]
) -> None:
    plant(sql, seconds_ago=40, every_seconds=20, overlap="skip")

    fire(conn)
    assert outcomes(sql) == [FIRED, OVERLAP]
    settle(claim(), Outcome.complete())
    # As 20 s later.
    sql(
        "UPDATE haulier.schedule SET counts_from = counts_from - interval '20 s',"
        " decided_to = decided_to - interval '20 s', look_at = now() RETURNING 1"
    )
    sql("UPDATE haulier.tick SET scheduled_at = scheduled_at - interval '20 s' RETURNING 1")
    fire(conn)

    assert outcomes(sql) == [FIRED, OVERLAP, FIRED]
    assert sql("SELECT count(*) FROM haulier.job") == [(1,)]


def test_lets_one_tick_wait_and_fires_it_when_the_job_has_ended(
    conn: Connection, sql: Sql, claim: Callable[..., Any], settle: Callable[..., Any]
) -> None:
    plant(sql, seconds_ago=60, every_seconds=30, overlap="queue_one")

    fire(conn)

    [(pending,)] = sql("SELECT pending_at FROM haulier.schedule")
    assert outcomes(sql) == [FIRED]
    assert pending is not None
    assert (next_look(conn) or 0) <= 1
    settle(claim(), Outcome.complete())
    sql("UPDATE haulier.schedule SET look_at = now() RETURNING 1")
    fire(conn)
    assert outcomes(sql) == [FIRED, FIRED]
    assert sql("SELECT scheduled_for FROM haulier.job") == [(pending,)]
    assert sql("SELECT pending_at FROM haulier.schedule") == [(None,)]


@pytest.mark.parametrize(("missed", "fired"), [("skip", 0), ("last", 1), ("all", 5)])
def test_after_a_month_of_outage_each_tick_has_its_row(
    conn: Connection, sql: Sql, time: Callable[[str], None], missed: str, fired: int
) -> None:
    bounds = {"missed_max": 5, "missed_within_seconds": 86_400} if missed == "all" else {}
    plant(sql, every_seconds=600, missed=missed, **bounds)
    time("now() + interval '20 days 5 minutes'")

    while fire(conn).decided:
        pass

    assert Counter(outcomes(sql)) == Counter({FIRED: fired, MISSED: 20 * 144 - fired}) + Counter()
    assert outcomes(sql)[-5:] == [MISSED] * (5 - fired) + [FIRED] * fired
    assert sql("SELECT count(*) FROM haulier.job") == [(fired,)]


def test_fires_nothing_while_the_clock_is_behind_and_nothing_twice_afterwards(
    conn: Connection, sql: Sql, time: Callable[[str], None]
) -> None:
    plant(sql, every_seconds=60, missed="skip")
    time("now() + interval '10 minutes 1 second'")
    fire(conn)
    before = ticks(sql)

    time("now() + interval '5 minutes'")
    sql("UPDATE haulier.schedule SET look_at = '2000-01-01' RETURNING 1")
    fire(conn)
    time("now() + interval '11 minutes 1 second'")
    sql("UPDATE haulier.schedule SET look_at = '2000-01-01' RETURNING 1")
    fire(conn)

    assert len(before) == 10
    assert ticks(sql)[:10] == before
    assert len(ticks(sql)) == 11


def test_a_zone_that_is_not_known_fails_alone(conn: Connection, sql: Sql) -> None:
    plant(sql, "bad", seconds_ago=60, every_seconds=20, time_zone="Mars/Olympus")
    plant(sql, "good", seconds_ago=60, every_seconds=20)

    fired = fire(conn)

    assert list(fired.failed) == ["bad"]
    assert fired.failed["bad"].startswith("time_zone: ")
    assert fired.fired == 3
    assert ticks(sql, "bad") == []
    assert sql(
        "SELECT name, refusals FROM haulier.schedule WHERE look_at > now() + interval '3 s' AND refusals > 0"
    ) == [("bad", 1)]


def test_a_job_that_the_database_refuses_stays_undecided(conn: Connection, sql: Sql) -> None:
    plant(sql, "bad", seconds_ago=60, every_seconds=20, job={"kind": "Not a name", "payload": {}})

    with pytest.raises(Refusal), translated():
        fire(conn)

    assert ticks(sql, "bad") == []
    assert sql("SELECT name FROM haulier.schedule WHERE look_at <= now()") == [("bad",)]


def test_keeps_the_last_ticks_of_a_schedule_and_none_of_a_deleted_one(conn: Connection, sql: Sql) -> None:
    plant(sql, seconds_ago=15)
    plant(sql, "gone", seconds_ago=15)
    fire(conn)
    sql("UPDATE haulier.tick SET decided_at = now() - interval '31 days' RETURNING 1")
    sql("DELETE FROM haulier.schedule WHERE name = 'gone' RETURNING 1")
    newest = ticks(sql)[-10:]

    assert purge_ticks(conn, retention_days=30) >= 20
    assert purge_ticks(conn, retention_days=30) == 0

    assert ticks(sql) == newest
    assert ticks(sql, "gone") == []


def test_tells_what_became_of_ticks_and_how_late_they_fired(
    conn: Connection, sql: Sql, time: Callable[[str], None]
) -> None:
    plant(sql, "plain", every_seconds=20)
    plant(sql, "pending", every_seconds=20, overlap="queue_one")
    plant(sql, "passes", every_seconds=20)
    sql("UPDATE haulier.schedule SET paused_since = counts_from WHERE name = 'passes'")
    time("(SELECT min(counts_from) + interval '40.5 seconds' FROM haulier.schedule)")

    found = fire(conn)
    sql("DELETE FROM haulier.job WHERE schedule = 'pending'")
    sql("UPDATE haulier.schedule SET look_at = now() WHERE name = 'pending'")
    later = fire(conn)

    assert Counter(found.outcomes) == {FIRED: 3, "skipped_paused": 2}
    assert sorted(found.late) == pytest.approx([0.5, 20.5, 20.5])
    # It waited for the job, and nobody was late.
    assert (later.outcomes, later.late) == ([FIRED], [])


def test_a_tick_that_waits_for_its_jitter_is_not_late_yet(
    conn: Connection, sql: Sql, time: Callable[[str], None]
) -> None:
    plant(sql, every_seconds=20, jitter_seconds=20)
    time("(SELECT counts_from + interval '40 seconds' FROM haulier.schedule)")

    late = fire(conn).late

    [(after_the_tick,)] = sql("SELECT extract(epoch FROM fired_at - scheduled_at)::float FROM haulier.tick LIMIT 1")
    assert after_the_tick == pytest.approx(20)
    assert 0 <= late[0] < 20


def test_the_role_of_a_worker_and_that_of_the_api_may_fire(roles: Roles, super_conn: Connection) -> None:
    sql = sql_on(super_conn)
    for name, url in (("a", roles.worker), ("b", roles.web)):
        plant(sql, name, seconds_ago=40, every_seconds=20)
        with closing(connect(url)) as conn:
            assert fire(conn, only=name).fired == 2
    with closing(connect(roles.worker)) as conn:
        assert purge_ticks(conn, retention_days=30) == 0


def test_looks_for_live_jobs_after_the_schedules_are_locked(
    conn: Connection, sql: Sql, open_conn: Callable[[], Connection]
) -> None:
    plant(sql, seconds_ago=20, every_seconds=20, overlap="skip")
    other = open_conn()
    done: list[Fired] = []
    with transaction(conn):
        assert fire(conn).fired == 1
        # It begins before this commits.
        rival = threading.Thread(target=lambda: done.append(fire(other)))
        rival.start()
        rival.join(PATIENCE)

    assert done == [Fired(0, 0, {})]
    assert firing.live_jobs(conn, ["nightly"]).keys() == {"nightly"}


def test_a_schedule_far_behind_is_decided_bit_by_bit_and_keeps_no_other_from_firing(conn: Connection, sql: Sql) -> None:
    plant(sql, "behind", seconds_ago=5000, missed="skip")
    fire(conn)
    behind = len(ticks(sql, "behind"))
    plant(sql, "fresh", seconds_ago=2)

    fire(conn)
    fire(conn)

    assert behind == 1000
    assert outcomes(sql, "fresh")[:2] == [FIRED, FIRED]
    assert len(ticks(sql, "behind")) <= 3000


def test_waits_a_moment_where_another_process_has_locked_all_that_is_due(
    database: str, sql: Sql, open_conn: Callable[[], Connection]
) -> None:
    plant(sql, seconds_ago=60, every_seconds=20)
    step = Firing(Database(database), Outage(threading.Event(), threads=1), retention_days=30)
    other = open_conn()
    try:
        with transaction(other):
            assert fire(other).fired == 3
            # Without it, it would ask as fast as it can until the other has committed or the server has missed it.
            assert step.turn() == LOCKED_SECONDS
        assert 0 < (step.turn() or 0) <= 1
    finally:
        step.database.close()


def test_fires_one_by_one_where_the_database_refuses_one_and_asks_for_that_later(database: str, sql: Sql) -> None:
    plant(sql, "bad", seconds_ago=60, every_seconds=20, job={"kind": "Not a name", "payload": {}})
    plant(sql, "good", seconds_ago=60, every_seconds=20)
    step = Firing(Database(database), Outage(threading.Event(), threads=1), retention_days=30)
    before = REGISTRY.get_sample_value("worker_ticks_total", {"outcome": FIRED}) or 0
    try:
        assert 0 <= (step.turn() or 0) <= 1
        assert outcomes(sql, "good")[:3] == [FIRED] * 3
        assert outcomes(sql, "bad") == []
        assert REGISTRY.get_sample_value("worker_ticks_total", {"outcome": FIRED}) >= before + 3
        assert REGISTRY.get_sample_value("worker_ticks_late_seconds_count") >= 3
        sql("DELETE FROM haulier.schedule WHERE name = 'good' RETURNING 1")
        # Only the one is left, which is put off; it is not as if there were none.
        assert step.turn() == LOOK_SECONDS
        sql("DELETE FROM haulier.schedule RETURNING 1")
        assert step.turn() is None
    finally:
        step.database.close()
