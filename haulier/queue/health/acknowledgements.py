"""Notices of the dashboard that somebody has acknowledged. Functions over a connection.

A row is a thing that a notice is about. `queues` are those that the caller may see; None: every queue.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from haulier.postgres.statements import Connection, rows
from haulier.postgres.values import array, utc

# After a day a notice is shown again: it may have ended and come back while nobody looked.
LONGEST_SECONDS = 86_400.0
# Notices are about at most 200 queues, workers or schedules each.
MOST_THINGS = 2_000


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """A thing that a notice was about, and how bad it was.

    `actor` is as in the audit; None: no key was needed. `is_own`: by callers who see the same queues.
    """

    rule: str
    thing: str
    size: int
    at: datetime
    actor: str | None
    is_own: bool


def list_acknowledged(conn: Connection, *, queues: Sequence[str] | None) -> list[Acknowledged]:
    """Return what was acknowledged by callers who see the same queues, or every queue; newest first."""
    found = rows(conn, "list_acknowledged", sight=_sight(queues), longest=LONGEST_SECONDS, limit=MOST_THINGS)
    return [Acknowledged(**{**row, "at": utc(row["at"])}) for row in found]


def acknowledge(
    conn: Connection, rule: str, about: Mapping[str, int], what: str, *, queues: Sequence[str] | None, actor: str | None
) -> None:
    """Acknowledge a notice; its text goes into the audit."""
    forget(conn, (), queues=queues)
    rows(
        conn,
        "acknowledge",
        rule=rule,
        things=array(about),
        sizes=array(about.values()),
        sight=_sight(queues),
        actor=actor,
        details=json.dumps({"notice": what}),
    )


def show_again(
    conn: Connection, rule: str, things: Iterable[str], what: str, *, queues: Sequence[str] | None, actor: str | None
) -> None:
    """Show a notice again that was acknowledged; its text goes into the audit if it was."""
    details = json.dumps({"notice": what})
    rows(conn, "show_again", rule=rule, things=array(things), sight=_sight(queues), actor=actor, details=details)


def forget(conn: Connection, over: Iterable[tuple[str, str]], *, queues: Sequence[str] | None) -> None:
    """Forget what is over, each the rule and the thing, and what was acknowledged over a day ago."""
    pairs = list(over)
    rules, things = array(rule for rule, _ in pairs), array(thing for _, thing in pairs)
    rows(conn, "forget_acknowledged", rules=rules, things=things, sight=_sight(queues), longest=LONGEST_SECONDS)


def _sight(queues: Sequence[str] | None) -> str:
    # A hash, because an entry of an index cannot hold a hundred names.
    return "" if queues is None else hashlib.sha256(" ".join(sorted(queues)).encode()).hexdigest()
