"""Whatever a role or a database has for a setting, a job lives its life. It ..."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from datetime import timedelta
from uuid import uuid4

import pytest
from psycopg2 import sql as composed
from psycopg2.extensions import connection as Connection
from psycopg2.extensions import parse_dsn

from haulier.domain.claim import Fence, Settlement
from haulier.domain.errors import DatabaseUnavailable
from haulier.domain.job import JobStatus, NewJob
from haulier.domain.outcome import Outcome
from haulier.postgres.connection import connect
from haulier.postgres.errors import translated
from haulier.queue import claims, search
from haulier.queue import jobs as job_acts
from haulier.queue.access import api_keys
from haulier.queue.upkeep import partitions
from haulier.queue.upkeep.migrate import migrate
from tests import queueing

pytestmark = pytest.mark.direct("a pool's connections may be from before the setting was made")

# Each setting is in the first of them that has no other value for it.
SETTINGS: list[dict[str, str]] = [
    {
        "array_nulls": "off",
        "backslash_quote": "off",
        "bytea_output": "escape",
        "client_encoding": "LATIN1",
        "client_min_messages": "debug5",
        "datestyle": "German, DMY",
        "default_transaction_deferrable": "on",
        "default_transaction_isolation": "serializable",
        "escape_string_warning": "off",
        "extra_float_digits": "-15",
        "intervalstyle": "iso_8601",
        "plan_cache_mode": "force_custom_plan",
        "search_path": "nowhere",
        "standard_conforming_strings": "off",
        "timezone": "Asia/Kolkata",
        "xmlbinary": "hex",
    },
    {
        "datestyle": "SQL, MDY",
        "default_transaction_isolation": "repeatable read",
        "enable_indexscan": "off",
        "intervalstyle": "sql_standard",
        "quote_all_identifiers": "on",
        "row_security": "off",
        "session_replication_role": "replica",
        "timezone": "America/St_Johns",
        "transform_null_equals": "on",
    },
    {"datestyle": "Postgres, YMD"},
]


@pytest.fixture
def under(database: str) -> Iterator[Callable[[dict[str, str]], Connection]]:
    """Give a function that connects to the test's database, which has these settings until the test ends."""
    name_of_it = composed.Identifier(parse_dsn(database)["dbname"])
    with closing(connect(database)) as conn, ExitStack() as opened:

        def under(settings: dict[str, str]) -> Connection:
            for name, value in settings.items():
                # One that takes a list is not to be quoted as a whole.
                said = composed.SQL(value if name == "datestyle" else composed.Literal(value).as_string(conn))
                statement = composed.SQL("ALTER DATABASE {} SET {} = {}")
                with conn.cursor() as cursor:
                    cursor.execute(statement.format(name_of_it, composed.SQL(name), said))
            return opened.enter_context(closing(connect(database)))

        yield under
        with conn.cursor() as cursor:
            cursor.execute(composed.SQL("ALTER DATABASE {} RESET ALL").format(name_of_it))


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


def test_a_read_only_database_is_an_outage_and_stays_as_it_is(under):
    conn = under({"default_transaction_read_only": "on"})

    # Whoever set it, a provider whose disk is full for one, did so on purpose.
    with pytest.raises(DatabaseUnavailable), translated():
        claims.register(conn, host="dock", pid=7, threads=1, queues=(), lease_seconds=30)
