"""Forms that somebody else sends, or that are too old: it ..."""

from __future__ import annotations

import re
from uuid import UUID

import pytest
from psycopg2.extensions import connection as Connection

from haulier.domain.api_key import Scope
from tests.web.browsing import SAME, Browser, form, read
from tests.web.conftest import MakeSite, SignedIn
from tests.web.forms import ACTS
from tests.web.jobs import enqueue
from tests.web.tables import check_each


@pytest.fixture
def job(conn: Connection) -> UUID:
    """Give a waiting job."""
    return enqueue(conn)


@pytest.fixture
def acts(job: UUID) -> list[str]:
    """Give the path of each act, those of a job with its id."""
    paths = [re.sub(r"<\w+>", "mail", re.sub(r"<uuid:\w+>", str(job), rule)) for rule in ACTS]
    return [*paths, "/ui/sign-in"]


def is_untouched(sql) -> bool:
    """Return whether nothing was done to the job, and nobody was signed out."""
    jobs, sessions = "SELECT status, priority FROM haulier.jobs", "SELECT count(*) > 0 FROM haulier.session"
    return sql(jobs) == [("queued", 0)] and sql(sessions) == [(True,)]


def test_refuses_every_act_without_the_field_of_the_session(
    browser: Browser, signed_in: SignedIn, acts: list[str], sql
) -> None:
    theirs = signed_in(Scope.ADMIN).csrf

    statuses = {
        (path, csrf): browser.post(path, priority="5", key="x", csrf=csrf).status_code
        for path in acts
        for csrf in ("", theirs)
    }

    assert {at: status for at, status in statuses.items() if status != 403} == {}
    assert is_untouched(sql)


def test_says_that_a_page_is_too_old_and_keeps_what_was_filled_in(browser: Browser, job: UUID, sql) -> None:
    path = f"/ui/jobs/{job}/change"

    old = browser.refused(browser.page(f"/ui/jobs/{job}"), path, 403, priority="7", csrf="of another session")
    again = browser.send(old, path)

    assert old.one("h1").text == "This page is too old"
    assert "Load it again" in browser.post(f"/ui/jobs/{job}/cancel").text
    assert again.status_code == 303
    assert sql("SELECT priority FROM haulier.job") == [(7,)]


def test_keeps_no_secret_and_nothing_that_the_viewer_may_not_do(signed_in: SignedIn) -> None:
    reader = signed_in(Scope.READ)

    for path, fields in (("/ui/sign-in", {"key": "swordfish"}), ("/ui/keys/new", {"name": "shop", "scopes": "admin"})):
        old = reader.post(path, **fields)
        assert (old.status_code, read(old.text).all("form", action=path)) == (403, [])
        assert "swordfish" not in old.text


def test_heads_a_refusal_by_its_reason(make_site: MakeSite, signed_in: SignedIn, job: UUID) -> None:
    browser = signed_in(Scope.ADMIN, app=make_site(dashboard="read"))
    csrf = browser.csrf

    def heading(sent: dict[str, str]) -> tuple[int, str]:
        refused = browser.post(f"/ui/jobs/{job}/cancel", sent, csrf=csrf)
        return refused.status_code, read(refused.text).one("h1").text

    assert heading({"Sec-Fetch-Site": "cross-site"}) == (403, "This came from another page")
    assert heading(SAME) == (403, "Not in this dashboard")


def test_takes_a_form_only_from_its_own_pages(browser: Browser, job: UUID) -> None:
    page, change = browser.page(f"/ui/jobs/{job}"), f"/ui/jobs/{job}/change"
    ours = {**form(page, change), "priority": "7"}

    check_each(
        lambda headers: browser.post(change, headers, **ours).status_code,
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
        ({"Sec-Fetch-Site": "none"}, 403),
        ({"Sec-Fetch-Site": ""}, 403),
        ({"Sec-Fetch-Site": "cross-site", "Origin": "http://localhost"}, 403),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({}, 403),
        (SAME, 303),
        ({"Origin": "http://localhost"}, 303),
        ({"Origin": "https://localhost"}, 303),
    )


def test_changes_nothing_by_get(browser: Browser, acts: list[str], sql) -> None:
    assert {browser.get(path).status_code for path in acts} <= {200, 303, 404}
    assert is_untouched(sql)


def test_refuses_a_text_that_no_database_takes(browser: Browser, job: UUID) -> None:
    page = browser.page(f"/ui/jobs/{job}")

    assert browser.get("/ui/jobs?queue=a%00b").status_code == 400
    assert browser.send(page, f"/ui/jobs/{job}/change", queue="a\0b").status_code == 400
