"""Bad input gets the 4xx of the contract, naming the field; no row, no 5xx, no traceback."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
import requests
from flask.testing import FlaskClient

from tests.web import EMAIL, Server

TEXT = json.dumps(EMAIL)


def with_email(**more: Any) -> str:
    return json.dumps({**EMAIL, **more})


def with_payload(**more: Any) -> str:
    return json.dumps({**EMAIL, "payload": {**EMAIL["payload"], **more}})


def raw(name: str, value: str) -> str:
    """Return the request with this text, JSON or not, as the value of one more field."""
    return TEXT[:-1] + f', "{name}": {value}}}'


INVALID = {
    "an unknown kind": (with_email(kind="send_fax"), "kind"),
    "a kind of another type": (with_email(kind=["send_email"]), "kind"),
    "no kind": (json.dumps({"payload": {}}), "kind"),
    "a kind that is null": (with_email(kind=None), "kind"),
    "no payload": (json.dumps({"kind": "send_email"}), "payload"),
    "a payload that is null": (with_email(payload=None), "payload"),
    "a payload that is no object": (with_email(payload=[1]), "payload"),
    "a missing field of the payload": (json.dumps({"kind": "send_email", "payload": {}}), "payload.to"),
    "an unknown field of the payload": (with_payload(colour="red"), "payload.colour"),
    "a wrong type in the payload": (with_payload(subject=5), "payload.subject"),
    "a line feed in an address": (with_payload(to="a@b.c\nBcc: x@y.z"), "payload.to"),
    "an unknown field": (with_email(prio=1), "prio"),
    "a field by another case": (with_email(Priority=1), "Priority"),
    "max_attempts 0": (with_email(max_attempts=0), "max_attempts"),
    "max_attempts 10^9": (with_email(max_attempts=10**9), "max_attempts"),
    "max_attempts in quotes": (with_email(max_attempts="5"), "max_attempts"),
    "max_attempts with a fraction": (with_email(max_attempts=2.9), "max_attempts"),
    "max_attempts true": (with_email(max_attempts=True), "max_attempts"),
    "priority 101": (with_email(priority=101), "priority"),
    "timeout_seconds 0": (with_email(timeout_seconds=0), "timeout_seconds"),
    "timeout_seconds too long": (with_email(timeout_seconds=86_401), "timeout_seconds"),
    "a queue in capitals": (with_email(queue="Mail"), "queue"),
    "a queue with a line feed": (with_email(queue="mail\n"), "queue"),
    "a queue of 65 characters": (with_email(queue="q" * 65), "queue"),
    "an empty key": (with_email(idempotency_key=""), "idempotency_key"),
    "a key of 256 characters": (with_email(idempotency_key="k" * 256), "idempotency_key"),
    "a key that is not ASCII": (with_email(idempotency_key="schlüssel"), "idempotency_key"),
    "a key that is a number": (with_email(idempotency_key=5), "idempotency_key"),
    "a tag instead of a list": (with_email(tags="vip"), "tags"),
    "eleven tags": (with_email(tags=[str(n) for n in range(11)]), "tags"),
    "a tag that is a number": (with_email(tags=["a", 7]), "tags.1"),
    "a tag that is null": (with_email(tags=[None]), "tags.0"),
    "an empty tag": (with_email(tags=["a", "b", "c", ""]), "tags.3"),
    "a tag of 65 characters": (with_email(tags=["t" * 65]), "tags.0"),
    "a tag of 64 characters and a line feed": (with_email(tags=["t" * 64 + "\n"]), "tags.0"),
    "a tag given twice": (with_email(tags=["a", "b", "a"]), "tags.2"),
    "a naive run_at": (with_email(run_at="2030-01-01T00:00:00"), "run_at"),
    "a run_at that is a day": (with_email(run_at="2030-01-01"), "run_at"),
    "a run_at that is a number": (with_email(run_at=1893456000), "run_at"),
    "a run_at in the year 10000": (with_email(run_at="10000-01-01T00:00:00Z"), "run_at"),
    "a run_at that overflows": (with_email(run_at="9999-12-31T23:59:59-12:00"), "run_at"),
    "a run_at that underflows": (with_email(run_at="0001-01-01T00:00:00+12:00"), "run_at"),
    "a run_at on 30 February": (with_email(run_at="2030-02-30T00:00:00Z"), "run_at"),
    "a run_at with an offset of 99 h": (with_email(run_at="2030-01-01T00:00:00+99:00"), "run_at"),
    "run_at with a line feed": (with_email(run_at="2030-01-01T00:00:00Z\n"), "run_at"),
    "both run_at and delay_seconds": (with_email(run_at="2030-01-01T00:00:00Z", delay_seconds=1), "delay_seconds"),
    "a negative delay": (with_email(delay_seconds=-1), "delay_seconds"),
    "a delay of more than a year": (with_email(delay_seconds=31_536_001), "delay_seconds"),
    "a delay in quotes": (with_email(delay_seconds="60"), "delay_seconds"),
    "a delay that is true": (with_email(delay_seconds=True), "delay_seconds"),
    "an array": ("[]", "_schema"),
    "a number": ("5", "_schema"),
    "null": ("null", "_schema"),
}

MALFORMED = {
    "no body": ("", "is not JSON"),
    "half a body": (TEXT[:-1], "is not JSON"),
    "NaN": (raw("priority", "NaN"), "priority"),
    "Infinity": (raw("delay_seconds", "Infinity"), "delay_seconds"),
    "1e400": (raw("delay_seconds", "1e400"), "delay_seconds"),
    "a 5,000-digit integer": (raw("max_attempts", "9" * 5000), "max_attempts"),
    "NUL": (with_payload(body="a\x00b"), "payload.body"),
    "NUL in a key": (with_payload(**{"a\x00b": 1}), "payload"),
    "half a surrogate pair": (with_payload(subject="\ud83d"), "payload.subject"),
    "a duplicate key": (raw("kind", '"send_email"'), "kind"),
    "a duplicate key in the payload": (TEXT.replace('"to":', '"to": "x@y.z", "to":'), "payload"),
    "100,000-deep nesting": (raw("x", "[" * 100_000 + "]" * 100_000), "64 levels"),
    "100,000-deep nesting, not closed": (raw("x", "[" * 100_000), "64 levels"),
    "65 levels": (raw("x", "[" * 64 + "]" * 64), "64 levels"),
}


def place(details: Any, path: str) -> Any:
    for step in path.split("."):
        details = details[step]
    return details


@pytest.mark.parametrize(("body", "path"), INVALID.values(), ids=list(INVALID))
def test_what_does_not_fit_is_422_naming_the_field(
    client: FlaskClient, count_jobs: Callable[[], int], body: str, path: str
) -> None:
    answer = client.post("/jobs", data=body, content_type="application/json")

    assert (answer.status_code, answer.json["error"]) == (422, "validation")
    assert all(isinstance(sentence, str) for sentence in place(answer.json["details"], path))
    assert path == "_schema" or path in answer.json["message"]
    assert count_jobs() == 0


@pytest.mark.parametrize(("body", "where"), MALFORMED.values(), ids=list(MALFORMED))
def test_what_is_not_json_is_400_saying_where(
    client: FlaskClient, count_jobs: Callable[[], int], body: str, where: str
) -> None:
    answer = client.post("/jobs", data=body, content_type="application/json")

    assert (answer.status_code, answer.json["error"]) == (400, "malformed")
    assert where in answer.json["message"]
    assert "details" not in answer.json
    assert count_jobs() == 0


def test_bytes_that_are_not_utf_8_are_400(client: FlaskClient) -> None:
    body = TEXT.encode().replace(b"Hello.", b"Gr\xfc\xdfe.")

    answer = client.post("/jobs", data=body, content_type="application/json")

    assert (answer.status_code, answer.json["error"]) == (400, "malformed")
    assert "UTF-8" in answer.json["message"]


def test_an_unknown_kind_is_told_which_are_known(client: FlaskClient) -> None:
    answer = client.post("/jobs", json={"kind": "send_fax", "payload": {}})

    [sentence] = answer.json["details"]["kind"]
    assert "'send_fax'" in sentence
    assert "send_email, summarize_text" in sentence


def test_a_kind_that_is_no_name_is_not_echoed(client: FlaskClient) -> None:
    answer = client.post("/jobs", json={"kind": "x" * 500_000, "payload": {}})

    assert answer.status_code == 422
    assert len(answer.data) < 1000


def test_one_answer_names_every_fault(client: FlaskClient) -> None:
    answer = client.post("/jobs", json={"kind": "send_email", "payload": {"to": 5}, "priority": "x", "nope": 1})

    assert set(answer.json["details"]) == {"payload", "priority", "nope"}
    assert set(answer.json["details"]["payload"]) == {"to", "subject", "body"}


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Content-Type": "text/plain"},
        {"Content-Type": "application/x-www-form-urlencoded"},
        {"Content-Type": "application/x-ndjson"},
        {"Content-Type": "application/json; charset=latin-1"},
        {"Content-Type": "application/json", "Content-Encoding": "gzip"},
        {"Content-Type": "nonsense"},
    ],
)
def test_another_content_type_is_415(client: FlaskClient, headers: dict[str, str]) -> None:
    answer = client.post("/jobs", data=TEXT, headers=headers)

    assert (answer.status_code, answer.json["error"]) == (415, "unsupported_media_type")
    assert "application/json" in answer.json["message"]


@pytest.mark.parametrize(
    ("key", "named"), [("", "Idempotency-Key"), ("k" * 256, "Idempotency-Key"), ('""', "Idempotency-Key")]
)
def test_a_header_key_that_is_empty_or_too_long_is_422(
    client: FlaskClient, count_jobs: Callable[[], int], key: str, named: str
) -> None:
    answer = client.post("/jobs", json={**EMAIL, "idempotency_key": "good"}, headers={"Idempotency-Key": key})

    assert (answer.status_code, answer.json["error"]) == (422, "validation")
    assert named in answer.json["details"]
    assert count_jobs() == 0


QUERIES = {
    "status=done": "status",
    "status=": "status",
    "kind=Send": "kind",
    "kind=a%0a": "kind",
    "queue=%00": "queue",
    "queue=%ff": "queue",
    "limit=ten": "limit",
    "limit=": "limit",
    "limit=2.5": "limit",
    "limit=%D9%A3": "limit",
    "offset=-1": "offset",
    "offset=10001": "offset",
    "offset=2147483647": "offset",
    "offset=" + "9" * 5000: "offset",
    "cursor=garbage": "cursor",
    "cursor=": "cursor",
    "cursor=" + "%ff" * 32: "cursor",
    "cursor=" + "_" * 32: "cursor",
    "offset=0&cursor=A" + "0" * 31: "cursor",
    "limitt=5": "limitt",
    "LIMIT=5": "LIMIT",
    "limit=5&limit=5": "limit",
    "created_after=2026-01-01": "created_after",
    "created_before=2026-01-01T00:00:00": "created_before",
    "created_before=9999-12-31T23:59:59-12:00": "created_before",
}


@pytest.mark.parametrize(("query", "named"), QUERIES.items(), ids=[query[:40] for query in QUERIES])
def test_a_bad_query_is_422_naming_the_parameter(client: FlaskClient, query: str, named: str) -> None:
    answer = client.get(f"/jobs?{query}")

    assert (answer.status_code, answer.json["error"]) == (422, "validation")
    assert list(answer.json["details"]) == [named]


@pytest.mark.parametrize(
    "path",
    [
        "/jobs/nonsense",
        "/jobs/0193b1a2-7c5e-7d41-9c3b-2f6a8e0d4b1",
        "/jobs/{0193b1a2-7c5e-7d41-9c3b-2f6a8e0d4b11}",
        "/jobs/0193b1a27c5e7d419c3b2f6a8e0d4b11",
        "/jobs/0193b1a2-7c5e-7d41-9c3b-2f6a8e0d4b11/",
        "/jobs/%00",
        "/jobs/%ff",
        "/jobs/",
        "/jobs//0193b1a2-7c5e-7d41-9c3b-2f6a8e0d4b11",
        "/kinds/",
    ],
)
def test_a_malformed_id_or_a_trailing_slash_is_404(client: FlaskClient, path: str) -> None:
    answer = client.get(path)

    assert (answer.status_code, answer.json["error"]) == (404, "not_found")


def test_the_same_through_a_real_server_leaves_no_5xx_no_row_and_no_traceback(
    server: Server, count_jobs: Callable[[], int]
) -> None:
    bodies = [body for body, _ in (*INVALID.values(), *MALFORMED.values())] + ["x" * 2_000_000]
    headers = {"Content-Type": "application/json"}

    with requests.Session() as session:
        answers = [session.post(f"{server.url}/jobs", data=body.encode(), headers=headers) for body in bodies]

    assert [answer.status_code for answer in answers] == [422] * len(INVALID) + [400] * len(MALFORMED) + [413]
    assert count_jobs() == 0
    assert "Traceback" not in server.log.read_text()
