"""What the roles of grants.sql may not do, by example: a role ..."""

from __future__ import annotations

from contextlib import closing

import pytest
from psycopg2.errors import InsufficientPrivilege
from psycopg2.extensions import connection as Connection

from haulier.postgres.connection import connect
from tests.roles import Roles
from tests.schema.permitted import ask

pytestmark = pytest.mark.direct("is about roles and their own connections; a pool has one role for all")

FORBIDDEN = {
    "web": [
        "UPDATE haulier.job SET status = 'queued'",
        "UPDATE haulier.job SET worker_id = NULL",
        "UPDATE haulier.job SET attempts = 0",
        "UPDATE haulier.job SET kind = 'a'",
        "UPDATE haulier.finished_job SET status = 'succeeded'",
        "INSERT INTO haulier.job (kind, payload, worker_id) VALUES ('a', '{}', NULL)",
        "DELETE FROM haulier.idempotency",
        "DELETE FROM haulier.worker",
        "UPDATE haulier.api_key SET scopes = '{admin}'",
        "INSERT INTO haulier.api_key (id, name, hash, scopes) VALUES ('a', 'a', sha256(''), '{admin}')",
        "INSERT INTO haulier.audit (action, key_id) VALUES ('revoke_key', 'a')",
        "INSERT INTO haulier.audit (action, job_id, at) VALUES ('cancel', haulier.uuidv7(), now())",
        "UPDATE haulier.audit SET actor = NULL",
        "UPDATE haulier.operation SET filter = '{}'",
        "UPDATE haulier.operation SET actor = NULL",
        "UPDATE haulier.preview SET unseen = '{}'",
        "DELETE FROM haulier.operation",
        "DELETE FROM haulier.audit",
        "DELETE FROM haulier.moved",
        "SELECT haulier.revoke_key('a', NULL)",
        "SELECT FROM haulier.sleeper",
        "DELETE FROM haulier.queue",
        "UPDATE haulier.queue SET key_id = 'a'",
        "INSERT INTO haulier.queue (name, used_at) VALUES ('a', now())",
        "TRUNCATE haulier.job",
        "CREATE TABLE haulier.mine ()",
        "ALTER TABLE haulier.job DISABLE TRIGGER knock",
        "DROP SCHEMA haulier CASCADE",
        "UPDATE haulier.schema_version SET version = 99",
        "SELECT FROM public.shop",
        "SET ROLE {owner}",
        "SET ROLE {worker}",
    ],
    "worker": [
        "INSERT INTO haulier.job (kind, payload, status) VALUES ('a', '{}', 'queued')",
        "INSERT INTO haulier.job (kind, payload, attempts) VALUES ('a', '{}', 0)",
        "UPDATE haulier.job SET payload = '{}'",
        "UPDATE haulier.job SET kind = 'a'",
        "UPDATE haulier.job SET max_attempts = 1000",
        "UPDATE haulier.job SET tags = NULL",
        "UPDATE haulier.finished_job SET queue = 'a'",
        "INSERT INTO haulier.audit (action, job_id) VALUES ('cancel', haulier.uuidv7())",
        "SELECT hash FROM haulier.api_key",
        "INSERT INTO haulier.api_key (id, name, hash, scopes) VALUES ('a', 'a', sha256(''), '{admin}')",
        "INSERT INTO haulier.idempotency VALUES ('k', '', haulier.uuidv7())",
        "INSERT INTO haulier.queue (name) VALUES ('a')",
        "UPDATE haulier.queue SET name = 'a'",
        "TRUNCATE haulier.job",
        "CREATE TABLE haulier.mine ()",
        "ALTER TABLE haulier.job DISABLE TRIGGER knock",
        "DROP SCHEMA haulier CASCADE",
        "SELECT FROM public.shop",
        "SET ROLE {web}",
        "SET ROLE {owner}",
    ],
}


@pytest.mark.parametrize("part", FORBIDDEN)
def test_may_do_nothing_that_the_page_does_not_list(roles: Roles, super_conn: Connection, part: str) -> None:
    ask(super_conn, "CREATE TABLE public.shop ()")
    quoted = {name: '"' + role.replace('"', '""') + '"' for name, role in roles.names.items()}
    permitted = []

    with closing(connect(getattr(roles, part))) as conn:
        for statement in FORBIDDEN[part]:
            for name, role in quoted.items():
                statement = statement.replace(f"{{{name}}}", role)
            try:
                ask(conn, statement)
            except InsufficientPrivilege:
                continue
            permitted.append(statement)

    assert permitted == []
