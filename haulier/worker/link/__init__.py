"""This process's link to the database: its lease, whether the database answers, and what wakes an idle worker."""

from __future__ import annotations

import threading
import time

from haulier.config import Config
from haulier.worker.link.lease import Lease
from haulier.worker.link.notify_check import NotifyCheck
from haulier.worker.link.outage import Outage
from haulier.worker.link.sleeper import Bell, Sleeper


class Link:
    """What the threads of a process know of the database, and by what they wake each other."""

    def __init__(self, config: Config, closing: threading.Event) -> None:
        self.lease = Lease(config.lease_seconds)
        self.outage = Outage(closing, threads=config.worker_threads)
        self.bell = Bell()
        self.sleeper = Sleeper(self.lease, poll_seconds=config.poll_seconds)
        self.notify_check = NotifyCheck()
        # Has the heartbeat make its next round at once.
        self.beat_wanted = threading.Event()
        self._answered_at = time.monotonic()

    def claim_answered(self) -> None:
        """Note that the database has answered a claim, with a job or without."""
        self.outage.succeeded()
        self._answered_at = time.monotonic()

    @property
    def answer_age(self) -> float:
        """Return the time since a claim was last answered. Units: seconds."""
        return time.monotonic() - self._answered_at
