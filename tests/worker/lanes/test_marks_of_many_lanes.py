"""The marks in many lanes, and in the lanes of paused queues, and whose turn it is: a worker ..."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from haulier.domain.claim import LaneName, Mark
from haulier.worker.lanes.marks import JOB_BYTES, MANY_LANES, MOST_FULL, MOST_LANES, Turns
from tests.worker.jobs import a_claimed_job
from tests.worker.lanes.conftest import NOW, at, lane, many, queues


def test_knows_lanes_that_lately_had_a_job_beside_any_number_of_others(lanes, scan, claim):
    for count in (MOST_LANES - 4, MOST_LANES - 1, MOST_LANES, MOST_LANES + 1, 1000):
        others = many(count, due_in=1e6)
        for queue in ("mail", "default"):
            scan(lane(0, queue=queue), *others)
            claim(at(count, queue=queue))
        claim()

        scan(*others)

        known = {mark.queue: mark.run_at for mark in lanes.marks()}
        assert (known["mail"], known["default"]) == (NOW + timedelta(seconds=count),) * 2


def test_knows_the_latest_of_more_lanes_that_have_had_a_job(lanes, scan, claim):
    for n in range(2 * MOST_LANES):
        for queue in (f"q{n}", "q0"):
            scan(lane(n, queue=queue))
            claim(at(n, queue=queue))

    known = set(queues(lanes.marks()))

    assert len(known) == MOST_LANES
    assert {"q0", f"q{2 * MOST_LANES - 1}"} < known
    assert "q1" not in known


def test_keeps_few_lanes_that_others_have_emptied_and_none_beside_many_others(lanes, scan):
    all_lanes = many(2 * MOST_LANES)
    scan(*all_lanes)

    scan(*all_lanes[:3])
    beside_few = queues(lanes.marks())
    scan(*all_lanes[MOST_LANES:])

    assert len(beside_few) == MOST_LANES
    assert {"q0", "q1", "q2"} < set(beside_few)
    assert queues(lanes.marks()) == [each.head.queue for each in all_lanes[MOST_LANES:]]


def test_starts_a_job_at_its_time_beside_any_number_of_lanes(lanes, clock):
    for count in (MOST_LANES - 1, MOST_LANES, 1000):
        lanes.scanned([*many(count, due_in=1e6), lane(5, queue="soon", due_in=5.0)], began_at=clock.now - 10.0)
        before = lanes.seconds_until_due()

        clock.now += 5.0

        assert before == pytest.approx(5.0)
        assert "soon" in queues(lanes.marks())
        assert not lanes.is_scan_due()


def test_goes_on_after_one_claim_has_emptied_any_number_of_lanes(lanes, scan, claim):
    for count in (MOST_LANES, MOST_LANES + 1, MANY_LANES):
        claim()
        scan(*many(count))

        claim(*(at(0, queue=f"q{n}") for n in range(count)))

        assert lanes.is_short
        assert len(lanes.marks()) == MOST_LANES
        claim()
        assert lanes.is_scan_due()


def test_scans_as_soon_as_its_share_allows_while_it_knows_no_lane(lanes, clock):
    clock.now += 0.001
    lanes.scanned(many(1000, due_in=1e6), began_at=clock.now - 0.001)

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
    of_new_is_due = []
    for cost in (0.002, 0.010):
        lanes.scanned([], began_at=clock.now - cost)
        clock.now += 1.0
        assert lanes.is_scan_due()
        of_new_is_due.append(lanes.is_scan_of_new_due())

    assert of_new_is_due == [False, True]


def test_claims_a_new_job_of_a_later_time_when_it_is_due(lanes, scan, claim, clock):
    scan(lane(0))
    claim(at(50))
    scan()
    lanes.scanned_new([lane(60, due_in=2.0), lane(70, queue="mail", due_in=3.0)], began_at=clock.now)
    before = queues(lanes.marks())
    until_due = lanes.seconds_until_due()

    clock.now += 3.0

    assert before == ["default"]
    assert until_due == pytest.approx(2.0)
    assert [(mark.queue, mark.run_at - NOW) for mark in lanes.marks()] == [
        ("default", timedelta(seconds=50)),
        ("mail", timedelta(seconds=70)),
    ]


def test_waits_for_no_lane_that_is_paused_without_an_end(lanes, scan):
    scan(lane(0, due_in=math.inf))
    alone = lanes.seconds_until_due(), lanes.has_due
    scan(lane(0, due_in=math.inf), lane(0, queue="mail", due_in=7.0))
    beside_another = lanes.seconds_until_due(), lanes.has_due

    scan(lane(0), *many(MOST_LANES, due_in=math.inf))

    assert (alone, beside_another) == ((None, False), (7.0, False))
    assert queues(lanes.marks()) == ["default"]


def test_scans_at_once_if_it_is_asked_to_but_for_half_of_the_time_at_most(lanes, scan, clock):
    clock.now += 0.01
    lanes.scanned([lane(0)], began_at=clock.now - 0.01)
    lanes.claimed([at(0)], is_short=False)

    lanes.want_scan()
    too_soon = lanes.is_scan_due()
    clock.now += 0.021
    assert (too_soon, lanes.is_scan_due()) == (False, True)
    lanes.scan_begins()
    scan(lane(0))
    assert not lanes.is_scan_due()


def test_a_scan_that_is_asked_for_while_one_is_under_way_comes_after_it(lanes, scan):
    lanes.scan_begins()
    lanes.want_scan()
    scan(lane(0))

    assert lanes.is_scan_due()


MAIL, BULK, MASS = ("mail", 0), ("bulk", 0), ("mass", 0)


@pytest.fixture
def turns() -> Turns:
    return Turns()


def fill(turns: Turns, taken: dict[LaneName, int], *, of: tuple[LaneName, ...], size: int = 0) -> None:
    """Note a claim that brought so many jobs of each lane, all of this size."""
    text = "." * size
    jobs = [a_claimed_job(queue=queue, priority=at, text=text) for (queue, at), n in taken.items() for _ in range(n)]
    read = [Mark(*lane, datetime(2026, 1, 1, tzinfo=UTC), UUID(int=1)) for lane in of]
    turns.claimed(jobs, is_short=False, read=read)


def test_puts_a_lane_first_until_it_took_as_many_bytes(turns):
    def claims_until_mail_has_taken_more() -> int:
        claims = 0
        while turns.taken(MAIL) <= turns.taken(BULK):
            fill(turns, {MAIL: 10}, of=(MAIL, BULK), size=200)
            claims += 1
        return claims

    fill(turns, {BULK: 12}, of=(BULK, MAIL), size=700_000)
    new = claims_until_mail_has_taken_more()
    fill(turns, {BULK: 12}, of=(BULK, MAIL), size=700_000)
    behind = claims_until_mail_has_taken_more()

    # It begins level with the other; then it is 12 jobs of 701,000 bytes against 10 of 1,200.
    assert (new, behind) == (1, 701)


def test_puts_a_lane_that_was_found_empty_first(turns):
    fill(turns, {BULK: 5}, of=(BULK, MAIL))
    fill(turns, {MAIL: 5}, of=(MAIL, BULK))

    fill(turns, {BULK: 5}, of=(MAIL, BULK))

    assert turns.taken(MAIL) == 0


def test_lets_a_new_lane_make_up_for_nothing_that_others_took_before(turns):
    for _ in range(1000):
        fill(turns, {BULK: 10}, of=(BULK, MAIL))
        fill(turns, {MAIL: 10}, of=(MAIL, BULK))

    fill(turns, {MASS: 10}, of=(MASS, BULK, MAIL))

    assert turns.taken(MASS) == turns.taken(BULK) + 10 * JOB_BYTES


def test_puts_a_new_lane_level_with_those_of_its_own_priority(turns):
    fill(turns, {("low", 0): 1}, of=(("low", 0), MAIL))
    for _ in range(1000):
        fill(turns, {("high", 9): 10}, of=(("high", 9), MAIL))

    fill(turns, {("new", 9): 10}, of=(("new", 9), ("high", 9)))

    assert turns.taken(("new", 9)) == turns.taken(("high", 9)) + 10 * JOB_BYTES


def test_forgets_what_a_lane_took_when_it_is_the_only_one(turns):
    fill(turns, {BULK: 5}, of=(BULK, MAIL))

    fill(turns, {BULK: 5}, of=(BULK,))

    assert not turns


def test_forgets_what_a_lane_took_long_ago_if_there_are_very_many(turns):
    for n in range(MOST_FULL + 1):
        fill(turns, {(f"q{n}", 0): 1}, of=((f"q{n}", 0), MAIL))

    assert turns.taken(("q0", 0)) == 0 < turns.taken(("q1", 0))
