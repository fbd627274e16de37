"""What each kind of job does. A team's own kind needs only what is named here."""

from haulier.domain.retry import RetryPolicy
from haulier.kinds.context import JobContext
from haulier.kinds.payload import PayloadSchema
from haulier.kinds.registry import Handler, Kind, kind, load_kinds, warn_missing
from haulier.kinds.signals import Fail, JobCancelled, Retry, Snooze, StopReason

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
