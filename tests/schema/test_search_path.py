"""No name in our SQL means what somebody else made in `public`. It ..."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import psycopg2
import pytest
from psycopg2 import sql as composed
from psycopg2.extensions import connection as Connection

from haulier.domain.api_key import Scope
from haulier.domain.claim import ClaimRequest, Fence, Settlement
from haulier.domain.job import JobStatus, NewJob
from haulier.domain.outcome import Outcome
from haulier.domain.progress import Progress
from haulier.postgres.connection import connect
from haulier.postgres.scratch import scratch_database, url_of
from haulier.postgres.sql_files import SQL
from haulier.queue import claims, search
from haulier.queue import jobs as job_acts
from haulier.queue.access import api_keys, audit_log
from haulier.queue.access.api_keys import NewKey
from haulier.queue.claims import wakeups
from haulier.queue.health import overview
from haulier.queue.upkeep import partitions, purge
from haulier.queue.upkeep.migrate import migrate
from haulier.queue.upkeep.steps import SCHEMA
from tests import queueing
from tests.queue.parameters import EXPLAINABLE, PARAMETERS, wanted_by
from tests.queue.upkeep.made_up import made_up_schema
from tests.roles import Roles, apply_grants, least_roles, url_as
from tests.schema.planted import MESSAGE, plant
from tests.servers import oldest_server

pytestmark = pytest.mark.direct("is about roles and their own connections; a pool has one role for all")

INSERT = "INSERT INTO haulier.job (kind, payload) VALUES ('mail', '{}')"


@dataclass(frozen=True)
class Trap:
    """A database in which everything is planted, as a superuser, the three roles and an application open it."""

    url: str
    roles: Roles
    shop: str

    def run(self, statement: str, *parameters: object, url: str | None = None) -> list[tuple[Any, ...]]:
        """Run a statement in which every name is PostgreSQL's own."""
        with closing(connect(url or self.url, application_name="haulier test")) as conn, conn.cursor() as cursor:
            cursor.execute("SET search_path = pg_catalog")
            cursor.execute(statement, parameters or None)
            return cursor.fetchall() if cursor.description else []


@pytest.fixture(scope="module")
def old_server(postgres: str) -> Iterator[str]:
    with oldest_server(postgres) as dsn:
        yield dsn


@pytest.fixture(scope="module")
def planted(old_server: str) -> Iterator[str]:
    """Give the name of a database in which a role that may CREATE in `public` was there first."""
    mark = uuid4().hex[:8]
    mallory, name = f"mallory_{mark}", f"haulier_planted_{mark}"
    with ExitStack() as left:
        server = left.enter_context(closing(connect(old_server, application_name="haulier test")))
        _run(server, f"CREATE ROLE {mallory} LOGIN PASSWORD 'swordfish'")
        # After the database, and all that is theirs in it.
        left.callback(_run, server, f"DROP ROLE {mallory}")
        url = left.enter_context(scratch_database(old_server, name))
        with closing(connect(url, application_name="haulier test")) as conn:
            _run(conn, f"GRANT CREATE ON SCHEMA public TO {mallory}")
        with closing(connect(url_as(url, mallory), application_name="haulier test")) as theirs:
            laid = plant(theirs)
        assert min(laid.values()) >= 9, laid
        yield name


@pytest.fixture(scope="module", params=['"$user", public', "public, pg_catalog"])
def trap(old_server: str, planted: str, request: pytest.FixtureRequest) -> Iterator[Trap]:
    """Give a copy of that database under this search_path, with the schema and the roles in it."""
    mark = uuid4().hex[:8]
    shop, name = f"shop_{mark}", f"haulier_trap_{mark}"
    with ExitStack() as left:
        server = left.enter_context(closing(connect(old_server, application_name="haulier test")))
        _run(server, f"CREATE ROLE {shop} LOGIN PASSWORD 'swordfish'")
        left.callback(_run, server, f"DROP ROLE {shop}")
        _run(server, f"CREATE DATABASE {name} TEMPLATE {planted}")
        left.callback(_run, server, f"DROP DATABASE {name} WITH (FORCE)")
        _run(server, f"ALTER DATABASE {name} SET search_path = {request.param}")
        url = url_of(old_server, name)
        conn = left.enter_context(closing(connect(url, application_name="haulier test")))
        with conn.cursor() as cursor:
            cursor.execute("SET search_path = pg_catalog")
            # Under the path that it has found, as whoever administers the roles.
            with closing(connect(url)) as administrator, least_roles(conn, url, by=administrator) as roles:
                for name in ("web", "worker"):
                    # What grants.sql sets for a role would hide what the program does without it.
                    reset = composed.SQL("ALTER ROLE {} RESET search_path")
                    cursor.execute(reset.format(composed.Identifier(roles.names[name])))
                cursor.execute(f"GRANT USAGE ON SCHEMA haulier TO {shop}")
                cursor.execute(f"GRANT INSERT (kind, payload) ON haulier.job TO {shop}")
                yield Trap(url, roles, url_as(url, shop))


def _run(conn: Connection, statement: str) -> None:
    with conn.cursor() as cursor:
        cursor.execute(statement)


def test_whoever_uses_a_name_unqualified_falls_into_the_trap(trap):
    with closing(connect(trap.shop)) as conn, conn.cursor() as cursor, pytest.raises(psycopg2.Error, match=MESSAGE):
        cursor.execute("SELECT set_bit('\\x00'::pg_catalog.bytea, 1, 1)")


def test_every_statement_of_the_program_means_postgresqls_own(trap):
    strangers = {}
    with closing(connect(trap.roles.owner)) as conn, conn.cursor() as cursor:
        for name in EXPLAINABLE:
            # As `rows` sends it, and `transaction`: both first say where to look.
            for before in ("bounded", "begin"):
                limits = {word: PARAMETERS[word] for word in wanted_by(before)}
                statement = f"{SQL[before]} EXPLAIN (VERBOSE) {SQL[name]}"
                cursor.execute(statement, limits | {word: PARAMETERS[word] for word in wanted_by(name)})
                plan = "\n".join(line for (line,) in cursor.fetchall())
                cursor.execute("ROLLBACK")
                if "public." in plan or MESSAGE in plan:
                    strangers[name] = plan

    assert strangers == {}


def test_nothing_in_the_schema_depends_on_what_is_outside_of_it(trap):
    found = trap.run(
        "SELECT pg_describe_object(classid, objid, objsubid), pg_describe_object(refclassid, refobjid, refobjsubid)"
        " FROM pg_depend WHERE refclassid IN ('pg_proc'::regclass, 'pg_operator'::regclass, 'pg_type'::regclass,"
        "   'pg_class'::regclass)"
        " AND pg_describe_object(refclassid, refobjid, refobjsubid) LIKE '%public.%'"
        " AND pg_describe_object(classid, objid, objsubid) LIKE '%haulier.%'"
    )

    assert found == []


def test_the_whole_life_of_a_job_calls_nothing_that_was_planted(trap):
    with closing(connect(trap.shop)) as shop:
        # Under whatever path the application has.
        _run(shop, INSERT)
    with ExitStack() as opened:
        web, worker, owner = (
            opened.enter_context(closing(connect(url))) for url in (trap.roles.web, trap.roles.worker, trap.roles.owner)
        )
        _enqueue_and_look(web)
        me = claims.register(worker, host="dock", pid=7, threads=4, queues=(), lease_seconds=30)
        ends = _work(web, worker, me)
        rescued = _die_and_rescue(trap, worker)
        _sleep_and_wake(worker, me)
        _ask_with_keys(owner, web)
        made, dropped = _keep_house(trap, worker)
        said = migrate(owner, retention_days=30)
        _run(owner, f"BEGIN; {SCHEMA.text}; COMMIT")
        claims.deregister(worker, me)

    assert JobStatus.SUCCEEDED in ends
    assert JobStatus.CANCELLED in ends
    assert rescued == [JobStatus.RETRYING]
    assert made
    assert dropped == ["finished_job_old"]
    assert "is up to date" in said


def test_migrate_calls_nothing_that_was_planted(trap, tmp_path):
    with closing(connect(trap.roles.owner)) as owner:
        said = migrate(owner, retention_days=30, schema=made_up_schema(tmp_path))
    with closing(connect(trap.shop)) as shop:
        _run(shop, INSERT)

    assert said.startswith("applied schema version")
    trap.run("DELETE FROM haulier.job; UPDATE haulier.schema_version SET version = 1")


def _enqueue_and_look(web: Connection) -> None:
    job_acts.enqueue_one(web, job_acts.draft(NewJob("mail", {"n": 1}, run_at=None, delay=timedelta(0))))
    keyed = [job_acts.enqueue_one(web, job_acts.draft(NewJob("mail", {}, idempotency_key="k"))) for _ in range(2)]
    assert [each.receipt for each in keyed] == [job_acts.Receipt.CREATED, job_acts.Receipt.REPLAYED]
    many = queueing.enqueue(
        web, [NewJob("mail", {}, idempotency_key="k"), *[NewJob("mail", {"n": n}) for n in range(9)]]
    )
    assert len(many) == 10
    assert len(search.list_jobs(web, search.JobFilter(kinds=["mail"], limit=5)).jobs) == 5
    assert sum(depth.jobs for depth in overview.overview(web).depths) == 12


def _work(web: Connection, worker: Connection, me: UUID) -> set[JobStatus]:
    waiting = search.list_jobs(web, search.JobFilter(limit=1)).jobs[0]
    assert job_acts.cancel(web, waiting.id, actor="env") is True
    job_acts.retry(web, waiting.id, actor="env")
    jobs = queueing.claim(worker, worker_id=me, claim_id=uuid4(), queues=(), limit=12)
    assert len(jobs) == 12
    assert job_acts.cancel(web, jobs[0].id, actor="env") is False
    assert queueing.seconds_until_due(worker, queues=("default",)) is None
    assert claims.beat(worker, me) is not None
    claims.has_turn(worker, me, slot_seconds=5)
    claims.held(worker, me, [uuid4()])
    claims.strays(worker, me, [uuid4()])
    claims.cancelled(worker, me)
    words = {Fence.of(job): Progress(done, 2, "half", 0.0) for done, job in enumerate(jobs[:2])}
    claims.write_progress(worker, me, words, seconds=5)
    claims.write_progress(worker, me, words, over=[Fence.of(jobs[2])], seconds=5)
    assert search.get(web, jobs[1].id).progress["done"] == 1
    outcomes = [
        Outcome.complete({"a": 1}), Outcome.fail("no", 60.0, 1.0), Outcome.fail_for_good("never"), Outcome.release(1.0),
        Outcome.give_back(), Outcome.snooze(60.0),
    ]  # fmt: skip
    settlements = [
        Settlement(Fence.of(job), outcome) for job, outcome in zip(jobs, [*outcomes, *outcomes], strict=True)
    ]
    statuses, _ = claims.settle_and_claim(worker, settlements[:6], None)
    more, _ = claims.settle_and_claim(worker, settlements[6:7], ClaimRequest(me, uuid4(), [], 1, 1))
    waited = claims.settle(worker, settlements[7:])
    claims.settled_earlier(worker, [Fence.of(jobs[0])])
    claims.claim_next(worker, ClaimRequest(me, uuid4(), [], 1, 1))
    return {status for status in [*statuses, *more, *waited.values()] if status is not None}


def _die_and_rescue(trap: Trap, worker: Connection) -> list[JobStatus]:
    dead = claims.register(worker, host="dock", pid=8, threads=4, queues=("default",), lease_seconds=30)
    trap.run("UPDATE haulier.job SET run_at = pg_catalog.now() - interval '1 h'")
    trap.run("DELETE FROM haulier.job WHERE ctid <> (SELECT min(ctid) FROM haulier.job)")
    [job] = queueing.claim(worker, worker_id=dead, claim_id=uuid4(), queues=("default",))
    trap.run("UPDATE haulier.worker SET beat_at = now() - interval '1 day' WHERE id = %s", str(dead))
    rescued = queueing.rescue(worker).jobs
    assert rescued.keys() == {job.id}
    return list(rescued.values())


def _sleep_and_wake(worker: Connection, me: UUID) -> None:
    wakeups.listen(worker)
    wakeups.call_myself(worker, me)
    wakeups.fall_asleep(worker, me)
    wakeups.wake_another(worker, me)
    wakeups.pass_on(worker, me)
    wakeups.get_up(worker, me)
    wakeups.unlisten(worker)


def _ask_with_keys(owner: Connection, web: Connection) -> None:
    made, _ = api_keys.create(
        owner, NewKey("Ann", frozenset([Scope.READ]), rate_limit=5.0, lifetime=timedelta(days=1)), actor="cli"
    )
    assert api_keys.any_exist(web)
    found = api_keys.find(web, made.id)
    assert found is not None
    api_keys.touch(web, made.id)
    api_keys.borrow(web, made, asked=2, unused=1)
    api_keys.rotate(owner, made.id, overlap=timedelta(hours=1), actor="cli")
    assert len(api_keys.list_keys(owner)) == 1
    api_keys.revoke(owner, made.id, actor="cli")
    assert {action.action for action in audit_log.list_actions(owner, limit=50)} >= {"cancel", "retry", "create_key"}


def _keep_house(trap: Trap, worker: Connection) -> tuple[list[str], list[str]]:
    [(newest,)] = trap.run(
        "SELECT max(inhrelid::regclass::text) FROM pg_inherits WHERE inhparent = 'haulier.finished_job'::regclass"
    )
    trap.run(f"DROP TABLE {newest}")
    trap.run(
        "CREATE TABLE haulier.finished_job_old PARTITION OF haulier.finished_job"
        " FOR VALUES FROM ('2020-01-01') TO ('2020-01-02')",
        url=trap.roles.owner,
    )
    trap.run("UPDATE haulier.idempotency SET created_at = now() - interval '99 days'")
    made = partitions.ensure_partitions(worker, retention_days=30)
    dropped = partitions.drop_expired(trap.roles.worker, retention_days=30)
    purge.purge_idempotency(worker, idempotency_days=30)
    purge.purge_audit(worker, retention_days=30)
    assert purge.purge_progress(worker) == 2
    return made, dropped


def test_the_roles_of_grants_look_in_pg_catalog_alone(trap):
    with closing(connect(trap.url)) as conn:
        apply_grants(conn, trap.roles.names["web"], trap.roles.names["worker"])

    for url in (trap.roles.web, trap.roles.worker):
        with closing(connect(url)) as conn, conn.cursor() as cursor:
            cursor.execute("SHOW search_path")
            assert cursor.fetchone() == ("pg_catalog, pg_temp",)
