"""The plan of the house, read from its walls: who may import whom, and what a guest may enter. It ..."""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys

import pytest

from tests.architecture.reading import (
    FILES,
    NAMES,
    OURS,
    QUEUE,
    ROOT,
    circles,
    imports,
    module_of,
    offenders,
    parse,
    room_of,
    rooms_imported,
)

# Each room, and the rooms whose doors open from it: those of the library by their names, those of the application as
# app.*. Every room may read haulier.config and write haulier.logs.
# What the threads of a worker share.
SHARED = {"worker.lanes", "worker.link", "worker.supply"}
WORKER = {"worker", "worker.isolation", "worker.metrics", "worker.steps", "worker.threads", *SHARED}
CLIENT = {"client", "cli.client", "cli.commands", "cli.parts", "cli.job_commands", "cli.terminal"}
WEB = {"domain", "postgres", *QUEUE, "kinds", "kinds.sdk", "requests", "app.http", "app.web.kit", "app.web.words"}
PAGES = {*WEB, "cells", "app.web.attention", "app.web.forms", "app.web.lists", "app.web.pages"}
MAY_IMPORT = {
    "domain": set(),
    "postgres": {"domain"},
    "queue": {"domain", "postgres"},
    "queue.access": {"domain", "postgres"},
    "queue.upkeep": {"domain", "postgres"},
    "queue.jobs": {"domain", "postgres", "queue", "queue.search", "queue.upkeep"},
    "queue.claims": {"domain", "postgres", "queue", "queue.upkeep", "version"},
    "queue.search": {"domain", "postgres", "queue", "queue.stories"},
    "queue.stories": {"domain", "postgres", "queue"},
    "queue.schedules": {"domain", "postgres", "queue.jobs", "queue.search", "queue.upkeep"},
    "queue.operations": {"domain", "postgres", "queue", "queue.jobs", "queue.search", "queue.upkeep"},
    "queue.failures": {"domain", "postgres"},
    "queue.numbers": {"domain", "postgres", "queue.upkeep"},
    "queue.health": {"domain", "postgres", "queue", "queue.schedules", "queue.search", "queue.upkeep", "version"},
    "queue.queues": {"domain", "postgres"},
    "kinds.included": {"domain", "kinds.sdk", "kinds.included.outbound"},
    "domain.schedules": {"domain"},
    "cli.parts": {"domain", "version", "client", "cli.client", "cli.terminal"},
    "cli.job_commands": {"domain", "client", "cli.client", "cli.parts", "cli.terminal"},
    "app.api.openapi": {
        "domain",
        "kinds",
        "kinds.sdk",
        "requests",
        "version",
        "app.http",
        "app.api",
        "app.api.schemas",
    },
    "app.http.limits": {"domain", "app.http"},
    "app.web.pages.jobs": PAGES,
    "app.web.pages.schedules": PAGES,
    "app.web.words": {"domain", "postgres", *QUEUE, "app.http"},
    "app.web.kit": {*WEB, "version"},
    "app.web.lists": WEB,
    "app.web.forms": {*WEB, "app.web.lists"},
    "app.web.attention": {*WEB, "app.web.lists"},
    "kinds": {"domain", "kinds.sdk", "kinds.included.outbound"},
    "kinds.sdk": {"domain"},
    "kinds.included.outbound": {"domain", "kinds.sdk"},
    "requests": {"domain", "queue.access", "queue.schedules", "kinds", "kinds.sdk"},
    "worker": {"domain", "postgres", *QUEUE, "kinds", "libc", "processes", "version", *WORKER},
    "worker.threads": {"domain", "postgres", *QUEUE, "kinds", *(WORKER - {"worker", "worker.threads"})},
    "worker.steps": {"domain", "postgres", *QUEUE, "kinds", "worker.metrics", *SHARED},
    "worker.supply": {"domain", "queue.claims", "kinds", "worker.link", "worker.metrics"},
    "worker.lanes": {"domain", "postgres", "queue", "queue.claims", "worker.metrics"},
    "worker.link": {"domain", "postgres", "queue.claims"},
    "worker.metrics": {"domain"},
    "worker.isolation": {"libc", "processes", "domain", "queue", "kinds", "kinds.sdk", "worker.steps"},
    "cells": {"domain", "postgres", "queue.upkeep", "toml_file"},
    "cells.move": {"domain", "postgres", "queue.upkeep"},
    "local": {"domain", "postgres", "queue.upkeep", "version"},
    # Of the worker what runs a handler, and what puts all of it together; of the client the types of a job's options.
    "testing": {"domain", "postgres", *QUEUE, "kinds", "kinds.sdk", "worker", "worker.steps", "local", "client"},
    # Named by a team's own settings, and imported by nobody.
    "contrib": {"kinds", "postgres", "queue.upkeep"},
    "contrib.django": {"kinds", "contrib"},
    "config": {"domain"},
    # Not for kinds and isolated children: in a checkout it takes each process a call of git.
    "version": set(),
    "logs": {"log_stream"},
    "log_stream": set(),
    "libc": set(),
    "processes": set(),
    "worker_state": set(),
    # It names the application and does not import it: a team's web process loads it, and no worker does.
    "wsgi": set(),
    "toml_file": {"domain"},
    "schedules_toml": {"domain", "kinds", "kinds.sdk", "requests", "toml_file"},
    "__init__": set(),
    # Of a team's own program, which has nothing of the server.
    "client": {"domain", "version"},
    "__main__": {"cli", "domain"},
    "cli": {
        *(
            "cells",
            "domain",
            "postgres",
            *QUEUE,
            "kinds",
            "worker",
            "processes",
            "worker_state",
            "schedules_toml",
            "cells.move",
            "local",
            *CLIENT,
        ),
        "libc",
        "version",
    },
    # Of an installed client, which has nothing of the server.
    "cli.client": {"domain", "version", "client"},
    "cli.terminal": {"domain"},
    "cli.commands": {"domain", "version", "client", "cli.client", "cli.job_commands", "cli.parts", "cli.terminal"},
    "app.http": {"domain", "postgres", *QUEUE, "kinds", "kinds.sdk", "requests", "app.http.limits"},
    # Of app.http only what loads no Flask: this is loaded by gunicorn's master.
    "app.http.gunicorn": {"domain", "postgres", "queue.access", "queue.upkeep", "kinds", "libc", "version", "app.http"},
    "app.api": {
        *("worker_state", "domain", "postgres", *QUEUE, "kinds", "kinds.sdk", "requests", "version"),
        *("app.http", "app.http.limits", "app.api.openapi", "app.api.schemas"),
    },
    "app.api.schemas": {"domain", "queue", "requests", "app.http"},
    "app.web": {"app.http", "app.web.kit"},
    "app.web.pages": PAGES,
    "app.gunicorn_settings": {"app.http.gunicorn"},
    "app.site": {"app.api", "app.web", "app.http"},
    "app.mount": {"domain", "version", "app.http", "app.site"},
    "app": {"app.site"},
    "app.__main__": {"__main__"},
    "worker.py": {"worker"},
    "gunicorn.conf.py": {"app.gunicorn_settings"},
}
EVERYBODY = {"config", "logs", "__init__", "domain.schedules"}
# What is outside, and the rooms it may come into; app/__init__.py only inside its factory.
GUESTS = {
    "psycopg2": {"postgres"},
    "flask": {
        "app.http",
        "app.api",
        "app.api.openapi",
        "app.web",
        "app.web.attention",
        "app.web.kit",
        "app.web.pages",
        "app.web.pages.jobs",
        "app.web.pages.schedules",
        "app",
    },
    "flask_smorest": {"app.api", "app.api.openapi"},
    "werkzeug": {
        "app.http",
        "app.api",
        "app.api.openapi",
        "app.web",
        "app.web.kit",
        "app.web.pages",
        "app.web.pages.jobs",
        "app.web.pages.schedules",
    },
    "jinja2": {"app.web.kit"},
    "markupsafe": {"app.web.pages", "app.web.pages.jobs", "app.web.pages.schedules", "app.web.words"},
    "webargs": {"app.api"},
    "gunicorn": {"app.http.gunicorn"},
    "prometheus_flask_exporter": {"app.api"},
    "click": {"cli", "cli.commands", "cli.job_commands", "cli.parts"},
    "rich": {"cli.terminal"},
    "cronsim": {"domain.schedules"},
    "django": {"contrib.django"},
    "sqlalchemy": {"contrib"},
    "zoneinfo": {"domain.schedules"},
    "prometheus_client": {"app.api", "app.http.gunicorn", "worker.metrics"},
}
# Of the library, all that can be imported without a team's own settings.
MODULES = [
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    for path in FILES
    if path.is_relative_to(ROOT / "haulier") and not path.is_relative_to(ROOT / "haulier" / "contrib")
]
# What an installed client has.
CLIENT_MODULES = [module for module in MODULES if module == "haulier.__main__" or module.startswith("haulier.cli")]


def test_imports_run_one_way_only():
    def forbidden(name: str) -> set[str]:
        return rooms_imported(name) - MAY_IMPORT[room_of(name)] - EVERYBODY - {room_of(name)}

    assert offenders(NAMES, forbidden) == {}


def test_the_test_above_sees_every_room_and_real_imports():
    assert {room_of(name) for name in NAMES} == MAY_IMPORT.keys()
    assert rooms_imported("haulier/queue/jobs/cancel.py") == {
        "domain",
        "postgres",
        "queue.jobs",
        "queue.search",
        "queue.upkeep",
    }
    assert rooms_imported("app/api/health.py") >= {"domain", "queue.health", "app.api"}
    assert rooms_imported("app/__init__.py") == {"config", "app.site"}
    assert rooms_imported("worker.py") == {"worker"}


def test_no_modules_import_each_other_in_a_circle():
    imported = {
        module: {found for found, _ in imports(parse(name), module_of(name)) if found in OURS and found != module}
        for module, name in OURS.items()
    }

    assert circles(imported) == {}


def test_what_a_worker_is_made_of_is_known_if_it_is_put_together_alone():
    importers = {name for name in NAMES for module, _ in imports(parse(name)) if module == "haulier.worker.assembly"}

    # So no thread and no step can ask for all of it.
    assert importers == {"haulier/worker/start.py"}


def test_imports_are_relative_within_the_application_and_nowhere_else():
    def strays(name: str) -> list[str]:
        relative = {"app": name.startswith("app/"), "haulier": False}
        return [
            ast.unparse(node)
            for module, node in imports(parse(name), module_of(name))
            if (package := module.split(".")[0]) in relative
            and bool(getattr(node, "level", 0)) is not relative[package]
        ]

    # In a wheel the application is haulier.app, and a top-level `app` is somebody else's.
    assert offenders(NAMES, strays) == {}


def test_guests_stay_in_their_rooms():
    def strays(name: str) -> set[str]:
        return {
            module
            for module, _ in imports(parse(name))
            if (guest := module.split(".")[0]) in GUESTS and room_of(name) not in GUESTS[guest]
        }

    assert offenders(NAMES, strays) == {}


def test_the_service_works_without_the_folder_of_the_dashboard(tmp_path):
    shutil.copytree(ROOT / "app", tmp_path / "app", ignore=shutil.ignore_patterns("web", "__pycache__"))
    program = (
        "from app import create_app; from haulier.config import Config;"
        "client = create_app(Config('postgres://nobody@nowhere/none')).test_client();"
        "print(client.get('/docs').status_code, client.get('/ui').status_code)"
    )

    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": f"{tmp_path}:{ROOT}"},
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert (done.stdout, done.stderr) == ("200 404\n", "")


@pytest.mark.parametrize(
    ("entry", "absent"),
    [
        (", ".join(["worker", *MODULES]), ("flask", "werkzeug", "flask_smorest", "app", "gunicorn", "PIL", "fsspec")),
        ("app.api", ("haulier.worker", "app.web")),
        ("app.web", ("haulier.worker", "app.api", "flask_smorest")),
        ("app.http.application", ("app.api", "haulier.worker", "flask_smorest", "PIL", "fsspec")),
        # What gunicorn's master loads.
        ("app.gunicorn_settings, app.http.gunicorn.buffering", ("flask", "werkzeug", "app.http.auth")),
        (
            "haulier.queue.jobs, haulier.queue.search, haulier.queue.claims, haulier.queue.upkeep.migrate",
            ("flask", "haulier.kinds", "app", "haulier.worker", "requests"),
        ),
        (
            "haulier, haulier.client",
            ("click", "rich", "requests", "psycopg2", "flask", "haulier.postgres", "haulier.cli"),
        ),
        (", ".join(CLIENT_MODULES), ("flask", "psycopg2", "marshmallow", "prometheus_client", "PIL", "gunicorn")),
        # It is called at each Tab.
        ("haulier.__main__", ("requests", "rich", "haulier.postgres", "haulier.queue", "haulier.worker")),
        (
            "haulier.domain.job, haulier.domain.outcome, haulier.domain.retry, haulier.domain.errors",
            ("psycopg2", "haulier.postgres", "haulier.queue", "flask"),
        ),
        # In a web process that only enqueues, and that has nothing but the client installed.
        ("haulier.contrib.sqlalchemy, haulier.contrib.django.apps", ("psycopg2", "marshmallow", "haulier.postgres")),
    ],
    ids=["library", "api", "web", "http", "gunicorn", "queue", "client", "commands", "command", "domain", "contrib"],
)
def test_importing_one_end_does_not_load_the_other(entry, absent):
    program = f"import sys, {entry}; print([name for name in {absent!r} if name in sys.modules])"

    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "DATABASE_URL": "postgres://nobody@nowhere/none"},
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert done.stderr == ""
    assert done.stdout == "[]\n"
