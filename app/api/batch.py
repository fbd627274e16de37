"""Jobs, many at a time: an array or lines of JSON, all or nothing or each by itself."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from flask import jsonify, request
from flask.views import MethodView
from marshmallow import ValidationError

from app.api import errors
from app.api.errors import Invalid, KeyGone, KeyMismatch, Malformed, TooLarge
from app.api.openapi import JOB_REQUEST, fails
from app.api.reading import JSON_TYPE, Blueprint, body, body_type, check_payload_size
from app.api.request_schemas import BatchOptions, CreateJobRequest
from app.api.response_schemas import BatchOutcomes, BatchResponse
from app.api.service import connection, service
from app.api.strict_json import MAX_DEPTH, parse
from app.domain.errors import HaulierError
from app.domain.job import Json, NewJob
from app.queue import produce
from app.queue.produce import Enqueued, Receipt

NDJSON_TYPE = "application/x-ndjson"
MAX_BATCH_BYTES = 16 * 1024 * 1024
MAX_ITEMS, MAX_LINES = 1_000, 10_000
# A batch that is wrong throughout gets an answer that can still be read.
MAX_FAULTS = 100

BATCH_BODY: dict[str, Json] = {
    "required": True,
    "content": {
        # No maxItems: more is not a shape that does not fit (422), it is too much (413).
        JSON_TYPE: {
            "schema": {
                "type": "array",
                "items": JOB_REQUEST,
                "minItems": 1,
                "description": f"At most {MAX_ITEMS} requests for a job.",
            }
        },
        NDJSON_TYPE: {
            "schema": {
                "type": "string",
                "description": f"A request for a job on each line, at most {MAX_LINES} of them.",
            }
        },
    },
}

blp = Blueprint("batch", __name__)

# Gives the JSON of one item; what it raises is the item's own fault.
Item = Callable[[], Json]


@blp.route("/jobs/batch", tags=["jobs"])
class Batch(MethodView):
    """Many jobs at once."""

    @fails(blp, 400, 409, 413, 415, 422, 503)
    @blp.arguments(BatchOptions(), location="query")
    @blp.doc(requestBody=BATCH_BODY)
    @blp.alt_response(200, schema=BatchOutcomes(), description="`atomic=false`: what became of each.")
    @blp.response(201, BatchResponse(), description="All are stored.")
    def post(self, options: dict[str, str]) -> Any:
        """Enqueue many jobs.

        A JSON array of up to 1,000 requests, or up to 10,000 as lines of JSON (`application/x-ndjson`). All or
        nothing, and on 422 `details` is keyed by index; with `atomic=false` each by itself. Idempotency keys stand in
        the items.
        """
        if "Idempotency-Key" in request.headers:
            raise Invalid({"Idempotency-Key": ["Belongs into each item, as idempotency_key."]})
        items = read_items()
        if options["atomic"] == "true":
            return _all_or_nothing(items), 201
        # Not the shape that the view prints by itself.
        return jsonify(BatchOutcomes().dump(_one_by_one(items)))


def read_items() -> list[Item]:
    """Return the request's items, not yet checked. Raises: Malformed; TooLarge; Invalid for none at all."""
    if body_type(request, JSON_TYPE, NDJSON_TYPE) == NDJSON_TYPE:
        items = _lines(body(request, most=MAX_BATCH_BYTES))
    else:
        # The array itself is one level more.
        found = parse(body(request, most=MAX_BATCH_BYTES), max_depth=MAX_DEPTH + 1)
        if not isinstance(found, list):
            raise Invalid({"_schema": ["Must be a JSON array."]})
        if len(found) > MAX_ITEMS:
            raise TooLarge(f"the array holds {len(found)} jobs; it may hold {MAX_ITEMS}")
        items = [lambda item=item: item for item in found]  # type: ignore[misc]
    if not items:
        raise Invalid({"_schema": ["Must hold at least one job."]})
    return items


def _lines(raw: bytes) -> list[Item]:
    lines = [(number, line) for number, line in enumerate(raw.split(b"\n"), 1) if line.strip()]
    if len(lines) > MAX_LINES:
        raise TooLarge(f"the body holds {len(lines)} jobs; it may hold {MAX_LINES}")
    return [lambda number=number, line=line: parse(line, what=f"line {number}") for number, line in lines]  # type: ignore[misc]


def _all_or_nothing(items: Sequence[Item]) -> dict[str, Json]:
    create_job = service().create_job
    jobs: list[NewJob] = []
    faults: dict[str, Json] = {}
    for index, item in enumerate(items):
        try:
            jobs.append(_job(create_job, item))
        except Malformed:
            raise
        except HaulierError as error:
            faults[str(index)] = error.details if isinstance(error, Invalid) else {"payload": [str(error)]}
            if len(faults) >= MAX_FAULTS:
                break
    if faults:
        raise Invalid(faults)
    with connection() as conn:
        receipts = produce.enqueue(conn, jobs)
    _refuse(receipts)
    counts = Counter(each.receipt for each in receipts)
    return {
        "created": counts[Receipt.CREATED],
        "replayed": counts[Receipt.REPLAYED],
        "jobs": [
            {"index": index, "id": each.job and each.job.id, "replayed": each.receipt is Receipt.REPLAYED}
            for index, each in enumerate(receipts)
        ],
    }


def _refuse(receipts: Sequence[Enqueued]) -> None:
    mismatched = [index for index, each in enumerate(receipts) if each.receipt is Receipt.MISMATCH]
    if mismatched:
        reason = {"idempotency_key": ["Stands for another request."]}
        raise KeyMismatch({str(index): reason for index in mismatched}, KeyMismatch.__doc__)
    gone = [str(index) for index, each in enumerate(receipts) if each.receipt is Receipt.GONE]
    if gone:
        raise KeyGone(f"the idempotency keys of these items are known, but their jobs are gone: {', '.join(gone[:20])}")


def _one_by_one(items: Sequence[Item]) -> dict[str, Json]:
    create_job = service().create_job
    outcomes: dict[int, Json] = {}
    jobs: dict[int, NewJob] = {}
    for index, item in enumerate(items):
        try:
            jobs[index] = _job(create_job, item)
        except HaulierError as error:
            outcomes[index] = _failure(error)
    if jobs:
        with connection() as conn:
            receipts = produce.enqueue(conn, list(jobs.values()), atomic=False)
        for index, each in zip(jobs, receipts, strict=True):
            outcomes[index] = _outcome(each)
    return {"items": [{"index": index, **outcomes[index]} for index in range(len(items))]}


def _job(create_job: CreateJobRequest, item: Item) -> NewJob:
    try:
        job = create_job.load(item())
    except ValidationError as error:
        details = error.messages
        raise Invalid(details if isinstance(details, dict) else {"_schema": details}) from None
    check_payload_size(job.payload)
    return job


def _outcome(enqueued: Enqueued) -> Json:
    if enqueued.receipt is Receipt.MISMATCH:
        return _failure(KeyMismatch({"idempotency_key": ["Stands for another request."]}, KeyMismatch.__doc__))
    if enqueued.job is None:
        return _failure(KeyGone())
    return {"status": 201 if enqueued.receipt is Receipt.CREATED else 200, "id": enqueued.job.id}


def _failure(error: HaulierError) -> Json:
    return {"status": int(errors.answer_to(error).status), **errors.body_of(error)}
