"""What stands in the way of a move is named with its remedy, before anything has changed. It ..."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import closing, contextmanager

import pytest

from haulier.cells.move.prepare import prepare
from haulier.cells.move.sides import MoveRefused, move_of
from haulier.cells.move.switch import switch
from haulier.cli.root import root
from haulier.domain.errors import ConfigError, DatabaseUnavailable, HaulierError, SchemaMismatch
from haulier.postgres.connection import connect
from haulier.postgres.scratch import url_of
from haulier.queue.upkeep.migrate import migrate
from lab.proxy import proxy_to
from tests.cells.move.conftest import Cells, on
from tests.click_runner import Runner

# What to do to which side, what undoes it, and what is said.
IN_THE_WAY = [
    (
        "source",
        "ALTER TABLE haulier.pause SET UNLOGGED",
        "ALTER TABLE haulier.pause SET LOGGED",
        "run ALTER TABLE haulier.pause SET LOGGED",
    ),
    (
        "source",
        "ALTER TABLE haulier.job REPLICA IDENTITY NOTHING",
        "ALTER TABLE haulier.job REPLICA IDENTITY DEFAULT",
        "run ALTER TABLE haulier.job REPLICA IDENTITY FULL",
    ),
    ("source", "CREATE TABLE public.orders (id integer)", "DROP TABLE public.orders", "such as public.orders"),
    (
        "source",
        "ALTER ROLE cell_writer SET default_transaction_read_only = off",
        "ALTER ROLE cell_writer RESET default_transaction_read_only",
        "run ALTER ROLE cell_writer RESET default_transaction_read_only",
    ),
    (
        "source",
        "UPDATE haulier.schema_version SET version = 2",
        "UPDATE haulier.schema_version SET version = 1",
        "but this program makes version 1",
    ),
    (
        "target",
        "DO $$ BEGIN EXECUTE format('ALTER ROLE cell_writer IN DATABASE %I SET default_transaction_read_only = off',"
        " current_database()); END $$",
        "DO $$ BEGIN EXECUTE format('ALTER ROLE cell_writer IN DATABASE %I RESET ALL', current_database()); END $$",
        "run ALTER ROLE cell_writer IN DATABASE",
    ),
]


@pytest.fixture(autouse=True)
def writer(logical_server) -> Iterator[None]:
    with on(logical_server.dsn) as sql:
        sql("CREATE ROLE cell_writer LOGIN")
        yield
        sql("DROP OWNED BY cell_writer")
        sql("DROP ROLE cell_writer")


def refused(cells: Cells, *, source: str = "", target: str = "", address: str = "") -> str:
    """Return why the move cannot be prepared."""
    source, target = source or cells.source, target or cells.target
    with pytest.raises(HaulierError) as raised, move_of(source, target) as move:
        prepare(move, address or source)
    assert isinstance(raised.value, (MoveRefused, SchemaMismatch, ConfigError, DatabaseUnavailable))
    return str(raised.value)


@contextmanager
def changed(url: str, change: str, undo: str) -> Iterator[None]:
    with on(url) as sql:
        sql(change)
        yield
        sql(undo)


def untouched(cells: Cells) -> bool:
    """Return whether the target is open and empty, and the source publishes nothing."""
    with on(cells.target) as target, on(cells.source) as source:
        return (
            target("SHOW default_transaction_read_only") == [("off",)]
            and target("SELECT to_regnamespace('haulier')") == [(None,)]
            and source("SELECT FROM pg_publication") == []
        )


def test_names_what_stands_in_the_way_and_changes_nothing(cells, logical_server):
    for side, change, undo, said in IN_THE_WAY:
        with changed(getattr(cells, side), change, undo):
            assert said in refused(cells)
    nowhere = "postgresql://u:swordfish@127.0.0.1:1/x"
    assert "leads to the database of DATABASE_URL" in refused(cells, target=cells.source)
    assert "the database has no Haulier schema" in refused(cells, source=cells.target, target=cells.source)
    assert re.search("TARGET_DATABASE_URL cannot be reached: .*refused", refused(cells, target=nowhere))
    unreached = refused(cells, address=nowhere)
    assert "set SOURCE_DATABASE_URL" in unreached
    assert "swordfish" not in unreached
    both = f"{cells.source},{logical_server.socket}"
    assert "name the same host" in refused(cells, source=both, target=both)

    assert untouched(cells)


def test_roles_that_only_read_are_not_in_the_way(cells):
    with changed(
        cells.source,
        "ALTER ROLE cell_writer SET default_transaction_read_only = on",
        "ALTER ROLE cell_writer RESET default_transaction_read_only",
    ):
        cells.prepare()


def test_names_the_setting_of_a_server_that_does_not_replicate(cells, migrated_database, postgres):
    if os.environ.get("DATABASE_URL"):
        return
    assert "set wal_level = logical and restart it" in refused(cells, source=migrated_database)
    assert untouched(cells)


def test_does_not_overwrite_a_cell(cells, make_database):
    cells.prepare()
    with cells.move() as move:
        switch(move, within=60)
    with on(cells.target) as sql:
        sql("INSERT INTO haulier.job (kind, payload) VALUES ('mail', '{}')")

    other = make_database()
    with closing(connect(other)) as conn:
        migrate(conn, retention_days=30)
    assert "has rows in haulier.job" in refused(Cells(cells.server, other, cells.target))
    assert "the database of DATABASE_URL is closed: the cell has been moved" in refused(cells)


def test_the_source_stays_open_if_something_stands_in_the_way_of_the_switch(cells):
    with on(cells.source) as sql:
        sql("GRANT USAGE ON SCHEMA haulier TO cell_writer; GRANT INSERT (kind) ON haulier.job TO cell_writer")
        cells.prepare()
        for change, undo, said in (
            ("SELECT", "SELECT", "the role cell_writer lacks 2 rights on the target"),
            ("CREATE TABLE orders ()", "DROP TABLE orders", "such as public.orders"),
            (
                "INSERT INTO haulier.operation (action, filter, as_of, unseen, doubted, cluster, matched,"
                " matched_is, starts_at, next_at)"
                " VALUES ('cancel', '{\"kind\": \"mail\"}', now(), '{}', 'empty', 0, 0, 'exact', now(), now())",
                "DELETE FROM haulier.operation",
                "cannot continue on another server",
            ),
        ):
            sql(change)
            with cells.move() as move, pytest.raises(MoveRefused, match=said):
                switch(move, within=60)
            sql(undo)
        assert sql("UPDATE haulier.schema_version SET version = version RETURNING version")
    assert cells.stage() == "ready"


def test_says_who_serves_if_the_source_is_lost_during_the_switch(cells):
    cells.prepare()
    for words, said in (
        (b"RENAME TO", "no side takes jobs"),
        (b"_sync_", "the cell has been moved, but the source was lost"),
    ):
        with proxy_to(cells.source) as proxy:
            proxy.cut_before = words
            with move_of(proxy.url, cells.target) as move, pytest.raises(DatabaseUnavailable, match=said):
                switch(move, within=60)
    assert cells.stage() == "moved"


def test_names_the_process_whose_transaction_holds_the_copy_up(cells, monkeypatch):
    monkeypatch.setattr("haulier.cells.move.prepare.SLOT_SECONDS", 1.0)
    with on(cells.source) as sql:
        sql("BEGIN; INSERT INTO haulier.job (kind, payload) VALUES ('mail', '{}')")
        [(pid,)] = sql("SELECT pg_backend_pid()")

        assert f"(server process {pid}): end it" in refused(cells)


def test_the_source_stays_open_if_the_target_was_opened_by_hand(cells):
    cells.prepare()
    with cells.move() as move:
        move.target.open()
        with pytest.raises(MoveRefused, match="the target was opened by hand"):
            switch(move, within=60)
    assert cells.stage() == "ready"


def test_commands_show_the_stage_and_name_the_missing_setting(cells):
    settings = {"DATABASE_URL": cells.source, "TARGET_DATABASE_URL": cells.target}
    runner = Runner(settings)

    missing = Runner({**settings, "TARGET_DATABASE_URL": None}).invoke(root, ["cell", "move", "status"])
    shown = runner.invoke(root, ["cell", "move", "status", "--json"])
    said = runner.invoke(root, ["cell", "move", "prepare"])
    over_http = runner.invoke(root, ["cell", "move", "status", "--url", "http://127.0.0.1:1"])

    assert (missing.exit_code, "TARGET_DATABASE_URL is not set" in missing.stderr) == (1, True)
    assert (shown.exit_code, '"next": "prepare"' in shown.stdout) == (0, True)
    assert (said.exit_code, "the source is open\nthe target is closed\nstage: " in said.stdout) == (0, True), (
        said.stderr
    )
    assert (over_http.exit_code, "--url and --profile do not apply" in over_http.stderr) == (2, True)


def test_addresses_of_several_servers_lead_to_the_primary(cells, logical_server):
    both = url_of(cells.source, cells.source.split("/")[-1].split("?")[0])
    with move_of(f"{both},{logical_server.socket}&target_session_attrs=read-write", cells.target) as move:
        # A closed source is reached too.
        move.source.close()
    with move_of(f"{both},{logical_server.socket}&target_session_attrs=read-write", cells.target) as move:
        assert move.source.is_closed
        move.source.open()
