"""A run of the chaos suite, and a soak, is good only if all of it is: it ..."""

from __future__ import annotations

import pytest

from lab.chaos import one_dyno, soak
from lab.chaos.__main__ import is_good, kept_its_promises


@pytest.mark.parametrize(
    ("wrong", "has_kept"),
    [
        ({"verdicts": {"lost": 1}}, False),
        ({"could_not_be_done": ["disk_full"]}, False),
        ({"targets": {"crash_to_restart_p99": {"met": False}}}, True),
    ],
    ids=str,
)
def test_a_run_is_good_only_if_its_targets_of_time_were_met_too(wrong: dict[str, object], has_kept: bool):
    result = {
        "verdicts": {"lost": 0},
        "could_not_be_done": [],
        "targets": {"crash_to_restart_p99": {"met": True}, "database_back_to_api": {"met": True}},
    }

    assert is_good(result)
    assert not is_good({**result, **wrong})
    assert kept_its_promises({**result, **wrong}) == has_kept


@pytest.mark.parametrize(
    "wrong",
    [
        {"rate": 480.0},
        {"flat": False},
        {"lost": 1},
        {"stuck": 1},
        {"not_answered": 1},
        {
            "peaks": one_dyno.peaks(
                [{"dyno_rss_bytes": 1e6, "connections": 21}, {"dyno_rss_bytes": 1e6, "connections": 3}]
            )
        },
        {"peaks": one_dyno.peaks([{"dyno_rss_bytes": 540e6, "connections": 2}])},
    ],
    ids=str,
)
def test_a_soak_is_good_only_if_all_of_it_is(wrong: dict[str, object]):
    result = {"asked_rate": 500.0, "rate": 499.0, "flat": True, "lost": 0, "stuck": 0, "not_answered": 0}
    result["peaks"] = one_dyno.peaks([{"dyno_rss_bytes": 536e6, "connections": 20}])

    assert soak.is_good(result)
    assert not soak.is_good({**result, **wrong})
