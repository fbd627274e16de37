"""POST /jobs/batch: arrays and lines, all or nothing, or each by itself."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from flask.testing import FlaskClient

from app.api.schemas.response_schemas import BatchOutcomes, BatchResponse
from tests.http.answers import not_refused
from tests.web import EMAIL

NDJSON = "application/x-ndjson"


def lines(*items: Any) -> bytes:
    return b"".join(json.dumps(item).encode() + b"\n" for item in items)


def test_an_array_is_stored_in_its_order(client: FlaskClient, count_jobs: Callable[[], int]) -> None:
    answer = client.post("/jobs/batch", json=[{**EMAIL, "priority": n} for n in range(5)])

    assert answer.status_code == 201
    assert (answer.json["created"], answer.json["replayed"]) == (5, 0)
    assert [job["index"] for job in answer.json["jobs"]] == list(range(5))
    priorities = [client.get(f"/jobs/{job['id']}").json["priority"] for job in answer.json["jobs"]]
    assert priorities == list(range(5))
    assert count_jobs() == 5


def test_lines_are_stored_blank_ones_left_out(client: FlaskClient, count_jobs: Callable[[], int]) -> None:
    body = b"\n" + lines(EMAIL) + b"\r\n" + lines(EMAIL).rstrip()

    answer = client.post("/jobs/batch", data=body, content_type=NDJSON)

    assert (answer.status_code, answer.json["created"]) == (201, 2)
    assert count_jobs() == 2


def test_the_jobs_have_their_tags(client: FlaskClient) -> None:
    items = [{**EMAIL, "tags": ["vip", "a\tb"]}, EMAIL]
    for content_type, body in (("application/json", json.dumps(items)), (NDJSON, lines(*items))):
        answer = client.post("/jobs/batch", data=body, content_type=content_type)

        ids = [job["id"] for job in answer.json["jobs"]]
        assert [client.get(f"/jobs/{job_id}").json["tags"] for job_id in ids] == [["vip", "a\tb"], []]


def test_a_bad_item_leaves_nothing_stored_and_is_named_by_its_index(
    client: FlaskClient, count_jobs: Callable[[], int]
) -> None:
    answer = client.post("/jobs/batch", json=[EMAIL, 5, {"kind": "send_email", "payload": {"to": 1}}, EMAIL])

    assert (answer.status_code, answer.json["error"]) == (422, "validation")
    assert set(answer.json["details"]) == {"1", "2"}
    assert set(answer.json["details"]["2"]["payload"]) == {"to", "subject", "body"}
    assert count_jobs() == 0


def test_not_atomic_each_has_an_outcome_of_its_own(client: FlaskClient, count_jobs: Callable[[], int]) -> None:
    known = {**EMAIL, "idempotency_key": "k"}
    client.post("/jobs", json=known)
    items = [EMAIL, {"kind": "no_such", "payload": {}}, known, {**known, "priority": 1}, EMAIL]

    answer = client.post("/jobs/batch?atomic=false", json=items)

    outcomes = answer.json["items"]
    assert answer.status_code == 200
    assert [each["index"] for each in outcomes] == list(range(5))
    assert [each["status"] for each in outcomes] == [201, 422, 200, 422, 201]
    assert [each.get("error") for each in outcomes] == [None, "validation", None, "idempotency_mismatch", None]
    assert "kind" in outcomes[1]["details"]
    assert all(("id" in each) == ("error" not in each) for each in outcomes)
    assert count_jobs() == 3


def test_a_key_given_twice_is_a_replay_or_a_mismatch(client: FlaskClient, count_jobs: Callable[[], int]) -> None:
    known = {**EMAIL, "idempotency_key": "k"}

    replay = client.post("/jobs/batch", json=[known, known])
    mismatch = client.post("/jobs/batch", json=[EMAIL, known, {**known, "priority": 1}])

    assert (replay.status_code, replay.json["created"], replay.json["replayed"]) == (201, 1, 1)
    assert replay.json["jobs"][0]["id"] == replay.json["jobs"][1]["id"]
    assert [job["replayed"] for job in replay.json["jobs"]] == [False, True]
    assert (mismatch.status_code, mismatch.json["error"]) == (422, "idempotency_mismatch")
    assert list(mismatch.json["details"]) == ["2"]
    assert count_jobs() == 1


def test_a_line_that_is_not_json_is_400_or_fails_alone(client: FlaskClient, count_jobs: Callable[[], int]) -> None:
    body = lines(EMAIL) + b'{"kind": NaN}\n' + lines(EMAIL) + b"\xff\n"

    atomic = client.post("/jobs/batch", data=body, content_type=NDJSON)
    stored = count_jobs()
    each = client.post("/jobs/batch?atomic=false", data=body, content_type=NDJSON)

    assert (atomic.status_code, atomic.json["error"], stored) == (400, "malformed", 0)
    assert "line 2" in atomic.json["message"]
    assert [item["status"] for item in each.json["items"]] == [201, 400, 201, 400]
    assert "line 4" in each.json["items"][3]["message"]


def test_refuses_an_empty_batch_a_header_key_and_a_bad_query(
    client: FlaskClient, count_jobs: Callable[[], int]
) -> None:
    bodies = [(b"[]", "application/json"), (b"{}", "application/json"), (b"", NDJSON), (b"\n \r\n", NDJSON)]
    queries = [(query, "atomic") for query in ("atomic=no", "atomic=", "atomic=true&atomic=true")]
    queries += [("atomc=false", "atomc"), ("limit=5", "limit")]

    empty = [client.post("/jobs/batch", data=body, content_type=content_type) for body, content_type in bodies]
    keyed = client.post("/jobs/batch", json=[EMAIL], headers={"Idempotency-Key": "k"})
    other_type = client.post("/jobs/batch", data=b"[]", content_type="text/plain")

    assert [(answer.status_code, answer.json["error"]) for answer in empty] == [(422, "validation")] * 4
    assert (keyed.status_code, list(keyed.json["details"])) == (422, ["Idempotency-Key"])
    assert not_refused(lambda query: client.post(f"/jobs/batch?{query}", json=[EMAIL]), queries) == []
    assert (other_type.status_code, other_type.json["error"]) == (415, "unsupported_media_type")
    assert count_jobs() == 0


def test_takes_a_thousand_elements_or_ten_thousand_lines_and_not_one_more(
    client: FlaskClient, count_jobs: Callable[[], int]
) -> None:
    item = {"kind": "summarize_text", "payload": {"text": "Hi."}}

    answers = [client.post("/jobs/batch", json=[item] * count) for count in (1000, 1001)]
    answers += [client.post("/jobs/batch", data=lines(item) * count, content_type=NDJSON) for count in (10_000, 10_001)]

    assert [answer.status_code for answer in answers] == [201, 413, 201, 413]
    assert [answer.json.get("error") for answer in answers] == [None, "too_large", None, "too_large"]
    assert count_jobs() == 11_000


def test_a_batch_may_be_longer_than_one_request_but_not_than_16_mib(client: FlaskClient) -> None:
    item = lines({"kind": "summarize_text", "payload": {"text": "x" * 200_000}})

    fits = client.post("/jobs/batch", data=item * 20, content_type=NDJSON)
    too_long = client.post("/jobs/batch", data=item * 90, content_type=NDJSON)

    assert fits.status_code == 201
    assert (too_long.status_code, too_long.json["error"]) == (413, "too_large")


def test_a_payload_that_is_too_long_is_named_by_its_index(client: FlaskClient) -> None:
    items = [EMAIL, {"kind": "summarize_text", "payload": {"text": "x" * 300_000}}]

    atomic = client.post("/jobs/batch", json=items)
    each = client.post("/jobs/batch?atomic=false", json=items)

    assert atomic.status_code == 422
    assert list(atomic.json["details"]) == ["1"]
    assert [item["status"] for item in each.json["items"]] == [201, 413]


def test_an_item_may_be_as_long_as_the_body_of_one_request(client: FlaskClient, count_jobs: Callable[[], int]) -> None:
    # Longer than a payload may be only as it is written.
    fits, too_long = (
        lines(EMAIL).rstrip() + b" " * (length - len(lines(EMAIL))) + b"\n" for length in (2**20, 2**20 + 2)
    )

    taken = client.post("/jobs/batch", data=fits + lines(EMAIL), content_type=NDJSON)
    atomic = client.post("/jobs/batch", data=lines(EMAIL) + too_long, content_type=NDJSON)
    each = client.post("/jobs/batch?atomic=false", data=lines(EMAIL) + too_long, content_type=NDJSON)
    array = client.post("/jobs/batch", json=[EMAIL, {**EMAIL, "queue": "x" * 2**20}])

    assert taken.status_code == 201
    assert (atomic.status_code, list(atomic.json["details"])) == (422, ["1"])
    assert [item["status"] for item in each.json["items"]] == [201, 413]
    assert (array.status_code, array.json["error"]) == (413, "too_large")
    assert "at [1]" in array.json["message"]
    assert count_jobs() == 3


def test_names_what_is_malformed_before_what_does_not_fit(client: FlaskClient, count_jobs: Callable[[], int]) -> None:
    body = b"[" + b"5," * 200 + json.dumps(EMAIL).encode() + b', {"a": 1, "a": 2}]'

    for query in ("", "?atomic=false"):
        answer = client.post(f"/jobs/batch{query}", data=body, content_type="application/json")

        assert (answer.status_code, answer.json["error"]) == (400, "malformed")
        assert answer.json["message"] == 'the body is refused at [201]: the key "a" is given twice'
    assert count_jobs() == 0


def test_the_answers_have_the_documented_shapes(client: FlaskClient) -> None:
    known = {**EMAIL, "idempotency_key": "k"}

    atomic = client.post("/jobs/batch", json=[known, known]).json
    each = client.post("/jobs/batch?atomic=false", json=[known, EMAIL, {**known, "priority": 1}, 5]).json

    for schema, answer in ((BatchResponse(), atomic), (BatchOutcomes(), each)):
        # It neither lacks nor adds a field, nor says it in another order.
        assert json.dumps(schema.dump(answer)) == json.dumps(answer)
        assert not schema.validate(answer)
