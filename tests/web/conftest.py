"""For tests of the dashboard: applications with pages, and browsers without a screen that are signed in."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
from flask import Flask

from app.site import build
from haulier.config import Config
from haulier.domain.api_key import Scope
from tests.http.callers import MakeKey, make_key  # noqa: F401  # fixture
from tests.web.browsing import Browser, MakeSite, SignedIn, new_key
from tests.web.forms import CELLS


@pytest.fixture
def make_site(config: Config) -> Iterator[MakeSite]:
    """Give a function that returns an application with every page, which others than this machine can reach."""
    made: list[Flask] = []

    def make(**settings: object) -> Flask:
        made.append(build(replace(config, **{"host": "0.0.0.0", "cells_file": CELLS, **settings})))
        return made[-1]

    yield make
    for app in made:
        app.extensions["haulier"].database.close()


@pytest.fixture
def site(make_site: MakeSite) -> Flask:
    return make_site()


@pytest.fixture
def signed_in(site: Flask, make_key: MakeKey) -> SignedIn:  # noqa: F811
    """Give a function that returns a browser that has signed in with a new key of these scopes."""

    def signed_in(*scopes: Scope, app: Flask = site, **options: object) -> Browser:
        key, token = new_key(make_key, *scopes, **options)
        browser = Browser(app, key)
        browser.sign_in(token)
        return browser

    return signed_in


@pytest.fixture
def browser(signed_in: SignedIn) -> Browser:
    """Give a browser that has signed in with a key that may do everything."""
    return signed_in(Scope.ADMIN)
