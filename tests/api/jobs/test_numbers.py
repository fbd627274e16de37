"""A number that POST takes, in a payload or as a result: it comes back as that number, and POST takes it again."""

from __future__ import annotations

import json
from typing import Any
from uuid import uuid4

from flask.testing import FlaskClient
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from psycopg2.extensions import connection as Connection

from haulier.domain.claim import Fence, Settlement
from haulier.domain.outcome import Outcome
from haulier.queue import claims
from haulier.requests.strict_json import parse
from tests import queueing

EDGES = [
    *(str(sign * (2**bits) + off) for sign in (1, -1) for bits in (31, 53, 62) for off in (-1, 0, 1)),
    *(str(2**63 + off) for off in (-1, 0, 1)),
    *("18446744073709551615", "18446744073709551614", "-9223372036854775808", "-9223372036854775807"),
    *("18446744073709551616.0", "-9223372036854775809.0", "1e19", "-1e19", "1e20", "-1e20", "1e308", "5e-324"),
    *("1.7976931348623157e308", "-1.7976931348623157e308", "1e-400", "-0.0", "0.1", "1e22", "1e23"),
    "9007199254740993.0",
]
INTEGERS = st.integers(-(2**63), 2**64 - 1).map(str)
DOUBLES = st.floats(allow_nan=False, allow_infinity=False).map(repr)
WRITTEN_WITH_AN_EXPONENT = st.builds(
    "{}{}e{}".format, st.sampled_from(["", "-"]), st.integers(1, 99), st.integers(0, 306)
)

NUMBERS = st.one_of(INTEGERS, DOUBLES, WRITTEN_WITH_AN_EXPONENT, st.sampled_from(EDGES))


def same(first: list[Any], second: list[Any]) -> bool:
    """Return whether they are the same numbers: an integer to the last digit, any other as a double."""
    return len(first) == len(second) and all(
        one == other or (isinstance(one, float) and one == float(other))
        for one, other in zip(first, second, strict=True)
    )


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@example(written=EDGES)
@given(written=st.lists(NUMBERS, min_size=1, max_size=40))
def test_comes_back_as_it_was_sent_and_is_taken_again(
    client: FlaskClient, conn: Connection, written: list[str]
) -> None:
    def post(numbers: list[str]) -> str:
        body = (
            f'{{"kind": "webhook_delivery", "payload": {{"url": "https://a.example/", "body": [{",".join(numbers)}]}}}}'
        )
        answer = client.post("/jobs", data=body, content_type="application/json")
        assert answer.status_code == 201, answer.text
        return str(answer.json["id"])

    sent, job_id = parse(f"[{','.join(written)}]".encode()), post(written)
    worker = claims.register(conn, host="dock", pid=7, threads=8, queues=(), lease_seconds=600)
    # Completed with the body of its payload, as a worker reads it.
    for job in queueing.claim(conn, worker_id=worker, claim_id=uuid4(), queues=(), limit=100):
        assert claims.settle(conn, [Settlement(Fence.of(job), Outcome.complete(job.payload["body"]))])
    [listed] = [each for each in client.get("/jobs").json if each["id"] == job_id]
    got = client.get(f"/jobs/{job_id}")

    texts = json.loads(got.text, parse_int=str, parse_float=str)
    for numbers in (got.json["payload"]["body"], got.json["result"], listed["payload"]["body"], listed["result"]):
        assert same(sent, numbers)
    for texts_of in (texts["payload"]["body"], texts["result"]):
        assert post(texts_of)
