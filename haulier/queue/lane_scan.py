"""What statements are sent with that scan the lanes, by the part `lane_by_lane` of claims/lanes.sql."""

from __future__ import annotations

from typing import Any

from haulier.domain.claim import BEGINNING


def scan(*, suspect: bool, seconds: float) -> dict[str, Any]:
    """Return the parameters of a scan from the first lane on, for this long."""
    queue, priority = BEGINNING
    return {"suspect": suspect, "after_queue": queue, "after_priority": priority, "look": seconds}
