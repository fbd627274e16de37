"""What each kind of job does. A team's own kind needs only what is named here."""

from app.domain.retry import RetryPolicy
from app.kinds.context import JobContext
from app.kinds.payload import PayloadSchema
from app.kinds.registry import Handler, Kind, kind, load_kinds, warn_missing
from app.kinds.signals import Fail, JobCancelled, Retry, Snooze, StopReason

__all__ = [
    "Fail",
    "Handler",
    "JobCancelled",
    "JobContext",
    "Kind",
    "PayloadSchema",
    "Retry",
    "RetryPolicy",
    "Snooze",
    "StopReason",
    "kind",
    "load_kinds",
    "warn_missing",
]
