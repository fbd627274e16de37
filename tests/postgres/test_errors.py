"""What an error of the database means: an outage, a refusal for good, or a bug. It ..."""

from __future__ import annotations

import psycopg2
import pytest
from psycopg2.extensions import TRANSACTION_STATUS_IDLE, TRANSACTION_STATUS_INTRANS

from haulier.domain.errors import DatabaseUnavailable, StatementRefused, TooManyConnections
from haulier.domain.job import NewJob
from haulier.postgres.errors import translated
from haulier.postgres.pool import Database
from haulier.postgres.statements import end_with, rows, transaction, transaction_of
from lab.proxy import proxy_to
from tests import queueing
from tests.queue.schedules.schedules import plant


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
            queueing.enqueue(mine, [NewJob("mail", {})])

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
        queueing.enqueue(conn, [NewJob("mail", {})])


def test_a_broken_statement_is_a_bug_and_passes_as_it_is(subject):
    with pytest.raises(StatementRefused), subject.connection() as conn:
        queueing.enqueue(conn, [NewJob("Not A Name", {})])

    with subject.connection() as after:
        assert after.get_transaction_status() == TRANSACTION_STATUS_IDLE


def test_an_error_inside_a_transaction_rolls_it_back(subject, sql):
    used = []

    def fail_midway() -> None:
        with subject.connection() as conn, transaction(conn):
            used.append(conn)
            queueing.enqueue(conn, [NewJob("mail", {})])
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail_midway()

    with subject.connection() as after:
        assert used == [after]
        assert after.get_transaction_status() == TRANSACTION_STATUS_IDLE
    assert sql("SELECT count(*) FROM haulier.job") == [(0,)]


def test_a_transaction_gives_the_rows_of_its_first_statement_and_nests(subject, sql):
    with subject.connection() as conn:
        with transaction_of(conn, "any_schedule") as begun:
            queueing.enqueue(conn, [NewJob("mail", {})])
            assert conn.get_transaction_status() == TRANSACTION_STATUS_INTRANS
        assert begun.rows == [{"is_there": False}]
        assert conn.get_transaction_status() == TRANSACTION_STATUS_IDLE
        with pytest.raises(ZeroDivisionError), transaction(conn), transaction_of(conn, "any_schedule") as begun:
            assert begun.rows == [{"is_there": False}]
            queueing.enqueue(conn, [NewJob("mail", {})])
            raise ZeroDivisionError

    assert sql("SELECT count(*) FROM haulier.job") == [(1,)]


def test_a_transaction_ends_with_its_last_statement_unless_it_is_part_of_another(subject, sql):
    last = {"names": "{nightly}", "decisions": "{1}", "decided_tos": "{now}", "pendings": "{NULL}", "looks": "{now}"}
    last |= {"nexts": "{2100-01-01}", "of_decisions": "{}", "ats": "{}", "outcomes": "{}"}
    moved = "SELECT count(*) FROM haulier.schedule WHERE next_at = '2100-01-01'"
    plant(sql, seconds_ago=9)
    [[tick]] = sql("SELECT counts_from + interval '1 second' FROM haulier.schedule")

    with subject.connection() as conn:
        with pytest.raises(ZeroDivisionError), transaction(conn), transaction_of(conn, "any_schedule") as begun:
            end_with(begun, "move_and_fire", **last)
            assert sql(moved) == [(0,)]
            raise ZeroDivisionError
        assert sql(moved) == [(0,)]
        with pytest.raises(psycopg2.errors.CheckViolation), transaction_of(conn, "any_schedule") as begun:
            end_with(begun, "move_and_fire", **{**last, "of_decisions": "{1}", "ats": [tick], "outcomes": "{lost}"})
        assert conn.get_transaction_status() == TRANSACTION_STATUS_IDLE
        assert sql(moved) == [(0,)]
        with transaction_of(conn, "any_schedule") as begun:
            end_with(begun, "move_and_fire", **last)
            assert conn.get_transaction_status() == TRANSACTION_STATUS_IDLE
            assert sql(moved) == [(1,)]


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


REFUSED = {
    "SELECT 'x'::integer": True,
    "INSERT INTO haulier.job (kind, payload) VALUES ('Not a kind', '{}')": True,
    "INSERT INTO haulier.job (kind, payload) VALUES ('mail', NULL)": True,
    # A table of somebody else's may refuse it today and take it tomorrow.
    "CREATE TEMPORARY TABLE n (n integer CONSTRAINT small CHECK (n < 3)); INSERT INTO n VALUES (7)": False,
    "CREATE TEMPORARY TABLE n (n integer NOT NULL); INSERT INTO n VALUES (NULL)": False,
    "CREATE TEMPORARY TABLE n (n integer PRIMARY KEY); INSERT INTO n VALUES (7), (7)": False,
    "DO 'BEGIN RAISE invalid_text_representation; END'": False,
    "DO 'BEGIN RAISE check_violation; END'": False,
    "DO 'BEGIN RAISE EXCEPTION ''not today''; END'": False,
    "DO 'BEGIN RAISE insufficient_privilege; END'": False,
    "DO 'BEGIN RAISE internal_error; END'": False,
}


def test_distinguishes_values_that_can_never_be_stored_from_what_may_pass(subject):
    lasting = {}
    for statement in REFUSED:
        with pytest.raises(StatementRefused) as raised, subject.connection() as conn, conn.cursor() as cursor:
            cursor.execute(statement)
        lasting[statement] = raised.value.is_lasting

    assert lasting == REFUSED
