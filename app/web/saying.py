"""What was just done, told once on the page that the browser is led to."""

from __future__ import annotations

import base64
import binascii

from flask import g, redirect
from werkzeug.wrappers import Response

from . import cookies
from .places import checked
from .reading import shelf
from .viewer import viewer

MOST_CHARACTERS = 300


def done(sentence: str, place: str) -> Response:
    """Lead to this place of the dashboard, and tell there what was done."""
    shelf().clear()
    response = redirect(checked(place), 303)
    if not sentence:
        return response
    text = base64.urlsafe_b64encode(sentence[:MOST_CHARACTERS].encode()).decode()
    cookies.put(response, cookies.SAID, f"{text}.{cookies.signed(viewer().secret, text)}", seconds=60)
    return response


def said() -> str:
    """Return what was just done, or "", and have the browser forget it."""
    given = cookies.read(cookies.SAID)
    text, _, signature = given.partition(".")
    if not given:
        return ""
    g.drops = (*g.get("drops", ()), cookies.SAID)
    # Only what this service has signed for this session: nobody else has words to put on its pages.
    if not cookies.is_signed(viewer().secret, text, signature):
        return ""
    try:
        return base64.urlsafe_b64decode(text).decode()
    except (binascii.Error, UnicodeDecodeError):
        return ""
