"""Reads the filter that lists, counts and operations share: named conditions, and `payload.<path>=<value>`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from flask import request

from haulier.kinds import Kind
from haulier.kinds.sdk.secret_fields import is_secret_at, secret_fields
from haulier.queue.produce.job_filter import JobFilter

from ..http.door import Caller, caller
from ..http.errors import Invalid
from ..http.service import service
from .schemas.request_schemas import JobConditions

PREFIX = JobConditions.open_prefix
MAX_PATHS, MAX_PATH, MAX_TEXT = 5, 200, 1_000


def job_filter(asked: Mapping[str, Any], **paging: Any) -> JobFilter:
    """Return the filter of the current request, within the queues that its caller may use. Raises: Invalid."""
    by = caller()
    queues = asked.get("queue")
    if by.queues is not None:
        queues = [name for name in by.queues if queues is None or name in queues]
    payload = _payload_conditions(request.args.lists())
    _check_no_secret(payload, asked.get("kind"), by)
    times = {name: value for name, value in asked.items() if name.startswith(("created_", "finished_"))}
    return JobFilter(
        statuses=asked.get("status"),
        kinds=asked.get("kind"),
        queues=queues,
        tags=asked.get("tag"),
        error_id=asked.get("error"),
        worker=asked.get("worker"),
        idempotency_key=asked.get("key"),
        attempts_min=asked.get("attempts_min"),
        payload=payload,
        **times,
        **paging,
    )


def _payload_conditions(given: Iterable[tuple[str, list[str]]]) -> dict[str, str]:
    found = {name: values for name, values in given if name.startswith(PREFIX)}
    if len(found) > MAX_PATHS:
        raise Invalid({"_schema": [f"At most {MAX_PATHS} places of the payload may be asked about."]})
    faults = {name: [fault] for name, values in found.items() if (fault := _fault(name, values))}
    if faults:
        raise Invalid(faults)
    return {name.removeprefix(PREFIX): text for name, [text] in found.items()}


def _fault(name: str, values: list[str]) -> str | None:
    path = name.removeprefix(PREFIX)
    if len(values) > 1:
        return "Given more than once."
    if not all(path.split(".")) or len(path) > MAX_PATH or "\0" in path:
        return f"After payload. must stand the names of fields, with dots between them, at most {MAX_PATH} characters."
    if len(values[0]) > MAX_TEXT or "\0" in values[0]:
        return f"Must be a text of at most {MAX_TEXT} characters, without NUL."
    return None


def _check_no_secret(payload: Mapping[str, str], kinds: list[str] | None, by: Caller) -> None:
    """Return if the caller may see what is there. Else whoever guesses would be told when a guess is right."""
    if by.may_see_secrets:
        return
    known: Mapping[str, Kind] = service().kinds
    trees = [secret_fields(kind.schema) for name, kind in known.items() if kinds is None or name in kinds]
    secret = [path for path in payload if any(is_secret_at(path.split("."), tree) for tree in trees if tree)]
    if secret:
        raise Invalid(
            {
                f"{PREFIX}{path}": [
                    "Is secret in a kind: name kinds in which it is not, or use a key with the scope admin."
                ]
                for path in secret
            }
        )
