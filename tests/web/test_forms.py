"""Forms that somebody else sends, or that are too old: it ..."""

from __future__ import annotations

import re
from typing import Any

import pytest
from flask import Flask

from app.http.routes import Entry, routes_of
from haulier.domain.api_key import Scope
from haulier.domain.job import NewJob
from tests import queueing
from tests.web.browsing import SAME, Browser, faults, form, read
from tests.web.conftest import MakeSite, SignedIn


def acts_of(app: Flask, job: str) -> list[str]:
    """Return the path of each act."""
    found = [rule.rule for rule in app.url_map.iter_rules() if rule.rule.startswith("/ui") and "POST" in rule.methods]
    paths = [rule for rule in found if "<path:" not in rule]
    return [re.sub(r"<\w+>", "mail", re.sub(r"<uuid:\w+>", job, path)) for path in paths]


@pytest.fixture
def job(conn) -> str:
    """Give the id of a waiting job."""
    [enqueued] = queueing.enqueue(conn, [NewJob("send_email", {"to": "a@b.c", "subject": "Hi", "body": "Hello."})])
    return str(enqueued.job.id)


def untouched(sql: Any) -> bool:
    """Tell whether nothing was done to that job, and nobody was signed out."""
    jobs, sessions = "SELECT status, priority FROM haulier.jobs", "SELECT count(*) > 0 FROM haulier.session"
    return sql(jobs) == [("queued", 0)] and sql(sessions) == [(True,)]


def test_refuses_every_act_without_the_field_that_our_pages_send(browser: Browser, job: str, sql) -> None:
    paths = acts_of(browser.client.application, job)

    answers = {path: browser.post(path, priority="5", key="x") for path in paths}

    assert len(paths) >= 10
    assert {path: answer.status_code for path, answer in answers.items()} == dict.fromkeys(paths, 403)
    assert "Load it again" in answers[f"/ui/jobs/{job}/cancel"].text
    assert untouched(sql)


def test_refuses_the_field_of_another_session(browser: Browser, signed_in: SignedIn, job: str, sql) -> None:
    other = signed_in(Scope.ADMIN)
    theirs = form(other.page(f"/ui/jobs/{job}"), f"/ui/jobs/{job}/cancel")

    answers = [browser.post(path, **theirs) for path in acts_of(browser.client.application, job)]

    assert {answer.status_code for answer in answers} == {403}
    assert untouched(sql)


def test_says_that_a_page_is_too_old_and_keeps_what_was_filled_in(browser: Browser, job: str, sql) -> None:
    path = f"/ui/jobs/{job}/change"
    sent = {**form(browser.page(f"/ui/jobs/{job}"), path), "priority": "7", "csrf": "of another session"}

    old = browser.post(path, **sent)
    again = browser.send(read(old.text), path)

    page = read(old.text)
    assert (old.status_code, faults(page), page.all("h1")[0].text) == (403, [], "This page is too old")
    assert again.status_code == 303
    assert sql("SELECT priority FROM haulier.job") == [(7,)]


@pytest.mark.parametrize(
    ("path", "fields"),
    [("/ui/sign-in", {"key": "swordfish"}), ("/ui/keys/new", {"name": "shop", "scopes": "admin"})],
)
def test_keeps_no_secret_and_nothing_that_the_viewer_may_not_do(
    signed_in: SignedIn, path: str, fields: dict[str, str]
) -> None:
    old = signed_in(Scope.READ).post(path, **fields)

    assert (old.status_code, read(old.text).all("form", action=path)) == (403, [])
    assert "swordfish" not in old.text


@pytest.mark.parametrize(
    ("sent", "heading"),
    [({"Sec-Fetch-Site": "cross-site"}, "This came from another page"), (SAME, "Not in this dashboard")],
)
def test_heads_a_refusal_by_its_reason(
    make_site: MakeSite, signed_in: SignedIn, job: str, sent: dict[str, str], heading: str
) -> None:
    browser = signed_in(Scope.ADMIN, app=make_site(dashboard="read"))
    csrf = form(browser.page("/ui/settings"), "/ui/settings")["csrf"]

    refused = browser.post(f"/ui/jobs/{job}/cancel", sent, csrf=csrf)

    assert (refused.status_code, read(refused.text).all("h1")[0].text) == (403, heading)


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "none"},
        {"Sec-Fetch-Site": ""},
        {"Sec-Fetch-Site": "cross-site", "Origin": "http://localhost"},
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {},
    ],
    ids=str,
)
def test_refuses_what_another_site_sends(browser: Browser, job: str, sql, headers: dict[str, str]) -> None:
    ours = form(browser.page(f"/ui/jobs/{job}"), f"/ui/jobs/{job}/cancel")

    answers = [browser.post(path, headers, **ours) for path in acts_of(browser.client.application, job)]

    assert {answer.status_code for answer in answers} == {403}
    assert untouched(sql)


@pytest.mark.parametrize("headers", [SAME, {"Origin": "http://localhost"}, {"Origin": "https://localhost"}], ids=str)
def test_takes_what_a_page_of_ours_sends(browser: Browser, job: str, sql, headers: dict[str, str]) -> None:
    ours = form(browser.page(f"/ui/jobs/{job}"), f"/ui/jobs/{job}/cancel")

    assert browser.post(f"/ui/jobs/{job}/cancel", headers, **ours).status_code == 303
    assert sql("SELECT status FROM haulier.jobs") == [("cancelled",)]


def test_changes_nothing_by_get(browser: Browser, job: str, sql) -> None:
    answers = [browser.get(path) for path in acts_of(browser.client.application, job)]

    assert {answer.status_code for answer in answers} <= {200, 303, 404}
    assert untouched(sql)


def test_every_act_says_who_may(site: Flask) -> None:
    routes = {at: route for at, route in routes_of(site).items() if at[1].startswith("/ui") and at[0] == "POST"}

    open_to_all = {path for (_, path), route in routes.items() if route.needs is Entry.ANYONE}
    assert open_to_all == {"/ui/sign-in"}
    assert {path for (_, path), route in routes.items() if route.needs is Scope.ADMIN} == {
        "/ui/jobs/<uuid:job_id>/delete",
        "/ui/jobs/ticked/delete",
        "/ui/schedules/new",
        "/ui/schedules/<name>/edit",
        "/ui/schedules/<name>/delete",
        "/ui/keys/new",
        "/ui/keys/<key_id>/rotate",
        "/ui/keys/<key_id>/revoke",
        "/ui/keys/<key_id>/sign-out",
    }


def test_says_once_what_was_done_and_only_what_this_service_has_signed(browser: Browser, job: str) -> None:
    browser.send(browser.page(f"/ui/jobs/{job}"), f"/ui/jobs/{job}/cancel")

    told, after = (browser.page(f"/ui/jobs/{job}") for _ in range(2))
    browser.client.set_cookie("haulier-said", "WW91IHdvbg==.0123")
    forged = browser.page(f"/ui/jobs/{job}")

    said = [[each.text for each in page.all("p", id="said")] for page in (told, after, forged)]
    assert said == [["Cancelled. Queue it again"], [""], [""]]


def test_refuses_a_text_that_the_database_takes_nowhere(browser: Browser, job: str) -> None:
    page = browser.page(f"/ui/jobs/{job}")

    assert browser.get("/ui/jobs?queue=a%00b").status_code == 400
    assert browser.send(page, f"/ui/jobs/{job}/change", queue="a\0b").status_code == 400


def test_refuses_a_form_that_is_too_long(browser: Browser, job: str) -> None:
    page = browser.page(f"/ui/jobs/{job}")

    assert browser.send(page, f"/ui/jobs/{job}/change", queue="a" * 1_100_000).status_code == 413
