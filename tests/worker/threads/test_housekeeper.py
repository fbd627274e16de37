"""The housekeeper: it ..."""

from __future__ import annotations

import threading
from contextlib import closing

from haulier.postgres.pool import Database
from haulier.queue.upkeep import purge
from haulier.worker.link.outage import Outage
from haulier.worker.threads.housekeeper import Housekeeper


def test_goes_on_with_the_groups_of_errors_if_its_last_turn_ended(database, config, sql, monkeypatch):
    monkeypatch.setattr(purge, "AT_ONCE", 2)
    monkeypatch.setattr(purge, "ERRORS_SECONDS", 0.0)
    sql(
        "INSERT INTO haulier.error_group (id, kind, text, example, example_job, example_queue, first_seen)"
        " SELECT id, 'mail', 'no luck', 'no luck', haulier.uuidv7(), 'default', now() - interval '99 days'"
        " FROM generate_series(1, 4) AS id"
    )
    sql(
        "INSERT INTO haulier.error_count (error_id, minute, queue, source, failed, retried)"
        " SELECT id, now(), 'default', 0, 1, 0 FROM generate_series(1, 2) AS id"
    )
    outage = Outage(threading.Event(), threads=1)
    left = "SELECT id FROM haulier.error_group ORDER BY id"

    with closing(Database(database)) as own:
        keeper = Housekeeper(config=config, database=own, outage=outage, closing=threading.Event())
        tidied = [keeper.tidy()]
        first = sql(left)
        tidied.append(keeper.tidy())

    assert tidied == [True, True]
    assert first == [(1,), (2,), (3,), (4,)]
    assert sql(left) == [(1,), (2,)]
