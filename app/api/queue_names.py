"""The names of queues as one process knows them, and the bound on how many there may be.

Every queue is a lane that each worker has to look at. A name that is new to the database takes a row there, of which
a key may have so many; one that this process has lately seen to have a row costs nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from time import monotonic

from haulier.config import Config
from haulier.domain.job import Json
from haulier.postgres.statements import Connection
from haulier.queue.produce.draft import Draft
from haulier.queue.produce.idempotency import known_idempotency
from haulier.queue.produce.queues import add_queues, find_queues

from ..http.errors import Invalid

# A sixth of the time after which a name that nobody uses is forgotten.
KNOWN_SECONDS = 600.0
MOST_KNOWN = 20_000
# Who has just been refused a new name is refused the next without another count.
FULL_SECONDS = 1.0


class QueueNames:
    """Which queues may be used. Safe for all threads."""

    def __init__(self, config: Config) -> None:
        self._per_key, self._in_all = config.queues_per_key, config.queues_in_all
        # Until when a name need not be looked for; and until when a key gets no new ones.
        self._known: dict[str, float] = {}
        self._full: dict[str | None, float] = {}

    def refused(self, conn: Connection, drafts: Sequence[Draft], *, is_whole: bool = True) -> list[int]:
        """Return which of the drafts, all of one key, name queues that may not be used, since there are too many.

        One whose idempotency key is known makes no job, and is never refused. Where a queue may be used it has a row
        then; where is_whole, none gets one if any is refused.
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
            # What those need that only ask again is not to be in the way of the others.
            new -= self._add(conn, new, drafts, now, is_whole=is_whole)
        return [number for number, each in enumerate(drafts) if each.queue in new and each.scoped_key not in held]

    def check(self, conn: Connection, asked: Draft) -> None:
        """Return if the draft's queue may be used. Raises: Invalid."""
        # Nearly always, and this way it costs hardly anything.
        if self._known.get(asked.queue, 0.0) > monotonic():
            return
        if self.refused(conn, [asked]):
            raise Invalid(self.fault)

    @property
    def fault(self) -> dict[str, Json]:
        """Return what is wrong with an item that was refused."""
        return {
            "queue": [
                f"Is new, and there may be no more: an API key may use {self._per_key} queues, and all together"
                f" {self._in_all}, within an hour and while they have jobs."
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
        # Where not all fit, those that come first do.
        in_order = [name for name in dict.fromkeys(each.queue for each in drafts) if name in names]
        added = add_queues(conn, in_order, key_id=key_id, per_key=self._per_key, in_all=self._in_all, is_whole=is_whole)
        if len(added) < len(names) and (len(names) == 1 or not is_whole):
            self._full[key_id] = now + FULL_SECONDS
        return self._learn(added, now)
