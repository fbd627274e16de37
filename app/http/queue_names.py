"""The names of queues that one process knows, and the bound on how many there may be.

Every queue has lanes that each worker has to look at. A name that is new gets a row in `queue`, and the number of rows
of an API key is bounded; a name whose row this process has recently seen costs nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from time import monotonic

from haulier.config import Config
from haulier.domain.job import Json, NewJob
from haulier.postgres.statements import Connection
from haulier.queue.jobs.draft import Draft, draft
from haulier.queue.jobs.idempotency import known_idempotency
from haulier.queue.queues.known_queues import add_queues, find_queues
from haulier.requests.invalid import Invalid

# How long a name is not looked up again: a sixth of the time after which the database forgets an unused name.
KNOWN_SECONDS = 600.0
MOST_KNOWN = 20_000
# For this long a key that was refused a new name is refused any other, without another statement.
FULL_SECONDS = 1.0


class QueueNames:
    """Decides which queues may be used. Safe for all threads."""

    def __init__(self, config: Config) -> None:
        self._per_key, self._in_all = config.queues_per_key, config.queues_in_all
        # Until when each name need not be looked up; until when each key gets no new names.
        self._known: dict[str, float] = {}
        self._full: dict[str | None, float] = {}

    def refused(self, conn: Connection, drafts: Sequence[Draft], *, is_whole: bool = True) -> list[int]:
        """Return the numbers of the drafts, all of one API key, that are refused since there are too many queues.

        A draft whose idempotency key is known makes no job, and is never refused. Afterwards the other drafts' queues
        have a row; if is_whole and any draft is refused, no queue gets a new row.
        """
        now = monotonic()
        missing = {each.queue for each in drafts if self._known.get(each.queue, now) <= now}
        if not missing:
            return []
        missing -= self._learn(find_queues(conn, missing), now)
        missing -= self._add(conn, missing, drafts, now, is_whole=is_whole)
        if not missing:
            return []
        held = known_idempotency(conn, [each for each in drafts if each.queue in missing])
        new = {each.queue for each in drafts if each.queue in missing and each.scoped_key not in held}
        if new < missing:
            # Try again without the queues of drafts that only repeat a request: those need no row.
            new -= self._add(conn, new, drafts, now, is_whole=is_whole)
        return [number for number, each in enumerate(drafts) if each.queue in new and each.scoped_key not in held]

    def check(self, conn: Connection, asked: Draft) -> None:
        """Return if the draft's queue may be used. Raises: Invalid."""
        # Nearly always true, and much cheaper than `refused`.
        if self._known.get(asked.queue, 0.0) > monotonic():
            return
        if self.refused(conn, [asked]):
            raise Invalid(self.fault)

    def check_name(self, conn: Connection, queue: str, *, key_id: str | None) -> None:
        """Return if the API key may use the queue for a job that it does not send itself. Raises: Invalid."""
        self.check(conn, draft(NewJob("", {}, queue=queue), scope=key_id))

    @property
    def fault(self) -> dict[str, Json]:
        """Return the details of the error for a refused item."""
        return {
            "queue": [
                f"Is a new queue, and the limit is reached: {self._per_key} queues per API key and {self._in_all}"
                " in total, counting those with jobs and those used in the last hour."
            ]
        }

    def _learn(self, names: set[str], now: float) -> set[str]:
        if len(self._known) + len(names) > MOST_KNOWN:
            self._known.clear()
        self._known.update(dict.fromkeys(names, now + KNOWN_SECONDS))
        return names

    def _add(
        self, conn: Connection, names: set[str], drafts: Sequence[Draft], now: float, *, is_whole: bool
    ) -> set[str]:
        key_id = drafts[0].scope
        if not names or self._full.get(key_id, now) > now:
            return set()
        # In the order of the request: if not all fit, the first ones are added.
        in_order = [name for name in dict.fromkeys(each.queue for each in drafts) if name in names]
        added = add_queues(conn, in_order, key_id=key_id, per_key=self._per_key, in_all=self._in_all, is_whole=is_whole)
        if len(added) < len(names) and (len(names) == 1 or not is_whole):
            self._full[key_id] = now + FULL_SECONDS
        return self._learn(added, now)
