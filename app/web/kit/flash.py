"""The message about an act, shown once on the page after it, perhaps with a button that undoes the act."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import astuple, dataclass

from flask import current_app, g, redirect, request
from werkzeug.wrappers import Response

from . import cookies
from .reading import LIVE, shelf
from .return_to import checked
from .viewer import viewer

MOST_CHARACTERS = 300


@dataclass(frozen=True, slots=True)
class Undo:
    """The act that undoes what was done.

    `word` is the label of its button, `act` its endpoint, such as `job.retry`, `given` the arguments of its path.
    """

    word: str
    act: str
    given: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Said:
    """What was done, or "". The page checks whether the viewer may undo it."""

    text: str = ""
    undo: Undo | None = None


NOTHING = Said()


def done(sentence: str, place: str, undo: Undo | None = None) -> Response:
    """Redirect to this page of the dashboard, which then shows what was done and a button that undoes it.

    `sentence` is "" if the page shows that anyway.
    """
    shelf().clear()
    response = redirect(checked(place), 303)
    parts = [sentence[:MOST_CHARACTERS], *([json.dumps(astuple(undo))] if undo else [])]
    text = ".".join(base64.urlsafe_b64encode(each.encode()).decode() for each in parts)
    cookies.put(response, cookies.SAID, f"{text}.{cookies.signed(viewer().secret, text)}", seconds=60)
    return response


def went_on(place: str) -> Response:
    """Redirect to this page without a message, after an act that may come every second."""
    shelf().clear()
    return redirect(checked(place), 303)


def said() -> Said:
    """Return what was just done, and delete its cookie."""
    if not cookies.read(cookies.SAID):
        return NOTHING
    g.drops = (*g.get("drops", ()), cookies.SAID)
    text = _handed_on()
    if text is None:
        return NOTHING
    try:
        sentence, *more = (base64.urlsafe_b64decode(each).decode() for each in text.split("."))
        return Said(sentence, _undo(more[0]) if more else None)
    except (TypeError, ValueError):
        return NOTHING


def _undo(text: str) -> Undo | None:
    """Return the act, or None if this process does not have it: another release may have written the cookie."""
    found = Undo(*json.loads(text))
    return found if f"ui.{found.act}" in current_app.view_functions else None


def heed_acts() -> None:
    """Forget what this process keeps, if the browser was just led here by an act: another one may have done it.

    A poll ignores them: what it hands on stays until a whole page shows it, and each poll would read all again.
    """
    if request.method == "GET" and LIVE not in request.headers and _handed_on() is not None:
        shelf().clear()


def _handed_on() -> str | None:
    text, _, signature = cookies.read(cookies.SAID).rpartition(".")
    # Only what this service has signed for this session: nobody else has words to put on its pages.
    return text if signature and cookies.is_signed(viewer().secret, text, signature) else None
