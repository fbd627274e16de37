"""Decides who may call: by API keys, their scopes, queues and rates; and when a call from this machine needs no key.

Where the service listens beyond loopback every call needs a key, from the first start on: with no key yet, all calls
are refused. On loopback the service is open until there is a key, but only to programs of this machine. AUTH=off opens
it to all.
"""

from __future__ import annotations

import functools
import hmac
import ipaddress
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from flask import Flask, g, request
from werkzeug.exceptions import NotFound

from haulier.config import Config
from haulier.domain.api_key import ApiKey, Scope, bearer_in, hash_of, id_in
from haulier.domain.errors import DatabaseUnavailable, SchemaMismatch
from haulier.domain.neighbour import is_local_host, is_of_proxy

from .envelope import API_KEY
from .errors import Forbidden, RateLimited, Unauthorized
from .keyring import Keyring
from .routes import NO_ROUTE, ROUTE, UNSAID, Entry, Route, Routes
from .service import Service

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

MAKE_A_KEY = (
    "make an API key on that machine (`python -m haulier keys create`), or set HAULIER_API_KEY, and send it as"
    " Authorization: Bearer <key>"
)


@dataclass(frozen=True, slots=True)
class Caller:
    """The caller of a request. Shape: key is None where the call needed no key."""

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
        """Return the idempotency key as it is stored: each API key has a space of its own."""
        return idempotency_key if self.id is None else f"{self.id} {idempotency_key}"

    @property
    def may_see_secrets(self) -> bool:
        """Tell whether the caller gets what kinds mark as secret."""
        return self.key is None or self.key.may(Scope.ADMIN)

    @property
    def may_see_actors(self) -> bool:
        """Tell whether the caller gets who did something to a job, beside what."""
        return self.key is None or self.key.may(Scope.OPERATE)

    def may_use(self, queue: str) -> bool:
        """Tell whether the caller may use jobs of this queue."""
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


class Other(Protocol):
    """Admits the requests of a part of the application that goes by something else than API keys in a header."""

    def __call__(self, door: Door, route: Route) -> Any:
        """Return None where the request may be answered, or its answer. Raises: as Door.admit."""


def register(app: Flask, service: Service, routes: Routes, others: Mapping[str, Other] | None = None) -> None:
    """Check the caller of every request before its view runs; others do so for a path each, and all below it."""
    app.before_request(Door(service.config, Keyring(service.database), routes, others or {}).admit)


class Door:
    """Admits requests, or raises. Shape: own is the key of HAULIER_API_KEY; None without one."""

    def __init__(self, config: Config, keyring: Keyring, routes: Routes, others: Mapping[str, Other]) -> None:
        self._config, self.keyring, self._routes, self._others = config, keyring, routes, others
        self.own: ApiKey | None = None
        if config.haulier_api_key is not None:
            hashes = (hash_of(config.haulier_api_key),)
            self.own = ApiKey("env", "HAULIER_API_KEY", frozenset([Scope.ADMIN]), hashes)

    def admit(self) -> Any:
        """Return None where the request may be answered, or what another door answers.

        Raises: EmptySegment; Unauthorized; Forbidden; RateLimited; DatabaseUnavailable.
        """
        if isinstance(request.routing_exception, EmptySegment):
            raise request.routing_exception
        environ, rule = request.environ, request.url_rule
        route = NO_ROUTE if rule is None else self._routes.get((request.method, rule.rule), UNSAID)
        environ[ROUTE] = route
        g.caller = NOBODY
        for path, other in self._others.items():
            if f"{request.path}/".startswith(f"{path}/"):
                return other(self, route)
        return self._admit(environ, route)

    def _admit(self, environ: WSGIEnvironment, route: Route) -> None:
        if self._is_public(route):
            return
        if route.takes_metrics_token and self._config.metrics_token is not None:
            # METRICS_TOKEN is required on loopback and with AUTH=off as well; an API key does in its place.
            if hmac.compare_digest(_bearer().encode(), self._config.metrics_token.encode()):
                return
        elif self.is_open(environ):
            return
        key = self.key_of(_bearer())
        environ[API_KEY] = key.id
        if wait := self.keyring.take(key):
            raise RateLimited(max(1, math.ceil(wait)))
        if why := refusal(key, route):
            raise why
        self.keyring.touch(key)
        g.caller = Caller(key)

    def is_open(self, environ: WSGIEnvironment) -> bool:
        """Tell whether the caller needs no key. Raises: Unauthorized; Forbidden for another site's page."""
        if self._config.auth == "off":
            self._check_page(environ)
            return True
        if self._is_open(environ):
            _check_neighbour(environ, self._config.host)
            return True
        return False

    def _is_public(self, route: Route) -> bool:
        who = route.needs
        return who is Entry.ANYONE or (who is Entry.READERS and self._config.docs_public == "1")

    def _check_page(self, environ: WSGIEnvironment) -> None:
        # AUTH=off opens the service to all but web pages in a browser of this machine, which no operator intends.
        if self._config.is_loopback and _is_of_this_machine(environ.get("REMOTE_ADDR", "")):
            _check_neighbour(environ, self._config.host)

    def _is_open(self, environ: WSGIEnvironment) -> bool:
        """Tell whether the caller needs no key. Raises: Unauthorized where the request came through a proxy."""
        if not self._config.is_loopback or self.own is not None:
            return False
        # The settings alone do not tell: gunicorn's command line may have it listen elsewhere.
        if not _is_of_this_machine(environ.get("REMOTE_ADDR", "")) or self._any_key():
            return False
        if sign := _sign_of_proxy(environ):
            raise Unauthorized(
                f"this service has no API key yet, and so answers programs of its own machine alone; {sign}, so that it"
                f" may come from anywhere: {MAKE_A_KEY}"
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
            raise Unauthorized("this call needs an API key, as Authorization: Bearer <key>")
        if self.own is not None and self.own.is_opened_by(token):
            return self.own
        key_id = id_in(token)
        key = None if key_id is None else self.keyring.find(key_id, token)
        if key is None:
            raise Unauthorized("this API key is not known, or no longer good", is_known=False)
        return key


def _bearer() -> str:
    return bearer_in(request.environ.get("HTTP_AUTHORIZATION", ""))


# Cached: most requests come from a handful of addresses.
@functools.lru_cache(maxsize=1000)
def _is_of_this_machine(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        # A client of a Unix socket has no address; it is a proxy.
        return False


def _sign_of_proxy(environ: WSGIEnvironment) -> str | None:
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


def _check_neighbour(environ: WSGIEnvironment, bound: str) -> None:
    """Return if the request comes from a program of this machine and not from a web page. Raises: Forbidden."""
    host = environ.get("HTTP_HOST", "")
    # Under a name of its own that resolves to this machine, a stranger's page would count as the same origin.
    if not is_local_host(host, bound):
        raise Forbidden(f"without API keys only localhost is answered: the header Host names another; {MAKE_A_KEY}")
    origin = environ.get("HTTP_ORIGIN")
    if origin is not None and origin.lower() not in (f"http://{host}".lower(), f"https://{host}".lower()):
        raise Forbidden("without API keys no other site's pages are answered: the header Origin names one")


def refusal(key: ApiKey, route: Route) -> Forbidden | None:
    """Return why the key may not use the route; None where it may."""
    for scope in route.scopes:
        if not key.may(scope):
            return Forbidden(f"this API key lacks the scope {scope}", scope=scope)
    if route.every_queue is not None and key.queues is not None:
        return Forbidden(f"{route.every_queue}, and this API key may not use every one")
    return None
