"""Percentiles of a histogram: they ..."""

from __future__ import annotations

import math

import pytest

from haulier.domain.histogram import DIGITS, LEAST_BUCKET, MOST_BUCKET, percentile, percentiles, unpacked


def bucket_of(seconds: float) -> int:
    return math.floor(3 * math.log2(1000 * seconds))


def test_are_within_12_percent_of_a_duration_anywhere_in_its_bucket():
    for exponent in range(-40, 200, 7):
        seconds = 0.001 * 2 ** (exponent / 10)
        shares = [percentile({bucket_of(seconds): 9}, share) for share in (0.5, 0.95, 1.0)]
        assert shares == [pytest.approx(seconds, rel=0.12)] * 3


def test_are_the_duration_of_the_job_at_their_place():
    buckets = {bucket_of(0.01): 90, bucket_of(1.0): 9, bucket_of(100.0): 1}

    found = percentiles(buckets, [0.5, 0.9, 0.91, 0.99, 0.995])

    assert found == [pytest.approx(true, rel=0.12) for true in (0.01, 0.01, 1.0, 1.0, 100.0)]
    assert percentile({}, 0.5) is None


def test_have_buckets_from_microseconds_to_weeks():
    assert (bucket_of(0.0000626), bucket_of(86_400 * 49)) == (LEAST_BUCKET, MOST_BUCKET - 1)


def test_are_unpacked_from_their_numbers_and_from_sums_of_them():
    most = 10**DIGITS - 1
    for buckets in ({}, {LEAST_BUCKET: 1}, {0: 7, 1: 1}, {LEAST_BUCKET: most, 3: 20, MOST_BUCKET: most}):
        packed = [jobs * 10 ** (DIGITS * (bucket - LEAST_BUCKET)) for bucket, jobs in buckets.items()]
        assert unpacked(str(sum(packed))) == buckets
