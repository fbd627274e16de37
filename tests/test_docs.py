"""The documentation is true: its settings, calls, metrics, statements, commands and links are those of the program."""

from __future__ import annotations

import json
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
from app.api.errors import ANSWERS
from app.api.schemas.job import JobOptions, JobResponse
from app.api.schemas.request_schemas import ListJobs
from haulier.config import LASTING_CONNECTIONS, OTHER_CONNECTIONS, Config
from haulier.domain.errors import ConfigError
from haulier.domain.job import JobStatus
from haulier.local.supervisor import local_session
from haulier.postgres.connection import connect
from haulier.postgres.sql_files import SQL
from haulier.queue.upkeep.migrate import migrate
from haulier.worker.metrics import counts as worker_metrics
from tests.conftest import eventually
from tests.docs.reading import (
    PAGES,
    ROOT,
    Call,
    anchors,
    blocks,
    calls,
    links,
    names_in,
    section,
    tables,
    text_of,
    without_blocks,
)
from tests.docs.stack import haulier

DSN = "postgres://db.example.com/haulier"
SETTINGS = [row for row in tables(section("docs/settings.md", "## Of the service"))]
# Settings whose field in Config has another name.
FIELDS = {"HAULIER_KINDS": "kinds", "DYNO": "ephemeral_disk", "RENDER": "ephemeral_disk"}


# Settings ---------------------------------------------------------------------------------------------------------


class _Recorded(dict[str, str]):
    """An environment that remembers what was looked for."""

    def __init__(self) -> None:
        super().__init__(DATABASE_URL=DSN)
        self.asked: set[str] = set()

    def get(self, name: str, default: Any = None) -> Any:
        self.asked.add(name)
        return super().get(name, default)

    def __contains__(self, name: object) -> bool:
        self.asked.add(str(name))
        return super().__contains__(name)


def test_every_setting_is_documented_and_no_other() -> None:
    environ = _Recorded()

    Config.from_env(environ)

    documented = [name for row in SETTINGS for name in names_in(row[0])]
    assert sorted(documented) == sorted(environ.asked)


@pytest.mark.parametrize("row", SETTINGS, ids=lambda row: row[0])
def test_the_documented_default_is_the_real_one(row: list[str]) -> None:
    [name], default = names_in(row[0]), row[2]

    if name == "DATABASE_URL":
        assert default == "none: required"
        with pytest.raises(ConfigError, match="DATABASE_URL is not set"):
            Config.from_env({})
        return
    assert re.split("[:;]", default)[0] == _shown(name).split(":")[0]
    assert name != "API_BIND_ADDR" or default == _shown(name)


def _shown(name: str) -> str:
    """Return the default as the page writes it."""
    config = Config.from_env({"DATABASE_URL": DSN})
    if name == "API_BIND_ADDR":
        return f"{config.host}:{config.port}"
    value = getattr(config, FIELDS.get(name, name.lower()))
    special: dict[Any, str] = {None: "none", (): "all queues" if name == "WORKER_QUEUES" else "none", "": "empty"}
    if isinstance(value, bool):
        return {False: "unset"}[value]
    if isinstance(value, int | float):
        return f"{value:g}"
    return special.get(value, str(value))


@pytest.mark.parametrize("row", SETTINGS, ids=lambda row: row[0])
def test_the_documented_bounds_are_the_real_ones(row: list[str]) -> None:
    [name], bounds = names_in(row[0]), row[3]
    is_number = isinstance(getattr(Config(DSN), name.lower(), None), int | float) or name == "DB_CONNECTION_LIMIT"
    assert bool(bounds) is is_number

    if bounds:
        least, most = bounds.split("..")
        below = str(float(least) / 2) if "." in least else str(int(least) - 1)
        for value in (least, most):
            Config.from_env({"DATABASE_URL": DSN, name: value})
        for value in (below, str(int(most) + 1)):
            with pytest.raises(ConfigError, match=name):
                Config.from_env({"DATABASE_URL": DSN, name: value})


@pytest.mark.parametrize("name", ["AUTH", "WAKE_UPS", "LOG_FORMAT", "LOG_LEVEL", "EXECUTOR"])
def test_the_documented_choices_are_the_real_ones(name: str) -> None:
    [unit] = [row[1] for row in SETTINGS if names_in(row[0]) == [name]]

    with pytest.raises(ConfigError) as refused:
        Config.from_env({"DATABASE_URL": DSN, name: "nonsense"})

    real = str(refused.value).partition("must be one of ")[2].split(", ")
    assert names_in(unit) == real


def test_every_setting_has_a_reason() -> None:
    assert [row[0] for row in SETTINGS if len(row) != 5 or len(row[4]) < 15] == []


def test_the_settings_of_make_are_looked_at_somewhere() -> None:
    readers = [ROOT / "Makefile", ROOT / "tools" / "bootstrap.py", *(ROOT / "haulier" / "local").glob("*.py")]
    source = "\n".join(path.read_text(encoding="utf-8") for path in readers)

    named = {
        name
        for row in tables(section("docs/settings.md", "## Of make, on your own machine"))
        for name in names_in(row[0])
    }

    assert {"PORT", "ONCE", "NO_COLOR", "DATABASE_URL"} <= named
    assert [name for name in sorted(named) if name not in source] == []


def test_settings_named_anywhere_exist() -> None:
    known = {name for row in SETTINGS for name in names_in(row[0])}
    known |= {
        name
        for row in tables(section("docs/settings.md", "## Of make, on your own machine"))
        for name in names_in(row[0])
    }
    # OpenSSL's and gunicorn's.
    known |= {"SSL_CERT_FILE", "GUNICORN_CMD_ARGS"}

    for page in PAGES:
        named = {
            name
            for name in names_in(without_blocks(page.read_text(encoding="utf-8")))
            if re.fullmatch("[A-Z]+(_[A-Z]+)+", name)
        }
        assert named <= known, page.name


def test_the_connections_add_up_to_what_is_written() -> None:
    config = Config(DSN)
    web, worker = config.web_concurrency * config.web_threads, config.worker_connections

    written = section("docs/operations.md", "## Connections")

    assert f"= {web} |" in written
    assert f"{config.worker_processes} × (1 + 1 + 1 + 1) = {worker}" in written
    assert f"| **{web + worker}** |" in written


def test_the_plans_leave_what_is_written() -> None:
    config = Config(DSN)
    plans = [row for row in tables(section("docs/operations.md", "## Connections")) if len(row) == 7]

    assert {row[0] for row in plans} == {"20", "40", "120"}
    for row in plans:
        plan, webs, workers, *shares = (int(cell.strip("*")) for cell in row)
        web, worker = webs * config.web_connections, workers * config.worker_connections
        moments = workers * (OTHER_CONNECTIONS - LASTING_CONNECTIONS) + 1
        assert shares == [web, worker, moments, plan - web - worker - moments], row
        assert shares[-1] > 0


# The API ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def openapi() -> dict[str, Any]:
    """Give the OpenAPI document."""
    app = build(Config(DSN))
    document: dict[str, Any] = json.loads(app.extensions["haulier_openapi"])
    return document


def test_every_call_is_documented() -> None:
    app, page = build(Config(DSN)), text_of("docs/api.md")

    # The files of the page of /docs are nobody's to call.
    rules = [rule for rule in app.url_map.iter_rules() if not rule.rule.startswith("/docs/")]
    expected = {
        f"{method} {re.sub('<[^>]*>', '{id}', rule.rule)}"
        for rule in rules
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
    }

    def is_there(call: str) -> bool:
        # What one only looks at may stand as a path alone.
        return f"`{call}`" in page or (call.startswith("GET ") and f"`{call[4:]}`" in page)

    assert len(expected) > 10
    assert [call for call in sorted(expected) if not is_there(call)] == []


def test_every_status_is_documented(openapi: dict[str, Any]) -> None:
    page = text_of("docs/api.md")

    answers = {
        code
        for path in openapi["paths"].values()
        for call in path.values()
        if isinstance(call, dict)
        for code in call["responses"]
    }
    answers |= {str(int(answer.status)) for answer in ANSWERS.values()} | {"405"}

    assert {"201", "202", "503"} <= answers
    assert [code for code in sorted(answers) if not re.search(rf"\b{code}\b", page)] == []


def test_every_error_is_documented(openapi: dict[str, Any]) -> None:
    page = text_of("docs/api.md")

    slugs = {answer.slug for answer in ANSWERS.values()} | {"method_not_allowed"}
    for response in openapi["components"]["responses"].values():
        for content in response["content"].values():
            slugs |= {example["value"]["error"] for example in content["examples"].values()}

    assert "idempotency_mismatch" in slugs
    assert [slug for slug in sorted(slugs) if f"`{slug}`" not in page] == []


@pytest.mark.parametrize("schema", [JobResponse, JobOptions, ListJobs], ids=lambda schema: schema.__name__)
def test_every_field_is_documented(schema: Any) -> None:
    page = text_of("docs/api.md")

    assert [name for name in schema().fields if f"`{name}`" not in page] == []


def test_every_state_is_drawn() -> None:
    drawn = section("docs/design.md", "## States")

    assert [status for status in JobStatus if status not in drawn] == []


# Metrics ----------------------------------------------------------------------------------------------------------


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

    documented = [names_in(row[0])[0] for row in tables(section("docs/operations.md", "## Metrics")) if len(row) == 3]
    assert sorted(documented) == sorted(real)


def test_alerts_name_metrics_that_exist() -> None:
    rows = list(tables(section("docs/operations.md", "## Metrics")))
    known = {names_in(row[0])[0] for row in rows if len(row) == 3}

    named = {name for row in rows if len(row) == 2 for name in re.findall(r"\b(?:haulier|worker|flask)_\w+", row[0])}

    assert len(named) > 5
    assert named <= known


# SQL --------------------------------------------------------------------------------------------------------------

STATEMENTS = [
    (page, sql) for page in ("README.md", "docs/quickstart.md", "docs/operations.md") for sql in blocks(page, "sql")
]
GRANTS = [sql for _, sql in STATEMENTS if "GRANT" in sql]


@pytest.mark.parametrize(
    ("page", "sql"), STATEMENTS, ids=[f"{page}-{number}" for number, (page, _) in enumerate(STATEMENTS)]
)
def test_sql_of_the_docs_runs(fresh_database: str, page: str, sql: str) -> None:
    # A database of its own: some of it turns off what the tests that come after would miss.
    with _as_psql(fresh_database) as conn:
        migrate(conn, retention_days=30)
        with _own_role(conn, sql) as sql, conn.cursor() as cursor:
            cursor.execute(sql)


def test_sql_of_the_docs_is_found() -> None:
    assert {page for page, _ in STATEMENTS} == {"README.md", "docs/quickstart.md", "docs/operations.md"}
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
            "SELECT haulier.cancel(gen_random_uuid(), NULL)",
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


# Commands ---------------------------------------------------------------------------------------------------------


def test_the_readmes_kind_is_the_tested_one_in_twelve_lines() -> None:
    [shown] = blocks("README.md", "python")
    tested = (ROOT / "tests" / "kinds" / "example_kind.py").read_text(encoding="utf-8")

    assert len(shown.splitlines()) <= 12
    assert [line for line in shown.splitlines() if line] == [line for line in tested.splitlines() if line]


def test_curl_commands_work_and_the_kind_of_the_readme_runs(database: str, tmp_path: Path) -> None:
    [kind] = blocks("README.md", "python")
    (tmp_path / "greet.py").write_text(kind, encoding="utf-8")
    found = [
        call for page in ("README.md", "docs/quickstart.md", "docs/kinds.md", "docs/api.md") for call in calls(page)
    ]
    assert len(found) > 10

    with haulier(database, PYTHONPATH=str(tmp_path), HAULIER_KINDS="greet") as url, local_session() as session:
        last = ""
        for call in found:
            response = _send(session, url, call, last)
            expected = call.status is None and response.ok or response.status_code == call.status
            assert expected, f"{call} answered {response.status_code} {response.text}"
            answer = response.json()
            last = answer.get("id", answer.get("job_id", last)) if isinstance(answer, dict) else last

        def ended() -> dict[str, dict[str, Any]]:
            jobs = session.get(f"{url}/jobs?kind=greet", timeout=5).json()
            return {job["payload"]["name"]: job for job in jobs if job["finished_at"]}

        greeted = eventually(lambda: ended() if len(ended()) == 2 else None, within=15)
    assert greeted["Ann"]["result"] == {"greeting": "Hello, Ann!"}
    assert greeted["nobody"]["status"] == "failed_permanent"
    assert greeted["nobody"]["last_error"] == "there is nobody to greet"


def _send(session: Any, url: str, call: Call, job_id: str) -> Any:
    body = None if call.body is None else call.body.encode()
    return session.request(
        call.method, url + call.path.replace("$ID", job_id), headers=call.headers, data=body, timeout=10
    )


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_make_targets_exist(page: Path) -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z][a-z-]*):", makefile, flags=re.MULTILINE))

    text = page.read_text(encoding="utf-8")
    written = [
        *re.findall(r"`[^`]*`", without_blocks(text)),
        *re.findall(r"^```sh\n(.*?)^```", text, re.MULTILINE | re.DOTALL),
    ]
    named = {target for code in written for target in re.findall(r"\bmake ([a-z][a-z-]*)", code)}

    assert named <= targets
    assert page.name != "README.md" or {"demo", "test", "run"} <= named


def test_what_troubleshooting_quotes_is_what_the_program_says() -> None:
    sources = [
        *(ROOT / "tools").glob("*.py"),
        *(ROOT / "haulier").rglob("*.py"),
        *(ROOT / "app").rglob("*.py"),
    ]
    # Strings that go on in the next line of the source are joined.
    source = re.sub(r'"\s*\n\s*f?"', "", "\n".join(path.read_text(encoding="utf-8") for path in sources))

    quoted = [
        piece.strip(" ,:")
        for row in tables(section("docs/operations.md", "## Troubleshooting"))
        if row[0].startswith("`")
        for name in names_in(row[0])
        for piece in name.split("…")
    ]

    assert len(quoted) > 20
    assert [piece for piece in quoted if piece not in source] == []


# Names and links --------------------------------------------------------------------------------------------------


def test_what_a_newcomer_is_pointed_to_is_there() -> None:
    places = [row for row in tables(section("CONTRIBUTING.md", "## Where is …?")) if len(row) == 3]

    assert len(places) >= 10
    for question, file, what in places:
        path = ROOT / names_in(file)[0]
        first, *others = names_in(what)
        files = [name for name in others if "/" in name or name.endswith((".sql", ".md"))]
        assert path.is_file(), question
        assert re.search(rf"\b{re.escape(first)}\b", path.read_text()), question
        assert all((path.parent / name).exists() or (ROOT / name).exists() for name in files), question


def test_tests_named_in_the_docs_exist() -> None:
    existing = {
        name
        for path in (ROOT / "tests").rglob("test_*.py")
        for name in re.findall(r"^ *def (test_\w+)", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
    }

    promises = list(tables(section("docs/design.md", "## Promises")))
    assert len(promises) == 6
    assert [row[0] for row in promises if not [name for name in names_in(row[2]) if name in existing]] == []
    for page in PAGES:
        named = [
            name
            for name in names_in(without_blocks(page.read_text(encoding="utf-8")))
            if re.fullmatch(r"test_\w+", name)
        ]
        assert [name for name in named if name not in existing] == [], page.name


def test_statements_named_in_the_life_of_a_job_exist() -> None:
    named = [
        name
        for row in tables(section("docs/design.md", "## The life of a job, statement by statement"))
        for name in names_in(row[0])
    ]

    assert len(named) > 15
    assert [name for name in named if name not in SQL] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    text = page.read_text(encoding="utf-8")

    for link in links(text):
        if re.match(r"[a-z]+:", link):
            continue
        target, _, anchor = link.partition("#")
        path = (page.parent / target).resolve() if target else page
        assert path.exists(), f"{page.name} links to {link}"
        if anchor:
            assert anchor in anchors(path.read_text(encoding="utf-8")), f"{page.name} links to {link}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_nothing_of_the_writers_machine_is_in_the_docs(page: Path) -> None:
    text = page.read_text(encoding="utf-8")

    assert not re.search(r"/(work|root|home/\w+|Users/\w+|tmp|opt)/", text)
    # No package index by its address: which one is used is the reader's own setting.
    assert not re.search(r"index-url|find-links|https?://[^/\s]*/simple|registry\.", text, re.IGNORECASE)
    assert "\t" not in text


def test_the_line_of_the_readme_is_the_line_of_the_package() -> None:
    line = "Durable background jobs over HTTP, on the Postgres you already run"

    assert f"\n{line}.\n" in text_of("README.md")
    assert f"description = {line}\n" in text_of("setup.cfg")
    assert line in text_of("app.json")
