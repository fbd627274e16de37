"""Progress: what running handlers last said of how far they have come. Functions over a connection."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping
from uuid import UUID

from haulier.domain.claim import Fence
from haulier.domain.outcome import clean
from haulier.domain.progress import Progress
from haulier.postgres.statements import Connection, message
from haulier.postgres.values import array

# How long to wait for a lock on the table. Only the purge locks rows of it, and only for a moment.
PROGRESS_LOCK_SECONDS = 0.1


def write_progress(
    conn: Connection, worker_id: UUID, said: Mapping[Fence, Progress], *, over: Collection[Fence] = (), seconds: float
) -> None:
    """Write what was said under these claims, and take away what was said under those that are over.

    A claim that is no longer the job's, or not this worker's, is left out.
    Units:  seconds is what the statement may take.
    Raises: Refusal; DatabaseUnavailable.
    """
    now, words = time.monotonic(), said.values()
    message(
        conn,
        ["bounded", "progress_limits", "write_progress"],
        seconds=seconds,
        prepared={},
        milliseconds=max(1, int(seconds * 1000)),
        lock_milliseconds=int(PROGRESS_LOCK_SECONDS * 1000),
        worker=worker_id,
        ids=array(fence.id for fence in said),
        attempts=array(fence.attempt for fence in said),
        claims=array(fence.claim for fence in said),
        dones=array(each.done for each in words),
        totals=array(each.total for each in words),
        notes=array(each.note if each.note is None else clean(each.note) for each in words),
        seconds_ago=array(now - each.said_at for each in words),
        over_ids=array(fence.id for fence in over),
        over_claims=array(fence.claim for fence in over),
    )
