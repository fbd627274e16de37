"""The places in which Haulier shows its version. It ..."""

from __future__ import annotations

import json
import re
import sys
from contextlib import ExitStack

import pytest

from haulier.version import version
from tests.conftest import eventually
from tests.installed.environments import ROOT, Client, run, running, web_environ
from tests.web import answers

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
    # One line of the worker's parent, and one of each of its two processes.
    "the log of worker": 3,
}


@pytest.mark.direct("is about what is shown, and not about the way to the database")
def test_is_the_same_everywhere(fresh_database, tmp_path):
    command = [sys.executable, "-m", "haulier"]
    url, environ = web_environ(fresh_database, tmp_path)
    environ["WORKER_PROCESSES"] = "2"
    run([*command, "migrate"], ROOT, environ)
    with ExitStack() as stack:
        stack.enter_context(running([*command, "web"], ROOT, environ, tmp_path / "web.log"))
        stack.enter_context(running([*command, "worker"], ROOT, environ, tmp_path / "worker.log"))
        eventually(lambda: answers(url))
        client = Client(url)

        def introduced() -> list[str]:
            known = [worker["version"] for worker in client.get("/workers")]
            return known if len(known) == 2 and None not in known else []

        shown = {
            "haulier --version": run([*command, "--version"], ROOT, environ).split()[1:],
            "haulier version": run([*command, "version"], ROOT, environ).split()[1:],
            "haulier version --json": [json.loads(run([*command, "version", "--json"], ROOT, environ))["version"]],
            "GET /health": [client.get("/health")["version"]],
            "the OpenAPI document": [client.get("/api-docs/openapi.json")["info"]["version"]],
            "the row of each worker": eventually(introduced),
        }
        page = client.session.get(f"{url}/ui", timeout=10).text
    shown["the foot of the dashboard"] = re.findall(r"<footer>.*?Haulier (\S+) .*?</footer>", page, flags=re.DOTALL)
    shown["the log of web"] = re.findall(r"Haulier ([^\s,]+), with up to", (tmp_path / "web.log").read_text())
    shown["the log of worker"] = re.findall(r"Haulier ([^\s,:]+)[,:] ", (tmp_path / "worker.log").read_text())

    assert shown == {place: [version()] * times for place, times in PLACES.items()}
