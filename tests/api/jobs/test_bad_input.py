"""A bad request for a job gets the 4xx of the contract, which names the field, and leaves no row. The API ..."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from flask.testing import FlaskClient

from tests.http.answers import not_refused
from tests.web import EMAIL

TEXT = json.dumps(EMAIL)
JOB = "0193b1a2-7c5e-7d41-9c3b-2f6a8e0d4b11"

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


def post(client: FlaskClient, body: str | bytes) -> Any:
    return client.post("/jobs", data=body, content_type="application/json")


def test_answers_422_and_names_the_field_that_does_not_fit(client: FlaskClient, count_jobs: Callable[[], int]) -> None:
    assert not_refused(lambda body: post(client, body), INVALID) == []
    assert "kind" in post(client, INVALID[0][0]).json["message"]
    assert count_jobs() == 0


def test_answers_400_and_says_where_a_body_is_malformed(client: FlaskClient, count_jobs: Callable[[], int]) -> None:
    answers = {body: post(client, body) for body in MALFORMED}

    assert {answer.status_code for answer in answers.values()} == {400}
    for body, answer in answers.items():
        assert answer.json.keys() == {"error", "message", "request_id"}
        assert (answer.json["error"], MALFORMED[body] in answer.json["message"]) == ("malformed", True), answer.json
    assert count_jobs() == 0


def test_names_the_known_kinds_when_it_refuses_another(client: FlaskClient) -> None:
    answer = client.post("/jobs", json={"kind": "send_fax", "payload": {}})

    [sentence] = answer.json["details"]["kind"]
    assert "'send_fax'" in sentence
    assert "send_email, summarize_text" in sentence


def test_does_not_repeat_a_kind_that_is_no_name(client: FlaskClient) -> None:
    answer = client.post("/jobs", json={"kind": "x" * 500_000, "payload": {}})

    assert answer.status_code == 422
    assert len(answer.data) < 1000


def test_names_every_fault_in_one_answer(client: FlaskClient) -> None:
    answer = client.post("/jobs", json={"kind": "send_email", "payload": {"to": 5}, "priority": "x", "nope": 1})

    assert set(answer.json["details"]) == {"payload", "priority", "nope"}
    assert set(answer.json["details"]["payload"]) == {"to", "subject", "body"}


def test_answers_415_to_another_content_type(client: FlaskClient) -> None:
    types = ["text/plain", "application/x-www-form-urlencoded", "application/x-ndjson", "nonsense"]
    types.append("application/json; charset=latin-1")
    zipped = {"Content-Type": "application/json", "Content-Encoding": "gzip"}

    answers = [client.post("/jobs", data=TEXT, headers=each) for each in ({}, zipped)]
    answers += [client.post("/jobs", data=TEXT, content_type=each) for each in types]

    for answer in answers:
        assert (answer.status_code, answer.json["error"]) == (415, "unsupported_media_type")
        assert "application/json" in answer.json["message"]


def test_refuses_an_idempotency_header_though_the_body_has_a_good_key(
    client: FlaskClient, count_jobs: Callable[[], int]
) -> None:
    keyed = {**EMAIL, "idempotency_key": "good"}
    rows = [(key, "Idempotency-Key") for key in ("", '""', "k" * 256)]

    assert not_refused(lambda key: client.post("/jobs", json=keyed, headers={"Idempotency-Key": key}), rows) == []
    assert count_jobs() == 0


def test_answers_404_to_a_malformed_id_or_a_trailing_slash(client: FlaskClient) -> None:
    ids = ["nonsense", JOB[:-1], f"{{{JOB}}}", JOB.replace("-", ""), f"{JOB}/", "%00", "%ff", "", f"/{JOB}"]

    answers = {path: client.get(path) for path in (*(f"/jobs/{each}" for each in ids), "/kinds/")}

    found = {path: (answer.status_code, answer.json["error"]) for path, answer in answers.items()}
    assert found == dict.fromkeys(found, (404, "not_found"))
