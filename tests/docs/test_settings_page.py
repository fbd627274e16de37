"""docs/settings.md is true: its settings, defaults, bounds and choices are those of the program."""

from __future__ import annotations

import re
from typing import Any

import pytest

from haulier.config import HOUSEKEEPING_CONNECTIONS, TOGETHER, Config, client_variables, deployed_commit
from haulier.domain.errors import ConfigError
from tests.docs.reading import DSN, PAGES, ROOT, names_in, section, tables, without_blocks

SETTINGS = [row for row in tables(section("docs/settings.md", "## The service"))]
CLIENT_SETTINGS = [row for row in tables(section("docs/settings.md", "## The command line"))]
COMMITS = [row for row in tables(section("docs/settings.md", "## The deployed version"))]
# Settings whose field in Config has another name.
FIELDS = {"HAULIER_KINDS": "kinds", "DYNO": "ephemeral_disk", "RENDER": "ephemeral_disk"}


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
    environ = _Recorded()

    Config.from_env(environ)

    documented = [name for row in SETTINGS for name in names_in(row[0])]
    assert sorted(documented) == sorted(environ.asked)


def test_every_setting_of_the_client_is_documented_and_no_other() -> None:
    environ = _Recorded()

    client_variables(environ)

    documented = [name for row in CLIENT_SETTINGS for name in names_in(row[0])]
    assert sorted(documented) == sorted(environ.asked)


def test_every_variable_that_names_the_commit_is_documented_and_no_other() -> None:
    environ = _Recorded()

    deployed_commit(environ)

    assert {name for row in COMMITS for name in names_in(row[0])} == environ.asked


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

    assert {name for name, bounds in documented.items() if bounds} == numbers | {"DB_CONNECTION_LIMIT"}
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
    # OpenSSL's and gunicorn's.
    known |= {"SSL_CERT_FILE", "GUNICORN_CMD_ARGS"}

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
