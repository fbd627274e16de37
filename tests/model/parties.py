"""Who takes part beside the service: worker processes, and the claims that they know of."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from uuid import UUID

from haulier.domain.claim import Fence
from haulier.queue.operations.operations import Order, Preview
from haulier.worker.lanes.marks import Marks
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


@dataclass(eq=False)
class Previewed:
    """What an order was seen to act on. `versions` holds of each job the transaction that had written its row."""

    order: Order
    preview: Preview
    versions: dict[UUID, str]

    def _repr_pretty_(self, printer: Any, _: bool) -> None:
        printer.text(f"<preview of {self.order.action} of {len(self.versions)} jobs>")


@dataclass(eq=False)
class Operated:
    """An operation as it has to be."""

    number: int
    id: UUID
    of: Previewed
    status: str = "waiting"
    is_begun: bool = False
    acted: set[UUID] = field(default_factory=set)
    # Those that somebody held while a chunk was done.
    was_locked: set[UUID] = field(default_factory=set)

    @property
    def is_open(self) -> bool:
        return self.status in ("waiting", "running")

    def _repr_pretty_(self, printer: Any, _: bool) -> None:
        printer.text(f"<operation {self.number}>")
