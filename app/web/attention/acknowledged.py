"""Which notices somebody has acknowledged."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from haulier.queue.health.acknowledgements import Acknowledged

from .notice import Notice

Key = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Seen:
    """An acknowledged notice: who did that last, and when. `is_own`: the viewer may undo it."""

    notice: Notice
    actor: str | None
    at: datetime
    is_own: bool


def split(notices: Sequence[Notice], known: Sequence[Acknowledged]) -> tuple[list[Notice], list[Seen]]:
    """Return the notices that are new or have got worse, and those that were acknowledged as they are."""
    rows: dict[Key, list[Acknowledged]] = {}
    for row in known:
        rows.setdefault((row.rule, row.thing), []).append(row)
    new, seen = [], []
    for notice in notices:
        if covering := _covering(notice, rows):
            last = max(covering, key=lambda row: row.at)
            seen.append(Seen(notice, last.actor, last.at, all(row.is_own for row in covering)))
        else:
            new.append(notice)
    return new, seen


def _covering(notice: Notice, rows: Mapping[Key, Sequence[Acknowledged]]) -> list[Acknowledged]:
    """Return a row for each thing of the notice, at least as bad as it is now; none if one has no such row."""
    found = []
    for thing, size in notice.things.items():
        covering = [row for row in rows.get((notice.rule, thing), ()) if row.size >= size]
        if not covering:
            return []
        # Own rows first: the viewer can undo these.
        found.append(max(covering, key=lambda row: row.is_own))
    return found


def over(notices: Sequence[Notice], known: Sequence[Acknowledged]) -> Iterator[Key]:
    """Return what was acknowledged with the viewer's own rights and has ended, each the rule and the thing."""
    present = {(notice.rule, thing) for notice in notices for thing in notice.things}
    return ((row.rule, row.thing) for row in known if row.is_own and (row.rule, row.thing) not in present)
