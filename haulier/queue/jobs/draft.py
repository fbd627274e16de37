"""A job as it goes to the database, and what became of it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from operator import attrgetter
from typing import Any, NamedTuple

from haulier.domain.job import NewJob
from haulier.postgres.sql_files import columns_of
from haulier.queue.rows import StoredJob


class Receipt(StrEnum):
    """What became of one job that was asked for."""

    CREATED = "created"
    REPLAYED = "replayed"  # its key was known, with the same request: the existing job is returned
    MISMATCH = "mismatch"  # its key was known, with another request: nothing was enqueued
    GONE = "gone"  # its key was known, but the job has been purged: nothing was enqueued


@dataclass(frozen=True, slots=True)
class Enqueued:
    """The answer to one NewJob. `job` is None on MISMATCH and GONE; of another cell, it is as it was accepted there."""

    receipt: Receipt
    job: StoredJob | None


class Stored(NamedTuple):
    """The answer to one Draft. `job_id` is None on MISMATCH and GONE."""

    receipt: Receipt
    job_id: str | None


# What a client may set, in the order in which the statements and COPY send it.
COLUMNS = columns_of("set_by_clients")
_KIND, _PAYLOAD, _QUEUE, _TAGS = (COLUMNS.index(name) for name in ("kind", "payload", "queue", "tags"))
_values_of = attrgetter(*COLUMNS)


class Draft(NamedTuple):
    """A NewJob as it goes to the database, its payload as text: as objects it can take thirty times the memory.

    Values are in the order of COLUMNS, the payload as JSON in UTF-8, and None for no tags; fingerprint is None without
    an idempotency key; scope is the id of the API key that sent the job, since each has its own space of idempotency
    keys. in_cell: the database is a cell, so that another one may take the new jobs of that key.
    """

    values: tuple[Any, ...]
    run_at: datetime | None
    delay: timedelta | None
    idempotency_key: str | None
    fingerprint: bytes | None
    scope: str | None = None
    in_cell: bool = False

    @property
    def columns(self) -> dict[str, Any]:
        """Return the values by the names of their columns, made again each time."""
        return dict(zip(COLUMNS, self.values, strict=True))

    @property
    def kind(self) -> str:
        """Return the kind of the job."""
        return str(self.values[_KIND])

    @property
    def payload(self) -> bytes:
        """Return the payload as JSON in UTF-8."""
        payload: bytes = self.values[_PAYLOAD]
        return payload

    @property
    def queue(self) -> str:
        """Return the queue that the job is to wait in."""
        return str(self.values[_QUEUE])

    @property
    def scoped_key(self) -> str | None:
        """Return the idempotency key as it is stored: behind the id of the API key that sent it, if one did."""
        return (
            self.idempotency_key
            if self.idempotency_key is None or self.scope is None
            else f"{self.scope} {self.idempotency_key}"
        )


# Made once: json.dumps makes an encoder for each call that has options.
_write = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


def draft(job: NewJob, *, idempotency_key: str | None = None, scope: str | None = None, in_cell: bool = False) -> Draft:
    """Return the job as a Draft, under this idempotency key if one is given, else under the job's own."""
    key = idempotency_key or job.idempotency_key
    values = list(_values_of(job))
    values[_PAYLOAD] = _write(job.payload).encode()
    values[_TAGS] = list(job.tags) or None
    return Draft(tuple(values), job.run_at, job.delay, key, None if key is None else job.fingerprint(), scope, in_cell)
