"""From a row of the job tables to a Job or a Fence. JSON columns stay text until somebody reads them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import datetime
from operator import itemgetter
from typing import Any
from uuid import UUID

from haulier.domain.claim import Fence
from haulier.domain.job import Job, JobStatus, Json
from haulier.domain.progress import Reported
from haulier.domain.worker import worker_name
from haulier.postgres.sql_files import columns_of
from haulier.postgres.statements import Row
from haulier.postgres.values import as_sent, read_json, utc

_TIMES = ("run_at", "created_at", "updated_at", "started_at", "finished_at", "scheduled_for")


class StoredJob(Job):
    """A job of the tables whose payload, errors, result and progress stay JSON text, and are parsed at each access."""

    __slots__ = ()

    @property
    def payload(self) -> dict[str, Json]:
        """Return the payload, parsed at each access."""
        payload: dict[str, Json] = read_json(self._text(_PAYLOAD).decode())
        return payload

    @property
    def errors(self) -> Sequence[dict[str, Json]]:
        """Return the failed attempts, parsed at each access."""
        errors: list[dict[str, Json]] = read_json(self._text(_ERRORS).decode())
        return errors

    @property
    def result(self) -> Json:
        """Return the result, parsed at each access."""
        return read_json(self._text(_RESULT).decode())

    @property
    def progress(self) -> Json:
        """Return what the running handler last said, parsed at each access."""
        return read_json(self._text(_PROGRESS).decode())

    @property
    def tags(self) -> Sequence[str]:
        """Return the tags of the job."""
        values: tuple[Any, ...] = self
        return values[_TAGS] or ()

    @property
    def payload_hash(self) -> bytes:
        """Return the SHA-256 of the payload as the database writes it."""
        return hashlib.sha256(self._text(_PAYLOAD)).digest()

    @property
    def payload_text(self) -> bytes:
        """Return the payload as the JSON text that clients get."""
        return as_sent(self._text(_PAYLOAD))

    @property
    def errors_text(self) -> bytes:
        """Return the failed attempts as the JSON text that clients get."""
        text = self._text(_ERRORS)
        return text if text == b"[]" else as_sent(text)

    @property
    def result_text(self) -> bytes:
        """Return the result as the JSON text that clients get."""
        return as_sent(self._text(_RESULT))

    @property
    def progress_text(self) -> bytes:
        """Return what the running handler last said as the JSON text that clients get."""
        return as_sent(self._text(_PROGRESS))

    def read(self) -> Job:
        """Return the job with its payload, errors, result and progress as objects."""
        parsed = {name: getattr(self, name) for name in ("payload", "errors", "result", "progress", "tags")}
        return Job(*self)._replace(**parsed)

    def _text(self, column: int) -> bytes:
        values: tuple[Any, ...] = self
        text: bytes | None = values[column]
        return b"null" if text is None else text


def job_of(row: Row) -> StoredJob:
    """Return the job in a row of haulier.job, haulier.finished_job or haulier.jobs.

    The row was read with json_as_text.
    """
    values = {name: row[name] for name in Job._fields if name in row}
    for name in _TIMES:
        if values.get(name) is not None:
            values[name] = utc(values[name])
    values["status"] = JobStatus(values["status"])
    return StoredJob(**values)


def worker_of(row: Row) -> str | None:
    """Return the name of the worker whose `host` and `pid` a row has; None if they are null."""
    return None if row["host"] is None else worker_name(row["host"], row["pid"])


def progress_of(row: Row) -> Reported | None:
    """Return what the columns `progress_*` of a row hold; None if nothing was reported."""
    if row["progress_at"] is None:
        return None
    values = {name: row[f"progress_{name}"] for name in Reported._fields}
    return Reported(**values)._replace(at=utc(values["at"]), first_at=utc(values["first_at"]))


def fence_of(row: Row) -> Fence:
    """Return the claim that a row with `id`, `attempt` and `claim` is under."""
    return Fence(row["id"], row["attempt"], row["claim"])


class ClaimedJob(Job):
    """A job that a claim has set running; its payload and errors stay JSON text, and are parsed at each access.

    Parsed they can take thirty times the memory, and of the thousands of jobs that a process holds it runs only a few.
    """

    __slots__ = ()

    @property
    def payload(self) -> dict[str, Json]:
        """Return the payload, parsed at each access."""
        values: tuple[Any, ...] = self
        payload: dict[str, Json] = read_json(values[_PAYLOAD])
        return payload

    @property
    def errors(self) -> Sequence[dict[str, Json]]:
        """Return the failed attempts, parsed at each access."""
        values: tuple[Any, ...] = self
        errors: list[dict[str, Json]] = [] if values[_ERRORS] == "[]" else read_json(values[_ERRORS])
        return errors

    @property
    def tags(self) -> Sequence[str]:
        """Return the tags of the job."""
        values: tuple[Any, ...] = self
        return values[_TAGS] or ()

    def read(self) -> Job:
        """Return the job with its payload, errors and tags as objects."""
        return Job(*self)._replace(payload=self.payload, errors=self.errors, tags=self.tags)

    @property
    def text_size(self) -> int:
        """Return how many characters of JSON text the payload and the errors have together."""
        values: tuple[Any, ...] = self
        return len(values[_PAYLOAD]) + len(values[_ERRORS])


_PAYLOAD, _ERRORS, _RESULT, _PROGRESS, _TAGS = map(
    Job._fields.index, ("payload", "errors", "result", "progress", "tags")
)


# The columns of the statement `claim`: three of its own, then the list of columns.sql.
_CLAIMED = ("number", "settled", "now", *columns_of("claimed"))
_ID, _RUN_AT, _CREATED_AT, _SCHEDULED_FOR = (
    _CLAIMED.index(name) for name in ("id", "run_at", "created_at", "scheduled_for")
)
# The values that `claimed_job` appends to a row. The first four replace columns of the same name that came as text.
_ADDED = (
    "id", "run_at", "created_at", "scheduled_for", "status", "cancel_requested", "updated_at", "started_at", "claim",
    "worker_id",
)  # fmt: skip
_UNSET = ("finished_at", "result", "progress", "copy_of")
# By position: by name it would take three times as long, a tenth of all the time that a worker spends on a job.
_in_order = itemgetter(
    *({name: place for place, name in enumerate((*_CLAIMED, *_ADDED, *_UNSET))}[name] for name in Job._fields)
)


def claimed_job(texts: tuple[Any, ...], *, worker_id: UUID, claim_id: UUID, started_at: datetime) -> ClaimedJob:
    """Return the job that a claim has just set running, from a row that `message` returned.

    `texts` are the columns of the statement `claim`; `started_at` is parsed once for a whole batch, by the caller.
    """
    added = (
        UUID(texts[_ID]), _instant(texts[_RUN_AT]), _instant(texts[_CREATED_AT]),
        texts[_SCHEDULED_FOR] and _instant(texts[_SCHEDULED_FOR]),
        JobStatus.RUNNING, False, started_at, started_at, claim_id, worker_id, None, None, None, None,
    )  # fmt: skip
    return ClaimedJob._make(_in_order(texts + added))


_instant = datetime.fromisoformat
