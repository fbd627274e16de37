"""The .sql files: each statement is valid, is used, and stands beside what sends it. It ..."""

from __future__ import annotations

import ast
import re
from pathlib import Path

from psycopg2 import Error
from psycopg2 import sql as composed

from haulier.postgres.sql_files import FILES, SQL, load
from haulier.queue.claims.settle import SETTLE, SETTLE_AND_NOTE
from tests.queue.parameters import ABSENT, EXPLAINABLE, OTHERS, PARAMETERS, wanted_by

ROOT = Path(__file__).parents[2]
HAULIER = ROOT / "haulier"
# A link to schema.sql, which is built from the files of haulier/schema.
BUILT = HAULIER / "schema.sql"


def refused(conn, parameters: dict[str, object]) -> dict[str, str]:
    """Return the statements that Postgres cannot plan with these parameters, and why not."""
    errors = {}
    with conn.cursor() as cursor:
        for name in EXPLAINABLE:
            try:
                cursor.execute("EXPLAIN " + SQL[name], {word: parameters[word] for word in wanted_by(name)})
            except Error as error:
                errors[name] = str(error)
    return errors


def test_postgres_can_plan_each_statement(conn):
    assert len(EXPLAINABLE) > 200
    assert refused(conn, PARAMETERS) == {}


def test_postgres_can_plan_each_statement_if_what_is_optional_is_absent(conn):
    assert refused(conn, PARAMETERS | dict.fromkeys(ABSENT)) == {}


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
        "lock_jobs_first",
        "lock_schema",
        "lock_tables_of_jobs",
        "locks_bounded",
        "one_plan_by_index",
        "read_committed",
        "rollback",
        "session_lock_timeout",
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
        "write_pairs",
        "acted_on_all",
    )
    named = [node.args[1] for node in calls if ast.unparse(node.func) in callers]
    named += [node.args[2] for node in calls if ast.unparse(node.func) == "write_pairs"]
    named += [each for node in calls if ast.unparse(node.func) == "transaction_of" for each in node.args[2:]]
    messages = [node.args[1] for node in calls if ast.unparse(node.func) == "message"]
    messages += [node.args[2] for node in calls if ast.unparse(node.func) == "acted"]
    messages += [node.args[1] for node in calls if ast.unparse(node.func) in ("prepared.rows", "rows_at_once")]
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


# They have parts that the statements of several modules share.
SHARED_FILES = {HAULIER / "queue" / "columns.sql", HAULIER / "queue" / "search" / "job_filter.sql"}


def test_each_shared_part_is_for_some_statement_of_another_file():
    paths = {*FILES, *(HAULIER / "schema").rglob("*.sql")} - SHARED_FILES
    others = "".join(path.read_text() for path in paths)
    statements, parts = load(path.read_text() for path in SHARED_FILES)
    used = {name for text in [others, *parts.values()] for name in re.findall(r"<<(\w+)>>", text)}

    assert [part for part in parts if part not in used] == []
    assert statements == {}


def misplaced(path: Path) -> list[str]:
    """Return the statements that the module beside the file does not send, and the parts that the file does not use."""
    text, code = path.read_text(), path.with_suffix(".py").read_text()
    names, parts = (re.findall(rf"^-- {sort}: (\w+)$", text, re.MULTILINE) for sort in ("name", "part"))
    return [
        *(name for name in names if f'"{name}"' not in code),
        *(part for part in parts if f"<<{part}>>" not in text),
    ]


def test_each_statement_stands_beside_the_module_that_sends_it_and_each_part_is_part_of_one():
    files = [path for path in FILES if path not in SHARED_FILES]

    assert {path.name: names for path in files if (names := misplaced(path))} == {}


def test_no_sql_file_has_more_than_300_lines():
    paths = [path for room in ("haulier", "lab") for path in (ROOT / room).rglob("*.sql")]
    lengths = {str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for path in paths if path != BUILT}

    assert len(lengths) > 80
    assert {path: length for path, length in lengths.items() if length > 300} == {}


def test_braces_hold_one_name(conn):
    with_braces = [name for name in SQL if "{" in SQL[name]]

    composed_as = {
        name: composed.SQL(SQL[name]).format(name=composed.Identifier('we"ird')).as_string(conn) for name in with_braces
    }

    assert with_braces
    assert {name for name, text in composed_as.items() if '"we""ird"' not in text} == set()
