"""Which queues are late, on both sides of each edge. It ..."""

from __future__ import annotations

from dataclasses import replace

from haulier.queue.numbers.lateness import with_lateness
from haulier.queue.numbers.stats import Figures, Live, Queue
from tests.queue.upkeep.histories import begin

# Twenty jobs of queue mail waited for 10 to 12.6 s, eight days and then three days ago.
USUAL = """
    INSERT INTO haulier.rollup (step, at, queue, kind, succeeded, waited)
    SELECT 21600, date_bin('6 hours', through - %s * interval '1 day', 'epoch'), 'mail', 'letter', 20,
        20 * ('1e' || 12 * (40 + 12))::numeric
    FROM haulier.counting
"""


def queue(due: int = 5, oldest: float | None = 1.0, *, ended: int = 100) -> Queue:
    return Queue("mail", Live(due, due, 0, oldest), Figures(succeeded=ended), None)


def test_calls_a_queue_late_whose_jobs_wait_long_or_will(conn, sql):
    def is_late(*queues: Queue) -> list[bool]:
        named = [replace(each, name=f"queue-{place}") for place, each in enumerate(queues)]
        return [each.is_late for each in with_lateness(conn, named, late_seconds=300.0)]

    begin(conn)
    # A queue that is new has no usual wait.
    assert is_late(queue(oldest=300.0), queue(oldest=301.0), queue(oldest=None)) == [False, True, False]
    # 100 jobs at 6 a minute take over a quarter of an hour. With none ended nothing is known.
    assert is_late(queue(100, ended=7), queue(100, ended=6), queue(99, ended=1), queue(100, ended=0)) == [
        False,
        True,
        False,
        False,
    ]
    # As when a tenant floods its queue.
    assert is_late(queue(297_297, 20.0, ended=7_871)) == [True]
    assert is_late(replace(queue(297_297, 900.0), paused=True), queue(0, None)) == [False, False]


def test_compares_with_how_long_jobs_usually_wait(conn, sql):
    begin(conn)

    def is_late(oldest: float) -> bool:
        [found] = with_lateness(conn, [queue(oldest=oldest)], late_seconds=300.0)
        return found.is_late

    sql(USUAL, 8)
    assert not is_late(200.0)
    sql(USUAL, 3)
    assert (is_late(90.0), is_late(200.0)) == (False, True)
