"""A move needs no superuser: the rights that docs/cells.md names are enough. It ..."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import pytest
from psycopg2.errors import DuplicateObject
from psycopg2.extensions import parse_dsn

from haulier.cells.move.abort import abort
from haulier.cells.move.prepare import prepare
from haulier.cells.move.progress import progress
from haulier.cells.move.sides import MoveRefused
from haulier.cells.move.switch import switch
from haulier.postgres.connection import connect
from haulier.postgres.statements import transaction
from haulier.queue.upkeep.migrate import migrate
from tests.cells.move.conftest import Cells, on
from tests.conftest import eventually

PASSWORD = "harbour"


@pytest.fixture
def mover(logical_server) -> Iterator[str]:
    """Give role and password of an address. The server asks for the password: without it no such role may subscribe."""
    rules = logical_server.data / "pg_hba.conf"
    before = rules.read_text()
    with on(logical_server.dsn) as sql:
        sql(f"CREATE ROLE cell_mover LOGIN REPLICATION PASSWORD '{PASSWORD}'")
        sql("GRANT pg_create_subscription TO cell_mover")
        sql(f"CREATE ROLE cell_reader LOGIN REPLICATION PASSWORD '{PASSWORD}' IN ROLE cell_mover")
        rules.write_text(f"local all cell_mover,cell_reader scram-sha-256\n{before}")
        sql("SELECT pg_reload_conf()")
        yield f"cell_mover:{PASSWORD}"
        rules.write_text(before)
        sql("SELECT pg_reload_conf()")
        sql("DROP ROLE cell_mover, cell_reader")


@pytest.fixture
def own_cells(mover, logical_server, make_database) -> Cells:
    """Cells whose role is no superuser, and has only the documented rights."""
    urls = []
    for url in (make_database(), make_database()):
        with on(url) as sql:
            sql("DO $$ BEGIN EXECUTE format('ALTER DATABASE %I OWNER TO cell_mover', current_database()); END $$")
        urls.append(url.replace("postgres@", f"{mover}@"))
    with closing(connect(urls[0])) as conn:
        migrate(conn, retention_days=30)
    return Cells(logical_server.dsn, *urls)


def test_moves_a_cell_and_gives_up_with_the_documented_rights(own_cells):
    cells = own_cells
    # The target's server may have a role of its own.
    for role, act in (("cell_mover", abort), ("cell_reader", lambda move: switch(move, within=60))):
        with cells.move() as move:
            prepare(move, cells.source.replace("cell_mover", role))
            eventually(lambda move=move: progress(move)["stage"] == "ready")
            act(move)

    assert cells.stage() == "moved"


def test_leaves_no_password_in_the_log_of_the_target(own_cells, logical_server):
    name = parse_dsn(own_cells.target)["dbname"]
    with on(logical_server.dsn) as sql:
        for setting in ("log_statement = 'all'", "log_min_duration_statement = 0", "log_error_verbosity = 'verbose'"):
            sql(f"ALTER DATABASE {name} SET {setting}")

    with own_cells.move() as move:
        with pytest.raises(MoveRefused, match="cannot subscribe"):
            prepare(move, own_cells.source.replace("/cell_", "/gone_"))
        prepare(move, own_cells.source)
        # As if it failed to subscribe after all that was checked before.
        with pytest.raises(DuplicateObject), transaction(move.target.conn):
            move.target.subscribe(move.link, own_cells.source, "connect = false")
        abort(move)

    log = logical_server.log.read_text().splitlines()
    assert any("CREATE TEMP TABLE haulier_move_address" in line for line in log)
    assert [line for line in log if PASSWORD in line or PASSWORD.encode().hex() in line] == []
