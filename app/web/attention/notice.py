"""A notice, its lines and its actions."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum

# A thing that a notice is about is stored with at most this many.
MOST_CHARACTERS = 200
# Name at most this many workers, schedules or queues, and count the rest. A notice has at most this many lines.
MOST_NAMED, MOST_LINES = 3, 5


class Level(IntEnum):
    """How bad it is."""

    BAD = 0
    WARN = 1
    NOTE = 2


@dataclass(frozen=True, slots=True)
class Action:
    """A link of a notice: the endpoint of a page and the arguments of its path.

    `act` is the endpoint of the act on that page. Viewers who may not use it do not see the link. If it is `at_once`,
    it is no link but a button that acts.
    """

    label: str
    endpoint: str
    given: tuple[tuple[str, str | tuple[str, ...]], ...] = ()
    act: str = ""
    at_once: bool = False


@dataclass(frozen=True, slots=True)
class Line:
    """One of several things that a notice is about, with its actions."""

    text: str
    actions: tuple[Action, ...]


def named(names: Sequence[str]) -> str:
    """Return the first of the names, and how many more there are."""
    more = len(names) - MOST_NAMED
    return ", ".join(names[:MOST_NAMED]) + (f" and {more} more" if more > 0 else "")


def few(lines: Sequence[Line]) -> tuple[Line, ...]:
    """Return the first of the lines, and how many more there are."""
    more = len(lines) - MOST_LINES
    return (*lines[:MOST_LINES], *([Line(f"and {more} more", ())] if more > 0 else ()))


def magnitude(amount: float) -> int:
    """Return how many digits a number has: a notice has changed when ten times as many jobs are due, not one more."""
    return len(str(int(amount)))


@dataclass(frozen=True, slots=True)
class Notice:
    """One incident that needs somebody. Its lines are what it consists of, the worst first.

    `about` maps each thing it is about, such as a queue, to how bad that is: an acknowledged notice is shown again when
    something is added or gets worse. If it is empty, the notice stays acknowledged while it lasts. `rule` is the name
    of the rule that made it.
    """

    level: Level
    what: str
    more: str = ""
    actions: tuple[Action, ...] = ()
    lines: tuple[Line, ...] = ()
    about: Mapping[str, int] = field(default_factory=dict)
    rule: str = ""

    @property
    def things(self) -> Mapping[str, int]:
        """Return the things that it is about, at least one, and how bad each is."""
        return {thing[:MOST_CHARACTERS]: size for thing, size in self.about.items()} or {self.rule: 0}

    @property
    def mark(self) -> str:
        """Return a short hash of what is acknowledged with it."""
        return hashlib.sha256(repr((self.rule, sorted(self.things.items()))).encode()).hexdigest()[:12]
