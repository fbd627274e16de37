"""The benchmark of a lone job beside many lanes, at a size that tells whether it measures. It ..."""

from __future__ import annotations

from lab.bench.contenders.haulier import Haulier
from lab.bench.lone_job import Point, measured


def test_measures_each_wait_alone_and_beside_other_lanes(bench):
    for point in (Point("paused", 3, "later"), Point("emptied", 3, "new")):
        alone, beside = measured(bench, Haulier("lone job"), point, jobs=4)

        # A job may start before its commit is answered, which counts as 0. One that never starts fails.
        assert 0 <= alone["p50_ms"] <= alone["max_ms"]
        assert 0 <= beside["p50_ms"] <= beside["max_ms"]
