"""The filter of an operation as it is stored and shown: the parameters of the list of jobs, as an object."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from haulier.domain.job import JobStatus, Json
from haulier.domain.operation import ACTS_ON, OperationAction
from haulier.queue.search.job_filter import CONDITIONS, JobFilter

PAYLOAD = "payload."


def as_stored(wanted: JobFilter) -> dict[str, Json]:
    """Return the filter as an object; `{"all": true}` if it wants every job.

    `lists` are sorted, so that the same filter is always the same object.
    """
    values = {parameter: getattr(wanted, each.name) for parameter, each in CONDITIONS.items()}
    named = {parameter: _written(parameter, value) for parameter, value in values.items() if value is not None}
    return {**named, **{f"{PAYLOAD}{path}": text for path, text in wanted.payload.items()}} or {"all": True}


def from_stored(
    stored: Mapping[str, Any], action: OperationAction, queues: Sequence[str] | None, **paging: Any
) -> JobFilter:
    """Return the filter, of jobs that can be acted on, within the queues of whoever asked.

    With no state, or no queue, that could fit, it wants no job.
    """
    given = {name: value for name, value in stored.items() if name in CONDITIONS}
    read = {CONDITIONS[name].name: _read(name, value) for name, value in given.items()}
    asked = read.get("queues")
    if queues is not None:
        asked = [name for name in queues if asked is None or name in asked]
    statuses = sorted(ACTS_ON[action] & set(read.get("statuses", JobStatus)))
    payload = {name.removeprefix(PAYLOAD): text for name, text in stored.items() if name.startswith(PAYLOAD)}
    return JobFilter(**{**read, "statuses": statuses, "queues": asked}, payload=payload, **paging)


def _written(parameter: str, value: Any) -> Json:
    write = CONDITIONS[parameter].metadata["write"]
    return sorted(map(write, value)) if isinstance(value, list | tuple | set) else write(value)


def _read(parameter: str, stored: Json) -> Any:
    read = CONDITIONS[parameter].metadata["read"]
    return [read(each) for each in stored] if isinstance(stored, list) else read(stored)
