"""Tests of your kinds: `perform` runs one handler without a database, `running_worker` runs jobs in a real worker."""

from haulier.testing.asked import PayloadRefused, UnknownKind
from haulier.testing.performed import NeverEnds, Performed, perform
from haulier.testing.running import NotEnded, RunningWorker, running_worker

__all__ = [
    "NeverEnds",
    "NotEnded",
    "PayloadRefused",
    "Performed",
    "RunningWorker",
    "UnknownKind",
    "perform",
    "running_worker",
]
