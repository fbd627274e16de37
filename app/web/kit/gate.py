"""Identifies the viewer of the dashboard by session, never by the header Authorization."""

from __future__ import annotations

import secrets
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from flask import g, redirect, request, url_for
from werkzeug.exceptions import BadRequest
from werkzeug.wrappers import Response

from haulier.config import Config
from haulier.domain.api_key import ApiKey
from haulier.domain.errors import DatabaseUnavailable
from haulier.queue.access import sessions
from haulier.queue.access.sessions import Session

from ...http.auth import NOBODY, Caller, Door
from ...http.request_errors import Forbidden
from ...http.routes import BODY_BYTES, Entry, Route
from ...http.service import connection
from . import cookies, server_timing
from .flash import heed_acts
from .permissions import first_page, permissions
from .reading import LIVE
from .refusals import NotHere, TooOld
from .return_to import back_to
from .static_files import ENDPOINT as STATIC
from .viewer import Viewer, preferences

SIGN_IN, OVERVIEW = "ui.sign_in.show", "ui.overview.show"
# Shown after a link on another site: it loads the page again from here, so that the browser sends the cookie.
AGAIN = '<!doctype html><html lang="en"><meta http-equiv="refresh" content="0"><title>Haulier</title><p>One moment.</p>'


class Gate:
    """Admits viewers by the session in a cookie, never by the header Authorization."""

    is_for_pages = True

    def __init__(self, config: Config) -> None:
        self._config = config
        self.idle_seconds = config.session_hours * 3600.0

    def identify(self, door: Door, route: Route) -> None:
        """Find out who looks. Raises: Forbidden; Unauthorized; DatabaseUnavailable."""
        server_timing.begin()
        g.door, g.gate = door, self
        g.viewer = Viewer(prefers=preferences(self._config.time_zone))
        if _is_for_viewers():
            g.viewer = self._viewer(door)
            heed_acts()

    def check(self, route: Route) -> Response | None:
        """Return None if the viewer may make this call, or where it leads instead.

        Raises: Forbidden; NotHere; TooOld; BadRequest.
        """
        if not _is_for_viewers():
            return None
        _check_text()
        if request.method == "POST":
            _check_form()
        if route.needs is Entry.ANYONE:
            return None
        if not g.viewer.is_in:
            return _to_sign_in()
        why = permissions().refused(request.method, route, request.endpoint)
        return None if why is None else _refused(why)

    def _viewer(self, door: Door) -> Viewer:
        prefers = preferences(self._config.time_zone)
        if door.is_open(request.environ):
            return Viewer(NOBODY, True, False, _anonymous(), _clock(), prefers)
        token = cookies.read(cookies.SESSION)
        found = _find(token) if token else None
        key = None if found is None else self._key_of(door, found)
        if found is None or key is None:
            if token:
                _end(token, found)
            return Viewer(NOBODY, False, False, _anonymous(), datetime.now(UTC), prefers)
        # Polls do not count as use: an open page must not keep a session alive for ever.
        if found.is_stale and LIVE not in request.headers:
            self._touch(token)
        g.caller = Caller(key)
        return Viewer(g.caller, True, True, token, found.now, prefers)

    def _key_of(self, door: Door, session: Session) -> ApiKey | None:
        """Return the key of the session if it is active and still has the same secret."""
        if door.own is not None and session.key_id == door.own.id:
            return door.own if door.own.has_hash(session.key_hash) else None
        return door.keyring.holding(session.key_id, session.key_hash)

    def _touch(self, token: str) -> None:
        with suppress(DatabaseUnavailable), connection() as conn:
            sessions.touch_session(conn, token, idle_seconds=self.idle_seconds)


def _is_for_viewers() -> bool:
    # Flask answers a path that is none by itself; files are the same for everybody.
    return request.url_rule is not None and request.endpoint != STATIC


def gate() -> Gate:
    """Return the gate by which the current request came."""
    found: Gate = g.gate
    return found


def _find(token: str) -> Session | None:
    with connection() as conn:
        return sessions.find_session(conn, token)


def _end(token: str, found: Session | None) -> None:
    """Have both sides forget a session that has ended."""
    g.drops = (cookies.SESSION,)
    if found is not None:
        with suppress(DatabaseUnavailable), connection() as conn:
            sessions.close_session(conn, token)


def _clock() -> datetime:
    with connection() as conn:
        return sessions.clock(conn)


def _anonymous() -> str:
    """Return the token of a browser without a session; a new one if it has none."""
    token = cookies.read(cookies.ANONYMOUS)
    if len(token) < 32:
        token = g.new_anonymous = secrets.token_urlsafe(32)
    return token


def _check_text() -> None:
    """Refuse values with a NUL, which no text in the database can hold. Raises: BadRequest."""
    request.max_form_memory_size = BODY_BYTES
    given: list[Any] = [request.path, *request.args.values(), *request.args]
    if request.method == "POST":
        given += [*request.form, *(text for texts in request.form.listvalues() for text in texts)]
    if any("\0" in text for text in given):
        raise BadRequest


def _check_form() -> None:
    """Check that this form was made for this viewer. Raises: TooOld."""
    if not cookies.is_signed(g.viewer.secret, "csrf", request.form.get("csrf", "")):
        raise TooOld


def _refused(why: Forbidden | NotHere) -> Response:
    """Redirect from the overview to the first page that the viewer may open; refuse every other page."""
    first = first_page() if request.endpoint == OVERVIEW and LIVE not in request.headers else None
    if first is None:
        raise why
    return redirect(url_for(first.endpoint), 303)


def _to_sign_in() -> Response:
    if LIVE in request.headers:
        return Response(status=401)
    if request.method == "POST":
        return redirect(url_for(SIGN_IN), 303)
    if request.headers.get("Sec-Fetch-Site") == "cross-site" and not cookies.read(cookies.SESSION):
        return Response(AGAIN, content_type="text/html; charset=utf-8")
    return redirect(url_for(SIGN_IN, next=back_to()), 303)
