"""What is wrong with a request is said, as far as it can be read, and how much is left out."""

from __future__ import annotations

import gc
import json
from collections.abc import Callable
from types import FrameType
from typing import Any

import pytest
from flask.testing import FlaskClient

from app.api.schemas.response_schemas import BatchOutcomes
from haulier.requests.invalid import MAX_FAULTS, MAX_ITEM_FAULTS, MAX_NAME, MAX_SENTENCE, shown
from tests.web import EMAIL

NDJSON = "application/x-ndjson"


def unknown(count: int) -> dict[str, Any]:
    return {"kind": "send_email", "payload": {**EMAIL["payload"], **{f"x{n}": n for n in range(count)}}}


def sentences(details: Any) -> int:
    if isinstance(details, dict):
        return sum(map(sentences, details.values()))
    return sum(map(sentences, details)) if isinstance(details, list) else 1


def test_names_up_to_a_hundred_faults_and_how_many_more_there_are(client: FlaskClient) -> None:
    for count in (1, 100, 101, 60_000):
        answer = client.post("/jobs", json=unknown(count))

        assert answer.status_code == 422
        details = answer.json["details"]["payload"]
        more = details.pop("_schema", None)
        assert more == (None if count <= 100 else [f"{count - 100} more unknown fields."])
        assert len(details) == min(count, 100)
        assert set(details) <= {f"x{n}" for n in range(count)}
        assert len(answer.data) < 20_000


def test_names_other_faults_beside_many_unknown_fields_and_cuts_long_names(client: FlaskClient) -> None:
    asked = unknown(60_000)
    del asked["payload"]["to"]

    answer = client.post("/jobs", json={**asked, "priority": 5000})

    assert answer.json["details"]["payload"]["to"] == ["Missing data for required field."]
    assert "priority" in answer.json["details"]
    [name] = client.post("/jobs", json={**EMAIL, "x" * 500_000: 1}).json["details"]
    assert name == "x" * (MAX_NAME - 1) + "…"


def test_a_schemas_own_messages_are_picked_and_counted() -> None:
    wrong = {
        "a": ["1", "2"],
        "b": {str(n): {"value": ["3"]} for n in range(500)},
        "c": {"_schema": ["4"]},
        "_schema": ["y" * 9999],
    }

    details, left_out = shown(wrong, 5)

    assert details["a"] == ["1", "2"]
    assert details["b"] == {str(n): {"value": ["3"]} for n in range(3)}
    assert details["_schema"] == ["y" * (MAX_SENTENCE - 1) + "…"]
    assert left_out == 497 + 1
    assert shown(wrong)[0]["a"] == ["1", "2"]
    assert sentences(shown(wrong)[0]) == MAX_FAULTS + 1
    assert shown({"c": {"_schema": ["4"]}}) == ({"c": ["4"]}, 0)


def test_of_a_batch_a_hundred_jobs_are_explained_with_ten_faults_each(
    client: FlaskClient, count_jobs: Callable[[], int]
) -> None:
    wrong = [5, unknown(50), {"kind": "send_email"}, unknown(3)]
    items = [EMAIL, *wrong * 50, EMAIL, {**EMAIL, "priority": "high"}, EMAIL]
    body = b"".join(json.dumps(item).encode() + b"\n" for item in items)

    atomic = client.post("/jobs/batch", data=body, content_type=NDJSON)
    each = client.post("/jobs/batch?atomic=false", data=body + b"{\n", content_type=NDJSON)
    few = client.post("/jobs/batch", json=[EMAIL, unknown(50)])

    assert atomic.status_code == 422
    assert list(atomic.json["details"]) == [str(index) for index in range(1, 101)]
    assert [sentences(atomic.json["details"][index]) for index in ("2", "4")] == [MAX_ITEM_FAULTS, 3]
    assert "103 more jobs were not checked" in atomic.json["message"]
    found = each.json["items"]
    refused = [item for item in found if item["status"] != 201]
    assert [item["index"] for item in found] == list(range(len(items) + 1))
    assert [item["index"] for item in found if item["status"] == 201] == [0, 201, 203]
    assert ["details" in item for item in refused] == [True] * 100 + [False] * 102
    assert {item["error"] for item in refused} == {"validation", "malformed"}
    assert [sentences(found[index]["details"]) for index in (2, 4)] == [MAX_ITEM_FAULTS, 3]
    assert ["(40 more errors are not shown)" in said["message"] for said in (found[2], found[4], few.json)] == [
        True, False, True
    ]  # fmt: skip
    assert "first 100 refused jobs" in refused[150]["message"]
    assert (refused[-1]["status"], each.json["unexplained"]) == (400, 102)
    assert count_jobs() == 3
    # It neither lacks nor adds a field, nor says it in another order.
    assert json.dumps(BatchOutcomes().dump(each.json)) == json.dumps(each.json)


@pytest.mark.parametrize("path", ["/jobs", "/jobs/batch", "/jobs/batch?atomic=false"])
def test_leaves_no_refused_request_to_the_garbage_collector(client: FlaskClient, path: str) -> None:
    wrong = {"kind": "webhook_delivery", "payload": {"url": 1, "unknown": 1}, "unknown": 1}
    asked = [wrong] * 3 if "batch" in path else wrong
    client.post(path, json=asked)

    gc.collect()
    gc.disable()
    try:
        status = client.post(path, json=asked).status_code
        frames = [each.f_code.co_name for each in gc.get_objects() if isinstance(each, FrameType)]
    finally:
        gc.enable()

    assert status == (200 if "atomic" in path else 422)
    # The functions that hold what was sent.
    assert {"post", "_all_or_nothing", "_one_by_one", "_do_load"} & set(frames) == set()
