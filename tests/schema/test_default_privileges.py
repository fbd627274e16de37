"""The rights of grants.sql if an owner's default privileges give new functions to no other role."""

from __future__ import annotations

from contextlib import closing
from uuid import uuid4

import pytest
from flask.testing import FlaskClient
from psycopg2.extensions import connection as Connection

from haulier.postgres.connection import connect
from haulier.queue import claims
from haulier.queue.upkeep import partitions
from tests import queueing
from tests.roles import Roles, apply_grants
from tests.schema.inserting import EMAIL

pytestmark = pytest.mark.direct("is about roles and their own connections; a pool has one role for all")


def test_they_are_enough_if_no_role_may_call_new_functions(
    roles: Roles, super_conn: Connection, client: FlaskClient
) -> None:
    # As the owner's ALTER DEFAULT PRIVILEGES would have done before; migrate itself grants what a CHECK calls.
    with super_conn.cursor() as cursor:
        cursor.execute("REVOKE EXECUTE ON ALL FUNCTIONS IN SCHEMA haulier FROM PUBLIC")
        cursor.execute("GRANT EXECUTE ON FUNCTION haulier.are_tags(text[]) TO PUBLIC")
    apply_grants(super_conn, roles.names["web"], roles.names["worker"])

    made = [client.post("/jobs", json={**EMAIL, "tags": ["a"]}) for _ in range(2)]
    paths = [
        made[0].headers["Location"],
        "/jobs",
        "/jobs?tag=a",
        "/jobs?status=running",
        "/workers",
        "/metrics",
        "/health",
    ]
    answers = [*made, *(client.get(path) for path in paths), client.post(f"{made[1].headers['Location']}/copy")]
    operation = {"action": "cancel", "filter": {"kind": ["none"]}}
    with closing(connect(roles.worker)) as conn:
        worker = claims.register(conn, host="dock", pid=7, threads=8, queues=(), lease_seconds=60)
        claimed = queueing.claim(conn, worker_id=worker, claim_id=uuid4(), queues=())
        partitions.ensure_partitions(conn, retention_days=30)
    partitions.drop_expired(roles.worker, retention_days=30)

    assert [answer.status_code for answer in answers] == [201] * 2 + [200] * 7 + [201]
    assert client.post("/operations", json=operation).status_code == 202
    assert len(claimed) == 1
