"""The preview of a schedule: it ..."""

from __future__ import annotations

from haulier.domain.schedules.preview import FIRST, SECOND_TIME, SKIPPED, preview
from haulier.domain.schedules.schedule import timetable
from tests.domain.changes import BERLIN, LORD_HOWE, NEW_YORK, utc


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
