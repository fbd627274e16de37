"""For tests of the HTTP API."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from uuid import uuid4

import pytest
from flask import Flask
from flask.testing import FlaskClient
from psycopg2.extensions import connection as Connection

from haulier.config import Config
from haulier.domain.claim import Failure, Fence, Settlement
from haulier.domain.fingerprint import fingerprint
from haulier.domain.job import Job, Json, NewJob
from haulier.domain.outcome import Outcome
from haulier.queue import claims
from tests import queueing
from tests.http.callers import closed, make_key, public  # noqa: F401  # fixtures
from tests.web import (  # noqa: F401  # fixtures
    EMAIL,
    client,
    count_jobs,
    email,
    make_app,
    run_gunicorn,
    server,
    shared_server,
)

Fail = Callable[..., Job]
End = Callable[..., None]


@pytest.fixture
def secretive(
    make_app: Callable[..., Flask],  # noqa: F811
    config: Config,
    own_kinds: None,
    monkeypatch: pytest.MonkeyPatch,
) -> FlaskClient:
    # A kind is made known when its module is imported, and forgotten after each test.
    monkeypatch.delitem(sys.modules, "tests.hostile.secretive", raising=False)
    return make_app(replace(config, kinds=("tests.hostile.secretive",))).test_client()


@pytest.fixture
def job(client: FlaskClient) -> str:  # noqa: F811
    return str(client.post("/jobs", json={**EMAIL, "tags": ["a"]}).headers["Location"])


@pytest.fixture
def end(conn: Connection) -> End:
    """Give a function that claims the one job that is due, and settles it if it is given an outcome."""

    def end(outcome: Outcome | None = None) -> None:
        worker = claims.register(conn, host="dock", pid=7, threads=1, queues=(), lease_seconds=30.0)
        [claimed] = queueing.claim(conn, worker_id=worker, claim_id=uuid4(), queues=())
        if outcome:
            claims.settle(conn, [Settlement(Fence.of(claimed), outcome)])

    return end


@pytest.fixture
def fail(conn: Connection) -> Fail:
    """Give a function that enqueues a job and lets its first attempt fail."""
    worker = claims.register(conn, host="dock", pid=7, threads=8, queues=(), lease_seconds=60)

    def fail(
        error: str, *, kind: str = "mail", queue: str = "default", for_good: bool = True, payload: Json = None
    ) -> Job:
        queueing.enqueue(conn, [NewJob(kind, payload or {}, queue=queue, priority=1)])
        [job] = queueing.claim(conn, worker_id=worker, claim_id=uuid4(), queues=())
        outcome = Outcome.fail_for_good(error) if for_good else Outcome.fail(error, delay=3600)
        failure = Failure(fingerprint(kind, error), queue, error)
        assert claims.settle(conn, [Settlement(Fence.of(job), outcome, failure=failure)])
        return job

    return fail
