"""Who calls: with a key or without, and how often its key was looked up."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from psycopg2.extensions import connection as Connection

from app.http.auth import Door
from haulier.config import Config
from haulier.domain.api_key import ApiKey, Scope
from haulier.queue.access import api_keys
from haulier.queue.access.api_keys import NewKey

SECRET = "0123456789abcdef" * 4
JOB = "/jobs/0193b1a2-7c5e-7d41-9c3b-2f6a8e0d4b11"

MakeApp = Callable[..., Flask]
MakeKey = Callable[..., tuple[ApiKey, dict[str, str]]]


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def door_of(app: Flask) -> Door:
    [door] = [hook.__self__ for hook in app.before_request_funcs[None] if getattr(hook, "__name__", "") == "admit"]
    assert isinstance(door, Door)
    return door


class Statements:
    """Counts the statements about keys that are in the database's own record of calls."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.counts = {"find": 0, "touch": 0, "any_exist": 0, "list_ids": 0}
        for name in self.counts:
            monkeypatch.setattr(api_keys, name, self._counted(name, getattr(api_keys, name)))

    def _counted(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*args: Any, **kwargs: Any) -> Any:
            self.counts[name] += 1
            return call(*args, **kwargs)

        return counted


@pytest.fixture
def public(config: Config) -> Config:
    """Give the settings of a service that others than this machine can reach."""
    return replace(config, host="0.0.0.0")


@pytest.fixture
def closed(make_app: MakeApp, public: Config) -> FlaskClient:
    """Give the client of such a service, without any key yet."""
    return make_app(public).test_client()


@pytest.fixture
def make_key(conn: Connection) -> MakeKey:
    """Give a function that makes a key of some scopes and returns it with the headers that show it."""

    def make_key(*scopes: Scope, **options: Any) -> tuple[ApiKey, dict[str, str]]:
        key, token = api_keys.create(conn, NewKey("tests", scopes or [Scope.ADMIN], **options), actor="test")
        return key, bearer(token)

    return make_key
