"""What the roles of grants.sql may do, by trying everything: it ..."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, closing
from typing import Any

import psycopg2
import pytest
from flask.testing import FlaskClient
from psycopg2 import errors
from psycopg2.extensions import connection as Connection

from app.api import build
from haulier.config import Config
from haulier.domain.errors import DatabaseUnavailable
from haulier.domain.job import NewJob
from haulier.postgres.connection import connect
from haulier.postgres.statements import transaction
from haulier.queue import produce
from haulier.queue.upkeep import partitions
from haulier.queue.upkeep.migrate import migrate
from haulier.queue.upkeep.partitions import drop_expired
from tests.queue.upkeep.archive import Archive
from tests.roles import Roles, apply_grants, least_roles

pytestmark = pytest.mark.direct("is about roles and their own connections; a pool has one role for all")

EMAIL = {"kind": "send_email", "payload": {"to": "a@b.c", "subject": "Hi", "body": "Hello."}}

ALL = ["all of them"]
# For each table, what may be done to which columns.
TABLES: dict[str, dict[str, dict[str, list[str]]]] = {
    "web": {
        "api_key": {"SELECT": ALL, "UPDATE": ["last_used_at"]},
        "finished_job": {"SELECT": ALL},
        "idempotency": {"SELECT": ALL, "INSERT": ["key", "fingerprint", "job_id"]},
        "job": {
            "SELECT": ALL,
            "INSERT": [
                "id",
                "kind",
                "queue",
                "priority",
                "run_at",
                "max_attempts",
                "timeout_seconds",
                "payload",
                "idempotency_key",
            ],
        },
        "jobs": {"SELECT": ALL},
        "queue": {"SELECT": ALL, "INSERT": ["name", "key_id"], "UPDATE": ["used_at"]},
        "rate_budget": {"SELECT": ALL, "INSERT": ALL, "UPDATE": ALL},
        "schema_version": {"SELECT": ALL},
        "worker": {"SELECT": ALL},
    },
    "worker": {
        "audit": {"SELECT": ALL, "UPDATE": ["at"], "DELETE": ALL},
        "finished_job": {"INSERT": ALL},
        "idempotency": {"SELECT": ALL, "UPDATE": ["created_at"], "DELETE": ALL},
        "job": {
            "SELECT": ALL,
            "UPDATE": [
                "status",
                "run_at",
                "worker_id",
                "attempt",
                "claim",
                "started_at",
                "attempts",
                "crashes",
                "snoozes",
                "backoff",
                "last_error",
                "errors",
                "updated_at",
            ],
            "DELETE": ALL,
        },
        "jobs": {"SELECT": ALL},
        "lane": {"SELECT": ALL},
        "queue": {"SELECT": ALL, "UPDATE": ["used_at"], "DELETE": ALL},
        "schema_version": {"SELECT": ALL},
        "sleeper": {"SELECT": ALL, "INSERT": ALL, "DELETE": ALL},
        "worker": {"SELECT": ALL, "INSERT": ALL, "UPDATE": ALL, "DELETE": ALL},
    },
}
# What these three say is in the catalogue, or random.
OF_ANYBODY = {"running", "uuidv7", "history_partitions", "partition_to_add", "detached_partitions"}
FUNCTIONS = {
    "web": OF_ANYBODY | {"cancel", "retry"},
    "worker": OF_ANYBODY | {"add_partition", "finish_detach", "detach_partition", "drop_partition"},
}
NEVER = [
    "CREATE TABLE haulier.mine ()",
    "CREATE SCHEMA mine",
    "CREATE ROLE mine",
    "ALTER TABLE haulier.job DISABLE TRIGGER knock",
    "ALTER TABLE haulier.finished_job DETACH PARTITION {partition}",
    "COMMENT ON TABLE {partition} IS 'expired'",
    "DROP TABLE {partition}",
    "DROP FUNCTION haulier.cancel(uuid, text)",
    "ALTER FUNCTION haulier.drop_partition(oid) RESET search_path",
    "GRANT {owner} TO CURRENT_USER",
    "ALTER DEFAULT PRIVILEGES FOR ROLE {owner} GRANT SELECT ON TABLES TO PUBLIC",
    "SELECT nextval('haulier.audit_id_seq')",
    "SELECT setval('haulier.audit_id_seq', 1)",
    "LOCK TABLE haulier.schema_version IN SHARE ROW EXCLUSIVE MODE",
    "COPY haulier.job TO PROGRAM 'true'",
    "SELECT FROM pg_catalog.pg_authid",
    "SET SESSION AUTHORIZATION {owner}",
    "SET ROLE {owner}",
    "SET ROLE {web}",
    "SET ROLE {worker}",
    "SET ROLE {superuser}",
]


@pytest.fixture
def old_roles(super_conn: Connection, fresh_database: str) -> Iterator[Roles]:
    """Give the roles as version 6 had them, in its schema."""
    with least_roles(super_conn, fresh_database, version=6) as roles:
        yield roles


@pytest.fixture
def archive(super_conn: Connection, fresh_database: str, roles: Roles) -> Iterator[Archive]:
    """Give that database as a superuser has it, to spoil its partitions."""
    with ExitStack() as opened:
        yield Archive(fresh_database, opened)


def ask(conn: Connection, statement: str, *parameters: object) -> list[tuple[Any, ...]]:
    with conn.cursor() as cursor:
        cursor.execute(statement, parameters or None)
        return cursor.fetchall() if cursor.description else []


def is_permitted(conn: Connection, statement: str) -> bool:
    """Run the statement, undo it, and tell whether the role may: what else it may fail of comes after its rights."""
    try:
        ask(conn, f"BEGIN; {statement}")
    except errors.InsufficientPrivilege:
        return False
    except psycopg2.Error:
        pass
    finally:
        ask(conn, "ROLLBACK")
    return True


def quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def permitted_on(conn: Connection, table: str, kind: str, columns: list[str]) -> dict[str, list[str]]:
    """Return what the role may do to the table, and to which columns of it."""
    by_column = {"SELECT": "SELECT {column} FROM {table} LIMIT 0"}
    by_table = {}
    # The views are a recursion and a union, to which nobody can write: Postgres looks at that before it does at rights.
    if kind != "v":
        by_column["INSERT"] = "INSERT INTO {table} ({column}) VALUES (DEFAULT)"
        by_column["UPDATE"] = "UPDATE {table} SET {column} = DEFAULT WHERE false"
        by_table = {"DELETE": "DELETE FROM {table} WHERE false", "TRUNCATE": "TRUNCATE {table}"}
    found = {
        verb: [name for name in columns if is_permitted(conn, statement.format(table=table, column=quoted(name)))]
        for verb, statement in by_column.items()
    }
    found = {verb: ALL if names == columns else names for verb, names in found.items() if names}
    return found | {verb: ALL for verb, text in by_table.items() if is_permitted(conn, text.format(table=table))}


def columns_of(conn: Connection) -> dict[tuple[str, str], list[str]]:
    """Return the columns of each table and view, partitions included, by its name and sort."""
    found = ask(
        conn,
        "SELECT relname, relkind::text, array_agg(attname::text ORDER BY attnum)"
        " FROM pg_class JOIN pg_attribute ON attrelid = pg_class.oid AND attnum > 0 AND NOT attisdropped"
        " WHERE relnamespace = 'haulier'::regnamespace AND relkind IN ('r', 'p', 'v') GROUP BY relname, relkind",
    )
    return {(name, kind): columns for name, kind, columns in found}


@pytest.mark.parametrize("part", TABLES)
def test_a_role_may_do_to_the_tables_what_is_listed_and_nothing_else(
    roles: Roles, super_conn: Connection, part: str
) -> None:
    columns = columns_of(super_conn)

    with closing(connect(getattr(roles, part))) as conn:
        found = {name: permitted_on(conn, f"haulier.{name}", kind, names) for (name, kind), names in columns.items()}

    assert len(columns) > 18
    assert {name: may for name, may in found.items() if may} == TABLES[part]


@pytest.mark.parametrize("part", FUNCTIONS)
def test_a_role_may_call_the_functions_that_are_listed_and_no_other(
    roles: Roles, super_conn: Connection, part: str
) -> None:
    functions = ask(
        super_conn,
        "SELECT proname, ARRAY(SELECT 'NULL::' || format_type(type, NULL) FROM unnest(proargtypes) AS type)"
        " FROM pg_proc WHERE pronamespace = 'haulier'::regnamespace",
    )

    with closing(connect(getattr(roles, part))) as conn:
        found = {name for name, given in functions if is_permitted(conn, f"SELECT haulier.{name}({', '.join(given)})")}

    assert found == FUNCTIONS[part]


@pytest.mark.parametrize("part", TABLES)
def test_a_role_may_do_nothing_that_is_its_owners_or_anothers(roles: Roles, super_conn: Connection, part: str) -> None:
    [[superuser]] = ask(super_conn, "SELECT current_user")
    [[partition]] = ask(super_conn, "SELECT min(inhrelid::regclass::text) FROM pg_inherits")
    names = {name: quoted(role) for name, role in roles.names.items() if name != part}
    fill = {**names, "superuser": quoted(superuser), "partition": partition, part: quoted(superuser)}

    with closing(connect(getattr(roles, part))) as conn:
        permitted = [each for each in NEVER if is_permitted(conn, each.format(**fill))]

    assert permitted == []


def test_no_function_of_the_owners_lets_its_caller_say_what_its_names_mean(
    super_conn: Connection, roles: Roles
) -> None:
    found = ask(
        super_conn,
        "SELECT proname FROM pg_proc WHERE pronamespace = 'haulier'::regnamespace AND prosecdef"
        " AND NOT coalesce('search_path=pg_catalog, pg_temp' = ANY(proconfig), false)",
    )

    assert found == []


# --- The functions of the history


def test_a_worker_adds_detaches_and_drops_partitions_without_being_the_owner(archive: Archive, roles: Roles) -> None:
    archive.add_old("finished_job_old", 40, 39)
    newest = archive.partitions()[-2]
    archive.sql(f"DROP TABLE haulier.{newest}")
    archive.sql(f"ALTER TABLE haulier.finished_job_old OWNER TO {quoted(roles.names['owner'])}")

    with closing(connect(roles.worker)) as conn:
        made = partitions.ensure_partitions(conn, retention_days=30)
    dropped = drop_expired(roles.worker, retention_days=30)

    assert (made, dropped) == ([newest], ["finished_job_old"])
    assert {owner for (owner,) in archive.sql("SELECT tableowner FROM pg_tables WHERE schemaname = 'haulier'")} == {
        roles.names["owner"]
    }


def test_a_worker_can_detach_no_partition_that_has_not_expired_and_drop_no_table_that_was_none(
    archive: Archive, roles: Roles
) -> None:
    archive.add_old("finished_job_young", 3, 2)
    archive.sql("CREATE TABLE haulier.finished_job_kept (LIKE haulier.finished_job INCLUDING ALL)")
    before = archive.sql("SELECT oid, relname FROM pg_class WHERE relnamespace = 'haulier'::regnamespace ORDER BY 1")

    with closing(connect(roles.worker)) as conn:
        done = [
            ask(conn, f"SELECT haulier.{call}", oid)
            for call in ("detach_partition(%s, 3)", "drop_partition(%s)", "finish_detach(%s)")
            for oid, _ in before
        ]
        done += [
            ask(conn, "SELECT haulier.detach_partition(%s, %s)", oid, days)
            for oid, name in before
            for days in (0, -1000)
            if name != "finished_job_young"
        ]
        refused = [
            not is_permitted(conn, f"SELECT {call}")
            for call in ("haulier.mark_expired(1, 1)", "haulier.cancel(haulier.uuidv7(), NULL)")
        ]

    assert set(map(str, done)) == {"[(None,)]"}
    assert refused == [True, True]
    after = archive.sql("SELECT oid, relname FROM pg_class WHERE relnamespace = 'haulier'::regnamespace ORDER BY 1")
    assert after == before
    assert archive.sql("SELECT count(*) FROM pg_description WHERE description = 'expired'") == [(0,)]


@pytest.mark.parametrize(("step", "days"), [("hour", 7), ("day", 3650), ("1 day'; --", 7)])
def test_a_worker_can_add_no_other_partition_than_the_next(
    archive: Archive, roles: Roles, step: str, days: int
) -> None:
    with closing(connect(roles.worker)) as conn, pytest.raises(errors.InvalidParameterValue):
        ask(conn, "SELECT haulier.add_partition(%s, %s)", step, days)


def test_a_worker_gives_up_at_once_where_somebody_reads_the_history(archive: Archive, roles: Roles) -> None:
    archive.add_old("finished_job_old", 40, 39)
    archive.sql(f"ALTER TABLE haulier.finished_job_old OWNER TO {quoted(roles.names['owner'])}")
    reader = archive.open_reader()

    with pytest.raises(DatabaseUnavailable):
        drop_expired(roles.worker, retention_days=30)
    marks = archive.sql("SELECT count(*) FROM pg_description WHERE description = 'expired'")
    reader.rollback()

    assert marks == [(0,)]
    assert drop_expired(roles.worker, retention_days=30) == ["finished_job_old"]


# --- What operators do


def test_the_role_of_the_api_moves_jobs_by_the_functions_alone_and_each_is_noted(
    roles: Roles, super_conn: Connection
) -> None:
    with closing(connect(roles.web)) as conn:
        [receipt] = produce.enqueue(conn, [NewJob("mail", {})])
        produce.cancel(conn, receipt.job.id, actor="ann")
        produce.retry(conn, receipt.job.id, actor="bob")
        ask(conn, "SELECT haulier.cancel(%s, 'eve')", str(receipt.job.id))
        ask(conn, "SELECT haulier.retry(haulier.uuidv7(), 'eve')")

    assert ask(super_conn, "SELECT actor, action, job_id::text FROM haulier.audit ORDER BY id") == [
        ("ann", "cancel", str(receipt.job.id)),
        ("bob", "retry", str(receipt.job.id)),
        ("eve", "cancel", str(receipt.job.id)),
    ]


# --- From version 6


def api_as(url: str) -> FlaskClient:
    return build(Config(database_url=url)).test_client()


# What programs of version 6 send to cancel a job that waits.
CANCEL_OF_VERSION_6 = """
    WITH gone AS (DELETE FROM haulier.job WHERE id = %s RETURNING *)
    INSERT INTO haulier.finished_job SELECT id, 'cancelled', kind, queue, priority, run_at, attempt, claim, started_at,
        attempts, max_attempts, crashes, snoozes, timeout_seconds, true, payload, idempotency_key, last_error, errors,
        created_at, now(), now() FROM gone RETURNING id
"""


def test_both_versions_work_from_migrate_until_the_rights_are_given_again(
    old_roles: Roles, super_conn: Connection
) -> None:
    with closing(connect(old_roles.owner)) as owning:
        migrate(owning, retention_days=30)
    with closing(connect(old_roles.web)) as conn:
        first, second = (receipt.job for receipt in produce.enqueue(conn, [NewJob("mail", {})] * 2))
        new = [produce.cancel(conn, first.id), produce.retry(conn, first.id).id]
        old = ask(conn, CANCEL_OF_VERSION_6, str(second.id))
    partition = max(name for name, _ in columns_of(super_conn) if name.startswith("finished_job_2"))
    ask(super_conn, f"DROP TABLE haulier.{partition}")

    with closing(connect(old_roles.worker)) as conn:
        made = partitions.ensure_partitions(conn, retention_days=30)
        with transaction(conn):
            ask(conn, f"SET LOCAL ROLE {quoted(old_roles.names['owner'])}")

    assert new == [True, first.id]
    assert old == [(second.id,)]
    assert made == [partition]


def test_to_give_the_rights_again_takes_what_version_6_gave(old_roles: Roles, super_conn: Connection) -> None:
    with closing(connect(old_roles.owner)) as owning:
        migrate(owning, retention_days=30)
    apply_grants(super_conn, old_roles.names["web"], old_roles.names["worker"])
    columns = columns_of(super_conn)

    found = {}
    for part in TABLES:
        with closing(connect(getattr(old_roles, part))) as conn:
            tables = {
                name: permitted_on(conn, f"haulier.{name}", kind, names) for (name, kind), names in columns.items()
            }
            found[part] = {name: may for name, may in tables.items() if may}
            assert not is_permitted(conn, f"SET ROLE {quoted(old_roles.names['owner'])}")

    assert found == TABLES


@pytest.mark.parametrize("how", ["a member by way of another", "the owner itself"])
def test_a_program_that_could_become_the_owner_is_refused(roles: Roles, super_conn: Connection, how: str) -> None:
    owner, worker = roles.names["owner"], roles.names["worker"]
    between = f"between {worker[-8:]}"
    ask(super_conn, f"CREATE ROLE {quoted(between)}")
    try:
        ask(super_conn, f"GRANT {quoted(owner)} TO {quoted(between)}")
        ask(super_conn, f"GRANT {quoted(between)} TO {quoted(worker)}")
        with pytest.raises(errors.RaiseException, match="is .*, or a member of it"):
            apply_grants(super_conn, roles.names["web"], worker if how.startswith("a member") else owner)
        ask(super_conn, "ROLLBACK")
    finally:
        ask(super_conn, f"DROP ROLE {quoted(between)}")
