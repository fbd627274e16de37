"""The pages: it ..."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from flask import Flask
from psycopg2.extensions import connection as Connection

from app.web.reading import Shelf
from haulier.domain.api_key import Scope
from haulier.domain.outcome import Outcome
from haulier.queue import consume
from tests.conftest import eventually
from tests.web.browsing import Browser, faults, read
from tests.web.conftest import MakeSite, SignedIn
from tests.web.jobs import EMAIL, claim, end, enqueue, in_all_states

PAGES = [
    "/ui",
    "/ui?span=7d",
    "/ui?span=nonsense",
    "/ui/jobs",
    "/ui/settings",
    "/ui/help",
    "/ui/failures",
    "/ui/operations",
]


@pytest.mark.parametrize("path", PAGES)
def test_is_whole_with_and_without_jobs(browser: Browser, conn: Connection, path: str) -> None:
    browser.page(path)
    in_all_states(conn)
    shelf_of(browser).clear()

    browser.page(path)


def shelf_of(browser: Browser) -> Any:
    return browser.client.application.extensions.setdefault("haulier_shelf", Shelf())


def test_shows_a_job_in_every_state(browser: Browser, conn: Connection) -> None:
    jobs = in_all_states(conn)

    pages = {status: browser.page(f"/ui/jobs/{job}") for status, job in jobs.items()}

    assert {status: page.all("span", class_=f"state {shape(status)}") != [] for status, page in pages.items()} == {
        status: True for status in pages
    }
    assert "by ops-anna" in pages["cancelled"].text
    assert "dock:7 has claimed it" in pages["running"].text
    assert "Failed for good" in pages["failed_permanent"].text
    assert [each.text for each in pages["failed_permanent"].all("pre", class_="error")] == ["no luck"]
    assert "No live worker serves the queue mail" in pages["queued"].text
    assert '"sent" : true' in pages["succeeded"].text


def shape(status: str) -> str:
    return {"failed_permanent": "failed"}.get(status, status)


def test_says_of_a_job_that_is_not_there_what_it_says_of_one_in_another_queue(
    signed_in: SignedIn, conn: Connection
) -> None:
    browser = signed_in(Scope.READ, queues=["mail"])
    other, own = enqueue(conn, queue="bulk"), enqueue(conn, queue="mail")

    answers = [browser.get(f"/ui/jobs/{job}") for job in (UUID(int=other.int ^ 1), other, own)]

    assert [answer.status_code for answer in answers] == [404, 404, 200]
    texts = [re.sub(r"[0-9a-f-]{32,36}|data-now=.*", "", answer.text) for answer in answers[:2]]
    assert texts[0] == texts[1]


# What a person may do


@pytest.mark.parametrize("verb", ["cancel", "retry", "run-now", "copy", "delete"])
def test_offers_what_the_state_allows_and_does_it(browser: Browser, conn: Connection, sql, verb: str) -> None:
    jobs = in_all_states(conn)
    jobs["later"] = enqueue(conn, delay=timedelta(hours=1))

    offered = {status for status, job in jobs.items() if offers(browser.page(f"/ui/jobs/{job}"), verb)}

    assert (
        offered
        == {
            "cancel": {"queued", "running", "retrying", "later"},
            "retry": {"failed_permanent", "cancelled"},
            "run-now": {"later", "retrying"},
            "copy": set(jobs),
            "delete": {"succeeded", "failed_permanent", "cancelled"},
        }[verb]
    )
    for status in sorted(offered):
        path = f"/ui/jobs/{jobs[status]}"
        assert browser.send(browser.page(path), f"{path}/{verb}").status_code == 303, status


def offers(page: Any, verb: str) -> bool:
    return any(form.given.get("action", "").endswith(f"/{verb}") for form in page.all("form"))


def test_tells_of_a_job_that_changed_meanwhile_what_it_is_now(browser: Browser, conn: Connection) -> None:
    job = enqueue(conn)
    page = browser.page(f"/ui/jobs/{job}")
    _, [fence] = claim(conn)
    end(conn, fence, Outcome.complete())

    refused = browser.send(page, f"/ui/jobs/{job}/cancel")

    now = read(refused.text)
    assert (refused.status_code, faults(now)) == (409, [])
    assert "Nothing was done" in now.text
    assert offers(now, "delete")


def test_changes_what_a_form_says_and_nothing_else(browser: Browser, conn: Connection, sql) -> None:
    job = enqueue(conn)
    page = browser.page(f"/ui/jobs/{job}")

    done = browser.send(page, f"/ui/jobs/{job}/change", priority="7", due="2h", queue="bulk")

    assert done.status_code == 303
    asked = "SELECT priority, queue, max_attempts, run_at > now() + interval '1 hour' FROM haulier.job"
    assert sql(asked) == [(7, "bulk", 3, True)]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("priority", "101"),
        ("priority", "x"),
        ("queue", "No"),
        ("due", "soon"),
        ("max_attempts", "0"),
        ("timeout_seconds", "-1"),
    ],
)
def test_gives_a_form_back_with_what_is_wrong_in_it(
    browser: Browser, conn: Connection, sql, name: str, text: str
) -> None:
    job = enqueue(conn)
    page = browser.page(f"/ui/jobs/{job}")

    refused = browser.send(page, f"/ui/jobs/{job}/change", **{"priority": "7", name: text})

    again = read(refused.text)
    assert (refused.status_code, faults(again)) == (422, [])
    [field] = again.all("input", id=f"f-{name}")
    assert (field.given["value"], field.given["aria-invalid"]) == (text, "true")
    assert sql("SELECT priority FROM haulier.job") == [(0,)]


# What a person sees of secrets


SIGNED = {"url": "https://example.com/x", "headers": {"Authorization": "Bearer swordfish"}, "body": {"n": 1}}


def test_hides_what_is_named_like_a_secret_until_it_is_asked_for(browser: Browser, conn: Connection) -> None:
    job = enqueue(conn, {**EMAIL, "api_token": "swordfish", "nested": {"Password": [1, 2]}})

    hidden, shown = browser.get(f"/ui/jobs/{job}").text, browser.get(f"/ui/jobs/{job}?show=hidden").text

    assert "swordfish" not in hidden
    assert "hidden, 9 characters" in hidden
    assert "swordfish" in shown


def test_hides_what_the_setting_says(make_site: MakeSite, signed_in: SignedIn, conn: Connection) -> None:
    job = enqueue(conn, {**EMAIL, "iban": "swordfish", "token": "trout"})
    seen = {}
    for fields in (("iban",), ()):
        browser = signed_in(Scope.READ, app=make_site(hide_fields=fields))
        page = browser.get(f"/ui/jobs/{job}").text
        seen[fields] = ["swordfish" in page, "trout" in page]

    assert seen == {("iban",): [False, True], (): [True, True]}


# What changes


def test_answers_204_exactly_when_nothing_has_changed(browser: Browser, conn: Connection) -> None:
    job = enqueue(conn)
    seen = browser.page(f"/ui/jobs/{job}").all("main")[0].given["data-seen"]

    same = [browser.get(f"/ui/jobs/{job}", Haulier_Live=seen) for _ in range(3)]
    _, [fence] = claim(conn)
    changed = browser.get(f"/ui/jobs/{job}", Haulier_Live=seen)
    end(conn, fence, Outcome.complete())
    ended = browser.get(f"/ui/jobs/{job}", Haulier_Live=seen)

    assert [(answer.status_code, answer.text) for answer in same] == [(204, "")] * 3
    assert changed.status_code == 200
    [main] = [each for each in read(changed.text).children if not isinstance(each, str)]
    assert (main.tag, main.given["data-live-every"]) == ("main", "2")
    assert "<html" not in changed.text
    assert "data-live-every" not in ended.text


@pytest.mark.parametrize("path", ["/ui", "/ui/jobs"])
def test_keeps_what_it_has_read_for_two_seconds_unless_somebody_acts(
    browser: Browser, conn: Connection, path: str
) -> None:
    job = enqueue(conn)
    seen = browser.page(path).all("main")[0].given["data-seen"]
    statements = browser.get(path).headers["Server-Timing"]

    assert re.fullmatch(r"db;dur=[0-9.]+, page;dur=[0-9.]+", statements)
    assert browser.get(path, Haulier_Live=seen).status_code == 204
    browser.send(browser.page(f"/ui/jobs/{job}"), f"/ui/jobs/{job}/cancel")
    if path == "/ui/jobs":
        assert browser.get(path, Haulier_Live=seen).status_code == 200


# The list


def test_goes_forward_and_back_through_all_jobs_each_once(browser: Browser, conn: Connection) -> None:
    jobs = [str(enqueue(conn)) for _ in range(60)]
    forward, path = [], "/ui/jobs?limit=25&kind=send_email"
    while path:
        page = browser.page(path)
        forward.append((path, ids(page)))
        path = link(page, "next")
    back = []
    path = forward[-1][0]
    while path:
        page = browser.page(path)
        back.append(ids(page))
        path = link(page, "prev")

    assert [len(found) for _, found in forward] == [25, 25, 10]
    assert sum((found for _, found in forward), []) == jobs[::-1]
    assert back == [found for _, found in forward][::-1]


def ids(page: Any) -> list[str]:
    return [row.given["id"].removeprefix("job-") for row in page.all("tr") if "id" in row.given]


def link(page: Any, rel: str) -> str:
    return next((each.given["href"] for each in page.all("a", rel=rel)), "")


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("status=failed", {"failed_permanent"}),
        ("status=queued&status=running", {"queued", "running"}),
        ("queue=mail", {"queued"}),
        ("tag=night&status=retrying", {"retrying"}),
        ("key=key-running", {"running"}),
        ("after=1h", {"queued", "running", "retrying", "succeeded", "failed_permanent", "cancelled"}),
        ("before=1h", set()),
        ("payload.to=a@b.c&status=queued", {"queued"}),
        ("kind=nothing", set()),
    ],
)
def test_shows_what_a_filter_says(browser: Browser, conn: Connection, query: str, found: set[str]) -> None:
    jobs = in_all_states(conn)

    page = browser.page(f"/ui/jobs?{query}")

    assert set(ids(page)) == {str(jobs[status]) for status in found}


@pytest.mark.parametrize("query", ["status=odd", "queue=No", "error=x", "after=soon", "worker=x", "key=%C3%BC"])
def test_marks_a_filter_that_it_does_not_understand(browser: Browser, query: str) -> None:
    page = browser.page(f"/ui/jobs?{query}")

    [chip] = [each for each in page.all("a", class_="chip") if "remove this filter" in each.text]
    assert chip.all("span", class_="failed")
    assert chip.given["href"] == "/ui/jobs"


@pytest.mark.parametrize(
    ("typed", "leads_to"),
    [
        ("0193b1a2-7c5e-7d41-9c3b-2f6a8e0d4b11", "/ui/jobs/0193b1a2-7c5e-7d41-9c3b-2f6a8e0d4b11"),
        ("kind:send_email status:failed,queued", "/ui/jobs?kind=send_email&status=failed&status=queued"),
        ("payload.order.id=4711", "/ui/jobs?payload.order.id=4711"),
        ("send_email", "/ui/jobs?kind=send_email"),
        ("  ", "/ui/jobs"),
    ],
)
def test_leads_from_the_search_box_to_a_page(browser: Browser, typed: str, leads_to: str) -> None:
    answer = browser.client.get("/ui/jobs", query_string={"q": typed})

    assert (answer.status_code, answer.headers["Location"]) == (303, leads_to)


def test_searches_for_no_api_key(browser: Browser) -> None:
    answer = browser.client.get("/ui/jobs", query_string={"q": "hlr_abcdefghijkl_" + "x" * 43})

    assert (answer.status_code, answer.headers["Location"]) == (303, "/ui/jobs?unread=key")
    assert "It was not searched" in browser.page(answer.headers["Location"]).text


# The rest


def test_leads_from_home_to_it_and_without_it_to_the_docs(make_site: MakeSite, browser: Browser) -> None:
    off = make_site(dashboard="off", docs_public="1", auth="off").test_client()

    assert browser.client.get("/").headers["Location"] == "/ui"
    assert off.get("/").headers["Location"] == "/docs"
    assert off.get("/ui").status_code == 404


def test_answers_what_is_no_page_with_one(browser: Browser, site: Flask) -> None:
    assert browser.page("/ui/nowhere", 404).all("h1")[0].text == "There is no such page"
    assert browser.page("/ui/jobs/nonsense", 404)
    assert site.test_client().get("/ui/nowhere").status_code == 303


def test_shows_that_the_database_is_away_and_asks_again(make_site: MakeSite) -> None:
    browser = Browser(make_site(host="127.0.0.1", database_url="postgres://nobody@127.0.0.1:1/none"))

    answer = browser.get("/ui")

    page = read(answer.text)
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "5")
    assert page.all("meta", http_equiv_="x") == []
    assert '<meta http-equiv="refresh" content="5">' in answer.text
    assert browser.get("/ui", Haulier_Live="x").text == ""


def test_shows_the_rest_where_a_part_is_late(browser: Browser, conn: Connection, sql) -> None:
    enqueue(conn)
    with conn.cursor() as cursor:
        cursor.execute("BEGIN; LOCK TABLE haulier.pause IN ACCESS EXCLUSIVE MODE")
        try:
            page = browser.page("/ui")
        finally:
            cursor.execute("ROLLBACK")

    assert "Not available just now" in page.text
    assert "What fails now" in page.text


def test_names_the_installation_and_the_zone(make_site: MakeSite, signed_in: SignedIn) -> None:
    browser = signed_in(app=make_site(installation_name="shop-production", time_zone="Europe/Berlin"))

    page = browser.page("/ui/help")

    assert page.all("title")[0].text == "Help · shop-production"
    assert "All times in Europe/Berlin" in page.text


def test_keeps_what_a_person_prefers_in_their_browser(browser: Browser, conn: Connection) -> None:
    job = enqueue(conn)
    done = browser.send(browser.page("/ui/settings"), "/ui/settings", theme="dark", zone="Asia/Tokyo", exact="1")

    page = browser.page(f"/ui/jobs/{job}")

    assert done.status_code == 303
    assert page.all("html")[0].given["data-theme"] == "dark"
    assert "All times in Asia/Tokyo" in page.text
    assert " ago" not in page.text
    assert browser.send(page, "/ui/settings/theme").headers["Location"] == f"/ui/jobs/{job}"
    assert browser.page("/ui/help").all("html")[0].given["data-theme"] == "auto"


@pytest.mark.parametrize("zone", ["", "Nowhere/None", "../etc/passwd", "Europe", "é"])
def test_takes_no_zone_that_is_none(browser: Browser, zone: str) -> None:
    refused = browser.send(browser.page("/ui/settings"), "/ui/settings", zone=zone)

    assert refused.status_code == 422
    assert browser.page("/ui/settings").all("input", id="f-zone")[0].given["value"] == "UTC"


def test_beats_once_a_worker_lives(browser: Browser, conn: Connection) -> None:
    consume.register(conn, host="dock", pid=7, threads=4, queues=(), lease_seconds=30)

    figures = eventually(lambda: browser.page("/ui").text)

    assert "1 worker" in figures
