"""Histograms of durations: thirds of an octave, from which a percentile is right within 12 %."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

# Bucket b holds what lasts from 2^(b/3) to 2^((b+1)/3) ms. From 60 us, less than which no run takes, to 49 days.
LEAST_BUCKET, MOST_BUCKET = -12, 96
# A histogram is stored as a number: this many digits for each bucket, the last ones for LEAST_BUCKET. No bucket ever
# gets so many jobs that they overflow into the next.
DIGITS = 12
_RATIO = 2 ** (1 / 3)
# The value in a bucket that is wrong by the same share at both ends: 11.5 %. The middle, or an interpolation between
# the ends, would be wrong by more if all durations are near one of them.
_WITHIN = 2 * _RATIO / (1 + _RATIO)


_EMPTY = "0" * DIGITS


def unpacked(digits: str) -> dict[int, int]:
    """Return the buckets of a stored histogram, or of a sum of some, with how many durations are in each."""
    ends = range(len(digits), 0, -DIGITS)
    found = ((place, digits[max(0, end - DIGITS) : end]) for place, end in enumerate(ends, LEAST_BUCKET))
    # Most are empty, and of a page there are many.
    return {bucket: jobs for bucket, part in found if part != _EMPTY and (jobs := int(part))}


def begins_at(bucket: int) -> float:
    """Return the shortest duration of a bucket. Units: seconds."""
    return float(2 ** (bucket / 3)) / 1000


def percentile(buckets: Mapping[int, int], share: float) -> float | None:
    """Return what this share of the durations does not exceed, within 12 %; None if there are none.

    `buckets` maps a bucket to how many durations are in it. Units: the share is 0 to 1, the result in seconds.
    """
    return percentiles(buckets, [share])[0]


def percentiles(buckets: Mapping[int, int], shares: Sequence[float]) -> list[float | None]:
    """Return the percentile of each of these shares, which grow: see `percentile`."""
    wanted = [share * sum(buckets.values()) for share in shares]
    found: list[float | None] = []
    reached = 0
    for bucket in sorted(buckets):
        reached += buckets[bucket]
        while len(found) < len(wanted) and wanted[len(found)] <= reached:
            found.append(2 ** (bucket / 3) * _WITHIN / 1000)
    return found + [None] * (len(wanted) - len(found))
