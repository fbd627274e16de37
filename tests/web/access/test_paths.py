"""Paths that begin with two slashes, or have an empty segment: they are 404 before anything is checked."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping

from flask import Flask
from flask.testing import FlaskClient
from psycopg2.extensions import connection as Connection
from werkzeug.exceptions import NotFound

from haulier.domain.api_key import Scope
from tests.http.callers import MakeKey
from tests.web.browsing import Browser, faults, read
from tests.web.conftest import MakeSite, SignedIn
from tests.web.jobs import enqueue

FOREIGN = {"Origin": "http://evil.example", "Sec-Fetch-Site": "cross-site"}
MODES: dict[str, dict[str, str]] = {
    "keys": {},
    "AUTH=off": {"auth": "off"},
    "AUTH=off, for reading": {"auth": "off", "dashboard": "read"},
    "AUTH=off, no dashboard": {"auth": "off", "dashboard": "off"},
    "on loopback": {"host": "127.0.0.1"},
}


def with_an_empty_segment(app: Flask, job: str) -> list[str]:
    """Return the path of each route with each of its slashes doubled."""
    paths = {re.sub(r"<(\w+:)?\w+>", job, rule.rule) for rule in app.url_map.iter_rules()}
    places = [(path, place) for path in paths for place, char in enumerate(path) if char == "/"]
    return sorted({"///", "///ui/jobs", *(f"{path[:place]}/{path[place:]}" for path, place in places)})


def ask(client: FlaskClient, method: str, path: str, headers: Mapping[str, str]) -> int:
    """Return the status of the answer. The path is set by itself: in a URL `//ui` would be a host."""
    return client.open("/", method=method, headers=headers, environ_overrides={"PATH_INFO": path}).status_code


def test_answers_404_to_every_path_with_an_empty_segment(
    make_site: MakeSite, make_key: MakeKey, conn: Connection, sql
) -> None:
    job, (_, admin) = str(enqueue(conn)), make_key()
    clients = {mode: make_site(**settings).test_client() for mode, settings in MODES.items()}
    paths = with_an_empty_segment(make_site(), job)

    found = {
        (mode, method, path): ask(client, method, path, headers)
        for mode, client in clients.items()
        for path in paths
        for method, headers in (
            ("GET", {}),
            ("POST", {**FOREIGN, **(admin if mode == "keys" else {})}),
            ("OPTIONS", FOREIGN),
        )
    }

    assert {"//ui/jobs/{job}/cancel", "/ui//jobs/{job}/cancel", "//jobs/{job}/cancel"} <= {
        path.replace(job, "{job}") for path in paths
    }
    assert {at: status for at, status in found.items() if status != 404} == {}
    assert sql("SELECT status FROM haulier.jobs") == [("queued",)]


def test_leaves_the_trailing_slash_to_the_check_of_the_key(site: Flask, make_key: MakeKey) -> None:
    _, shown = make_key(Scope.READ)

    assert [site.test_client().get("/jobs/", headers=each).status_code for each in ({}, shown)] == [401, 404]


def test_shows_an_error_before_it_knows_who_looks(site: Flask, signed_in: SignedIn, caplog) -> None:
    caplog.set_level(logging.INFO)
    browser = signed_in()

    def fail() -> None:
        raise NotFound

    # What fails before a guard has looked at the request, whatever that is.
    site.before_request_funcs[None].insert(0, fail)
    answers = [each.get("/ui/jobs") for each in (browser, Browser(site))]

    assert [answer.status_code for answer in answers] == [404] * 2
    assert [faults(read(answer.text)) for answer in answers] == [[]] * 2
    assert "Traceback" not in caplog.text
