"""A database that is a cell: `migrate` gives it its number, with which its new ids end. It ..."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from uuid import RFC_4122, UUID

import psycopg2
import pytest
from psycopg2.extensions import connection as Connection

from haulier.domain.errors import SchemaMismatch
from haulier.domain.job import NewJob
from haulier.postgres.connection import connect
from haulier.postgres.scratch import scratch_database
from haulier.queue import claims, jobs, search
from haulier.queue.search.id_prefix import id_range, jobs_by_prefix
from haulier.queue.upkeep.migrate import check_schema, migrate, plan
from haulier.queue.upkeep.steps import SCHEMA
from tests import queueing
from tests.conftest import sql_on
from tests.rivals import at_the_same_moment, connected
from tests.servers import oldest_server

INSERT = "INSERT INTO haulier.job (kind, payload) VALUES ('mail', '{}') RETURNING id"


@pytest.fixture
def own(migrated_database: str) -> Iterator[Connection]:
    """Give a connection to a database that has no number yet."""
    with closing(connect(migrated_database)) as conn:
        yield conn


def become(conn: Connection, cell: int | None) -> str:
    return migrate(conn, retention_days=30, cell=cell)


def made_everywhere(conn: Connection) -> list[UUID]:
    """Return ids of all that makes them, in the order of time."""
    one, keyed = NewJob("mail", {}), NewJob("mail", {}, idempotency_key="order-7")
    makers: list[Callable[[], list[UUID]]] = [
        lambda: [sql_on(conn)(INSERT)[0][0]],
        *(partial(enqueued, conn, drafts) for drafts in ([one], [keyed], [one, one, one])),
        lambda: [jobs.copy(conn, made[0]).id],
        lambda: [claims.register(conn, host="dock", pid=7, threads=1, queues=(), lease_seconds=30)],
    ]
    made: list[UUID] = []
    for make in makers:
        made += make()
        # Only from one millisecond to the next they are in the order of time, whoever makes them.
        sql_on(conn)("SELECT pg_sleep(0.002)")
    return made


def enqueued(conn: Connection, drafts: list[NewJob]) -> list[UUID]:
    return [each.job.id for each in queueing.enqueue(conn, drafts) if each.job]


def numbered(ids: list[UUID]) -> set[tuple[int | None, str, int]]:
    """Return the versions, the variants and the last bytes."""
    return {(each.version, each.variant, each.bytes[-1]) for each in ids}


def test_ids_end_with_the_cell_whoever_makes_them_and_sort_by_time(own):
    [[began]] = sql_on(own)("SELECT floor(extract(epoch FROM clock_timestamp()) * 1000)")
    become(own, 200)

    made = made_everywhere(own)
    many = [row[0] for row in sql_on(own)("SELECT haulier.uuidv7() FROM generate_series(1, 20000)")]

    [[now]] = sql_on(own)("SELECT extract(epoch FROM clock_timestamp()) * 1000")
    assert numbered([*made, *many]) == {(8, RFC_4122, 200)}
    assert made == sorted(made)
    assert len(set(many)) == 20_000
    assert all(began <= each.int >> 80 <= now for each in [*made, *many])


@pytest.mark.direct("has a server of its own")
def test_ids_end_with_the_cell_on_the_oldest_server_too(postgres):
    with (
        oldest_server(postgres) as server,
        scratch_database(server, "haulier_cell") as dsn,
        closing(connect(dsn)) as conn,
    ):
        said = become(conn, 255)

        assert said.startswith("applied schema version 1 of cell 255;")
        assert numbered(made_everywhere(conn)) == {(8, RFC_4122, 255)}


def test_the_server_makes_ids_without_a_call(own):
    become(own, 2)

    planned = sql_on(own)("EXPLAIN (VERBOSE) " + INSERT)

    assert "haulier.uuidv7" not in str(planned)
    assert "PLACING '02'" in str(planned)


def test_a_database_without_a_number_has_ids_of_version_7(own):
    become(own, None)

    assert check_schema(own) is None
    assert {each.version for each in made_everywhere(own)} == {7}


def test_jobs_from_before_the_number_stay_as_they_are(own):
    [old] = queueing.enqueue(own, [NewJob("mail", {"n": 1})])
    before = sql_on(own)(INSERT)[0][0]

    said = become(own, 3)
    # On a connection that has prepared the same statement before.
    [new] = queueing.enqueue(own, [NewJob("mail", {"n": 2})])
    inserted = sql_on(own)(INSERT)[0][0]

    assert said == "schema version 1 of cell 3 is up to date; 0 history partitions made"
    ids = [old.job.id, before, new.job.id, inserted]
    assert [each.version for each in ids] == [7, 7, 8, 8]
    assert [job.id for job in search.list_jobs(own, search.JobFilter()).jobs] == ids[::-1]
    for job_id in ids:
        assert [each.id for each in jobs_by_prefix(own, id_range(str(job_id)[:30]), limit=5)] == [job_id]
        jobs.cancel(own, job_id)
        jobs.retry(own, job_id)
        assert search.get(own, job_id).status == "queued"


def test_a_database_keeps_its_number(own):
    become(own, 2)

    acts: list[Callable[..., object]] = [partial(act, own, retention_days=30) for act in (migrate, plan)]
    for refused in (*acts, partial(check_schema, own)):
        with pytest.raises(SchemaMismatch, match=r"CELL=3, but the database is cell 2.* correct CELL or DATABASE_URL"):
            refused(cell=3)
    with pytest.raises(psycopg2.Error, match="is another cell"):
        sql_on(own)("SELECT haulier.set_cell(3)")
    sql_on(own)(f"BEGIN; {SCHEMA.text}; COMMIT")
    become(own, None)

    assert check_schema(own) == check_schema(own, cell=2) == 2
    assert numbered([sql_on(own)(INSERT)[0][0]]) == {(8, RFC_4122, 2)}


def test_of_two_numbers_at_once_one_holds(migrated_database, own):
    answers = at_the_same_moment(*(connected(migrated_database, partial(become, cell=cell)) for cell in (4, 5)))

    number = check_schema(own)
    assert number in (4, 5)
    assert numbered([sql_on(own)(INSERT)[0][0]]) == {(8, RFC_4122, number)}
    assert {type(each) for each in answers} == {str, SchemaMismatch}


def test_refuses_a_process_before_the_database_has_its_number(own):
    with pytest.raises(
        SchemaMismatch, match="CELL=2, but the database has no number yet: run `python -m haulier migrate`"
    ):
        check_schema(own, cell=2)


def test_only_the_owner_makes_it_a_cell_and_all_other_roles_make_its_ids(roles):
    with closing(connect(roles.web)) as web, closing(connect(roles.owner)) as owner:
        with pytest.raises(SchemaMismatch, match="lacks a right"):
            become(web, 2)
        become(owner, 2)

        made = [*enqueued(web, [NewJob("mail", {})]), *enqueued(web, [NewJob("mail", {}), NewJob("mail", {})])]

    assert numbered(made) == {(8, RFC_4122, 2)}
