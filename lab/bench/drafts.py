"""Drafts of jobs, as the API makes them."""

from __future__ import annotations

from uuid import uuid4

from haulier.domain.job import NewJob
from haulier.queue import produce


def draft(key: str | None = None) -> produce.Draft:
    """Return a draft of a job, as the API makes one."""
    return produce.draft(NewJob(kind="noop", payload={"n": 1}), idempotency_key=key)


def some_keyed() -> list[produce.Draft]:
    """Return a batch in which two jobs have keys, one of them known."""
    return [draft("known"), draft(uuid4().hex), *(draft() for _ in range(98))]
