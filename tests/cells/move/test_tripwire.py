"""The proxy of the kills: a mover that is killed before a step has not sent it. It ..."""

from __future__ import annotations

from contextlib import closing

import psycopg2
import pytest

from haulier.postgres.connection import connect
from lab.move.stage import Tripwire
from lab.proxy import running
from tests.cells.move.conftest import on
from tests.conftest import sql_on


def test_holds_back_a_message_that_is_to_be_lost(cells):
    with running(Tripwire(cells.source)) as wire, closing(connect(wire.url)) as conn:
        wire.trip("INSERT", lambda: None, after=False)
        with pytest.raises(psycopg2.OperationalError):
            sql_on(conn)("INSERT INTO haulier.job (kind, payload) VALUES ('mail', '{}')")

    with on(cells.source) as sql:
        assert sql("SELECT FROM haulier.job") == []
