"""What an error of the database means: an outage, a refusal of one row or for good, or a bug. It ..."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import psycopg2
import pytest
from psycopg2.extensions import TRANSACTION_STATUS_IDLE, TRANSACTION_STATUS_INTRANS

from haulier.domain.errors import (
    DatabaseUnavailable,
    HaulierError,
    Locked,
    ReadOnly,
    Refusal,
    RefusedForNow,
    RowRefused,
    StatementRefused,
    TooManyConnections,
)
from haulier.domain.job import NewJob
from haulier.postgres.errors import PASSING_CLASSES, translated
from haulier.postgres.halves import MOST_IN_VAIN, MOST_PASSED_OVER, by_halves, in_order
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


ROOT = Path(__file__).parents[2]
RAISE = "DO $$ BEGIN RAISE 'not this one' USING ERRCODE = '{}'; END $$"
PASSING = ("08001", "25006", "28P01", "40P01", "53100", "53300", "55000", "57014", "57P03", "58030", "HV00N")
OF_A_ROW = ("22003", "22P02", "23505", "23514", "27000", "42501", "42P01", "54000", "P0001", "XX000", "MY001")


@pytest.fixture
def error_of(subject):
    """Give a function that returns the error that a statement fails with."""

    def error_of(*statements: str) -> HaulierError:
        with pytest.raises(HaulierError) as raised, subject.connection() as conn, transaction(conn):
            for statement in statements:
                with conn.cursor() as cursor:
                    cursor.execute(statement)
        return raised.value

    return error_of


def test_what_a_trigger_raises_is_about_the_row_or_passes(error_of, backends):
    before = backends()

    found = {code: error_of(RAISE.format(code)) for code in (*PASSING, *OF_A_ROW)}

    assert {code for code, error in found.items() if isinstance(error, RefusedForNow)} == {*PASSING}
    assert {code for code, error in found.items() if isinstance(error, RowRefused)} == {*OF_A_ROW}
    assert {str(found[code]) for code in OF_A_ROW} == {"not this one"}
    # The server has said that it shuts down, or takes no connection: it was a trigger that said so.
    assert backends() == before


def test_schedules_decide_by_the_same_classes_in_the_schema():
    schema = (ROOT / "schema.sql").read_text(encoding="utf-8")

    assert f"left(code, 2) IN ({', '.join(map(repr, PASSING_CLASSES))})" in schema


def test_a_constraint_or_an_index_of_the_owner_refuses_the_row(error_of):
    made = "CREATE TEMPORARY TABLE n (n text CONSTRAINT small CHECK (length(n) < 3), m text NOT NULL UNIQUE)"

    found = [
        error_of(made, "INSERT INTO n VALUES ('abc', '')"),
        error_of(made, "INSERT INTO n VALUES ('a', NULL)"),
        error_of(made, "INSERT INTO n VALUES ('a', ''), ('b', '')"),
        error_of(made, "INSERT INTO n SELECT '', string_agg(n::text, '') FROM generate_series(1, 9999) AS n"),
    ]

    assert [type(error) for error in found] == [RowRefused] * 4
    assert "check constraint" in str(found[0])


def test_a_missing_table_column_or_right_refuses_the_statement(error_of):
    found = [
        error_of("SELECT FROM haulier.no_such_table"),
        error_of("SELECT no_such_column FROM haulier.job"),
        error_of("CREATE ROLE pg_no_such_role"),
    ]

    assert [type(error) for error in found] == [StatementRefused] * 3


def test_does_not_quote_a_value_that_cannot_be_converted(error_of):
    found = [
        error_of("SELECT '{\"a\": \"secret\"}'::jsonb ->> 'a', 'secret'::integer"),
        error_of("DO $$ BEGIN PERFORM 'secret'::integer; END $$"),
    ]

    assert {str(error) for error in found} == {"a value does not fit (InvalidTextRepresentation, SQLSTATE 22P02)"}


def test_a_missing_partition_passes(error_of):
    error = error_of(
        "CREATE TEMPORARY TABLE parted (at date) PARTITION BY RANGE (at)", "INSERT INTO parted VALUES (now())"
    )

    assert isinstance(error, RefusedForNow)
    assert not isinstance(error, Locked)


@pytest.mark.direct("what it sets for its session would be its neighbours' too")
def test_a_read_only_server_is_known_inside_functions_of_haulier_too(subject):
    for name, parameters in (("purge_sessions", {"limit": 1, "offset": 0}), ("leave_operations", {"by_whom": None})):
        with pytest.raises(ReadOnly), subject.connection() as conn:
            with conn.cursor() as cursor:
                cursor.execute("SET default_transaction_read_only = on")
            rows(conn, name, **parameters)


class Table:
    """Numbers from 0 on, of which some are refused; it counts the calls."""

    def __init__(self, count: int, bad: Sequence[int], error: Exception | None = None) -> None:
        self.left = list(range(count))
        self.bad = set(bad)
        self.error = error or RowRefused("not this one")
        self.calls = 0

    def act(self, items: Sequence[int]) -> list[int]:
        """Take these numbers, or none of them."""
        self.calls += 1
        if self.bad & set(items):
            raise self.error
        self.left = [each for each in self.left if each not in items]
        return [each * each for each in items]

    def take(self, limit: int, offset: int) -> int:
        """Take some of the first numbers, or none of them."""
        return len(self.act(self.left[offset : offset + limit]))


def test_acts_on_the_others_in_few_calls():
    table = Table(100, [50])

    became = by_halves(range(100), table.act)

    assert isinstance(became[50], RowRefused)
    assert [each for each in became if not isinstance(each, Refusal)] == [n * n for n in range(100) if n != 50]
    assert (table.left, table.calls <= 16) == ([50], True)


def test_takes_all_as_refused_after_a_few_that_are():
    table = Table(10_000, range(10_000))

    became = by_halves(range(10_000), table.act)

    assert len(became) == 10_000
    assert all(isinstance(each, RowRefused) for each in became)
    assert table.calls < 4 * MOST_IN_VAIN


def test_takes_what_passes_as_any_other_refusal_but_not_an_outage():
    became = by_halves(range(4), Table(4, [2], RefusedForNow()).act)

    assert [isinstance(each, RefusedForNow) for each in became] == [False, False, True, False]
    with pytest.raises(DatabaseUnavailable):
        by_halves(range(4), Table(4, [2], DatabaseUnavailable()).act)


def test_goes_on_in_order_behind_those_that_are_refused():
    table = Table(1000, [0, 1, 500, 999])

    taken, refusals = in_order(table.take, 100)

    assert (taken, len(refusals), table.left) == (996, 4, [0, 1, 500, 999])


def test_gives_up_if_too_many_are_refused():
    table = Table(1000, range(1000))

    with pytest.raises(RowRefused):
        in_order(table.take, 100)

    assert table.calls <= MOST_PASSED_OVER + 10
