"""Schedules: what becomes of each tick, decided from the schedule and the time alone. It ..."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import islice, pairwise, takewhile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from haulier.domain.schedules.schedule import (
    LATE,
    Decided,
    Decision,
    InvalidSchedule,
    Missed,
    Overlap,
    Rule,
    Schedule,
    TickOutcome,
    counts_from_after,
    decide,
    next_ticks,
    timetable,
)
from tests.domain.changes import BERLIN, utc

NOON = utc("2026-11-27T12:00")
SECOND, MINUTE, DAY = timedelta(seconds=1), timedelta(minutes=1), timedelta(days=1)
FIRED, OVERLAP, MISSED, PAUSED = (
    TickOutcome.FIRED, TickOutcome.SKIPPED_OVERLAP, TickOutcome.SKIPPED_MISSED, TickOutcome.SKIPPED_PAUSED,
)  # fmt: skip


def every(seconds: int, **options: object) -> Schedule:
    """Return a schedule that was made at noon."""
    rule = Rule({"kind": "a", "payload": {}}, every_seconds=seconds, **options)  # type: ignore[arg-type]
    return Schedule("nightly", rule, counts_from=NOON, decided_to=NOON)


def decided(
    schedule: Schedule, now: datetime, *, is_busy: bool = False, keep: timedelta = 30 * DAY, **options
) -> Decision:
    return decide(schedule, now, is_busy=is_busy, keep=keep, **options)


def after(schedule: Schedule, decision: Decision) -> Schedule:
    return replace(schedule, decided_to=decision.decided_to, pending_at=decision.pending_at)


def outcomes(decision: Decision) -> list[tuple[float, TickOutcome]]:
    """Return the decided ticks, as seconds since noon."""
    return [((at - NOON).total_seconds(), outcome) for at, outcome in decision.ticks]


def test_fires_what_is_due_and_says_what_comes_next():
    decision = decided(every(10), NOON + 25 * SECOND)

    assert outcomes(decision) == [(10, FIRED), (20, FIRED)]
    assert decision.decided_to == NOON + 20 * SECOND
    assert decision.next_at == decision.look_at == NOON + 30 * SECOND
    assert not decision.has_more


def test_fires_a_tick_at_its_very_time_and_not_before():
    assert outcomes(decided(every(10), NOON + 10 * SECOND)) == [(10, FIRED)]
    assert outcomes(decided(every(10), NOON + 10 * SECOND - timedelta(microseconds=1))) == []


def test_looks_again_within_an_hour_though_nothing_is_due():
    decision = decided(every(86_400), NOON + MINUTE)

    assert (decision.next_at, decision.look_at) == (NOON + DAY, NOON + timedelta(minutes=61))
    assert decision.decided_to == NOON


def test_fires_nothing_again_if_the_clock_went_back():
    schedule = replace(every(10), decided_to=NOON + 100 * SECOND)

    assert outcomes(decided(schedule, NOON + 50 * SECOND)) == []
    assert outcomes(decided(schedule, NOON + 110 * SECOND)) == [(110, FIRED)]


def test_fires_a_late_tick_however_missed_ones_are_treated():
    for missed in Missed:
        schedule = every(300, missed=missed, missed_max=1, missed_within_seconds=1)
        assert outcomes(decided(schedule, NOON + 300 * SECOND + LATE)) == [(300, FIRED)]


def test_skips_missed_ticks_or_fires_the_last_one_unless_a_newer_one_is_due():
    skipped, last = every(300, missed=Missed.SKIP), every(300, missed=Missed.LAST)

    assert outcomes(decided(skipped, NOON + 1000 * SECOND)) == [(300, MISSED), (600, MISSED), (900, MISSED)]
    assert outcomes(decided(last, NOON + 1000 * SECOND)) == [(300, MISSED), (600, MISSED), (900, FIRED)]
    assert outcomes(decided(last, NOON + 920 * SECOND)) == [(300, MISSED), (600, MISSED), (900, FIRED)]


def test_fires_the_newest_missed_ticks_within_a_time_the_oldest_first():
    schedule = every(300, missed=Missed.ALL, missed_max=2, missed_within_seconds=700)

    assert outcomes(decided(schedule, NOON + 1400 * SECOND)) == [
        (300, MISSED),
        (600, MISSED),
        (900, FIRED),
        (1200, FIRED),
    ]
    assert outcomes(decided(schedule, NOON + 1000 * SECOND)) == [(300, MISSED), (600, FIRED), (900, FIRED)]
    within = every(300, missed=Missed.ALL, missed_max=9, missed_within_seconds=200)
    assert outcomes(decided(within, NOON + 1000 * SECOND)) == [(300, MISSED), (600, MISSED), (900, FIRED)]


def test_works_off_a_long_outage_bit_by_bit_to_the_same_end():
    # The last tick is only late, so it fires, and no missed one has to fire as the last.
    for missed, fired in ((Missed.SKIP, 1), (Missed.LAST, 1), (Missed.ALL, 4)):
        schedule = every(60, missed=missed, missed_max=3, missed_within_seconds=86_400)
        now, ticks, has_more = NOON + 5000 * MINUTE + 90 * SECOND, list[Decided](), True
        while has_more:
            decision = decided(schedule, now, at_once=70)
            assert len(decision.ticks) <= 70
            ticks += decision.ticks
            schedule, has_more = after(schedule, decision), decision.has_more

        assert [at for at, _ in ticks] == [NOON + number * MINUTE for number in range(1, 5002)]
        assert [outcome for _, outcome in ticks] == [MISSED] * (5001 - fired) + [FIRED] * fired


def test_gives_no_row_to_ticks_older_than_those_that_are_kept():
    schedule = every(86_400, missed=Missed.SKIP)

    assert outcomes(decided(schedule, NOON + 100.5 * DAY, keep=2 * DAY)) == [
        (99 * 86_400, MISSED),
        (100 * 86_400, MISSED),
    ]


def test_skips_a_tick_while_a_job_is_live_and_those_behind_one_that_fires():
    schedule = every(10, overlap=Overlap.SKIP)

    assert outcomes(decided(schedule, NOON + 25 * SECOND, is_busy=True)) == [(10, OVERLAP), (20, OVERLAP)]
    assert outcomes(decided(schedule, NOON + 25 * SECOND)) == [(10, FIRED), (20, OVERLAP)]


def test_lets_one_tick_wait_until_no_job_is_live():
    schedule = every(10, overlap=Overlap.QUEUE_ONE)

    waits = decided(schedule, NOON + 25 * SECOND, is_busy=True)
    assert outcomes(waits) == [(20, OVERLAP)]
    assert waits.pending_at == NOON + 10 * SECOND
    assert waits.look_at == NOON + 26 * SECOND
    schedule = after(schedule, waits)
    assert outcomes(decided(schedule, NOON + 26 * SECOND, is_busy=True)) == []
    free = decided(schedule, NOON + 31 * SECOND)
    # The job of the first is live now, so the next one waits.
    assert outcomes(free) == [(10, FIRED)]
    assert free.pending_at == NOON + 30 * SECOND


def test_skips_what_falls_into_a_pause_also_when_that_is_over():
    schedule = replace(every(10), paused_since=NOON + 15 * SECOND, paused_until=NOON + 30 * SECOND)

    assert outcomes(decided(schedule, NOON + 40 * SECOND)) == [(10, FIRED), (20, PAUSED), (30, FIRED), (40, FIRED)]


def test_fires_nothing_while_it_is_paused_though_it_was_due_before():
    schedule = replace(every(3600), paused_since=NOON + 3700 * SECOND)
    assert outcomes(decided(schedule, NOON + 3720 * SECOND)) == [(3600, PAUSED)]
    # It was missed, and would be the last one.
    assert outcomes(decided(schedule, NOON + 7000 * SECOND)) == [(3600, PAUSED)]
    ended = replace(schedule, paused_until=NOON + 6000 * SECOND)
    assert outcomes(decided(ended, NOON + 7000 * SECOND)) == [(3600, FIRED)]


def test_skips_a_waiting_tick_and_one_that_waits_for_its_jitter_when_it_is_paused():
    paused = {"paused_since": NOON + 15 * SECOND}
    tenth = NOON + 10 * SECOND
    waiting = replace(every(10, overlap=Overlap.QUEUE_ONE), decided_to=tenth, pending_at=tenth, **paused)
    assert outcomes(decided(waiting, NOON + 16 * SECOND, is_busy=True)) == [(10, PAUSED)]
    jittery = replace(every(3600, jitter_seconds=3600), paused_since=NOON + 3601 * SECOND)
    assert outcomes(decided(jittery, NOON + 7200 * SECOND)) == [(3600, PAUSED)]


def test_fires_the_same_tick_after_the_same_jitter_within_its_bounds_and_in_order():
    schedule = every(600, jitter_seconds=3600)

    found = list(islice(schedule.upcoming(NOON), 50))

    assert found == list(islice(schedule.upcoming(NOON), 50))
    assert all(due.at <= due.fires_at < following.at for due, following in pairwise(found))
    assert len({due.fires_at - due.at for due in found}) > 45
    other = replace(schedule, name="hourly")
    assert [due.fires_at for due in islice(other.upcoming(NOON), 5)] != [due.fires_at for due in found[:5]]


def test_waits_for_the_jitter_unless_in_a_hurry_and_is_late_only_from_there_on():
    schedule = every(3600, jitter_seconds=1800)
    [due] = islice(schedule.upcoming(NOON), 1)
    assert due.fires_at > due.at + MINUTE

    assert outcomes(decided(schedule, due.fires_at - timedelta(milliseconds=1))) == []
    assert decided(schedule, due.at + SECOND).look_at == due.fires_at
    assert outcomes(decided(schedule, due.fires_at)) == [(3600, FIRED)]
    assert outcomes(decided(schedule, NOON + 3600 * SECOND, hurry=True)) == [(3600, FIRED)]
    skipping = replace(schedule, rule=replace(schedule.rule, missed=Missed.SKIP))
    assert outcomes(decided(skipping, due.fires_at + MINUTE)) == [(3600, FIRED)]


rules = some.builds(
    Rule,
    job=some.just({}),
    every_seconds=some.integers(1, 200),
    overlap=some.sampled_from(Overlap),
    missed=some.sampled_from(Missed),
    missed_max=some.integers(1, 20),
    missed_within_seconds=some.integers(1, 3000),
    jitter_seconds=some.integers(0, 300),
)
steps = some.lists(some.tuples(some.integers(0, 1500), some.booleans()), min_size=1, max_size=4)


@settings(max_examples=60, deadline=None)
@given(rules, steps, some.integers(5, 40))
def test_decides_each_tick_once_however_often_and_late_it_looks(rule, steps, at_once):
    schedule, now, ticks = Schedule("a", rule, counts_from=NOON, decided_to=NOON), NOON, []

    for seconds, is_busy in steps:
        now += timedelta(seconds=seconds)
        has_more = True
        while has_more:
            decision = decided(schedule, now, is_busy=is_busy, at_once=at_once)
            ticks += decision.ticks
            schedule, has_more = after(schedule, decision), decision.has_more
            is_busy = is_busy or any(outcome is FIRED for _, outcome in decision.ticks)
            if rule.overlap is not Overlap.ALLOW:
                assert sum(outcome is FIRED for _, outcome in decision.ticks) <= 1

    expected = [due.at for due in takewhile(lambda due: due.at <= now, schedule.upcoming(NOON)) if due.fires_at <= now]
    waiting = [schedule.pending_at] if schedule.pending_at else []
    assert sorted([at for at, _ in ticks] + waiting) == expected
    assert decided(schedule, now, is_busy=True).ticks == []


def test_counts_seconds_from_an_instant_in_any_zone_and_across_changes():
    table = timetable(cron=None, every_seconds=3600, time_zone=BERLIN, counts_from=utc("2026-10-24T23:30"))

    assert list(islice(table.ticks(utc("2026-10-24T23:30")), 3)) == [
        utc("2026-10-25T00:30"), utc("2026-10-25T01:30"), utc("2026-10-25T02:30"),
    ]  # fmt: skip
    # Also from before it was made.
    assert next(table.ticks(utc("2020-01-01"))) == utc("2026-10-25T00:30")


def test_names_the_value_that_cannot_be_used():
    for field, options in (
        ("time_zone", {"cron": "0 0 * * *", "every_seconds": None, "time_zone": "Mars/Olympus"}),
        ("cron", {"cron": "0 0 31 2 *", "every_seconds": None, "time_zone": "UTC"}),
        ("cron", {"cron": "0 0 * * *", "every_seconds": 5, "time_zone": "UTC"}),
        ("cron", {"cron": None, "every_seconds": None, "time_zone": "UTC"}),
    ):
        with pytest.raises(InvalidSchedule) as refused:
            timetable(**options)
        assert refused.value.field == field


def test_ends_before_the_calendar_does():
    last = datetime(9899, 12, 31, 23, 59, tzinfo=UTC)

    assert next_ticks(every(60), last, 5) == []
    daily = replace(every(60), rule=Rule({}, cron="0 0 * * *"))
    assert next_ticks(daily, last - 2 * DAY, 5) == [
        datetime(9899, 12, 30, tzinfo=UTC),
        datetime(9899, 12, 31, tzinfo=UTC),
    ]
    assert decided(replace(daily, decided_to=last), last + SECOND).next_at is None


def test_counts_from_the_last_tick_if_the_seconds_are_changed():
    old = every(60)
    now = NOON + 150 * SECOND

    def first(seconds: int | None, **options: object) -> datetime:
        rule = Rule({}, every_seconds=seconds, **options)  # type: ignore[arg-type]
        changed = replace(old, rule=rule, counts_from=counts_from_after(old, rule, now), decided_to=now)
        return next_ticks(changed, now, 1)[0]

    assert first(60, jitter_seconds=5) == NOON + 180 * SECOND
    # The last tick was at 120 s.
    assert first(100) == NOON + 220 * SECOND
    assert first(3600) == NOON + 3720 * SECOND
    assert first(20) == NOON + 151 * SECOND
    by_cron = replace(old, rule=Rule({}, cron="0 0 * * *"))
    assert counts_from_after(by_cron, Rule({}, every_seconds=60), now) == now
    assert counts_from_after(old, Rule({}, cron="0 0 * * *"), now) == now


def test_fires_no_missed_tick_if_finding_the_newest_would_read_too_many():
    schedule = every(1, missed=Missed.ALL, missed_max=5, missed_within_seconds=86_400)
    # Of nine missed ticks the last five fire; those of the pause do not count, and are read to know that.

    def decided_after(seconds: int) -> Decision:
        paused = replace(
            schedule, paused_since=NOON + 9.5 * SECOND, paused_until=NOON + seconds * SECOND - timedelta(milliseconds=1)
        )
        return decided(paused, NOON + seconds * SECOND, at_once=5)

    known, unknown = decided_after(1000), decided_after(6000)

    assert outcomes(known) == [(1, MISSED), (2, MISSED), (3, MISSED), (4, MISSED), (5, FIRED)]
    assert outcomes(unknown) == [(second, MISSED) for second in range(1, 6)]
