"""What OpenAPI cannot say, kept by the client: a key stands for one request; offset excludes cursor; with
atomic=false a bad item gets its 422 inside an answer that is 200; a new payload has to fit the kind of the job; an
operation's filter has to mean jobs that its action can be done to; an order of a list takes few filters; a pause has
to end in the future; a schedule has one rule, in a zone that there is, a job that fits its kind, and another name
than preview; and a whole number over 64 bits is refused in digits but, being a double, taken with an exponent, which
to JSON Schema is the same number."""

from __future__ import annotations

import re
import uuid
from typing import Any

import schemathesis
from schemathesis import GenerationMode

KEY = re.compile(r'(?!""$)[!-~]{1,255}')


@schemathesis.hook
def before_call(context: Any, case: Any, kwargs: Any) -> None:
    """Give each good key to one request alone, drop a good offset beside a cursor, and good new payloads of jobs, send
    bad batches as atomic."""
    if case.headers:
        for name, value in list(case.headers.items()):
            if name.lower() == "idempotency-key" and _is_key(value):
                case.headers[name] = uuid.uuid4().hex
    for item in case.body if isinstance(case.body, list) else [case.body]:
        if isinstance(item, dict) and _is_key(item.get("idempotency_key")):
            item["idempotency_key"] = uuid.uuid4().hex
    if case.operation.path == "/schedules/{name}" and (case.path_parameters or {}).get("name") == "preview":
        case.path_parameters["name"] = "nightly"
    if case.operation.path.startswith("/jobs/{id}") and _has_payload(case.body):
        del case.body["payload"]
    if case.meta.generation.mode is GenerationMode.POSITIVE and isinstance(case.body, dict):
        _mend(case)
    query = case.query or {}
    if case.path == "/jobs" and query.get("sort") in ("due", "started"):
        _mend_order(query)
    if "cursor" in query and re.fullmatch(r"[0-9]{1,10}", str(query.get("offset", ""))):
        del query["offset"]
    if case.meta.generation.mode is GenerationMode.POSITIVE and isinstance(query.get("payload"), list):
        # Two could name the same path.
        query["payload"] = query["payload"][:1]
    if query.get("atomic") == "false" and case.meta.generation.mode is GenerationMode.NEGATIVE:
        del query["atomic"]


def _mend(case: Any) -> None:
    if case.operation.path in ("/queues/{name}/pause", "/schedules/{name}/pause"):
        case.body.pop("until", None)
    if case.operation.path in ("/schedules/{name}", "/schedules/preview"):
        _mend_schedule(case.body, has_job=case.operation.path != "/schedules/preview")
    if case.path == "/operations":
        _mend_operation(case.body)


def _mend_order(query: dict[str, Any]) -> None:
    """Leave the filters beside an order that it takes."""
    is_due = query["sort"] == "due"
    for name in [each for each in query if each not in ("sort", "limit")]:
        del query[name]
    query.update({"queue": ["mail"], "status": ["queued", "retrying"]} if is_due else {"status": ["running"]})


def _mend_schedule(body: Any, *, has_job: bool) -> None:
    """Have it fire by one rule, in a zone that there is, and its job fit a kind."""
    body.pop("time_zone", None)
    if body.get("every_seconds") is None:
        body["cron"] = "0 2 * * *"
    else:
        body.pop("cron", None)
    if has_job:
        body["job"] = {"kind": "summarize_text", "payload": {"text": "All that came in yesterday."}}
        body.pop("paused_until", None)
    if body.get("missed") != "all":
        body.pop("missed_max", None)
        body.pop("missed_within_seconds", None)


def _mend_operation(body: Any) -> None:
    """Have the filter mean what can be acted on, changes stand where they may, and nothing be bound to a preview."""
    if not isinstance(body.get("filter"), dict):
        return
    for name in ("changes", "as_of", *(() if body["action"] == "retry" else ("spread_seconds",))):
        body.pop(name, None)
    if body["action"] == "change":
        body["changes"] = {"priority": 1}
    parts = ("kind", "queue", "tag", "key", "attempts_min")
    body["filter"] = {name: value for name, value in body["filter"].items() if name in parts} or {"all": True}


@schemathesis.hook
def filter_body(context: Any, body: Any) -> bool:
    """Leave out the bodies that hold such a number."""
    return not _holds_huge(body)


def _holds_huge(value: Any) -> bool:
    if isinstance(value, float):
        return value.is_integer() and abs(value) >= 2**63
    if isinstance(value, dict):
        return any(map(_holds_huge, value.values()))
    return isinstance(value, list) and any(map(_holds_huge, value))


def _has_payload(body: Any) -> bool:
    return isinstance(body, dict) and isinstance(body.get("payload"), dict)


def _is_key(value: object) -> bool:
    return isinstance(value, str) and KEY.fullmatch(value) is not None
