"""The form that retries a failed or cancelled job with another payload. The audit keeps the original."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any
from uuid import UUID

from flask import request, url_for
from werkzeug.exceptions import NotFound
from werkzeug.wrappers import Response

from haulier.domain.api_key import Scope
from haulier.domain.errors import JobNotFound
from haulier.domain.job import Json
from haulier.queue import jobs
from haulier.queue.jobs.change import Changes
from haulier.queue.rows import StoredJob
from haulier.requests.invalid import Invalid, TooLarge

from ....http.acting import done as act_on
from ....http.job_changes import changes_of
from ....http.masking import as_shown
from ....http.request_errors import Forbidden
from ...forms.change_form import SETTINGS, form_of, read_changes
from ...forms.job_form import Form, json_of, values_of
from ...forms.payload_form import edited, fields_of_kind, fits, payload_faults, typed_texts, values_of_payload
from ...kit.flash import done
from ...kit.page import Page
from ...kit.reading import read
from ...kit.section import Section
from ...kit.viewer import viewer
from ...lists.job_totals import ENDED_BADLY
from .job import NOT_ENDED, acted_or_page, visible

NAMES = (*SETTINGS, "payload")
CHANGED = "Somebody else has retried or changed the job meanwhile. The form shows its current values."
TOO_DEEP = "Its payload is nested too deeply for a form or a request."
NOT_KEPT = "What changes has over 16 KiB, so the original could not be kept on record. Use “Copy and edit” instead."

section = Section("edit_job", __name__, within="jobs")


@section.page("/jobs/<uuid:job_id>/edit", Scope.OPERATE, for_acting=True)
def show(job_id: UUID) -> Page:
    """Return the form with the job's values."""
    return _current(job_id)


def _job(job_id: UUID) -> StoredJob:
    try:
        return read(lambda conn: visible(conn, job_id)).job
    except JobNotFound as error:
        raise NotFound("No job has this id.") from error


def _current(job_id: UUID, fault: str = "", status: int = 200) -> Page:
    """Return the form with the values that the job has now."""
    job = _job(job_id)
    if job.status not in ENDED_BADLY:
        return _page(job, Form(form_of(job).values, {"": NOT_ENDED}), status, can_edit=False)
    try:
        return _page(job, Form(_values(job), {"": fault} if fault else {}), status)
    except RecursionError:
        # Inserted by SQL: no request may be nested this deep.
        return _page(job, Form(form_of(job).values, {"": TOO_DEEP}), status, can_edit=False)


def _values(job: StoredJob) -> dict[str, str]:
    payload = _shown(job)
    fields, _ = fields_of_kind(job.kind)
    return {**form_of(job).values, **values_of_payload(fields, payload), "payload": _text(payload)}


def _shown(job: StoredJob) -> dict[str, Json]:
    """Return the payload as the viewer may see it. Raises: RecursionError if it is too deep to be read."""
    payload = as_shown(job).payload
    if payload.keys() == {"unreadable"}:
        raise RecursionError
    return payload


def _text(payload: Json) -> str:
    return json.dumps(payload, ensure_ascii=False, indent=2)


def _page(job: StoredJob, form: Form, status: int = 200, *, can_edit: bool = True) -> Page:
    fields, _ = fields_of_kind(job.kind)
    is_json = request.values.get("as") == "json" or not fields or not (can_edit and fits(fields, job.payload))
    return Page(
        "edit_job.html",
        f"Edit and retry, {job.id}",
        status=status,
        job=job,
        form=form,
        fields=fields,
        is_json=is_json,
        can_edit=can_edit,
        seen=job.updated_at.isoformat(),
    )


@section.act("/jobs/<uuid:job_id>/edit", Scope.OPERATE)
def retry(job_id: UUID) -> Response | Page:
    """Change the job as the form says and retry it, in one act."""
    job = _job(job_id)
    if job.status.is_final and request.form.get("seen", job.updated_at.isoformat()) != job.updated_at.isoformat():
        return _current(job_id, CHANGED, 409)
    values = {**values_of(request.form, NAMES), **typed_texts(request.form)}
    try:
        changes, queue = _read(job, values)
    except (Invalid, Forbidden, TooLarge) as error:
        return _page(job, Form(values, _faults(error, job.kind)), 422)
    except RecursionError:
        return _current(job_id, status=422)

    def act() -> Response:
        act_on(jobs.retry, job_id, changes, queue=queue)
        return done("Retried with your changes.", url_for("ui.job.show", job_id=job_id))

    try:
        return acted_or_page(job_id, act)
    except Forbidden as error:
        return _page(job, Form(values, _faults(error, job.kind)), 422)


def _faults(error: Invalid | Forbidden | TooLarge, kind: str) -> dict[str, str]:
    return payload_faults(error, NAMES, kind, is_json=request.form.get("as") == "json")


def _read(job: StoredJob, values: Mapping[str, str]) -> tuple[Changes, str | None]:
    """Return the changes of the form and the new queue, if any. Raises: Invalid; TooLarge; RecursionError."""
    was = form_of(job)
    typed = {name: values[name] for name in SETTINGS if values[name] and values[name] != was.value(name)}
    asked, faults = read_changes(typed, viewer().prefers.time_zone)
    if faults:
        raise Invalid({name: [text] for name, text in faults.items()})
    shown = _shown(job)
    payload = _payload(job, shown, values)
    if payload != shown:
        asked["payload"] = payload
    changes = changes_of(asked, job)
    if changes.noted is not None and "old" not in json.loads(changes.noted):
        raise Invalid({"payload": [NOT_KEPT]})
    return changes, asked.get("queue")


def _payload(job: StoredJob, shown: dict[str, Json], values: Mapping[str, str]) -> dict[str, Any]:
    """Return the payload of the form, masked where the viewer saw masks. Raises: Invalid."""
    if request.form.get("as") != "json":
        fields, schema = fields_of_kind(job.kind)
        return edited(shown, fields, values, schema)
    if values["payload"].replace("\r\n", "\n") == _text(shown):
        return shown
    payload = json_of(values["payload"], "payload")
    if not isinstance(payload, dict):
        raise Invalid({"payload": ["Must be a JSON object."]})
    return payload
