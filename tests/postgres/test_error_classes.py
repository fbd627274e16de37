"""Which errors of the database pass by themselves, which are about one row, and which about the statement. It ..."""

from __future__ import annotations

from pathlib import Path

import pytest

from haulier.domain.errors import (
    HaulierError,
    Locked,
    ReadOnly,
    RefusedForNow,
    RowRefused,
    StatementRefused,
)
from haulier.postgres.errors import PASSING_CLASSES
from haulier.postgres.statements import rows, transaction

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
