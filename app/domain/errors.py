"""What can go wrong, named by what the caller can do about it; the message of each is one sentence."""

from __future__ import annotations

from uuid import UUID

from app.domain.job import JobStatus


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


class InvalidTransition(HaulierError):
    """The job's state does not allow this."""

    def __init__(self, job_id: UUID, status: JobStatus, action: str) -> None:
        super().__init__(f"invalid state transition for job {job_id}: cannot {action} when status={status}")


class NotRetryable(HaulierError):
    """The job in history is not one that can live again."""

    def __init__(self, job_id: UUID, reason: str) -> None:
        super().__init__(f"cannot retry job {job_id}: {reason}")


class KeyNotFound(HaulierError):
    """There is no such API key, or it is no longer good."""

    def __init__(self, key_id: str) -> None:
        super().__init__(f"there is no API key {key_id} that is good")


class DatabaseUnavailable(HaulierError):
    """The database cannot be reached, or did not answer in time; whether the statement took effect is unknown."""


class Locked(DatabaseUnavailable):
    """Somebody holds a lock for longer than was waited for it; nothing was done."""


class TooManyConnections(DatabaseUnavailable):
    """The database takes no further connection."""
