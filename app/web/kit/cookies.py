"""The cookies: of a session, of a browser that has none, of what a person prefers, and of what was just done."""

from __future__ import annotations

import hashlib
import hmac

from flask import request
from werkzeug.wrappers import Response

from ...http.own_path import own_path

SESSION, ANONYMOUS, SAID = "haulier", "haulier-anonymous", "haulier-said"
THEME, ZONE, EXACT, KEYS = "haulier-theme", "haulier-zone", "haulier-exact", "haulier-keys"
YEAR_SECONDS = 365 * 86_400


def read(name: str) -> str:
    """Return the cookie, or ""."""
    return request.cookies.get(_named(name), "")


def put(response: Response, name: str, value: str, *, seconds: int | None = None) -> None:
    """Set the cookie for `seconds`; None: until the browser is closed. No script and no other site can read it."""
    path, secure = own_path("") or "/", request.is_secure
    response.set_cookie(
        _named(name), value, max_age=seconds, path=path, secure=secure, httponly=True, samesite="Strict"
    )


def drop(response: Response, name: str) -> None:
    """Have the browser forget the cookie."""
    put(response, name, "", seconds=0)


def signed(secret: str, what: str) -> str:
    """Return the signature of a text by whoever has this secret."""
    return hmac.new(secret.encode(), what.encode(), hashlib.sha256).hexdigest()


def is_signed(secret: str, what: str, signature: str) -> bool:
    """Return whether this is that signature, in a time that does not depend on how much of it is right."""
    return hmac.compare_digest(signed(secret, what).encode(), signature.encode())


def plain(name: str) -> str:
    """Return the name of a cookie without its prefix."""
    return name.removeprefix("__Host-").removeprefix("__Secure-")


def _named(name: str) -> str:
    # With a prefix, browsers accept it only over TLS, and with __Host- only from this host. That one needs the path /,
    # with which the application that mounts this one would get the cookie too.
    if not request.is_secure:
        return name
    return f"__Secure-{name}" if own_path("") else f"__Host-{name}"
