"""The cookies: of a session, of a browser that has none, of what a person prefers, and of what was just done."""

from __future__ import annotations

import hashlib
import hmac

from flask import request
from werkzeug.wrappers import Response

SESSION, ANONYMOUS, SAID = "haulier", "haulier-anonymous", "haulier-said"
THEME, ZONE, EXACT, KEYS = "haulier-theme", "haulier-zone", "haulier-exact", "haulier-keys"
YEAR_SECONDS = 365 * 86_400


def read(name: str) -> str:
    """Return the cookie, or ""."""
    return request.cookies.get(_named(name), "")


def put(response: Response, name: str, value: str, *, seconds: int | None = None) -> None:
    """Set the cookie for `seconds`; None: until the browser is closed. No script and no other site can read it."""
    response.set_cookie(
        _named(name), value, max_age=seconds, path="/", secure=request.is_secure, httponly=True, samesite="Strict"
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


def _named(name: str) -> str:
    # With the prefix, browsers accept it only from this host and only over TLS.
    return f"__Host-{name}" if request.is_secure else name
