"""The counts beside the links of the menu. What is unknown has none."""

from __future__ import annotations

from collections.abc import Iterator

from haulier.domain.errors import DatabaseUnavailable
from haulier.postgres.statements import Connection
from haulier.queue.health import menu_counts as counted
from haulier.queue.numbers.stats import list_queues

from ...http.auth import caller
from ...http.late_queues import with_lateness
from .permissions import permissions
from .reading import Part, kept, part
from .viewer import viewer

# A count may be this old: every page has the menu, and asks for it at each poll.
SECONDS = 5.0
MOST_QUEUES = 200


def menu_counts() -> dict[str, str]:
    """Return the counts by the names of sections that the viewer may open, each with words for screen readers."""
    if not viewer().is_in:
        return {}
    try:
        found = {**dict(_counts()), **dict(_late())}
    except DatabaseUnavailable:
        return {}
    return {name: text for name, text in found.items() if permissions().why_not(f"ui.{name}.show") is None}


def _counts() -> Iterator[tuple[str, str]]:
    def look(conn: Connection) -> counted.MenuCounts:
        return counted.menu_counts(conn, queues=caller().queues)

    found: Part[counted.MenuCounts] = kept("menu counts", (), lambda: part(look), seconds=SECONDS)
    if found.value is None:
        return
    yield "workers", f"{found.value.workers:,} alive"
    if found.value.running is not None:
        yield "running", f"{found.value.running:,} running"
    if found.value.failed:
        least = "+" if found.value.is_failed_part else ""
        yield "failures", f"{found.value.failed:,}{least} failed in the last hour"


def _late() -> Iterator[tuple[str, str]]:
    def look(conn: Connection) -> tuple[int, bool]:
        queues, more = list_queues(conn, limit=MOST_QUEUES, queues=caller().queues)
        return sum(queue.is_late for queue in with_lateness(conn, queues)), more

    found: Part[tuple[int, bool]] = kept("late queues", (), lambda: part(look), seconds=SECONDS)
    if found.value and found.value[0]:
        yield "queues", f"{found.value[0]}{'+' if found.value[1] else ''} late"
