"""Reads what is to be different in a job, and has it done: by the job's kind, and with its secrets kept."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any
from uuid import UUID

from marshmallow import ValidationError

from haulier.domain.errors import JobChanged
from haulier.domain.job import Json
from haulier.kinds import Kind
from haulier.kinds.sdk.secret_fields import (
    NothingToKeep,
    Tree,
    masked,
    secret_fields,
    secret_texts,
    with_kept,
    without_in,
)
from haulier.queue.jobs.change import Changes
from haulier.queue.rows import StoredJob
from haulier.queue.search.job_list import visible
from haulier.requests.fields import time_text
from haulier.requests.invalid import Invalid, messages_of
from haulier.requests.job_request import JobChanges, read_changes
from haulier.requests.strict_json import parse

from ..http.acting import Act, done
from ..http.auth import caller
from ..http.enqueuing import check_payload_size
from ..http.service import connection, service
from .openapi.document import JSON_TYPE, takes
from .reading import body, body_type

REQUIRED_BODY = takes(JobChanges)
OPTIONAL_BODY = takes(JobChanges, required=False)

# A payload is in the record whole up to this many bytes, as JSON without secrets; of a longer one its length is.
MOST_NOTED = 16 * 1024
# How often a job is read again if another call changes it meanwhile.
TIMES = 5

_write = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


def acted(act: Act, job_id: UUID, *, is_required: bool = False, enqueues: bool = False) -> StoredJob:
    """Return the job after an act with the changes that the request's body has, if any, as the caller may see it.

    `enqueues`: the act makes a new job, so that its queue has to be one that may be used, changed or not.
    Raises: Invalid; Forbidden; and what the act raises.
    """
    raw = body()
    if raw or is_required:
        body_type(JSON_TYPE)
    once = partial(_read_and_done, act, job_id, raw, enqueues=enqueues)
    if not raw and not is_required and not enqueues:
        once = partial(done, act, job_id)
    for _ in range(TIMES - 1):
        with suppress(JobChanged):
            return once()
    return once()


def _read_and_done(act: Act, job_id: UUID, raw: bytes, *, enqueues: bool) -> StoredJob:
    with connection() as conn:
        job = visible(conn, job_id, caller().queues)
    asked = read_changes(parse(raw)) if raw else {}
    changes = _changes(asked, job)
    queue = asked.get("queue") or job.queue
    return done(act, job_id, changes, queue=queue if enqueues or queue != job.queue else None)


def _changes(asked: dict[str, Any], job: StoredJob) -> Changes:
    fields: dict[str, Json] = {name: value for name, value in asked.items() if value is not None}
    if "run_at" in fields:
        fields["run_at"] = time_text(fields["run_at"])
    if "payload" not in fields:
        return Changes(_write(fields))
    stored = job.payload
    kind: Kind | None = service().kinds.get(job.kind)
    if kind is None:
        raise Invalid(
            {"payload": ["Cannot be changed: this service does not know the kind, so it cannot check the payload."]}
        )
    tree = secret_fields(kind.schema)
    fields["payload"] = _checked(kind, tree, fields["payload"], stored)
    noted = _noted({"old": stored, "new": fields["payload"]}, tree)
    return Changes(_write(fields), job.payload_hash, _write(noted))


def _checked(kind: Kind, tree: Tree | None, payload: dict[str, Json], stored: dict[str, Json]) -> dict[str, Json]:
    """Return the payload as it is to be stored. Raises: Invalid; TooLarge."""
    if tree is not None:
        try:
            payload = with_kept(payload, stored, tree)
        except NothingToKeep as error:
            raise Invalid(
                _at(("payload", *error.path), "There is no stored secret to keep here: send the value.")
            ) from None
    try:
        kind.schema.load(payload)
    except ValidationError as error:
        raise Invalid({"payload": _without_secrets(tree, payload, messages_of(error))}) from None
    check_payload_size(_write(payload).encode())
    return payload


def _without_secrets(tree: Tree | None, payload: dict[str, Json], messages: Json) -> Json:
    """Return the messages without secrets, which validators may quote; those that were kept, too."""
    return messages if tree is None else without_in(messages, secret_texts(payload, tree), in_keys=False)


def _at(path: Sequence[str | int], message: str) -> dict[str, Json]:
    found: Json = [message]
    for step in reversed(path):
        found = {step: found}
    details: dict[str, Json] = found
    return details


def _noted(payloads: Mapping[str, Json], tree: Tree | None) -> dict[str, Json]:
    """Return what the record says of them. In the place of a long one `<name>_bytes`."""
    noted: dict[str, Json] = {}
    for name, payload in payloads.items():
        shown = payload if tree is None else masked(payload, tree)
        size = len(_write(shown).encode())
        noted.update({name: shown} if size <= MOST_NOTED else {f"{name}_bytes": size})
    return noted
