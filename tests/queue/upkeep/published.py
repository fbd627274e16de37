"""The schema as each version had it, with a job, a key and a worker at work, and the steps from there."""

from __future__ import annotations

from pathlib import Path

from psycopg2.extensions import connection as Connection

from haulier.domain.job import NewJob
from haulier.queue.upkeep.steps import SCHEMA_VERSION, Step, steps_from
from tests.conftest import sql_on

VERSIONS = Path(__file__).parent / "versions"
PUBLISHED = range(1, SCHEMA_VERSION)
STEPS = steps_from(1)

INSERT = "INSERT INTO haulier.job (kind, payload) VALUES ('mail', '{\"n\": 1}')"
# As versions 1 and 2 take a key.
TAKE_KEY = """
    WITH taken AS (
        INSERT INTO haulier.idempotency (key, fingerprint, job_id)
        VALUES (%s, %s, haulier.uuidv7())
        ON CONFLICT (key) DO NOTHING
        RETURNING key, job_id
    )
    INSERT INTO haulier.job (id, kind, payload, idempotency_key)
    SELECT job_id, 'mail', '{"n": 7}', key FROM taken RETURNING id
"""
# As every version claims: by looking.
CLAIM = """
    UPDATE haulier.job
    SET status = 'running', worker_id = %s, claim = %s, started_at = now(), attempt = attempt + 1,
        attempts = attempts + 1
    WHERE status IN ('queued', 'retrying')
    RETURNING id
"""


def publish(conn: Connection, version: int) -> Connection:
    """Apply the schema as it was published in that version, with a job, a key and a worker at work."""
    sql = sql_on(conn)
    sql(f"BEGIN; {(VERSIONS / f'schema_of_version_{version}.sql').read_text()}; COMMIT")
    sql(INSERT)
    sql("INSERT INTO haulier.worker (host, pid, threads, lease) VALUES ('old', 7, 8, '30 s')")
    sql(TAKE_KEY, "order-7", NewJob("mail", {"n": 7}, idempotency_key="order-7").fingerprint())
    return conn


def take(conn: Connection, steps: list[Step]) -> None:
    """Take the steps by hand, each in a transaction."""
    for step in steps:
        sql_on(conn)(f"BEGIN; {step.text}; COMMIT")


def version_of(conn: Connection) -> int:
    [[version]] = sql_on(conn)("SELECT version FROM haulier.schema_version")
    return int(version)
