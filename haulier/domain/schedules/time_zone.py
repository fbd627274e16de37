"""The time zones of the package tzdata.

The system's files are never read, because two hosts may have different ones. `zoneinfo.reset_tzpath` would do the same,
but the handlers of a team's kinds share the process and would see the change.
"""

from __future__ import annotations

from functools import cache
from importlib import resources
from zoneinfo import ZoneInfo


class UnknownZone(ValueError):
    """There is no such time zone."""


@cache
def zone_names() -> frozenset[str]:
    """Return the names of all time zones."""
    return frozenset(resources.files("tzdata").joinpath("zones").read_text(encoding="utf-8").split())


def zone(name: str) -> ZoneInfo:
    """Return the zone of this name, such as Europe/Berlin. Raises: UnknownZone."""
    # Only a name from the list becomes a path.
    if name not in zone_names():
        raise UnknownZone(name)
    return _zone(name)


@cache
def _zone(name: str) -> ZoneInfo:
    with resources.files("tzdata").joinpath("zoneinfo", *name.split("/")).open("rb") as file:
        return ZoneInfo.from_file(file, key=name)
