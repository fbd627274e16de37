"""Real workers beside schedules whose jobs the database refuses: all others fire in time. It ..."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.conftest import eventually
from tests.queue.schedules.schedules import HEALTHY, REFUSED, account, plant, refused, ticks, tries
from tests.worker.conftest import Process

Spawn = Callable[..., Process]
STOP = "UPDATE haulier.schedule SET look_at = '2100-01-01'"
OF_GOOD_ONES = "SELECT min(ticks) FROM (SELECT count(*) AS ticks FROM haulier.tick GROUP BY schedule) AS of_one"


# A refusal of a row, at once, and one that looks like an outage, when the transaction commits.
@pytest.mark.parametrize(("state", "deferred"), [("MY001", False), ("55000", True)])
def test_two_workers_fire_every_healthy_tick_beside_refused_ones(spawn_worker, sql, state, deferred):
    for number in range(40):
        plant(sql, f"s{number}", **(HEALTHY if number % 10 else REFUSED))
    with refused(sql, state, deferred=deferred):
        for _ in range(2):
            spawn_worker(WAKE_UPS="off")
        eventually(lambda: (sql(OF_GOOD_ONES)[0][0] or 0) >= 8, within=60)
        tried, put_off = tries(sql), sql("SELECT count(*) FROM haulier.schedule WHERE look_at > refused_since")
        sql(STOP)

    found = account(sql)
    assert sql("SELECT outcome, count(DISTINCT schedule) FROM haulier.tick GROUP BY 1") == [("fired", 36)]
    assert found["gaps"] == found["orphans"] == 0
    assert found["ticks"] == found["jobs"] == found["distinct"]
    # Each of the four at first, once or twice all at once and then alone; and alone 5 s later.
    assert put_off == [(4,)]
    assert 4 <= tried <= 4 * 5


def test_a_worker_that_starts_anew_leaves_alone_what_another_has_put_off(spawn_worker, sql):
    plant(sql, "bad", **REFUSED)
    with refused(sql):
        first = spawn_worker(WAKE_UPS="off")
        eventually(lambda: sql("SELECT refusals > 0 FROM haulier.schedule") == [(True,)])
        first.terminate()
        assert first.wait() == 0
        sql("UPDATE haulier.schedule SET look_at = now() + interval '300 s', refusals = 6")
        before = tries(sql)

        second = spawn_worker(WAKE_UPS="off")
        plant(sql, "good", **HEALTHY)
        eventually(lambda: len(ticks(sql, "good")) >= 3)
        after = tries(sql)

    assert (before > 0, after) == (True, before)
    assert "the schedule bad cannot fire" in first.log
    assert "the schedule bad cannot fire" not in second.log
    # Once the cause is gone, at the next try.
    sql("UPDATE haulier.schedule SET look_at = now() WHERE name = 'bad'")
    eventually(lambda: ticks(sql, "bad"))
