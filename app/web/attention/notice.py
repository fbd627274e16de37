"""A notice, its lines and its actions."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum


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


@dataclass(frozen=True, slots=True)
class Notice:
    """One incident that needs somebody. Its lines are what it consists of, the worst first."""

    level: Level
    what: str
    more: str = ""
    actions: tuple[Action, ...] = ()
    lines: tuple[Line, ...] = ()
