"""Large jobs, in the mixes that the measures `bytes` and `link` use."""

from __future__ import annotations

import base64
import os
from contextlib import closing
from dataclasses import dataclass

from lab.servers import connect

# The size of a payload; the API accepts 256 KiB.
BYTES = 250_000
KEPT_ERRORS = 20

FILL = """
    INSERT INTO haulier.job (kind, payload, attempts, max_attempts, errors)
    SELECT %(kind)s, {payload}, jsonb_array_length(former.errors), 1000, former.errors
    FROM generate_series(1, %(jobs)s) AS n
    CROSS JOIN (
        SELECT coalesce(jsonb_agg(jsonb_build_object('attempt', attempt, 'at', now(), 'error', error)), '[]') AS errors
        FROM generate_series(1, %(errors)s) AS attempt
        CROSS JOIN left(%(text)s, 4000) AS error
    ) AS former
"""

# SQL for the payload of job number n. RANDOM rotates the text by some letters for each job, so that no two are alike.
TINY = "jsonb_build_object('n', n, 'data', NULL)"
RANDOM = """
    jsonb_build_object('n', n, 'data', substr(%(text)s, n * 83 %% 240000 + 1) || left(%(text)s, n * 83 %% 240000))
"""
LETTER = "jsonb_build_object('n', n, 'data', repeat('x', %(bytes)s))"
# A constant, even the number in it: making one such value takes the server some ten milliseconds.
NESTED = """('{"n": 1, "data": [' || repeat('[],', %(bytes)s / 3 - 1) || '[]]}')::jsonb"""


def random_text(length: int) -> str:
    """Return text that cannot be compressed.

    In base64, which PostgreSQL soon gives up compressing. In hex it would find short matches all along, and take some
    ten milliseconds before it stores 250 KB uncompressed.
    """
    return base64.b64encode(os.urandom(length * 3 // 4)).decode()


@dataclass(frozen=True)
class Mix:
    """The kind, the payload, and how often each job has already failed, with an error of 4 KB each time."""

    kind: str = "heavy"
    payload: str = TINY
    errors: int = 0

    def fill(self, url: str, jobs: int) -> None:
        """Put such jobs into the table."""
        parameters = {
            "kind": self.kind,
            "jobs": jobs,
            "bytes": BYTES,
            "errors": self.errors,
            "text": random_text(BYTES),
        }
        with closing(connect(url)) as conn, conn.cursor() as cursor:
            cursor.execute(FILL.format(payload=self.payload), parameters)


RANDOM_TEXT = Mix(payload=RANDOM)
ONE_LETTER = Mix(payload=LETTER)
# In these two, a worker cannot tell the size of the next jobs from the jobs so far.
EVERY_OTHER = Mix(payload=f"CASE WHEN n %% 2 = 0 THEN {TINY} ELSE {RANDOM} END")
TINY_FIRST = Mix(payload=f"CASE WHEN n <= %(jobs)s / 2 THEN {TINY} ELSE {RANDOM} END")
LONG_RESULTS = Mix("long_result")
LONG_ERRORS = Mix("long_error", errors=KEPT_ERRORS)
NESTED_LISTS = Mix(payload=NESTED)
