"""What the page of a job says of others, and of when it is gone: it ..."""

from __future__ import annotations

import re
from datetime import UTC, datetime

import pytest
from psycopg2.extensions import connection as Connection

from app.web.history import summary
from haulier.domain.api_key import Scope
from haulier.domain.outcome import Outcome
from haulier.domain.timeline import Step, What, Why
from haulier.queue import produce
from tests.conftest import Sql
from tests.web.browsing import Browser, Element
from tests.web.conftest import SignedIn
from tests.web.jobs import claim, end, enqueue, fail, in_all_states

KEPT = "No job has this id. Jobs that have ended are kept for 30 days"


@pytest.mark.parametrize(
    ("job", "said"),
    [
        ("0192b1a2-7c5e-7d41-9c3b-2f6a8e0d4b11", f"{KEPT}; this id was made on 22 Oct 2024 00:31:08."),
        ("0192b1a2-7c5e-4d41-9c3b-2f6a8e0d4b11", f"{KEPT}."),
        ("ffffffff-ffff-7fff-bfff-ffffffffffff", f"{KEPT}."),
    ],
)
def test_says_of_an_id_that_is_none_when_it_was_made(browser: Browser, job: str, said: str) -> None:
    assert said in browser.page(f"/ui/jobs/{job}", 404).text


def test_says_the_same_of_a_job_that_the_key_may_not_see(signed_in: SignedIn, conn: Connection) -> None:
    browser = signed_in(Scope.ADMIN, queues=["mail"])

    page = browser.page(f"/ui/jobs/{enqueue(conn, queue='salmon')}", 404)

    assert KEPT in page.text
    assert "salmon" not in page.text


def test_says_until_when_a_job_is_kept_that_has_ended(browser: Browser, conn: Connection) -> None:
    job = enqueue(conn)
    live = browser.page(f"/ui/jobs/{job}").text
    _, [fence] = claim(conn)
    end(conn, fence, Outcome.fail_for_good("no luck"))

    ended = browser.page(f"/ui/jobs/{job}").text

    assert "Kept until" not in live
    assert f"haulier jobs cancel {job}" in live
    assert "Kept until" in ended
    assert f"haulier jobs retry {job}" in ended


def test_leads_to_the_error_while_the_job_is_in_its_group(browser: Browser, conn: Connection) -> None:
    group = fail(conn, "Timeout: x")
    [job] = produce.list_jobs(conn, produce.JobFilter()).jobs
    before = browser.page(f"/ui/jobs/{job.id}")

    browser.send(before, f"/ui/jobs/{job.id}/retry")
    after = browser.page(f"/ui/jobs/{job.id}")

    assert [each.text for each in before.all("a", href=f"/ui/failures/{group}")] == ["with the same error"]
    assert after.all("a", href=f"/ui/failures/{group}") == []
    assert [each.given["href"] for each in after.all("a") if each.text == "of this kind, queued"] == [
        "/ui/jobs?kind=send_email&status=queued"
    ]


@pytest.mark.parametrize(
    ("steps", "seconds", "said"),
    [
        ([(What.WAITED, Why.TURN, 2.0), (What.FAILED, None, 1.0), (What.WAITED, Why.BACK_OFF, 60.0),
          (What.BEGAN, None, None), (What.SUCCEEDED, None, 3.0)], 66.0, "1 min 6 s: waited 1 min 2 s, ran 4.0 s"),
        ([(What.WAITED, Why.TURN, 2.0), (What.CANCELLED, None, None)], 2.0, "2.0 s: waited 2.0 s, ran 0 ms"),
        # It was retried by hand a minute after it had failed.
        ([(What.WAITED, Why.TURN, 2.0), (What.FAILED, None, 1.0), (What.RETRIED, None, None)], 63.0, ""),
        ([(What.WAITED, Why.SNOOZED, 2.0), (What.SUCCEEDED, None, 1.0)], 3.0, ""),
        ([(What.WAITED, Why.NOT_KNOWN, 2.0), (What.SUCCEEDED, None, 1.0)], 3.0, ""),
    ],
)  # fmt: skip
def test_says_how_long_a_job_waited_and_ran_where_that_is_known(
    steps: list[tuple[What, Why | None, float | None]], seconds: float, said: str
) -> None:
    at = datetime(2026, 11, 26, tzinfo=UTC)

    assert summary([Step(at, what, why=why, seconds=took) for what, why, took in steps], seconds) == said


def test_says_it_on_the_page_of_a_job_that_has_ended(browser: Browser, conn: Connection) -> None:
    job = enqueue(conn)
    live = browser.page(f"/ui/jobs/{job}").text
    _, [fence] = claim(conn)
    end(conn, fence, Outcome.complete())

    ended = browser.page(f"/ui/jobs/{job}").text

    told = re.compile(r"What happened [0-9.]+ m?s: waited [0-9.]+ m?s, ran [0-9.]+ m?s ")
    assert [bool(told.search(text)) for text in (live, ended)] == [False, True]


def test_draws_how_much_of_its_timeout_a_running_job_has_used_up(browser: Browser, conn: Connection, sql: Sql) -> None:
    timed, endless = enqueue(conn, timeout_seconds=90), enqueue(conn, kind="unknown")
    for _ in range(2):
        claim(conn)
    sql("UPDATE haulier.job SET started_at = now() - interval '81 seconds'")

    pages = [browser.page(f"/ui/jobs/{job}") for job in (timed, endless)]

    assert [[each.given["aria-label"] for each in page.all("svg", class_="bar")] for page in pages] == [
        ["90 % of its timeout"],
        [],
    ]


def test_leads_to_its_kind_though_that_was_retired(browser: Browser, conn: Connection) -> None:
    page = browser.page(f"/ui/jobs/{enqueue(conn, kind='retired')}")

    [link] = [each.given["href"] for each in page.all("a") if each.text == "the kind"]

    assert "Nothing here knows a kind of this name" in browser.page(link).text


ACTS = ("Run now", "Change it…", "Cancel", "Ask it to stop", "Retry", "Delete it…")


@pytest.mark.parametrize(
    ("status", "forbidden"),
    [
        ("queued", {"Run now": "Its time has come already.",
          "Retry": "Only a job that has failed or was cancelled can be queued again.",
          "Delete it…": "It is live: cancel it first."}),
        ("running", {"Run now": "It runs: ask it to stop first.", "Change it…": "It runs: ask it to stop first.",
          "Retry": "Only a job that has failed or was cancelled can be queued again.",
          "Delete it…": "It is live: cancel it first."}),
        ("failed_permanent", {"Run now": "It has ended.", "Change it…": "It has ended.", "Cancel": "It has ended."}),
    ],
)  # fmt: skip
def test_shows_what_the_state_forbids_with_the_reason(
    browser: Browser, signed_in: SignedIn, conn: Connection, status: str, forbidden: dict[str, str]
) -> None:
    job = in_all_states(conn)[status]

    page, reader = browser.page(f"/ui/jobs/{job}"), signed_in(Scope.READ).page(f"/ui/jobs/{job}")

    assert disabled(page) == forbidden
    assert disabled(reader).keys() >= {"Change it…", "Delete it…", "Retry", "Run now"}
    assert disabled(reader)["Delete it…"].startswith("This API key lacks")


def disabled(page: Element) -> dict[str, str]:
    """Return the acts that cannot be done, with what is said of each to those who hear the page."""
    buttons = [each for each in page.all("button") if "disabled" in each.given and each.text in ACTS]
    told = {each.given.get("id"): each.text for each in page.below()}
    return {each.text: told[each.given["aria-describedby"]] for each in buttons}


def test_says_the_timeout_also_where_it_is_that_of_the_kind(browser: Browser, conn: Connection) -> None:
    own, of_kind, strange = enqueue(conn, timeout_seconds=90), enqueue(conn), enqueue(conn, kind="strange")

    told = [fact(browser.page(f"/ui/jobs/{job}"), "Timeout") for job in (own, of_kind, strange)]

    assert told == ["1 min 30 s", "2 min, the kind’s own", "the kind’s own, which is not known here"]


def fact(page: Element, name: str) -> str:
    [facts] = page.all("dl", class_="facts")
    told = [each.text for each in facts.below() if each.tag in ("dt", "dd")]
    return told[told.index(name) + 1]


def test_says_of_a_running_job_who_asked_it_to_stop(browser: Browser, signed_in: SignedIn, conn: Connection) -> None:
    job, other = enqueue(conn), enqueue(conn)
    for _ in range(2):
        claim(conn)
    produce.cancel(conn, job, actor="ops-anna")

    pages = [each.page(f"/ui/jobs/{job}").text for each in (browser, signed_in(Scope.READ))]
    listed = {each.given["id"]: each.text for each in browser.page("/ui/jobs?status=running").all("tr") if each.given}
    longest = browser.page("/ui/jobs?status=running&sort=started").text

    assert re.search(r"It was asked to stop by ops-anna\. \d+ (s|min) ago|by ops-anna\. now", pages[0])
    assert "It was asked to stop." in pages[1]
    assert "ops-anna" not in pages[1]
    assert {name: "asked to stop" in text for name, text in listed.items()} == {
        f"job-{job}": True,
        f"job-{other}": False,
    }
    assert longest.count("asked to stop") == 1
