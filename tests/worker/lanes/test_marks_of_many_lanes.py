"""The marks in many lanes, and in the lanes of paused queues: a worker ..."""

from __future__ import annotations

import math
from datetime import timedelta

import pytest

from haulier.worker.lanes.marks import MANY_LANES, MOST_LANES
from tests.worker.lanes.places import NOW, at, lane


def test_knows_lanes_that_lately_had_a_job_beside_any_number_of_others(lanes, clock):
    for count in (MOST_LANES - 4, MOST_LANES - 1, MOST_LANES, MOST_LANES + 1, 1000):
        others = [lane(9, queue=f"q{n}", due_in=1e6) for n in range(count)]
        for queue in ("mail", "default"):
            lanes.scanned([lane(0, queue=queue), *others], began_at=clock.now)
            lanes.claimed([at(count, queue=queue)], is_short=True, read=lanes.marks())
        lanes.claimed([], is_short=True, read=lanes.marks())

        lanes.scanned(others, began_at=clock.now)

        known = {mark.queue: mark.run_at for mark in lanes.marks()}
        assert (known["mail"], known["default"]) == (NOW + timedelta(seconds=count),) * 2


def test_knows_the_latest_of_more_lanes_that_have_had_a_job(lanes, clock):
    for n in range(2 * MOST_LANES):
        lanes.scanned([lane(n, queue=f"q{n}")], began_at=clock.now)
        lanes.claimed([at(n, queue=f"q{n}")], is_short=True, read=lanes.marks())
        lanes.scanned([lane(0, queue="q0")], began_at=clock.now)
        lanes.claimed([at(n, queue="q0")], is_short=True, read=lanes.marks())

    known = {mark.queue for mark in lanes.marks()}

    assert len(known) == MOST_LANES
    assert {"q0", f"q{2 * MOST_LANES - 1}"} < known
    assert "q1" not in known


def test_keeps_few_lanes_that_others_have_emptied_and_none_beside_many_others(lanes, clock):
    many = [lane(n, queue=f"q{n}") for n in range(2 * MOST_LANES)]
    lanes.scanned(many, began_at=clock.now)

    lanes.scanned(many[:3], began_at=clock.now)
    beside_few = [mark.queue for mark in lanes.marks()]
    lanes.scanned(many[MOST_LANES:], began_at=clock.now)

    assert len(beside_few) == MOST_LANES
    assert {"q0", "q1", "q2"} < set(beside_few)
    assert [mark.queue for mark in lanes.marks()] == [each.head.queue for each in many[MOST_LANES:]]


def test_starts_a_job_at_its_time_beside_any_number_of_lanes(lanes, clock):
    for count in (MOST_LANES - 1, MOST_LANES, 1000):
        others = [lane(9, queue=f"q{n}", due_in=1e6) for n in range(count)]
        lanes.scanned([*others, lane(5, queue="soon", due_in=5.0)], began_at=clock.now - 10.0)
        before = lanes.seconds_until_due()

        clock.now += 5.0

        assert before == pytest.approx(5.0)
        assert "soon" in [mark.queue for mark in lanes.marks()]
        assert not lanes.is_scan_due()


def test_goes_on_after_one_claim_has_emptied_any_number_of_lanes(lanes, clock):
    for count in (MOST_LANES, MOST_LANES + 1, MANY_LANES):
        lanes.claimed([], is_short=True, read=lanes.marks())
        lanes.scanned([lane(0, queue=f"q{n}") for n in range(count)], began_at=clock.now)

        lanes.claimed([at(0, queue=f"q{n}") for n in range(count)], is_short=True, read=lanes.marks())

        assert lanes.is_short
        assert len(lanes.marks()) == MOST_LANES
        lanes.claimed([], is_short=True, read=lanes.marks())
        assert lanes.is_scan_due()


def test_scans_as_soon_as_its_share_allows_while_it_knows_no_lane(lanes, clock):
    clock.now += 0.001
    lanes.scanned([lane(0, due_in=1e6, queue=f"q{n}") for n in range(1000)], began_at=clock.now - 0.001)

    assert lanes.marks() == []
    assert lanes.seconds_until_scan() == pytest.approx(0.02)


def test_gives_scans_of_new_jobs_a_twentieth_of_the_time_too(lanes, clock):
    lanes.scanned([], began_at=clock.now - 10.0)
    before = lanes.is_scan_of_new_due()

    lanes.scanned_new([], began_at=clock.now - 0.5)
    after_one_that_was_held_up = lanes.is_scan_of_new_due()
    lanes.scanned_new([], began_at=clock.now - 0.05)

    assert (before, after_one_that_was_held_up) == (True, True)
    assert lanes.seconds_until_scan_of_new() == pytest.approx(1.0)


def test_leaves_new_jobs_to_a_scan_of_the_lanes_that_is_due_and_quick(lanes, clock):
    for _ in range(2):
        lanes.scanned_new([], began_at=clock.now - 0.001)
    found = []
    for cost in (0.002, 0.010):
        lanes.scanned([], began_at=clock.now - cost)
        clock.now += 1.0
        assert lanes.is_scan_due()
        found.append(lanes.is_scan_of_new_due())

    assert found == [False, True]


def test_claims_a_new_job_of_a_later_time_when_it_is_due(lanes, clock):
    lanes.scanned([lane(0)], began_at=clock.now)
    lanes.claimed([at(50)], is_short=True, read=lanes.marks())
    lanes.scanned([], began_at=clock.now)
    lanes.scanned_new([lane(60, due_in=2.0), lane(70, queue="mail", due_in=3.0)], began_at=clock.now)
    before = [mark.queue for mark in lanes.marks()]
    until_due = lanes.seconds_until_due()

    clock.now += 3.0

    assert before == ["default"]
    assert until_due == pytest.approx(2.0)
    assert [(mark.queue, mark.run_at - NOW) for mark in lanes.marks()] == [
        ("default", timedelta(seconds=50)),
        ("mail", timedelta(seconds=70)),
    ]


def test_waits_for_no_job_of_a_lane_that_is_paused_without_an_end(lanes, clock):
    lanes.scanned([lane(0, due_in=math.inf)], began_at=clock.now)
    alone = lanes.seconds_until_due(), lanes.has_due
    lanes.scanned([lane(0, due_in=math.inf), lane(0, queue="mail", due_in=7.0)], began_at=clock.now)

    assert alone == (None, False)
    assert (lanes.seconds_until_due(), lanes.has_due) == (7.0, False)


def test_of_many_lanes_keeps_none_that_is_paused(lanes, clock):
    paused = [lane(n, queue=f"q{n}", due_in=math.inf) for n in range(MOST_LANES)]

    lanes.scanned([lane(0), *paused], began_at=clock.now)

    assert [mark.queue for mark in lanes.marks()] == ["default"]


def test_scans_at_once_if_it_is_asked_to_but_for_half_of_the_time_at_most(lanes, clock):
    began_at = clock.now
    clock.now += 0.01
    lanes.scanned([lane(0)], began_at=began_at)
    lanes.claimed([at(0)], is_short=False)

    lanes.want_scan()
    too_soon = lanes.is_scan_due()
    clock.now += 0.021
    assert (too_soon, lanes.is_scan_due()) == (False, True)
    lanes.scan_begins()
    lanes.scanned([lane(0)], began_at=clock.now)
    assert not lanes.is_scan_due()


def test_a_scan_that_is_asked_for_while_one_is_under_way_comes_after_it(lanes, clock):
    lanes.scan_begins()
    lanes.want_scan()
    lanes.scanned([lane(0)], began_at=clock.now)

    assert lanes.is_scan_due()
