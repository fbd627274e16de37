"""A page never offers what its viewer may not do, and the server refuses it all the same: it ..."""

from __future__ import annotations

import re
from typing import Any

import pytest
from flask import Flask
from psycopg2.extensions import connection as Connection

from app.http.routes import routes_of
from haulier.domain.api_key import Scope
from tests.web.browsing import Browser
from tests.web.conftest import MakeSite, SignedIn
from tests.web.jobs import enqueue, in_all_states

# Which keys can sign in, and what each may do beside looking.
KEYS: dict[str, tuple[tuple[Scope, ...], set[str]]] = {
    "read": ((Scope.READ,), set()),
    "operate": ((Scope.READ, Scope.OPERATE), {"cancel", "retry", "run-now", "change"}),
    "operate and enqueue": (
        (Scope.READ, Scope.OPERATE, Scope.ENQUEUE),
        {"cancel", "retry", "run-now", "change", "copy"},
    ),
    "admin": ((Scope.ADMIN,), {"cancel", "retry", "run-now", "change", "copy", "delete"}),
}
ACTS = KEYS["admin"][1]


def offered(browser: Browser, paths: list[str]) -> set[str]:
    """Return the acts on a job to which any form of these pages leads."""
    actions = {form.given.get("action", "") for path in paths for form in browser.page(path).all("form", method="post")}
    return {action.rpartition("/")[2] for action in actions} - {"theme", "sign-out", "settings", "new"}


@pytest.mark.parametrize("name", KEYS)
def test_offers_what_the_key_may_do_and_refuses_the_rest(signed_in: SignedIn, conn: Connection, name: str, sql) -> None:
    scopes, may = KEYS[name]
    browser, admin = signed_in(*scopes), signed_in(Scope.ADMIN)
    jobs = in_all_states(conn)
    paths = [f"/ui/jobs/{job}" for job in jobs.values()]
    token = token_of(browser)

    offers = offered(browser, ["/ui", "/ui/jobs", "/ui/settings", "/ui/help", *paths])
    before = sql("SELECT id, status, priority FROM haulier.jobs ORDER BY id")
    refused = {verb: {browser.post(f"{path}/{verb}", csrf=token).status_code for path in paths} for verb in ACTS - may}

    assert offers == may
    assert refused == {verb: {403} for verb in ACTS - may}
    assert sql("SELECT id, status, priority FROM haulier.jobs ORDER BY id") == before
    assert offered(admin, paths) == ACTS


def token_of(browser: Browser) -> str:
    return browser.page("/ui/settings").all("input", name="csrf")[0].given["value"]


def test_says_why_a_button_does_nothing(signed_in: SignedIn, conn: Connection) -> None:
    page = signed_in(Scope.READ).page(f"/ui/jobs/{enqueue(conn)}")

    [button] = [each for each in page.all("button") if each.text == "Cancel"]
    [why] = page.all("span", id=button.given["aria-describedby"])
    assert "disabled" in button.given
    assert why.text == "This API key lacks the scope operate."


def test_closes_every_page_but_the_sign_in_to_who_has_no_session(site: Flask) -> None:
    rules = {rule for method, rule in routes_of(site) if method == "GET" and rule.startswith("/ui")}
    paths = {re.sub(r"<(\w+:)?\w+>", "0193b1a2-7c5e-7d41-9c3b-2f6a8e0d4b11", rule) for rule in rules}
    stranger = Browser(site)

    answers = {path: stranger.get(path) for path in paths}

    opened = {path for path, answer in answers.items() if answer.status_code != 303}
    assert opened == {"/ui/sign-in", "/ui/static/0193b1a2-7c5e-7d41-9c3b-2f6a8e0d4b11"}
    assert {answer.headers["Location"][:17] for path, answer in answers.items() if path not in opened} == {
        "/ui/sign-in?next="
    }
    assert {stranger.post(path).status_code for path in paths if "static" not in path} <= {403, 404, 405}


def test_walks_every_page_with_a_key_of_one_queue_and_shows_nothing_of_another(
    signed_in: SignedIn, conn: Connection
) -> None:
    own, other = enqueue(conn, {"note": "mine"}, queue="mail"), enqueue(conn, {"note": "swordfish"}, queue="salmon")
    browser = signed_in(Scope.ADMIN, queues=["mail"])
    token = token_of(browser)

    pages = [browser.page(path) for path in ("/ui", "/ui?span=7d", "/ui/jobs", f"/ui/jobs/{own}", "/ui/help")]
    listed = [browser.page(f"/ui/jobs?{query}").all("tr", id=f"job-{other}") for query in ("", "queue=salmon")]
    refused = [browser.post(f"/ui/jobs/{other}/{verb}", csrf=token).status_code for verb in sorted(ACTS)]

    assert [word for page in pages for word in ("salmon", "swordfish", str(other)) if word in page.text] == []
    assert listed == [[], []]
    assert refused == [404] * len(ACTS)


def test_brings_no_job_into_a_queue_that_is_not_the_keys(signed_in: SignedIn, conn: Connection, sql) -> None:
    browser = signed_in(Scope.READ, Scope.OPERATE, queues=["mail"])
    job = enqueue(conn, queue="mail")

    refused = browser.send(browser.page(f"/ui/jobs/{job}"), f"/ui/jobs/{job}/change", queue="salmon")

    assert refused.status_code == 403
    assert sql("SELECT queue FROM haulier.job") == [("mail",)]


def test_makes_no_more_queues_than_the_api(make_site: MakeSite, signed_in: SignedIn, conn: Connection, sql) -> None:
    browser = signed_in(app=make_site(queues_per_key=1))
    job = enqueue(conn)

    done = [
        browser.send(browser.page(f"/ui/jobs/{job}"), f"/ui/jobs/{job}/change", queue=name) for name in ("one", "two")
    ]

    assert [answer.status_code for answer in done] == [303, 422]
    assert sql("SELECT queue FROM haulier.job") == [("one",)]


def test_does_nothing_where_it_is_for_reading(make_site: MakeSite, signed_in: SignedIn, conn: Connection, sql) -> None:
    browser = signed_in(Scope.ADMIN, app=make_site(dashboard="read"))
    jobs = in_all_states(conn)
    token = token_of(browser)
    before = sql("SELECT id, status, priority FROM haulier.jobs ORDER BY id")

    offers = offered(browser, ["/ui", "/ui/jobs", *(f"/ui/jobs/{job}" for job in jobs.values())])
    refused = {browser.post(f"/ui/jobs/{job}/{verb}", csrf=token).status_code for verb in ACTS for job in jobs.values()}

    assert offers == set()
    assert refused == {403}
    assert sql("SELECT id, status, priority FROM haulier.jobs ORDER BY id") == before
    assert "Read only" in browser.page("/ui").text
    assert browser.send(browser.page("/ui/settings"), "/ui/settings", theme="dark").status_code == 303
    assert browser.send(browser.page("/ui/settings"), "/ui/sign-out").status_code == 303


def test_notes_who_did_it(browser: Browser, conn: Connection, sql) -> None:
    job = enqueue(conn)

    browser.send(browser.page(f"/ui/jobs/{job}"), f"/ui/jobs/{job}/cancel")

    assert sql("SELECT actor, action FROM haulier.audit WHERE job_id IS NOT NULL") == [(browser.key.id, "cancel")]
    assert sql("SELECT last_used_at IS NOT NULL FROM haulier.api_key") == [(True,)]


def test_shows_who_did_it_to_those_alone_who_may_operate(signed_in: SignedIn, conn: Connection) -> None:
    job = in_all_states(conn)["cancelled"]

    seen = ["ops-anna" in signed_in(*scopes).page(f"/ui/jobs/{job}").text for scopes in ([Scope.READ], [Scope.ADMIN])]

    assert seen == [False, True]


def test_is_read_from_what_each_view_states(make_site: MakeSite, signed_in: SignedIn) -> None:
    def plans() -> str:
        return "plans"

    app: Any = make_site()
    app.add_url_rule("/ui/secret-plans", "ui.plans", plans)
    reader, admin = signed_in(Scope.READ, app=app), signed_in(Scope.ADMIN, app=app)

    # A view that states nothing.
    assert [each.get("/ui/secret-plans").status_code for each in (reader, admin)] == [403, 200]
