"""Has something done to one job or queue: within the caller's queues, and without what the caller may not see."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol
from uuid import UUID

from haulier.domain.errors import JobChanged, QueueNotFound, TooFewAttempts
from haulier.domain.job import NAME_PATTERN
from haulier.postgres.statements import Connection, transaction
from haulier.queue.jobs.change import NONE, Changes, change
from haulier.queue.jobs.copy import copy
from haulier.queue.jobs.once import Made, made_once
from haulier.queue.rows import StoredJob
from haulier.queue.search.job_list import visible
from haulier.requests.invalid import Invalid

from .auth import caller
from .masking import as_shown
from .service import connection, service


class Act(Protocol):
    """Does something to one job, with changes."""

    def __call__(
        self, conn: Connection, job_id: UUID, changes: Changes, *, actor: str | None, queues: Sequence[str] | None
    ) -> StoredJob:
        """Return the job. Raises: JobChanged and what the act raises."""


def done(act: Act, job_id: UUID, changes: Changes = NONE, *, queue: str | None = None) -> StoredJob:
    """Return the job after the act, which brings a job into this queue, if any.

    Raises: Invalid; Forbidden for a queue that the caller may not use; and what the act raises.
    """
    by = caller()
    with connection() as conn:
        if queue is not None:
            _check_queue(conn, queue)
        with _few_attempts_are_invalid():
            return as_shown(act(conn, job_id, changes, actor=by.id, queues=by.queues))


def changed_as_it_is(job_id: UUID, asked: Callable[[StoredJob], tuple[Changes, str | None]]) -> None:
    """Change a job that waits by what is asked of it as it is then, and into that queue, if any.

    Raises: what `asked` raises, and then nothing was done; and as `done` with `change`.
    """
    by = caller()
    with connection() as conn:
        _, queue = asked(as_shown(visible(conn, job_id, by.queues)))
        if queue is not None:
            # Not within the transaction: what this process learns of names of queues outlasts a rollback.
            _check_queue(conn, queue)
        with transaction(conn), _few_attempts_are_invalid():
            # Changes nothing and locks the job: nobody changes it between the look at it and the change.
            changes, into = asked(as_shown(change(conn, job_id, NONE, actor=by.id, queues=by.queues)))
            if into not in (None, queue):
                raise JobChanged(job_id)
            change(conn, job_id, changes, actor=by.id, queues=by.queues)


@contextmanager
def _few_attempts_are_invalid() -> Iterator[None]:
    try:
        yield
    except TooFewAttempts as error:
        raise Invalid({"max_attempts": ["Must be more than the attempts that the job has already used."]}) from error


def copied_once(job_id: UUID, key: str, *, queue: str) -> Made:
    """Have a copy of the job made in its queue, or return the one that was made under this key before.

    Raises: Invalid; Forbidden; JobNotFound; JobChanged; RowRefused.
    """
    by = caller()
    with connection() as conn:
        _check_queue(conn, queue)
        return made_once(conn, by.scoped(key), lambda: copy(conn, job_id, actor=by.id, queues=by.queues).id)


def _check_queue(conn: Connection, queue: str) -> None:
    caller().check_queue(queue)
    service().queue_names.check_name(conn, queue, key_id=caller().id)


def check_queue_name(name: str) -> None:
    """Return if the caller may act on a queue of this name, used or not. Raises: QueueNotFound."""
    # A name that is none cannot be sent to the database: it may hold a NUL.
    if not re.fullmatch(NAME_PATTERN, name) or not caller().may_use(name):
        raise QueueNotFound(name)
