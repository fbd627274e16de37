"""A run of the chaos suite, and a soak, is good only if all of it is: it ..."""

from __future__ import annotations

from typing import Any

from lab.chaos import one_dyno, soak
from lab.chaos.__main__ import is_good, kept_its_promises


def test_a_run_is_good_only_if_its_promises_held_and_its_targets_of_time_were_met():
    result = {
        "verdicts": {"lost": 0},
        "could_not_be_done": [],
        "targets": {"crash_to_restart_p99": {"met": True}, "database_back_to_api": {"met": True}},
    }
    broken: list[dict[str, Any]] = [{"verdicts": {"lost": 1}}, {"could_not_be_done": ["disk_full"]}]
    late = {"targets": {"crash_to_restart_p99": {"met": False}}}

    assert is_good(result)
    assert [wrong for wrong in [*broken, late] if is_good({**result, **wrong})] == []
    assert [kept_its_promises({**result, **wrong}) for wrong in [*broken, late]] == [False, False, True]


def test_a_soak_is_good_only_if_all_of_it_is():
    result: dict[str, Any] = {"asked_rate": 500.0, "rate": 499.0, "flat": True}
    result |= {"lost": 0, "stuck": 0, "not_answered": 0}
    result["peaks"] = one_dyno.peaks([{"dyno_rss_bytes": 536e6, "connections": 20}])
    too_many = [{"dyno_rss_bytes": 1e6, "connections": 21}, {"dyno_rss_bytes": 1e6, "connections": 3}]
    too_large = [{"dyno_rss_bytes": 540e6, "connections": 2}]
    wrong: list[dict[str, Any]] = [
        {"rate": 480.0},
        {"flat": False},
        {"lost": 1},
        {"stuck": 1},
        {"not_answered": 1},
        {"peaks": one_dyno.peaks(too_many)},
        {"peaks": one_dyno.peaks(too_large)},
    ]

    assert soak.is_good(result)
    assert [each for each in wrong if soak.is_good({**result, **each})] == []
