"""What can go wrong, named by what the caller can do about it; the message of each is one sentence."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from haulier.domain.job import JobStatus


class HaulierError(Exception):
    """Haulier cannot do what was asked."""

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or self.__class__.__doc__)


class ConfigError(HaulierError):
    """A setting is missing or wrong."""


class SchemaMismatch(HaulierError):
    """The database's schema does not fit this program."""


class JobNotFound(HaulierError):
    """There is no such job."""

    def __init__(self, job_id: UUID) -> None:
        super().__init__(f"job {job_id} not found")


class QueueNotFound(HaulierError):
    """There is no such queue."""

    def __init__(self, name: str) -> None:
        super().__init__(
            f"queue {name} not found: it has no live job, is not paused, and nothing came or ended in it lately"
        )


class ErrorGroupNotFound(HaulierError):
    """There is no such group of errors."""

    def __init__(self, name: str) -> None:
        super().__init__(f"error {name} not found: no attempt that failed with it is counted any more")


class WorkerNotFound(HaulierError):
    """There is no such worker."""

    def __init__(self, worker_id: UUID) -> None:
        super().__init__(f"worker {worker_id} not found: none with this id lives, nor has ended lately")


class InvalidTransition(HaulierError):
    """The job's state does not allow this."""

    def __init__(self, job_id: UUID, status: JobStatus, action: str) -> None:
        super().__init__(f"invalid state transition for job {job_id}: cannot {action} when status={status}")


class NotRetryable(HaulierError):
    """The job in history cannot be queued again."""

    def __init__(self, job_id: UUID, reason: str) -> None:
        super().__init__(f"cannot retry job {job_id}: {reason}")


class JobChanged(HaulierError):
    """Somebody else has changed the job meanwhile; nothing was done."""

    def __init__(self, job_id: UUID) -> None:
        super().__init__(f"job {job_id} was changed by somebody else meanwhile; nothing was done: look at it again")


class PauseInThePast(HaulierError):
    """Nothing can be paused until a time that has come."""


class ScheduleNotFound(HaulierError):
    """There is no such schedule."""

    def __init__(self, name: str) -> None:
        super().__init__(f"schedule {name} not found")


class ScheduleBusy(HaulierError):
    """A job of the schedule is live, and the schedule lets no other run beside it."""

    def __init__(self, name: str, job_id: UUID) -> None:
        super().__init__(f"schedule {name} cannot run now: its job {job_id} is live, and its overlap is not allow")


class ScheduleOfFile(HaulierError):
    """The schedule came from schedules.toml, which would put it back."""

    def __init__(self, name: str) -> None:
        super().__init__(f"schedule {name} came from schedules.toml: change it there")


class ScheduleOfApi(HaulierError):
    """schedules.toml names schedules that it has not made."""

    def __init__(self, names: Sequence[str]) -> None:
        named = f"schedules {', '.join(names)} were" if names[1:] else f"schedule {names[0]} was"
        super().__init__(
            f"{named} made by the API, and not from a file: delete there what the file is to make"
            f" (`haulier schedules delete {names[0]}`), or give it another name in the file; nothing was changed"
        )


class ScheduleBehind(HaulierError):
    """Too many ticks of the schedule are still to be decided."""

    def __init__(self, name: str) -> None:
        self.schedule = name
        super().__init__(f"schedule {name} has thousands of ticks to be decided first, which goes on: try again")


class TooManyPauses(HaulierError):
    """A thousand queues are paused, and no more may be: each claim reads them all."""


class OperationNotFound(HaulierError):
    """There is no such operation."""

    def __init__(self, operation_id: UUID) -> None:
        super().__init__(f"operation {operation_id} not found")


class OperationConflict(HaulierError):
    """The operation's state does not allow this."""

    def __init__(self, operation_id: UUID, status: str, action: str) -> None:
        super().__init__(f"cannot {action} operation {operation_id}: it is {status}")


class TooManyOperations(HaulierError):
    """100 operations, or 20 of this API key, are not over: cancel some, or wait for their end."""


class PreviewNotKept(HaulierError):
    """No preview of this action and filter is kept that was made then."""


class KeyNotFound(HaulierError):
    """There is no such API key, or it is no longer good."""

    def __init__(self, key_id: str) -> None:
        super().__init__(f"there is no API key {key_id} that is good")


class KeyExists(HaulierError):
    """There is an API key of this id."""

    def __init__(self, key_id: str) -> None:
        super().__init__(f"the API key {key_id} was made before; its secret was shown then, and is kept nowhere")


class KeyRotated(HaulierError):
    """The API key has another secret than whoever wants to rotate it has seen."""

    def __init__(self, key_id: str) -> None:
        super().__init__(
            f"the API key {key_id} has been given another secret meanwhile, which was shown then: to rotate it once"
            " more ends the secret before that one"
        )


class TooFewAttempts(HaulierError):
    """The job has used as many attempts already, or more."""


class KeysNotAllowed(HaulierError):
    """The role of this process may not write API keys. `command` is what does so in its place."""

    def __init__(self, command: str) -> None:
        super().__init__(
            f"the database role of this service may not write API keys: run `python -m haulier keys {command}` with the"
            " owner's DATABASE_URL, or apply grants.sql with -v web_makes_keys=yes"
        )


class DatabaseUnavailable(HaulierError):
    """The database cannot be reached, or did not answer in time; whether the statement took effect is unknown."""


class TooManyConnections(DatabaseUnavailable):
    """The database takes no further connection."""


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
    """The database refuses a statement, and may go on to: a right is missing, for one."""


class RowRefused(StatementRefused):
    """A constraint or a trigger of the database refuses the row, and may accept others."""


class RefusedForNow(Refusal, DatabaseUnavailable):
    """The database cannot do this now, for a reason that may pass by itself, such as a deadlock or a full disk."""

    may_pass = True


class Locked(RefusedForNow):
    """Somebody holds a lock for longer than was waited for it; nothing was done."""


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
    """The database takes no writes."""


def reason(error: BaseException) -> str:
    """Return the first line of what caused the error; in further lines PostgreSQL may quote the row."""
    cause = error if isinstance(error, StatementRefused) else error.__cause__ or error
    lines = str(cause).strip().splitlines()
    return lines[0] if lines else type(error).__name__
