"""The form that enqueues a job, with one field per payload field or with the payload as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from flask import request, url_for
from werkzeug.wrappers import Response

from haulier.domain.api_key import Scope
from haulier.domain.errors import RowRefused
from haulier.domain.job import Json
from haulier.kinds.sdk.payload import explain
from haulier.logs import MASK
from haulier.queue import jobs
from haulier.queue.jobs.draft import Draft, Enqueued, Receipt
from haulier.queue.rows import StoredJob
from haulier.requests.fields import read_uuid
from haulier.requests.invalid import Invalid, TooLarge

from ....http.auth import caller
from ....http.enqueuing import enqueuing
from ....http.masking import as_shown
from ....http.request_errors import Forbidden
from ....http.service import connection, service
from ...forms.job_form import JOB, SETTINGS, Form, job_of, once_of, values_of, written
from ...forms.payload_form import fields_of_kind, fits, payload_faults, payload_of, typed_texts, values_of_payload
from ...kit.ages import new_once
from ...kit.flash import done
from ...kit.page import Page
from ...kit.reading import read
from ...kit.section import Section
from ...kit.viewer import viewer
from ...words.filters import read_duration, read_time
from .job import visible

NAMES = (*JOB, "due", "idempotency_key")

section = Section("new_job", __name__, within="jobs")


@section.page("/jobs/new", Scope.ENQUEUE, for_acting=True)
def show() -> Page:
    """Return the form: empty, for a kind, or like a job."""
    like = request.args.get("like", "")
    is_json = request.args.get("as") == "json"
    if like:
        return _like(like, is_json)
    kind = request.args.get("kind", "")[:64]
    return _page(Form({"kind": kind, "payload": "{}", "queue": _queue()}), kind, is_json=is_json)


def _queue() -> str:
    """Return the queue in an empty form: "", or the first queue of a key that may not use `default`."""
    queues = caller().queues
    return "" if queues is None or "default" in queues or not queues else queues[0]


def _like(like: str, is_json: bool) -> Page:
    job_id = read_uuid(like)
    if job_id is None:
        return _page(Form({"payload": "{}"}, {"": "No job has this id."}), "", status=404)
    caller().check_scope(Scope.READ)
    job = read(lambda conn: visible(conn, job_id)).job
    try:
        return _of_job(job, is_json)
    except RecursionError:
        # Inserted by SQL: no request may be nested this deep.
        form = Form({**_values(job), "payload": "{}"})
        return _page(form, job.kind, is_json=is_json, like=like, is_deep=True)


def _of_job(job: StoredJob, is_json: bool) -> Page:
    payload, lacks = without_masks(as_shown(job).payload, job.payload)
    values = {**_values(job), "payload": json.dumps(payload, ensure_ascii=False, indent=2)}
    fields, _ = fields_of_kind(job.kind)
    is_whole = isinstance(payload, dict) and fits(fields, payload)
    if is_whole:
        values.update(values_of_payload(fields, payload))
    return _page(Form(values), job.kind, is_json=is_json or not is_whole, like=str(job.id), lacks=lacks)


def _values(job: StoredJob) -> dict[str, str]:
    return {name: written(getattr(job, name)) for name in ("kind", *SETTINGS)}


def without_masks(shown: Json, real: Json) -> tuple[Json, bool]:
    """Return the payload without masked values, which must not be enqueued, and whether there were any."""
    if shown == MASK and real != MASK:
        return None, True
    if isinstance(shown, dict):
        # If nobody knows what is secret, all of it is masked, under other names.
        found = {name: without_masks(each, real.get(name)) for name, each in shown.items()}
        kept = {name: each for name, (each, _) in found.items() if not (shown[name] == MASK and real.get(name) != MASK)}
        return kept, any(lacks for _, lacks in found.values())
    if isinstance(shown, list):
        parts = [without_masks(each, other) for each, other in zip(shown, real, strict=True)]
        return [each for each, _ in parts], any(lacks for _, lacks in parts)
    return shown, False


def _page(form: Form, kind: str, *, status: int = 200, is_json: bool = False, **beside: Any) -> Page:
    """Return the page.

    Args:
        is_json: The payload is one text instead of one field per name.
        beside: `once` is the token that makes the form enqueue one job. `like` is the id of the job that fills the
            form; `lacks` says that its secrets are missing, `is_deep` that its payload is nested too deeply.
    """
    fields, _ = fields_of_kind(kind)
    values: dict[str, Any] = {"once": new_once(), "like": "", "lacks": False, "is_deep": False, **beside}
    return Page(
        "new_job.html",
        "Enqueue a job",
        status=status,
        form=form,
        kinds=sorted(service().kinds),
        kind=kind,
        fields=fields,
        is_json=is_json or not fields,
        **values,
    )


@section.act("/jobs/new", Scope.ENQUEUE)
def enqueue() -> Page | Response:
    """Enqueue the job; once, however often the form is sent."""
    values = {**values_of(request.form, NAMES), **typed_texts(request.form)}
    once = once_of(request.form)
    is_json = request.form.get("as") == "json"
    try:
        draft = _draft(values, once, is_json=is_json)
        with connection() as conn:
            service().queue_names.check(conn, draft)
            made = jobs.enqueue_one(conn, draft)
        _check(made)
    except (Invalid, Forbidden, TooLarge) as error:
        form = Form(values, _faults(error, values["kind"], is_json=is_json))
        return _page(form, values["kind"], status=422, is_json=is_json, once=once)
    except RowRefused as error:
        form = Form(values, {"": f"The database refused this: {error}"})
        return _page(form, values["kind"], status=422, is_json=is_json, once=once)
    assert made.job is not None
    sentence = "Enqueued. This is the job." if made.receipt is Receipt.CREATED else "Already enqueued. This is the job."
    key = caller().key
    if key is not None and not key.may(Scope.READ):
        return done(f"Enqueued: {made.job.id}.", url_for("ui.new_job.show", kind=values["kind"]))
    return done(sentence, url_for("ui.job.show", job_id=made.job.id))


def _draft(values: Mapping[str, str], once: str, *, is_json: bool) -> Draft:
    fields, schema = fields_of_kind(values["kind"])
    by_field = fields and not is_json
    job = job_of({**values, "payload": ""} if by_field else values)
    if by_field:
        job["payload"] = payload_of(fields, values, schema)
    job.update(_due(values["due"]))
    # Without an idempotency key the job gets one of the form, so that a double click enqueues one job.
    job["idempotency_key"] = values["idempotency_key"] or f"form-{once}"
    return enqueuing().draft(job)


def _due(text: str) -> dict[str, Json]:
    if not text or text == "now":
        return {}
    duration = read_duration(text)
    if duration is not None:
        return {"delay_seconds": int(duration.total_seconds())}
    at = read_time(text, viewer().prefers.time_zone)
    if at is None:
        raise Invalid({"due": ["Must be now, 10m, 2h, 1d or 2026-11-26T12:00."]})
    return {"run_at": at.isoformat()}


def _check(made: Enqueued) -> None:
    if made.receipt is Receipt.MISMATCH:
        raise Invalid({"idempotency_key": ["Already used for another job."]})
    if made.job is None:
        raise Invalid({"idempotency_key": ["Already used for a job that is no longer kept."]})


def _faults(error: Invalid | Forbidden | TooLarge, kind: str, *, is_json: bool) -> dict[str, str]:
    found = payload_faults(error, NAMES, kind, is_json=is_json)
    for name in ("delay_seconds", "run_at"):
        if isinstance(error, Invalid) and name in error.details:
            found["due"] = explain(error.details[name])
    return found
