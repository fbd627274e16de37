"""Cron: it fires at the times that were worked out by hand, and at those of a walk over all minutes. It ..."""

from __future__ import annotations

import re
from datetime import date, datetime, timedelta
from itertools import islice, pairwise, takewhile
from zoneinfo import ZoneInfo

from hypothesis import given, settings
from hypothesis import strategies as some

from haulier.domain.schedules.cron import MAX_CRON, NAMED, Cron, InvalidCron, parse_cron
from haulier.domain.schedules.time_zone import UnknownZone, zone, zone_names
from tests.domain.changes import BEIRUT, BERLIN, CHANGES, LORD_HOWE, NEW_YORK, SANTIAGO, Change, utc

MINUTE, DAY = timedelta(minutes=1), timedelta(days=1)
NAMES_OF_ZONES = sorted({change.zone for change in CHANGES})


def ticks(text: str, name: str, start: datetime, end: datetime) -> list[datetime]:
    """Return the ticks after start and up to end."""
    return list(takewhile(lambda at: at <= end, parse_cron(text).ticks(start, zone(name))))


def wall(at: datetime, where: ZoneInfo) -> datetime:
    """Return what clocks show at an instant: a naive time."""
    return at.astimezone(where).replace(tzinfo=None, fold=0)


def of_day(text: str, name: str, day: str) -> list[datetime]:
    """Return the ticks on the day that the clock shows."""
    middle, wanted, where = utc(day), date.fromisoformat(day), zone(name)
    return [at for at in ticks(text, name, middle - 2 * DAY, middle + 3 * DAY) if wall(at, where).date() == wanted]


def as_computed(change: Change) -> Change:
    """Return the change with what the five expressions come to on its day."""

    def times(text: str) -> str:
        return " ".join(f"{at:%Y-%m-%dT%H:%M}" for at in of_day(text, change.zone, change.day))

    def count(text: str) -> int:
        return len(of_day(text, change.zone, change.day))

    return change._replace(
        half_past_two=times("30 2 * * *"),
        midnight=times("0 0 * * *"),
        hours=count("0 * * * *"),
        quarters=count("*/15 * * * *"),
        twice=count("15,45 * * * *"),
    )


def test_fires_where_clocks_are_changed_as_worked_out_by_hand():
    assert [as_computed(change) for change in CHANGES] == list(CHANGES)


def test_fires_once_if_several_times_end_in_one_gap_or_a_gap_ends_at_one():
    assert of_day("*/15 2 * * *", BERLIN, "2026-03-29") == [utc("2026-03-29T01:00")]
    assert of_day("30 2,3 * * *", BERLIN, "2026-03-29") == [utc("2026-03-29T01:00"), utc("2026-03-29T01:30")]
    assert of_day("15 2 * * *", LORD_HOWE, "2026-10-04") == [utc("2026-10-03T15:30")]
    assert of_day("15,30 2 * * *", LORD_HOWE, "2026-10-04") == [utc("2026-10-03T15:30")]


def test_fires_the_first_time_if_a_time_comes_twice():
    assert of_day("45 1 * * *", LORD_HOWE, "2026-04-05") == [utc("2026-04-04T14:45")]
    assert of_day("30 23 * * *", SANTIAGO, "2026-04-04") == [utc("2026-04-05T02:30")]
    assert of_day("30 23 * * *", BEIRUT, "2026-10-24") == [utc("2026-10-24T20:30")]
    assert of_day("0 */2 * * *", BERLIN, "2026-10-25") == [
        utc("2026-10-24T22:00"),
        utc("2026-10-25T00:00"),
        *(utc(f"2026-10-25T{hour:02}:00") for hour in range(3, 23, 2)),
    ]


def test_goes_on_from_within_an_hour_that_comes_twice():
    where = zone(NEW_YORK)

    def first(text: str, after: str) -> datetime:
        return next(parse_cron(text).ticks(utc(after), where))

    # 1:30 is shown at 5:30 and at 6:30.
    assert first("30 1 * * *", "2026-11-01T05:29") == utc("2026-11-01T05:30")
    assert first("30 1 * * *", "2026-11-01T05:30") == utc("2026-11-02T06:30")
    assert first("30 1 * * *", "2026-11-01T06:10") == utc("2026-11-02T06:30")
    assert first("30 * * * *", "2026-11-01T05:30") == utc("2026-11-01T06:30")
    assert first("30 * * * *", "2026-11-01T06:00") == utc("2026-11-01T06:30")


def test_fires_on_leap_days_at_the_end_of_the_year_and_on_last_and_nth_days():
    def first_four(text: str) -> list[str]:
        found = islice(parse_cron(text).ticks(utc("2026-01-01"), zone("UTC")), 4)
        return [f"{at:%Y-%m-%d %H:%M}" for at in found]

    assert first_four("0 0 29 2 *") == ["2028-02-29 00:00", "2032-02-29 00:00", "2036-02-29 00:00", "2040-02-29 00:00"]
    assert first_four("59 * 31 12 *")[:2] == ["2026-12-31 00:59", "2026-12-31 01:59"]
    assert first_four("0 * 29 2 *")[:2] == ["2028-02-29 00:00", "2028-02-29 01:00"]
    assert first_four("0 6 L * *") == ["2026-01-31 06:00", "2026-02-28 06:00", "2026-03-31 06:00", "2026-04-30 06:00"]
    assert first_four("0 6 LW 1-2 *")[:2] == ["2026-01-30 06:00", "2026-02-27 06:00"]
    assert first_four("0 6 * * FRI#2")[:2] == ["2026-01-09 06:00", "2026-02-13 06:00"]
    assert first_four("0 6 * * 5L")[:2] == ["2026-01-30 06:00", "2026-02-27 06:00"]
    assert first_four("0 6 1,15 * mon") == [*(f"2026-01-{day} 06:00" for day in ("01", "05", "12", "15"))]
    assert first_four("@yearly") == first_four("0 0 1 1 *")


def test_fires_at_the_turn_of_the_year_by_the_clock_of_the_zone():
    assert ticks("59 23 31 12 *", "Pacific/Kiritimati", utc("2026-01-01"), utc("2027-01-01")) == [
        utc("2026-12-31T09:59")
    ]
    assert ticks("0 0 1 1 *", "America/Los_Angeles", utc("2026-06-01"), utc("2027-06-01")) == [utc("2027-01-01T08:00")]


def fits(text: str, shown: datetime) -> bool:
    """Tell, without cronsim, whether the time fits an expression of numbers, lists, steps and stars."""
    minute, hour, day, month, weekday = text.split()
    return (
        _fits(minute, shown.minute)
        and _fits(hour, shown.hour)
        and _fits(day, shown.day)
        and _fits(month, shown.month)
        and _fits(weekday, shown.isoweekday() % 7)
    )


def _fits(part: str, value: int) -> bool:
    if part == "*":
        return True
    if part.startswith("*/"):
        return value % int(part[2:]) == 0
    return value in map(int, part.split(","))


def walked(text: str, name: str, start: datetime, end: datetime) -> list[datetime]:
    """Return the ticks from start to end, found by looking at every minute.

    The clock's highest reading so far says whether a time is new. For times that a change skips, the end of the gap is
    the first minute that is later.
    """
    where, found, at = zone(name), [], start
    highest = wall(at, where)
    while (at := at + MINUTE) <= end:
        shown = wall(at, where)
        if text.split()[1] in ("*", "*/1"):
            if fits(text, shown):
                found.append(at)
        elif shown > highest:
            skipped = range(1, (shown - highest) // MINUTE + 1)
            if any(fits(text, highest + number * MINUTE) for number in skipped):
                found.append(at)
        highest = max(highest, shown)
    return found


EXPRESSIONS = (
    "30 2 * * *", "0 0 * * *", "0 * * * *", "*/15 * * * *", "*/15 2 * * *", "0 */2 * * *", "45 1 * * *", "*/7 23 * * *",
    "0,59 0,1,3 * * *", "30 * * * 0", "5 1,2 * * 0,6", "15 * 1,15,29 * *",
    "*/30 */1 * * *",
)  # fmt: skip


def test_fires_at_each_minute_that_a_walk_over_the_changes_finds():
    wrong = []
    for change in CHANGES:
        start, end = utc(change.day) - DAY, utc(change.day) + 2 * DAY
        for text in EXPRESSIONS:
            fired, expected = (look(text, change.zone, start, end) for look in (ticks, walked))
            if fired != expected:
                wrong.append((text, change.zone, change.day, fired, expected))

    assert wrong == []


PARTS = [
    some.sampled_from(["*", "0", "30", "*/15", "5,59", "*/7"]),
    some.sampled_from(["*", "2", "0", "1,2,3", "*/2", "23"]),
    some.sampled_from(["*", "1", "29", "31", "*/2"]),
    some.sampled_from(["*", "3", "10,11", "2"]),
    some.sampled_from(["*", "0", "1,5"]),
]
expressions = some.tuples(*PARTS).map(" ".join).filter(lambda text: "31 2 " not in text)
instants = some.integers(0, 15 * 365 * 86_400).map(lambda seconds: utc("2020-01-01") + timedelta(seconds=seconds))


@settings(max_examples=100, deadline=None)
@given(expressions, some.sampled_from(NAMES_OF_ZONES), instants)
def test_fires_in_order_and_the_same_from_wherever_it_starts(text, name, start):
    cron, where = parse_cron(text), zone(name)

    found = list(islice(cron.ticks(start, where), 6))

    assert start < found[0]
    assert all(before < after for before, after in pairwise(found))
    for before, after in pairwise(found):
        assert next(cron.ticks(before, where)) == after
        assert next(cron.ticks(after - timedelta(microseconds=1), where)) == after


NO_CRON = (
    "", "* * * *", "* * * * * *", "0 0 0 * * *", "60 * * * *", "* 24 * * *", "* * 0 * *", "* * * 13 *", "* * * * 8",
    "0 0 ? * *", "0 0 15W * *", "0 0 W * *", "0 0 30 2 *", "0 0 31 2,4 *", "0 0 */30 2 MON#5", "5-1 * * * *",
    "*/0 * * * *", "@reboot", "@every 5m", "@", "@DAILY ", "a b c d e", "* * * * MON-", "1,,2 * * * *", "²L * * * *",
    "* * * * ²L", "0 0 * * L", "0 0 * * 1#6", "-1 * * * *", "0\x000 * * * *", "* * * * *; DROP", "1 " * 100,
    "9" * MAX_CRON + "9",
)  # fmt: skip


def refusal(text: str) -> str | None:
    try:
        parse_cron(text)
    except InvalidCron as error:
        return str(error)
    return None


def test_refuses_in_one_sentence_what_is_no_expression_or_never_fires():
    refusals = {text: refusal(text) for text in NO_CRON}

    assert {text: found for text, found in refusals.items() if not re.fullmatch(r"[^\n]+\.", found or "")} == {}


@settings(deadline=None)
@given(some.text("0123456789*,/-#LW@?ABCMONFEB ", max_size=30))
def test_reads_or_refuses_any_text_and_raises_nothing_else(text):
    try:
        cron = parse_cron(text)
    except InvalidCron:
        return
    assert next(cron.ticks(utc("2026-01-01"), zone(BERLIN))) > utc("2026-01-01")


def test_keeps_an_expression_as_it_was_written_but_for_spaces():
    assert parse_cron("  0\t2 * *  mon ") == Cron("0 2 * * mon", "0 2 * * mon")
    assert parse_cron("@daily").text == "@daily"
    assert len(NAMED) == 7


def is_known(name: str) -> bool:
    try:
        zone(name)
    except UnknownZone:
        return False
    return True


def test_knows_no_zone_that_the_package_lacks():
    names = ["", "Mars/Olympus", "europe/berlin", "../UTC", "/etc/localtime", "Europe/", "Europe", "x" * 999]

    assert [name for name in names if is_known(name)] == []


def test_reads_every_zone_without_the_system_or_a_change_that_the_process_shares():
    import zoneinfo

    assert len(zone_names()) > 400
    for name in zone_names():
        assert next(parse_cron("0 0 * * *").ticks(utc("2026-11-27"), zone(name))) > utc("2026-11-27")
    assert zone(BERLIN).key == BERLIN
    assert zone(BERLIN) is not zoneinfo.ZoneInfo(BERLIN)
    assert zoneinfo.TZPATH
