"""What can go wrong, named by what the caller can do about it; the message of each is one sentence."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from haulier.domain.job import JobStatus


class HaulierError(Exception):
    """Haulier cannot carry out the request."""

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or self.__class__.__doc__)


class ConfigError(HaulierError):
    """A setting is missing or wrong."""


class SchemaMismatch(HaulierError):
    """The schema of the database does not match this program."""


class JobNotFound(HaulierError):
    """There is no such job."""

    def __init__(self, job_id: UUID) -> None:
        super().__init__(f"job {job_id} not found")


class QueueNotFound(HaulierError):
    """There is no such queue."""

    def __init__(self, name: str) -> None:
        super().__init__(f"queue {name} not found: it has no live or recent jobs and is not paused")


class ErrorGroupNotFound(HaulierError):
    """There is no such group of errors."""

    def __init__(self, name: str) -> None:
        super().__init__(f"error group {name} not found: no failed attempt of it is counted any more")


class WorkerNotFound(HaulierError):
    """There is no such worker."""

    def __init__(self, worker_id: UUID) -> None:
        super().__init__(f"worker {worker_id} not found: no running or recently ended worker has this id")


class InvalidTransition(HaulierError):
    """The job's state does not allow this."""

    def __init__(self, job_id: UUID, status: JobStatus, action: str) -> None:
        super().__init__(f"cannot {action} job {job_id}: its status is {status}")


class NotRetryable(HaulierError):
    """The job in history cannot be queued again."""

    def __init__(self, job_id: UUID, reason: str) -> None:
        super().__init__(f"cannot retry job {job_id}: {reason}")


class JobChanged(HaulierError):
    """The job has changed in the meantime; nothing was done."""

    def __init__(self, job_id: UUID) -> None:
        super().__init__(f"job {job_id} has changed in the meantime; nothing was done: read it again")


class PauseInThePast(HaulierError):
    """The end of the pause must be in the future."""


class ScheduleNotFound(HaulierError):
    """There is no such schedule."""

    def __init__(self, name: str) -> None:
        super().__init__(f"schedule {name} not found")


class ScheduleBusy(HaulierError):
    """A job of the schedule is live, and the schedule allows only one."""

    def __init__(self, name: str, job_id: UUID) -> None:
        super().__init__(
            f"schedule {name} cannot run now: its job {job_id} has not ended, and its overlap is not `allow`"
        )


class ScheduleOfFile(HaulierError):
    """The schedule comes from schedules.toml, which would restore it."""

    def __init__(self, name: str) -> None:
        super().__init__(f"schedule {name} comes from schedules.toml: change it there")


class ScheduleOfApi(HaulierError):
    """schedules.toml names schedules that were created through the API."""

    def __init__(self, names: Sequence[str]) -> None:
        named = f"schedules {', '.join(names)} were" if names[1:] else f"schedule {names[0]} was"
        super().__init__(
            f"{named} created through the API, not from a file; nothing was changed. Delete it there (`haulier"
            f" schedules delete {names[0]}`) or rename it in the file"
        )


class ScheduleBehind(HaulierError):
    """Too many ticks of the schedule are still undecided."""

    def __init__(self, name: str) -> None:
        self.schedule = name
        super().__init__(f"schedule {name} has thousands of overdue ticks, which workers are deciding first: try again")


class TooManyPauses(HaulierError):
    """1,000 queues are paused, which is the limit: resume one first."""


class OperationNotFound(HaulierError):
    """There is no such operation."""

    def __init__(self, operation_id: UUID) -> None:
        super().__init__(f"operation {operation_id} not found")


class OperationConflict(HaulierError):
    """The operation's state does not allow this."""

    def __init__(self, operation_id: UUID, status: str, action: str) -> None:
        super().__init__(f"cannot {action} operation {operation_id}: it is {status}")


class TooManyOperations(HaulierError):
    """100 operations, or 20 of this API key, have not ended, which is the limit: cancel some or wait."""


class PreviewNotKept(HaulierError):
    """There is no stored preview with this action, filter and as_of."""


class KeyNotFound(HaulierError):
    """There is no such API key, or it is revoked or expired."""

    def __init__(self, key_id: str) -> None:
        super().__init__(f"API key {key_id} does not exist, or is revoked or expired")


class KeyExists(HaulierError):
    """An API key with this id exists already."""

    def __init__(self, key_id: str) -> None:
        super().__init__(
            f"the API key {key_id} exists already; its secret was shown when it was created and is not stored"
        )


class KeyRotated(HaulierError):
    """The API key has been rotated in the meantime."""

    def __init__(self, key_id: str) -> None:
        super().__init__(
            f"the API key {key_id} has been rotated in the meantime, and that answer showed the new secret; rotating"
            " it again ends the older of its two secrets"
        )


class KeyMoved(HaulierError):
    """Another cell takes the new jobs of this API key."""

    def __init__(self, cell: int) -> None:
        super().__init__(
            f"cell {cell} takes the new jobs of this API key: repeat the request; if this lasts, the router still"
            " sends it here"
        )


class KeyElsewhere(HaulierError):
    """Another cell takes the new jobs of this API key, and has its secret."""

    def __init__(self, key_id: str, cell: int) -> None:
        super().__init__(
            f"cell {cell} takes the new jobs of the API key {key_id}: rotate it there, and run `haulier cell assign`"
            " again, which brings the new secret here"
        )


class AssignmentRefused(HaulierError):
    """The API key cannot be assigned to that cell."""


class TooFewAttempts(HaulierError):
    """The job has already used this many attempts."""


class KeysNotAllowed(HaulierError):
    """The role of this process may not write API keys. `command` is the command to use instead."""

    def __init__(self, command: str) -> None:
        super().__init__(
            f"the database role of this service may not write API keys: run `python -m haulier keys {command}` with"
            " the owner's DATABASE_URL, or allow it by grants.sql with -v web_makes_keys=yes"
        )


class DatabaseUnavailable(HaulierError):
    """The database cannot be reached or did not answer in time. The statement may have taken effect."""


class TooManyConnections(DatabaseUnavailable):
    """The database accepts no more connections."""


class JobCutOff(DatabaseUnavailable):
    """The connection was lost while one large job was moved to the history: it may be too much for the server."""

    def __init__(self, job_id: UUID) -> None:
        super().__init__()
        self.job_id = job_id


class Refusal(HaulierError):
    """The database has refused a statement, and nothing of it was done.

    `may_pass` is true if waiting helps. `is_lasting` is true if it would refuse these values at any time.
    """

    may_pass = False

    def __init__(self, message: str | None = None, *, is_lasting: bool = False) -> None:
        super().__init__(message)
        self.is_lasting = is_lasting


class StatementRefused(Refusal):
    """The database refuses a statement, for instance because a right is missing."""


class RowRefused(StatementRefused):
    """A constraint or a trigger of the database refuses the row."""


class RefusedForNow(Refusal, DatabaseUnavailable):
    """The database cannot do this now, for instance because of a deadlock or a full disk."""

    may_pass = True


class Locked(RefusedForNow):
    """Another transaction holds the lock for too long; nothing was done."""


class JobRefused(Refusal):
    """The database refuses what was to be done to one job.

    `lane` is its queue and priority, if it waits; `is_too_large` is true if it takes more time or memory than a
    statement may.
    """

    def __init__(
        self, job_id: UUID, error: Refusal, *, lane: tuple[str, int] | None = None, is_too_large: bool = False
    ) -> None:
        super().__init__(reason(error), is_lasting=error.is_lasting)
        self.job_id = job_id
        self.lane = lane
        self.may_pass = error.may_pass and not is_too_large
        self.is_too_large = is_too_large


class ReadOnly(DatabaseUnavailable):
    """The database is read-only."""


def reason(error: BaseException) -> str:
    """Return the first line of what caused the error; in further lines PostgreSQL may quote the row."""
    cause = error if isinstance(error, StatementRefused) else error.__cause__ or error
    lines = str(cause).strip().splitlines()
    return lines[0] if lines else type(error).__name__
