"""The live workers, as pages count them. Of very many only the newest are read.

Then pages say "more than".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from haulier.domain.worker import WorkerState
from haulier.postgres.statements import Connection
from haulier.queue.health.worker_list import Worker, list_workers

from ...http.auth import caller

MOST_WORKERS = 200


@dataclass(frozen=True, slots=True)
class Fleet:
    """The newest workers.

    `more` is true if others were not read; is_part that the viewer sees only workers that serve some queues.
    """

    workers: Sequence[Worker]
    more: bool = False
    is_part: bool = False

    @property
    def living(self) -> Sequence[Worker]:
        """Return the workers whose lease has not run out."""
        return [each for each in self.workers if each.lives]

    @property
    def threads(self) -> int:
        """Return how many jobs the live workers can run at once."""
        return sum(each.threads for each in self.living)

    @property
    def claimed(self) -> int:
        """Return how many jobs the live workers have claimed, if they were counted."""
        return sum(each.running or 0 for each in self.living)

    @property
    def ahead(self) -> int:
        """Return how many of the claimed jobs no thread can have begun."""
        return sum(max(0, (each.running or 0) - each.threads) for each in self.living)

    @property
    def is_dead(self) -> bool:
        """Return whether no worker is running."""
        return not self.more and not self.is_part and not self.living

    @property
    def is_silent(self) -> bool:
        """Return whether no worker beats any more. The leases of some may still run."""
        beats = any(each.lives and each.state is not WorkerState.SILENT for each in self.workers)
        return not self.more and not self.is_part and not beats

    @property
    def is_idle(self) -> bool:
        """Return whether no worker takes jobs."""
        return not self.more and not self.is_part and not self.takes

    @property
    def takes(self) -> bool:
        """Return whether one of these workers takes jobs."""
        return not self.is_silent and any(each.takes for each in self.workers)

    def serving(self, queue: str) -> Sequence[Worker]:
        """Return the workers that take jobs of the queue."""
        taking = [each for each in self.workers if each.takes] if self.takes else []
        return [each for each in taking if each.queues is None or queue in each.queues]

    def leaves(self, queue: str) -> bool:
        """Return whether no worker takes jobs of the queue."""
        return not self.more and not self.serving(queue)


def fleet(conn: Connection, *, counts_jobs: bool = False) -> Fleet:
    """Return the workers that the viewer may see; for counts_jobs see `list_workers`."""
    found, more = list_workers(conn, limit=MOST_WORKERS, queues=caller().queues, counts_jobs=counts_jobs)
    return Fleet(found, more, is_part=caller().queues is not None)
