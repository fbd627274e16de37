"""The thread that works operations off: it acts on all jobs of a filter, a chunk of jobs at a time.

Its own thread, and not the housekeeper: a million jobs take minutes, in which the numbers have to be counted.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass

from haulier.worker.steps.operate import NextOperation, Operating


@dataclass(eq=False, repr=False, kw_only=True)
class Operations(threading.Thread):
    """Works operations off whenever one is due and no other process does it."""

    next_operation: NextOperation
    operating: Operating

    def __post_init__(self) -> None:
        super().__init__(name="operations", daemon=True)

    def run(self) -> None:
        """Work until the process closes."""
        while self.next_operation.wait():
            self.operating.work()
