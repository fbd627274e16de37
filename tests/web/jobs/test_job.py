"""The page of a job: it ..."""

from __future__ import annotations

import re
from datetime import timedelta
from uuid import UUID

from psycopg2.extensions import connection as Connection

from haulier.domain.api_key import Scope
from haulier.domain.outcome import Outcome
from haulier.queue import jobs as job_acts
from haulier.queue import search
from tests.web.browsing import Browser, Element, form, read
from tests.web.conftest import MakeSite, SignedIn
from tests.web.jobs import EMAIL, claim, end, enqueue, fail, in_all_states
from tests.web.tables import check_each

KEPT = "No job has this id. Jobs that have ended are kept for 30 days"


def verbs(page: Element) -> set[str]:
    """Return the acts on the job that the page offers."""
    acts = {path.rpartition("/")[2] for path in page.actions() if path.startswith("/ui/jobs/")}
    return acts - {"change"}


# What it shows


def test_shows_a_job_in_every_state(browser: Browser, conn: Connection) -> None:
    jobs = in_all_states(conn)

    pages = {status: browser.page(f"/ui/jobs/{job}") for status, job in jobs.items()}

    shapes = {status: "failed" if status == "failed_permanent" else status for status in jobs}
    assert [status for status, shape in shapes.items() if not pages[status].all("span", class_=f"state {shape}")] == []
    assert "by ops-anna" in pages["cancelled"].text
    assert "dock:7 has claimed it" in pages["running"].text
    assert "Failed for good" in pages["failed_permanent"].text
    assert pages["failed_permanent"].one("pre", class_="error").text == "no luck"
    assert "No live worker serves the queue mail" in pages["queued"].text
    assert '"sent" : true' in pages["succeeded"].text


def test_says_the_same_of_no_job_and_of_one_that_the_key_may_not_see(signed_in: SignedIn, conn: Connection) -> None:
    browser = signed_in(Scope.ADMIN, queues=["mail"])
    other, own = enqueue(conn, queue="salmon"), enqueue(conn, queue="mail")

    answers = [browser.get(f"/ui/jobs/{job}") for job in (UUID(int=other.int ^ 1), other, own)]

    assert [answer.status_code for answer in answers] == [404, 404, 200]
    texts = [re.sub(r"[0-9a-f-]{32,36}|data-now=.*", "", answer.text) for answer in answers[:2]]
    assert texts[0] == texts[1]
    assert KEPT in texts[0]


def test_says_of_an_ended_job_how_long_it_took_and_is_kept(browser: Browser, conn: Connection) -> None:
    job = enqueue(conn)
    live = browser.page(f"/ui/jobs/{job}").text
    _, [fence] = claim(conn)
    end(conn, fence, Outcome.fail_for_good("no luck"))

    ended = browser.page(f"/ui/jobs/{job}").text

    took = re.compile(r"What happened [0-9.]+ m?s: waited [0-9.]+ m?s, ran [0-9.]+ m?s ")
    assert [(bool(took.search(text)), "Kept until" in text) for text in (live, ended)] == [(False,) * 2, (True,) * 2]
    assert f"haulier jobs cancel {job}" in live
    assert f"haulier jobs retry {job}" in ended


def test_leads_to_the_error_while_the_job_is_in_its_group(browser: Browser, conn: Connection) -> None:
    group = fail(conn, "Timeout: x")
    [job] = search.list_jobs(conn, search.JobFilter()).jobs
    before = browser.page(f"/ui/jobs/{job.id}")

    browser.send(before, f"/ui/jobs/{job.id}/retry")
    after = browser.page(f"/ui/jobs/{job.id}")

    assert before.links("with the same error") == [f"/ui/failures/{group}"]
    assert after.all("a", href=f"/ui/failures/{group}") == []
    assert after.links("of this kind, queued") == ["/ui/jobs?kind=send_email&status=queued"]


def test_draws_how_the_time_of_a_job_was_divided(browser: Browser, conn: Connection, sql) -> None:
    path = f"/ui/jobs/{enqueue(conn, kind='unknown')}"

    def strip() -> str:
        return browser.page(path).one("svg", class_="bar strip").attrs["aria-label"]

    waits = strip()
    sql("UPDATE haulier.job SET created_at = now() - interval '10 seconds', run_at = now() - interval '10 seconds'")
    _, [fence] = claim(conn)
    runs = strip()
    end(conn, fence, Outcome.complete())

    assert waits == "Nothing has finished yet"
    assert re.fullmatch(r"Waited 1\d s", runs)
    assert re.fullmatch(r"Waited 1\d s, ran [0-9.]+ m?s", strip())
    legend = browser.page(path).one("ul", class_="legend")
    assert [each.text for each in legend.all("li")] == ["waited", "ran and succeeded"]


def test_says_of_a_running_job_who_asked_it_to_stop(browser: Browser, signed_in: SignedIn, conn: Connection) -> None:
    job, other = enqueue(conn), enqueue(conn)
    for _ in range(2):
        claim(conn)
    job_acts.cancel(conn, job, actor="ops-anna")

    operator, reader = (each.page(f"/ui/jobs/{job}").text for each in (browser, signed_in(Scope.READ)))
    rows = browser.page("/ui/jobs?status=running").rows()

    assert re.search(r"It was asked to stop by ops-anna\. \d+ (s|min) ago|by ops-anna\. now", operator)
    assert ("It was asked to stop." in reader, "ops-anna" in reader) == (True, False)
    assert {name: "asked to stop" in row.text for name, row in rows.items()} == {str(job): True, str(other): False}
    assert browser.page("/ui/jobs?status=running&sort=started").text.count("asked to stop") == 1


def test_names_who_acted_only_to_those_who_may_operate(signed_in: SignedIn, conn: Connection) -> None:
    job = in_all_states(conn)["cancelled"]

    told = ["ops-anna" in signed_in(scope).page(f"/ui/jobs/{job}").text for scope in (Scope.READ, Scope.ADMIN)]

    assert told == [False, True]


# What it offers


def test_offers_the_acts_that_the_state_allows_and_does_them(browser: Browser, conn: Connection) -> None:
    jobs = in_all_states(conn)
    jobs["later"] = enqueue(conn, delay=timedelta(hours=1))
    ended = {"failed_permanent", "cancelled"}
    allowed = {
        "cancel": {"queued", "running", "retrying", "later"},
        "retry": ended,
        "run-now": {"later", "retrying"},
        "copy": set(jobs),
        "delete": {"succeeded", *ended},
    }

    offered = {status: verbs(browser.page(f"/ui/jobs/{job}")) for status, job in jobs.items()}

    assert offered == {status: {verb for verb, states in allowed.items() if status in states} for status in jobs}
    # In an order in which each state still allows it.
    done = {
        (verb, status): browser.send(browser.page(path := f"/ui/jobs/{jobs[status]}"), f"{path}/{verb}").status_code
        for verb, statuses in (
            ("copy", jobs),
            ("run-now", ("later", "retrying")),
            ("cancel", ("queued", "running", "later", "retrying")),
            ("retry", ("failed_permanent", "cancelled")),
            ("delete", ("succeeded", "later")),
        )
        for status in statuses
    }
    assert {at: status for at, status in done.items() if status != 303} == {}


def test_shows_an_act_that_the_state_or_key_forbids_with_the_reason(
    browser: Browser, signed_in: SignedIn, conn: Connection
) -> None:
    jobs, reader = in_all_states(conn), signed_in(Scope.READ)
    no_retry = "Only a job that has failed or was cancelled can be queued again."
    live = {"Retry": no_retry, "Delete it…": "It is live: cancel it first."}
    runs, ended = "It runs: ask it to stop first.", "It has ended."

    check_each(
        lambda status: disabled(browser.page(f"/ui/jobs/{jobs[status]}")),
        ("queued", {**live, "Run now": "Its time has come already."}),
        ("running", {**live, "Run now": runs, "Change it…": runs}),
        ("failed_permanent", {"Run now": ended, "Change it…": ended, "Cancel": ended}),
    )
    told = disabled(reader.page(f"/ui/jobs/{jobs['queued']}"))
    assert told.keys() >= {"Cancel", "Change it…", "Delete it…", "Retry", "Run now"}
    assert told["Cancel"] == "This API key lacks the scope operate."


def disabled(page: Element) -> dict[str, str]:
    """Return the acts that cannot be done, with what is said of each to those who hear the page."""
    acts = ("Run now", "Change it…", "Cancel", "Ask it to stop", "Retry", "Delete it…")
    buttons = [each for each in page.all("button") if "disabled" in each.attrs and each.text in acts]
    told = {each.attrs.get("id"): each.text for each in page.below()}
    return {each.text: told[each.attrs["aria-describedby"]] for each in buttons}


def test_shows_what_a_job_is_now_if_it_changed_before_an_act(browser: Browser, conn: Connection) -> None:
    path = f"/ui/jobs/{enqueue(conn)}"
    page = browser.page(path)
    _, [fence] = claim(conn)
    end(conn, fence, Outcome.complete())

    now = browser.refused(page, f"{path}/cancel", 409)

    assert "Nothing was done" in now.text
    assert "delete" in verbs(now)


# Secrets


def test_hides_values_with_secret_names_until_one_asks(browser: Browser, conn: Connection) -> None:
    job = enqueue(conn, {**EMAIL, "api_token": "swordfish", "nested": {"Password": [1, 2]}})

    hidden, shown = browser.get(f"/ui/jobs/{job}").text, browser.get(f"/ui/jobs/{job}?show=hidden").text

    assert "swordfish" not in hidden
    assert "hidden, 9 characters" in hidden
    assert "swordfish" in shown


def test_hides_the_fields_that_the_setting_names(make_site: MakeSite, signed_in: SignedIn, conn: Connection) -> None:
    job = enqueue(conn, {**EMAIL, "iban": "swordfish", "token": "trout"})

    def shown(*fields: str) -> list[bool]:
        page = signed_in(Scope.READ, app=make_site(hide_fields=fields)).get(f"/ui/jobs/{job}").text
        return ["swordfish" in page, "trout" in page]

    assert (shown("iban"), shown()) == ([False, True], [True, True])


# News


def test_answers_204_until_the_job_changes_and_polls_no_more_once_it_ended(browser: Browser, conn: Connection) -> None:
    path = f"/ui/jobs/{enqueue(conn)}"
    seen = browser.seen(path)

    same = [browser.get(path, Haulier_Live=seen) for _ in range(3)]
    _, [fence] = claim(conn)
    changed = browser.get(path, Haulier_Live=seen)
    end(conn, fence, Outcome.complete())
    ended = browser.get(path, Haulier_Live=seen)

    assert [(answer.status_code, answer.text) for answer in same] == [(204, "")] * 3
    assert changed.status_code == 200
    [main] = [each for each in read(changed.text).children if not isinstance(each, str)]
    assert (main.tag, main.attrs["data-live-every"]) == ("main", "2")
    assert "<html" not in changed.text
    assert "data-live-every" not in ended.text


# Copies


def test_makes_one_copy_of_a_job_for_each_page_with_the_form(browser: Browser, conn: Connection, sql) -> None:
    job = enqueue(conn)
    path = f"/ui/jobs/{job}"
    page, other = browser.page(path), browser.page(path)

    places = [browser.send(each, f"{path}/copy").headers["Location"] for each in (page, page, other)]

    assert places[0] == places[1] != places[2]
    assert {f"/ui/jobs/{id}" for (id,) in sql("SELECT id FROM haulier.job WHERE copy_of = %s", job)} == set(places)
    assert sql("SELECT count(*) FROM haulier.audit WHERE action = 'copy'") == [(2,)]
    # The field in which the pages differ is no news.
    assert page.one("main").attrs["data-seen"] == other.one("main").attrs["data-seen"]


def test_does_it_each_time_if_the_form_came_without_its_field(browser: Browser, conn: Connection, sql) -> None:
    path = f"/ui/jobs/{enqueue(conn)}"
    sent = {**form(browser.page(path), f"{path}/copy"), "once": ""}

    for _ in range(2):
        browser.post(f"{path}/copy", **sent)

    assert sql("SELECT count(*) FROM haulier.job") == [(3,)]
