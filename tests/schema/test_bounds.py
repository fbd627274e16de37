"""What a role of grants.sql can bring about by the owner's functions is what the product does: it ..."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from itertools import product

import pytest
from psycopg2 import errors
from psycopg2.extensions import connection as Connection

from haulier.postgres.connection import connect
from haulier.queue.upkeep.purge import purge_audit
from tests.conftest import Sql, sql_on
from tests.roles import Roles
from tests.schema.hostile import ENDED_KEY, KEY, OPERATION, WAITING, WORKER, WORLD

pytestmark = pytest.mark.direct("is about roles and their own connections; a pool has one role for all")


@pytest.fixture
def worker(roles: Roles) -> Iterator[Connection]:
    with closing(connect(roles.worker)) as conn:
        yield conn


@pytest.fixture
def web(roles: Roles) -> Iterator[Connection]:
    with closing(connect(roles.web)) as conn:
        yield conn


@pytest.fixture
def sql(super_conn: Connection, roles: Roles) -> Sql:
    """Give a function that runs a superuser's statements in a database with something of everything."""
    sql = sql_on(super_conn)
    sql(WORLD)
    return sql


# --- Ticks

DECIDE = """
    SELECT haulier.decide_ticks(
        ARRAY[name], '{{1}}', ARRAY[{decided_to}], ARRAY[{pending_at}], '{{NULL}}', ARRAY[{look_at}],
        array_fill(1, ARRAY[cardinality(ats)]), ats, array_fill('{outcome}'::text, ARRAY[cardinality(ats)]))
    FROM haulier.schedule
    CROSS JOIN ({ticks}) AS asked (ats)
    WHERE name = '{name}'
"""
USUAL = {"decided_to": "now()", "pending_at": "NULL::timestamptz", "look_at": "now()", "outcome": "fired"}
NO_TICKS = "SELECT '{}'::timestamptz[]"
FIRST = "SELECT ARRAY[counts_from + interval '60 s'] FROM haulier.schedule LIMIT 1"
MANY = "SELECT array_agg(at) FROM generate_series({}, {}, interval '{}') AS at"


def decide(conn: Connection, name: str, ticks: str, **new: str) -> None:
    """Have these ticks of a schedule decided, as a query returns them, and the schedule moved, as expressions say."""
    sql_on(conn)(DECIDE.format(name=name, ticks=ticks, **USUAL | new))


def test_lets_a_worker_fire_only_ticks_that_are_due(sql, worker):
    not_due = [
        ("held", FIRST),
        ("due", MANY.format("timestamptz '2100-01-01'", "timestamptz '2100-01-02'", "1 minute")),
        ("due", MANY.format("timestamptz '2000-01-01'", "timestamptz '2000-01-02'", "1 minute")),
        ("due", MANY.format("now() - interval '1 minute'", "now() - interval '30 s'", "30 milliseconds")),
        ("due", "SELECT ARRAY[now() + interval '1 microsecond']"),
    ]

    for name, ticks in not_due:
        with pytest.raises(errors.InvalidParameterValue, match=f"for the schedules {name}"):
            decide(worker, name, ticks)

    assert sql("SELECT count(*) FROM haulier.job WHERE schedule <> 'busy'") == [(0,)]
    assert sql("SELECT count(*) FROM haulier.tick") == [(0,)]


def test_fires_a_tick_once_even_if_its_row_is_gone(sql, worker):
    decide(worker, "due", FIRST)
    sql_on(worker)("DELETE FROM haulier.tick")

    with pytest.raises(errors.InvalidParameterValue):
        decide(worker, "due", FIRST)

    assert sql("SELECT count(*) FROM haulier.job WHERE schedule = 'due'") == [(1,)]


def test_fires_at_most_one_tick_a_minute_of_a_cron_expression(sql, worker):
    sql("UPDATE haulier.schedule SET cron = '0 0 1 1 *', every_seconds = NULL WHERE name = 'due'")
    minute = "SELECT ARRAY[date_trunc('minute', now()) - interval '1 minute']"

    decide(worker, "due", minute)
    with pytest.raises(errors.InvalidParameterValue):
        decide(worker, "due", "SELECT ARRAY[now()]")

    assert sql("SELECT count(*) FROM haulier.job WHERE schedule = 'due'") == [(1,)]


def test_skips_the_ticks_of_a_pause(sql, worker):
    nine = "SELECT array_agg(counts_from + number * interval '60 s') FROM generate_series(1, 9) AS number"

    decide(worker, "held", f"{nine}, haulier.schedule WHERE name = 'held'", outcome="skipped_paused")

    assert sql("SELECT outcome, count(*) FROM haulier.tick GROUP BY 1") == [("skipped_paused", 9)]


def test_lets_no_role_move_a_schedule_as_no_rule_would(sql, web, worker):
    moves = [
        ("decided_to", "decided_to - interval '1 s'"),
        ("decided_to", "now() + interval '1 s'"),
        ("look_at", "now() + interval '61 minutes'"),
        ("pending_at", "decided_to - interval '1 s'"),
        ("pending_at", "now() + interval '1 s'"),
    ]
    before = sql("SELECT * FROM haulier.schedule ORDER BY name")

    for conn, (column, value) in product((web, worker), moves):
        with pytest.raises(errors.InvalidParameterValue):
            decide(conn, "due", NO_TICKS, **{column: value})
        with pytest.raises(errors.InsufficientPrivilege):
            sql_on(conn)(f"UPDATE haulier.schedule SET {column} = {value}")

    assert sql("SELECT * FROM haulier.schedule ORDER BY name") == before


# --- The record


def test_lets_a_worker_remove_no_entry_of_the_last_day(sql, worker):
    hours = [1, 23, 25, 24 * 29, 24 * 31]
    sql("INSERT INTO haulier.audit (at, action, target) SELECT now() - make_interval(hours => age), 'pause', age::text"
        " FROM unnest(%s) AS age", hours)  # fmt: skip
    kept = "SELECT array_agg(target::int ORDER BY id) FROM haulier.audit"

    for statement in ("DELETE FROM haulier.audit", "UPDATE haulier.audit SET at = '2000-01-01'"):
        with pytest.raises(errors.InsufficientPrivilege):
            sql_on(worker)(statement)
    purge_audit(worker, retention_days=30)
    [[after_purge]] = sql(kept)
    for days in ("0", "-1000", "NULL"):
        sql_on(worker)(f"SELECT haulier.purge_audit({days}, NULL, NULL)")

    assert after_purge == hours[:4]
    assert sql(kept) == [(hours[:2],)]


# --- Sessions

OPEN = "SELECT haulier.open_session(sha256('mine'), %s, sha256(%s), %s::interval, %s)"


def test_opens_a_session_only_with_the_secret_of_a_good_key(sql, web):
    for key, secret in ((KEY, "bad"), (ENDED_KEY, "bad"), ("stranger", "good"), ("cli", "good")):
        assert sql_on(web)(OPEN, key, secret, "1 hour", 99) == [(False,)]

    assert sql("SELECT count(*) FROM haulier.session") == [(1,)]
    assert sql("SELECT count(*) FROM haulier.audit") == [(0,)]


def test_opens_a_session_with_the_secret_before_a_rotation_while_that_is_good(sql, web):
    sql(
        "UPDATE haulier.api_key SET hash = sha256('new'), previous_hash = hash, previous_until = now() + interval '1 h'"
    )
    during = sql_on(web)(OPEN, KEY, "good", "1 hour", 99)
    sql("DELETE FROM haulier.session; UPDATE haulier.api_key SET previous_until = now()")
    after = sql_on(web)(OPEN, KEY, "good", "1 hour", 99)

    assert (during, after) == ([(True,)], [(False,)])


def test_keeps_no_session_for_longer_than_seven_days(sql, web):
    with pytest.raises(errors.CheckViolation, match="session_lasts_168_hours"):
        sql_on(web)(OPEN, KEY, "good", "100 years", 99)
    with pytest.raises(errors.CheckViolation, match="session_lasts_168_hours"):
        sql_on(web)("UPDATE haulier.session SET expires_at = now() + interval '8 days'")
    with pytest.raises(errors.InvalidParameterValue, match="at most 100 sessions"):
        sql_on(web)(OPEN, KEY, "good", "1 hour", 10**9)

    assert sql_on(web)(OPEN, KEY, "good", "168 hours", 99) == [(True,)]


# --- Actors

ACTS = [
    f"INSERT INTO haulier.audit (actor, action, job_id) VALUES ({{}}, 'cancel', '{WAITING}')",
    "SELECT haulier.pause_queue('default', NULL, {})",
    f"SELECT haulier.quiet_worker('{WORKER}', true, {{}})",
    f"INSERT INTO haulier.audit (actor, action, target) VALUES ({{}}, 'cancel_operation', '{OPERATION}')",
    "SELECT haulier.run_schedule('due', {})",
    "SELECT haulier.mute_errors(7, now(), {})",
]


def test_records_no_actor_that_does_not_exist(sql, web):
    acts = [*product(("stranger", "cli", "file", "", "x" * 100_000), ACTS)]
    acts.append(("file", "SELECT haulier.delete_schedule('filed', {})"))

    for actor, act in acts:
        with pytest.raises(errors.InvalidParameterValue, match="unknown actor"):
            sql_on(web)(act.format("%s"), actor)

    assert sql("SELECT count(*) FROM haulier.audit") == [(0,)]
    assert sql("SELECT count(*) FROM haulier.pause WHERE queue = 'default'") == [(0,)]
    assert sql("SELECT count(*) FROM haulier.schedule") == [(4,)]


def test_records_keys_env_and_whomever_the_owner_names(sql, roles, web):
    actors = [KEY, ENDED_KEY, "env", None, KEY, "env"]
    for act, actor in zip(ACTS, actors, strict=True):
        sql_on(web)(act.format("%s"), actor)
    with closing(connect(roles.owner)) as owner:
        for actor in ("cli", "file", "anybody"):
            sql_on(owner)("SELECT haulier.mute_errors(7, now(), %s)", actor)

    assert sql("SELECT array_agg(actor ORDER BY id) FROM haulier.audit") == [([*actors, "cli", "file", "anybody"],)]


# --- Schedules, keys, operations


def test_lets_nothing_happen_that_the_product_would_not_do(sql, web, worker):
    refused = [
        (web, "haulier.run_schedule('none', NULL)"),
        (web, "haulier.run_schedule('busy', NULL)"),
        (worker, "haulier.add_partition(NULL, 7)"),
    ]

    for conn, call in refused:
        with pytest.raises((errors.InvalidParameterValue, errors.CheckViolation)):
            sql_on(conn)(f"SELECT {call}")

    assert sql("SELECT count(*) FROM haulier.audit") == [(0,)]


def test_leaves_the_schedules_of_the_file_to_the_file(sql, web):
    rule = """{"every_seconds": 1, "time_zone": "UTC", "overlap": "allow", "missed": "last", "jitter_seconds": 0,
        "job": {"kind": "a", "payload": {}}}"""
    put = f"haulier.put_schedule('filed', '{rule}', now(), NULL, now(), false, '{{}}', NULL)"

    assert sql_on(web)(f"SELECT {put}, haulier.delete_schedule('filed', NULL)") == [(False, False)]
    assert sql("SELECT every_seconds FROM haulier.schedule WHERE name = 'filed'") == [(60,)]
    assert sql("SELECT count(*) FROM haulier.audit") == [(0,)]


def test_makes_no_key_with_the_name_of_another_actor(sql, roles):
    make = "SELECT haulier.create_key(%s, 'a', sha256(''), '{read}', %s, NULL, %s::interval, 'cli')"
    with closing(connect(roles.owner)) as owner:
        for values in (("env", None, None), ("a" * 12, ["A B"], None), ("a" * 12, None, "3651 days")):
            with pytest.raises(errors.InvalidParameterValue):
                sql_on(owner)(make, *values)
        sql_on(owner)(make, "a" * 12, ["mail"], "3650 days")

    assert sql("SELECT count(*) FROM haulier.api_key") == [(3,)]
