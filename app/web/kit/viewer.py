"""The viewer of a page, and their preferences."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, tzinfo

from flask import g

from haulier.domain.schedules.time_zone import UnknownZone, zone

from ...http.auth import NOBODY, Caller
from . import cookies

THEMES = ("auto", "light", "dark")


@dataclass(frozen=True, slots=True)
class Preferences:
    """A person's preferences.

    `zone` is a tzdata name; `is_exact`: times are not relative; `uses_keys`: keyboard shortcuts are on.
    """

    theme: str = "auto"
    zone: str = "UTC"
    is_exact: bool = False
    uses_keys: bool = True

    @property
    def time_zone(self) -> tzinfo:
        """Return the time zone."""
        return zone_of(self.zone) or UTC


@dataclass(frozen=True, slots=True)
class Viewer:
    """The viewer of a page.

    `is_in` is true if they may see more than the sign-in page, `is_known` if they have a session. `secret` is the
    token of the session, or of a browser without one. `now` is the database's clock if that was read.
    """

    caller: Caller = NOBODY
    is_in: bool = False
    is_known: bool = False
    secret: str = field(default="", repr=False)
    now: datetime = field(default_factory=lambda: datetime.now(UTC))
    prefers: Preferences = field(default_factory=Preferences)

    @property
    def name(self) -> str:
        """Return the name of the API key of the session."""
        return "" if self.caller.key is None else self.caller.key.name

    @property
    def csrf(self) -> str:
        """Return the token that every form must send."""
        return cookies.signed(self.secret, "csrf")

    @property
    def sight(self) -> tuple[object, ...]:
        """Return everything that decides what this viewer may see."""
        queues = self.caller.queues
        whole = None if queues is None else tuple(queues)
        return whole, self.caller.may_see_secrets, self.caller.may_see_actors


def viewer() -> Viewer:
    """Return the viewer of the current request; an anonymous one if it failed before that was known."""
    found: Viewer = g.get("viewer") or Viewer()
    return found


def zone_of(name: str) -> tzinfo | None:
    """Return the time zone of this name, or None."""
    try:
        return zone(name)
    except UnknownZone:
        return None


def preferences(default_zone: str) -> Preferences:
    """Return the preferences in the cookies of the browser."""
    theme, chosen = cookies.read(cookies.THEME), cookies.read(cookies.ZONE)
    return Preferences(
        theme if theme in THEMES else "auto",
        chosen if chosen and zone_of(chosen) else default_zone,
        cookies.read(cookies.EXACT) == "1",
        cookies.read(cookies.KEYS) != "0",
    )
