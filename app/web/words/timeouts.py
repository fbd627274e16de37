"""How much of its timeout a running job has used up, if it began when it was claimed."""

from __future__ import annotations

from datetime import datetime

from markupsafe import Markup

from ...http.service import service
from . import charts

# From this part of its timeout on a job is marked.
NEARLY = 0.8
STEPS = 20


def timeout_of(kind: str, own: int | None) -> float | None:
    """Return after how many seconds a job of this kind is stopped, which may have a timeout of its own; None: never."""
    if own is not None:
        return own
    known = service().kinds.get(kind)
    return known.timeout or None if known else None


def used(since: datetime, timeout: float, now: datetime) -> tuple[str, Markup]:
    """Return whether a job that runs since then is `near` its timeout or `past` it, else "", and how far as a bar."""
    part = (now - since).total_seconds() / timeout
    mark = "" if part < NEARLY else "near" if part < 1 else "past"
    # In steps, since each is a change of the page.
    step = min(1.0, round(part * STEPS) / STEPS)
    return mark, charts.bar(step, "retrying" if mark else "running", f"{100 * step:.0f} % of its timeout")
