"""Whose turn it is: of several lanes with more jobs than a claim can take, the one that ..."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import UUID

import pytest

from haulier.domain.claim import LaneName, Mark
from haulier.worker.lanes.marks import JOB_BYTES, MOST_FULL, Turns
from tests.worker.jobs import a_claimed_job

MAIL, BULK, MASS = ("mail", 0), ("bulk", 0), ("mass", 0)


@pytest.fixture
def turns() -> Turns:
    return Turns()


def claim(turns: Turns, taken: dict[LaneName, int], *, of: tuple[LaneName, ...], size: int = 0) -> None:
    """Note a claim that brought so many jobs of each lane, all of this size."""
    text = "." * size
    jobs = [a_claimed_job(queue=queue, priority=at, text=text) for (queue, at), n in taken.items() for _ in range(n)]
    read = [Mark(*lane, datetime(2026, 1, 1, tzinfo=UTC), UUID(int=1)) for lane in of]
    turns.claimed(jobs, is_short=False, read=read)


def test_took_fewer_bytes_comes_first_for_as_many_claims_as_make_up_for_it(turns):
    def claims_until_mail_has_taken_more() -> int:
        claims = 0
        while turns.taken(MAIL) <= turns.taken(BULK):
            claim(turns, {MAIL: 10}, of=(MAIL, BULK), size=200)
            claims += 1
        return claims

    claim(turns, {BULK: 12}, of=(BULK, MAIL), size=700_000)
    new = claims_until_mail_has_taken_more()
    claim(turns, {BULK: 12}, of=(BULK, MAIL), size=700_000)
    behind = claims_until_mail_has_taken_more()

    # It begins level with the other; then it is 12 jobs of 701,000 bytes against 10 of 1,200.
    assert (new, behind) == (1, 701)


def test_was_found_empty_comes_first_though_it_brought_nothing(turns):
    claim(turns, {BULK: 5}, of=(BULK, MAIL))
    claim(turns, {MAIL: 5}, of=(MAIL, BULK))

    claim(turns, {BULK: 5}, of=(MAIL, BULK))

    assert turns.taken(MAIL) == 0


def test_comes_new_does_not_make_up_for_what_others_took_before(turns):
    for _ in range(1000):
        claim(turns, {BULK: 10}, of=(BULK, MAIL))
        claim(turns, {MAIL: 10}, of=(MAIL, BULK))

    claim(turns, {MASS: 10}, of=(MASS, BULK, MAIL))

    assert turns.taken(MASS) == turns.taken(BULK) + 10 * JOB_BYTES


def test_comes_new_is_level_with_those_of_its_own_priority(turns):
    claim(turns, {("low", 0): 1}, of=(("low", 0), MAIL))
    for _ in range(1000):
        claim(turns, {("high", 9): 10}, of=(("high", 9), MAIL))

    claim(turns, {("new", 9): 10}, of=(("new", 9), ("high", 9)))

    assert turns.taken(("new", 9)) == turns.taken(("high", 9)) + 10 * JOB_BYTES


def test_took_most_is_forgotten_when_it_is_the_only_lane(turns):
    claim(turns, {BULK: 5}, of=(BULK, MAIL))

    claim(turns, {BULK: 5}, of=(BULK,))

    assert not turns


def test_filled_a_claim_long_ago_is_forgotten_if_there_are_very_many(turns):
    for n in range(MOST_FULL + 1):
        claim(turns, {(f"q{n}", 0): 1}, of=((f"q{n}", 0), MAIL))

    assert turns.taken(("q0", 0)) == 0 < turns.taken(("q1", 0))
