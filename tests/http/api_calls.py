"""The calls of the API as docs/api.md promises them: who may make each, and the statuses of its answers."""

from __future__ import annotations

import re
from typing import NamedTuple

from app.http.routes import Entry
from haulier.domain.api_key import Scope

ANY_KEY, ANYONE = Entry.ANY_KEY, Entry.ANYONE
ENQUEUE, READ, OPERATE, ADMIN = Scope.ENQUEUE, Scope.READ, Scope.OPERATE, Scope.ADMIN
# Of answers to a key that there is not, that may not, or that asks too often.
TO_KEYS = "401 403 429"
# Of answers without a database, or with an error of ours.
OF_DATABASE = "500 503"
OF_BODY = "400 413 415 422"


class ApiCall(NamedTuple):
    """What the API promises of a call. `also` is a second scope; statuses are those besides the common ones."""

    needs: Scope | Entry
    statuses: str
    every_queue: bool = False
    also: Scope | None = None

    @property
    def scopes(self) -> list[Scope]:
        return [each for each in (self.needs, self.also) if isinstance(each, Scope)]


CALLS = {
    "POST /jobs": ApiCall(ENQUEUE, f"200 201 409 {OF_BODY} {OF_DATABASE}"),
    "POST /jobs/batch": ApiCall(ENQUEUE, f"200 201 409 {OF_BODY} {OF_DATABASE}"),
    "GET /jobs": ApiCall(READ, f"200 422 {OF_DATABASE}"),
    "GET /jobs/count": ApiCall(READ, f"200 422 {OF_DATABASE}"),
    "GET /jobs/{id}": ApiCall(READ, f"200 404 {OF_DATABASE}"),
    "GET /jobs/{id}/explain": ApiCall(READ, f"200 404 {OF_DATABASE}"),
    "GET /jobs/{id}/timeline": ApiCall(READ, f"200 404 {OF_DATABASE}"),
    "POST /jobs/{id}/cancel": ApiCall(OPERATE, f"200 202 404 409 422 {OF_DATABASE}"),
    "POST /jobs/{id}/retry": ApiCall(OPERATE, f"200 404 409 {OF_BODY} {OF_DATABASE}"),
    "POST /jobs/{id}/copy": ApiCall(OPERATE, f"201 404 409 {OF_BODY} {OF_DATABASE}", also=ENQUEUE),
    "PATCH /jobs/{id}": ApiCall(OPERATE, f"200 404 409 {OF_BODY} {OF_DATABASE}"),
    "DELETE /jobs/{id}": ApiCall(ADMIN, f"204 404 409 422 {OF_DATABASE}"),
    "GET /kinds": ApiCall(ANY_KEY, "200"),
    "GET /queues": ApiCall(READ, f"200 422 {OF_DATABASE}"),
    "GET /queues/{name}": ApiCall(READ, f"200 404 {OF_DATABASE}"),
    "POST /queues/{name}/pause": ApiCall(OPERATE, f"200 404 409 {OF_BODY} {OF_DATABASE}"),
    "POST /queues/{name}/resume": ApiCall(OPERATE, f"200 404 422 {OF_DATABASE}"),
    "GET /schedules": ApiCall(READ, f"200 422 {OF_DATABASE}"),
    "POST /schedules/preview": ApiCall(READ, f"200 {OF_BODY} {OF_DATABASE}"),
    "GET /schedules/{name}": ApiCall(READ, f"200 404 {OF_DATABASE}"),
    "GET /schedules/{name}/explain": ApiCall(READ, f"200 404 {OF_DATABASE}"),
    "GET /schedules/{name}/ticks": ApiCall(READ, f"200 404 422 {OF_DATABASE}"),
    "PUT /schedules/{name}": ApiCall(ADMIN, f"200 201 404 409 {OF_BODY} {OF_DATABASE}", True),
    "DELETE /schedules/{name}": ApiCall(ADMIN, f"204 404 409 422 {OF_DATABASE}", True),
    "POST /schedules/{name}/run": ApiCall(OPERATE, f"201 404 409 422 {OF_DATABASE}"),
    "POST /schedules/{name}/pause": ApiCall(OPERATE, f"200 404 {OF_BODY} {OF_DATABASE}"),
    "POST /schedules/{name}/resume": ApiCall(OPERATE, f"200 404 422 {OF_DATABASE}"),
    "GET /workers": ApiCall(READ, f"200 422 {OF_DATABASE}"),
    "GET /workers/{id}": ApiCall(READ, f"200 404 {OF_DATABASE}"),
    "PATCH /workers/{id}": ApiCall(OPERATE, f"200 404 {OF_BODY} {OF_DATABASE}", True),
    "GET /errors": ApiCall(READ, f"200 422 {OF_DATABASE}"),
    "GET /errors/{id}": ApiCall(READ, f"200 404 422 {OF_DATABASE}"),
    "PATCH /errors/{id}": ApiCall(OPERATE, f"200 404 {OF_BODY} {OF_DATABASE}", True),
    "POST /operations": ApiCall(OPERATE, f"200 202 409 {OF_BODY} {OF_DATABASE}"),
    "GET /operations": ApiCall(OPERATE, f"200 422 {OF_DATABASE}"),
    "GET /operations/{id}": ApiCall(OPERATE, f"200 404 {OF_DATABASE}"),
    "POST /operations/{id}/cancel": ApiCall(OPERATE, f"200 404 409 422 {OF_DATABASE}"),
    "POST /operations/{id}/resume": ApiCall(OPERATE, f"200 404 409 422 {OF_DATABASE}"),
    "POST /operations/{id}/advance": ApiCall(OPERATE, f"200 404 422 {OF_DATABASE}"),
    "GET /keys": ApiCall(ADMIN, f"200 422 {OF_DATABASE}", True),
    "POST /keys": ApiCall(ADMIN, f"201 {OF_BODY} {OF_DATABASE}", True),
    "POST /keys/{id}/rotate": ApiCall(ADMIN, f"200 404 409 {OF_BODY} {OF_DATABASE}", True),
    "POST /keys/{id}/revoke": ApiCall(ADMIN, f"200 404 422 {OF_DATABASE}", True),
    "GET /stats": ApiCall(READ, f"200 422 {OF_DATABASE}"),
    "GET /database": ApiCall(OPERATE, f"200 {OF_DATABASE}", True),
    "GET /audit": ApiCall(OPERATE, f"200 422 {OF_DATABASE}", True),
    "GET /metrics": ApiCall(READ, "200 500", True),
    "GET /health": ApiCall(ANYONE, f"200 {OF_DATABASE}"),
    "GET /health/live": ApiCall(ANYONE, "200"),
}
# What the application answers besides, which the OpenAPI document does not name.
PAGES = {
    "GET /": ANY_KEY,
    "GET /docs": Entry.READERS,
    "GET /docs/": Entry.READERS,
    "GET /openapi.json": Entry.READERS,
    "GET /swagger.json": Entry.READERS,
    "GET /docs/docs.js": Entry.READERS,
    "GET /docs/assets/<path:name>": Entry.READERS,
    "GET /api-docs/openapi.json": Entry.READERS,
}


def documented(method: str, rule: str) -> str:
    """Return the name of a route of Flask in the tables above."""
    path = re.sub("<(?:uuid:)?(?:[a-z]+_(?=id>))?([a-z]+)>", "{\\1}", rule)
    return f"{method} {path}"


def example_of(call: str) -> tuple[str, str]:
    """Return the method and the path of a request; what it names does not exist."""
    ids = {"errors": "0" * 16, "keys": "x" * 12}
    method, _, path = call.partition(" ")
    some_id = ids.get(path.split("/")[1], "0193b1a2-7c5e-7d41-9c3b-2f6a8e0d4b11")
    return method, path.replace("{id}", some_id).replace("{name}", "mail")
