"""All names that you need to write a kind of job."""

from haulier.domain.retry import RetryPolicy
from haulier.kinds.loading import import_isolated, load_kinds, warn_missing
from haulier.kinds.sdk.context import JobContext
from haulier.kinds.sdk.endings import Fail, JobCancelled, Retry, Snooze, StopReason
from haulier.kinds.sdk.middleware import Middleware, around
from haulier.kinds.sdk.payload import PayloadSchema
from haulier.kinds.sdk.registry import Handler, Kind, UnknownFields, kind

__all__ = [
    "Fail",
    "Handler",
    "JobCancelled",
    "JobContext",
    "Kind",
    "Middleware",
    "PayloadSchema",
    "Retry",
    "RetryPolicy",
    "Snooze",
    "StopReason",
    "UnknownFields",
    "around",
    "import_isolated",
    "kind",
    "load_kinds",
    "warn_missing",
]
