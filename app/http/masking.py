"""Masks the secret fields of jobs, and of groups of errors, for all callers but those who may do everything."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any
from uuid import UUID

from haulier.domain.fingerprint import LEFT_OUT, normalised
from haulier.domain.job import Json
from haulier.domain.schedules.schedule import Schedule
from haulier.kinds import Kind
from haulier.kinds.sdk.secret_fields import Tree, masked, secret_fields, secret_texts, without, without_in
from haulier.logs import MASK
from haulier.postgres.statements import Connection
from haulier.queue.access.audit_log import Action
from haulier.queue.failures.error_groups import ErrorGroup
from haulier.queue.rows import StoredJob
from haulier.queue.search.job_list import get_jobs
from haulier.requests.job_conditions import PREFIX

from .auth import caller
from .filtering import secret_places
from .service import service

# This many jobs are read at once: each may have a payload of 256 KB.
JOBS_AT_ONCE = 25


def as_shown(job: StoredJob) -> StoredJob:
    """Return the job as the caller may see it.

    The texts of a job that may quote its payload (errors, result, progress) are masked as well.
    """
    tree = _hidden_of(job.kind)
    if tree is None:
        return job
    try:
        return _masked(job, tree)
    except RecursionError:
        # Somebody has inserted it by SQL: no request may be nested so deep. Nobody knows what of it is secret.
        return _all_masked(job)


def error_as_shown(conn: Connection, group: ErrorGroup) -> ErrorGroup:
    """Return the group of errors as the caller may see it: see `errors_as_shown`."""
    return errors_as_shown(conn, [group])[0]


def errors_as_shown(conn: Connection, groups: Sequence[ErrorGroup]) -> list[ErrorGroup]:
    """Return the groups of errors as the caller may see them.

    Its worker masked the error by the kind as that worker knew it. What the kind calls secret now, the job's payload
    says: if that is gone, there is no example, and of the text only what stands before a colon.
    """
    shown: list[ErrorGroup] = []
    for at in range(0, len(groups), JOBS_AT_ONCE):
        some = groups[at : at + JOBS_AT_ONCE]
        asked = {group.example_job for group in some if _hidden_of(group.kind) is not None and group.example_job}
        found = {job.id: job for job in get_jobs(conn, asked)} if asked else {}
        shown += [_error_as_shown(group, found) for group in some]
    return shown


def _error_as_shown(group: ErrorGroup, jobs: Mapping[UUID, StoredJob]) -> ErrorGroup:
    tree = _hidden_of(group.kind)
    if tree is None:
        return group
    job = jobs.get(group.example_job) if group.example_job else None
    secrets = None if job is None else _secrets_of(job, tree)
    if secrets is None:
        head, colon, _ = group.text.partition(":")
        return replace(group, example=None, text=f"{head}: {LEFT_OUT}" if colon else LEFT_OUT)
    example = without(group.example or "", secrets)
    # The group's text may have a part of a secret, of which numbers are left out.
    return group if example == group.example else replace(group, example=example, text=normalised(example))


def _secrets_of(job: StoredJob, tree: Tree) -> tuple[str, ...] | None:
    try:
        return secret_texts(job.payload, tree)
    except RecursionError:
        return None


def masked_kinds() -> list[str]:
    """Return the kinds, of those known here, of whose jobs the caller sees some masked."""
    return [name for name in service().kinds if _hidden_of(name) is not None]


def details_as_shown(action: Action) -> Action:
    """Return an entry of the record as the caller may see it.

    Its payloads, and the filter of an operation, were masked by the kind as the process that wrote it knew that; here
    they are by the present one.
    """
    if action.details is None or b'"payload' not in action.details or caller().may_see_secrets:
        return action
    try:
        return _masked_details(action, json.loads(action.details))
    except RecursionError:
        return replace(action, details=_written(MASK))


def _masked_details(action: Action, details: dict[str, Json]) -> Action:
    if isinstance(details.get("filter"), dict):
        shown = filter_as_shown(details["filter"], may_see_secrets=False)
        return replace(action, details=_written({**details, "filter": shown}))
    tree = _hidden_of(details.get("kind", ""))
    payload = details.get("changes", {}).get("payload")
    if tree is None or not isinstance(payload, dict):
        return action
    for name in payload.keys() & {"old", "new"}:
        payload[name] = masked(payload[name], tree)
    return replace(action, details=_written(details))


def filter_as_shown(stored: Mapping[str, Json], *, may_see_secrets: bool) -> dict[str, Json]:
    """Return the filter of an operation, masked what it looks for at places that are secret in a kind."""
    if may_see_secrets:
        return dict(stored)
    kinds = stored.get("kind")
    paths = [name.removeprefix(PREFIX) for name in stored if name.startswith(PREFIX)]
    secret = {f"{PREFIX}{path}" for path in secret_places(paths, kinds if isinstance(kinds, list) else None)}
    return {name: MASK if name in secret else value for name, value in stored.items()}


def schedule_as_shown(schedule: Schedule) -> Schedule:
    """Return the schedule as the caller may see it. What the database said of its job may quote the payload."""
    rule, refused = schedule.rule, schedule.refused
    tree = _hidden_of(str(rule.job.get("kind", "")))
    if tree is None:
        return schedule
    payload = rule.job.get("payload")
    if refused is not None:
        refused = replace(refused, message=without(refused.message, secret_texts(payload, tree)))
    return replace(schedule, rule=replace(rule, job={**rule.job, "payload": masked(payload, tree)}), refused=refused)


def _hidden_of(kind_name: str) -> Tree | None:
    """Return which fields of this kind the caller may not see; None if it may see all."""
    kind: Kind | None = service().kinds.get(kind_name)
    return None if kind is None or caller().may_see_secrets else secret_fields(kind.schema)


def _masked(job: StoredJob, tree: Tree) -> StoredJob:
    payload = job.payload
    secrets = secret_texts(payload, tree)

    # Parsed, since a mask within the text could cut an escape in two, or stand where a number stood.
    def plain(text: bytes, *names: str) -> bytes | None:
        value = json.loads(text)
        return None if value is None else _written(_in_fields(value, names, secrets))

    changes: dict[str, Any] = {
        "payload": _written(masked(payload, tree)),
        "last_error": job.last_error and without(job.last_error, secrets),
        "errors": plain(job.errors_text, "error"),
        "result": plain(job.result_text),
        "progress": plain(job.progress_text, "note"),
    }
    return job._replace(**changes)


def _all_masked(job: StoredJob) -> StoredJob:
    errors = [{**each, "error": MASK} for each in job.errors]
    changes: dict[str, Any] = {
        # An object, as every payload is.
        "payload": _written({"unreadable": MASK}),
        "last_error": job.last_error and MASK,
        "errors": _written(errors),
        "result": None if job.result_text == b"null" else _written(MASK),
        "progress": None,
    }
    return job._replace(**changes)


def _in_fields(value: Json, names: tuple[str, ...], secrets: tuple[str, ...]) -> Json:
    """Return the value masked; with names, only in these fields of the object, or of each object of a list."""
    if not names:
        return without_in(value, secrets)
    if isinstance(value, list):
        return [_in_fields(each, names, secrets) for each in value]
    return {name: without_in(each, secrets) if name in names else each for name, each in value.items()}


def _written(value: Json) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
