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
    Marks,
)
from tests.worker.lanes.places import NOW, at, lane


def test_scans_before_its_first_claim(lanes):
    assert lanes.marks() == []
    assert lanes.is_scan_due()


def test_begins_at_the_head_that_a_scan_saw_and_then_if_it_last_claimed(lanes, clock):
    lanes.scanned([lane(0)], began_at=clock.now)
    head = lanes.marks()

    lanes.claimed([at(1, n=5), at(2, n=9), at(3, n=1), at(3, n=2)], is_short=False)

    assert head == [Mark("default", 0, NOW, UUID(int=1))]
    assert lanes.marks() == [Mark("default", 0, NOW + timedelta(seconds=3), UUID(int=2))]


def test_moves_its_mark_back_to_jobs_given_back_or_scanned(lanes, clock):
    lanes.scanned([lane(0)], began_at=clock.now)
    lanes.claimed([at(9, n=2)], is_short=False)

    lanes.given_back([at(5, n=7)])
    given_back = lanes.marks()
    lanes.scanned([lane(4)], began_at=clock.now)

    assert given_back == [Mark("default", 0, NOW + timedelta(seconds=5), UUID(int=7))]
    assert lanes.marks() == [Mark("default", 0, NOW + timedelta(seconds=4), UUID(int=1))]


def test_takes_the_highest_priority_first_then_the_longest_due(lanes, clock):
    lanes.scanned([lane(5), lane(9, priority=3), lane(1, queue="mail")], began_at=clock.now)

    assert [(mark.queue, mark.priority) for mark in lanes.marks()] == [("default", 3), ("mail", 0), ("default", 0)]


def test_lanes_that_fill_a_claim_take_turns(lanes, clock):
    lanes.scanned([lane(0, queue="bulk"), lane(1, queue="mass"), lane(2, queue="mail")], began_at=clock.now)
    order = []

    for _ in range(4):
        order.append([mark.queue for mark in lanes.marks()])
        # The first had more than the claim could take.
        lanes.claimed([at(0, queue=order[-1][0])], is_short=False, read=lanes.marks())

    assert order[:3] == [["bulk", "mass", "mail"], ["mass", "mail", "bulk"], ["mail", "bulk", "mass"]]
    assert order[3] == order[0]


def test_a_lane_that_a_claim_has_emptied_stays_before_the_one_that_filled_it(lanes, clock):
    lanes.scanned([lane(0, queue="mail"), lane(1, queue="bulk")], began_at=clock.now)

    lanes.claimed([at(0, queue="mail"), at(1, queue="bulk")], is_short=False, read=lanes.marks())
    lanes.scanned([lane(3, queue="mail"), lane(1, queue="bulk")], began_at=clock.now)

    assert [mark.queue for mark in lanes.marks()] == ["mail", "bulk"]


def test_the_longest_due_is_first_again_when_all_had_their_turn(lanes, clock):
    lanes.scanned([lane(0, queue="bulk"), lane(1, queue="mail")], began_at=clock.now)
    lanes.claimed([at(0, queue="bulk")], is_short=False, read=lanes.marks())
    lanes.claimed([at(1, queue="mail"), at(1, queue="bulk")], is_short=True, read=lanes.marks())

    lanes.scanned([lane(5, queue="bulk"), lane(6, queue="mail")], began_at=clock.now)

    assert [mark.queue for mark in lanes.marks()] == ["bulk", "mail"]


def test_a_higher_priority_goes_first_whoever_has_filled_a_claim(lanes, clock):
    lanes.scanned([lane(0, priority=3), lane(1, queue="mail")], began_at=clock.now)

    lanes.claimed([at(0, priority=3)], is_short=False, read=lanes.marks())

    assert [mark.priority for mark in lanes.marks()] == [3, 0]


def test_knows_a_lane_that_is_empty_for_its_next_job(lanes, clock):
    lanes.scanned([lane(0)], began_at=clock.now)
    lanes.claimed([at(1)], is_short=True)

    lanes.scanned([], began_at=clock.now)

    assert [mark.queue for mark in lanes.marks()] == ["default"]


def test_reads_no_more_lanes_at_once_than_a_claim_should(lanes, clock):
    lanes.scanned([lane(n, queue=f"q{n}") for n in range(1000)], began_at=clock.now)

    assert [mark.queue for mark in lanes.marks()] == [f"q{n}" for n in range(MANY_LANES)]


def test_scans_again_at_once_after_an_empty_claim_and_now_and_then_after_others(lanes, clock):
    lanes.scanned([lane(0)], began_at=clock.now)
    idle = lanes.seconds_until_scan()
    lanes.claimed([at(1)], is_short=False)
    full = lanes.seconds_until_scan()
    lanes.claimed([at(2)], is_short=True)
    short = lanes.seconds_until_scan()

    lanes.claimed([], is_short=True)

    assert idle == pytest.approx(SCAN_SECONDS)
    assert full == pytest.approx(FULL_SCAN_SECONDS)
    assert short == pytest.approx(SCAN_SECONDS)
    assert lanes.is_scan_due()


def test_lets_the_first_job_after_an_idle_while_start_before_it_scans(lanes, clock):
    lanes.scanned([lane(0)], began_at=clock.now)
    lanes.claimed([], is_short=True)
    clock.now += 60

    lanes.claimed([at(1)], is_short=True)
    first = lanes.is_scan_due()
    lanes.claimed([at(2)], is_short=True)

    assert not first
    assert lanes.is_scan_due()


@pytest.mark.parametrize("is_short", [True, False])
def test_a_scan_keeps_whether_the_last_claim_was_short(lanes, clock, is_short):
    lanes.scanned([lane(0)], began_at=clock.now)
    lanes.claimed([at(1)], is_short=is_short)

    lanes.scanned([lane(2)], began_at=clock.now)

    assert lanes.is_short is is_short


def test_stays_where_it_is_when_a_scan_sees_nothing_before_it(lanes, clock):
    lanes.scanned([lane(0)], began_at=clock.now)
    lanes.claimed([at(0, n=5)], is_short=False)

    # Of the same instant, as all jobs of one INSERT are.
    lanes.scanned([lane(0, n=6)], began_at=clock.now)

    assert lanes.marks() == [Mark("default", 0, NOW, UUID(int=6))]


@pytest.mark.parametrize("is_short", [True, False])
def test_gives_scans_a_twentieth_of_the_time_at_most(lanes, clock, is_short):
    clock.now += 0.05
    lanes.scanned([lane(0)], began_at=clock.now - 0.05)
    lanes.claimed([], is_short=is_short)

    assert lanes.seconds_until_scan() == pytest.approx(1.0)


def test_knows_when_the_next_job_is_due(lanes, clock):
    lanes.scanned([lane(0, due_in=5.0), lane(0, queue="mail", due_in=3.0)], began_at=clock.now)
    clock.now += 2

    assert lanes.seconds_until_due() == pytest.approx(1.0)
    assert not lanes.has_due
    clock.now += 1
    assert lanes.has_due


@pytest.mark.parametrize("deferred", [MOST_LANES, 3 * MOST_LANES])
def test_does_not_hide_due_lanes_behind_better_ones_that_are_deferred(lanes, clock, deferred):
    better = [lane(3600, queue=f"q{n}", priority=9, due_in=3600) for n in range(deferred)]

    for _ in range(2):
        lanes.scanned([*better, lane(0)], began_at=clock.now)

        assert Mark("default", 0, NOW, UUID(int=1)) in lanes.marks()
        assert len(lanes.marks()) <= MOST_LANES


def test_does_not_hide_due_lanes_behind_better_ones_that_are_empty(lanes, clock):
    lanes.scanned([lane(0, queue=f"q{n}", priority=9) for n in range(MOST_LANES)], began_at=clock.now)

    lanes.scanned([lane(0)], began_at=clock.now)

    assert Mark("default", 0, NOW, UUID(int=1)) in lanes.marks()


def test_forgets_emptied_lanes_while_others_are_unread(lanes, clock):
    count = 2 * MANY_LANES + 5
    lanes.scanned([lane(n, queue=f"q{n}") for n in range(count)], began_at=clock.now)
    read = []
    while len(read) < count:
        marks = lanes.marks()
        read += [mark.queue for mark in marks]
        lanes.claimed([at(0, queue=mark.queue) for mark in marks], is_short=True, read=marks)

    assert read == [f"q{n}" for n in range(count)]
    assert lanes.is_short


def test_scans_only_after_each_known_lane_was_read(lanes, clock):
    lanes.scanned([lane(n, queue=f"q{n}") for n in range(2 * MANY_LANES)], began_at=clock.now)

    lanes.claimed([], is_short=True, read=lanes.marks())
    with_others = lanes.seconds_until_scan()
    lanes.claimed([], is_short=True, read=lanes.marks())

    assert with_others == FULL_SCAN_SECONDS
    assert lanes.seconds_until_scan() == 0


def test_keeps_the_lanes_of_a_claim_that_left_jobs(lanes, clock):
    lanes.scanned([lane(n, queue=f"q{n}") for n in range(2 * MANY_LANES)], began_at=clock.now)
    marks = lanes.marks()

    lanes.claimed([at(0, queue=mark.queue) for mark in marks], is_short=False, read=marks)

    # But for the one that was cut off, which lets another go first.
    assert lanes.marks()[:-1] == marks[:-1]


def go_round(lanes: Marks, clock, *parts: list[Lane], others: list[Lane] = ()) -> None:
    """Make looks that each leave something, but for the last, which reaches the end."""
    for number, part in enumerate(parts, 1):
        end = None if number == len(parts) else part[-1].head.lane
        lanes.scanned(part, began_at=clock.now, end=end, others=others)


def test_scans_on_behind_the_last_part_and_then_from_the_beginning(lanes, clock):
    assert lanes.place == BEGINNING

    lanes.scanned([lane(0, queue="a"), lane(0, queue="b", priority=3)], began_at=clock.now, end=("b", 3))
    behind_it = lanes.place
    lanes.scanned([lane(0, queue="c")], began_at=clock.now)

    assert behind_it == ("b", 3)
    assert lanes.place == BEGINNING
    assert lanes.is_going_round


def test_keeps_due_lanes_while_it_scans_other_parts(lanes, clock):
    first = [lane(n, queue=f"a{n}") for n in range(MOST_LANES)]
    second = [lane(n, queue=f"b{n}") for n in range(MOST_LANES)]

    go_round(lanes, clock, first, second, [])

    assert {mark.queue for mark in lanes.marks()} == {each.head.queue for each in first + second}


def test_keeps_the_best_of_more_lanes_than_it_has_room_for(lanes, clock):
    go_round(lanes, clock, [lane(n, queue=f"q{n}") for n in range(MOST_DUE)], [lane(9, queue="urgent", priority=1)], [])

    assert lanes.marks()[0].queue == "urgent"
    assert len(lanes._marks) == MOST_DUE


def test_claims_a_job_seen_as_due_soon_at_its_time(lanes, clock):
    go_round(lanes, clock, [lane(7, queue="soon", due_in=2.0), lane(9, queue="later", due_in=1e6)], [lane(0)], [])
    before = [mark.queue for mark in lanes.marks()]
    lanes.claimed([at(0)], is_short=True, read=lanes.marks())
    lanes.scanned([], began_at=clock.now, end=("x", 0))
    until_due = lanes.seconds_until_due()

    clock.now += 2.0

    assert before == ["default"]
    assert until_due == pytest.approx(2.0)
    assert "soon" in [mark.queue for mark in lanes.marks()]
    assert "later" not in [mark.queue for mark in lanes.marks()]
    assert lanes.seconds_until_due() is None


def test_keeps_the_soonest_of_the_lanes_that_are_due_soon(lanes, clock):
    many = [lane(0, queue=f"q{n}", due_in=100.0) for n in range(MOST_SOON)]
    go_round(lanes, clock, many, [lane(0, queue="soonest", due_in=1.0)], [])

    clock.now += 1.0

    assert [mark.queue for mark in lanes.marks()] == ["soonest"]
    assert len(lanes._soon) < MOST_SOON


def test_remembers_the_lanes_that_lately_had_jobs(lanes, clock):
    go_round(lanes, clock, [lane(0)], [lane(0, queue="x")])
    lanes.claimed([at(0, queue="mail")], is_short=True)
    for n in range(MOST_BUSY):
        lanes.claimed([at(0, queue=f"q{n}")], is_short=True)
    lanes.claimed([at(0, queue="q0")], is_short=True)

    assert len(lanes.busy) == MOST_BUSY
    assert list(lanes.busy)[-1] == ("q0", 0)
    assert ("mail", 0) not in lanes.busy


def test_takes_up_lanes_that_were_read_separately(lanes, clock):
    lanes.scanned([lane(0, queue="a", due_in=1e6)], began_at=clock.now, end=("a", 0))

    lanes.scanned(
        [lane(0, queue="b", due_in=1e6)], began_at=clock.now, end=("b", 0), others=[lane(3, queue="z", priority=2)]
    )

    assert [mark[:2] for mark in lanes.marks()] == [("z", 2)]
    assert lanes.has_due


def test_scans_everything_at_once_again_if_few_lanes_are_left(lanes, clock):
    go_round(lanes, clock, [lane(0)], [lane(0, queue="x", due_in=9.0)])
    lanes.claimed([at(0)], is_short=True)

    lanes.scanned([lane(0, queue="x", due_in=9.0)], began_at=clock.now)

    assert not lanes.is_going_round
    assert not lanes.busy
    assert lanes.seconds_until_due() == pytest.approx(9.0)


def test_goes_round_quickly_the_first_time_and_then_for_a_twentieth_of_the_time(lanes, clock):
    lanes.scanned([lane(0)], began_at=clock.now - 0.05, end=("default", 0))
    first = lanes.seconds_until_scan()
    lanes.scanned([lane(0, queue="x")], began_at=clock.now - 0.05)

    assert first == pytest.approx(0.1)
    assert lanes.seconds_until_scan() == pytest.approx(1.0)


def test_knows_how_long_scans_have_failed_and_reads_less_next(lanes, clock):
    before = (lanes.seconds_failing, lanes.most)
    lanes.scan_failed()
    clock.now += 3.0
    lanes.scan_failed()
    meanwhile = (lanes.seconds_failing, lanes.most)
    for _ in range(20):
        lanes.scan_failed()
    least = lanes.most
    lanes.scanned([], began_at=clock.now)

    assert before == (0.0, MOST_AT_ONCE)
    assert meanwhile == (pytest.approx(3.0), MOST_AT_ONCE // 16)
    assert least > 0
    assert (lanes.seconds_failing, lanes.most) == (0.0, 2 * least)


def test_reads_less_after_the_first_round_unless_one_scan_would_do(lanes, clock):
    first = lanes.at_once
    many = [lane(0, queue=f"q{n}", due_in=1e6) for n in range(MOST_AT_ONCE)]
    go_round(lanes, clock, many, [lane(0, queue="x", due_in=1e6)])
    after_many = lanes.at_once
    go_round(lanes, clock, many[:100], [lane(0, queue="x", due_in=1e6)])

    assert (first, after_many, lanes.at_once) == (MOST_AT_ONCE, ROUND_AT_ONCE, MOST_AT_ONCE)
