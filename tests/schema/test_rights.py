"""What the roles of grants.sql may do, by trying everything: it ..."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, closing
from functools import partial

import pytest
from psycopg2 import errors
from psycopg2.extensions import parse_dsn

from haulier.domain.errors import DatabaseUnavailable
from haulier.domain.job import NewJob
from haulier.postgres.connection import connect
from haulier.queue import jobs
from haulier.queue.jobs.change import Changes
from haulier.queue.upkeep.partitions import drop_expired
from tests import queueing
from tests.queue.upkeep.archive import Archive
from tests.roles import Roles, apply_grants
from tests.schema import rights_page
from tests.schema.permitted import ask, columns_of, is_permitted, quoted

pytestmark = pytest.mark.direct("is about roles and their own connections; a pool has one role for all")

PROGRAMS = ("web", "worker")
NEVER = [
    "CREATE TABLE haulier.mine ()",
    "CREATE SCHEMA mine",
    "CREATE ROLE mine",
    "ALTER TABLE haulier.job DISABLE TRIGGER knock",
    "ALTER TABLE haulier.finished_job DETACH PARTITION {partition}",
    "COMMENT ON TABLE {partition} IS 'expired'",
    "DROP TABLE {partition}",
    "DROP SCHEMA haulier CASCADE",
    "SELECT FROM public.shop",
    "DROP FUNCTION haulier.wake(text[])",
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
def archive(roles: Roles) -> Iterator[Archive]:
    """Give that database as a superuser has it, to spoil its partitions."""
    with ExitStack() as opened:
        yield Archive(roles.url, opened)


RIGHTS = """
    SELECT relname::text, verb, array_agg(attname::text ORDER BY attnum)
    FROM pg_class
    JOIN pg_attribute ON attrelid = pg_class.oid AND attnum > 0 AND NOT attisdropped
    CROSS JOIN unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'REFERENCES', 'DELETE', 'TRUNCATE', 'TRIGGER']) AS verb
    WHERE relnamespace = 'haulier'::regnamespace AND relkind IN ('r', 'p', 'v') AND CASE
        WHEN verb IN ('DELETE', 'TRUNCATE', 'TRIGGER') THEN has_table_privilege(%s, attrelid, verb)
        ELSE has_column_privilege(%s, attrelid, attnum, verb)
    END
    GROUP BY 1, 2
"""


def test_each_role_has_the_rights_that_the_page_lists_and_no_other(urls, super_conn):
    every = columns_of(super_conn)
    tables, functions = rights_page.tables(), rights_page.functions()
    assert len(every) > 18

    for part in rights_page.ROLES:
        role = parse_dsn(urls[part])["user"]
        rights: rights_page.Rights = {}
        for table, verb, columns in ask(super_conn, RIGHTS, role, role):
            rights.setdefault(table, {})[verb] = rights_page.ALL if columns == every[table] else sorted(columns)
        callable_by = ask(
            super_conn,
            "SELECT DISTINCT proname::text, NOT prosecdef FROM pg_proc"
            " WHERE pronamespace = 'haulier'::regnamespace AND has_function_privilege(%s, oid, 'EXECUTE')",
            role,
        )

        assert rights == tables[part], part
        listed = {name: functions[name].is_as_caller for name in rights_page.functions_of(part)}
        assert dict(callable_by) == listed, part
    [[others_may_use_it]] = ask(super_conn, "SELECT has_schema_privilege('public', 'haulier', 'USAGE')")
    assert others_may_use_it is False


def test_the_api_makes_keys_only_while_its_role_has_the_right(roles, super_conn):
    making = [
        "SELECT haulier.create_key('a', 'a', sha256(''), '{admin}', NULL, NULL, NULL, NULL)",
        "SELECT haulier.rotate_key('a', sha256(''), '0', NULL)",
        "SELECT haulier.revoke_key('a', NULL)",
    ]

    may = {}
    for web_makes_keys in ("yes", "no"):
        apply_grants(super_conn, roles.names["web"], roles.names["worker"], web_makes_keys=web_makes_keys)
        for part in PROGRAMS:
            with closing(connect(getattr(roles, part))) as conn:
                may[web_makes_keys, part] = [is_permitted(conn, each) for each in making]
    with pytest.raises(errors.RaiseException, match="web_makes_keys must be yes or no, not maybe"):
        apply_grants(super_conn, roles.names["web"], roles.names["worker"], web_makes_keys="maybe")
    ask(super_conn, "ROLLBACK")

    nothing = [False] * 3
    assert may == {
        ("yes", "web"): [True] * 3,
        ("yes", "worker"): nothing,
        ("no", "web"): nothing,
        ("no", "worker"): nothing,
    }


def test_a_role_may_do_nothing_that_is_its_owners_or_anothers(roles, super_conn):
    ask(super_conn, "CREATE TABLE public.shop ()")
    [[superuser]] = ask(super_conn, "SELECT current_user")
    [[partition]] = ask(super_conn, "SELECT min(inhrelid::regclass::text) FROM pg_inherits")

    permitted = []
    for part in PROGRAMS:
        names = {name: quoted(role) for name, role in roles.names.items() if name != part}
        fill = {**names, "superuser": quoted(superuser), "partition": partition, part: quoted(superuser)}
        with closing(connect(getattr(roles, part))) as conn:
            statements = [statement.format(**fill) for statement in NEVER]
            permitted += [(part, statement) for statement in statements if is_permitted(conn, statement)]
    without_a_path = ask(
        super_conn,
        "SELECT proname FROM pg_proc WHERE pronamespace = 'haulier'::regnamespace AND prosecdef"
        " AND NOT coalesce('search_path=pg_catalog, pg_temp' = ANY(proconfig), false)",
    )

    assert permitted == []
    # Else the caller of an owner's function could say what the names in it mean.
    assert without_a_path == []


# --- The functions of the history


def test_a_worker_can_detach_no_partition_that_has_not_expired_and_drop_no_table_that_was_none(archive, roles):
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
            for call in ("haulier.mark_expired(1, 1)", "haulier.quiet_worker(haulier.uuidv7(), true, NULL)")
        ]

    assert set(map(str, done)) == {"[(None,)]"}
    assert refused == [True, True]
    after = archive.sql("SELECT oid, relname FROM pg_class WHERE relnamespace = 'haulier'::regnamespace ORDER BY 1")
    assert after == before
    assert archive.sql("SELECT count(*) FROM pg_description WHERE description = 'expired'") == [(0,)]


def test_a_worker_can_add_no_other_partition_than_the_next(archive, roles):
    with closing(connect(roles.worker)) as conn:
        for step, days in (("hour", 7), ("day", 3650), ("1 day'; --", 7)):
            with pytest.raises(errors.InvalidParameterValue):
                ask(conn, "SELECT haulier.add_partition(%s, %s)", step, days)


def test_a_worker_gives_up_at_once_while_a_transaction_reads_the_history(archive, roles):
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


def test_the_role_of_the_api_does_nothing_to_a_job_that_it_cannot_record(roles, super_conn):
    with closing(connect(roles.web)) as conn:
        [receipt] = queueing.enqueue(conn, [NewJob("mail", {})])
        for act in (jobs.cancel, partial(jobs.change, changes=Changes.of(priority=1)), jobs.copy):
            with pytest.raises(errors.InvalidParameterValue, match="unknown actor stranger"):
                act(conn, receipt.job.id, actor="stranger")

        assert ask(super_conn, "SELECT status, priority FROM haulier.jobs") == [("queued", 0)]
        assert ask(super_conn, "SELECT count(*) FROM haulier.audit") == [(0,)]


def test_a_program_that_could_become_the_owner_is_refused(roles, super_conn):
    owner, worker = roles.names["owner"], roles.names["worker"]
    between = f"between {worker[-8:]}"
    ask(super_conn, f"CREATE ROLE {quoted(between)}")
    try:
        ask(super_conn, f"GRANT {quoted(owner)} TO {quoted(between)}")
        ask(super_conn, f"GRANT {quoted(between)} TO {quoted(worker)}")
        # A member of the owner by way of another role, and the owner itself.
        for role in (worker, owner):
            with pytest.raises(errors.RaiseException, match="is .*, or a member of it"):
                apply_grants(super_conn, roles.names["web"], role)
            ask(super_conn, "ROLLBACK")
    finally:
        ask(super_conn, f"DROP ROLE {quoted(between)}")
