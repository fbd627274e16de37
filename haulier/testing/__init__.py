"""For tests of a team's own kinds: `perform` runs only a handler, `running_worker` runs jobs as they are run."""

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
