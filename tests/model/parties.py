"""Who takes part beside the service: worker processes, and the claims that they know of."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

from haulier.domain.claim import Fence
from haulier.worker.shared.marks import Marks
from tests.model.ledger import Entry


class AgeingMarks(Marks):
    """Marks that stay where they are when all rows become older."""

    def pass_time(self, time: timedelta) -> None:
        """Move the marks with the rows that they are of."""
        self._marks = {lane: mark._replace(run_at=mark.run_at - time) for lane, mark in self._marks.items()}


@dataclass(eq=False)
class Worker:
    """A worker process, and from where it reads the lanes."""

    number: int
    id: UUID
    queues: tuple[str, ...]
    lanes: AgeingMarks

    def _repr_pretty_(self, printer: Any, _: bool) -> None:
        printer.text(f"<worker {self.number}>")


@dataclass(eq=False)
class Claim:
    """A claim that a worker knows of, current or not."""

    number: int
    fence: Fence
    job: Entry

    def _repr_pretty_(self, printer: Any, _: bool) -> None:
        printer.text(f"<claim {self.number}, of job {self.job.number}>")
