"""Enqueues many jobs at a time: from an array or from lines of JSON, all or nothing or each by itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from functools import partial
from http import HTTPStatus
from io import BytesIO
from itertools import islice

from flask import Response, jsonify, request
from flask.views import MethodView

from haulier.domain.api_key import Scope
from haulier.domain.errors import HaulierError, RowRefused
from haulier.domain.errors import Refusal as DatabaseRefusal
from haulier.domain.job import Json
from haulier.domain.text import cut
from haulier.kinds.sdk.payload import explain, unexplained
from haulier.postgres.errors import translated
from haulier.postgres.statements import Connection
from haulier.queue import jobs as job_acts
from haulier.queue.jobs.draft import Draft, Receipt, Stored
from haulier.requests.acts import BatchOptions
from haulier.requests.invalid import MAX_ITEM_FAULTS, MAX_MESSAGE, Invalid, Malformed, TooLarge
from haulier.requests.strict_json import elements, parse

from ..http.enqueuing import enqueuing
from ..http.request_errors import Forbidden
from ..http.routes import BODY_BYTES, needs
from ..http.service import connection
from . import error_responses
from .error_responses import IdempotencyGone, IdempotencyMismatch, JobsRefused
from .openapi.document import JOB_REQUEST, fails
from .reading import JSON_TYPE, Blueprint, body, body_type
from .schemas.response_schemas import BatchOutcomes, BatchResponse

NDJSON_TYPE = "application/x-ndjson"
MAX_BATCH_BYTES = 16 * 1024 * 1024
MAX_ITEMS, MAX_LINES = 1_000, 10_000
# So that the answer to a batch of faults stays readable: the faults of the first MAX_EXPLAINED refused jobs are listed,
# and each later one is only marked as refused.
MAX_EXPLAINED = 100
MAX_SAID = 200

BATCH_BODY: dict[str, Json] = {
    "required": True,
    "content": {
        # No maxItems: more jobs are answered with 413, not 422.
        JSON_TYPE: {
            "schema": {
                "type": "array",
                "items": JOB_REQUEST,
                "minItems": 1,
                "description": f"An array of at most {MAX_ITEMS} job requests.",
            }
        },
        NDJSON_TYPE: {
            "schema": {
                "type": "string",
                "description": f"One job request per line, at most {MAX_LINES} lines.",
            }
        },
    },
}

blp = Blueprint("batch", __name__)

UNEXPLAINED = f"the request is invalid (details are given for the first {MAX_EXPLAINED} refused jobs)"

# Returns the JSON of one item; an error that it raises concerns only this item.
Item = Callable[[], Json]


@blp.route("/jobs/batch", tags=["jobs"])
class Batch(MethodView):
    """Many jobs at once."""

    @needs(Scope.ENQUEUE, most_bytes=MAX_BATCH_BYTES)
    @fails(blp, 400, 409, 413, 415, 422, 503)
    @blp.arguments(BatchOptions(), location="query")
    @blp.doc(operationId="enqueue_jobs", requestBody=BATCH_BODY)
    @blp.alt_response(200, schema=BatchOutcomes(), description="With `atomic=false`: the result of each job.")
    @blp.response(201, BatchResponse(), description="All jobs are stored.")
    def post(self, options: dict[str, str]) -> Response:
        """Enqueue many jobs.

        Send a JSON array of up to 1,000 requests, or up to 10,000 lines of JSON (`application/x-ndjson`). Either all
        jobs are stored or none; on 422, `details` is keyed by index. With `atomic=false` each job is stored or refused
        separately. Set idempotency keys in the items.
        """
        if "Idempotency-Key" in request.headers:
            raise Invalid({"Idempotency-Key": ["Not allowed in a batch: set idempotency_key in each item."]})
        # The views print their answers themselves: marshmallow would take as long for one as Postgres for the jobs.
        content_type, raw = body_type(JSON_TYPE, NDJSON_TYPE), body()
        items = read_items(content_type, raw)
        if options["atomic"] != "true":
            return _one_by_one(items)
        stored = _all_or_nothing(items)
        stored.status_code = HTTPStatus.CREATED
        return stored


def read_items(content_type: str, raw: bytes) -> Iterator[Item]:
    """Yield the items of a body, not yet checked. Raises: Malformed; TooLarge; Invalid for none at all."""
    empty = True
    for item in (_lines if content_type == NDJSON_TYPE else _elements)(raw):
        empty = False
        yield item
    if empty:
        raise Invalid({"_schema": ["Must have at least one job."]})


def _elements(raw: bytes) -> Iterator[Item]:
    if not raw.lstrip().startswith(b"["):
        if len(raw) <= BODY_BYTES:
            # Parsed for a better error, such as bad JSON. A long body is not: its objects could take hundreds of MB.
            parse(raw)
        raise Invalid({"_schema": ["Must be a JSON array."]})
    found = elements(raw, longest=BODY_BYTES)
    for element in islice(found, MAX_ITEMS):
        yield partial(_itself, element)
    if more := sum(1 for _ in found):
        raise TooLarge(f"the array has {MAX_ITEMS + more} jobs; at most {MAX_ITEMS} are allowed")


def _itself(value: Json) -> Json:
    return value


def _lines(raw: bytes) -> Iterator[Item]:
    if raw.count(b"\n") >= MAX_LINES:
        jobs = sum(1 for line in BytesIO(raw) if line.strip())
        if jobs > MAX_LINES:
            raise TooLarge(f"the body has {jobs} jobs; at most {MAX_LINES} are allowed")
    for number, line in enumerate(BytesIO(raw), 1):
        if line.strip():
            yield partial(_parse_line, line.removesuffix(b"\n"), number)


def _parse_line(line: bytes, number: int) -> Json:
    if len(line) > BODY_BYTES:
        raise TooLarge(f"line {number} has {len(line)} bytes; at most {BODY_BYTES} are allowed")
    return parse(line, what=f"line {number}")


def _all_or_nothing(items: Iterator[Item]) -> Response:
    accept = enqueuing()
    drafts: list[Draft] = []
    faults: dict[str, Invalid] = {}
    unread = 0
    for index, item in enumerate(items):
        # Later items are no longer checked, but the loop continues, so that bad JSON further on is still found.
        if len(faults) == MAX_EXPLAINED:
            unread += 1
            continue
        try:
            drafts.append(accept.draft(item()))
        except (Malformed, Forbidden):
            raise
        except HaulierError as error:
            # A new error: the one that was raised keeps the whole item alive through its traceback.
            faults[str(index)] = (
                error.shortened(MAX_ITEM_FAULTS) if isinstance(error, Invalid) else Invalid({"payload": [str(error)]})
            )
    if faults:
        raise _all_of(faults, unread)
    queue_names = enqueuing().queue_names
    with connection() as conn:
        refused = queue_names.refused(conn, drafts)
        if refused:
            raise Invalid({str(index): queue_names.fault for index in refused[:MAX_EXPLAINED]})
        stored = _store_all(conn, drafts)
    _refuse(stored)
    replayed = sum(receipt is Receipt.REPLAYED for receipt, _ in stored)
    return jsonify(
        created=len(stored) - replayed,
        replayed=replayed,
        jobs=[
            {"index": index, "id": job_id, "replayed": receipt is Receipt.REPLAYED}
            for index, (receipt, job_id) in enumerate(stored)
        ],
    )


def _store_all(conn: Connection, drafts: Sequence[Draft]) -> list[Stored]:
    """Store all jobs. Raises: JobsRefused, if the database refuses some; DatabaseUnavailable."""
    try:
        with translated():
            return job_acts.enqueue_all(conn, drafts)
    except RowRefused as error:
        refused = {
            index: each
            for index, each in enumerate(job_acts.enqueue_each(conn, drafts, is_trial=True))
            if isinstance(each, RowRefused)
        }
        # By now it accepts each of them.
        if not refused:
            raise
        raise JobsRefused(refused, len(drafts)) from error


def _all_of(faults: Mapping[str, Invalid], unread: int) -> Invalid:
    details = {index: error.details for index, error in faults.items()}
    said = f"the request is invalid: {explain(details)}"
    if unread:
        said = f"{cut(said, MAX_MESSAGE // 2)} ({unread} more jobs were not checked)"
    left_out = sum(error.left_out for error in faults.values())
    return Invalid(details, said, most=MAX_EXPLAINED * MAX_ITEM_FAULTS, left_out=left_out)


def _refuse(stored: Sequence[Stored]) -> None:
    mismatched = [index for index, each in enumerate(stored) if each.receipt is Receipt.MISMATCH]
    if mismatched:
        reason = {"idempotency_key": ["Was used for a different request."]}
        raise IdempotencyMismatch({str(index): reason for index in mismatched})
    gone = [str(index) for index, each in enumerate(stored) if each.receipt is Receipt.GONE]
    if gone:
        items = ", ".join(gone[:20])
        raise IdempotencyGone(
            f"the idempotency keys of these items were used before, but their jobs are no longer kept: {items}"
        )


def _one_by_one(items: Iterator[Item]) -> Response:
    accept = enqueuing()
    outcomes: list[Json] = []
    drafts: dict[int, Draft] = {}
    refused = 0
    for index, item in enumerate(items):
        try:
            with nullcontext() if refused < MAX_EXPLAINED else unexplained():
                drafts[index] = accept.draft(item())
            outcomes.append(None)
        except HaulierError as error:
            refused += 1
            outcomes.append(_failure(error) if refused <= MAX_EXPLAINED else _refusal(error))
    if drafts:
        for index, outcome in _store_each(drafts).items():
            outcomes[index] = outcome
    answer: dict[str, Json] = {"items": [{"index": index, **outcome} for index, outcome in enumerate(outcomes)]}
    if refused > MAX_EXPLAINED:
        answer["unexplained"] = refused - MAX_EXPLAINED
    return jsonify(answer)


def _store_each(drafts: Mapping[int, Draft]) -> dict[int, Json]:
    queue_names = enqueuing().queue_names
    with connection() as conn:
        refused = set(queue_names.refused(conn, list(drafts.values()), is_whole=False))
        fault = _failure(Invalid(queue_names.fault))
        outcomes: dict[int, Json] = {index: fault for number, index in enumerate(drafts) if number in refused}
        accepted = {index: draft for index, draft in drafts.items() if index not in outcomes}
        stored = job_acts.enqueue_each(conn, list(accepted.values())) if accepted else []
    return outcomes | {index: _outcome(each) for index, each in zip(accepted, stored, strict=True)}


def _outcome(stored: Stored | DatabaseRefusal) -> Json:
    if isinstance(stored, DatabaseRefusal):
        return _refusal(stored)
    if stored.receipt is Receipt.MISMATCH:
        return _failure(IdempotencyMismatch())
    if stored.receipt is Receipt.GONE:
        return _failure(IdempotencyGone())
    return {"status": 201 if stored.receipt is Receipt.CREATED else 200, "id": stored.job_id}


def _failure(error: HaulierError) -> Json:
    shown = error.shortened(MAX_ITEM_FAULTS) if type(error) is Invalid else error
    return {"status": int(error_responses.answer_to(shown).status), **error_responses.body_of(shown)}


def _refusal(error: HaulierError) -> Json:
    answer = error_responses.answer_to(error)
    said = UNEXPLAINED if isinstance(error, Invalid) else cut(str(error), MAX_SAID)
    return {"status": int(answer.status), "error": answer.slug, "message": said}
