"""What a review of the groups of errors found of their answers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from uuid import uuid4

from flask import Flask
from flask.testing import FlaskClient
from psycopg2.extensions import connection as Connection

from haulier.config import Config
from haulier.domain.api_key import Scope
from haulier.domain.claim import Failure, Fence, Settlement
from haulier.domain.fingerprint import fingerprint, id_text
from haulier.domain.job import NewJob
from haulier.domain.outcome import Outcome
from haulier.queue import consume, produce
from tests.api.test_errors_calls import Fail, fail  # noqa: F401  # fixture
from tests.conftest import Sql
from tests.http.callers import MakeKey, make_key  # noqa: F401  # fixtures

# As a worker stored it that did not know yet that the field is secret, or that had it from a child that was taken over.
ERROR = "refused token tok-hunter2"


def test_an_example_is_masked_as_the_error_of_its_job_is(
    make_app: Callable[..., Flask],
    config: Config,
    make_key: MakeKey,  # noqa: F811
    conn: Connection,
    own_kinds: None,
) -> None:
    client = make_app(replace(config, kinds=("tests.hostile.secretive",))).test_client()
    worker = consume.register(conn, host="dock", pid=7, threads=8, queues=(), lease_seconds=60)
    produce.enqueue(conn, [NewJob("secretive", {"how": "raise", "token": "tok-hunter2"})])
    [job] = consume.claim(conn, worker_id=worker, claim_id=uuid4(), queues=())
    group = fingerprint("secretive", ERROR)
    failure = Failure(group, "default", ERROR)
    consume.settle(conn, [Settlement(Fence.of(job), Outcome.fail_for_good(ERROR), failure=failure)])
    _, headers = make_key(Scope.READ)

    told = {
        path: client.get(path, headers=headers).text
        for path in ("/jobs", f"/jobs/{job.id}", "/errors", f"/errors/{id_text(group.id)}")
    }

    assert [path for path, text in told.items() if "tok-hunter2" in text] == []


def test_the_record_tells_an_unmute_from_a_mute(client: FlaskClient, fail: Fail, sql: Sql) -> None:  # noqa: F811
    fail("no luck")
    path = f"/errors/{id_text(fingerprint('mail', 'no luck').id)}"

    client.patch(path, json={"muted_until": "2030-01-01T00:00:00Z"})
    client.patch(path, json={"muted_until": None})

    assert sql("SELECT action FROM haulier.audit ORDER BY id") == [("mute",), ("unmute",)]
