"""A soak of one dyno, in short: it ..."""

from __future__ import annotations

import pytest

from lab.chaos import soak
from lab.chaos.report import soak_table


@pytest.mark.parametrize(
    ("seconds", "accepted"),
    [pytest.param(4, 80, id="4 seconds"), pytest.param(10, 200, id="10 seconds", marks=pytest.mark.slow)],
)
def test_says_what_all_of_haulier_takes_by_a_role_of_20_connections(folder, seconds, accepted):
    result = soak.soak(folder, minutes=seconds / 60, rate=50, every=seconds / 20, one_dyno=True)

    assert result["lost"] == result["stuck"] == result["not_answered"] == 0
    assert sum(result["ended"].values()) == result["accepted_jobs"] > accepted
    # The parent, gunicorn and its process, and the worker.
    assert 60e6 < result["peaks"]["rss_bytes"] < 512 * 1024 * 1024
    assert 3 <= result["peaks"]["connections"] <= 20
    assert "connections at most." in soak_table(result)
    assert {"dyno_rss_bytes", "connections"} <= set(result["verdicts"])
