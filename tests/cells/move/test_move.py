"""A cell moves from one database to another: everything arrives, and only one of them can be written. It ..."""

from __future__ import annotations

from contextlib import AbstractContextManager, closing

import psycopg2
import pytest
from psycopg2.errors import ReadOnlySqlTransaction
from psycopg2.extras import LogicalReplicationConnection

from haulier.cells.move import abort as abort_module
from haulier.cells.move import prepare as prepare_module
from haulier.cells.move.abort import abort
from haulier.cells.move.prepare import prepare
from haulier.cells.move.progress import progress
from haulier.cells.move.sides import Move, MoveRefused, move_of
from haulier.cells.move.switch import switch
from haulier.domain.errors import DatabaseUnavailable, SchemaMismatch
from haulier.postgres.connection import connect
from haulier.postgres.statements import ddl, rows
from haulier.queue.upkeep.migrate import migrate
from haulier.queue.upkeep.steps import SCHEMA, Schema
from lab.proxy import proxy_to
from tests.cells.move.conftest import Cells, on
from tests.conftest import eventually

JOB = "INSERT INTO haulier.job (kind, payload) VALUES ('mail', '{}') RETURNING id"
FILL = [
    "INSERT INTO haulier.job (kind, payload, tags) SELECT 'mail', '{\"n\": 1}', '{a}' FROM generate_series(1, 50)",
    """
    INSERT INTO haulier.finished_job (id, status, kind, queue, priority, run_at, attempt, attempts, max_attempts,
        crashes, snoozes, cancel_requested, payload, errors, created_at, updated_at, finished_at)
    SELECT haulier.uuidv7(), 'succeeded', 'mail', 'default', 0, now(), 1, 1, 3,
        0, 0, false, '{}', '[]', now(), now(), at
    FROM unnest(ARRAY[now(), now() - interval '40 days']) AS at
    """,
    "INSERT INTO haulier.audit (actor, action, target) SELECT 'cli', 'pause', 'q' || n FROM generate_series(1, 9) AS n",
    "INSERT INTO haulier.worker (host, pid, threads, lease) VALUES ('dock', 7, 4, '30 s')",
]
TABLES = """
    SELECT relname FROM pg_class
    WHERE relnamespace = 'haulier'::regnamespace AND relkind IN ('r', 'p') AND NOT relispartition
        AND relname <> 'schema_version'
"""


def contents(url: str) -> dict[str, list[tuple[str]]]:
    """Return every row of every table, as text."""
    with on(url) as sql:
        return {name: sql(f"SELECT t::text FROM haulier.{name} AS t ORDER BY 1") for (name,) in sql(TABLES)}


def without_target(cells: Cells) -> AbstractContextManager[Move]:
    """Give the move if the target does not answer."""
    return move_of(cells.source, "postgresql://u@127.0.0.1:1/x", needs_target=False)


def connect_to_replicate(url: str) -> LogicalReplicationConnection:
    return psycopg2.connect(url, connection_factory=LogicalReplicationConnection)


def can_write(url: str) -> bool:
    with on(url) as sql:
        try:
            sql("UPDATE haulier.schema_version SET version = version")
        except ReadOnlySqlTransaction:
            return False
    return True


def test_moves_every_row_and_only_one_side_can_be_written(cells):
    old = "FOR VALUES FROM (now() - interval '50 days') TO (date_trunc('day', now()) - interval '9 days')"
    with on(cells.source) as sql:
        sql(f"CREATE TABLE haulier.old_history PARTITION OF haulier.finished_job {old}")
        for statement in FILL:
            sql(statement)
        cells.prepare()
        assert (can_write(cells.source), can_write(cells.target)) == (True, False)
        # What comes while it is copied: rows, and a partition for them.
        sql(
            "CREATE TABLE haulier.later PARTITION OF haulier.finished_job"
            " FOR VALUES FROM ('2100-01-01') TO ('2100-01-02')"
        )
        for statement in FILL:
            sql(statement)
    with cells.move() as move:
        switch(move, within=60)

        assert progress(move)["stage"] == "moved"
        # It can be repeated, and it is too late to abort.
        switch(move, within=60)
        with pytest.raises(MoveRefused, match="the cell has been moved"):
            abort(move)
    assert (can_write(cells.source), can_write(cells.target)) == (False, True)
    assert contents(cells.target) == contents(cells.source)
    with on(cells.target) as sql:
        sql("INSERT INTO haulier.audit (actor, action, target) VALUES ('cli', 'pause', 'late')")
        assert sql("SELECT count(*), count(DISTINCT id) FROM haulier.audit") == [(19, 19)]
        assert sql("SELECT count(*) FROM pg_replication_slots WHERE database = current_database()") == [(0,)]
        assert sql("SELECT count(*) FROM pg_subscription") == [(0,)]


def test_abort_opens_the_source_and_empties_the_target(cells):
    with on(cells.source) as sql:
        sql(JOB)
    cells.prepare()
    with cells.move() as move:
        abort(move)
        abort(move)
        assert progress(move)["stage"] == "none"
    assert can_write(cells.source)
    with on(cells.target) as sql:
        # It stays closed, since programs may have its address.
        assert sql("SHOW default_transaction_read_only") == [("on",)]
        assert sql("SELECT to_regnamespace('haulier')") == [(None,)]
    cells.prepare()
    assert contents(cells.target) == contents(cells.source)


def test_abort_does_not_wait_for_what_a_copy_waits_for(cells, monkeypatch):
    def begin_first(conn, name, /, **given):
        if name == "enable_subscription":
            busy("BEGIN; SELECT pg_current_xact_id()")
        ddl(conn, name, **given)

    monkeypatch.setattr(prepare_module, "ddl", begin_first)
    with on(cells.source) as busy, on(cells.source) as sql, cells.move() as move:
        prepare(move, cells.source)
        eventually(lambda: sql("SELECT FROM pg_replication_slots WHERE slot_name LIKE 'pg_%_sync_%'"))

        abort(move)

        assert progress(move)["stage"] == "none"
        assert sql("SELECT FROM pg_replication_slots WHERE database = current_database()") == []


def test_opens_the_source_again_if_the_target_does_not_catch_up(cells):
    with on(cells.source) as ours:
        ours(JOB)
        cells.prepare()
    with on(cells.target) as theirs, on(cells.source) as ours:
        theirs("SET default_transaction_read_only = off")
        theirs("BEGIN; SELECT FROM haulier.job FOR UPDATE")
        ours("UPDATE haulier.job SET priority = 1")
        with cells.move() as move, pytest.raises(MoveRefused, match="the source is open again"):
            switch(move, within=1)
    assert (can_write(cells.source), can_write(cells.target)) == (True, False)
    with cells.move() as move:
        switch(move, within=60)
    assert contents(cells.target) == contents(cells.source)


def test_abort_leaves_no_slot_even_if_it_was_interrupted_and_the_target_is_gone(cells):
    cells.prepare()
    with cells.move() as move:
        # An abort was killed after it had dropped the publication.
        ddl(move.source.conn, "drop_publication", identifier=move.link)
        slot = f"pg_1_sync_2_{move.target.system}"
    with on(cells.source) as sql, closing(connect_to_replicate(cells.source)) as copier, copier.cursor() as cursor:
        # The target's server still copies a table.
        sql("CREATE PUBLICATION copied")
        sql(f"SELECT pg_create_logical_replication_slot('{slot}', 'pgoutput')")
        cursor.start_replication(slot, options={"proto_version": "1", "publication_names": "copied"})
        with without_target(cells) as move, pytest.raises(DatabaseUnavailable, match="the source is open"):
            abort(move)

        assert sql("SELECT slot_name FROM pg_replication_slots WHERE database = current_database()") == []
    assert can_write(cells.source)


def test_an_interrupted_abort_can_only_be_continued(cells):
    cells.prepare()
    with cells.move() as move:
        # A switch was killed after the target had everything, and an abort once it had emptied the target.
        move.source.close()
        rows(move.source.conn, "mark_confirmed", link=move.link, confirmed_link=move.confirmed_link)
        abort_module._clean_target(move, move.target)
        with pytest.raises(MoveRefused, match="run abort to open the source"):
            switch(move, within=1)
        assert (can_write(cells.source), move.target.is_closed) == (False, True)

        abort(move)

    assert can_write(cells.source)


def test_only_one_mover_works_at_a_time(cells):
    with cells.move():
        with pytest.raises(MoveRefused, match="another `haulier cell move` works"), cells.move():
            pass
        # To look is always possible.
        with move_of(cells.source, cells.target, locked=False) as move:
            assert progress(move)["stage"] == "none"


def test_refuses_migrations_while_a_cell_moves(cells):
    cells.prepare()
    later = Schema(2, SCHEMA.file, SCHEMA.migrations)
    step = SCHEMA.steps_from(None)[0]._replace(version=2)
    later.steps_from = lambda version: [] if version == 2 else [step]  # type: ignore[method-assign]

    with closing(connect(cells.source)) as conn, pytest.raises(SchemaMismatch, match="the cell is being moved"):
        migrate(conn, retention_days=30, schema=later)


def test_a_source_that_may_have_been_replaced_stays_closed(cells, make_database):
    other = make_database()
    cells.prepare()
    with cells.move() as move:
        switch(move, within=60)

    # Not by a move to another database, nor without an answer of the target.
    with move_of(cells.source, other) as move:
        for act in (abort, lambda move: switch(move, within=1), lambda move: prepare(move, cells.source)):
            with pytest.raises(MoveRefused, match="moved to another database"):
                act(move)
    with without_target(cells) as move, pytest.raises(MoveRefused, match="the source stays closed"):
        abort(move)
    assert (can_write(cells.source), can_write(cells.target)) == (False, True)


def move_cell(source: str, target: str) -> None:
    with move_of(source, target) as move:
        prepare(move, source)
        eventually(lambda: progress(move)["stage"] == "ready")
        switch(move, within=60)


def test_a_source_stays_closed_after_its_cell_has_moved_twice(cells, make_database):
    third = make_database()
    move_cell(cells.source, cells.target)
    move_cell(cells.target, third)

    with cells.move() as move:
        for act in (abort, lambda move: switch(move, within=1)):
            with pytest.raises(MoveRefused, match="and from there on: the source stays closed"):
                act(move)
    assert [can_write(url) for url in (cells.source, cells.target, third)] == [False, False, True]


def test_a_cell_moves_back_and_then_elsewhere(cells, make_database):
    third = make_database()
    move_cell(cells.source, cells.target)
    with on(cells.source) as sql:
        sql("BEGIN READ WRITE; DROP SCHEMA haulier CASCADE; COMMIT")
    move_cell(cells.target, cells.source)
    move_cell(cells.source, third)

    assert can_write(third)


def test_abort_opens_the_source_if_the_target_is_gone(cells):
    cells.prepare()
    with cells.move() as move:
        # As if a mover had been killed while it waited for the target.
        move.source.close()
    assert not can_write(cells.source)

    with without_target(cells) as move, pytest.raises(DatabaseUnavailable, match="the source is open"):
        abort(move)

    assert (can_write(cells.source), can_write(cells.target)) == (True, False)


def test_abort_opens_the_source_if_the_target_is_lost_while_it_is_emptied(cells):
    cells.prepare()
    with proxy_to(cells.target) as proxy:
        proxy.cut_before = b"DROP SCHEMA"
        with move_of(cells.source, proxy.url) as move, pytest.raises(DatabaseUnavailable, match="the source is open"):
            # As if a mover had been killed while it waited for the target.
            move.source.close()
            abort(move)

    assert (can_write(cells.source), can_write(cells.target)) == (True, False)
    with cells.move() as move:
        abort(move)
    with on(cells.target) as sql:
        assert sql("SELECT to_regnamespace('haulier')") == [(None,)]
