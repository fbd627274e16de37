"""A person's settings of the pages, stored only in cookies of their browser."""

from __future__ import annotations

from flask import request, url_for
from werkzeug.wrappers import Response

from ...http.routes import Entry
from ..kit import cookies
from ..kit.flash import done
from ..kit.page import Page
from ..kit.return_to import asked
from ..kit.section import Section
from ..kit.viewer import THEMES, Preferences, viewer, zone_of

section = Section("settings", __name__)


@section.page("/settings", Entry.ANY_KEY)
def show() -> Page:
    """Return the settings."""
    return _page(viewer().prefers)


@section.act("/settings", Entry.ANY_KEY)
def change() -> Page | Response:
    """Save the settings."""
    theme, zone = request.form.get("theme", ""), request.form.get("zone", "").strip()
    is_exact, uses_keys = (request.form.get(name) == "1" for name in ("exact", "keys"))
    if theme not in THEMES or not zone_of(zone):
        fault = "This is not a time zone. Example: Europe/Berlin."
        return _page(Preferences(theme, zone, is_exact, uses_keys), fault, 422)
    response = done("Saved in this browser.", url_for("ui.settings.show"))
    flags = {cookies.EXACT: str(int(is_exact)), cookies.KEYS: str(int(uses_keys))}
    chosen = {cookies.THEME: theme, cookies.ZONE: zone, **flags}
    for name, value in chosen.items():
        cookies.put(response, name, value, seconds=cookies.YEAR_SECONDS)
    return response


@section.act("/settings/theme", Entry.ANY_KEY)
def choose_theme() -> Response:
    """Save only the theme, and return to the page."""
    theme = request.form.get("theme", "")
    response = done("", asked())
    if theme in THEMES:
        cookies.put(response, cookies.THEME, theme, seconds=cookies.YEAR_SECONDS)
    return response


def _page(prefers: Preferences, fault: str | None = None, status: int = 200) -> Page:
    return Page("settings.html", "Settings", status=status, prefers=prefers, fault=fault)
