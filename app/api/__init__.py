"""The HTTP API: turns requests into calls of haulier.queue, and what these return into JSON."""

from __future__ import annotations

from haulier.config import Config
from haulier.requests.job_request import CreateJobRequest

from ..http.application import App, make
from ..http.enqueuing import Enqueuing
from ..http.routes import routes_of
from ..http.service import Service
from . import (
    audit,
    batch,
    database,
    error_groups,
    error_responses,
    explain,
    health,
    jobs,
    keys,
    kinds,
    metrics,
    operations,
    pauses,
    schedules,
    stats,
    timeline,
    workers,
)
from .openapi import swagger
from .openapi.document import document, make_api


def build(config: Config) -> App:
    """Return the application with only the API. Raises: ConfigError for a kind that cannot be loaded."""
    return make(config, register, _register_home)


def _register_home(app: App, _: Service) -> None:
    app.register_blueprint(swagger.home)


def register(app: App, service: Service) -> None:
    """Add the API to the application, but for `/`, which is for the dashboard."""
    create_job = CreateJobRequest(service.kinds)
    app.extensions["haulier_enqueuing"] = Enqueuing(create_job, service.queue_names)
    metrics.register(app)
    health.register(app)
    api = make_api(app, service.kinds, create_job)
    error_responses.register(app)
    of_jobs = (jobs, explain, timeline, batch)
    of_operators = (database, audit, operations, keys, pauses, schedules)
    for each in (*of_jobs, *of_operators, stats, error_groups, workers, kinds, health, metrics):
        api.register_blueprint(each.blp)
    app.register_blueprint(swagger.blp)
    app.extensions["haulier_openapi"] = document(api, service.kinds, routes_of(app))
