"""What a worker does with the queue: register, claim, settle, beat, rescue. Each function takes a connection."""

from __future__ import annotations

from haulier.queue.claims.claim import MOST_BYTES, Claimed, claim_next, has_next, new_claim, settle_and_claim
from haulier.queue.claims.lanes import Stretch, fresh_lanes, heads, lanes, paused, stretch, suspects_and_operations
from haulier.queue.claims.progress import write_progress
from haulier.queue.claims.rescue import (
    RESCUED_AT_ONCE,
    Dead,
    Rescued,
    bury,
    end_without_payload,
    note_taken_over,
    seconds_until_lapse,
    take_orphans,
)
from haulier.queue.claims.settle import settle, settle_each, settled_earlier
from haulier.queue.claims.workers import (
    beat,
    cancelled,
    deregister,
    has_turn,
    held,
    introduce,
    register,
    say_stopping,
    strays,
)

__all__ = [
    "MOST_BYTES",
    "RESCUED_AT_ONCE",
    "Claimed",
    "Dead",
    "Rescued",
    "Stretch",
    "beat",
    "bury",
    "cancelled",
    "claim_next",
    "deregister",
    "end_without_payload",
    "fresh_lanes",
    "has_next",
    "has_turn",
    "heads",
    "held",
    "introduce",
    "lanes",
    "new_claim",
    "note_taken_over",
    "paused",
    "register",
    "say_stopping",
    "seconds_until_lapse",
    "settle",
    "settle_and_claim",
    "settle_each",
    "settled_earlier",
    "strays",
    "stretch",
    "suspects_and_operations",
    "take_orphans",
    "write_progress",
]
