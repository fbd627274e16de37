"""docs/api.md and docs/settings.md are true: their calls, statuses, errors, fields and settings are the program's."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from importlib import import_module
from typing import Any

import pytest
from marshmallow import Schema

from app.api import build
from app.api.error_responses import ANSWERS
from app.api.openapi.document import documented_path
from app.api.schemas.job import JobResponse
from app.http.routes import Entry, routes_of
from haulier.config import HOUSEKEEPING_CONNECTIONS, TOGETHER, Config, client_variables, deployed_commit
from haulier.domain.errors import ConfigError
from haulier.domain.job import JobStatus
from haulier.domain.schedules.schedule_waiting import ScheduleCode
from haulier.requests.acts import MuteErrors
from haulier.requests.job_conditions import ListJobs
from haulier.requests.job_request import JobOptions
from haulier.requests.lists import AskError, AskStats
from tests.docs.reading import DSN, PAGES, ROOT, names_in, section, tables, text_of, without_blocks


@pytest.fixture(scope="module")
def openapi() -> dict[str, Any]:
    app = build(Config(DSN))
    document: dict[str, Any] = json.loads(app.extensions["haulier_openapi"])
    return document


# How the table of calls names who may make a call that needs no scope.
WITHOUT_SCOPE = {Entry.ANY_KEY: "any", Entry.READERS: "none", Entry.ANYONE: "none"}


def test_the_table_of_calls_has_every_call_with_the_scopes_that_its_view_declares() -> None:
    routes = routes_of(build(Config(DSN)))
    rows = list(tables(section("docs/api.md", "## Calls")))

    # Without the files of the page /docs, which no client calls.
    expected = {
        f"{method} {documented_path(rule)}": [*route.scopes] or [WITHOUT_SCOPE[route.needs]]
        for (method, rule), route in routes.items()
        if method not in ("HEAD", "OPTIONS") and not re.match("/docs/.", rule)
    }

    assert len(rows) == len(expected)
    assert {names_in(row[0])[0]: names_in(row[1]) or [row[1]] for row in rows} == expected


def test_the_page_names_every_path_and_parameter_of_the_document_alike(openapi: dict[str, Any]) -> None:
    page = text_of("docs/api.md")
    calls = {names_in(row[0])[0] for row in tables(section("docs/api.md", "## Calls"))}

    documented = {
        f"{method.upper()} {path}"
        for path, item in openapi["paths"].items()
        for method in item
        if method != "parameters"
    }
    parameters = [
        (each["in"], each["name"])
        for item in openapi["paths"].values()
        for call in [{"parameters": item.get("parameters", [])}, *item.values()]
        if isinstance(call, dict)
        for each in call.get("parameters", [])
    ]

    assert documented <= calls
    assert {name for where, name in parameters if where == "path"} == set(re.findall(r"{(\w+)}", "".join(calls)))
    assert {name for where, name in parameters if where != "path" and f"`{name}`" not in page} == set()


def test_every_status_is_documented(openapi: dict[str, Any]) -> None:
    page = text_of("docs/api.md")

    answers = {
        code
        for path in openapi["paths"].values()
        for call in path.values()
        if isinstance(call, dict)
        for code in call["responses"]
    }
    answers |= {str(int(answer.status)) for answer in ANSWERS.values()} | {"405"}

    assert {"201", "202", "503"} <= answers
    assert [code for code in sorted(answers) if not re.search(rf"\b{code}\b", page)] == []


def test_every_error_is_documented(openapi: dict[str, Any]) -> None:
    page = text_of("docs/api.md")

    slugs = {answer.slug for answer in ANSWERS.values()} | {"method_not_allowed"}
    for response in openapi["components"]["responses"].values():
        for content in response["content"].values():
            slugs |= {example["value"]["error"] for example in content["examples"].values()}

    assert "idempotency_mismatch" in slugs
    assert [slug for slug in sorted(slugs) if f"`{slug}`" not in page] == []


ON_THE_PAGE = [JobResponse, JobOptions, ListJobs, AskStats, AskError, MuteErrors]


def test_every_field_is_documented_on_the_page_or_in_the_openapi_document() -> None:
    page = text_of("docs/api.md")
    files = [path for folder in ("app/api/schemas", "haulier/requests") for path in (ROOT / folder).glob("[a-z]*.py")]
    modules = [import_module(path.relative_to(ROOT).with_suffix("").as_posix().replace("/", ".")) for path in files]
    known = {each for module in modules for each in vars(module).values() if isinstance(each, type)}
    schemas = [each for each in known if issubclass(each, Schema)]

    fields = {(schema, name): field for schema in schemas for name, field in schema().fields.items()}
    absent = {(schema, name): field for (schema, name), field in fields.items() if f"`{name}`" not in page}

    assert len(schemas) > 70
    assert [f"{schema.__name__}.{name}" for schema, name in absent if schema in ON_THE_PAGE] == []
    without = [at for at, field in absent.items() if not field.metadata.get("description")]
    # Some are shown only in an example; and the names of two say what they are.
    unsaid = {f"{schema.__name__}.{name}" for schema, name in without if f'"{name}"' not in page}
    assert unsaid == {"RetryRule.base_seconds", "RetryRule.cap_seconds"}


def test_every_reason_for_which_a_schedule_does_not_fire_is_documented_in_its_order() -> None:
    rows = [names_in(row[0])[0] for row in tables(section("docs/api.md", "## Schedules")) if len(row) == 2]

    assert rows == list(ScheduleCode)


def test_every_state_is_drawn() -> None:
    drawn = section("docs/promises.md", "## States")

    assert [status for status in JobStatus if status not in drawn] == []


SETTINGS = [row for row in tables(section("docs/settings.md", "## The service"))]
CLIENT_SETTINGS = [row for row in tables(section("docs/settings.md", "## The command line"))]
COMMITS = [row for row in tables(section("docs/settings.md", "## The deployed version"))]
# Settings whose field in Config has another name.
FIELDS = {
    "HAULIER_KINDS": "kinds",
    "HAULIER_MIDDLEWARE": "middleware",
    "DYNO": "ephemeral_disk",
    "RENDER": "ephemeral_disk",
}


class _Recorded(dict[str, str]):
    """An environment that remembers what was looked for."""

    def __init__(self) -> None:
        super().__init__(DATABASE_URL=DSN)
        self.asked: set[str] = set()

    def get(self, name: str, default: Any = None) -> Any:
        self.asked.add(name)
        return super().get(name, default)

    def __contains__(self, name: object) -> bool:
        self.asked.add(str(name))
        return super().__contains__(name)


def test_every_setting_is_documented_and_no_other() -> None:
    for read, rows in ((Config.from_env, SETTINGS), (client_variables, CLIENT_SETTINGS), (deployed_commit, COMMITS)):
        environ = _Recorded()

        read(environ)

        assert sorted(name for row in rows for name in names_in(row[0])) == sorted(environ.asked)


def test_the_documented_default_is_the_real_one() -> None:
    documented = {name: row[2] for row in SETTINGS for name in names_in(row[0])}

    assert documented.pop("DATABASE_URL") == "none: required"
    with pytest.raises(ConfigError, match="DATABASE_URL is not set"):
        Config.from_env({})
    assert documented["API_BIND_ADDR"] == _shown("API_BIND_ADDR")
    assert {name: re.split("[:;]", default)[0] for name, default in documented.items()} == {
        name: _shown(name).split(":")[0] for name in documented
    }


def _shown(name: str) -> str:
    """Return the default as the page writes it."""
    config = Config.from_env({"DATABASE_URL": DSN})
    if name == "API_BIND_ADDR":
        return f"{config.host}:{config.port}"
    value = getattr(config, FIELDS.get(name, name.lower()))
    special: dict[Any, str] = {None: "none", (): "all queues" if name == "WORKER_QUEUES" else "none", "": "empty"}
    if isinstance(value, bool):
        return {False: "unset"}[value]
    if isinstance(value, int | float):
        return f"{value:g}"
    if isinstance(value, tuple) and value:
        return ", ".join(value)
    return special.get(value, str(value))


def test_the_documented_bounds_are_the_real_ones() -> None:
    documented = {name: row[3] for row in SETTINGS for name in names_in(row[0])}
    numbers = {name for name in documented if isinstance(getattr(Config(DSN), name.lower(), None), int | float)}

    assert {name for name, bounds in documented.items() if bounds} == numbers | {"DB_CONNECTION_LIMIT", "CELL"}
    for name, bounds in documented.items():
        if bounds:
            _check_bounds(name, *bounds.split(".."))


def _check_bounds(name: str, least: str, most: str) -> None:
    below = str(float(least) / 2) if "." in least else str(int(least) - 1)
    for value in (least, most):
        Config.from_env({"DATABASE_URL": DSN, name: value})
    for value in (below, str(int(most) + 1)):
        with pytest.raises(ConfigError, match=name):
            Config.from_env({"DATABASE_URL": DSN, name: value})


def test_the_documented_choices_are_the_real_ones() -> None:
    for name in ("AUTH", "DASHBOARD", "WAKE_UPS", "LOG_FORMAT", "LOG_LEVEL", "EXECUTOR"):
        [unit] = [row[1] for row in SETTINGS if names_in(row[0]) == [name]]

        with pytest.raises(ConfigError) as refused:
            Config.from_env({"DATABASE_URL": DSN, name: "nonsense"})

        assert names_in(unit) == str(refused.value).partition("must be one of ")[2].split(", ")


def test_every_setting_has_a_reason() -> None:
    assert [row[0] for row in SETTINGS if len(row) != 5 or len(row[4]) < 15] == []


def test_the_settings_of_make_are_looked_at_somewhere() -> None:
    readers = [ROOT / "Makefile", ROOT / "tools" / "bootstrap.py", *(ROOT / "haulier" / "local").glob("*.py")]
    source = "\n".join(path.read_text(encoding="utf-8") for path in readers)

    named = {
        name for row in tables(section("docs/settings.md", "## make on your machine")) for name in names_in(row[0])
    }

    assert {"PORT", "ONCE", "NO_COLOR", "DATABASE_URL"} <= named
    assert [name for name in sorted(named) if name not in source] == []


def test_settings_named_anywhere_exist() -> None:
    known = {name for row in SETTINGS for name in names_in(row[0])}
    known |= {
        name for row in tables(section("docs/settings.md", "## make on your machine")) for name in names_in(row[0])
    }
    # OpenSSL's, gunicorn's, prometheus_client's and Django's.
    known |= {"SSL_CERT_FILE", "GUNICORN_CMD_ARGS", "PROMETHEUS_MULTIPROC_DIR", "WSGI_APPLICATION"}
    known |= {"DJANGO_SETTINGS_MODULE", "INSTALLED_APPS", "CONN_MAX_AGE", "CONN_HEALTH_CHECKS"}

    known |= {name for row in (*CLIENT_SETTINGS, *COMMITS) for name in names_in(row[0])}

    for page in PAGES:
        named = {
            name
            for name in names_in(without_blocks(page.read_text(encoding="utf-8")))
            if re.fullmatch("[A-Z]+(_[A-Z]+)+", name)
        }
        assert named <= known, page.name


def test_the_connections_add_up_to_what_is_written() -> None:
    config = Config(DSN)
    web, worker = config.web_concurrency * config.web_threads, config.worker_connections

    written = section("docs/database.md", "## Connections")

    assert f"= {web} |" in written
    assert f"{config.worker_processes} × (1 + 1 + 1 + 1 + 1) = {worker}" in written
    assert f"| **{web + worker}** |" in written
    orm = replace(config, middleware=("haulier.contrib.sqlalchemy:sessions",)).worker_connections - worker
    assert f"{config.worker_processes} × {config.worker_threads} = {orm} |" in written


def test_what_one_dyno_sets_is_what_is_written() -> None:
    config = Config.from_env({"DATABASE_URL": DSN, **TOGETHER})

    rows = {names_in(row[0])[0]: row[1] for row in tables(section("docs/deploy.md", "### What it sets"))}
    connections = section("docs/database.md", "## Connections")

    assert {name: text.split()[0].strip("`") for name, text in rows.items()} == TOGETHER
    shares = f"1 × {config.web_connections}, {config.worker_connections}, and {HOUSEKEEPING_CONNECTIONS} that counts"
    assert f"{shares} | {config.connections} |" in connections


def test_the_plans_leave_what_is_written() -> None:
    config = Config(DSN)
    plans = [row for row in tables(section("docs/database.md", "## Connections")) if len(row) == 7]

    assert {row[0] for row in plans} == {"20", "40", "120"}
    for row in plans:
        plan, webs, workers, *shares = (int(cell.strip("*")) for cell in row)
        web, worker = webs * config.web_connections, workers * config.worker_connections
        moments = workers * HOUSEKEEPING_CONNECTIONS + 1
        assert shares == [web, worker, moments, plan - web - worker - moments], row
        assert shares[-1] > 0
