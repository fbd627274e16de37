"""The filter of an operation as it is stored and shown: the parameters of the list of jobs, as an object."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from haulier.domain.fingerprint import id_text, read_id
from haulier.domain.job import JobStatus, Json
from haulier.domain.operation import ACTS_ON, OperationAction
from haulier.queue.produce.job_filter import JobFilter

PAYLOAD = "payload."
_TIMES = ("created_after", "created_before", "finished_after", "finished_before")


def as_stored(wanted: JobFilter) -> dict[str, Json]:
    """Return the filter as an object; `{"all": true}` where it wants every job.

    Shape: lists are sorted, so that the same filter is always the same object.
    """
    given: dict[str, Any] = {
        "status": _listed(wanted.statuses),
        "kind": _listed(wanted.kinds),
        "queue": _listed(wanted.queues),
        "tag": _listed(wanted.tags),
        "error": None if wanted.error_id is None else id_text(wanted.error_id),
        "worker": wanted.worker and str(wanted.worker),
        "key": wanted.idempotency_key,
        "attempts_min": wanted.attempts_min,
        **{f"{PAYLOAD}{path}": text for path, text in wanted.payload.items()},
        **{name: _written(getattr(wanted, name)) for name in _TIMES},
    }
    return {name: value for name, value in given.items() if value is not None} or {"all": True}


def from_stored(
    stored: Mapping[str, Any], action: OperationAction, queues: Sequence[str] | None, **paging: Any
) -> JobFilter:
    """Return the filter, of jobs that can be acted on, within the queues of whoever asked.

    Shape: with no state, or no queue, that could fit, it wants no job.
    """
    times: dict[str, Any] = {name: datetime.fromisoformat(stored[name]) for name in _TIMES if name in stored}
    asked = stored.get("queue")
    if queues is not None:
        asked = [name for name in queues if asked is None or name in asked]
    return JobFilter(
        statuses=sorted(ACTS_ON[action] & set(map(JobStatus, stored.get("status", JobStatus)))),
        kinds=stored.get("kind"),
        queues=asked,
        tags=stored.get("tag"),
        error_id=read_id(stored["error"]) if "error" in stored else None,
        worker=UUID(stored["worker"]) if "worker" in stored else None,
        idempotency_key=stored.get("key"),
        attempts_min=stored.get("attempts_min"),
        payload={name.removeprefix(PAYLOAD): text for name, text in stored.items() if name.startswith(PAYLOAD)},
        **times,
        **paging,
    )


def _listed(values: Sequence[Any] | None) -> list[str] | None:
    return None if values is None else sorted(str(each) for each in values)


def _written(instant: datetime | None) -> str | None:
    if instant is None:
        return None
    return f"{instant.astimezone(UTC).replace(tzinfo=None).isoformat('T', 'microseconds')}Z"
