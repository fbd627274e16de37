"""Who looks at a page, and how they want to see it."""

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
    """How a person wants to see pages.

    `zone` is a name of tzdata; is_exact: times are not relative; uses_keys: single keys lead somewhere.
    """

    theme: str = "auto"
    zone: str = "UTC"
    is_exact: bool = False
    uses_keys: bool = True

    @property
    def time_zone(self) -> tzinfo:
        """Return the zone."""
        return zone_of(self.zone) or UTC


@dataclass(frozen=True, slots=True)
class Viewer:
    """Who looks.

    `is_in` is true if they may see more than the sign-in page; is_known that it is by a session. secret is the token of
    that session, or of a browser without one. now is the database's clock, as far as that was asked.
    """

    caller: Caller = NOBODY
    is_in: bool = False
    is_known: bool = False
    secret: str = field(default="", repr=False)
    now: datetime = field(default_factory=lambda: datetime.now(UTC))
    prefers: Preferences = field(default_factory=Preferences)

    @property
    def name(self) -> str:
        """Return the name of the API key with which they have signed in."""
        return "" if self.caller.key is None else self.caller.key.name

    @property
    def csrf(self) -> str:
        """Return what each form has to send."""
        return cookies.signed(self.secret, "csrf")

    @property
    def sight(self) -> tuple[object, ...]:
        """Return all on which it depends what they see of the same things."""
        queues = self.caller.queues
        whole = None if queues is None else tuple(queues)
        return whole, self.caller.may_see_secrets, self.caller.may_see_actors


def viewer() -> Viewer:
    """Return who has made the current request; nobody in particular if it failed before that was known."""
    found: Viewer = g.get("viewer") or Viewer()
    return found


def zone_of(name: str) -> tzinfo | None:
    """Return the time zone of this name, or None."""
    try:
        return zone(name)
    except UnknownZone:
        return None


def preferences(default_zone: str) -> Preferences:
    """Return what the browser's cookies say."""
    theme, chosen = cookies.read(cookies.THEME), cookies.read(cookies.ZONE)
    return Preferences(
        theme if theme in THEMES else "auto",
        chosen if chosen and zone_of(chosen) else default_zone,
        cookies.read(cookies.EXACT) == "1",
        cookies.read(cookies.KEYS) != "0",
    )
