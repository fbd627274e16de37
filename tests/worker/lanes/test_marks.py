"""The marks in the lanes: a worker ..."""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID

import pytest

from haulier.domain.claim import BEGINNING, Lane, Mark
from haulier.queue.claims.lanes import MOST_AT_ONCE
from haulier.worker.lanes.marks import (
    FULL_SCAN_SECONDS,
    MANY_LANES,
    MOST_BUSY,
    MOST_DUE,
    MOST_LANES,
    MOST_SOON,
    ROUND_AT_ONCE,
    SCAN_SECONDS,
)
from tests.worker.lanes.conftest import NOW, at, lane, many, queues


def mark_at(seconds: float, n: int) -> Mark:
    return Mark("default", 0, NOW + timedelta(seconds=seconds), UUID(int=n))


def test_scans_before_its_first_claim(lanes):
    assert lanes.marks() == []
    assert lanes.is_scan_due()


def test_begins_at_the_head_of_a_lane_or_where_it_last_claimed(lanes, scan):
    scan(lane(0))
    marks = lanes.marks()
    lanes.claimed([at(1, n=5), at(2, n=9), at(3, n=1), at(3, n=2)], is_short=False)
    marks += lanes.marks()
    lanes.claimed([at(9, n=2)], is_short=False)
    lanes.given_back([at(5, n=7)])
    marks += lanes.marks()
    scan(lane(4))
    marks += lanes.marks()

    assert marks == [mark_at(0, 1), mark_at(3, 2), mark_at(5, 7), mark_at(4, 1)]


def test_takes_the_highest_priority_first_then_the_longest_due(lanes, scan):
    scan(lane(5), lane(9, priority=3), lane(1, queue="mail"))

    assert [(mark.queue, mark.priority) for mark in lanes.marks()] == [("default", 3), ("mail", 0), ("default", 0)]


def test_lanes_that_fill_a_claim_take_turns(lanes, scan, claim):
    scan(lane(0, queue="bulk"), lane(1, queue="mass"), lane(2, queue="mail"))
    order = []

    for _ in range(4):
        order.append(queues(lanes.marks()))
        # The first had more than the claim could take.
        claim(at(0, queue=order[-1][0]), is_short=False)

    assert order[:3] == [["bulk", "mass", "mail"], ["mass", "mail", "bulk"], ["mail", "bulk", "mass"]]
    assert order[3] == order[0]


def test_a_lane_that_a_claim_has_emptied_stays_before_the_one_that_filled_it(lanes, scan, claim):
    scan(lane(0, queue="mail"), lane(1, queue="bulk"))

    claim(at(0, queue="mail"), at(1, queue="bulk"), is_short=False)
    scan(lane(3, queue="mail"), lane(1, queue="bulk"))

    assert queues(lanes.marks()) == ["mail", "bulk"]


def test_the_longest_due_is_first_again_when_all_had_their_turn(lanes, scan, claim):
    scan(lane(0, queue="bulk"), lane(1, queue="mail"))
    claim(at(0, queue="bulk"), is_short=False)
    claim(at(1, queue="mail"), at(1, queue="bulk"))

    scan(lane(5, queue="bulk"), lane(6, queue="mail"))

    assert queues(lanes.marks()) == ["bulk", "mail"]


def test_a_higher_priority_goes_first_whoever_has_filled_a_claim(lanes, scan, claim):
    scan(lane(0, priority=3), lane(1, queue="mail"))

    claim(at(0, priority=3), is_short=False)

    assert [mark.priority for mark in lanes.marks()] == [3, 0]


def test_reads_no_more_lanes_at_once_than_a_claim_should(lanes, scan):
    scan(*many(1000))

    assert queues(lanes.marks()) == [f"q{n}" for n in range(MANY_LANES)]


def test_scans_again_at_once_after_an_empty_claim_and_now_and_then_after_others(lanes, scan):
    scan(lane(0))
    pauses = [lanes.seconds_until_scan()]
    for jobs, is_short in (([at(1)], False), ([at(2)], True), ([], True)):
        lanes.claimed(jobs, is_short=is_short)
        pauses.append(lanes.seconds_until_scan())

    assert pauses == pytest.approx([SCAN_SECONDS, FULL_SCAN_SECONDS, SCAN_SECONDS, 0.0])
    assert lanes.is_scan_due()


def test_lets_the_first_job_after_an_idle_while_start_before_it_scans(lanes, scan, clock):
    scan(lane(0))
    lanes.claimed([], is_short=True)
    clock.now += 60

    lanes.claimed([at(1)], is_short=True)
    first = lanes.is_scan_due()
    lanes.claimed([at(2)], is_short=True)

    assert (first, lanes.is_scan_due()) == (False, True)


@pytest.mark.parametrize("is_short", [True, False])
def test_a_scan_keeps_whether_the_last_claim_was_short(lanes, scan, clock, is_short):
    scan(lane(0))
    lanes.claimed([at(1)], is_short=is_short)
    clock.now += 0.05
    lanes.scanned([lane(2)], began_at=clock.now - 0.05)
    kept = lanes.is_short

    lanes.claimed([], is_short=is_short)

    assert kept is is_short
    assert lanes.seconds_until_scan() == pytest.approx(1.0)


def test_stays_where_it_is_when_a_scan_sees_nothing_before_it(lanes, scan):
    scan(lane(0))
    lanes.claimed([at(0, n=5)], is_short=False)

    # Of the same instant, as all jobs of one INSERT are.
    scan(lane(0, n=6))

    assert lanes.marks() == [mark_at(0, 6)]


def test_knows_when_the_next_job_is_due(lanes, scan, clock):
    scan(lane(0, due_in=5.0), lane(0, queue="mail", due_in=3.0))
    clock.now += 2

    assert lanes.seconds_until_due() == pytest.approx(1.0)
    assert not lanes.has_due
    clock.now += 1
    assert lanes.has_due


def test_hides_no_due_lane_behind_better_ones_with_nothing_due(lanes, scan):
    for better in (
        many(MOST_LANES, priority=9, due_in=3600),
        many(3 * MOST_LANES, priority=9, due_in=3600),
        many(MOST_LANES, "empty", priority=9),
    ):
        scan(*better)
        scan(*(each for each in better if each.seconds > 0), lane(0))

        assert mark_at(0, 1) in lanes.marks()
        assert len(lanes.marks()) <= MOST_LANES


def test_forgets_emptied_lanes_while_others_are_unread(lanes, scan):
    count = 2 * MANY_LANES + 5
    scan(*many(count))
    read = []
    while len(read) < count:
        marks = lanes.marks()
        read += queues(marks)
        lanes.claimed([at(0, queue=mark.queue) for mark in marks], is_short=True, read=marks)

    assert read == [f"q{n}" for n in range(count)]
    assert lanes.is_short


def test_scans_only_after_each_known_lane_was_read(lanes, scan, claim):
    scan(*many(2 * MANY_LANES))

    claim()
    with_others = lanes.seconds_until_scan()
    claim()

    assert (with_others, lanes.seconds_until_scan()) == (FULL_SCAN_SECONDS, 0)


def test_keeps_the_lanes_of_a_claim_that_left_jobs(lanes, scan, claim):
    scan(*many(2 * MANY_LANES))
    marks = lanes.marks()

    claim(*(at(0, queue=mark.queue) for mark in marks), is_short=False)

    # But for the one that was cut off, which lets another go first.
    assert lanes.marks()[:-1] == marks[:-1]


@pytest.fixture
def go_round(scan):
    """Give a function that makes looks which each leave something, but for the last, which reaches the end."""

    def go_round(*parts: list[Lane]) -> None:
        for number, part in enumerate(parts, 1):
            scan(*part, end=None if number == len(parts) else part[-1].head.lane)

    return go_round


def test_scans_on_behind_the_last_part_and_then_from_the_beginning(lanes, scan):
    assert lanes.place == BEGINNING

    scan(lane(0, queue="a"), lane(0, queue="b", priority=3), end=("b", 3))
    behind_it = lanes.place
    scan(lane(0, queue="c"))

    assert (behind_it, lanes.place) == (("b", 3), BEGINNING)
    assert lanes.is_going_round


def test_keeps_due_lanes_while_it_scans_other_parts(lanes, go_round):
    first, second = many(MOST_LANES, "a"), many(MOST_LANES, "b")

    go_round(first, second, [])

    assert set(queues(lanes.marks())) == {each.head.queue for each in first + second}


def test_keeps_the_best_of_more_lanes_than_it_has_room_for(lanes, go_round):
    go_round(many(MOST_DUE), [lane(9, queue="urgent", priority=1)], [])

    assert lanes.marks()[0].queue == "urgent"
    assert len(lanes._marks) == MOST_DUE


def test_claims_a_job_seen_as_due_soon_at_its_time(lanes, scan, claim, go_round, clock):
    go_round([lane(7, queue="soon", due_in=2.0), lane(9, queue="later", due_in=1e6)], [lane(0)], [])
    before = queues(lanes.marks())
    claim(at(0))
    scan(end=("x", 0))
    until_due = lanes.seconds_until_due()

    clock.now += 2.0

    assert before == ["default"]
    assert until_due == pytest.approx(2.0)
    assert "soon" in queues(lanes.marks())
    assert "later" not in queues(lanes.marks())
    assert lanes.seconds_until_due() is None


def test_keeps_the_soonest_of_the_lanes_that_are_due_soon(lanes, go_round, clock):
    go_round(many(MOST_SOON, due_in=100.0), [lane(0, queue="soonest", due_in=1.0)], [])

    clock.now += 1.0

    assert queues(lanes.marks()) == ["soonest"]
    assert len(lanes._soon) < MOST_SOON


def test_remembers_the_lanes_that_lately_had_jobs(lanes, go_round):
    go_round([lane(0)], [lane(0, queue="x")])
    for queue in ("mail", *(f"q{n}" for n in range(MOST_BUSY)), "q0"):
        lanes.claimed([at(0, queue=queue)], is_short=True)

    assert len(lanes.busy) == MOST_BUSY
    assert list(lanes.busy)[-1] == ("q0", 0)
    assert ("mail", 0) not in lanes.busy


def test_takes_up_lanes_that_were_read_separately(lanes, scan):
    scan(lane(0, queue="a", due_in=1e6), end=("a", 0))

    scan(lane(0, queue="b", due_in=1e6), end=("b", 0), others=[lane(3, queue="z", priority=2)])

    assert [mark[:2] for mark in lanes.marks()] == [("z", 2)]
    assert lanes.has_due


def test_scans_everything_at_once_again_if_few_lanes_are_left(lanes, scan, go_round):
    go_round([lane(0)], [lane(0, queue="x", due_in=9.0)])
    lanes.claimed([at(0)], is_short=True)

    scan(lane(0, queue="x", due_in=9.0))

    assert not lanes.is_going_round
    assert not lanes.busy
    assert lanes.seconds_until_due() == pytest.approx(9.0)


def test_goes_round_quickly_the_first_time_and_then_for_a_twentieth_of_the_time(lanes, clock):
    lanes.scanned([lane(0)], began_at=clock.now - 0.05, end=("default", 0))
    first = lanes.seconds_until_scan()
    lanes.scanned([lane(0, queue="x")], began_at=clock.now - 0.05)

    assert (first, lanes.seconds_until_scan()) == pytest.approx((0.1, 1.0))


def test_knows_how_long_scans_have_failed_and_reads_less_next(lanes, scan, clock):
    before = (lanes.seconds_failing, lanes.most)
    lanes.scan_failed()
    clock.now += 3.0
    lanes.scan_failed()
    meanwhile = (lanes.seconds_failing, lanes.most)
    for _ in range(20):
        lanes.scan_failed()
    least = lanes.most
    scan()

    assert before == (0.0, MOST_AT_ONCE)
    assert meanwhile == (pytest.approx(3.0), MOST_AT_ONCE // 16)
    assert least > 0
    assert (lanes.seconds_failing, lanes.most) == (0.0, 2 * least)


def test_reads_less_after_the_first_round_unless_one_scan_would_do(lanes, go_round):
    last, at_once = [lane(0, queue="x", due_in=1e6)], [lanes.at_once]
    for count in (MOST_AT_ONCE, 100):
        go_round(many(count, due_in=1e6), last)
        at_once.append(lanes.at_once)

    assert at_once == [MOST_AT_ONCE, ROUND_AT_ONCE, MOST_AT_ONCE]
