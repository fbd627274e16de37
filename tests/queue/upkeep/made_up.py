"""A version 1 database with data in every table, and made-up steps that lead from there to versions 2 and 3.

Until there are real migrations these are what `migrate` is tested with; afterwards both are.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

from psycopg2.extensions import connection as Connection

from haulier.domain.api_key import Scope
from haulier.domain.claim import Failure, Fence, Settlement
from haulier.domain.fingerprint import fingerprint
from haulier.domain.job import Job, NewJob
from haulier.domain.operation import OperationAction
from haulier.domain.outcome import Outcome
from haulier.queue import claims, search
from haulier.queue.access import api_keys, sessions
from haulier.queue.access.api_keys import NewKey
from haulier.queue.claims.wakeups import fall_asleep
from haulier.queue.health.acknowledgements import acknowledge
from haulier.queue.health.deployments import note_deployment
from haulier.queue.numbers import counts
from haulier.queue.operations import operations
from haulier.queue.operations.operations import Order
from haulier.queue.queues.pauses import pause
from haulier.queue.schedules.fire import fire_due
from haulier.queue.upkeep.steps import SCHEMA, Schema, Step
from tests import queueing
from tests.conftest import sql_on
from tests.queue.schedules.schedules import plant

# The schema.sql of the tag v1.0.0, from the first migration on. Until then version 1 is changed in place.
VERSION_1 = Path(__file__).parent / "version_1.sql"

HEAD = "SET LOCAL search_path = pg_catalog, pg_temp;\nSET LOCAL lock_timeout = '5s';\n"
FILES = {
    "002_1_label.sql": f"""\
-- does: Adds a label to the jobs that are still to end.
-- locks job: ACCESS EXCLUSIVE, for a moment

{HEAD}
ALTER TABLE haulier.job ADD COLUMN IF NOT EXISTS label text;
""",
    "002_2_label_is_short.sql": f"""\
-- does: Checks the labels of new jobs; the next step checks all.
-- locks job: ACCESS EXCLUSIVE, for a moment

{HEAD}
ALTER TABLE haulier.job DROP CONSTRAINT IF EXISTS label_is_short;
ALTER TABLE haulier.job ADD CONSTRAINT label_is_short CHECK (length(label) <= 10) NOT VALID;
""",
    "002_3_validate.sql": f"""\
-- does: Checks the labels of all jobs, and sets version 2.
-- locks job: SHARE UPDATE EXCLUSIVE, while it is read once: everything goes on

{HEAD}
ALTER TABLE haulier.job VALIDATE CONSTRAINT label_is_short;
UPDATE haulier.schema_version SET version = 2;
""",
    "003_depot.sql": f"""\
-- does: Makes a table of depots, and sets version 3.

{HEAD}
CREATE TABLE IF NOT EXISTS haulier.depot (name text PRIMARY KEY);
UPDATE haulier.schema_version SET version = 3;
""",
}
# What schema.sql has in version 3, before it writes its version.
ADDED = """
ALTER TABLE haulier.job ADD COLUMN IF NOT EXISTS label text;
ALTER TABLE haulier.job DROP CONSTRAINT IF EXISTS label_is_short;
ALTER TABLE haulier.job ADD CONSTRAINT label_is_short CHECK (length(label) <= 10);
CREATE TABLE IF NOT EXISTS haulier.depot (name text PRIMARY KEY);

-- Last, so that the version is there only when all of the above is.
"""


def made_up_schema(folder: Path, *, lock_timeout: str = "5s") -> Schema:
    """Write schema.sql of version 3 and its migrations into the folder, and return them.

    A step waits for a lock as long as a real one, unless a test has it give up sooner.
    """
    text = version_1()
    [last] = [line for line in text.splitlines(keepends=True) if line.startswith("-- Last, ")]
    text = text.replace(last, ADDED).replace("'haulier.version', '1'", "'haulier.version', '3'")
    (folder / "schema.sql").write_text(text)
    (folder / "migrations").mkdir()
    for name, step in FILES.items():
        (folder / "migrations" / name).write_text(
            step.replace("lock_timeout = '5s'", f"lock_timeout = '{lock_timeout}'")
        )
    return Schema(3, folder / "schema.sql", folder / "migrations")


def version_1() -> str:
    if VERSION_1.exists():
        return VERSION_1.read_text()
    assert SCHEMA.version == 1, f"the first migration needs the schema.sql of the tag v1.0.0 as {VERSION_1.name}"
    return SCHEMA.text


def build_version_1(conn: Connection) -> Connection:
    sql = sql_on(conn)
    sql(f"BEGIN; {version_1()}; COMMIT")
    sql("UPDATE haulier.schema_version SET fingerprint = %s", Schema(1, SCHEMA.file, SCHEMA.migrations).fingerprint)
    fill(conn)
    return conn


def fill(conn: Connection) -> None:
    sql = sql_on(conn)
    worker = register(conn)
    fall_asleep(conn, register(conn))
    claims.deregister(conn, register(conn))
    end(conn, worker, queueing.enqueue(conn, [NewJob("mail", {"n": 1}, idempotency_key="order-1")])[0].job)
    api_keys.create(conn, NewKey("shop", frozenset({Scope.ENQUEUE})), actor=None)
    sessions.open_session(conn, key_id="env", key_hash=b"x" * 32, idle_seconds=60)
    pause(conn, "letters")
    acknowledge(conn, "late", {"letters": 3}, "letters is late", queues=None, actor=None)
    note_deployment(conn)
    plant(sql, "nightly", seconds_ago=2)
    fire_due(conn, retention_days=30)
    order = Order(OperationAction.CANCEL, search.JobFilter(kinds=["nothing"]))
    operations.start(conn, order, as_of=operations.preview(conn, order).as_of, actor=None)
    counts.counting_ends_in(conn)
    counts.count(conn, counter=uuid4())
    # The rest is what only time or traffic brings about.
    sql("INSERT INTO haulier.rate_budget (key_id, tokens, granted) SELECT id, 1, 1 FROM haulier.api_key")
    sql("INSERT INTO haulier.queue (name) VALUES ('parcels')")
    sql("INSERT INTO haulier.moved VALUES ('parcels', 'mail', now())")
    sql("INSERT INTO haulier.rollup (step, at, queue, kind) VALUES (10, now(), 'parcels', 'mail')")
    sql("INSERT INTO haulier.depth VALUES ('parcels', 'mail', 'queued', 1, 1, now()) ON CONFLICT DO NOTHING")
    sql("INSERT INTO haulier.progress SELECT haulier.uuidv7(), haulier.uuidv7(), 1, 2, 'half', now(), 0, now()")


def register(conn: Connection) -> UUID:
    return claims.register(conn, host="dock", pid=7, threads=1, queues=(), lease_seconds=30)


def end(conn: Connection, worker: UUID, job: Job | None) -> None:
    """Claim the job and let it fail for good, which makes the partitions that are missing."""
    assert job
    [claimed] = queueing.claim(conn, worker_id=worker, claim_id=uuid4(), queues=())
    failure = Failure(fingerprint("mail", "no luck"), claimed.queue, "no luck")
    claims.settle(conn, [Settlement(Fence.of(claimed), Outcome.fail_for_good("no luck"), failure=failure)])


def contents(conn: Connection, *, but: set[str]) -> dict[str, list[Any]]:
    """Return what each table holds, without these columns."""
    sql = sql_on(conn)
    tables = sql(
        "SELECT relname FROM pg_class WHERE relnamespace = 'haulier'::regnamespace AND relkind IN ('r', 'p')"
        " AND NOT relispartition AND relname <> 'schema_version' ORDER BY 1"
    )
    return {
        table: [row for (row,) in sql(f"SELECT to_jsonb(t) - %s FROM haulier.{table} AS t ORDER BY 1", list(but))]
        for (table,) in tables
    }


def take(conn: Connection, steps: list[Step]) -> None:
    for step in steps:
        sql_on(conn)(f"BEGIN; {step.text}; COMMIT")


def version_of(conn: Connection) -> int:
    [[version]] = sql_on(conn)("SELECT version FROM haulier.schema_version")
    return int(version)
