"""When jobs of a kind or a queue came: a search for few among many skips the times in which none did."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import NamedTuple

from haulier.postgres.statements import Connection, Row, rows
from haulier.postgres.values import utc

# This many steps are asked for at once.
STEPS_AT_ONCE = 500

ALWAYS, NEVER = datetime(1970, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, tzinfo=UTC)


class Window(NamedTuple):
    """A time in which some of the wanted jobs may have come, from its beginning up to its end, which is not in it."""

    begins_at: datetime
    ends_at: datetime


def windows(
    conn: Connection, *, kinds: Sequence[str] | None, queues: Sequence[str] | None, before: datetime
) -> Iterator[Window]:
    """Yield, the newest first, the times before some instant in which such jobs may have come.

    What was counted only once, or never, is in them. In the times between them none came, unless its transaction had
    been open for over an hour when it committed.
    """
    ends_at = before
    while True:
        found = rows(
            conn,
            "arrivals",
            kinds=None if kinds is None else list(kinds),
            queues=None if queues is None else list(queues),
            came_before=ends_at,
            most=STEPS_AT_ONCE,
        )
        if not found or found[0]["known_from"] is None:
            yield Window(ALWAYS, ends_at)
            return
        reach = found[0]
        known_to = utc(max(reach["recounted"], reach["known_from"]))
        if known_to < ends_at:
            yield Window(known_to, ends_at)
            ends_at = known_to
        steps = [step for step in _joined(found) if step.begins_at < ends_at]
        yield from (Window(step.begins_at, min(step.ends_at, ends_at)) for step in steps)
        if not steps or len(found) < STEPS_AT_ONCE:
            yield Window(ALWAYS, min(ends_at, utc(reach["known_from"])))
            return
        ends_at = steps[-1].begins_at


def _joined(steps: Sequence[Row]) -> list[Window]:
    """Return the steps, those that follow each other as one."""
    joined: list[Window] = []
    for step in steps:
        if step["began_at"] is None:
            continue
        window = Window(utc(step["began_at"]), utc(step["ended_at"]))
        if joined and joined[-1].begins_at <= window.ends_at:
            joined[-1] = Window(min(window.begins_at, joined[-1].begins_at), joined[-1].ends_at)
        else:
            joined.append(window)
    return joined
