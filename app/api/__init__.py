"""The HTTP API: a mouth of the queue. It turns requests into calls of `produce`, and jobs into JSON."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from flask import Flask
from flask.json.provider import DefaultJSONProvider

from app.api import batch, docs, envelope, errors, health, jobs, kinds, metrics
from app.api.openapi import document, make_api
from app.api.reading import MAX_BODY_BYTES
from app.api.request_schemas import CreateJobRequest
from app.api.service import CheckedDatabase, Service
from app.config import Config
from app.kinds import load_kinds
from app.queue.connection import Database


class _Printer(DefaultJSONProvider):
    # The order in which a job's fields were thought out is the order in which they are shown.
    _encode = staticmethod(json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), default=str).encode)

    def dumps(self, obj: Any, **_: Any) -> str:
        """Return the JSON, by an encoder that was made once."""
        return self._encode(obj)


class _App(Flask):
    json_provider_class = _Printer

    def ensure_sync(self, func: Callable[..., Any]) -> Callable[..., Any]:
        """Return the function: none is async, and to ask it of each that a request passes through takes time."""
        return func


def build(config: Config) -> Flask:
    """Return the application; it opens no connection before its first request, so that it may be forked.

    Raises: ConfigError for a kind that cannot be loaded.
    """
    known = load_kinds(config)
    database = CheckedDatabase(Database(config.database_url, application_name="haulier web"))
    service = Service(config, known, CreateJobRequest(known), database)

    app = _App("app.api", static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = MAX_BODY_BYTES
    # A path that is not quite right is no path, rather than a redirect that drops the body.
    app.url_map.merge_slashes = False
    app.extensions["haulier"] = service

    # First, so that a request has its id before anything else can fail.
    envelope.register(app)
    metrics.register(app)
    api = make_api(app, service)
    errors.register(app)
    for blueprint in (jobs.blp, batch.blp, kinds.blp, health.blp, metrics.blp):
        api.register_blueprint(blueprint)
    app.register_blueprint(docs.blp)
    app.extensions["haulier_openapi"] = document(api, service)
    return app
