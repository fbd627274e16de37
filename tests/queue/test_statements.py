"""The statements: each is valid, used, beside what sends it, and the same under any setting of a role. It ..."""

from __future__ import annotations

import re
import shlex
from contextlib import ExitStack, closing
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import pytest
from psycopg2 import Error
from psycopg2 import sql as composed
from psycopg2.extensions import connection as Connection
from psycopg2.extensions import parse_dsn

from haulier.domain.claim import Fence, Settlement
from haulier.domain.job import JobStatus, NewJob
from haulier.domain.outcome import Outcome
from haulier.postgres.connection import connect
from haulier.postgres.sql_files import FILES, SQL, load
from haulier.queue import claims, search
from haulier.queue import jobs as job_acts
from haulier.queue.access import api_keys
from haulier.queue.upkeep import partitions
from haulier.queue.upkeep.migrate import migrate
from tests import queueing
from tests.queue.parameters import ABSENT, EXPLAINABLE, PARAMETERS, wanted_by

ROOT = Path(__file__).parents[2]
HAULIER = ROOT / "haulier"


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


# --- Settings


# Each setting is in the first of them that has no other value for it.
SETTINGS = [
    "array_nulls=off backslash_quote=off bytea_output=escape client_encoding=LATIN1 client_min_messages=debug5"
    " datestyle='German, DMY' default_transaction_deferrable=on default_transaction_isolation=serializable"
    " escape_string_warning=off extra_float_digits=-15 intervalstyle=iso_8601 plan_cache_mode=force_custom_plan"
    " search_path=nowhere standard_conforming_strings=off timezone=Asia/Kolkata xmlbinary=hex",
    "datestyle='SQL, MDY' default_transaction_isolation='repeatable read' enable_indexscan=off"
    " intervalstyle=sql_standard quote_all_identifiers=on row_security=off session_replication_role=replica"
    " timezone=America/St_Johns transform_null_equals=on",
    "datestyle='Postgres, YMD'",
]


@pytest.fixture
def under(database):
    """Give a function that connects to the test's database, which has these settings until the test ends."""
    change = composed.SQL("ALTER DATABASE {}").format(composed.Identifier(parse_dsn(database)["dbname"]))
    with closing(connect(database)) as conn, ExitStack() as opened, conn.cursor() as cursor:

        def under(settings: str) -> Connection:
            for name, _, value in (pair.partition("=") for pair in shlex.split(settings)):
                # One that takes a list is not to be quoted as a whole.
                said = composed.SQL(value) if name == "datestyle" else composed.Literal(value)
                cursor.execute(change + composed.SQL(" SET {} = {}").format(composed.SQL(name), said))
            return opened.enter_context(closing(connect(database)))

        yield under
        cursor.execute(change + composed.SQL(" RESET ALL"))


@pytest.mark.direct("a pool's connections may be from before the setting was made")
@pytest.mark.parametrize("settings", SETTINGS, ids=["first", "second", "third"])
def test_a_job_lives_its_life_under_any_setting_of_a_role(under, settings):
    conn = under(settings)
    text = "NULL, \\ and \"quotes\" and 'more' and \t"

    asked = [NewJob("mail", {"text": text}, idempotency_key=f'k\\"{n}', tags=["NULL", text]) for n in range(3)]
    jobs = [each.job for each in queueing.enqueue(conn, asked)]
    job_acts.enqueue_one(conn, job_acts.draft(NewJob("mail", {}, delay=timedelta(seconds=90.5))))
    worker = claims.register(conn, host="dock", pid=7, threads=4, queues=("default",), lease_seconds=30.5)
    claimed = queueing.claim(conn, worker_id=worker, claim_id=uuid4(), queues=("default",), limit=3)
    first, second, third = [Settlement(Fence.of(job), outcome) for job, outcome in zip(claimed, [
        Outcome.complete({"text": text}), Outcome.fail(text, 60.5, 1.5), Outcome.fail_for_good("NULL"),
    ], strict=True)]  # fmt: skip
    statuses, _ = claims.settle_and_claim(conn, [first, second], None)
    settled = claims.settle(conn, [third])
    found = search.list_jobs(conn, search.JobFilter(queues=["default"])).jobs
    tagged = search.list_jobs(conn, search.JobFilter(tags=[text])).jobs
    key, token = api_keys.create(
        conn, api_keys.NewKey("Ann", ["read"], rate_limit=5, lifetime=timedelta(days=1)), actor="cli"
    )

    assert [job.payload for job in claimed] == [{"text": text}] * 3
    assert [job.tags for job in claimed] == [["NULL", text]] * 3
    assert {job.id for job in tagged} == {job.id for job in jobs}
    assert statuses == [JobStatus.SUCCEEDED, JobStatus.RETRYING]
    assert list(settled.values()) == [JobStatus.FAILED_PERMANENT]
    assert {job.id for job in found[1:]} == {job.id for job in jobs}
    assert search.get(conn, claimed[0].id).read().result == {"text": text}
    assert search.get(conn, claimed[1].id).last_error == text
    assert search.get(conn, claimed[2].id).last_error == "NULL"
    assert found[0].run_at - found[0].created_at == timedelta(seconds=90.5)
    assert found[0].created_at.utcoffset() == timedelta(0)
    assert [each.receipt for each in queueing.enqueue(conn, asked)] == [job_acts.Receipt.REPLAYED] * 3
    assert api_keys.find(conn, key.id).key == key
    assert queueing.rescue(conn).jobs == {}
    assert 6 <= partitions.days_ahead(conn) <= 8
    assert migrate(conn, retention_days=30).endswith("; 0 history partitions made")
