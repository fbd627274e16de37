"""Whether the database is well. `check_database` ..."""

from __future__ import annotations

import re
import shutil
import tempfile
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path
from urllib.parse import quote

import pytest
from psycopg2.extensions import connection as Connection
from psycopg2.extensions import parse_dsn

from haulier.domain.checks import Check, CheckState, Threshold
from haulier.local.embedded import Server
from haulier.postgres.connection import connect
from haulier.postgres.scratch import create_database
from haulier.queue import claims
from haulier.queue.health import database_checks
from haulier.queue.health.database_checks import EFFECTS, THRESHOLDS, check_database
from haulier.queue.upkeep.migrate import migrate
from tests.conftest import eventually, sql_on
from tests.queue.schedules.schedules import plant
from tests.rivals import beside

pytestmark = pytest.mark.direct("is about a server of its own, and its sessions")

# The age of what a test has just made is enough.
AT_ONCE = {
    name: replace(threshold, warn=1e-6, bad=1e-6)
    for name, threshold in THRESHOLDS.items()
    if name in ("transactions", "idle_transactions", "prepared_transactions", "slots", "locks")
}
CONNECTIONS = 24


@pytest.fixture(scope="module")
def server():
    """Give the DSN of a database on a server that few may use, and on which transactions can be prepared."""
    base = Path(tempfile.mkdtemp(prefix="haulier-test-"))
    try:
        with Server(base, test=True) as first, closing(connect(first.dsn)) as conn:
            sql_on(conn)("ALTER SYSTEM SET max_prepared_transactions = 5")
            sql_on(conn)("ALTER SYSTEM SET max_connections = %s", CONNECTIONS)
        with Server(base, test=True) as second:
            dsn = create_database(second.dsn, "haulier_checked")
            with closing(connect(dsn)) as conn:
                migrate(conn, retention_days=30)
            yield dsn
    finally:
        shutil.rmtree(base)


@pytest.fixture
def checked(server):
    with closing(connect(server)) as conn:
        yield conn


@pytest.fixture
def run(checked):
    return sql_on(checked)


@pytest.fixture
def rival(server):
    with ExitStack() as opened:
        yield lambda: opened.enter_context(closing(connect(server, application_name="nightly report")))


def checks(conn: Connection, thresholds: dict[str, Threshold] | None = None, days: int = 30) -> dict[str, Check]:
    found = check_database(conn, retention_days=days, thresholds={**THRESHOLDS, **(thresholds or {})})
    return {check.name: check for check in found.checks}


def only(conn: Connection, name: str, *, days: int = 30) -> Check:
    """Return the check, after a look that no other is anything but ok."""
    found = checks(conn, AT_ONCE, days)
    others = [each for each in found.values() if each.name != name]
    assert {each.name: each.message for each in others if each.state is not CheckState.OK} == {}
    return found[name]


def test_finds_nothing_in_a_healthy_database(checked):
    found = check_database(checked, retention_days=30)

    assert [(check.name, check.state, check.fix) for check in found.checks] == [
        (name, CheckState.OK, None) for name in THRESHOLDS
    ]
    assert all(check.message and check.effect == EFFECTS[check.name] for check in found.checks)
    # Numbers as people read them, however large: sizes with their units, and thousands apart.
    messages = {check.name: check.message for check in found.checks}
    assert re.fullmatch(r"the tables take \d+ [kM]B, of which \d+ (bytes|[kM]B) are history", messages["size"])
    assert [text for text in messages.values() if re.search(r"\d{5}", text)] == []


def test_finds_nothing_while_workers_work(checked, run):
    worker = claims.register(checked, host="dock", pid=7, threads=8, queues=(), lease_seconds=30)
    run("INSERT INTO haulier.job (kind, payload) SELECT 'mail', '{}' FROM generate_series(1, 100)")
    run("INSERT INTO haulier.counting (through, folded, recounted) VALUES (now(), now(), now())")
    run("INSERT INTO haulier.sleeper (worker_id, since) VALUES (%s, now() - interval '1 h')", worker)

    found = checks(checked)

    run("TRUNCATE haulier.job, haulier.counting, haulier.worker CASCADE")
    assert {name: check.message for name, check in found.items() if check.state is not CheckState.OK} == {}


# The transaction is idle for the 2 ms of the threshold here, and for half an hour of the real one.
@pytest.mark.parametrize("begin", ["BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT FROM haulier.job", "BEGIN; SELECT 1"])
def test_names_a_transaction_that_is_idle_and_how_to_end_it(checked, rival, begin):
    idle = rival()
    sql_on(idle)(begin)

    check = only(checked, "transactions")

    pid = idle.info.backend_pid
    assert check.state is CheckState.BAD
    assert check.message.endswith(f": server process {pid} (nightly report, idle in transaction)")
    assert check.fix == f"Commit or end it: SELECT pg_terminate_backend({pid});"


def test_tells_a_session_that_does_nothing_from_one_between_two_statements(checked, rival, monkeypatch):
    idle = rival()
    sql_on(idle)("BEGIN; INSERT INTO haulier.job (kind, payload) VALUES ('mail', '{}')")
    before = checks(checked, AT_ONCE)["idle_transactions"]
    monkeypatch.setattr(database_checks, "IDLE_SECONDS", 0.0)

    check = only(checked, "idle_transactions")

    pid = idle.info.backend_pid
    assert (before.state, before.message) == (CheckState.OK, "no transaction is idle")
    assert check.state is CheckState.BAD
    assert check.message.endswith(f": server process {pid} (nightly report, idle in transaction)")
    assert check.fix.endswith(f"Commit or end it: SELECT pg_terminate_backend({pid});")


def test_an_hour_is_bad_and_some_minutes_are_a_warning():
    for name in ("transactions", "prepared_transactions", "slots"):
        assert [THRESHOLDS[name].judge(seconds) for seconds in (200, 600, 3600)] == ["ok", "warn", "bad"]


def test_names_a_prepared_transaction_and_how_to_end_it(checked, run):
    run("BEGIN; INSERT INTO haulier.job (kind, payload) VALUES ('mail', '{}'); PREPARE TRANSACTION 'it''s lost'")

    check = only(checked, "prepared_transactions")

    run("ROLLBACK PREPARED 'it''s lost'")
    assert (check.state, check.message.partition(" has")[0]) == (CheckState.BAD, "the transaction it's lost")
    assert check.fix.endswith(": ROLLBACK PREPARED 'it''s lost';")


def test_names_an_abandoned_slot_and_how_to_drop_it(checked, run):
    run("SELECT pg_create_physical_replication_slot('old_standby', true)")

    check = only(checked, "slots")

    run("SELECT pg_drop_replication_slot('old_standby')")
    assert (check.state, "the slot old_standby has been unused" in check.message) == (CheckState.BAD, True)
    assert check.fix.endswith("SELECT pg_drop_replication_slot('old_standby');")


def test_says_that_autovacuum_is_off_for_a_table_and_how_to_turn_it_on(checked, run):
    run("ALTER TABLE haulier.job SET (autovacuum_enabled = off)")

    check = only(checked, "vacuum")

    run(check.fix.partition(": ")[2])
    assert (check.state, check.message) == (CheckState.BAD, "autovacuum is off for haulier.job")
    assert checks(checked)["vacuum"].state is CheckState.OK


def test_says_that_autovacuum_is_off_and_how_to_turn_it_on(checked, run):
    run("ALTER SYSTEM SET autovacuum = off")
    run("SELECT pg_reload_conf()")
    eventually(lambda: run("SHOW autovacuum") == [("off",)])

    check = only(checked, "vacuum")

    run("ALTER SYSTEM RESET autovacuum")
    run("SELECT pg_reload_conf()")
    eventually(lambda: run("SHOW autovacuum") == [("on",)])
    assert (check.state, check.message) == (CheckState.BAD, "autovacuum is off")
    assert check.fix.startswith("Turn it on: ALTER SYSTEM SET autovacuum = on;")


def test_says_that_the_partitions_end_tomorrow(archive):
    archive.sql(
        "DO $$ DECLARE part record; BEGIN FOR part IN SELECT schema, name FROM haulier.history_partitions()"
        " WHERE lower > now() + interval '1 day' LOOP EXECUTE format('DROP TABLE %I.%I', part.schema, part.name);"
        " END LOOP; END $$"
    )

    check = checks(archive.conn)["partitions_ahead"]

    assert check.state is CheckState.BAD
    assert 0 < check.number <= 2
    assert "haulier migrate" in check.fix


def test_says_that_a_partition_should_have_been_dropped(archive):
    archive.sql(
        "CREATE TABLE haulier.of_long_ago PARTITION OF haulier.finished_job"
        " FOR VALUES FROM ('1999-01-01+00') TO ('1999-01-02+00')"
    )

    check = checks(archive.conn)["partitions_behind"]

    assert (check.state, check.message.startswith("the partition of_long_ago is overdue")) == (CheckState.BAD, True)


def test_says_that_the_connections_are_used_up_and_what_to_lower(checked, rival):
    for _ in range(CONNECTIONS - 2):
        rival()

    check = only(checked, "connections")

    assert check.state is CheckState.BAD
    assert f" of the {CONNECTIONS} connections of the server " in check.message
    assert "DB_CONNECTION_LIMIT" in check.fix


def test_names_the_process_that_waits_for_a_lock_and_its_holder(checked, rival):
    holder, waiter = rival(), rival()
    sql_on(holder)("BEGIN; LOCK TABLE haulier.worker IN ACCESS EXCLUSIVE MODE")
    pid = waiter.info.backend_pid
    # Of the checks only this one: others read that table too.
    wanted = {"locks": AT_ONCE["locks"]}

    def is_found() -> Check | None:
        [check] = check_database(checked, retention_days=30, thresholds=wanted).checks
        return check if check.state is CheckState.BAD else None

    with beside(lambda: sql_on(waiter)("SELECT count(*) FROM haulier.worker")):
        try:
            found = eventually(is_found)
        finally:
            sql_on(holder)("ROLLBACK")

    assert found.message.startswith(f"server process {pid} has waited")
    assert found.fix.endswith(f"SELECT pg_terminate_backend({holder.info.backend_pid});")


def test_says_that_workers_sleep_while_jobs_are_due(checked, run):
    worker = claims.register(checked, host="dock", pid=7, threads=8, queues=("mail",), lease_seconds=30)
    run("INSERT INTO haulier.sleeper (worker_id, queues, since) VALUES (%s, '{mail}', now() - interval '1 h')", worker)
    run("INSERT INTO haulier.job (kind, payload, queue, run_at) VALUES ('mail', '{}', 'bulk', now() - interval '1 m')")
    another = checks(checked)["wake_ups"]
    run("UPDATE haulier.job SET queue = 'mail'")

    check = only(checked, "wake_ups")

    run("TRUNCATE haulier.job, haulier.worker CASCADE")
    assert (another.state, another.message) == (CheckState.OK, "no worker is idle while jobs of its queues are due")
    assert (check.state, check.message) == (CheckState.WARN, "1 worker is idle while jobs of its queues are due")


def test_says_that_the_numbers_are_old(checked, run):
    run("INSERT INTO haulier.counting (through, folded, recounted) VALUES (now() - interval '1 h', now(), now())")

    check = only(checked, "numbers")

    run("TRUNCATE haulier.counting")
    assert (check.state, check.message) == (CheckState.WARN, "the last count is 60 min old")
    assert check.fix == "Set COUNTING=on, or start a worker: none is running."


@pytest.mark.parametrize("has_worker", [False, True])
def test_says_that_ticks_are_overdue_and_whether_a_worker_lives(checked, run, has_worker):
    plant(run, seconds_ago=400)
    run("UPDATE haulier.schedule SET next_at = look_at")
    if has_worker:
        worker = claims.register(checked, host="dock", pid=7, threads=8, queues=(), lease_seconds=30)
        claims.introduce(checked, worker, kinds=["mail"])

    check = only(checked, "schedules")

    run("TRUNCATE haulier.schedule, haulier.worker CASCADE")
    assert (check.state, check.message) == (CheckState.BAD, "1 schedule has overdue ticks, the oldest by 7 min")
    assert check.fix.startswith("See GET /schedules" if has_worker else "Start a worker: none is running")


def test_names_an_index_that_a_failed_reindex_left_over(archive):
    archive.sql("CREATE INDEX job_claim_ccnew ON haulier.job (id)")
    archive.sql("UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'haulier.job_claim_ccnew'::regclass")

    check = checks(archive.conn)["bloat"]

    assert (check.state, check.fix) == (CheckState.WARN, "Drop it: DROP INDEX CONCURRENTLY haulier.job_claim_ccnew;")


def test_names_the_table_with_most_dead_rows_not_the_highest_share(checked, run):
    run("ALTER SYSTEM SET autovacuum_naptime = '1 h'")
    run("SELECT pg_reload_conf()")
    run(
        "INSERT INTO haulier.idempotency (key, fingerprint, job_id)"
        " SELECT n::text, '', gen_random_uuid() FROM generate_series(1, 3600) AS n"
    )
    run("DELETE FROM haulier.idempotency WHERE key::integer <= 1200")
    run("INSERT INTO haulier.error_count SELECT n, now(), 'mail', 0, 1, 0 FROM generate_series(1, 100) AS n")
    run("DELETE FROM haulier.error_count")
    few = {"vacuum": Threshold("dead rows", 20, 1000)}

    found = eventually(lambda: (check := checks(checked, few)["vacuum"]).state is CheckState.BAD and check)

    run("DELETE FROM haulier.idempotency")
    run("VACUUM haulier.idempotency, haulier.error_count")
    run("ALTER SYSTEM RESET autovacuum_naptime")
    run("SELECT pg_reload_conf()")
    assert found.message == "the table idempotency has 1,200 dead rows and 2,400 live rows"
    assert found.fix.endswith("then VACUUM haulier.idempotency;")


def test_says_what_a_role_may_not_see_and_does_not_guess(server, run, rival):
    idle = rival()
    sql_on(idle)("BEGIN; SELECT 1")
    run('CREATE ROLE "poor one" LOGIN; GRANT USAGE ON SCHEMA haulier TO "poor one"')
    dsn = "postgresql://?" + "&".join(
        f"{name}={quote(value)}" for name, value in {**parse_dsn(server), "user": "poor one"}.items()
    )
    try:
        with closing(connect(dsn)) as conn:
            found = checks(conn, AT_ONCE)
    finally:
        run('DROP OWNED BY "poor one"; DROP ROLE "poor one"')

    transactions, wake_ups = found["transactions"], found["wake_ups"]
    assert transactions.state is wake_ups.state is found["idle_transactions"].state is CheckState.UNKNOWN
    assert "hide their transactions from this role" in transactions.message
    assert transactions.fix == 'Allow the role of the API to read this: GRANT pg_read_all_stats TO "poor one";'
    assert wake_ups.message == "could not be read: permission denied for table sleeper"
    assert found["connections"].state is CheckState.OK
