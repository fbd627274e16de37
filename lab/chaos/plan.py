"""The plan: which fault comes when. It follows only from the seed and the length."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, field

# Before the first fault, so that everything runs by then; and after the last, so that its end is seen.
QUIET_SECONDS = 4.0


@dataclass(frozen=True)
class Kind:
    """A kind of fault: its frequency relative to the others, and the bounds of its random parameters.

    Each parameter is drawn between its two bounds; beside them each fault gets `pick`, from 0 to 1, by which it chooses
    among the processes or messages that it finds.
    """

    weight: int
    bounds: Mapping[str, tuple[float, float]] = field(default_factory=dict)


KINDS: dict[str, Kind] = {
    "worker_killed": Kind(4),
    "family_killed": Kind(1),
    "worker_paused": Kind(3, {"leases": (0.3, 4.0)}),
    "clock_jumps": Kind(2, {"seconds": (-90_000, 90_000), "lasts": (1.0, 4.0)}),
    "web_killed": Kind(3),
    "database_stopped": Kind(3, {"lasts": (0.1, 3.0)}),
    "backends_terminated": Kind(4, {"which": (0, 1)}),
    "half_open": Kind(2, {"side": (0, 1)}),
    "bytes_dropped": Kind(2, {"side": (0, 1), "lasts": (0.5, 3.0)}),
    "reply_cut": Kind(4, {"which": (0, 1)}),
    "request_cut": Kind(3, {"which": (0, 1)}),
    "database_slow": Kind(2, {"side": (0, 1), "lasts": (2.0, 5.0)}),
    "disk_full": Kind(2, {"lasts": (0.5, 3.0)}),
    "read_only": Kind(2, {"lasts": (0.5, 3.0)}),
    "deadlocks": Kind(2, {"lasts": (1.0, 4.0), "probability": (0.1, 0.6)}),
    "serialization_errors": Kind(2, {"lasts": (1.0, 4.0), "probability": (0.1, 0.6)}),
    "table_locked": Kind(2, {"lasts": (0.5, 6.0)}),
    "queue_paused": Kind(3, {"lasts": (1.5, 4.0)}),
    "operation_interrupted": Kind(3, {"action": (0, 1)}),
    "handler_raises": Kind(1, {"jobs": (5, 30)}),
    "handler_dawdles": Kind(1, {"jobs": (1, 4)}),
    "handler_hangs": Kind(1, {"ms": (2500, 6000)}),
    "handler_is_deaf": Kind(2, {"jobs": (1, 4), "ms": (500, 2500)}),
    "handler_leaks": Kind(1, {"jobs": (3, 6)}),
    "handler_holds_gil": Kind(2, {"ms": (500, 4000)}),
    "handler_exits": Kind(2, {"jobs": (1, 3)}),
    "handler_is_poison": Kind(1),
    "child_killed": Kind(3, {"jobs": (2, 6), "ms": (1500, 4000)}),
    "child_exits": Kind(1, {"jobs": (1, 4)}),
    "child_holds_gil": Kind(1, {"ms": (4000, 7000)}),
    "child_grows": Kind(1, {"jobs": (1, 3)}),
}


@dataclass(frozen=True)
class Fault:
    """One fault to come. Units: at is seconds after the beginning."""

    at: float
    name: str
    drawn: Mapping[str, float]


def plan(*, seed: int, seconds: float, every: float) -> list[Fault]:
    """Return the faults in order, on average one `every` this many seconds; first one of each kind, then by weight."""
    chance = random.Random(f"haulier chaos {seed}")
    deck: list[str] = []
    faults: list[Fault] = []
    at = QUIET_SECONDS
    while at < seconds - QUIET_SECONDS:
        if not deck:
            deck = list(KINDS) if not faults else [name for name, kind in KINDS.items() for _ in range(kind.weight)]
            chance.shuffle(deck)
        name = deck.pop()
        drawn = {what: round(chance.uniform(*bounds), 3) for what, bounds in KINDS[name].bounds.items()}
        faults.append(Fault(round(at, 3), name, {**drawn, "pick": round(chance.random(), 6)}))
        at += every * chance.uniform(0.5, 1.5)
    return faults
