"""The commands and the SQL of the documentation work, and the README's kind; the figures are the program's."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import prometheus_client
import pytest
from psycopg2 import errors
from psycopg2.extensions import connection as Connection

from app.api import build
from haulier.config import Config
from haulier.local.supervisor import local_session
from haulier.postgres.connection import connect
from haulier.worker.metrics import counts as worker_metrics
from tests.conftest import eventually
from tests.docs import shell
from tests.docs.reading import (
    PAGES,
    ROOT,
    Call,
    blocks,
    blocks_of,
    calls,
    names_in,
    section,
    tables,
    text_of,
    without_blocks,
)
from tests.docs.stack import haulier


def test_the_readmes_kind_is_the_tested_one_in_twelve_lines() -> None:
    [shown] = blocks("README.md", "python")
    tested = (ROOT / "tests" / "kinds" / "example_kind.py").read_text(encoding="utf-8")

    assert len(shown.splitlines()) <= 12
    assert [line for line in shown.splitlines() if line] == [line for line in tested.splitlines() if line]


def test_curl_commands_work(database: str, tmp_path: Path) -> None:
    [kind] = blocks("README.md", "python")
    (tmp_path / "example_kind.py").write_text(kind, encoding="utf-8")
    found = [call for page in ("README.md", "docs/kinds.md", "docs/api.md") for call in calls(page)]
    assert len(found) > 2

    with haulier(database, PYTHONPATH=str(tmp_path), HAULIER_KINDS="example_kind") as url, local_session() as session:
        for call in found:
            response = _send(session, url, call)
            expected = call.status is None and response.ok or response.status_code == call.status
            assert expected, f"{call} answered {response.status_code} {response.text}"


def test_the_quickstart_runs_as_its_reader_types_it(database: str, tmp_path: Path) -> None:
    [kind] = blocks("README.md", "python")
    (tmp_path / "greet.py").write_text(kind, encoding="utf-8")
    steps = [block.text for block in blocks_of("docs/quickstart.md") if block.language == "sh" and not block.not_run]

    with haulier(database, PYTHONPATH=str(tmp_path), HAULIER_KINDS="greet") as url, local_session() as session:
        shell.run("".join(steps), url, tmp_path)

        def ended() -> dict[str, dict[str, Any]]:
            jobs = session.get(f"{url}/jobs?kind=greet", timeout=5).json()
            return {job["payload"]["name"]: job for job in jobs if job["finished_at"]}

        greeted = eventually(lambda: ended() if len(ended()) == 2 else None)
    assert greeted["Ann"]["result"] == {"greeting": "Hello, Ann!"}
    assert greeted["nobody"]["status"] == "failed_permanent"
    assert greeted["nobody"]["last_error"] == "there is nobody to greet"


def _send(session: Any, url: str, call: Call) -> Any:
    body = None if call.body is None else call.body.encode()
    return session.request(call.method, url + call.path, headers=call.headers, data=body, timeout=10)


def _make_targets(page: Path) -> set[str]:
    """Return the targets of make that the page names in its code."""
    text = page.read_text(encoding="utf-8")
    written = [
        *re.findall(r"`[^`]*`", without_blocks(text)),
        *re.findall(r"^```sh\n(.*?)^```", text, re.MULTILINE | re.DOTALL),
    ]
    return {target for code in written for target in re.findall(r"\bmake ([a-z][a-z-]*)", code)}


def test_make_targets_exist() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z][a-z-]*):", makefile, flags=re.MULTILINE))

    assert {page.name: unknown for page in PAGES if (unknown := _make_targets(page) - targets)} == {}
    assert {"demo", "test", "run"} <= _make_targets(ROOT / "README.md")


# In the words of Postgres, which a message of the program's ends with.
OF_POSTGRES = {
    "no pg_hba.conf entry",
    "permission denied",
    "remaining connection slots are reserved",
    "too many connections",
}


@pytest.fixture(scope="module")
def source() -> str:
    """Give the program's text. Strings that go on in the next line are joined."""
    folders = ("tools", "haulier", "app")
    files = [path for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))]
    return re.sub(r'"\s*\n\s*f?"', "", "\n".join(path.read_text(encoding="utf-8") for path in files))


def _pieces(quoted: str) -> list[str]:
    return [piece.strip(" ,:") for piece in quoted.split("…")]


def test_what_troubleshooting_quotes_is_what_the_program_says(source: str) -> None:
    rows = tables(section("docs/watch.md", "## Troubleshooting"))

    quoted = [piece for row in rows if row[0].startswith("`") for name in names_in(row[0]) for piece in _pieces(name)]

    assert len(quoted) > 20
    assert [piece for piece in quoted if piece not in source] == []


def test_what_a_job_that_waits_is_said_to_show_is_what_the_program_says(source: str) -> None:
    rows = [row for row in tables(text_of("docs/why-waiting.md")) if len(row) == 3]
    said = [name for row in rows for name in names_in(f"{row[0]} {row[1]}") if name.count(" ") > 1]

    quoted = [piece for name in said if name not in OF_POSTGRES for piece in _pieces(name)]

    assert len(rows) > 30
    assert len(quoted) > 12
    assert [piece for piece in quoted if piece not in source] == []


def test_every_metric_is_documented_and_no_other(config: Config) -> None:
    app = build(config)
    app.test_client().get("/health")
    exposed = app.test_client().get("/metrics").text
    app.extensions["haulier"].database.close()

    real = set(re.findall(r"^# HELP (\w+)", exposed, flags=re.MULTILINE))
    # Only there while a worker lives.
    real.add("haulier_oldest_beat_seconds")
    collectors = [
        each for each in vars(worker_metrics).values() if isinstance(each, prometheus_client.metrics.MetricWrapperBase)
    ]
    for family in (family for each in collectors for family in each.collect()):
        real.add(f"{family.name}_total" if family.type == "counter" else family.name)

    documented = [names_in(row[0])[0] for row in tables(section("docs/watch.md", "## Metrics")) if len(row) == 3]
    assert sorted(documented) == sorted(real)


def test_pages_and_alerts_name_metrics_that_exist() -> None:
    known = {names_in(row[0])[0] for row in tables(section("docs/watch.md", "## Metrics")) if len(row) == 3}

    conditions = " ".join(row[2] for row in tables(section("docs/watch.md", "## Alerts")))
    alerts = {name.removesuffix("_count") for name in re.findall(r"\b(?:haulier|worker|flask)_\w+", conditions)}
    pages = {
        page: set(re.findall(r"`((?:haulier|worker)_\w+)`", text_of(page)))
        for page in ("docs/why-waiting.md", "docs/deploy.md")
    }

    assert len(alerts) > 5
    assert all(pages.values())
    assert alerts.union(*pages.values()) - known == set()


SQL_PAGES = ("README.md", "docs/quickstart.md", "docs/deploy.md", "docs/watch.md", "docs/database.md")
STATEMENTS = [(page, sql) for page in SQL_PAGES for sql in blocks(page, "sql")]
GRANTS = [sql for _, sql in STATEMENTS if "GRANT" in sql]


def test_sql_of_the_docs_runs(migrated_database: str) -> None:
    # A database of its own: some of the statements turn off what later tests need. As the pages write it, each block
    # by itself, so on a session of its own.
    refused = []
    for page, sql in STATEMENTS:
        with _as_psql(migrated_database) as conn, _own_role(conn, sql) as own, conn.cursor() as cursor:
            try:
                cursor.execute(own)
            except errors.Error as error:
                refused.append((page, sql, str(error)))

    assert refused == []
    assert {page for page, _ in STATEMENTS} == set(SQL_PAGES)
    assert len(GRANTS) == 1


def test_the_readmes_insert_makes_a_job_and_its_rollback_none(database: str, conn: Connection) -> None:
    [readme] = blocks("README.md", "sql")

    with _as_psql(database) as psql, psql.cursor() as cursor:
        cursor.execute(readme.replace("COMMIT", "ROLLBACK"))
        rolled_back = _jobs(conn)
        cursor.execute(readme)

    assert rolled_back == []
    assert [(kind, status) for kind, status in _jobs(conn)] == [("send_email", "queued")]


@pytest.mark.direct("what it sets for its session would be its neighbours' too")
def test_the_grants_allow_to_enqueue_and_nothing_else(database: str, conn: Connection) -> None:
    with _as_psql(database) as psql, _own_role(psql, GRANTS[0]) as grants, psql.cursor() as cursor:
        cursor.execute(grants)
        cursor.execute(f"SET ROLE {_role_of(grants)}")
        cursor.execute("""INSERT INTO haulier.job (kind, payload) VALUES ('send_email', '{"to": "a@b.c"}')""")
        cursor.execute(
            "INSERT INTO haulier.job (kind, payload, queue, priority, run_at, max_attempts, timeout_seconds)"
            " VALUES ('send_email', '{}', 'mail', 5, now() + interval '1 day', 7, 60)"
        )

        for forbidden in (
            "INSERT INTO haulier.job (kind, payload, idempotency_key) VALUES ('send_email', '{}', 'key')",
            "INSERT INTO haulier.job (id, kind, payload) VALUES (gen_random_uuid(), 'send_email', '{}')",
            "INSERT INTO haulier.job (kind, payload, status) VALUES ('send_email', '{}', 'running')",
            "INSERT INTO haulier.job (kind, payload, created_at) VALUES ('send_email', '{}', now())",
            "INSERT INTO haulier.idempotency (key, fingerprint, job_id) VALUES ('key', '', gen_random_uuid())",
            "INSERT INTO haulier.job (kind, payload) VALUES ('send_email', '{}') RETURNING payload",
            "INSERT INTO haulier.job (kind, payload) VALUES ('send_email', '{}')"
            " ON CONFLICT (id) DO UPDATE SET priority = 9",
            *(
                f"SELECT {column} FROM haulier.job"
                for column in ("payload", "kind", "queue", "status", "last_error", "*")
            ),
            "SELECT id FROM haulier.job FOR UPDATE",
            "SELECT id FROM haulier.job WHERE kind = 'send_email'",
            "SELECT haulier.wake('{default}')",
            "SELECT id FROM haulier.jobs",
            "SELECT id FROM haulier.finished_job",
            "UPDATE haulier.job SET priority = 100",
            "DELETE FROM haulier.job",
            "TRUNCATE haulier.job",
            "CREATE TABLE haulier.mine ()",
        ):
            with pytest.raises(errors.InsufficientPrivilege):
                cursor.execute(forbidden)
        cursor.execute("SELECT id, run_at FROM haulier.job")
        seen = len(cursor.fetchall())
        cursor.execute("RESET ROLE")

    assert seen == 2
    assert _jobs(conn) == [("send_email", "queued")] * 2


@contextmanager
def _as_psql(database: str) -> Iterator[Connection]:
    with closing(connect(database, application_name="haulier test")) as conn:
        yield conn


@contextmanager
def _own_role(conn: Connection, sql: str) -> Iterator[str]:
    """Give the statements with a role of the test's own in them: roles belong to the whole server."""
    if "CREATE ROLE" not in sql:
        yield sql
        return
    with conn.cursor() as cursor:
        cursor.execute("SELECT rolsuper OR rolcreaterole FROM pg_roles WHERE rolname = current_user")
        if cursor.fetchone() != (True,):
            pytest.skip("the role of DATABASE_URL may not create roles")
        sql = sql.replace(_role_of(sql), f"haulier_test_{uuid4().hex[:12]}")
        try:
            yield sql
        finally:
            cursor.execute("RESET ROLE")
            cursor.execute("SELECT FROM pg_roles WHERE rolname = %s", [_role_of(sql)])
            if cursor.rowcount:
                cursor.execute(f"DROP OWNED BY {_role_of(sql)}; DROP ROLE {_role_of(sql)}")


def _role_of(sql: str) -> str:
    return re.findall(r"CREATE ROLE (\w+)", sql)[0]


def _jobs(conn: Connection) -> list[tuple[str, str]]:
    with conn.cursor() as cursor:
        cursor.execute("SELECT kind, status FROM haulier.jobs ORDER BY created_at")
        return cursor.fetchall()
