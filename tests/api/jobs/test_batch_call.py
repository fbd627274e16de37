"""POST /jobs/batch: arrays and lines, all or nothing, or each by itself."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from flask.testing import FlaskClient
from marshmallow import Schema

from app.api.schemas.response_schemas import BatchOutcomes, BatchResponse
from tests.http.answers import not_refused
from tests.web import EMAIL

NDJSON = "application/x-ndjson"


def lines(*items: Any) -> bytes:
    return b"".join(json.dumps(item).encode() + b"\n" for item in items)


def has_shape_of(schema: Schema, answer: Any) -> bool:
    """Return whether it neither lacks nor adds a field of the schema, nor says it in another order."""
    return json.dumps(schema.dump(answer)) == json.dumps(answer) and not schema.validate(answer)


def test_stores_an_array_or_lines_in_their_order(client: FlaskClient, count_jobs: Callable[[], int]) -> None:
    items = [{**EMAIL, "priority": n, "tags": ["vip", "a\tb"][:n]} for n in range(3)]
    # Blank lines are left out.
    spaced = b"\n" + lines(*items[:2]) + b"\r\n" + lines(items[2]).rstrip()
    for content_type, body in (("application/json", json.dumps(items)), (NDJSON, spaced)):
        answer = client.post("/jobs/batch", data=body, content_type=content_type)

        assert (answer.status_code, answer.json["created"], answer.json["replayed"]) == (201, 3, 0)
        assert [job["index"] for job in answer.json["jobs"]] == [0, 1, 2]
        stored = [client.get(f"/jobs/{job['id']}").json for job in answer.json["jobs"]]
        assert [(job["priority"], job["tags"]) for job in stored] == [(0, []), (1, ["vip"]), (2, ["vip", "a\tb"])]
    assert count_jobs() == 6


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
    assert (answer.status_code, has_shape_of(BatchOutcomes(), answer.json)) == (200, True)
    assert [each["status"] for each in outcomes] == [201, 422, 200, 422, 201]
    assert [each.get("error") for each in outcomes] == [None, "validation", None, "idempotency_mismatch", None]
    assert "kind" in outcomes[1]["details"]
    assert [(each["index"], "id" in each) for each in outcomes] == list(enumerate([True, False, True, False, True]))
    assert count_jobs() == 3


def test_a_key_given_twice_is_a_replay_or_a_mismatch(client: FlaskClient, count_jobs: Callable[[], int]) -> None:
    known = {**EMAIL, "idempotency_key": "k"}

    replay = client.post("/jobs/batch", json=[known, known])
    mismatch = client.post("/jobs/batch", json=[EMAIL, known, {**known, "priority": 1}])

    assert (replay.status_code, replay.json["created"], replay.json["replayed"]) == (201, 1, 1)
    assert has_shape_of(BatchResponse(), replay.json)
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


def test_bounds_the_length_of_a_payload_and_of_the_whole_batch(client: FlaskClient) -> None:
    def text(length: int) -> bytes:
        return lines({"kind": "summarize_text", "payload": {"text": "x" * length}})

    # Longer than a request for one job may be, and longer than 16 MiB.
    fits, too_long = (client.post("/jobs/batch", data=text(200_000) * n, content_type=NDJSON) for n in (20, 90))
    atomic, each = (
        client.post(f"/jobs/batch{query}", data=lines(EMAIL) + text(300_000), content_type=NDJSON)
        for query in ("", "?atomic=false")
    )

    assert fits.status_code == 201
    assert (too_long.status_code, too_long.json["error"]) == (413, "too_large")
    assert (atomic.status_code, list(atomic.json["details"])) == (422, ["1"])
    assert [item["status"] for item in each.json["items"]] == [201, 413]


def test_names_what_is_malformed_before_what_does_not_fit(client: FlaskClient, count_jobs: Callable[[], int]) -> None:
    body = b"[" + b"5," * 200 + json.dumps(EMAIL).encode() + b', {"a": 1, "a": 2}]'

    for query in ("", "?atomic=false"):
        answer = client.post(f"/jobs/batch{query}", data=body, content_type="application/json")

        assert (answer.status_code, answer.json["error"]) == (400, "malformed")
        assert answer.json["message"] == 'the body is refused at [201]: the key "a" is duplicated'
    assert count_jobs() == 0
