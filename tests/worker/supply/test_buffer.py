"""The buffer: it ..."""

from __future__ import annotations

import time

import pytest

from haulier.domain.outcome import Outcome, Verb
from haulier.queue.claims.claim import MOST_BYTES
from haulier.worker.link.sleeper import Bell
from haulier.worker.supply.buffer import LEAST_WAIT_SECONDS, MOST_ENDED, UNPAUSED_SECONDS, Buffer, Ended, RoundTrip
from haulier.worker.supply.held import HeldJob
from haulier.worker.supply.shutdown import Shutdown
from haulier.worker.supply.sizes import MOST_AHEAD, MOST_AT_ONCE, WINDOW_SECONDS, CallSize, ClaimSize
from tests.conftest import PATIENCE
from tests.rivals import beside
from tests.worker.jobs import a_job, held, learn


def a_run(kind: str = "mail", **given) -> HeldJob:
    return held(a_job(kind)._replace(**given))


def make_late(runs: list[HeldJob]) -> None:
    for running in runs:
        running.start_by = time.monotonic() - 0.01


def verbs(ended: list[Ended]) -> list[tuple[HeldJob, Verb]]:
    return [(each.running, each.outcome.verb) for each in ended]


@pytest.fixture
def pace() -> ClaimSize:
    return ClaimSize(threads=4)


@pytest.fixture
def parts() -> tuple[CallSize, Bell, Shutdown]:
    """Give what a buffer shares with others."""
    return CallSize(), Bell(), Shutdown()


@pytest.fixture
def buffer(pace, parts) -> Buffer:
    return Buffer(pace, *parts)


def fill(buffer: Buffer, runs: list[HeldJob], *, free: int | None = None, is_short: bool = False) -> int:
    """Do as a thread that has the place does."""
    assert buffer.take_place()
    surplus = buffer.fill(runs, free=len(runs) if free is None else free, is_short=is_short)
    buffer.done()
    return surplus


def test_sends_the_first_thread_for_jobs_and_hands_them_out_in_order(buffer):
    first = buffer.next()
    runs = [a_run() for _ in range(3)]

    buffer.fill(runs, free=3, is_short=True)
    buffer.done()

    assert isinstance(first, RoundTrip)
    assert [buffer.next() for _ in range(3)] == runs
    assert (buffer.running, buffer.is_busy(3), buffer.is_busy(4)) == (3, True, False)
    # Its place is kept for a suspect.
    buffer.is_reserved = True
    assert buffer.is_busy(4)
    assert isinstance(buffer.next(), RoundTrip)


def test_gives_one_thread_the_place_while_others_wait(buffer):
    assert isinstance(buffer.next(), RoundTrip)
    run = a_run()

    with beside(buffer.next) as got:
        buffer.fill([run], free=2, is_short=True)

    assert got == [run]


def test_settles_before_a_slow_job_starts(buffer, pace):
    learn(pace, "slow", 3.0)
    runs = [a_run("slow"), a_run("slow")]
    fill(buffer, runs, is_short=True)
    first = buffer.next()

    then = buffer.next(Ended(first, Outcome.complete()), seconds=3.0)

    assert isinstance(then, RoundTrip)
    assert [ended.running for ended in then.ended] == [first]


def test_lets_quick_jobs_run_on_and_settles_them_together(pace, parts):
    # No time passes: outcomes that have waited for long are settled earlier.
    buffer = Buffer(pace, *parts, clock=lambda: 0.0)
    learn(pace, "quick", 0.00002)
    fill(buffer, [a_run("quick") for _ in range(MOST_AHEAD - 100)])
    task, run = buffer.next(), 0
    while isinstance(task, HeldJob):
        task, run = buffer.next(Ended(task, Outcome.complete()), seconds=0.00002), run + 1

    # Half of what is held ahead is left when the next is claimed, and the settler settles beside that.
    assert run == MOST_AHEAD - 100 - MOST_AHEAD // 2
    assert (task, buffer.is_piled()) == (RoundTrip([], MOST_AT_ONCE, 1), True)
    assert len(buffer.begin_beside()) == run


def test_settles_beside_the_claims_while_many_quick_jobs_wait(pace, parts, clock):
    buffer = Buffer(pace, *parts, clock=clock)
    learn(pace, "quick", 0.00002)
    fill(buffer, [a_run("quick") for _ in range(MOST_AT_ONCE)])
    first, second, third = (Ended(a_run("quick"), Outcome.complete()) for _ in range(3))
    seen = []

    def look() -> None:
        seen.append(buffer.round_trip().ended)

    buffer.add(first)
    look()
    assert buffer.begin_beside() == [first]
    buffer.add(second)
    look()
    # The settler is held up: one settle at a time, but the next is the place's.
    clock.now += 2 * WINDOW_SECONDS
    look()
    buffer.end_beside()
    look()
    # There is nothing more to claim: one round trip for both.
    fill(buffer, [], is_short=True)
    buffer.add(third)
    assert buffer.begin_beside() == []
    look()

    assert seen == [[], [], [], [second], [third]]


def test_claims_nothing_while_more_has_ended_than_two_settles_carry(pace, parts):
    buffer = Buffer(pace, *parts, clock=lambda: 0.0)
    learn(pace, "quick", 0.00002)
    fill(buffer, [a_run("quick") for _ in range(MOST_AT_ONCE)])
    for _ in range(MOST_ENDED + MOST_AT_ONCE + 1):
        buffer.add(Ended(a_run("quick"), Outcome.complete()))

    full, fuller, left = (buffer.round_trip() for _ in range(3))

    assert [(len(place.ended), place.limit > 0) for place in (full, fuller, left)] == [
        (MOST_AT_ONCE, False), (MOST_AT_ONCE, True), (0, True),
    ]  # fmt: skip


def test_runs_the_jobs_left_first_after_a_short_claim(buffer, pace):
    learn(pace, "quick", 0.00002)
    fill(buffer, [a_run("quick") for _ in range(5)], is_short=True)

    tasks = [buffer.next() for _ in range(6)]

    assert [isinstance(task, HeldJob) for task in tasks] == [True] * 5 + [False]


def test_gives_back_claimed_jobs_that_would_wait(buffer, pace):
    learn(pace, "slow", 5.0)
    runs = [a_run("slow") for _ in range(10)]

    surplus = fill(buffer, runs, free=2)

    given_back = buffer.round_trip().ended
    assert surplus == 8
    assert verbs(given_back) == [(run, Verb.RELEASE) for run in runs[2:]]
    assert {ended.outcome.delay for ended in given_back} == {None}


def test_gives_back_unstarted_jobs_when_the_process_stops(buffer, parts):
    fill(buffer, [a_run(), a_run()], is_short=True)
    started = buffer.next()

    parts[2].stopping.set()
    unstarted = buffer.empty()
    turn = buffer.next(Ended(started, Outcome.complete()), seconds=0.1)
    buffer.done()

    assert isinstance(turn, RoundTrip)
    assert (len(unstarted), len(turn.ended), buffer.next()) == (1, 2, None)
    # As does what a claim brings then.
    assert fill(buffer, [a_run() for _ in range(300)], free=1) == len(buffer.round_trip().ended) == 300


def test_rings_the_bell_when_a_run_ends_while_a_thread_waits(buffer, parts):
    _, bell, _ = parts
    assert isinstance(buffer.next(), RoundTrip)
    bell.clear()
    began = time.monotonic()

    with beside(lambda: bell.wait(PATIENCE)):
        buffer.add(Ended(a_run(), Outcome.complete()))

    assert time.monotonic() - began < PATIENCE


def test_puts_unsettled_runs_back_before_later_ones(buffer):
    first, second = Ended(a_run(), Outcome.complete()), Ended(a_run(), Outcome.complete())
    buffer.add(first)
    batch = buffer.round_trip().ended
    buffer.add(second)

    buffer.stirred.clear()
    buffer.put_back(batch)

    assert buffer.stirred.is_set()
    assert buffer.round_trip().ended == [first, second]


def test_claims_one_slow_job_for_each_free_thread(buffer, pace):
    learn(pace, "slow", 3.0)

    assert buffer.round_trip() == RoundTrip([], limit=1, free=1)


def test_has_room_for_a_last_attempt_while_others_wait(buffer, pace):
    # Who has the place is free right after, and starts it before them.
    learn(pace, "mail", 0.004)
    fill(buffer, [a_run() for _ in range(20)])

    place = buffer.round_trip()

    assert place.limit > 1
    assert place.free == 1


def test_claims_only_jobs_that_can_start_while_all_are_last_attempts(buffer, pace):
    # A claim locks what it asked for, and would leave it lying.
    learn(pace, "mail", 0.00002)
    before = buffer.round_trip()

    fill(buffer, [a_run(attempts=1, max_attempts=1)], is_short=True)
    buffer.next()
    then = buffer.round_trip()
    fill(buffer, [a_run(attempts=1, max_attempts=1), a_run()], is_short=True)
    buffer.next()
    buffer.next()

    assert (before, then) == (RoundTrip([], MOST_AT_ONCE, 1), RoundTrip([], 1, 1))
    assert buffer.round_trip() == before


def test_learns_no_duration_from_a_job_that_it_gives_back(buffer, pace):
    learn(pace, "mail", 0.002)

    for _ in range(9):
        fill(buffer, [a_run()], is_short=True)
        unstarted = buffer.next()
        assert isinstance(buffer.next(Ended(unstarted, Outcome.give_back()), seconds=1e6), RoundTrip)
        buffer.done()

    assert pace.seconds("mail") == pytest.approx(0.002)


def test_claims_as_many_as_a_call_carries_and_keeps_two_claims_ahead(buffer, pace, parts):
    learn(pace, "mail", 0.0001)
    parts[0].brought(1, MOST_BYTES // 10)
    place = buffer.next()

    surplus = buffer.fill([a_run() for _ in range(10)], free=4, is_short=False)
    buffer.done()

    assert (place.limit, surplus, buffer.next().limit) == (10, 0, 10)


def test_settles_what_a_call_carries_and_claims_nothing_while_more_is_left(buffer, pace):
    learn(pace, "mail", 0.0001)
    for _ in range(600):
        buffer.add(large())

    place = buffer.next()
    buffer.done()
    others = []
    while (more := buffer.next()).ended:
        others.append(len(more.ended))
        buffer.done()

    assert MOST_BYTES <= sum(ended.size for ended in place.ended) < MOST_BYTES + 70_000
    assert place.limit == 0
    assert others[-1] <= len(place.ended) == 600 - sum(others)


def large() -> Ended:
    """Return a run with so large an outcome that a call carries less than 200 of them."""
    return Ended(a_run(), Outcome.complete("x" * 60_000))


def test_says_that_jobs_stand_still_later_if_the_database_is_far(parts, clock):
    for distance in (0.0, 0.05):
        buffer = Buffer(ClaimSize(threads=4), *parts, clock=clock)
        buffer.fill([a_run()], free=1, is_short=True, asked_at=clock.now - distance)
        said = []
        for seconds in (2 * (WINDOW_SECONDS + distance) - 0.01, 0.02):
            clock.now += seconds
            said.append(buffer.stands_still())

        assert said == [False, True], distance


def test_settles_at_once_when_the_outcomes_fill_a_call(buffer, pace, monkeypatch):
    for bound in ("WINDOW_SECONDS", "LEAST_WAIT_SECONDS"):
        monkeypatch.setattr(f"haulier.worker.supply.buffer.{bound}", 1000.0)
    learn(pace, "mail", 0.0001)
    fill(buffer, [a_run() for _ in range(50)], is_short=True)
    turns = []
    for _ in range(2):
        for _ in range(100):
            buffer.add(large())
        turns.append(type(buffer.next()))

    assert turns == [HeldJob, RoundTrip]


def test_gives_back_the_jobs_of_a_paused_queue(buffer, pace):
    learn(pace, "mail", 0.0001)
    bulk, mail = [a_run(queue="bulk") for _ in range(2)], [a_run(queue="mail") for _ in range(2)]
    fill(buffer, [bulk[0], mail[0], bulk[1], mail[1]], is_short=True)

    buffer.look_for_paused({"bulk", "other"}, asked_at=time.monotonic())

    assert [buffer.next(), buffer.next()] == mail
    assert verbs(buffer.next().ended) == [(running, Verb.RELEASE) for running in bulk]


def test_gives_back_jobs_whose_queue_was_not_confirmed_unpaused_in_time(buffer, pace):
    learn(pace, "mail", 0.0001)
    late, fresh = [a_run() for _ in range(3)], [a_run() for _ in range(2)]
    fill(buffer, late)
    fill(buffer, fresh, is_short=True)
    make_late(late)

    # By a look that was long ago neither.
    buffer.look_for_paused(set(), asked_at=time.monotonic() - UNPAUSED_SECONDS - 0.01)

    assert [buffer.next(), buffer.next()] == fresh
    assert verbs(buffer.next().ended) == [(running, Verb.RELEASE) for running in late]
    assert {running.has_ended for running in late} == {True}


def test_starts_what_has_waited_for_long_if_a_look_has_found_its_queue_unpaused(buffer, pace):
    learn(pace, "mail", 0.0001)
    waiting, later = [a_run() for _ in range(2)], [a_run() for _ in range(2)]
    fill(buffer, waiting)
    make_late(waiting)

    buffer.look_for_paused({"bulk"}, asked_at=time.monotonic())
    # Their claim may have been answered late, and have read the pauses before the look.
    fill(buffer, later, is_short=True)
    make_late(later)

    assert [buffer.next(), buffer.next()] == waiting
    assert [each.running for each in buffer.next().ended] == later


def test_counts_the_wait_from_the_claim_but_leaves_each_job_some_time(buffer):
    assert buffer.take_place()
    for took, waits in ((0.0, UNPAUSED_SECONDS), (5.0, LEAST_WAIT_SECONDS)):
        run, answered_at = a_run(), time.monotonic()

        buffer.fill([run], free=1, is_short=True, asked_at=answered_at - took)

        # The sum of two floats may be less than it by what rounding takes.
        assert waits - 1e-6 <= run.start_by - answered_at < waits + 0.1
