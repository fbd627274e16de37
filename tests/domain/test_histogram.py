"""Percentiles of a histogram: they ..."""

from __future__ import annotations

import math

import pytest

from haulier.domain.histogram import DIGITS, LEAST_BUCKET, MOST_BUCKET, percentile, percentiles, unpacked


def bucket_of(seconds: float) -> int:
    return math.floor(3 * math.log2(1000 * seconds))


@pytest.mark.parametrize("share", [0.5, 0.95, 0.99, 1.0])
def test_are_within_12_percent_of_a_duration_anywhere_in_its_bucket(share):
    for exponent in range(-40, 200, 7):
        seconds = 0.001 * 2 ** (exponent / 10)

        assert percentile({bucket_of(seconds): 9}, share) == pytest.approx(seconds, rel=0.12)


def test_are_those_of_the_job_at_their_place():
    buckets = {bucket_of(0.01): 90, bucket_of(1.0): 9, bucket_of(100.0): 1}

    found = percentiles(buckets, [0.5, 0.9, 0.91, 0.99, 0.995])

    assert found == [pytest.approx(true, rel=0.12) for true in (0.01, 0.01, 1.0, 1.0, 100.0)]


def test_of_nothing_there_are_none():
    assert percentile({}, 0.5) is None


def test_the_range_of_buckets_reaches_from_microseconds_to_weeks():
    assert (bucket_of(0.0000626), bucket_of(86_400 * 49)) == (LEAST_BUCKET, MOST_BUCKET - 1)


@pytest.mark.parametrize(
    "buckets",
    [{}, {LEAST_BUCKET: 1}, {0: 7, 1: 1}, {LEAST_BUCKET: 10**DIGITS - 1, 3: 20, MOST_BUCKET: 10**DIGITS - 1}],
)
def test_are_unpacked_from_their_numbers_and_from_the_sums_of_these(buckets):
    packed = [jobs * 10 ** (DIGITS * (bucket - LEAST_BUCKET)) for bucket, jobs in buckets.items()]

    assert unpacked(str(sum(packed))) == buckets
