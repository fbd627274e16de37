"""Guards every entrance: the path, the API key and its rate, the origin, the length, the scope, and slow requests.

If the service listens beyond loopback every call needs a key, from the first start on: with no key yet, all calls
are refused. On loopback the service is open until there is a key, but only to programs of this machine. AUTH=off opens
it to all.

Also decides from the headers where a request comes from: a program of this machine, a proxy, or another site's page.

The API and the dashboard differ in how they find out who calls. All other guards are here, once for both.
"""

from __future__ import annotations

import functools
import hmac
import io
import ipaddress
import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from flask import Flask, Request, g, request
from werkzeug.exceptions import NotFound

from haulier.config import Config
from haulier.domain.api_key import ApiKey, Scope, bearer_in, hash_of, id_in
from haulier.domain.errors import DatabaseUnavailable, SchemaMismatch
from haulier.domain.neighbour import is_local_host, is_of_proxy
from haulier.requests.invalid import Malformed, TooLarge

from .keyring import Keyring
from .limits.fault_limit import Failures
from .limits.request_limit import RequestLimit
from .request_errors import Forbidden, ForeignPage, RateLimited, Unauthorized
from .request_log import API_KEY
from .routes import NO_ROUTE, ROUTE, RULE, SAFE_METHODS, UNSAID, Entry, Route, Routes, check_cell
from .service import Service, current_request

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

MAKE_A_KEY = (
    "create an API key on that machine (`python -m haulier keys create`) or set HAULIER_API_KEY, then send it as"
    " Authorization: Bearer <key>"
)


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
        return "this request is HTTP/1.0, which proxies use"
    name = _first_added(tuple(environ))
    return name and f"this request has the header {name[5:].replace('_', '-').title()}, which proxies add"


# Cached: programs send the same few headers again and again. Few, because 64 kB of names may be in each.
@functools.lru_cache(maxsize=20)
def _first_added(keys: tuple[str, ...]) -> str | None:
    return next((key for key in keys if key.startswith("HTTP_") and is_of_proxy(key[5:].replace("_", "-"))), None)


def check_neighbour(environ: WSGIEnvironment, own_hosts: Collection[str]) -> None:
    """Return if the request comes from a program of this machine and not from a web page. Raises: Forbidden."""
    host = environ.get("HTTP_HOST", "")
    # Under its own name that resolves to this machine, a stranger's page would count as the same origin.
    if not is_local_host(host, own_hosts):
        raise Forbidden(
            "without API keys the service answers its own machine only as localhost, and the header Host names another"
            f" host: add it to HAULIER_HOSTS, or {MAKE_A_KEY}"
        )
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


# Nobody guesses 256 random bits: this only bounds what trying costs. Of one address, and as many at once.
SIGN_INS_PER_SECOND = 10.0


@dataclass(frozen=True, slots=True)
class Caller:
    """The caller of a request. `key` is None if the call needed no key."""

    key: ApiKey | None = None

    @property
    def id(self) -> str | None:
        """Return the API key's id, for the audit and for the key's own space of idempotency keys."""
        return None if self.key is None else self.key.id

    @property
    def queues(self) -> list[str] | None:
        """Return the queues that the caller may use; None for all."""
        return None if self.key is None or self.key.queues is None else sorted(self.key.queues)

    def scoped(self, idempotency_key: str) -> str:
        """Return the idempotency key as it is stored: each API key has its own space."""
        return idempotency_key if self.id is None else f"{self.id} {idempotency_key}"

    @property
    def may_see_secrets(self) -> bool:
        """Return whether the caller gets what kinds mark as secret."""
        return self.key is None or self.key.may(Scope.ADMIN)

    @property
    def may_see_actors(self) -> bool:
        """Return whether the caller gets who did something to a job, beside what."""
        return self.key is None or self.key.may(Scope.OPERATE)

    def may_use(self, queue: str) -> bool:
        """Return whether the caller may use jobs of this queue."""
        return self.key is None or self.key.may_use(queue)

    def check_scope(self, scope: Scope) -> None:
        """Return if the caller has this scope, beyond that of the route. Raises: Forbidden."""
        if self.key is not None and not self.key.may(scope):
            raise Forbidden(f"this API key lacks the scope {scope}", scope=scope)

    def check_queue(self, queue: str) -> None:
        """Return if the caller may enqueue there. Raises: Forbidden."""
        if not self.may_use(queue):
            raise Forbidden(f"this API key may not use the queue {queue}")


NOBODY = Caller()


def caller() -> Caller:
    """Return the caller of the current request."""
    found: Caller = g.caller
    return found


class EmptySegment(NotFound):
    """The path begins with two slashes, or has two in a row."""


class Entrance(Protocol):
    """A way in: it finds out who calls, and checks what only its own requests have to show."""

    # Its requests come from our own pages in a browser, which says so of each that changes something.
    is_for_pages: bool

    def identify(self, door: Door, route: Route) -> None:
        """Set `g.caller`, unless it stays nobody. Raises: Unauthorized; Forbidden; RateLimited; DatabaseUnavailable."""

    def check(self, route: Route) -> Any:
        """Return None if the caller may make this call, or what it gets instead. Raises: Forbidden; …"""


def register(app: Flask, service: Service, routes: Routes, entrances: Mapping[str, Entrance] | None = None) -> None:
    """Guard every request before its view runs.

    `entrances` has those of a path each, and of all below it; all other paths are the API's.
    """
    door = Door(service.config, Keyring(service.database), routes, entrances or {})
    app.before_request(door.admit)
    app.teardown_request(door.leave)


class Door:
    """Admits requests, or raises. `own` is the key of HAULIER_API_KEY; None without one."""

    def __init__(self, config: Config, keyring: Keyring, routes: Routes, entrances: Mapping[str, Entrance]) -> None:
        self._config, self.keyring, self._routes, self._entrances = config, keyring, routes, entrances
        self._own_hosts = (config.host, *config.haulier_hosts)
        self.slow_requests = RequestLimit(config.web_threads)
        self._failed_sign_ins = Failures(SIGN_INS_PER_SECOND, SIGN_INS_PER_SECOND)
        self._api = _Api(config)
        self.own: ApiKey | None = None
        if config.haulier_api_key is not None:
            hashes = (hash_of(config.haulier_api_key),)
            self.own = ApiKey("env", "HAULIER_API_KEY", frozenset([Scope.ADMIN]), hashes)

    def admit(self) -> Any:
        """Return None if the request may be answered, or what its entrance answers instead.

        Raises: EmptySegment; Unauthorized; Forbidden; RateLimited; TooLarge; KeyMoved; TooBusy; DatabaseUnavailable.
        """
        current = current_request()
        if isinstance(current.routing_exception, EmptySegment):
            raise current.routing_exception
        environ, route = current.environ, self._route_of(current)
        g.caller = NOBODY
        entrance = self._entrance(current.path)
        entrance.identify(self, route)
        key = caller().key
        if key is not None:
            environ[API_KEY] = key.id
            # Who signs in may still have another session: the key that is shown now is charged, by its view.
            if route.needs is not Entry.ANYONE:
                self.take(key)
        if current.method not in SAFE_METHODS and (key is None or entrance.is_for_pages):
            check_page(environ, has_to_say=entrance.is_for_pages)
        _check_length(current, route.most_bytes)
        if (instead := entrance.check(route)) is not None:
            return instead
        if route.is_slow if isinstance(route.is_slow, bool) else route.is_slow():
            self._take_place(key)
        if key is not None:
            check_cell(key, route, current.method)
            self.keyring.touch(key)
        return None

    def _route_of(self, current: Request) -> Route:
        """Return the route, and note it for all that come after."""
        route, rule = NO_ROUTE, current.url_rule
        if rule is not None:
            route = self._routes.get((current.method, rule.rule), UNSAID)
            current.environ[RULE] = rule.rule
        current.environ[ROUTE] = route
        return route

    def leave(self, _error: BaseException | None = None) -> None:
        """Give back the place of a slow request."""
        if (name := g.pop("place_of", None)) is not None:
            self.slow_requests.leave(name)

    def take(self, key: ApiKey) -> None:
        """Take a request from the key's rate. Raises: RateLimited."""
        if wait := self.keyring.take(key):
            raise RateLimited(max(1, math.ceil(wait)))

    def _take_place(self, key: ApiKey | None) -> None:
        name = f"address {_address()}" if key is None else key.id
        self.slow_requests.enter(name)
        g.place_of = name

    def _entrance(self, asked: str) -> Entrance:
        for path, entrance in self._entrances.items():
            if f"{asked}/".startswith(f"{path}/"):
                return entrance
        return self._api

    def is_open(self, environ: WSGIEnvironment) -> bool:
        """Return whether the caller needs no key. Raises: Unauthorized; Forbidden for another site's page."""
        if self._config.auth == "off":
            # It opens the service to all but web pages in a browser of this machine, which no operator intends. No
            # header shows that a request is none of theirs: after DNS rebinding a page sends what a proxy would.
            may_be_page = self._config.is_loopback or self._config.is_mounted
            if may_be_page and is_of_this_machine(environ.get("REMOTE_ADDR", "")):
                check_neighbour(environ, self._own_hosts)
            return True
        if self._is_open(environ):
            check_neighbour(environ, self._own_hosts)
            return True
        return False

    def _is_open(self, environ: WSGIEnvironment) -> bool:
        """Return whether the caller needs no key. Raises: Unauthorized if the request came through a proxy."""
        if not self._config.is_loopback or self.own is not None:
            return False
        # The settings are not enough: gunicorn's command line may have it listen elsewhere.
        if not is_of_this_machine(environ.get("REMOTE_ADDR", "")) or self._any_key():
            return False
        if sign := sign_of_proxy(environ):
            raise Unauthorized(
                f"this service has no API key yet and answers only programs on its own machine; {sign}, so it may"
                f" come from anywhere: {MAKE_A_KEY}"
            )
        return True

    def _any_key(self) -> bool:
        try:
            return self.keyring.any_exist()
        except (DatabaseUnavailable, SchemaMismatch) as error:
            # Nobody knows whether there are keys. Calls that need no database are answered. `connection` raises this
            # error to all others, even if the database is back a moment later.
            g.door_error = error
            return False

    def key_of(self, token: str) -> ApiKey:
        """Return the key that this token opens. Raises: Unauthorized; RateLimited; DatabaseUnavailable."""
        if not token:
            raise Unauthorized("this call needs an API key: send it as Authorization: Bearer <key>")
        if self.own is not None and self.own.is_opened_by(token):
            return self.own
        key_id = id_in(token)
        key = None if key_id is None else self.keyring.find(key_id, token, address=_address())
        if key is None:
            raise Unauthorized("this API key is unknown, revoked or expired", is_known=False)
        return key

    def signed_in_by(self, token: str) -> ApiKey:
        """Return the key with which somebody signs in, and take one from its rate.

        Raises: Unauthorized, or RateLimited after too many of those from the same address, which is never so of a key
                that is good; RateLimited by the key's rate; DatabaseUnavailable.
        """
        try:
            key = self.key_of(token)
        except Unauthorized:
            if wait := self._failed_sign_ins.wait(_address()):
                raise RateLimited(
                    math.ceil(wait), "too many wrong API keys from this address: wait before you try again"
                ) from None
            self._failed_sign_ins.note(_address())
            raise
        self.take(key)
        return key


def _address() -> str:
    # Of the connection: a header could name any. Behind a proxy it is the proxy's.
    return str(request.environ.get("REMOTE_ADDR", ""))


class _Api:
    """The entrance of the API: by an API key in the header Authorization, and to /metrics by METRICS_TOKEN as well."""

    is_for_pages = False

    def __init__(self, config: Config) -> None:
        self._metrics_token, self._are_docs_public = config.metrics_token, config.docs_public == "1"

    def identify(self, door: Door, route: Route) -> None:
        """Find the key. Raises: Unauthorized; Forbidden; RateLimited; DatabaseUnavailable."""
        if self._is_public(route):
            return
        current = current_request()
        token = bearer_in(current.environ.get("HTTP_AUTHORIZATION", ""))
        if route.takes_metrics_token and self._metrics_token is not None:
            # METRICS_TOKEN is required on loopback and with AUTH=off as well; an API key works, too.
            if hmac.compare_digest(token.encode(), self._metrics_token.encode()):
                return
        elif door.is_open(current.environ):
            return
        g.caller = Caller(door.key_of(token))

    def check(self, route: Route) -> None:
        """Return if the key may use the route. Raises: Forbidden."""
        key = caller().key
        if key is not None and (why := refusal(key, route)):
            raise why

    def _is_public(self, route: Route) -> bool:
        return route.needs is Entry.ANYONE or (route.needs is Entry.READERS and self._are_docs_public)


def _check_length(current: Request, most: int) -> None:
    """Return unless the body is longer than this, whether or not the view reads it. Raises: TooLarge; Malformed."""
    environ = current.environ
    # First, because werkzeug ignores a length beside chunks.
    if "HTTP_TRANSFER_ENCODING" in environ and isinstance(environ["wsgi.input"], io.BytesIO):
        # Our gunicorn worker has received the chunks, and one byte too many of a body that is too long. Under another
        # server, the view that reads the body finds out.
        length = environ["wsgi.input"].seek(0, 2)
        environ["wsgi.input"].seek(0)
    elif "HTTP_TRANSFER_ENCODING" in environ and not environ.get("wsgi.input_terminated"):
        # It would look empty, and a call whose body is optional would do something else than was asked for.
        raise Malformed("this server does not read bodies in chunks: send Content-Length")
    else:
        length = current.content_length or 0
    if length > most:
        raise TooLarge(f"the body is too long: at most {most} bytes are allowed")


def refusal(key: ApiKey, route: Route) -> Forbidden | None:
    """Return why the key may not use the route; None if it may."""
    for scope in route.scopes:
        if not key.may(scope):
            return Forbidden(f"this API key lacks the scope {scope}", scope=scope)
    if route.every_queue is not None and key.queues is not None:
        return Forbidden(f"{route.every_queue}, but this API key is limited to some queues")
    return None
