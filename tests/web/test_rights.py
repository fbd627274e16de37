"""Sessions under the rights of grants.sql, and before it is applied again: it ..."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import pytest
from flask import Flask
from psycopg2.errors import InsufficientPrivilege

from app.site import build
from haulier.config import Config
from haulier.domain.api_key import Scope
from haulier.postgres.connection import connect
from haulier.postgres.statements import transaction
from haulier.queue.access import api_keys, sessions
from haulier.queue.access.api_keys import NewKey
from haulier.queue.upkeep.purge import purge_sessions
from haulier.queue.upkeep.steps import MIGRATIONS
from tests.conftest import sql_on
from tests.http.callers import SECRET
from tests.roles import Roles
from tests.web.browsing import Browser

pytestmark = pytest.mark.direct("is about roles and their own connections; a pool has one role for all")


@pytest.fixture
def site(roles: Roles) -> Iterator[Flask]:
    """Give an application under its own role."""
    app = build(Config(database_url=roles.web, haulier_api_key=SECRET))
    yield app
    app.extensions["haulier"].database.close()


def test_serves_every_page_and_ends_sessions_under_the_role_of_the_api(site: Flask) -> None:
    browser = Browser(site)

    browser.sign_in(SECRET)
    for path in ("/ui", "/ui/jobs", "/ui/jobs?status=running&sort=started", "/ui/database", "/ui/settings", "/ui/help"):
        assert "Not available" not in browser.page(path).text
    assert "Not looked for" not in browser.page("/ui/search?q=01a2108e").text
    out = browser.send(browser.page("/ui/help"), "/ui/sign-out")

    assert out.status_code == 303


def test_lists_and_ends_the_sessions_of_a_key_under_the_role_of_the_api(roles: Roles, site: Flask) -> None:
    with closing(connect(roles.owner)) as owner:
        key, token = api_keys.create(owner, NewKey("tests", [Scope.ADMIN]), actor="test")
    browser = Browser(site)
    browser.sign_in(token)
    path = f"/ui/keys/{key.id}"

    page = browser.page(path)
    out = browser.send(page, f"{path}/sign-out")

    assert "Not available" not in page.text
    assert (out.status_code, browser.get(path).status_code) == (303, 303)


def test_lets_a_worker_forget_sessions_and_learn_no_more_of_them(roles: Roles) -> None:
    with closing(connect(roles.web)) as web, closing(connect(roles.worker)) as worker:
        sessions.open_session(web, key_id="a", key_hash=b"x" * 32, idle_seconds=0)

        assert purge_sessions(worker) == 1
        with pytest.raises(InsufficientPrivilege):
            sql_on(worker)("SELECT key_hash FROM haulier.session")


def test_works_after_migrate_and_before_grants_are_applied_again(roles: Roles, site: Flask) -> None:
    step = (MIGRATIONS / "013_8s_sessions.sql").read_text()
    with closing(connect(roles.owner)) as owner, closing(connect(roles.worker)) as worker:
        sql_on(owner)("DROP TABLE haulier.session")
        with transaction(owner):
            sql_on(owner)(step)

        assert Browser(site).sign_in(SECRET).status_code == 303
        assert purge_sessions(worker) == 0
