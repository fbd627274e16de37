"""The worker's port for scrapers, with METRICS_TOKEN: it ..."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import suppress

import pytest
import requests

from app.config import Config
from app.worker.exposition import Exposition

TOKEN = "scrape-me-gently"


@pytest.fixture(params=[None, TOKEN])
def port(request: pytest.FixtureRequest) -> Iterator[tuple[str, str | None]]:
    """Give the address of such a port, and the token that it asks for."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        number = free.getsockname()[1]
    config = Config("postgres://nowhere", worker_metrics_port=number, metrics_token=request.param)
    exposition = Exposition.open(config, shared=False)
    assert exposition is not None
    stop = exposition.serve()
    yield f"http://127.0.0.1:{number}/metrics", request.param
    stop()
    with suppress(OSError):
        exposition.close()


def test_asks_for_the_token_where_there_is_one(port):
    url, token = port

    headers = [
        {},
        {"Authorization": f"Bearer {TOKEN}"},
        {"Authorization": f"Bearer {TOKEN}x"},
        {"Authorization": TOKEN},
    ]
    answers = [requests.get(url, headers=each, timeout=5) for each in headers]

    assert [answer.status_code for answer in answers] == ([401, 200, 401, 401] if token else [200] * 4)
    assert all("# HELP" in answer.text for answer in answers if answer.ok)
    assert all(answer.headers["WWW-Authenticate"].startswith("Bearer") for answer in answers if not answer.ok)
