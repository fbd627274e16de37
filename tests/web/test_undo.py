"""What a message offers to take back what was done: it ..."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from urllib.parse import urlencode

import pytest
from psycopg2.extensions import connection as Connection

from app.web import cookies
from haulier.domain.api_key import Scope
from tests.queue.schedules import plant
from tests.web.browsing import Browser, Element
from tests.web.conftest import SignedIn
from tests.web.jobs import claim, enqueue, fail

Ask = Callable[..., Any]
# By name: how to make what is acted on, the act, what is sent with it, the word that takes it back, and what tells
# whether it holds.
MADE: dict[str, Callable[[Connection, Ask], object]] = {
    "jobs": lambda conn, _: enqueue(conn),
    "running": lambda conn, _: enqueue(conn),
    "queues": lambda conn, _: (enqueue(conn, queue="mail"), "mail")[1],
    "schedules": lambda _, sql: (plant(sql, "nightly", every_seconds=3600), "nightly")[1],
    "workers": lambda conn, _: claim(conn)[0],
    "failures": lambda conn, _: fail(conn, "Timeout: x"),
}
ACTS = [
    ("jobs", "cancel", {}, "Queue it again", "SELECT status = 'cancelled' FROM haulier.jobs"),
    ("running", "stop", {}, "Queue it again", "SELECT status = 'cancelled' FROM haulier.jobs"),
    ("queues", "pause", {"for": ""}, "Resume it", "SELECT count(*) = 1 FROM haulier.pause WHERE queue = 'mail'"),
    (
        "schedules",
        "pause",
        {"for": ""},
        "Resume it",
        "SELECT paused_since IS NOT NULL AND paused_until IS NULL FROM haulier.schedule",
    ),
    ("workers", "quiet", {}, "Wake it", "SELECT quiet FROM haulier.worker"),
    ("failures", "mute", {"for": "1h"}, "Mute it no longer", "SELECT muted_until IS NOT NULL FROM haulier.error_group"),
]


def said(page: Element) -> tuple[str, list[Element]]:
    """Return what was said, and the forms that take it back."""
    [found] = page.all("p", id="said")
    forms = page.all("form", id="undo")
    assert [each.given["form"] for each in found.all("button")] == [each.given["id"] for each in forms]
    return found.text, forms


def fields(form: Element) -> dict[str, str]:
    return {each.given["name"]: each.given["value"] for each in form.all("input", type="hidden")}


def token_of(browser: Browser) -> str:
    return browser.page("/ui/settings").all("input", name="csrf")[0].given["value"]


@pytest.mark.parametrize(("section", "act", "sent", "word", "holds"), ACTS, ids=[each[0] for each in ACTS])
def test_offers_what_takes_it_back_and_does_it(
    browser: Browser, conn: Connection, sql, section: str, act: str, sent: dict[str, str], word: str, holds: str
) -> None:
    made = MADE[section](conn, sql)
    place = f"/ui/{section}" if section == "running" else f"/ui/{section}/{made}"

    done = browser.post(f"/ui/{section}/{made}/{act}", csrf=token_of(browser), next=place, **sent)
    text, [form] = said(browser.page(done.headers["Location"]))
    held = sql(holds)
    again = said(browser.page(place))
    back = browser.post(form.given["action"], **fields(form))

    assert (done.status_code, held) == (303, [(True,)])
    assert text.endswith(f". {word}")
    assert again == ("", [])
    assert (back.status_code, sql(holds)) == (303, [(False,)])
    assert said(browser.page(back.headers["Location"]))[0] != ""


def test_offers_to_quiet_again_a_worker_that_was_woken(browser: Browser, conn: Connection, sql) -> None:
    worker, _ = claim(conn)
    token = token_of(browser)
    for act in ("quiet", "wake"):
        done = browser.post(f"/ui/workers/{worker}/{act}", csrf=token, next="/ui/workers")

    text, [form] = said(browser.page(done.headers["Location"]))
    browser.post(form.given["action"], **fields(form))

    assert text == "It claims again. Quiet it"
    assert sql("SELECT quiet FROM haulier.worker") == [(True,)]


def test_tells_what_a_job_is_where_it_has_changed_before_it_is_taken_back(browser: Browser, conn: Connection) -> None:
    job = enqueue(conn)
    browser.post(f"/ui/jobs/{job}/cancel", csrf=token_of(browser))
    _, [form] = said(browser.page(f"/ui/jobs/{job}"))

    answers = [browser.post(form.given["action"], **fields(form)).status_code for _ in range(2)]

    assert answers == [303, 409]


@pytest.mark.parametrize("place", ["jobs/{}/cancel", "running/{}/stop"])
def test_takes_back_the_cancel_of_a_job_that_is_not_due_and_leaves_its_time(
    browser: Browser, conn: Connection, sql, place: str
) -> None:
    job = enqueue(conn, delay=timedelta(days=1))
    due = sql("SELECT run_at FROM haulier.jobs")

    done = browser.post(f"/ui/{place.format(job)}", csrf=token_of(browser), next="/ui/running")
    _, [form] = said(browser.page(done.headers["Location"]))
    browser.post(form.given["action"], **fields(form))

    assert sql("SELECT status FROM haulier.jobs") == [("queued",)]
    assert sql("SELECT run_at FROM haulier.jobs") == due


@pytest.mark.parametrize("due", ["", "soon", "2020-01-01T00:00:00Z", "9999-12-31T23:59:59-12:00"])
def test_queues_a_job_again_at_once_where_no_time_to_come_is_sent(
    browser: Browser, conn: Connection, sql, due: str
) -> None:
    job = enqueue(conn, delay=timedelta(days=1))
    browser.post(f"/ui/jobs/{job}/cancel", csrf=token_of(browser))

    answer = browser.post(f"/ui/jobs/{job}/retry?{urlencode({'due': due})}", csrf=token_of(browser))

    assert answer.status_code == 303
    assert sql("SELECT run_at <= now() FROM haulier.job") == [(True,)]


def test_offers_nothing_for_a_job_that_runs_on(browser: Browser, conn: Connection) -> None:
    job = enqueue(conn)
    claim(conn)

    browser.post(f"/ui/jobs/{job}/cancel", csrf=token_of(browser))

    assert said(browser.page(f"/ui/jobs/{job}")) == ("The job runs, and was asked to stop.", [])


def test_offers_nothing_that_the_viewer_may_not_do(signed_in: SignedIn, conn: Connection) -> None:
    browser = signed_in(Scope.READ, Scope.OPERATE)
    permissions = browser.client.application.extensions["haulier_permissions"]
    job = enqueue(conn)
    browser.post(f"/ui/jobs/{job}/cancel", csrf=token_of(browser))

    # As if it were started anew meanwhile, for reading alone.
    permissions.is_read_only = True
    page = browser.page(f"/ui/jobs/{job}")

    assert said(page) == ("Cancelled.", [])


def words(*parts: str) -> str:
    return ".".join(base64.urlsafe_b64encode(each.encode()).decode() for each in parts)


@pytest.mark.parametrize(
    ("parts", "is_signed", "shown"),
    [
        # Without an undo; with one; with one of another release; with one in another form, or in none; not signed here.
        (("Paused.",), True, ("Paused.", False)),
        (("Paused.", json.dumps(["Resume it", "queues.resume", {"name": "mail"}])), True, ("Paused. Resume it", True)),
        (("Paused.", json.dumps(["Thaw it", "queues.thaw", {"name": "mail"}])), True, ("Paused.", False)),
        (("Paused.", json.dumps(["Resume it"])), True, ("", False)),
        (("Paused.", "]["), True, ("", False)),
        (("Paused.", json.dumps(["Resume it", "queues.resume", {"name": "mail"}])), False, ("", False)),
    ],
)
def test_offers_only_what_this_service_has_signed_and_knows(
    browser: Browser, parts: tuple[str, ...], is_signed: bool, shown: tuple[str, bool]
) -> None:
    text, secret = words(*parts), browser.cookie(cookies.SESSION) or ""
    signature = cookies.signed(secret if is_signed else "another", text)
    browser.client.set_cookie(cookies.SAID, f"{text}.{signature}")

    text, forms = said(browser.page("/ui/help"))

    assert (text, bool(forms)) == shown
