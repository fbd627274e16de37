"""A soak of one dyno, in short: it ..."""

from __future__ import annotations

import pytest

from lab.chaos import soak
from lab.chaos.report import soak_table


@pytest.mark.timeout(240)
def test_says_what_all_of_haulier_takes_by_a_role_of_20_connections(folder):
    result = soak.soak(folder, minutes=10 / 60, rate=50, every=0.5, one_dyno=True)

    assert result["lost"] == result["stuck"] == result["not_answered"] == 0
    assert sum(result["ended"].values()) == result["accepted_jobs"] > 200
    # The parent, gunicorn and its process, and the worker.
    assert 60e6 < result["peaks"]["rss_bytes"] < 512 * 1024 * 1024
    assert 3 <= result["peaks"]["connections"] <= 20
    assert "connections at most." in soak_table(result)
    assert {"dyno_rss_bytes", "connections"} <= set(result["verdicts"])
