"""Sign in with an API key, and sign out."""

from __future__ import annotations

import logging

from flask import g, redirect, request, url_for
from werkzeug.wrappers import Response

from haulier.domain.api_key import ApiKey, Scope, hash_of
from haulier.domain.errors import KeyNotFound
from haulier.queue.access import sessions

from ...http.request_errors import Unauthorized
from ...http.routes import Entry
from ...http.service import connection, service
from ..kit import cookies
from ..kit.gate import SIGN_IN, gate
from ..kit.page import Page
from ..kit.return_to import asked
from ..kit.section import Section
from ..kit.viewer import viewer

log = logging.getLogger(__name__)

UNKNOWN_KEY = "This key is unknown, expired or revoked."

section = Section("sign_in", __name__)


@section.page("/sign-in", Entry.ANYONE)
def show() -> Page | Response:
    """Return the sign-in page; redirect a viewer who is signed in."""
    if viewer().is_in:
        return redirect(asked(), 303)
    return _page()


@section.act("/sign-in", Entry.ANYONE)
def sign_in() -> Page | Response:
    """Open a session with an API key."""
    token = request.form.get("key", "").strip()
    try:
        key: ApiKey = g.door.signed_in_by(token)
    except Unauthorized:
        return _page(UNKNOWN_KEY, 403)
    if not key.may(Scope.READ) and not key.may(Scope.OPERATE):
        return _page("This key may only enqueue jobs. To sign in, a key needs the scope read or operate.", 403)
    # Never continue the session of the cookie: somebody else may have put it there.
    _end(cookies.read(cookies.SESSION))
    try:
        with connection() as conn:
            session = sessions.open_session(
                conn, key_id=key.id, key_hash=hash_of(token), idle_seconds=gate().idle_seconds
            )
    except KeyNotFound:
        # The key was revoked or rotated, and this process has not noticed yet.
        return _page(UNKNOWN_KEY, 403)
    log.info("signed in to the dashboard with the API key %s", key.id)
    response = redirect(asked(), 303)
    cookies.put(response, cookies.SESSION, session)
    cookies.drop(response, cookies.ANONYMOUS)
    return response


@section.act("/sign-out", Entry.ANY_KEY)
def sign_out() -> Response:
    """End the session."""
    if token := cookies.read(cookies.SESSION):
        with connection() as conn:
            sessions.sign_out(conn, token)
    return signed_out()


def signed_out() -> Response:
    """Redirect to the sign-in page, and have the browser forget its session."""
    response = redirect(url_for(SIGN_IN), 303)
    cookies.drop(response, cookies.SESSION)
    return response


def _end(token: str) -> None:
    if token:
        with connection() as conn:
            sessions.close_session(conn, token)


def _page(fault: str = "", status: int = 200) -> Page:
    is_bare = not request.is_secure and not service().config.is_loopback
    return Page("sign_in.html", "Sign in", status=status, next=asked(), fault=fault, is_bare=is_bare)
