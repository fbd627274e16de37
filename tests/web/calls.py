"""Every call of the whole application, the API's and the dashboard's, as a request that would be answered."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from flask import Flask
from werkzeug.test import TestResponse

from app.http.routes import Entry, Route, routes_of
from haulier.domain.api_key import Scope
from tests.web.browsing import SAME, Browser
from tests.web.forms import ACTS, PAGES
from tests.web.jobs import EMAIL
from tests.web.world import World

DRAFT = {"kind": "send_email", "payload": EMAIL, "queue": "{queue}"}
# What the API's calls send, in an order in which each finds what it acts on. Some of them change nothing.
BODIES: dict[tuple[str, str], tuple[str, Any]] = {
    ("POST", "/jobs"): ("/jobs", DRAFT),
    ("POST", "/jobs/batch"): ("/jobs/batch", [DRAFT]),
    ("POST", "/jobs/<uuid:job_id>/cancel"): ("/jobs/{queued}/cancel", None),
    ("POST", "/jobs/<uuid:job_id>/retry"): ("/jobs/{failed}/retry", None),
    ("POST", "/jobs/<uuid:job_id>/copy"): ("/jobs/{succeeded}/copy", None),
    ("PATCH", "/jobs/<uuid:job_id>"): ("/jobs/{queued2}", {"priority": 7}),
    ("DELETE", "/jobs/<uuid:job_id>"): ("/jobs/{succeeded}", None),
    ("POST", "/queues/<name>/pause"): ("/queues/{queue}/pause", None),
    ("POST", "/queues/<name>/resume"): ("/queues/{queue}/resume", None),
    ("POST", "/schedules/preview"): ("/schedules/preview", {"cron": "@daily"}),
    ("PUT", "/schedules/<name>"): ("/schedules/made", {"job": DRAFT, "cron": "@daily"}),
    ("POST", "/schedules/<name>/run"): ("/schedules/{schedule}/run", None),
    ("POST", "/schedules/<name>/pause"): ("/schedules/{schedule}/pause", None),
    ("POST", "/schedules/<name>/resume"): ("/schedules/{schedule}/resume", None),
    ("DELETE", "/schedules/<name>"): ("/schedules/{schedule}", None),
    ("PATCH", "/errors/<error_id>"): ("/errors/{error}", {"muted_until": None}),
    ("PATCH", "/workers/<uuid:worker_id>"): ("/workers/{worker}", {"quiet": True}),
    ("POST", "/operations"): ("/operations", {"action": "retry", "filter": {"queue": ["{queue}"]}}),
    ("POST", "/operations/<uuid:operation_id>/cancel"): ("/operations/{waits}/cancel", None),
    ("POST", "/operations/<uuid:operation_id>/resume"): ("/operations/{ended}/resume", None),
    ("POST", "/operations/<uuid:operation_id>/advance"): ("/operations/{due}/advance", None),
    ("POST", "/keys"): ("/keys", {"name": "made", "scopes": ["read"]}),
    ("POST", "/keys/<key_id>/rotate"): ("/keys/{key}/rotate", None),
    ("POST", "/keys/<key_id>/revoke"): ("/keys/{key}/revoke", None),
}
# What stands for a variable of a path in calls that only read.
NAMED = {
    "job_id": "{queued}",
    "worker_id": "{worker}",
    "operation_id": "{waits}",
    "error_id": "{error}",
    "key_id": "{key}",
}
BY_PATH = {
    "/queues/<name>": "/queues/{queue}",
    "/docs/assets/<path:name>": "/docs/assets/swagger-ui.css",
    "/ui/static/<path:name>": "/ui/static/app.css",
    "/ui/<path:rest>": "/ui/nowhere",
}


@dataclass(frozen=True)
class Call:
    """A method of a rule, and a request of it. Path and body are to be filled in by a World."""

    method: str
    rule: str
    route: Route
    path: str
    body: Any = None

    @property
    def is_of_pages(self) -> bool:
        return re.match("/ui(/|$)", self.rule) is not None

    @property
    def is_public(self) -> bool:
        """Return whether anybody may make it."""
        return self.route.needs in (Entry.ANYONE, Entry.READERS)

    @property
    def changes(self) -> bool:
        """Return whether its method is one by which something is changed."""
        return self.method not in ("GET", "HEAD", "OPTIONS")

    @property
    def scopes(self) -> set[Scope]:
        return set(self.route.scopes)


def calls_of(app: Flask) -> list[Call]:
    """Return a call of each route: first the reads, then the acts in the order of their tables."""
    routes = {at: route for at, route in routes_of(app).items() if at[0] not in ("HEAD", "OPTIONS")}
    reads = [Call(*at, route, *_read(at[1])) for at, route in routes.items() if at[0] == "GET"]
    return [*reads, *_acts(routes)]


def _read(rule: str) -> tuple[str]:
    if rule in PAGES:
        return (PAGES[rule].path,)
    named = re.sub(r"<(?:\w+:)?(\w+)>", lambda part: NAMED.get(part[1], "{schedule}"), rule)
    return (BY_PATH.get(rule, named),)


def _acts(routes: dict[tuple[str, str], Route]) -> Iterator[Call]:
    for at, (path, body) in BODIES.items():
        yield Call(*at, routes[at], path, body)
    yield Call("POST", "/ui/<path:rest>", routes["POST", "/ui/<path:rest>"], "/ui/nowhere", {})
    for rule, act in ACTS.items():
        yield Call("POST", rule, routes["POST", rule], act.path, act.fields)
    yield Call("POST", "/ui/sign-in", routes["POST", "/ui/sign-in"], "/ui/sign-in", {"key": "{token}"})


def filled(body: Any, world: World) -> Any:
    if isinstance(body, dict):
        return {name: filled(value, world) for name, value in body.items()}
    if isinstance(body, list):
        return [filled(each, world) for each in body]
    return world.filled(body) if isinstance(body, str) else body


@dataclass
class Caller:
    """Somebody who makes calls. Headers show a key to the API; the browser and csrf are for the dashboard."""

    browser: Browser
    world: World
    headers: Mapping[str, str] = field(default_factory=dict)
    csrf: str = ""

    def make(self, call: Call, headers: Mapping[str, str] | None = None, **options: Any) -> TestResponse:
        """Make the call with these further headers; a page's call then has only these."""
        path, body = self.world.filled(call.path), filled(call.body, self.world)
        if call.is_of_pages:
            sent = SAME if headers is None else headers
            given: dict[str, Any] = {"data": {**body, "csrf": self.csrf}} if call.changes else {}
        else:
            sent, given = {**self.headers, **(headers or {})}, {} if body is None else {"json": body}
        answer = self.browser.client.open(path, method=call.method, headers=sent, **{**given, **options})
        answer.close()
        return answer
