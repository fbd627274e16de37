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
    """What became of one asked-for job."""

    CREATED = "created"
    REPLAYED = "replayed"  # its key was known, with the same request: the existing job is given
    MISMATCH = "mismatch"  # its key was known, with another request: nothing was enqueued
    GONE = "gone"  # its key was known, but the job has been purged: nothing was enqueued


@dataclass(frozen=True, slots=True)
class Enqueued:
    """The answer to one NewJob. Shape: job is None on MISMATCH and GONE."""

    receipt: Receipt
    job: StoredJob | None


class Stored(NamedTuple):
    """The answer to one Draft. Shape: job_id is None on MISMATCH and GONE."""

    receipt: Receipt
    job_id: str | None


# What a client may set, in the order in which statements and COPY have it.
COLUMNS = columns_of("set_by_clients")
_KIND, _PAYLOAD, _QUEUE = (COLUMNS.index(name) for name in ("kind", "payload", "queue"))
_values_of = attrgetter(*COLUMNS)


class Draft(NamedTuple):
    """A NewJob as it goes to the database: in the room of its text, of which a tree of objects takes thirty times.

    Shape: values are those of COLUMNS, the payload as JSON in UTF-8; the fingerprint is there where there is a key;
           scope is the id of the API key that it came with, each of which has a key space of its own.
    """

    values: tuple[Any, ...]
    run_at: datetime | None
    delay: timedelta | None
    idempotency_key: str | None
    fingerprint: bytes | None
    scope: str | None = None

    @property
    def columns(self) -> dict[str, Any]:
        """Return the values by the names of their columns, made anew each time."""
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
        """Return the key as the table of keys has it: one that an API key has brought stands behind that one's id."""
        return (
            self.idempotency_key
            if self.idempotency_key is None or self.scope is None
            else f"{self.scope} {self.idempotency_key}"
        )


# Made once: json.dumps would make an encoder for each call that has options.
_write = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


def draft(job: NewJob, *, idempotency_key: str | None = None, scope: str | None = None) -> Draft:
    """Return the job written down, under this idempotency key where one is given, else under its own."""
    key = idempotency_key or job.idempotency_key
    values = list(_values_of(job))
    values[_PAYLOAD] = _write(job.payload).encode()
    return Draft(tuple(values), job.run_at, job.delay, key, None if key is None else job.fingerprint(), scope)
