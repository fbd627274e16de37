"""What a worker process says of itself with each heartbeat: memory, CPU, threads, isolated processes."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

# A worker's row is written with each heartbeat, so it stays small: at most this many isolated processes and reasons for
# their ends, and an hour of minutes.
MOST_NAMED, MINUTES = 20, 60

# How isolated processes end that are short of memory: by their limit, or nearly, or killed by the system.
FULL, KILLED = "reached the memory limit", "was killed by SIGKILL"


@dataclass(frozen=True, slots=True)
class IsolatedProcess:
    """A process that runs jobs of an isolated kind. Units: memory is bytes, cpu is cores; None: unknown."""

    kind: str
    pid: int
    memory: int | None = None
    cpu: float | None = None


@dataclass(frozen=True, slots=True)
class IsolatedEnds:
    """How many isolated processes of a kind ended in one way within the last hour, against the worker's will."""

    kind: str
    how: str
    times: int


@dataclass(frozen=True, slots=True)
class Vitals:
    """The state of a worker process at its last heartbeat; None: unknown.

    memory is resident, and usual_memory what it was after the first minutes of work. is_growing: it has grown steadily
    far past that, while jobs of the kinds `grew_with` ran. cpu and busy are means since the heartbeat before: the cores
    and the threads in use. busy_minutes are the means of busy threads per minute, oldest first; the last minute is
    unfinished. isolated_ended counts all ends since the worker's start, ends those of the last hour by kind and reason.
    Units: memory is bytes, cpu is cores.
    """

    memory: int | None = None
    usual_memory: int | None = None
    is_growing: bool = False
    grew_with: Sequence[str] = ()
    cpu: float | None = None
    busy: float | None = None
    busy_minutes: Sequence[float | None] = ()
    isolated: Sequence[IsolatedProcess] = ()
    isolated_ended: int = 0
    ends: Sequence[IsolatedEnds] = ()

    @property
    def text(self) -> str:
        """Return them as JSON."""
        return json.dumps(self, default=_plain)


def read_vitals(stored: Mapping[str, Any] | None) -> Vitals | None:
    """Return stored vitals; None if there are none. What a newer release has added is ignored."""
    if not stored:
        return None
    found = _known(Vitals, stored)
    return Vitals(
        **{
            **found,
            "isolated": [IsolatedProcess(**_known(IsolatedProcess, each)) for each in found.get("isolated", ())],
            "ends": [IsolatedEnds(**_known(IsolatedEnds, each)) for each in found.get("ends", ())],
        }
    )


def _plain(value: Any) -> dict[str, Any]:
    # dataclasses.asdict copies all of it, which takes three times as long.
    return {each.name: getattr(value, each.name) for each in fields(value)}


def _known(of: type[Any], stored: Mapping[str, Any]) -> dict[str, Any]:
    return {each.name: stored[each.name] for each in fields(of) if each.name in stored}
