"""The .sql files: each statement is valid, is used, and stands beside what sends it. It ..."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
from psycopg2 import sql as composed

from haulier.postgres.sql_files import FILES, SQL, load
from haulier.queue.consume.settle import SETTLE, SETTLE_AND_NOTE
from tests.queue.parameters import ABSENT, EXPLAINABLE, OTHERS, PARAMETERS, wanted_by

HAULIER = Path(__file__).parents[2] / "haulier"


@pytest.mark.parametrize("name", EXPLAINABLE)
def test_postgres_can_plan_the_statement(conn, name):
    statement = SQL[name]

    with conn.cursor() as cursor:
        cursor.execute("EXPLAIN " + statement, {word: PARAMETERS[word] for word in wanted_by(name)})
        plan = cursor.fetchall()

    assert plan


@pytest.mark.parametrize("name", [name for name in EXPLAINABLE if wanted_by(name) & set(ABSENT)])
def test_postgres_can_plan_the_statement_where_what_is_optional_is_absent(conn, name):
    statement = SQL[name]
    given = {word: None if word in ABSENT else PARAMETERS[word] for word in wanted_by(name)}

    with conn.cursor() as cursor:
        cursor.execute("EXPLAIN " + statement, given)
        plan = cursor.fetchall()

    assert plan


def test_the_other_statements_are_commands_that_the_tests_of_the_verbs_run():
    assert OTHERS == [
        "begin",
        "begin_part",
        "bounded",
        "commit",
        "copy_jobs",
        "count_by_index",
        "create_database",
        "detach_partition_in_session",
        "drop_database",
        "drop_unused_database",
        "end_part",
        "listen",
        "lock_schema",
        "locks_bounded",
        "read_committed",
        "rollback",
        "session_lock_timeout",
        "settle_by_index",
        "undo_part",
        "unlisten",
    ]


def names_used() -> set[str]:
    """Return the names that the room's code runs: rows(conn, "name", …), names += ["name"], and SQL["name"]."""
    nodes = [
        node
        for room in ("postgres", "queue")
        for path in (HAULIER / room).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
    ]
    calls = [node for node in nodes if isinstance(node, ast.Call) and len(node.args) > 1]
    callers = (
        "rows",
        "transaction_of",
        "end_with",
        "copy",
        "ddl",
        "_change",
        "_ask",
        "_fold_some",
        "purge_rows",
        "_write_pairs",
    )
    named = [node.args[1] for node in calls if ast.unparse(node.func) in callers]
    named += [node.args[2] for node in calls if ast.unparse(node.func) == "_write_pairs"]
    messages = [node.args[1] for node in calls if ast.unparse(node.func) == "message"]
    named += [name for each in messages if isinstance(each, ast.List) for name in each.elts]
    named += [ast.Constant(name) for name in (*SETTLE, *SETTLE_AND_NOTE)]
    named += [node.slice for node in nodes if isinstance(node, ast.Subscript) and ast.unparse(node.value) == "SQL"]
    lists = [node.value for node in nodes if isinstance(node, ast.AugAssign) and ast.unparse(node.target) == "names"]
    named += [name for each in lists if isinstance(each, ast.List) for name in each.elts]
    return {node.value for node in named if isinstance(node, ast.Constant)}


def test_every_statement_is_used_and_every_name_used_is_a_statement():
    assert names_used() == SQL.keys()


def test_no_statement_takes_a_parameter_that_the_time_limit_overwrites():
    takers = {name for name in SQL if "milliseconds" in wanted_by(name)}

    assert takers == {"begin", "bounded", "claim_by_index"}


COLUMNS_FILE = HAULIER / "queue" / "columns.sql"


def test_each_list_of_columns_is_for_some_statement():
    others = "".join(path.read_text() for path in FILES if path != COLUMNS_FILE)
    statements, parts = load([COLUMNS_FILE.read_text()])

    assert [part for part in parts if f"<<{part}>>" not in others] == []
    assert statements == {}


@pytest.mark.parametrize("path", [path for path in FILES if path != COLUMNS_FILE], ids=lambda path: path.name)
def test_each_statement_stands_beside_the_module_that_sends_it_and_each_part_is_part_of_one(path):
    text = path.read_text()
    names, parts = (re.findall(rf"^-- {sort}: (\w+)$", text, re.MULTILINE) for sort in ("name", "part"))

    code = path.with_suffix(".py").read_text()

    assert [name for name in names if f'"{name}"' not in code] == []
    assert [part for part in parts if f"<<{part}>>" not in text] == []
    assert len(text.splitlines()) <= 400


@pytest.mark.parametrize("name", [name for name in SQL if "{" in SQL[name]])
def test_braces_hold_one_name(conn, name):
    statement = composed.SQL(SQL[name]).format(name=composed.Identifier('we"ird'))

    assert '"we""ird"' in statement.as_string(conn)
