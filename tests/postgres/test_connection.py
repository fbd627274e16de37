"""A connection: it ..."""

from __future__ import annotations

import gc
import json
import os
import resource
import signal
import threading
import time
import weakref
from collections.abc import Iterator
from contextlib import ExitStack, closing
from uuid import uuid4

import psycopg2
import pytest
from psycopg2.extensions import TRANSACTION_STATUS_IDLE, make_dsn

from haulier.domain.claim import Fence, Settlement
from haulier.domain.errors import ConfigError, DatabaseUnavailable, StatementRefused, TooManyConnections
from haulier.domain.job import NewJob
from haulier.domain.outcome import Outcome
from haulier.postgres import statements
from haulier.postgres.connection import connect, is_broken
from haulier.postgres.database import Database
from haulier.postgres.errors import translated
from haulier.postgres.statements import rows, transaction
from haulier.postgres.watchdog import watchdog
from haulier.queue import consume, produce
from haulier.queue.produce.look import JobFilter
from lab.proxy import proxy_to
from tests.conftest import eventually


@pytest.fixture
def name() -> str:
    """Give the subject's application_name, which is no other test's: a pool keeps what is left of those."""
    return f"haulier test {uuid4().hex[:12]}"


@pytest.fixture
def subject(database: str, name: str) -> Iterator[Database]:
    """Give the Database under test; its connections are found by their application_name."""
    made = Database(database, application_name=name)
    with made.connection():
        pass
    yield made
    made.close()


@pytest.fixture
def backends(sql, name):
    """Give a function that returns the server processes behind the subject's connections."""
    mine = "FROM pg_stat_activity WHERE application_name = %s AND datname = current_database()"
    return lambda: [row[0] for row in sql(f"SELECT pid {mine}", name)]


@pytest.fixture
def end_backends(sql, backends):
    """Give a function that ends those processes, and returns when they have."""

    def end_backends() -> None:
        for pid in backends():
            sql("SELECT pg_terminate_backend(%s)", pid)
        assert eventually(lambda: not backends())

    return end_backends


@pytest.fixture
def locked(enqueue, open_conn):
    """Give a job whose row somebody else has locked, for as long as the test runs."""
    job, rival = enqueue(), open_conn()
    rival.autocommit = False
    with rival.cursor() as cursor:
        cursor.execute("SELECT FROM haulier.job WHERE id = %s FOR UPDATE", (job.id,))
    yield job
    rival.rollback()


@pytest.mark.direct("looks at the server's own connections")
def test_is_one_for_each_thread_and_kept_for_its_next_use(subject, backends):
    with subject.connection() as first:
        pass
    with subject.connection() as second:
        pass
    others = []

    def use() -> None:
        with subject.connection() as conn:
            others.append(conn)
        subject.close()

    thread = threading.Thread(target=use)
    thread.start()
    thread.join()

    assert first is second
    assert others[0] is not first
    assert eventually(lambda: len(backends()) == 1)


def test_a_statement_that_takes_too_long_is_database_unavailable(subject, locked):
    began = time.monotonic()

    with pytest.raises(DatabaseUnavailable), subject.connection() as conn:
        rows(conn, "cancel", id=locked.id, actor=None, seconds=0.2)

    assert 0.15 < time.monotonic() - began < 2.9


def test_a_transaction_gives_up_waiting_for_a_lock(subject, locked):
    began = time.monotonic()

    with pytest.raises(DatabaseUnavailable), subject.connection() as conn, transaction(conn, lock_seconds=0.2):
        rows(conn, "cancel", id=locked.id, actor=None)

    assert 0.15 < time.monotonic() - began < 2.9


def test_a_transaction_bounds_each_of_its_statements(subject, locked):
    began = time.monotonic()

    def ping_and_lock() -> None:
        with subject.connection() as conn, transaction(conn, seconds=0.2):
            rows(conn, "ping")
            rows(conn, "cancel", id=locked.id, actor=None)

    with pytest.raises(DatabaseUnavailable):
        ping_and_lock()

    assert 0.15 < time.monotonic() - began < 2.9


def test_leaves_no_timeout_behind_in_the_session(subject):
    with subject.connection() as conn, conn.cursor() as cursor:
        rows(conn, "ping", seconds=1)
        with transaction(conn, seconds=1, lock_seconds=1):
            rows(conn, "ping")
        cursor.execute("SELECT current_setting('statement_timeout'), current_setting('lock_timeout')")
        left = cursor.fetchone()

    assert left == ("0", "0")


def test_gives_up_by_itself_on_a_server_that_stops_answering(database):
    with proxy_to(database) as proxy:
        subject = Database(proxy.url)
        with subject.connection() as conn:
            rows(conn, "ping")
        proxy.silent = True
        began = time.monotonic()

        with pytest.raises(DatabaseUnavailable), subject.connection() as conn:
            rows(conn, "ping", seconds=0.2)

        assert 2.0 < time.monotonic() - began < 6.0
        proxy.silent = False
        with subject.connection() as conn:
            assert rows(conn, "ping")
        subject.close()


def test_the_deadline_of_one_call_does_not_cut_off_another_thread(database, subject, enqueue, open_conn):
    job, rival, answers = enqueue(), open_conn(), []
    rival.autocommit = False
    with rival.cursor() as cursor:
        cursor.execute("SELECT FROM haulier.job WHERE id = %s FOR UPDATE", (job.id,))

    def wait_for_the_lock() -> None:
        with subject.connection() as conn:
            answers.append(rows(conn, "cancel", id=job.id, actor=None, seconds=30))
        subject.close()

    patient = threading.Thread(target=wait_for_the_lock)
    patient.start()
    with proxy_to(database) as proxy:
        hasty = Database(proxy.url)
        with hasty.connection():
            proxy.silent = True
        with pytest.raises(DatabaseUnavailable), hasty.connection() as conn:
            rows(conn, "ping", seconds=0.0)
    rival.rollback()
    patient.join(10)

    assert answers == [[{"was": "waiting"}]]


@pytest.mark.direct("looks at the server's own connections")
def test_a_connection_that_the_server_has_closed_is_opened_anew(subject, backends, sql):
    with subject.connection() as first:
        [before] = backends()
    sql("SELECT pg_terminate_backend(%s)", before)
    assert eventually(lambda: is_broken(first))

    with subject.connection() as second:
        answer = rows(second, "ping")

    assert answer
    assert second is not first
    assert before not in backends()


def test_a_backend_that_is_terminated_under_a_call_is_database_unavailable_once(subject, end_backends):
    def lose_it_midway() -> None:
        with subject.connection() as conn, transaction(conn):
            rows(conn, "ping")
            end_backends()
            rows(conn, "ping")

    with pytest.raises(DatabaseUnavailable):
        lose_it_midway()

    with subject.connection() as conn:
        assert rows(conn, "ping")


def test_a_reply_cut_off_by_the_network_is_database_unavailable(database, conn):
    with proxy_to(database) as proxy:
        subject = Database(proxy.url)
        with subject.connection() as mine:
            rows(mine, "ping")
        proxy.cut_reply_to = b"INSERT INTO haulier.job"

        with pytest.raises(DatabaseUnavailable), subject.connection() as mine:
            produce.enqueue(mine, [NewJob("mail", {})])

        subject.close()
        assert proxy.cuts == 1


def test_a_server_that_is_away_is_database_unavailable(database):
    with proxy_to(database) as proxy:
        url = proxy.url

    with pytest.raises(DatabaseUnavailable), Database(url).connection():
        pass


@pytest.mark.direct("what it sets for its session would be its neighbours' too")
def test_a_standby_that_takes_no_writes_is_database_unavailable(subject):
    with subject.connection() as conn, conn.cursor() as cursor:
        cursor.execute("SET default_transaction_read_only = on")

    with pytest.raises(DatabaseUnavailable), subject.connection() as conn:
        produce.enqueue(conn, [NewJob("mail", {})])


@pytest.mark.direct("looks at the server's own connections")
def test_one_connection_too_many_is_said_to_be_that(database, sql):
    if sql("SELECT rolsuper FROM pg_roles WHERE rolname = current_user") != [(True,)]:
        pytest.skip("the role of DATABASE_URL may not make other roles")
    role = f"haulier_test_{uuid4().hex[:12]}"
    sql(f"CREATE ROLE {role} LOGIN PASSWORD 'swordfish' CONNECTION LIMIT 1")
    url = make_dsn(database, user=role, password="swordfish")
    try:
        with closing(connect(url)), pytest.raises(TooManyConnections) as raised:
            connect(url)
    finally:
        sql(f"DROP ROLE {role}")

    assert isinstance(raised.value, DatabaseUnavailable)
    assert "swordfish" not in str(raised.value)


@pytest.mark.parametrize(
    "url", ["postgres://u:swordfish@[::1/x", "postgres://u:swordfish@h/d?nonsense=1", "postgres://%zz"]
)
def test_a_dsn_that_cannot_be_read_is_said_to_be_that_without_its_password(url):
    with pytest.raises(ConfigError, match="DATABASE_URL") as raised:
        connect(url)

    assert "swordfish" not in str(raised.value)
    # Causes are logged, and what libpq says may quote any part of the string.
    assert raised.value.__cause__ is None


def test_a_broken_statement_is_a_bug_and_passes_as_it_is(subject):
    with pytest.raises(StatementRefused), subject.connection() as conn:
        produce.enqueue(conn, [NewJob("Not A Name", {})])

    with subject.connection() as after:
        assert after.get_transaction_status() == TRANSACTION_STATUS_IDLE


def test_an_error_inside_a_transaction_rolls_it_back(subject, sql):
    used = []

    def fail_midway() -> None:
        with subject.connection() as conn, transaction(conn):
            used.append(conn)
            produce.enqueue(conn, [NewJob("mail", {})])
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail_midway()

    with subject.connection() as after:
        assert used == [after]
        assert after.get_transaction_status() == TRANSACTION_STATUS_IDLE
    assert sql("SELECT count(*) FROM haulier.job") == [(0,)]


def test_a_connection_left_in_a_transaction_is_not_used_again(subject):
    with subject.connection() as first, first.cursor() as cursor:
        cursor.execute("BEGIN")

    with subject.connection() as second:
        answer = rows(second, "ping")

    assert answer
    assert second is not first
    assert first.closed


@pytest.mark.direct("looks at the server's own connections")
def test_nothing_leaks_from_threads_that_come_and_go(subject, backends):
    subject.close()

    def use() -> None:
        with subject.connection() as conn:
            rows(conn, "ping")

    for _ in range(10):
        threads = [threading.Thread(target=use) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    gc.collect()

    assert eventually(lambda: backends() == [])


def test_a_connection_that_was_watched_is_not_kept_alive(locked, database):
    conn = connect(database)
    gone = weakref.ref(conn)

    # Long enough for the watchdog to have looked at it once.
    with pytest.raises(DatabaseUnavailable), translated():
        rows(conn, "cancel", id=locked.id, actor=None, seconds=0.8)
    del conn
    # The error's traceback is a cycle, and holds the connection as well until it is collected.
    gc.collect()

    assert eventually(lambda: gone() is None)


@pytest.mark.direct("looks at the server's own connections")
def test_nothing_leaks_from_calls_that_fail(subject, backends, end_backends):
    descriptors = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else None

    def lose_it() -> None:
        with subject.connection() as conn:
            end_backends()
            rows(conn, "ping")

    for _ in range(10):
        with pytest.raises(DatabaseUnavailable):
            lose_it()

    assert backends() == []
    assert descriptors is None or len(os.listdir("/proc/self/fd")) <= descriptors


def test_works_with_descriptors_above_1024(database):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < 1200:
        pytest.skip("this machine allows no process so many descriptors")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 1200), hard))
    try:
        with ExitStack() as opened:
            while opened.enter_context(open(os.devnull)).fileno() < 1100:
                pass
            subject = Database(database)
            with subject.connection() as first:
                rows(first, "ping")
            with subject.connection() as second:
                answer = rows(second, "ping")
                descriptor = second.fileno()
            subject.close()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

    assert descriptor > 1024
    assert answer
    assert second is first


HARD_PAYLOADS = {
    "5,000 digits": '{"n": ' + "7" * 5000 + "}",
    "1e400": '{"n": 1e400, "m": -1e400}',
    "deep": '{"n": ' + "[" * 2000 + "]" * 2000 + "}",
    "tiny": '{"n": 1e-400}',
}


@pytest.mark.parametrize("payload", HARD_PAYLOADS.values(), ids=HARD_PAYLOADS.keys())
def test_reads_a_payload_that_an_insert_made_harder_than_json_parsers_like(conn, sql, claim, payload):
    sql("INSERT INTO haulier.job (kind, payload) VALUES ('mail', %s)", payload)

    [listed] = produce.list_jobs(conn, JobFilter()).jobs
    claimed = claim()

    assert isinstance(listed.payload, dict)
    assert json.dumps(listed.payload, allow_nan=False)
    assert json.loads(listed.payload_text) == listed.payload
    assert claimed.payload == listed.payload


def test_translated_knows_an_outage_from_a_bug():
    with pytest.raises(DatabaseUnavailable), translated():
        raise psycopg2.OperationalError("server closed the connection unexpectedly")
    with pytest.raises(DatabaseUnavailable), translated():
        raise psycopg2.DatabaseError("lost synchronization with server")
    with pytest.raises(TooManyConnections), translated():
        raise psycopg2.OperationalError("FATAL:  remaining connection slots are reserved")
    with pytest.raises(TooManyConnections), translated():
        raise psycopg2.OperationalError("FATAL:  no more connections allowed (max_client_conn)")
    with pytest.raises(StatementRefused, match="^no such column$"), translated():
        raise psycopg2.ProgrammingError("no such column")


def test_a_statement_that_will_always_be_too_much_is_refused_and_no_outage(subject):
    too_much = "SELECT " + ", ".join(["1"] * 2000)

    with pytest.raises(StatementRefused), subject.connection() as conn, conn.cursor() as cursor:
        cursor.execute(too_much)


@pytest.mark.parametrize(
    ("statement", "is_lasting"),
    [
        ("SELECT 'x'::integer", True),
        ("INSERT INTO haulier.job (kind, payload) VALUES ('Not a kind', '{}')", True),
        ("INSERT INTO haulier.job (kind, payload) VALUES ('mail', NULL)", True),
        # What a table of somebody else's refuses today it may take tomorrow.
        ("CREATE TEMPORARY TABLE n (n integer CONSTRAINT small CHECK (n < 3)); INSERT INTO n VALUES (7)", False),
        ("CREATE TEMPORARY TABLE n (n integer NOT NULL); INSERT INTO n VALUES (NULL)", False),
        ("DO 'BEGIN RAISE invalid_text_representation; END'", False),
        ("DO 'BEGIN RAISE check_violation; END'", False),
        ("CREATE TEMPORARY TABLE n (n integer PRIMARY KEY); INSERT INTO n VALUES (7), (7)", False),
        ("DO 'BEGIN RAISE EXCEPTION ''not today''; END'", False),
        ("DO 'BEGIN RAISE insufficient_privilege; END'", False),
        ("DO 'BEGIN RAISE internal_error; END'", False),
    ],
)
def test_tells_values_that_can_never_be_stored_from_what_may_pass(subject, statement, is_lasting):
    with pytest.raises(StatementRefused) as raised, subject.connection() as conn, conn.cursor() as cursor:
        cursor.execute(statement)

    assert raised.value.is_lasting is is_lasting


def test_a_transaction_that_its_process_forgot_does_not_hold_its_locks_for_ever(
    subject, backends, enqueue, monkeypatch
):
    monkeypatch.setattr(statements, "IDLE_SECONDS", 0.1)
    job = enqueue()

    def forget() -> None:
        with subject.connection() as conn, transaction(conn):
            rows(conn, "cancel", id=job.id, actor=None)
            assert eventually(lambda: not backends())
            rows(conn, "ping")

    with pytest.raises(DatabaseUnavailable):
        forget()

    with subject.connection() as conn:
        assert produce.cancel(conn, job.id) is True


def test_a_connection_that_breaks_makes_the_other_threads_open_theirs_anew(database):
    with proxy_to(database) as proxy:
        subject, seen, step = Database(proxy.url), [], threading.Barrier(2)

        def other() -> None:
            for _ in range(2):
                with subject.connection() as conn:
                    seen.append(conn)
                    rows(conn, "ping")
                step.wait(10)
                step.wait(10)
            subject.close()

        thread = threading.Thread(target=other)
        thread.start()
        step.wait(10)
        with subject.connection():
            proxy.silent = True
        with pytest.raises(DatabaseUnavailable), subject.connection() as conn:
            rows(conn, "ping", seconds=0.0)
        proxy.silent = False
        for _ in range(3):
            step.wait(10)
        thread.join(10)

    first, second = seen
    assert second is not first


def test_works_in_a_child_that_was_forked_while_another_thread_was_at_the_watchdog(database: str) -> None:
    held, forked = threading.Event(), threading.Event()

    def hold() -> None:
        with watchdog._lock:
            held.set()
            forked.wait(30)

    holder = threading.Thread(target=hold)
    holder.start()
    held.wait()
    child = os.fork()
    if child == 0:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)  # pytest's would go on with the tests, in the child
        signal.alarm(5)
        with closing(connect(database)) as conn:
            produce.ping(conn)
        os._exit(0)
    forked.set()
    holder.join()

    [_, status] = os.waitpid(child, 0)

    assert os.waitstatus_to_exitcode(status) == 0


@pytest.mark.parametrize("encoding", ["latin1", "sql_ascii", "euc_jp"])
def test_speaks_utf_8_whatever_the_role_defaults_to(conn, database, encoding):
    text = "日本 € Ünïcode 🚢"
    # As ALTER ROLE … SET client_encoding does, without changing the role of every other test.
    url = make_dsn(database, options=f"-c client_encoding={encoding}")
    with closing(connect(url)) as mine:
        worker = consume.register(mine, host="dock", pid=7, threads=1, queues=(), lease_seconds=30)
        produce.enqueue(mine, [NewJob("mail", {"text": text})])
        produce.enqueue(mine, [NewJob("mail", {"text": text}) for _ in range(2)])

        jobs = consume.claim(mine, worker_id=worker, claim_id=uuid4(), queues=(), limit=9)
        settlements = [Settlement(Fence.of(job), Outcome.fail_for_good(text)) for job in jobs]
        consume.settle(mine, settlements)

        assert [job.payload for job in jobs] == [{"text": text}] * 3
        assert {job.last_error for job in produce.list_jobs(mine, produce.JobFilter()).jobs} == {text}
