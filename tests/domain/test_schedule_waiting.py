"""Why a schedule does not fire, and the preview of one: the reasons and the preview ..."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from haulier.domain.schedules.preview import FIRST, SECOND_TIME, SKIPPED, preview
from haulier.domain.schedules.schedule import Overlap, Refused, Rule, Schedule, timetable
from haulier.domain.schedules.schedule_waiting import ScheduleCode, Unfired
from tests.domain.changes import BERLIN, LORD_HOWE, NEW_YORK, utc

NOON = datetime(2026, 11, 28, 12, tzinfo=UTC)
JOB = UUID(int=7)
NOT_DUE, PAUSED, OVERLAP = ScheduleCode.NOT_DUE, ScheduleCode.PAUSED, ScheduleCode.OVERLAP
NO_WORKER, UNKNOWN = ScheduleCode.NO_WORKER, ScheduleCode.UNKNOWN


def at(minutes: float) -> datetime:
    return NOON + timedelta(minutes=minutes)


WAITS: dict[str, Any] = {
    "overlap": Overlap.QUEUE_ONE, "live_job": JOB, "pending_at": at(10), "decided_to": at(10),
}  # fmt: skip


def unfired(
    now: float = 5, *, looked_for: float = 10, live_job: UUID | None = None, workers: int = 2, **known: Any
) -> Unfired:
    """Return what is known, `now` minutes after noon, of a 10-minute schedule that last fired at noon."""
    of_rule = {name: known.pop(name) for name in ("overlap", "jitter_seconds", "time_zone") if name in known}
    rule = {"every_seconds": None if "cron" in known else 600, "cron": known.pop("cron", None), **of_rule}
    schedule = Schedule("nightly", Rule(job={}, **rule), **{"counts_from": at(-60), "decided_to": NOON, **known})
    return Unfired(schedule, at(now), at(looked_for), live_job, workers, keep=timedelta(days=30))


def codes(found: Unfired) -> list[str]:
    return [reason.code for reason in found.reasons()]


def test_before_its_time_are_that_it_is_not_due() -> None:
    [reason] = unfired().reasons()

    assert (reason.code, reason.until) == (NOT_DUE, at(10))


def test_include_the_jitter_that_firing_waits_for() -> None:
    # Of this name and tick, less than the ten minutes to the next one.
    found = unfired(10, jitter_seconds=600, looked_for=20)
    due = next(found.schedule.upcoming(NOON))
    assert due.at == at(10) < due.fires_at

    [reason] = found.reasons()

    assert (reason.code, reason.until) == (NOT_DUE, due.fires_at)


def test_name_a_pause_only_if_the_next_tick_falls_into_it() -> None:
    reasons = {None: [NOT_DUE, PAUSED], 11: [NOT_DUE, PAUSED], 10: [NOT_DUE], 9: [NOT_DUE]}

    assert {
        until: codes(unfired(paused_since=at(1), paused_until=None if until is None else at(until)))
        for until in reasons
    } == reasons


def test_name_a_pause_into_which_the_tick_falls_or_the_end_of_its_jitter() -> None:
    due = next(unfired(jitter_seconds=600).schedule.upcoming(NOON))
    between = due.at + (due.fires_at - due.at) / 2

    for paused in ((due.at, between), (between, None)):
        found = unfired(jitter_seconds=600, paused_since=paused[0], paused_until=paused[1])
        assert codes(found) == [NOT_DUE, PAUSED]


def test_say_since_when_and_until_when_it_is_paused() -> None:
    [_, reason] = unfired(paused_since=at(1), paused_until=at(30)).reasons()

    assert (reason.since, reason.until) == (at(1), at(30))


def test_name_a_live_job_if_its_overlap_is_not_allowed() -> None:
    assert codes(unfired(overlap=Overlap.ALLOW, live_job=JOB)) == [NOT_DUE]
    for overlap in (Overlap.SKIP, Overlap.QUEUE_ONE):
        assert codes(unfired(overlap=overlap, live_job=JOB)) == [NOT_DUE, OVERLAP]
        assert codes(unfired(overlap=overlap)) == [NOT_DUE]


def test_name_the_job_and_since_when_a_tick_waits_for_it() -> None:
    [_, reason] = unfired(15, looked_for=15.01, **WAITS).reasons()

    assert (reason.code, reason.since, reason.link) == (OVERLAP, at(10), f"/jobs/{JOB}")


def test_say_that_a_waiting_tick_is_skipped_while_its_schedule_is_paused() -> None:
    # The job keeps it; once it is paused, only the missing worker keeps it from being skipped.
    assert codes(unfired(15, workers=0, **WAITS)) == [NOT_DUE, OVERLAP]
    assert codes(unfired(15, workers=0, paused_since=at(14), **WAITS)) == [NOT_DUE, PAUSED, OVERLAP, NO_WORKER]


def test_are_none_when_it_becomes_due_and_later_unknown() -> None:
    assert codes(unfired(10.1)) == []
    assert codes(unfired(10.2, looked_for=10)) == [UNKNOWN]
    # Many ticks are being decided, in turns.
    assert codes(unfired(300, looked_for=299.99)) == []


def test_say_since_when_it_is_due_without_a_live_worker() -> None:
    [reason] = unfired(10.1, workers=0).reasons()

    assert (reason.code, reason.since, reason.link) == (NO_WORKER, at(10), "/workers")
    assert codes(unfired(9, workers=0)) == [NOT_DUE]


def test_say_that_there_is_no_further_tick_or_no_such_zone() -> None:
    ended = unfired(decided_to=datetime(9900, 1, 1, tzinfo=UTC))
    nowhere = unfired(cron="0 2 * * *", time_zone="Mars/Olympus")

    assert codes(ended) == [ScheduleCode.ENDED]
    [reason] = nowhere.reasons()
    assert (reason.code, "time_zone" in reason.message) == (ScheduleCode.UNUSABLE, True)


def test_say_that_the_database_refuses_its_job_and_when_it_is_tried_again() -> None:
    refused = Refused(at(10), 2, "no such customer", until=at(13))
    found = unfired(12, looked_for=13, refused=refused)

    [reason] = found.reasons()

    assert (reason.code, reason.since, reason.until) == (ScheduleCode.REFUSED, at(10), at(13))
    assert reason.message.endswith("2 times in a row and workers will try again: no such customer")
    # A pause skips its ticks, whatever the database says; and without workers nothing is tried.
    assert codes(unfired(12, looked_for=13, refused=refused, paused_since=at(11))) == [PAUSED]
    assert codes(unfired(12, looked_for=13, refused=refused, workers=0)) == [ScheduleCode.REFUSED, NO_WORKER]
    assert codes(unfired(13.2, looked_for=13, refused=refused)) == [ScheduleCode.REFUSED, UNKNOWN]


def test_say_that_the_clock_was_set_back_by_more_than_a_moment() -> None:
    assert codes(unfired(5, decided_to=at(20))) == [ScheduleCode.CLOCK_SET_BACK, NOT_DUE]
    assert codes(unfired(9.99, decided_to=at(10))) == [NOT_DUE]


# --- The preview


def notes(cron: str, zone: str, after: str, most: int) -> list[tuple[str, str | None]]:
    """Return what clocks show at each tick, without the date, and the note on it."""
    table = timetable(cron=cron, every_seconds=None, time_zone=zone)
    return [(each.local[11:16], each.note) for each in preview(table, utc(after), most)]


def test_says_of_a_time_that_is_skipped_when_it_fires():
    assert notes("30 2 * * *", BERLIN, "2026-03-28T12:00", 2) == [("03:00", SKIPPED), ("02:30", None)]
    assert notes("15 2 * * *", LORD_HOWE, "2026-10-03T10:00", 1) == [("02:30", SKIPPED)]


def test_says_nothing_of_a_time_that_is_meant_though_a_gap_ends_there():
    assert notes("0 3 * * *", BERLIN, "2026-03-28T12:00", 1) == [("03:00", None)]
    assert notes("30 2 * * *", LORD_HOWE, "2026-10-03T10:00", 1) == [("02:30", None)]
    assert notes("0 * * * *", BERLIN, "2026-03-29T00:30", 2) == [("03:00", None), ("04:00", None)]


def test_says_of_a_time_that_is_shown_twice_which_of_both_it_is():
    assert notes("30 1 * * *", NEW_YORK, "2026-11-01T00:00", 2) == [("01:30", FIRST), ("01:30", None)]
    assert notes("30 * * * *", NEW_YORK, "2026-11-01T05:00", 3) == [
        ("01:30", FIRST), ("01:30", SECOND_TIME), ("02:30", None),
    ]  # fmt: skip


def test_knows_no_clocks_if_seconds_are_counted():
    table = timetable(cron=None, every_seconds=1800, time_zone=BERLIN, counts_from=utc("2026-10-25T00:00"))

    assert {each.note for each in preview(table, utc("2026-10-25T00:00"), 5)} == {None}
