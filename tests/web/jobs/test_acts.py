"""Acts: how a message offers to take them back, on jobs that were ticked, and if a trigger refuses them: it ..."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from urllib.parse import urlencode
from uuid import UUID, uuid4

import pytest
from psycopg2.extensions import connection as Connection

from app.web.kit import cookies
from haulier.queue.search import job_list
from tests.isolation.rows import refusing
from tests.queue.schedules.schedules import plant
from tests.web.browsing import Browser, Element, check_each, form
from tests.web.jobs import claim, enqueue, fail, in_all_states

Ask = Callable[..., Any]
# By section: how to make what is acted on, the act, what is sent, the words that take it back, and whether it holds.
ACTS: dict[str, tuple[Callable[[Connection, Ask], object], str, dict[str, str], str, str]] = {
    "jobs": (lambda conn, _: enqueue(conn), "cancel", {}, "Retry",
             "SELECT status = 'cancelled' FROM haulier.jobs"),
    "running": (lambda conn, _: enqueue(conn), "stop", {}, "Retry",
                "SELECT status = 'cancelled' FROM haulier.jobs"),
    "queues": (lambda conn, _: (enqueue(conn, queue="mail"), "mail")[1], "pause", {"for": ""}, "Resume",
               "SELECT count(*) = 1 FROM haulier.pause WHERE queue = 'mail'"),
    "schedules": (lambda _, sql: (plant(sql, "nightly", every_seconds=3600), "nightly")[1], "pause", {"for": ""},
                  "Resume", "SELECT paused_since IS NOT NULL AND paused_until IS NULL FROM haulier.schedule"),
    "workers": (lambda conn, _: claim(conn)[0], "quiet", {}, "Wake", "SELECT quiet FROM haulier.worker"),
    "woken workers": (lambda conn, _: claim(conn)[0], "wake", {}, "Quiet", "SELECT NOT quiet FROM haulier.worker"),
    "failures": (lambda conn, _: fail(conn, "Timeout: x"), "mute", {"for": "1h"}, "Unmute",
                 "SELECT muted_until IS NOT NULL FROM haulier.error_group"),
}  # fmt: skip


def said(page: Element) -> tuple[str, list[Element]]:
    message, forms = page.one("p", id="said"), page.all("form", id="undo")
    assert [each.attrs["form"] for each in message.all("button")] == [each.attrs["id"] for each in forms]
    return message.text, forms


def press(browser: Browser, form: Element) -> Any:
    fields = {each.attrs["name"]: each.attrs["value"] for each in form.all("input", type="hidden")}
    return browser.post(form.attrs["action"], **fields)


@pytest.mark.parametrize("name", ACTS)
def test_offers_to_take_an_act_back_once_and_does_it(browser: Browser, conn: Connection, sql, name: str) -> None:
    make, act, sent, words, holds = ACTS[name]
    section, made = name.removeprefix("woken "), make(conn, sql)
    place = f"/ui/{section}" if section == "running" else f"/ui/{section}/{made}"

    if act == "wake":
        browser.act(f"{place}/quiet")

    done = browser.act(f"/ui/{section}/{made}/{act}", next=place, **sent)
    text, [form] = said(browser.page(done.headers["Location"]))
    held, again = sql(holds), said(browser.page(place))
    back = press(browser, form)

    assert (done.status_code, held) == (303, [(True,)])
    assert text.endswith(f". {words}")
    assert again == ("", [])
    assert (back.status_code, sql(holds)) == (303, [(False,)])
    assert said(browser.page(back.headers["Location"]))[0] != ""


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


def test_offers_only_what_this_service_has_signed_and_knows(browser: Browser) -> None:
    secret = browser.cookie(cookies.SESSION) or ""

    def shown(*undo: str, signed_by: str = secret) -> tuple[str, bool]:
        words = ".".join(base64.urlsafe_b64encode(each.encode()).decode() for each in ("Paused.", *undo))
        browser.client.set_cookie(cookies.SAID, f"{words}.{cookies.signed(signed_by, words)}")
        text, forms = said(browser.page("/ui/help"))
        return text, bool(forms)

    resume = json.dumps(["Resume", "queues.resume", {"name": "mail"}])
    of_another_release = json.dumps(["Thaw it", "queues.thaw", {"name": "mail"}])
    check_each(
        shown,
        (("Paused.", False),),
        (resume, ("Paused. Resume", True)),
        (of_another_release, ("Paused.", False)),
        (json.dumps(["Resume"]), ("", False)),
        ("][", ("", False)),
    )
    assert shown(resume, signed_by="another") == ("", False)


# On jobs that were ticked in a list


def sent(browser: Browser, verb: str, ids: Any, path: str = "/ui/jobs", **fields: str) -> Any:
    """Send the ticks, as a button below the list does."""
    hidden = form(browser.page(path), "/ui/jobs/ticked/retry")
    return browser.post(f"/ui/jobs/ticked/{verb}", **{**hidden, "id": [str(each) for each in ids], **fields})


def statuses(conn: Connection, jobs: dict[str, UUID]) -> dict[str, str]:
    found = {job.id: str(job.status) for job in job_list.get_jobs(conn, jobs.values())}
    return {name: found.get(job, "gone") for name, job in jobs.items()}


LEFT = "jobs: they had changed or their state does not allow this"


TICKED = {
    "retry": ({"failed_permanent": "queued", "cancelled": "queued"}, {"Retried 2 jobs", f"Skipped 5 {LEFT}"}),
    "cancel": (
        {"queued": "cancelled", "retrying": "cancelled"},
        {"Cancelled 2 jobs", "Cancel requested for 1 job", f"Skipped 4 {LEFT}"},
    ),
    "run-now": ({}, {"Due now: 2 jobs", f"Skipped 5 {LEFT}"}),
}


@pytest.mark.parametrize("verb", TICKED)
def test_acts_on_the_jobs_whose_state_allows_it(browser: Browser, conn: Connection, verb: str) -> None:
    after, told = TICKED[verb]
    jobs = in_all_states(conn)
    other = {"other": enqueue(conn, queue="mail")}

    answer = sent(browser, verb, [*jobs.values(), uuid4(), jobs["queued"]], "/ui/jobs?tag=night")

    assert (answer.status_code, answer.headers["Location"]) == (303, "/ui/jobs?tag=night")
    assert statuses(conn, jobs) == {name: after.get(name, name) for name in jobs}
    assert statuses(conn, other) == {"other": "queued"}
    # In the order in which they were selected.
    assert set(said(browser.page("/ui/jobs"))[0].removesuffix(".").split(". ")) == told
    sent(browser, verb, [])
    assert said(browser.page("/ui/jobs"))[0] == "No job was selected."


def test_asks_before_it_deletes(browser: Browser, conn: Connection) -> None:
    jobs = in_all_states(conn)

    asked = sent(browser, "delete", jobs.values())
    wrong = sent(browser, "delete", jobs.values(), sure="5")
    unchanged = statuses(conn, jobs)
    done = sent(browser, "delete", jobs.values(), sure="6")

    assert (asked.status_code, wrong.status_code, done.status_code) == (200, 422, 303)
    assert "Delete 6 jobs permanently?" in asked.text
    assert unchanged == {name: name for name in jobs}
    ended = ("succeeded", "failed_permanent", "cancelled")
    assert statuses(conn, jobs) == {name: "gone" if name in ended else name for name in jobs}


def test_changes_the_selected_jobs_that_wait(browser: Browser, conn: Connection) -> None:
    jobs = in_all_states(conn)

    asked = sent(browser, "change", jobs.values())
    wrong = [sent(browser, "change", jobs.values(), sure="1", **fields) for fields in ({}, {"to_priority": "x"})]
    unchanged = job_list.get(conn, jobs["queued"]).queue
    done = sent(browser, "change", jobs.values(), sure="1", to_queue="slow")

    assert [each.status_code for each in (asked, *wrong, done)] == [200, 422, 422, 303]
    assert "Change 6 jobs" in asked.text
    assert unchanged == "mail"
    moved = {name for name, job in jobs.items() if job_list.get(conn, job).queue == "slow"}
    assert moved == {"queued", "retrying"}
    assert "Changed 2 jobs. Skipped 4 jobs" in said(browser.page("/ui/jobs"))[0]


def test_refuses_ids_that_no_page_sends(browser: Browser, conn: Connection) -> None:
    enqueue(conn)

    for ids in (["nonsense"], [uuid4() for _ in range(201)]):
        assert {sent(browser, verb, ids).status_code for verb in ("retry", "cancel", "run-now", "delete")} == {422}


def test_says_how_many_jobs_were_not_reached_in_time(browser: Browser, conn: Connection, monkeypatch) -> None:
    monkeypatch.setattr("app.web.pages.jobs.ticked.MOST_SECONDS", -1.0)
    jobs = in_all_states(conn)

    sent(browser, "cancel", jobs.values())

    assert "6 jobs were not reached in time" in said(browser.page("/ui/jobs"))[0]
    assert statuses(conn, jobs) == {name: name for name in jobs}


# If a trigger of the owner's refuses it


NEW = "/ui/jobs/new?kind=send_email"
FILLED = {"p.to": "a@b.c", "p.subject": "Hi", "p.body": "Hello.", "queue": "orders"}
TOLD = "The database refused this: not this one"


def test_gives_a_form_back_as_it_was_filled_in_with_the_message(browser: Browser, conn: Connection) -> None:
    with refusing(conn, "job", "INSERT", "NEW.queue = 'orders'", "MY001", is_deferred=True):
        page = browser.refused(browser.page(NEW), "/ui/jobs/new", **FILLED)

    assert TOLD in page.text
    assert page.one("input", name="queue").attrs["value"] == "orders"
    assert "secret" not in page.text


def test_does_it_to_the_other_jobs_that_were_ticked(browser: Browser, conn: Connection, sql) -> None:
    jobs = [enqueue(conn, queue=queue) for queue in ("mail", "orders", "mail")]

    with refusing(conn, "finished_job", "INSERT", "NEW.queue = 'orders'", "MY001", is_deferred=True):
        browser.act("/ui/jobs/ticked/cancel", id=[str(job) for job in jobs])

    [said] = browser.page("/ui/jobs").all("p", id="said")
    assert said.text.startswith("Cancelled 2 jobs. The database refused 1 job: not this one.")
    assert sql("SELECT queue FROM haulier.job") == [("orders",)]
