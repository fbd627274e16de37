"""How a person wants to see pages: kept in cookies of their browser, and nowhere else."""

from __future__ import annotations

from dataclasses import dataclass

from flask import request
from werkzeug.wrappers import Response

from ...http.routes import Entry
from .. import cookies
from ..answering import Shown
from ..places import asked
from ..saying import done
from ..section import Section
from ..viewer import THEMES, viewer, zone_of

section = Section("settings", __name__)


@dataclass(frozen=True, slots=True)
class Settings:
    """The page. Shape: fault is of the zone that was sent."""

    theme: str
    zone: str
    is_exact: bool
    uses_keys: bool
    fault: str | None = None


@section.page("/settings", Entry.ANY_KEY)
def show() -> Shown:
    """Return what can be set."""
    prefers = viewer().prefers
    return _shown(Settings(prefers.theme, prefers.zone, prefers.is_exact, prefers.uses_keys))


@section.act("/settings", Entry.ANY_KEY)
def change() -> Shown | Response:
    """Set it."""
    theme, zone = request.form.get("theme", ""), request.form.get("zone", "").strip()
    is_exact, uses_keys = (request.form.get(name) == "1" for name in ("exact", "keys"))
    if theme not in THEMES or not zone_of(zone):
        return _shown(Settings(theme, zone, is_exact, uses_keys, "No zone has this name. One is Europe/Berlin."), 422)
    response = done("Saved in this browser.", "/ui/settings")
    flags = {cookies.EXACT: str(int(is_exact)), cookies.KEYS: str(int(uses_keys))}
    chosen = {cookies.THEME: theme, cookies.ZONE: zone, **flags}
    for name, value in chosen.items():
        cookies.put(response, name, value, seconds=cookies.YEAR_SECONDS)
    return response


@section.act("/settings/theme", Entry.ANY_KEY)
def choose_theme() -> Response:
    """Set the theme alone, and lead back."""
    theme = request.form.get("theme", "")
    response = done("", asked())
    if theme in THEMES:
        cookies.put(response, cookies.THEME, theme, seconds=cookies.YEAR_SECONDS)
    return response


def _shown(settings: Settings, status: int = 200) -> Shown:
    return Shown("settings.html", settings, "Settings", status=status)
