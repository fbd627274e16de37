"""A move needs no superuser: the rights that docs/cells.md names are enough. It ..."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import pytest

from haulier.cells.move.abort import abort
from haulier.cells.move.prepare import prepare
from haulier.cells.move.progress import progress
from haulier.cells.move.switch import switch
from haulier.postgres.connection import connect
from haulier.queue.upkeep.migrate import migrate
from tests.cells.move.conftest import Cells, on
from tests.conftest import eventually


@pytest.fixture
def mover(logical_server) -> Iterator[str]:
    """Give role and password of an address. The server asks for the password: without it no such role may subscribe."""
    rules = logical_server.data / "pg_hba.conf"
    before = rules.read_text()
    with on(logical_server.dsn) as sql:
        sql("CREATE ROLE cell_mover LOGIN REPLICATION PASSWORD 'harbour'")
        sql("GRANT pg_create_subscription TO cell_mover")
        sql("CREATE ROLE cell_reader LOGIN REPLICATION PASSWORD 'harbour' IN ROLE cell_mover")
        rules.write_text(f"local all cell_mover,cell_reader scram-sha-256\n{before}")
        sql("SELECT pg_reload_conf()")
        yield "cell_mover:harbour"
        rules.write_text(before)
        sql("SELECT pg_reload_conf()")
        sql("DROP ROLE cell_mover, cell_reader")


def test_moves_a_cell_and_gives_up_with_the_documented_rights(mover, logical_server, make_database):
    urls = []
    for url in (make_database(), make_database()):
        with on(url) as sql:
            sql("DO $$ BEGIN EXECUTE format('ALTER DATABASE %I OWNER TO cell_mover', current_database()); END $$")
        urls.append(url.replace("postgres@", f"{mover}@"))
    with closing(connect(urls[0])) as conn:
        migrate(conn, retention_days=30)
    cells = Cells(logical_server.dsn, *urls)

    # The target's server may have a role of its own.
    for role, act in (("cell_mover", abort), ("cell_reader", lambda move: switch(move, within=60))):
        with cells.move() as move:
            prepare(move, cells.source.replace("cell_mover", role))
            eventually(lambda move=move: progress(move)["stage"] == "ready")
            act(move)

    assert cells.stage() == "moved"
