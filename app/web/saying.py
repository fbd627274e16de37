"""What was just done, told once on the page that the browser is led to."""

from __future__ import annotations

import base64
import binascii

from flask import g, redirect, request
from werkzeug.wrappers import Response

from . import cookies
from .places import checked
from .reading import LIVE, shelf
from .viewer import viewer

MOST_CHARACTERS = 300


def done(sentence: str, place: str) -> Response:
    """Lead to this place of the dashboard, and tell there what was done; "": the place says that by itself."""
    shelf().clear()
    response = redirect(checked(place), 303)
    text = base64.urlsafe_b64encode(sentence[:MOST_CHARACTERS].encode()).decode()
    cookies.put(response, cookies.SAID, f"{text}.{cookies.signed(viewer().secret, text)}", seconds=60)
    return response


def went_on(place: str) -> Response:
    """Lead to this place after an act of which there is nothing to tell, and which may come every second."""
    shelf().clear()
    return redirect(checked(place), 303)


def said() -> str:
    """Return what was just done, or "", and have the browser forget it."""
    if not cookies.read(cookies.SAID):
        return ""
    g.drops = (*g.get("drops", ()), cookies.SAID)
    try:
        return base64.urlsafe_b64decode(_handed_on() or "").decode()
    except (binascii.Error, UnicodeDecodeError):
        return ""


def heed_acts() -> None:
    """Forget what this process keeps, where the browser was just led here by an act: another one may have done it.

    A poll heeds none: what it hands on stays until a whole page tells it, and each poll would have all read anew.
    """
    if request.method == "GET" and LIVE not in request.headers and _handed_on() is not None:
        shelf().clear()


def _handed_on() -> str | None:
    text, _, signature = cookies.read(cookies.SAID).partition(".")
    # Only what this service has signed for this session: nobody else has words to put on its pages.
    return text if signature and cookies.is_signed(viewer().secret, text, signature) else None
