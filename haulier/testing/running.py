"""Jobs that are run as they are run: enqueued in a Postgres, claimed by a worker, settled by it."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Unpack
from uuid import UUID

from haulier.domain.errors import HaulierError
from haulier.domain.job import Job, NewJob
from haulier.kinds import Handler, Kind, load_kinds
from haulier.local.throwaway import throwaway_database
from haulier.postgres.connection import connect
from haulier.postgres.statements import Connection
from haulier.queue import jobs as job_acts
from haulier.queue import search
from haulier.queue.search.job_filter import JobFilter
from haulier.queue.upkeep.migrate import migrate
from haulier.testing.asked import as_stored, config_of, find_kind
from haulier.worker.start import guest

if TYPE_CHECKING:
    from haulier.client.job_types import JobOptions

LOOK_SECONDS = 0.01
WITHIN_SECONDS = 10.0
MOST_JOBS = 1000
# No port; and a job that still runs at the end, in a test that has failed, is not waited for.
SUITABLE = {"WORKER_METRICS_PORT": "0", "SHUTDOWN_SECONDS": "2"}


class NotEnded(HaulierError):
    """A job has not finished in time, or the worker stopped before it finished."""


@contextmanager
def running_worker(
    settings: Mapping[str, str] | None = None, *, database_url: str | None = None
) -> Iterator[RunningWorker]:
    """Give a worker that runs in this process, on its own database, with every kind that has been made known.

    The database is dropped at the end.

    Args:
        settings: Settings, named as in the environment.
        database_url: A Postgres server to make the database on; without it, that of DATABASE_URL, or else an embedded
            Postgres. Existing databases are left alone.

    Raises:
        PostgresNotStarted: There is no server, and no embedded Postgres.
        ConfigError: A setting is wrong.
    """
    with throwaway_database(database_url) as dsn:
        config = replace(config_of(settings, **SUITABLE), database_url=dsn, database_direct_url=None)
        kinds = load_kinds(config)
        with closing(connect(dsn, application_name="haulier testing")) as conn:
            migrate(conn, retention_days=config.retention_days, cell=config.cell)
            with guest(config, kinds) as thread:
                yield RunningWorker(dsn, kinds, conn, thread)


@dataclass(frozen=True, slots=True, repr=False)
class RunningWorker:
    """A worker in this process, and its jobs.

    Attributes:
        database_url: The database, for code under test that enqueues by itself.
        kinds: The kinds that the worker runs, by name.
    """

    database_url: str
    kinds: Mapping[str, Kind]
    _conn: Connection
    _thread: threading.Thread

    def run(
        self,
        kind: str | Handler,
        payload: Mapping[str, object] | None = None,
        *,
        within: float = WITHIN_SECONDS,
        **options: Unpack[JobOptions],
    ) -> Job:
        """Enqueue a job, wait until it has finished, and return it.

        Args:
            kind: The kind's name, or its handler.
            payload: The payload.
            within: How many seconds to wait.
            options: As for `enqueue`.

        Raises:
            NotEnded: The job has not finished in time, or the worker stopped.
            PayloadRefused: The payload does not match the schema.
        """
        return self.wait(self.enqueue(kind, payload, **options), within=within)

    def enqueue(
        self, kind: str | Handler, payload: Mapping[str, object] | None = None, **options: Unpack[JobOptions]
    ) -> Job:
        """Enqueue a job and return it. It takes the fields of `POST /jobs`.

        Args:
            kind: The kind's name, or its handler.
            payload: The payload.
            options: `queue`, `priority`, `run_at`, `delay_seconds`, `max_attempts`, `timeout_seconds`, `tags`.

        Raises:
            PayloadRefused: The payload does not match the schema. The message names the field.
            UnknownKind: No registered kind has this name or this handler.
        """
        found = find_kind(kind, self.kinds)
        given: dict[str, Any] = {name: value for name, value in options.items() if value is not None}
        if "delay_seconds" in given:
            given["delay"] = timedelta(seconds=given.pop("delay_seconds"))
        job = NewJob(found.name, as_stored(found, payload), **given)
        enqueued = job_acts.enqueue_one(self._conn, job_acts.draft(job))
        assert enqueued.job is not None, "only an idempotency key keeps a job from being stored"
        return enqueued.job.read()

    def get(self, job: Job | UUID) -> Job:
        """Return the job as it is now.

        Raises:
            JobNotFound: There is no such job.
        """
        return search.get(self._conn, job if isinstance(job, UUID) else job.id).read()

    def jobs(self, kind: str | None = None) -> list[Job]:
        """Return the newest 1,000 jobs, newest first; only those of a kind if you name one."""
        page = search.list_jobs(self._conn, JobFilter(kinds=kind and [kind], limit=MOST_JOBS))
        return [job.read() for job in page.jobs]

    def cancel(self, job: Job | UUID) -> None:
        """Cancel the job. If it runs, ask its handler to stop.

        Raises:
            InvalidTransition: The job has finished.
        """
        job_acts.cancel(self._conn, job if isinstance(job, UUID) else job.id)

    def wait(self, job: Job | UUID, *, within: float = WITHIN_SECONDS) -> Job:
        """Wait until the job has finished, for `within` seconds, and return it.

        Raises:
            NotEnded: The job has not finished in time, or the worker stopped.
            JobNotFound: There is no such job.
        """
        deadline = time.monotonic() + within
        while not (found := self.get(job)).status.is_final:
            self._wait_a_moment(found, deadline, within)
        return found

    def wait_for_all(self, *, within: float = WITHIN_SECONDS) -> list[Job]:
        """Wait until all jobs have finished, for `within` seconds, and return them, newest first.

        Raises:
            NotEnded: A job has not finished in time, or the worker stopped.
        """
        deadline = time.monotonic() + within
        while live := [job for job in self.jobs() if not job.status.is_final]:
            self._wait_a_moment(live[0], deadline, within)
        return self.jobs()

    def _wait_a_moment(self, job: Job, deadline: float, within: float) -> None:
        """Wait until it is worth looking again. Raises: NotEnded."""
        self._thread.join(LOOK_SECONDS)
        what = f"the job {job.id} ({job.kind}) is {job.status}, attempts: {job.attempts} of {job.max_attempts}"
        last_error = f"; last_error: {job.last_error}" if job.last_error else ""
        if not self._thread.is_alive():
            raise NotEnded(f"the worker has ended (see its log); {what}{last_error}")
        if time.monotonic() > deadline:
            raise NotEnded(f"not done within {within:g} s: {what}, due at {job.run_at:%H:%M:%S} UTC{last_error}")
