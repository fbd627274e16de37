"""Web and workers with their defaults fit a database plan of 20 connections, with room for a team's own application."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from pathlib import Path
from uuid import uuid4

import pytest
import requests
from psycopg2.extensions import make_dsn, parse_dsn

from haulier.postgres.connection import connect
from haulier.queue.upkeep.migrate import migrate
from tests.conftest import PATIENCE
from tests.web import Server, gunicorn

ROOT = Path(__file__).parents[1]
WORKERS, JOBS = 2, 120


@pytest.fixture
def limited(fresh_database) -> Iterator[tuple[str, str]]:
    """Give the DSN of a database whose owner may have 20 connections, and the owner's name."""
    role = f"haulier_test_{uuid4().hex[:12]}"
    name = parse_dsn(fresh_database)["dbname"]
    with closing(connect(fresh_database)) as conn, conn.cursor() as cursor:
        cursor.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'secret' CONNECTION LIMIT 20")
        cursor.execute(f"GRANT CREATE ON DATABASE {name} TO {role}")
        dsn = f"postgresql://?{make_dsn(fresh_database, user=role, password='secret').replace(' ', '&')}"
        with closing(connect(dsn)) as owner:
            migrate(owner, retention_days=30)
        yield dsn, role
        cursor.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = %s", [role])
        cursor.execute(f"DROP OWNED BY {role}")
        cursor.execute(f"DROP ROLE {role}")


@pytest.mark.direct("looks at the server's own connections")
def test_web_and_workers_fit_a_plan_of_20_connections(limited, fresh_database, eventually, tmp_path):
    dsn, role = limited
    environ = {"PATH": os.environ["PATH"], "DATABASE_URL": dsn, "EXECUTOR": "simulated", "WORKER_METRICS_PORT": "0"}
    most = 0

    with (
        (tmp_path / "log").open("w") as log,
        ExitStack() as running,
        gunicorn(dsn, eventually) as server,
        closing(connect(fresh_database)) as superuser,
        closing(connect(dsn)),
    ):
        for _ in range(WORKERS):
            command = [sys.executable, "worker.py"]
            worker = running.enter_context(subprocess.Popen(command, cwd=ROOT, env=environ, stdout=log, stderr=log))
            running.callback(worker.terminate)
        eventually(lambda: (tmp_path / "log").read_text().count("working with ") == WORKERS)
        barrier = threading.Barrier(12)

        def post(number: int) -> list[int]:
            barrier.wait(PATIENCE)
            job = {"kind": "summarize_text", "payload": {"text": f"Text {number}."}}
            with requests.Session() as session:
                session.trust_env = False
                calls = [session.post(f"{server.url}/jobs", json=job) for _ in range(JOBS // 12)]
                calls += [session.get(f"{server.url}/jobs?limit=5") for _ in range(3)]
                calls += [session.get(f"{server.url}/metrics"), session.get(f"{server.url}/health")]
            return [call.status_code for call in calls]

        with ThreadPoolExecutor(12) as pool:
            answers = [status for statuses in pool.map(post, range(12)) for status in statuses]

        def all_done() -> bool:
            nonlocal most
            with superuser.cursor() as cursor:
                cursor.execute("SELECT count(*) FROM pg_stat_activity WHERE usename = %s", [role])
                most = max(most, cursor.fetchone()[0])
                cursor.execute("SELECT count(*) FROM haulier.finished_job WHERE status = 'succeeded'")
                return cursor.fetchone()[0] == JOBS

        eventually(all_done)

    assert set(answers) == {200, 201}
    assert answers.count(201) == JOBS
    # A worker may be keeping house, and one connection is this test's own, in the place of a psql.
    assert most <= 6 + 5 * WORKERS + 1
    assert "too many" not in (tmp_path / "log").read_text()


JOB = {"kind": "summarize_text", "payload": {"text": "Text."}}


def post(server: Server, number: int) -> list[tuple[int, float]]:
    """Post jobs one after the other, and return the status and the seconds of each answer."""
    with requests.Session() as session:
        session.trust_env = False
        calls = [session.post(f"{server.url}/jobs", json=JOB) for _ in range(number)]
    return [(call.status_code, call.elapsed.total_seconds()) for call in calls]


@pytest.mark.direct("looks at the server's own connections")
def test_the_api_answers_all_with_fewer_connections_than_threads(limited, fresh_database, eventually):
    dsn, role = limited

    with gunicorn(dsn, eventually) as server, closing(connect(fresh_database)) as superuser:
        # Two processes of three threads share four connections: three and one.
        with superuser.cursor() as cursor:
            cursor.execute(f"ALTER ROLE {role} CONNECTION LIMIT 4")
        with ThreadPoolExecutor(12) as clients:
            answers = [answer for found in clients.map(lambda _: post(server, 20), range(12)) for answer in found]

    assert {status for status, _ in answers} == {201}
    assert len(answers) == 240


@pytest.mark.direct("looks at the server's own connections")
def test_the_api_answers_503_at_the_limit_after_one_wait(limited, fresh_database, eventually):
    dsn, _ = limited

    with gunicorn(dsn, eventually) as server, ThreadPoolExecutor(30) as clients, ExitStack() as stack:
        for _ in range(20):
            others = stack.enter_context(closing(connect(dsn)))
        began = time.monotonic()
        answers = [answer for found in clients.map(lambda _: post(server, 4), range(30)) for answer in found]
        took = time.monotonic() - began
        others.close()
        eventually(lambda: post(server, 1)[0][0] == 201)

    assert {status for status, _ in answers} == {503}
    assert max(seconds for _, seconds in answers) >= 2.0
    # 120 of them, and 6 threads: if each waited for 2 s, they would take 40.
    assert took < 20
