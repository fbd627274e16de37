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

from app.web.kit import cookies
from haulier.domain.api_key import Scope
from tests.queue.schedules.schedules import plant
from tests.web.browsing import Browser, Element
from tests.web.conftest import SignedIn
from tests.web.jobs import claim, enqueue, fail
from tests.web.tables import check_each

Ask = Callable[..., Any]
# By name: how to make what is acted on, the act, what is sent with it, the words that take it back, and whether it
# holds.
ACTS: dict[str, tuple[Callable[[Connection, Ask], object], str, dict[str, str], str, str]] = {
    "jobs": (lambda conn, _: enqueue(conn), "cancel", {}, "Queue it again",
             "SELECT status = 'cancelled' FROM haulier.jobs"),
    "running": (lambda conn, _: enqueue(conn), "stop", {}, "Queue it again",
                "SELECT status = 'cancelled' FROM haulier.jobs"),
    "queues": (lambda conn, _: (enqueue(conn, queue="mail"), "mail")[1], "pause", {"for": ""}, "Resume it",
               "SELECT count(*) = 1 FROM haulier.pause WHERE queue = 'mail'"),
    "schedules": (lambda _, sql: (plant(sql, "nightly", every_seconds=3600), "nightly")[1], "pause", {"for": ""},
                  "Resume it", "SELECT paused_since IS NOT NULL AND paused_until IS NULL FROM haulier.schedule"),
    "workers": (lambda conn, _: claim(conn)[0], "quiet", {}, "Wake it", "SELECT quiet FROM haulier.worker"),
    "failures": (lambda conn, _: fail(conn, "Timeout: x"), "mute", {"for": "1h"}, "Mute it no longer",
                 "SELECT muted_until IS NOT NULL FROM haulier.error_group"),
}  # fmt: skip


def said(page: Element) -> tuple[str, list[Element]]:
    """Return what was said, and the forms that take it back."""
    message, forms = page.one("p", id="said"), page.all("form", id="undo")
    assert [each.attrs["form"] for each in message.all("button")] == [each.attrs["id"] for each in forms]
    return message.text, forms


def press(browser: Browser, form: Element) -> Any:
    """Send the form as its button does."""
    fields = {each.attrs["name"]: each.attrs["value"] for each in form.all("input", type="hidden")}
    return browser.post(form.attrs["action"], **fields)


@pytest.mark.parametrize("section", ACTS)
def test_offers_to_take_an_act_back_once_and_does_it(browser: Browser, conn: Connection, sql, section: str) -> None:
    make, act, sent, words, holds = ACTS[section]
    made = make(conn, sql)
    place = f"/ui/{section}" if section == "running" else f"/ui/{section}/{made}"

    done = browser.act(f"/ui/{section}/{made}/{act}", next=place, **sent)
    text, [form] = said(browser.page(done.headers["Location"]))
    held = sql(holds)
    again = said(browser.page(place))
    back = press(browser, form)

    assert (done.status_code, held) == (303, [(True,)])
    assert text.endswith(f". {words}")
    assert again == ("", [])
    assert (back.status_code, sql(holds)) == (303, [(False,)])
    assert said(browser.page(back.headers["Location"]))[0] != ""


def test_offers_to_quiet_again_a_worker_that_was_woken(browser: Browser, conn: Connection, sql) -> None:
    worker, _ = claim(conn)
    browser.act(f"/ui/workers/{worker}/quiet")
    done = browser.act(f"/ui/workers/{worker}/wake", next="/ui/workers")

    text, [form] = said(browser.page(done.headers["Location"]))
    press(browser, form)

    assert text == "It claims again. Quiet it"
    assert sql("SELECT quiet FROM haulier.worker") == [(True,)]


def test_takes_the_cancel_of_a_later_job_back_once_and_leaves_its_time(browser: Browser, conn: Connection, sql) -> None:
    job = enqueue(conn, delay=timedelta(days=1))
    due = sql("SELECT run_at FROM haulier.jobs")

    for path in (f"/ui/jobs/{job}/cancel", f"/ui/running/{job}/stop"):
        done = browser.act(path, next="/ui/running")
        _, [form] = said(browser.page(done.headers["Location"]))
        answers = [press(browser, form).status_code for _ in range(2)]

        # The second time it says what the job is now.
        assert answers == [303, 409]
        assert sql("SELECT status FROM haulier.jobs") == [("queued",)]
        assert sql("SELECT run_at FROM haulier.jobs") == due


def test_queues_a_job_again_at_once_if_no_future_time_is_sent(browser: Browser, conn: Connection, sql) -> None:
    job = enqueue(conn, delay=timedelta(days=1))

    for due in ("", "soon", "2020-01-01T00:00:00Z", "9999-12-31T23:59:59-12:00"):
        browser.act(f"/ui/jobs/{job}/cancel")
        answer = browser.act(f"/ui/jobs/{job}/retry?{urlencode({'due': due})}")
        assert (answer.status_code, sql("SELECT run_at <= now() FROM haulier.job")) == (303, [(True,)])


def test_offers_nothing_for_a_job_that_still_runs(browser: Browser, conn: Connection) -> None:
    job = enqueue(conn)
    claim(conn)

    browser.act(f"/ui/jobs/{job}/cancel")

    assert said(browser.page(f"/ui/jobs/{job}")) == ("The job runs, and was asked to stop.", [])


def test_offers_nothing_that_the_viewer_may_not_do(signed_in: SignedIn, conn: Connection) -> None:
    browser = signed_in(Scope.READ, Scope.OPERATE)
    job = enqueue(conn)
    browser.act(f"/ui/jobs/{job}/cancel")

    # As if it were started anew meanwhile, only for reading.
    browser.client.application.extensions["haulier_permissions"].is_read_only = True

    assert said(browser.page(f"/ui/jobs/{job}")) == ("Cancelled.", [])


def test_offers_only_what_this_service_has_signed_and_knows(browser: Browser) -> None:
    secret = browser.cookie(cookies.SESSION) or ""

    def shown(*undo: str, signed_by: str = secret) -> tuple[str, bool]:
        words = ".".join(base64.urlsafe_b64encode(each.encode()).decode() for each in ("Paused.", *undo))
        browser.client.set_cookie(cookies.SAID, f"{words}.{cookies.signed(signed_by, words)}")
        text, forms = said(browser.page("/ui/help"))
        return text, bool(forms)

    resume = json.dumps(["Resume it", "queues.resume", {"name": "mail"}])
    of_another_release = json.dumps(["Thaw it", "queues.thaw", {"name": "mail"}])
    check_each(
        shown,
        (("Paused.", False),),
        (resume, ("Paused. Resume it", True)),
        (of_another_release, ("Paused.", False)),
        (json.dumps(["Resume it"]), ("", False)),
        ("][", ("", False)),
    )
    assert shown(resume, signed_by="another") == ("", False)
