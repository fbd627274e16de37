"""Where a request comes from: a program of this machine, a proxy, or another site's page in somebody's browser."""

from __future__ import annotations

import functools
import ipaddress
from typing import TYPE_CHECKING

from haulier.domain.neighbour import is_local_host, is_of_proxy

from .request_errors import Forbidden, ForeignPage

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

MAKE_A_KEY = (
    "make an API key on that machine (`python -m haulier keys create`), or set HAULIER_API_KEY, and send it as"
    " Authorization: Bearer <key>"
)
# Methods by which nothing is changed.
SAFE_METHODS = {"GET", "HEAD", "OPTIONS"}


# Cached: most requests come from a handful of addresses.
@functools.lru_cache(maxsize=1000)
def is_of_this_machine(address: str) -> bool:
    """Return whether the address is one of loopback."""
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        # A client of a Unix socket has no address; it is a proxy.
        return False


def sign_of_proxy(environ: WSGIEnvironment) -> str | None:
    """Return the sign of a proxy in the request, or None."""
    # By default nginx uses HTTP/1.0 for the services behind it.
    if environ.get("SERVER_PROTOCOL") == "HTTP/1.0":
        return "this request is HTTP/1.0, as proxies send it"
    name = next(filter(_is_added, environ), None)
    return name and f"this request has the header {name[5:].replace('_', '-').title()}, which proxies add"


# Cached: programs send the same few headers again and again.
@functools.lru_cache(maxsize=1000)
def _is_added(key: str) -> bool:
    return key.startswith("HTTP_") and is_of_proxy(key[5:].replace("_", "-"))


def check_neighbour(environ: WSGIEnvironment, bound: str) -> None:
    """Return if the request comes from a program of this machine and not from a web page. Raises: Forbidden."""
    host = environ.get("HTTP_HOST", "")
    # Under a name of its own that resolves to this machine, a stranger's page would count as the same origin.
    if not is_local_host(host, bound):
        raise Forbidden(f"without API keys only localhost is answered: the header Host names another; {MAKE_A_KEY}")
    origin = environ.get("HTTP_ORIGIN")
    if origin is not None and not _is_own(origin, host):
        raise ForeignPage


def check_page(environ: WSGIEnvironment, *, has_to_say: bool) -> None:
    """Return unless a browser says that another site's page has sent this.

    `has_to_say`: refuse a request that does not say where it comes from, too. Programs send none of the two headers,
    browsers send one of them with everything that is not a GET.
    Raises: ForeignPage.
    """
    site, origin = environ.get("HTTP_SEC_FETCH_SITE"), environ.get("HTTP_ORIGIN")
    if site is None and origin is None and not has_to_say:
        return
    is_ours = _is_own(origin or "", environ.get("HTTP_HOST", "")) if site is None else site == "same-origin"
    if not is_ours:
        raise ForeignPage


def _is_own(origin: str, host: str) -> bool:
    # With any scheme: a proxy may speak TLS without telling us.
    return origin.lower() in (f"http://{host}".lower(), f"https://{host}".lower())
