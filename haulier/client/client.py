"""`haulier.Client`: enqueues jobs over HTTP, reads, awaits, cancels and retries them."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from types import TracebackType
from typing import Any, Literal, Self, Unpack
from uuid import UUID, uuid4

from haulier.client.api import Answer, Api, Call, Query
from haulier.client.api_errors import HaulierError, Refused
from haulier.client.job_types import Enqueued, Job, JobChanges, JobFilter, JobOptions, JobRequest
from haulier.client.pages import Listing
from haulier.client.service import BAD_KEY, DEFAULT_URL, KEY, Service, check_url, same
from haulier.client.waiting import look_until_ended
from haulier.config import client_variables

log = logging.getLogger("haulier.client")
# A program that has set up no logging wants none on its stderr.
log.addHandler(logging.NullHandler())

JSON_BODY = {"Content-Type": "application/json"}
# Of one batch, for which the service takes 1,000 jobs as an array, and 16 MiB.
MOST_JOBS, MOST_BYTES = 1000, 15 * 1024 * 1024
# A batch may wait 20 s for its turn in the service, which grants its body a second for each 50 KB.
BATCH_SECONDS, BYTES_A_SECOND = 40.0, 50_000
HINT = "no URL was given: pass url, or set HAULIER_URL"


class Client:
    """Calls one Haulier. Threads may share it; a child process makes its own connections.

    Calls that are safe to repeat are repeated after a broken connection, 502, 503 and 504, and any call after 429. All
    methods raise `HaulierError`.
    """

    def __init__(self, url: str | None = None, api_key: str | None = None, *, timeout: float = 30.0) -> None:
        """Make a client, which connects at its first call.

        Args:
            url: The service; by default HAULIER_URL, else http://127.0.0.1:8080.
            api_key: By default HAULIER_API_KEY, unless HAULIER_URL is set to another service than `url`.
            timeout: Seconds that a call may take with all its repetitions. A large batch may take longer.

        Raises:
            ValueError: An argument or variable is invalid.
        """
        if not timeout > 0:
            raise ValueError("timeout: must be more than 0 seconds")
        self._timeout = timeout
        self._api = Api(_service(url, api_key), note=_note, is_known=True, within=timeout)

    def enqueue(
        self,
        kind: str,
        payload: Mapping[str, Any] | None = None,
        *,
        idempotency_key: str | None = None,
        **options: Unpack[JobOptions],
    ) -> Job:
        """Enqueue a job.

        Args:
            kind: What the job does.
            payload: Its input, as JSON; datetimes and UUIDs are sent as text.
            idempotency_key: Makes it safe to call this again: the same key returns the same job. By default a new one
                protects the repetitions of this call.
            options: `queue`, `priority`, `run_at`, `delay_seconds`, `max_attempts`, `timeout_seconds`, `tags`.

        Returns:
            The job; with a known idempotency key the existing job.
        """
        key = str(uuid4()) if idempotency_key is None else idempotency_key
        if not KEY.fullmatch(key):
            raise ValueError(f"idempotency_key: {BAD_KEY}")
        request = _encoded({**options, "kind": kind, "payload": {} if payload is None else payload})
        headers = {**JSON_BODY, "Idempotency-Key": key}
        return self._job(self._api.send(Call("POST", "/jobs", raw=request, headers=headers, is_safe=True)))

    def enqueue_many(self, jobs: Iterable[JobRequest]) -> list[Enqueued]:
        """Enqueue many jobs, twenty times as fast as one by one.

        They are sent 1,000 at once; each thousand is stored as a whole or not at all.

        Args:
            jobs: Each with `kind`, `payload` and, if you like, `idempotency_key` and the options of `enqueue`. With
                keys of your own the call can be made again after an error.

        Returns:
            The id of each job, in order.

        Raises:
            HaulierError: A thousand was refused: `details` names its faults by the positions of the jobs. Those before
                it are stored.
        """
        enqueued: list[Enqueued] = []
        for batch in _batches(jobs):
            enqueued += self._send_batch(batch, len(enqueued))
        return enqueued

    def get(self, job_id: str | UUID) -> Job:
        """Return a job. Raises: HaulierError, with the status 404 if there is none."""
        return self._job(self._api.get(_path(job_id)))

    def wait(self, job_id: str | UUID, timeout: float | None = None) -> Job:
        """Return a job once it has ended, however it has ended.

        Args:
            job_id: The job's id.
            timeout: Seconds; None waits for ever.

        Raises:
            TimeoutError: It has not ended in time.
        """
        job: Job = look_until_ended(lambda: self.get(job_id), math.inf if timeout is None else timeout)
        if job["finished_at"] is None:
            raise TimeoutError(f"job {job['id']} is {job['status']} after {timeout:g} s")
        return job

    def list(self, *, limit: int | None = None, **conditions: Unpack[JobFilter]) -> Iterator[Job]:
        """Yield jobs, newest first; the next page is fetched when you get there.

        Args:
            limit: How many jobs at most; None yields all.
            conditions: As for `GET /jobs`; `payload` is an object of paths, such as `{"order.id": 4711}`.
        """
        most = math.inf if limit is None else limit
        yield from Listing(self._api, "/jobs", _query(conditions), limit=most, seconds=math.inf)

    def cancel(self, job_id: str | UUID) -> Literal["cancelled", "pending"]:
        """Cancel a job, which may be cancelled already.

        Returns:
            `cancelled`: it will not run. `pending`: it runs and was asked to stop.

        Raises:
            HaulierError: With the status 409 if it has ended otherwise.
        """
        try:
            answer = self._api.send(Call("POST", f"{_path(job_id)}/cancel", is_safe=True))
        except Refused as refused:
            # Also if the answer to the first attempt was lost.
            if refused.status == 409 and self._is_cancelled(job_id):
                return "cancelled"
            raise
        return "cancelled" if answer.status == 200 else "pending"

    def retry(self, job_id: str | UUID, **changes: Unpack[JobChanges]) -> Job:
        """Queue a failed or cancelled job again, with all its attempts.

        The call is not repeated if it may have arrived: the job could have run and failed again.

        Args:
            job_id: The job's id.
            changes: `payload`, which replaces the whole payload, and the options of `enqueue`.
        """
        call = Call("POST", f"{_path(job_id)}/retry", raw=_encoded(changes), headers=JSON_BODY)
        return self._job(self._api.send(call))

    def close(self) -> None:
        """Close the connections. A later call opens new ones."""
        self._api.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Client({self._api.service.url!r})"

    def _is_cancelled(self, job_id: str | UUID) -> bool:
        # The key may lack the scope `read`.
        with suppress(HaulierError):
            return self.get(job_id)["status"] == "cancelled"
        return False

    def _job(self, answer: Answer) -> Job:
        job: Job = answer.body
        if not isinstance(job, dict) or not {"id", "status", "finished_at"} <= job.keys():
            raise self._api.stranger(answer.status)
        return job

    def _send_batch(self, batch: _Batch, first: int) -> _Enqueued:
        body = b"[" + b",".join(batch) + b"]"
        seconds = BATCH_SECONDS + len(body) / BYTES_A_SECOND
        # Each job has an idempotency key.
        call = Call("POST", "/jobs/batch", raw=body, headers=JSON_BODY, is_safe=True, seconds=seconds)
        try:
            answer = self._api.send(replace(call, within=max(self._timeout, seconds)))
        except HaulierError as error:
            if first:
                # The service counts from 0 in each batch.
                error.args = (f"jobs from {first:,} on: {error}",)
                error.details = {_moved(index, first): fault for index, fault in error.details.items()}
            raise
        stored = answer.body.get("jobs") if isinstance(answer.body, dict) else None
        if not isinstance(stored, list) or len(stored) != len(batch):
            raise self._api.stranger(answer.status)
        return [{"id": job["id"], "replayed": job["replayed"]} for job in stored]


# In the class, `list` is the method.
_Batch = list[bytes]
_Enqueued = list[Enqueued]


def _note(text: str) -> None:
    log.warning("%s", text)


def _service(url: str | None, api_key: str | None) -> Service:
    """Return what the arguments name, or the environment. Raises: ValueError, which quotes no key."""
    variables = client_variables()
    named = variables.get("HAULIER_URL")
    checked = check_url(named or DEFAULT_URL, "HAULIER_URL") if url is None else check_url(url, "url")
    key, where = api_key, "api_key"
    # Not the key of another service.
    if key is None and (named is None or same(named, checked)):
        key, where = variables.get("HAULIER_API_KEY"), "HAULIER_API_KEY"
    if key is not None and not KEY.fullmatch(key):
        raise ValueError(f"{where}: {BAD_KEY}")
    return Service(checked, lambda: key, hint=HINT if url is None and named is None else "")


def _path(job_id: str | UUID) -> str:
    """Return the path of a job. Raises: ValueError."""
    try:
        return f"/jobs/{UUID(str(job_id))}"
    except ValueError:
        raise ValueError(f"job_id: {job_id!r} is not the id of a job") from None


def _encoded(fields: Mapping[str, Any]) -> bytes:
    """Return a request as JSON. Raises: TypeError; ValueError."""
    return json.dumps({name: value for name, value in fields.items() if value is not None}, default=_text).encode()


def _text(value: Any) -> str:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, UUID):
        return str(value)
    # Without the value, which may be secret.
    raise TypeError(f"a {type(value).__name__} is not JSON: use text, numbers, lists and dicts")


def _batches(jobs: Iterable[JobRequest]) -> Iterator[_Batch]:
    """Yield the jobs as JSON, each with an idempotency key, as many as the service takes at once."""
    batch: list[bytes] = []
    size = 0
    for job in jobs:
        key = job.get("idempotency_key")
        request = _encoded({"payload": {}, **job, "idempotency_key": str(uuid4()) if key is None else key})
        if len(batch) == MOST_JOBS or batch and size + len(request) > MOST_BYTES:
            yield batch
            batch, size = [], 0
        batch.append(request)
        size += len(request) + 1
    if batch:
        yield batch


def _moved(index: str, first: int) -> str:
    return str(int(index) + first) if index.isdecimal() else index


def _query(conditions: Mapping[str, Any]) -> Query:
    query: list[tuple[str, str]] = []
    for name, value in conditions.items():
        if name == "payload":
            query += [
                (f"payload.{path}", part if isinstance(part, str) else json.dumps(part)) for path, part in value.items()
            ]
        elif isinstance(value, (list, tuple, set, frozenset)):
            query += [(name, str(each)) for each in value]
        elif value is not None:
            query.append((name, _text(value) if isinstance(value, datetime) else str(value)))
    return query
