"""POST /jobs: what is stored and answered, what is refused, what an idempotency key does, and numbers."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import requests
from flask.testing import FlaskClient
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from psycopg2.extensions import connection as Connection

from haulier.domain.claim import Fence, Settlement
from haulier.domain.outcome import Outcome
from haulier.queue import claims
from haulier.requests.strict_json import parse
from tests import queueing
from tests.http.answers import not_refused
from tests.web import EMAIL, Server

FIELDS = [
    *("id", "kind", "status", "attempts", "max_attempts", "last_error", "payload", "run_at", "created_at"),
    *("updated_at", "idempotency_key", "queue", "priority", "tags", "timeout_seconds", "cancel_requested"),
    *("started_at", "finished_at", "copy_of", "result", "errors", "progress", "worker_id", "schedule"),
    "scheduled_for",
]
# Of a new job.
NULL = {"last_error", "idempotency_key", "timeout_seconds", "started_at", "finished_at", "copy_of", "result"}
NULL |= {"progress", "worker_id", "schedule", "scheduled_for"}


Json = dict[str, Any]


OPTIONAL = ("max_attempts", "idempotency_key", "queue", "priority", "run_at", "delay_seconds", "timeout_seconds")


def test_it_answers_201_with_the_job_and_a_relative_location(client: FlaskClient, email: Json) -> None:
    nulls = {**email, **dict.fromkeys(OPTIONAL), "tags": None, "payload": {**email["payload"], "html": None}}
    for request in (email, nulls):
        answer = client.post("/jobs", json=request)

        job = answer.json
        assert (answer.status_code, list(job)) == (201, FIELDS)
        assert answer.headers["Location"] == f"/jobs/{job['id']}"
        assert client.get(answer.headers["Location"]).json == job
        assert (job["status"], job["attempts"], job["max_attempts"]) == ("queued", 0, 3)
        assert (job["queue"], job["priority"], job["errors"], job["tags"]) == ("default", 0, [], [])
        assert job["cancel_requested"] is False
        assert {name for name in FIELDS if job[name] is None} == NULL


def test_it_stores_every_option(client: FlaskClient, email: Json) -> None:
    options = {"max_attempts": 7, "queue": "mail.high-1", "priority": -100, "timeout_seconds": 86_400}
    options["tags"] = ["vip", "größe 😀", "x" * 64]

    job = client.post("/jobs", json={**email, **options, "idempotency_key": "k"}).json

    assert {name: job[name] for name in options} == options
    assert job["idempotency_key"] == "k"


def test_the_payload_is_kept_as_it_was_given(client: FlaskClient) -> None:
    payload = {"text": "Grüße. \N{DELIVERY TRUCK} \\u0000 'quoted' %s %(x)s", "language": None}
    body = json.dumps({"kind": "summarize_text", "payload": payload}, ensure_ascii=False).encode()
    for content_type in ("application/json", "application/json; charset=UTF-8", "Application/JSON"):
        answer = client.post("/jobs", data=body, content_type=content_type)

        assert (answer.status_code, client.get(answer.headers["Location"]).json["payload"]) == (201, payload)


def test_run_at_is_stored_in_utc_and_never_before_now(client: FlaskClient, email: Json) -> None:
    stored = {
        "2031-01-02T03:04:05.678901Z": "2031-01-02T03:04:05.678901Z",
        "2031-01-02t04:04:05.678901+01:00": "2031-01-02T03:04:05.678901Z",
        "2031-01-01T21:04:05.678901-06:00": "2031-01-02T03:04:05.678901Z",
        # A leap second is the next one.
        "2030-12-31T23:59:60Z": "2031-01-01T00:00:00.000000Z",
    }
    past = ["1000-01-01T00:00:00Z", "1969-07-20T20:17:40Z", "2026-01-01T00:00:00+14:00"]

    jobs = {run_at: client.post("/jobs", json={**email, "run_at": run_at}).json for run_at in (*stored, *past)}

    assert {run_at: jobs[run_at]["run_at"] for run_at in stored} == stored
    assert [run_at for run_at in past if jobs[run_at]["run_at"] != jobs[run_at]["created_at"]] == []


def test_delay_seconds_counts_from_the_databases_now(client: FlaskClient, email: Json) -> None:
    for seconds in (0, 0.5, 60, 31_536_000):
        job = client.post("/jobs", json={**email, "delay_seconds": seconds}).json

        waits = datetime.fromisoformat(job["run_at"]) - datetime.fromisoformat(job["created_at"])
        assert waits == timedelta(seconds=seconds)
        assert abs(datetime.fromisoformat(job["created_at"]) - datetime.now(UTC)) < timedelta(minutes=5)


def test_takes_a_payload_of_256_kib_and_not_one_byte_more(client: FlaskClient, count_jobs: Callable[[], int]) -> None:
    frame = len('{"text":""}')
    fits, does_not = ({"text": "x" * (262_144 - frame + more)} for more in (0, 1))

    taken = client.post("/jobs", json={"kind": "summarize_text", "payload": fits})
    refused = client.post("/jobs", json={"kind": "summarize_text", "payload": does_not})

    assert taken.status_code == 201
    assert (refused.status_code, refused.json["error"]) == (413, "too_large")
    assert "payload" in refused.json["message"]
    assert count_jobs() == 1


TEXT = json.dumps(EMAIL)

# What a field may not be.
VALUES: list[tuple[str, Any]] = [
    *(("kind", value) for value in ("send_fax", ["send_email"], None)),
    *(("payload", value) for value in (None, [1], {})),
    *(("max_attempts", value) for value in (0, 1001, 10**9, "5", 2.9, True)),
    *(("priority", value) for value in (-101, 101, "x")),
    *(("timeout_seconds", value) for value in (0, 86_401)),
    *(("queue", value) for value in ("Mail", "mail\n", "q" * 65)),
    *(("idempotency_key", value) for value in ("", "k" * 256, "schlüssel", 5)),
    # They are counted before each is looked at.
    *(("tags", value) for value in ("vip", [str(n) for n in range(11)], [7] * 100_000)),
    ("tags.1", ["a", 7]),
    ("tags.0", [None]),
    ("tags.3", ["a", "b", "c", ""]),
    ("tags.0", ["t" * 65]),
    ("tags.0", ["t" * 64 + "\n"]),
    ("tags.2", ["a", "b", "a"]),
    *(("run_at", value) for value in ("2030-01-01T00:00:00", "2030-01-01", "2030-01-01T00:00:00Z\n", 1893456000)),
    # Outside the years that there are, also only in UTC; a day that there is not; an offset that there is not.
    *(("run_at", f"{value}:00") for value in ("10000-01-01T00:00:00+00", "9999-12-31T23:59:59-12")),
    *(("run_at", f"{value}:00") for value in ("0001-01-01T00:00:00+12", "2030-02-30T00:00:00+00")),
    ("run_at", "2030-01-01T00:00:00+99:00"),
    *(("delay_seconds", value) for value in (-1, 31_536_001, "60", True)),
    # Names that there are not.
    ("prio", 1),
    ("Priority", 1),
]
PAYLOADS: list[tuple[str, Any]] = [
    ("payload.colour", {"colour": "red"}),
    ("payload.subject", {"subject": 5}),
    ("payload.to", {"to": "a@b.c\nBcc: x@y.z"}),
]
INVALID = [
    *((json.dumps({**EMAIL, place.split(".")[0]: value}), place) for place, value in VALUES),
    *((json.dumps({**EMAIL, "payload": {**EMAIL["payload"], **more}}), place) for place, more in PAYLOADS),
    (json.dumps({"payload": {}}), "kind"),
    (json.dumps({"kind": "send_email"}), "payload"),
    (json.dumps({**EMAIL, "run_at": "2030-01-01T00:00:00Z", "delay_seconds": 1}), "delay_seconds"),
    *((text, "_schema") for text in ("[]", "5", "null")),
]
# tests/requests/test_strict_json.py has all that is malformed.
MALFORMED = {
    b"": "is not JSON",
    TEXT[:-1].encode(): "is not JSON",
    TEXT.replace("Hello.", "Gr\xfc\xdfe.").encode("latin-1"): "UTF-8",
    TEXT.replace('"send_email"', "NaN").encode(): "at kind",
    TEXT.replace("Hello.", "\\u0000").encode(): "at payload.body",
    TEXT.replace('"to":', '"to": "x@y.z", "to":').encode(): "at payload",
    b"[" * 100_000: "64 levels",
}


def post_text(client: FlaskClient, body: str | bytes) -> Any:
    return client.post("/jobs", data=body, content_type="application/json")


def test_answers_422_and_names_the_field_that_does_not_fit(client: FlaskClient, count_jobs: Callable[[], int]) -> None:
    assert not_refused(lambda body: post_text(client, body), INVALID) == []
    assert "kind" in post_text(client, INVALID[0][0]).json["message"]
    assert count_jobs() == 0


def test_answers_400_and_says_where_a_body_is_malformed(client: FlaskClient, count_jobs: Callable[[], int]) -> None:
    answers = {body: post_text(client, body) for body in MALFORMED}

    assert {answer.status_code for answer in answers.values()} == {400}
    for body, answer in answers.items():
        assert answer.json.keys() == {"error", "message", "request_id"}
        assert (answer.json["error"], MALFORMED[body] in answer.json["message"]) == ("malformed", True), answer.json
    assert count_jobs() == 0


def test_names_the_known_kinds_when_it_refuses_another_however_long(client: FlaskClient) -> None:
    answer, long = (client.post("/jobs", json={"kind": kind, "payload": {}}) for kind in ("send_fax", "x" * 500_000))

    [sentence] = answer.json["details"]["kind"]
    assert "'send_fax'" in sentence
    assert "send_email, summarize_text" in sentence
    assert (long.status_code, len(long.data) < 1000) == (422, True)


def test_names_every_fault_in_one_answer(client: FlaskClient) -> None:
    answer = client.post("/jobs", json={"kind": "send_email", "payload": {"to": 5}, "priority": "x", "nope": 1})

    assert set(answer.json["details"]) == {"payload", "priority", "nope"}
    assert set(answer.json["details"]["payload"]) == {"to", "subject", "body"}


def test_answers_415_to_another_content_type(client: FlaskClient) -> None:
    types = ["text/plain", "application/x-www-form-urlencoded", "application/x-ndjson", "nonsense"]
    headers = [{"Content-Type": each} for each in (*types, "application/json; charset=latin-1")]
    for each in ({}, {"Content-Type": "application/json", "Content-Encoding": "gzip"}, *headers):
        answer = client.post("/jobs", data=TEXT, headers=each)

        assert (answer.status_code, answer.json["error"]) == (415, "unsupported_media_type"), each
        assert "application/json" in answer.json["message"]


def test_refuses_an_idempotency_header_though_the_body_has_a_good_key(
    client: FlaskClient, count_jobs: Callable[[], int]
) -> None:
    keyed = {**EMAIL, "idempotency_key": "good"}
    rows = [(key, "Idempotency-Key") for key in ("", '""', "k" * 256)]

    assert not_refused(lambda key: client.post("/jobs", json=keyed, headers={"Idempotency-Key": key}), rows) == []
    assert count_jobs() == 0


def post(client: FlaskClient, request: Json, key: str | None = None) -> Any:
    return client.post("/jobs", json=request, headers={} if key is None else {"Idempotency-Key": key})


def test_the_same_key_and_request_give_the_first_job(
    client: FlaskClient, email: Json, count_jobs: Callable[[], int]
) -> None:
    first = post(client, email, "k")

    again = post(client, email, "k")

    assert (first.status_code, again.status_code) == (201, 200)
    assert (again.json, again.headers["Location"]) == (first.json, first.headers["Location"])
    assert again.headers["Idempotent-Replayed"] == "true"
    assert "Idempotent-Replayed" not in first.headers
    assert count_jobs() == 1
    assert [post(client, email).status_code for _ in range(2)] == [201, 201]
    assert count_jobs() == 3


def test_requests_are_compared_after_defaults(client: FlaskClient) -> None:
    equal: list[tuple[Json, Json]] = [
        ({}, {"max_attempts": 3}),
        ({"queue": None}, {"queue": "default", "priority": 0}),
        ({"payload": {"text": "Hi."}}, {"payload": {"text": "Hi.", "sentences": 3}}),
        ({"payload": {"text": "Hi.", "language": None}}, {"payload": {"text": "Hi."}}),
        ({"run_at": "2031-01-01T00:00:00Z"}, {"run_at": "2031-01-01T02:00:00.000+02:00"}),
        ({"priority": 2}, {"priority": 2.0}),
        ({"tags": []}, {"tags": None}),
        ({"tags": ["a", "b"]}, {"tags": ["b", "a"]}),
    ]
    text = {"kind": "summarize_text", "payload": {"text": "Hi."}}
    for number, pair in enumerate(equal):
        answers = [post(client, {**text, **more}, f"k{number}") for more in pair]

        assert [answer.status_code for answer in answers] == [201, 200], pair


def test_the_same_key_for_another_request_is_422(
    client: FlaskClient, email: Json, count_jobs: Callable[[], int]
) -> None:
    others: list[Json] = [
        {"priority": 1},
        {"max_attempts": 4},
        {"queue": "other"},
        {"timeout_seconds": 5},
        {"tags": ["vip"]},
        {"delay_seconds": 5},
        {"run_at": "2031-01-01T00:00:00Z"},
        {"payload": {"to": "a@b.c", "subject": "Hi", "body": "Goodbye."}},
        {"kind": "summarize_text", "payload": {"text": "Hi."}},
    ]
    # What does not fit takes no key.
    assert [post(client, each, "k").status_code for each in ({**email, "priority": "x"}, email)] == [422, 201]

    rows = [({**email, **other}, "idempotency_key") for other in others]

    assert not_refused(lambda request: post(client, request, "k"), rows, (422, "idempotency_mismatch")) == []
    assert count_jobs() == 1


def test_the_header_goes_before_the_body_without_one_pair_of_quotes(client: FlaskClient, email: Json) -> None:
    first = post(client, {**email, "idempotency_key": "body"}, '"abc"')

    by_header, by_body = post(client, email, "abc"), post(client, {**email, "idempotency_key": "abc"})
    others = [post(client, {**email, "idempotency_key": "body"}), post(client, email, '""abc""')]

    assert first.json["idempotency_key"] == "abc"
    assert by_header.json["id"] == by_body.json["id"] == first.json["id"]
    assert [(each.status_code, each.json["idempotency_key"]) for each in others] == [(201, "body"), (201, '"abc"')]


def test_a_replay_gives_the_job_as_it_is_now_unless_deleted(client: FlaskClient, email: Json) -> None:
    job = post(client, email, "k").headers["Location"]
    client.post(f"{job}/cancel")
    cancelled = post(client, email, "k")
    client.delete(job)
    deleted = post(client, email, "k")

    assert (cancelled.status_code, cancelled.json["status"]) == (200, "cancelled")
    assert (deleted.status_code, deleted.json["error"]) == (409, "conflict")


def test_fifty_posts_at_once_with_one_key_make_one_job(
    server: Server, email: Json, count_jobs: Callable[[], int]
) -> None:
    start = threading.Barrier(50)

    def post_once(_: int) -> requests.Response:
        start.wait()
        return requests.post(f"{server.url}/jobs", json=email, headers={"Idempotency-Key": "k"}, timeout=30)

    with ThreadPoolExecutor(50) as threads:
        answers = list(threads.map(post_once, range(50)))

    assert Counter(answer.status_code for answer in answers) == {201: 1, 200: 49}
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert count_jobs() == 1


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
