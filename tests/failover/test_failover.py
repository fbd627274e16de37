"""When the primary is lost under load and its synchronous standby takes over, ..."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from contextlib import ExitStack, closing
from dataclasses import replace

import pytest

from haulier.config import Config
from haulier.domain.checks import Check, CheckState
from haulier.domain.errors import DatabaseUnavailable, ReadOnly
from haulier.domain.job import NewJob
from haulier.logs import redacted
from haulier.postgres.connection import connect, parse
from haulier.postgres.errors import translated
from haulier.postgres.scratch import url_of
from haulier.queue.health import overview
from haulier.queue.health.database_checks import THRESHOLDS, check_database
from tests import queueing
from tests.conftest import eventually, sql_on
from tests.failover.conftest import DATABASE, sql_of
from tests.failover.load import KINDS, begun_since, ends, load
from tests.web import gunicorn

# From the loss to the promotion, as if somebody had to be sure first.
DECISION_SECONDS = 1.0


def test_no_acknowledged_job_is_lost_and_api_and_workers_go_on(pair, spawn_worker, ledger):
    with ExitStack() as stack:
        server = stack.enter_context(gunicorn(pair.dsn, eventually, **KINDS))
        workers = [
            spawn_worker(DATABASE_URL=pair.dsn, DATABASE_DIRECT_URL="", WORKER_THREADS=4, LOG_LEVEL="INFO")
            for _ in range(2)
        ]
        processes = (server.process.pid, server.children(), [worker.pid for worker in workers])
        with load(server) as book:
            eventually(lambda: len(book.acknowledged) >= 300 and ledger.entries("start"))

            pair.kill_primary()
            lost_at = time.monotonic()
            threading.Event().wait(DECISION_SECONDS)
            too_good = book.since(lost_at + 0.2)
            decided_at = time.monotonic()
            pair.promote()
            [api_back, *_] = eventually(lambda: book.since(decided_at))
            worker_back = eventually(lambda: begun_since(ledger, decided_at))
            eventually(lambda: len(book.since(decided_at)) >= 300)
        eventually(lambda: set(ends(pair.dsn).values()) == {"succeeded"})
        settled_at = time.monotonic()
        found = ends(pair.dsn)

        assert (server.process.pid, server.children(), [worker.pid for worker in workers]) == processes
        assert all(worker.popen.poll() is None for worker in workers)
    print(
        f"{len(book.acknowledged)} jobs acknowledged, {len(found)} there; after the decision to promote the API took"
        f" jobs again in {api_back - decided_at:.2f} s, a worker began one in {worker_back - decided_at:.2f} s; all had"
        f" ended {settled_at - max(book.acknowledged.values()):.2f} s after the last was taken"
    )
    assert too_good == []
    assert book.acknowledged.keys() - found.keys() == set()
    assert book.statuses.keys() <= {0, 200, 201, 503}
    assert api_back - decided_at < 5
    assert worker_back - decided_at < 5


def test_nothing_is_acknowledged_while_no_standby_confirms(pair):
    with closing(connect(pair.dsn)) as conn:
        overview.ping(conn)
    with closing(connect(pair.dsn.replace("read-write", "standby"))) as conn, pytest.raises(ReadOnly):
        overview.ping(conn)

    pair.lose_standby()
    began = time.monotonic()
    with closing(connect(pair.dsn)) as conn, pytest.raises(DatabaseUnavailable), translated():
        queueing.enqueue(conn, [NewJob("mail", {})])

    assert time.monotonic() - began < 10


def test_the_check_names_a_standby_whose_query_holds_a_snapshot(pair):
    # So many transactions are soon made.
    soon = {"standbys": replace(THRESHOLDS["standbys"], warn=20, bad=50)}
    with sql_of(pair.standby) as sql:
        for change in ("hot_standby_feedback = on", "wal_receiver_status_interval = '1 s'"):
            sql(f"ALTER SYSTEM SET {change}")
        sql("SELECT pg_reload_conf()")
    with closing(connect(pair.dsn)) as primary:

        def the_check() -> Check:
            [check] = check_database(primary, retention_days=30, thresholds=soon).checks
            return check

        def is_bad() -> bool:
            for _ in range(20):
                sql_on(primary)("INSERT INTO haulier.job (kind, payload) VALUES ('mail', '{}')")
            return the_check().state is CheckState.BAD

        before = the_check()
        with sql_of(pair.standby, DATABASE) as sql:
            # It may still have to replay the schema.
            eventually(lambda: sql("SELECT to_regclass('haulier.job')") != [(None,)])
            sql("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM haulier.job")
            eventually(is_bad)
            during = the_check()

        assert before.state is CheckState.OK
        assert "holds a snapshot that is" in during.message
        assert "hot_standby_feedback = off" in (during.fix or "")
        eventually(lambda: the_check().state is CheckState.OK)


def test_the_address_of_several_hosts_is_taken_and_logged_without_its_password():
    forms = {
        "postgresql://app:swordfish@db-a:5432,db-b:5433/jobs?target_session_attrs=read-write": "db-a,db-b",
        "postgres://app:swordfish@/jobs?host=db-a,db-b&port=5432,5433&target_session_attrs=read-write": "db-a,db-b",
        "postgresql://app@/jobs?host=%2Frun%2Fa,%2Frun%2Fb&password=swordfish": "/run/a,/run/b",
    }
    for url, hosts in forms.items():
        settings = Config.from_env({"DATABASE_URL": url, "DATABASE_DIRECT_URL": url})
        parsed = parse(settings.database_url)

        assert (parsed["host"], parsed.get("port")) == (hosts, "5432,5433" if "5432" in url else None)
        assert settings.direct_url == url
        assert parse(url_of(url, "other")) == {**parsed, "dbname": "other"}
        assert "swordfish" not in redacted(f"cannot connect to {url}: no route")
        assert "swordfish" not in repr(settings)


def test_every_program_takes_an_address_of_several_hosts(pair):
    environ = {"PATH": os.environ["PATH"], "DATABASE_URL": pair.dsn}
    words = ("migrate", "recount", "keys list", "audit", "psql -- -c VALUES(1)")
    ended = [
        subprocess.run([sys.executable, "-m", "haulier", *each.split()], env=environ, capture_output=True, text=True)
        for each in words
    ]

    assert [each.stderr for each in ended if each.returncode] == []
