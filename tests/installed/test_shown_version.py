"""The places in which Haulier shows its version. It ..."""

from __future__ import annotations

import json
import re
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest
import requests

from haulier.version import version
from tests.conftest import eventually
from tests.installed.environments import ROOT, Environment, run, running, version_of, web_environ
from tests.web import answers


def shown(command: list[str], folder: Path, dsn: str, logs: Path) -> dict[str, object]:
    """Return the version that each place shows, of a service that this command runs."""
    url, environ = web_environ(dsn, logs)
    environ["WORKER_PROCESSES"] = "2"
    run([*command, "migrate"], folder, environ)
    with ExitStack() as stack:
        stack.enter_context(running([*command, "web"], folder, environ, logs / "web.log"))
        stack.enter_context(running([*command, "worker"], folder, environ, logs / "worker.log"))
        eventually(lambda: answers(url))

        def get(path: str) -> requests.Response:
            return requests.get(f"{url}{path}", timeout=10)

        def introduced() -> list[str]:
            known = [worker["version"] for worker in get("/workers").json()]
            return known if len(known) == 2 and None not in known else []

        workers = eventually(introduced)
        page = re.findall(r"<footer>.*?Haulier (\S+) .*?</footer>", get("/ui").text, flags=re.DOTALL)
        places = {
            "haulier --version": run([*command, "--version"], folder, environ).split()[1:],
            "haulier version": run([*command, "version"], folder, environ).split()[1:],
            "haulier version --json": [json.loads(run([*command, "version", "--json"], folder, environ))["version"]],
            "GET /health": [get("/health").json()["version"]],
            "the OpenAPI document": [get("/api-docs/openapi.json").json()["info"]["version"]],
            "the foot of the dashboard": page,
            "the row of each worker": workers,
        }
    # A line of the web process; one of the worker's parent, and one of each of its two processes.
    places["the log of web"] = re.findall(r"Haulier ([^\s,]+), with up to", (logs / "web.log").read_text())
    places["the log of worker"] = re.findall(r"Haulier ([^\s,:]+)[,:] ", (logs / "worker.log").read_text())
    return places


PLACES = {
    "haulier --version": 1,
    "haulier version": 1,
    "haulier version --json": 1,
    "GET /health": 1,
    "the OpenAPI document": 1,
    # On wide screens it is beside the page, on narrow ones in a menu.
    "the foot of the dashboard": 2,
    "the row of each worker": 2,
    "the log of web": 1,
    "the log of worker": 3,
}


@pytest.mark.direct("is about what is shown, and not about the way to the database")
def test_is_the_same_everywhere_in_a_checkout(fresh_database, tmp_path):
    found = shown([sys.executable, "-m", "haulier"], ROOT, fresh_database, tmp_path)

    assert found == {place: [version()] * times for place, times in PLACES.items()}


@pytest.mark.direct("is about what is shown, and not about the way to the database")
def test_is_that_of_the_wheel_everywhere_once_it_is_installed(two_wheels, pip, fresh_database, tmp_path):
    installed = Environment(tmp_path / "environment", pip, with_ours=True)
    installed.install("--no-deps", str(two_wheels[1]))

    found = shown([installed.haulier], tmp_path, fresh_database, tmp_path)

    assert found == {place: [version_of(two_wheels[1])] * times for place, times in PLACES.items()}
    assert version_of(two_wheels[1]) != version()
