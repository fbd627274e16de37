"""For tests of the HTTP API."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace

import pytest
from flask import Flask
from flask.testing import FlaskClient

from haulier.config import Config
from tests.web import (  # noqa: F401  # fixtures
    client,
    count_jobs,
    email,
    make_app,
    run_gunicorn,
    server,
    shared_server,
)


@pytest.fixture
def secretive(
    make_app: Callable[..., Flask],  # noqa: F811
    config: Config,
    own_kinds: None,
    monkeypatch: pytest.MonkeyPatch,
) -> FlaskClient:
    """Give the client of a service that has a kind with secret fields."""
    # A kind is made known when its module is imported, and forgotten after each test.
    monkeypatch.delitem(sys.modules, "tests.hostile.secretive", raising=False)
    return make_app(replace(config, kinds=("tests.hostile.secretive",))).test_client()
