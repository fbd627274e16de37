"""schema.sql: it ..."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, suppress
from pathlib import Path
from uuid import UUID, uuid4

import psycopg2
import pytest
from psycopg2 import errors
from psycopg2.extensions import connection as Connection
from psycopg2.extensions import make_dsn

from haulier.domain.claim import Fence, Settlement
from haulier.domain.errors import InvalidTransition, SchemaMismatch
from haulier.domain.job import Job, JobStatus, NewJob
from haulier.domain.outcome import Outcome
from haulier.postgres.connection import connect
from haulier.queue import consume, produce
from haulier.queue.consume.wakeups import Knock, fall_asleep, knocks, listen
from haulier.queue.upkeep.migrate import check_schema, migrate
from haulier.queue.upkeep.purge import purge_idempotency
from haulier.queue.upkeep.steps import SCHEMA_FILE, SCHEMA_VERSION
from tests.conftest import Sql, sql_on

# What docs/operations.md tells an operator to grant to an application that enqueues by INSERT.
COLUMN_GRANT = (
    "GRANT INSERT (kind, payload, queue, priority, run_at, max_attempts, timeout_seconds) ON haulier.job TO {}"
)
TABLE_GRANT = "GRANT INSERT ON haulier.job TO {}"
INSERT = "INSERT INTO haulier.job (kind, payload) VALUES ('mail', '{\"n\": 1}')"


@pytest.fixture
def make_role(conn: Connection, database: str) -> Iterator[Callable[..., Connection]]:
    """Give a function that connects as a new role with these rights; "{}" stands for its name."""
    sql, made = sql_on(conn), []
    if sql("SELECT rolsuper FROM pg_roles WHERE rolname = current_user") != [(True,)]:
        pytest.skip("the role of DATABASE_URL may not make other roles")
    with ExitStack() as opened:

        def make_role(*grants: str, url: str = database) -> Connection:
            name = f"haulier_test_{uuid4().hex[:12]}"
            sql(f"CREATE ROLE {name} LOGIN PASSWORD 'swordfish'")
            made.append(name)
            with closing(connect(url)) as there:
                for grant in grants:
                    sql_on(there)(grant.format(name))
            return opened.enter_context(closing(connect(make_dsn(url, user=name, password="swordfish"))))

        yield make_role
        opened.close()
        for name in made:
            sql(f"DROP OWNED BY {name}")
            sql(f"DROP ROLE {name}")


@pytest.fixture
def application(make_role: Callable[..., Connection]) -> Connection:
    """Give the connection of an application with USAGE, and INSERT on the columns it may set."""
    return make_role("GRANT USAGE ON SCHEMA haulier TO {}", COLUMN_GRANT)


@pytest.fixture
def sleeper(conn: Connection) -> UUID:
    """Give the id of a worker that sleeps."""
    worker = consume.register(conn, host="dock", pid=7, threads=1, queues=("default",), lease_seconds=30)
    fall_asleep(conn, worker)
    return worker


# --- What may not be stored


LIVE: dict[str, str] = {"kind": "'mail'", "payload": "'{}'"}
FINISHED: dict[str, str] = {
    "id": "haulier.uuidv7()",
    "status": "'succeeded'",
    "kind": "'mail'",
    "queue": "'default'",
    "priority": "0",
    "run_at": "now()",
    "attempt": "1",
    "attempts": "1",
    "max_attempts": "3",
    "crashes": "0",
    "snoozes": "0",
    "cancel_requested": "false",
    "payload": "'{}'",
    "errors": "'[]'",
    "created_at": "now()",
    "updated_at": "now()",
    "finished_at": "now()",
}
A_WORKER = "'01980000-0000-7000-8000-000000000007'"
RUNNING = {"status": "'running'", "worker_id": A_WORKER, "claim": A_WORKER, "started_at": "now()"}

REFUSED = [
    ("status_is_live", {"status": "'succeeded'"}),
    ("status_is_live", {"status": "'Queued'"}),
    ("worker_iff_running", {**RUNNING, "worker_id": "NULL"}),
    ("worker_iff_running", {"worker_id": A_WORKER}),
    ("running_has_a_claim", {**RUNNING, "claim": "NULL"}),
    ("running_has_a_claim", {**RUNNING, "started_at": "NULL"}),
    ("kind_is_a_name", {"kind": "''"}),
    ("kind_is_a_name", {"kind": "'Mail'"}),
    ("kind_is_a_name", {"kind": "E'mail\\n'"}),
    ("kind_is_a_name", {"kind": "E'x\\nmail'"}),
    ("kind_is_a_name", {"kind": "repeat('m', 65)"}),
    ("queue_is_a_name", {"queue": "'a b'"}),
    ("queue_is_a_name", {"queue": "E'mail\\n'"}),
    ("priority_from_minus_100_to_100", {"priority": "101"}),
    ("priority_from_minus_100_to_100", {"priority": "-101"}),
    ("run_at_in_the_calendar", {"run_at": "'infinity'"}),
    ("run_at_in_the_calendar", {"run_at": "'-infinity'"}),
    ("run_at_in_the_calendar", {"run_at": "'10000-01-01'"}),
    ("run_at_in_the_calendar", {"run_at": "'9999-12-31 12:00+00'"}),
    ("run_at_in_the_calendar", {"run_at": "'0044-03-15 BC'"}),
    ("max_attempts_from_1_to_1000", {"max_attempts": "0"}),
    ("max_attempts_from_1_to_1000", {"max_attempts": "1001"}),
    ("timeout_from_1_to_86400_seconds", {"timeout_seconds": "0"}),
    ("timeout_from_1_to_86400_seconds", {"timeout_seconds": "86401"}),
    ("times_in_the_calendar", {"created_at": "'infinity'"}),
    ("times_in_the_calendar", {"created_at": "'0044-03-15 BC'"}),
    ("times_in_the_calendar", {"updated_at": "'12000-01-01'"}),
    ("times_in_the_calendar", {"updated_at": "'-infinity'"}),
    ("times_in_the_calendar", {"started_at": "'-infinity'"}),
    ("times_in_the_calendar", {"started_at": "'infinity'"}),
    ("counters_in_range", {"attempt": "2147483647"}),
    ("counters_in_range", {"attempts": "2147483647"}),
    ("counters_in_range", {"attempts": "-1"}),
    ("counters_in_range", {"attempt": "-1"}),
    ("counters_in_range", {"crashes": "2147483647"}),
    ("counters_in_range", {"crashes": "-1"}),
    ("counters_in_range", {"snoozes": "2147483647"}),
    ("counters_in_range", {"snoozes": "-1"}),
    ("payload_is_an_object", {"payload": "'[]'"}),
    ("payload_is_an_object", {"payload": "'null'"}),
    ("errors_is_an_array", {"errors": "'{}'"}),
    ("idempotency_key_from_1_to_255", {"idempotency_key": "''"}),
    ("idempotency_key_from_1_to_255", {"idempotency_key": "repeat('k', 256)"}),
]
REFUSED_IN_HISTORY = [
    ("status_is_final", {"status": "'running'"}),
    ("status_is_final", {"status": "'queued'"}),
    ("result_iff_succeeded", {"status": "'cancelled'", "result": "'1'"}),
    ("result_iff_succeeded", {"status": "'failed_permanent'", "result": "'null'"}),
]
REFUSED_ELSEWHERE = [
    (
        "key_from_1_to_288",
        "INSERT INTO haulier.idempotency (key, fingerprint, job_id) VALUES ('', '', haulier.uuidv7())",
    ),
    (
        "key_from_1_to_288",
        "INSERT INTO haulier.idempotency (key, fingerprint, job_id) VALUES (repeat('k', 289), '', haulier.uuidv7())",
    ),
    ("action_is_known", "INSERT INTO haulier.audit (action, key_id) VALUES ('sigh', 'abc')"),
    ("done_to_a_job_or_a_key", "INSERT INTO haulier.audit (action) VALUES ('cancel')"),
    (
        "done_to_a_job_or_a_key",
        "INSERT INTO haulier.audit (action, job_id, key_id) VALUES ('cancel', haulier.uuidv7(), 'abc')",
    ),
    (
        "lease_is_positive",
        "INSERT INTO haulier.worker (host, pid, threads, lease) VALUES ('dock', 7, 8, interval '0')",
    ),
    *(
        (constraint, f"INSERT INTO haulier.progress VALUES (haulier.uuidv7(), haulier.uuidv7(), {values}, now())")
        for constraint, values in (
            ("progress_in_range", "-1, NULL, NULL"),
            ("progress_in_range", "'NaN', NULL, NULL"),
            ("progress_in_range", "0, 'NaN', NULL"),
            ("progress_in_range", "9007199254740994, NULL, NULL"),
            ("progress_in_range", "0, -1, NULL"),
            ("progress_in_range", "0, 'Infinity', NULL"),
            ("note_up_to_200", "0, NULL, repeat('n', 201)"),
        )
    ),
    ("name_is_a_queues", "INSERT INTO haulier.queue (name) VALUES ('A b')"),
    ("schema_version_one_row_check", "INSERT INTO haulier.schema_version VALUES (1, 1, false)"),
]


KEY = {"id": "'abc'", "name": "'Ann'", "hash": "sha256('')", "scopes": "'{read}'"}
REFUSED_KEYS = [
    ("id_is_of_letters_and_digits", {"id": "'a b'"}),
    ("id_is_of_letters_and_digits", {"id": "''"}),
    ("id_is_of_letters_and_digits", {"id": "repeat('a', 33)"}),
    ("name_from_1_to_100", {"name": "''"}),
    ("hash_is_a_sha_256", {"hash": "'secret'"}),
    ("hash_is_a_sha_256", {"previous_hash": "'secret'", "previous_until": "now()"}),
    ("previous_hash_has_an_end", {"previous_hash": "sha256('')"}),
    ("scopes_are_known", {"scopes": "'{}'"}),
    ("scopes_are_known", {"scopes": "'{read,root}'"}),
    ("queues_are_some", {"queues": "'{}'"}),
    ("rate_limit_is_positive", {"rate_limit": "0"}),
    ("rate_limit_is_positive", {"rate_limit": "'NaN'"}),
    ("rate_limit_is_positive", {"rate_limit": "'Infinity'"}),
]


def insert(table: str, values: dict[str, str]) -> str:
    return f"INSERT INTO haulier.{table} ({', '.join(values)}) VALUES ({', '.join(values.values())}) RETURNING id"


@pytest.mark.parametrize(("constraint", "change"), REFUSED)
def test_refuses_a_live_job_that_may_not_be(sql, constraint, change):
    with pytest.raises(errors.CheckViolation) as raised:
        sql(insert("job", {**LIVE, **change}))

    assert raised.value.diag.constraint_name == constraint


@pytest.mark.parametrize(("constraint", "change"), REFUSED_IN_HISTORY)
def test_refuses_a_finished_job_that_may_not_be(sql, constraint, change):
    with pytest.raises(errors.CheckViolation) as raised:
        sql(insert("finished_job", {**FINISHED, **change}))

    assert raised.value.diag.constraint_name == constraint


@pytest.mark.parametrize(("constraint", "change"), REFUSED_KEYS)
def test_refuses_a_key_that_may_not_be(sql, constraint, change):
    with pytest.raises(errors.CheckViolation) as raised:
        sql(insert("api_key", {**KEY, **change}))

    assert raised.value.diag.constraint_name == constraint


def test_takes_the_key_that_the_refused_ones_differ_from(sql):
    more = {"previous_hash": "sha256('')", "previous_until": "now()", "queues": "'{mail}'", "rate_limit": "0.5"}

    assert sql(insert("api_key", KEY))
    assert sql(insert("api_key", {**KEY, **more, "id": "repeat('a', 32)"}))


@pytest.mark.parametrize(("constraint", "statement"), REFUSED_ELSEWHERE)
def test_refuses_other_rows_that_may_not_be(sql, constraint, statement):
    with pytest.raises(errors.CheckViolation) as raised:
        sql(statement)

    assert raised.value.diag.constraint_name == constraint


@pytest.mark.parametrize("table", ["job", "finished_job"])
def test_takes_the_rows_that_the_refused_ones_differ_from(sql, table):
    assert sql(insert(table, LIVE if table == "job" else FINISHED))
    assert table == "finished_job" or sql(insert(table, {**LIVE, **RUNNING}))


BOUNDS = [
    {"kind": "repeat('m', 64)", "queue": "'a._-9'"},
    {"priority": "-100", "max_attempts": "1", "timeout_seconds": "1"},
    {"priority": "100", "max_attempts": "1000", "timeout_seconds": "86400"},
    {"run_at": "'9999-12-30 23:59:59+00'"},
    {"run_at": "'1970-01-01 00:00:00+00'"},
    {"idempotency_key": "repeat('k', 255)"},
]


@pytest.mark.parametrize("change", BOUNDS)
def test_takes_a_live_job_up_to_the_bounds(sql, conn, change):
    [[job_id]] = sql(insert("job", {**LIVE, **change}))

    assert produce.get(conn, job_id).status is JobStatus.QUEUED


def test_every_named_check_is_tested_here(sql):
    tested = {name for name, _ in REFUSED + REFUSED_IN_HISTORY + REFUSED_KEYS + REFUSED_ELSEWHERE}

    checks = sql(
        "SELECT DISTINCT conname FROM pg_constraint"
        " WHERE connamespace = 'haulier'::regnamespace AND contype = 'c' AND conparentid = 0"
    )

    assert {row[0] for row in checks} == tested


# --- What it looks like


def columns(sql: Sql, table: str) -> list[str]:
    return [
        row[0]
        for row in sql(
            "SELECT column_name FROM information_schema.columns WHERE table_schema = 'haulier' AND table_name = %s",
            table,
        )
    ]


def test_the_views_columns_are_the_fields_of_job(sql):
    assert sorted(columns(sql, "jobs")) == sorted(Job._fields)


def test_history_keeps_every_column_of_a_job_but_those_of_the_living(sql):
    live, finished = set(columns(sql, "job")), set(columns(sql, "finished_job"))

    assert live - finished == {"worker_id", "suspect", "backoff"}
    assert finished - live == {"finished_at", "result"}


def test_ids_are_uuids_of_version_7_in_the_order_of_time(sql):
    made = [row[0] for row in sql("SELECT haulier.uuidv7() FROM generate_series(1, 200)")]
    [[in_order]] = sql(
        "SELECT bool_and(milliseconds BETWEEN before AND after) FROM ("
        "  SELECT ('x' || translate(left(haulier.uuidv7()::text, 13), '-', ''))::bit(48)::bigint AS milliseconds,"
        "    floor(extract(epoch FROM statement_timestamp()) * 1000) AS before,"
        "    floor(extract(epoch FROM statement_timestamp()) * 1000) + 60000 AS after) AS made"
    )

    assert {job_id.version for job_id in made} == {7}
    assert {job_id.variant for job_id in made} == {UUID(int=0x8000 << 48).variant}
    assert len(set(made)) == 200
    assert in_order


def test_a_random_part_makes_ids_of_one_millisecond_differ(sql):
    [[distinct]] = sql("SELECT count(DISTINCT haulier.uuidv7()) FROM generate_series(1, 20000)")

    assert distinct == 20_000


# --- How it is applied


def test_applies_to_an_empty_database_and_again(fresh_database):
    with closing(connect(fresh_database)) as conn:
        first = migrate(conn, retention_days=30)
        before = sql_on(conn)("SELECT count(*) FROM pg_class WHERE relnamespace = 'haulier'::regnamespace")
        sql_on(conn)(INSERT)
        second = migrate(conn, retention_days=30)
        sql_on(conn)(SCHEMA_FILE.read_text())

        assert first == f"applied schema version {SCHEMA_VERSION}; 8 history partitions made"
        assert second == f"schema version {SCHEMA_VERSION} was up to date; 0 history partitions made"
        assert before == sql_on(conn)("SELECT count(*) FROM pg_class WHERE relnamespace = 'haulier'::regnamespace")
        assert sql_on(conn)("SELECT count(*) FROM haulier.job") == [(1,)]


def apply_with_migrate(conn: Connection) -> str:
    return migrate(conn, retention_days=30)


def apply_as_psql_does(conn: Connection) -> str:
    with conn.cursor() as cursor:
        cursor.execute(f"BEGIN; {SCHEMA_FILE.read_text()}; COMMIT")
    return "applied"


@pytest.mark.parametrize(
    ("apply", "said"),
    [(apply_with_migrate, ["applied", "schema ", "schema ", "schema "]), (apply_as_psql_does, ["applied"] * 4)],
)
def test_applies_from_several_at_once(fresh_database, apply, said):
    barrier, answers = threading.Barrier(4), []

    def run() -> None:
        with closing(connect(fresh_database)) as conn:
            barrier.wait(10)
            try:
                answers.append(apply(conn))
            except Exception as error:
                answers.append(repr(error))

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)

    assert sorted(answer[:7] for answer in answers) == said


def test_applies_again_while_the_system_is_at_work(fresh_database):
    with closing(connect(fresh_database)) as conn:
        migrate(conn, retention_days=30)
    over, problems, rounds = threading.Event(), [], []

    def work(number: int) -> None:
        with closing(connect(fresh_database)) as conn:
            worker = consume.register(conn, host="dock", pid=7, threads=1, queues=(), lease_seconds=30)
            try:
                while not over.is_set():
                    sql_on(conn)(INSERT)
                    new = NewJob("mail", {}, idempotency_key=f"{number} {len(rounds)}")
                    created, replayed, _ = produce.enqueue(conn, [new, new, NewJob("mail", {})])
                    assert replayed.job == created.job
                    for job in consume.claim(conn, worker_id=worker, claim_id=uuid4(), queues=(), limit=2):
                        consume.settle(conn, [Settlement(Fence.of(job), Outcome.complete())])
                    with suppress(InvalidTransition):
                        produce.cancel(conn, created.job.id)
                        produce.retry(conn, created.job.id)
                    consume.rescue(conn)
                    produce.list_jobs(conn, produce.JobFilter(limit=5))
                    purge_idempotency(conn, idempotency_days=30)
                    rounds.append(number)
            except Exception as error:
                problems.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    with closing(connect(fresh_database)) as conn:
        for _ in range(15):
            sql_on(conn)(f"BEGIN; {SCHEMA_FILE.read_text()}; COMMIT")
    over.set()
    for thread in threads:
        thread.join(20)

    assert problems == []
    assert set(rounds) == {0, 1, 2}


def test_needs_no_right_but_to_create_in_the_database(fresh_database, make_role):
    name = psycopg2.extensions.parse_dsn(fresh_database)["dbname"]
    owner = make_role(f"GRANT CREATE ON DATABASE {name} TO {{}}", url=fresh_database)

    migrate(owner, retention_days=30)
    sql_on(owner)(INSERT)
    worker = consume.register(owner, host="dock", pid=7, threads=1, queues=(), lease_seconds=30)
    [job] = consume.claim(owner, worker_id=worker, claim_id=uuid4(), queues=())
    consume.settle(owner, [Settlement(Fence.of(job), Outcome.complete())])

    assert produce.get(owner, job.id).status is JobStatus.SUCCEEDED
    role = owner.info.user
    owner.close()
    with closing(connect(fresh_database)) as conn:
        sql_on(conn)("DROP SCHEMA haulier CASCADE")
        sql_on(conn)(f"REVOKE ALL ON DATABASE {name} FROM {role}")


def test_leaves_nothing_where_applying_fails(fresh_database):
    text = SCHEMA_FILE.read_text() + "\nSELECT 1 / 0;"
    with closing(connect(fresh_database)) as conn:
        with pytest.raises(errors.DivisionByZero):
            sql_on(conn)(text)

        assert sql_on(conn)("SELECT to_regnamespace('haulier')") == [(None,)]


# --- Versions


@pytest.fixture
def versioned(fresh_database: str) -> Iterator[Callable[[int, int], Connection]]:
    """Give a function that returns a connection to a schema of that version, compatible from that one on."""
    with closing(connect(fresh_database)) as conn:
        migrate(conn, retention_days=30)

        def versioned(version: int, compatible_from: int) -> Connection:
            sql_on(conn)(
                "UPDATE haulier.schema_version SET version = %s, compatible_from = %s", version, compatible_from
            )
            return conn

        yield versioned


@pytest.mark.parametrize("newer", [0, 1, 7])
def test_a_program_starts_on_a_newer_schema_that_is_compatible(versioned, newer):
    check_schema(versioned(SCHEMA_VERSION + newer, SCHEMA_VERSION))


def test_a_program_stops_on_an_older_schema_with_the_command_to_run(versioned):
    conn = versioned(SCHEMA_VERSION - 1, SCHEMA_VERSION - 1)

    with pytest.raises(SchemaMismatch, match="run `python -m haulier migrate`"):
        check_schema(conn)


def test_a_program_stops_on_a_schema_that_is_too_new_for_it(versioned):
    conn = versioned(SCHEMA_VERSION + 2, SCHEMA_VERSION + 1)

    with pytest.raises(SchemaMismatch, match="deploy a newer release"):
        check_schema(conn)
    with pytest.raises(SchemaMismatch, match="deploy a newer release"):
        migrate(conn, retention_days=30)


def test_a_program_stops_where_there_is_no_schema_with_the_command_to_run(fresh_database):
    with (
        closing(connect(fresh_database)) as conn,
        pytest.raises(SchemaMismatch, match="run `python -m haulier migrate`"),
    ):
        check_schema(conn)


def test_a_program_stops_where_applying_was_interrupted_before_the_version(versioned):
    conn = versioned(SCHEMA_VERSION, SCHEMA_VERSION)
    sql_on(conn)("DELETE FROM haulier.schema_version")

    with pytest.raises(SchemaMismatch, match="run `python -m haulier migrate`"):
        check_schema(conn)
    migrate(conn, retention_days=30)

    check_schema(conn)


def test_migrate_of_an_older_program_leaves_a_newer_compatible_schema_as_it_is(versioned):
    conn = versioned(SCHEMA_VERSION + 3, SCHEMA_VERSION)
    sql_on(conn)(
        "CREATE OR REPLACE FUNCTION haulier.knock() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'"
    )

    said = migrate(conn, retention_days=30)

    assert said == f"schema version {SCHEMA_VERSION + 3} was up to date; 0 history partitions made"
    assert sql_on(conn)("SELECT version FROM haulier.schema_version") == [(SCHEMA_VERSION + 3,)]
    assert sql_on(conn)("SELECT prosrc FROM pg_proc WHERE proname = 'knock'") == [("BEGIN RETURN NULL; END",)]


def test_migrate_brings_an_older_schema_up_to_this_programs(versioned):
    conn = versioned(SCHEMA_VERSION - 1, SCHEMA_VERSION - 1)

    said = migrate(conn, retention_days=30)

    assert said.startswith(f"applied schema version {SCHEMA_VERSION};")
    check_schema(conn)


def test_the_program_and_the_file_agree_on_the_version(sql):
    [[version, compatible_from]] = sql("SELECT version, compatible_from FROM haulier.schema_version")

    assert version == SCHEMA_VERSION
    assert compatible_from <= version


def run_migrate(url: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "haulier", "migrate"],
        cwd=Path(__file__).parents[1],
        env={"PATH": os.environ["PATH"], "DATABASE_URL": url},
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_the_command_applies_it_and_says_so_in_a_line(fresh_database):
    done = run_migrate(fresh_database)

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"applied schema version {SCHEMA_VERSION}; 8 history partitions made\n"


def test_the_command_says_in_a_line_that_a_right_is_missing(fresh_database, make_role):
    stranger = make_role(url=fresh_database)
    url = re.sub(r"//([^@/]*@)?", f"//{stranger.info.user}:swordfish@", fresh_database, count=1)

    done = run_migrate(url)

    assert done.returncode == 1
    assert done.stdout == ""
    [line] = done.stderr.splitlines()
    assert line.startswith("haulier: ")
    assert "permission denied" in line
    assert "swordfish" not in line


# --- The plain INSERT


def test_a_plain_insert_of_kind_and_payload_is_a_job(sql, conn):
    sql(INSERT)

    [job] = [each.read() for each in produce.list_jobs(conn, produce.JobFilter()).jobs]
    assert (job.kind, job.payload, job.status, job.queue) == ("mail", {"n": 1}, JobStatus.QUEUED, "default")
    assert (job.priority, job.max_attempts, job.timeout_seconds, job.attempts) == (0, 3, None, 0)
    assert job.run_at == job.created_at == job.updated_at


def test_a_plain_insert_is_there_and_knocks_when_the_applications_transaction_commits(
    application, database, direct, conn, sleeper
):
    with closing(connect(direct(database))) as listening:
        listen(listening)
        ear = knocks(listening, wait=0.05, probe=10)
        application.autocommit = False
        sql_on(application)(INSERT)
        before = (next(ear), produce.list_jobs(conn, produce.JobFilter()).jobs)

        application.commit()

        heard = next(knock for knock in ear if knock)
    assert before == (None, [])
    assert heard == Knock(sleeper)
    assert len(produce.list_jobs(conn, produce.JobFilter()).jobs) == 1


def test_a_plain_insert_is_no_job_when_the_applications_transaction_rolls_back(application, conn):
    application.autocommit = False
    sql_on(application)(INSERT)

    application.rollback()

    assert produce.list_jobs(conn, produce.JobFilter()).jobs == []


def test_the_knock_is_the_only_trigger_and_one_for_a_statement_not_a_row(sql):
    triggers = sql(
        "SELECT tgname, (tgtype & 1) = 0 FROM pg_trigger"
        " JOIN pg_class ON pg_class.oid = tgrelid WHERE relnamespace = 'haulier'::regnamespace AND NOT tgisinternal"
    )

    assert triggers == [("knock", True)]


@pytest.mark.parametrize("grant", [COLUMN_GRANT, TABLE_GRANT], ids=["columns", "table"])
def test_a_plain_insert_needs_usage_and_insert_alone(make_role, conn, grant):
    application = make_role("GRANT USAGE ON SCHEMA haulier TO {}", grant)

    sql_on(application)(INSERT)
    sql_on(application)(
        "INSERT INTO haulier.job (kind, payload, queue, priority, run_at, max_attempts, timeout_seconds)"
        " VALUES ('mail', '{}', 'bulk', 7, now() + interval '1 day', 5, 60)"
    )

    later, sooner = produce.list_jobs(conn, produce.JobFilter()).jobs
    assert {later.queue, sooner.queue} == {"bulk", "default"}


def test_a_plain_insert_runs_like_any_other_job(application, conn):
    sql_on(application)(INSERT)
    worker = consume.register(conn, host="dock", pid=7, threads=1, queues=(), lease_seconds=30)

    [job] = consume.claim(conn, worker_id=worker, claim_id=uuid4(), queues=())
    settled = consume.settle(conn, [Settlement(Fence.of(job), Outcome.complete())])

    assert settled == {job.id: JobStatus.SUCCEEDED}


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("id", "haulier.uuidv7()"),
        ("idempotency_key", "'order-7'"),
        ("status", "'running'"),
        ("attempt", "5"),
        ("created_at", "now()"),
        ("cancel_requested", "true"),
        ("last_error", "'x'"),
    ],
)
@pytest.mark.direct("what it sets for its session would be its neighbours' too")
def test_the_column_grant_lets_an_application_set_nothing_else(application, column, value):
    with pytest.raises(errors.InsufficientPrivilege):
        sql_on(application)(f"INSERT INTO haulier.job (kind, payload, {column}) VALUES ('mail', '{{}}', {value})")


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT payload FROM haulier.job",
        "SELECT id FROM haulier.jobs",
        "SELECT id FROM haulier.finished_job",
        "SELECT key FROM haulier.idempotency",
        "UPDATE haulier.job SET priority = 100",
        "DELETE FROM haulier.job",
        "INSERT INTO haulier.worker (host, pid, threads, lease) VALUES ('x', 1, 1, '1 hour')",
        "SELECT worker_id FROM haulier.sleeper",
        "DELETE FROM haulier.sleeper",
        "CREATE TEMPORARY TABLE mine () ; CREATE TRIGGER mine AFTER INSERT ON mine EXECUTE FUNCTION haulier.knock()",
        "INSERT INTO haulier.job (kind, payload) VALUES ('mail', '{}') RETURNING id",
    ],
)
def test_an_application_may_neither_read_nor_change_what_others_enqueued(application, statement):
    with pytest.raises(errors.InsufficientPrivilege):
        sql_on(application)(statement)


def test_a_plain_insert_wakes_a_sleeper_though_the_application_may_not_see_it(application, sleeper, database, direct):
    with closing(connect(direct(database))) as listening:
        listen(listening)
        ear = knocks(listening, wait=0.05, probe=10)

        sql_on(application)(INSERT)

        assert next(knock for knock in ear if knock) == Knock(sleeper)


@pytest.mark.parametrize("path", ["trap", "trap, pg_catalog", "pg_temp, trap, haulier, pg_catalog"])
@pytest.mark.direct("what it sets for its session would be its neighbours' too")
def test_a_plain_insert_does_not_depend_on_the_applications_search_path(conn, make_role, sql, sleeper, path):
    application = make_role("GRANT USAGE ON SCHEMA haulier TO {}", COLUMN_GRANT)
    sql(f"CREATE SCHEMA trap AUTHORIZATION {application.info.user}")
    trap = sql_on(application)
    springs = " LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION ''trapped''; END'"
    try:
        for name, arguments, returns in (
            ("pg_notify", "text, text", "void"),
            ("uuidv7", "", "uuid"),
            ("knock", "", "void"),
            ("now", "", "timestamptz"),
            ("random", "", "float8"),
            ("array_agg", "text", "text[]"),
            ("overlap", "text[], text[]", "boolean"),
        ):
            trap(f"CREATE FUNCTION trap.{name}({arguments}) RETURNS {returns}" + springs)
        trap("CREATE OPERATOR trap.&& (LEFTARG = text[], RIGHTARG = text[], FUNCTION = trap.overlap)")
        for table in ("sleeper", "enqueued"):
            trap(f"CREATE TABLE trap.{table} (worker_id uuid, queues text[], queue text)")
            trap(f"CREATE TEMPORARY TABLE {table} (worker_id uuid, queues text[], queue text)")
        trap(f"SET search_path = {path}")

        trap(INSERT)
    finally:
        application.close()
        sql("DROP SCHEMA trap CASCADE")

    assert len(produce.list_jobs(conn, produce.JobFilter()).jobs) == 1
