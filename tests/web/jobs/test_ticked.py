"""Acts on the jobs that were ticked in a list: it ..."""

from __future__ import annotations

from typing import Any
from uuid import UUID, uuid4

import pytest
from psycopg2.extensions import connection as Connection

from haulier.domain.api_key import Scope
from haulier.queue.search import job_list
from tests.web.browsing import Browser
from tests.web.conftest import SignedIn
from tests.web.jobs import enqueue, in_all_states
from tests.web.tables import check_each


def sent(browser: Browser, verb: str, ids: Any, path: str = "/ui/jobs", **fields: str) -> Any:
    """Send the ticks, as a button below the list does."""
    form = browser.page(path).one("form", id="ticked")
    hidden = {each.attrs["name"]: each.attrs["value"] for each in form.all("input")}
    return browser.post(f"/ui/jobs/ticked/{verb}", **{**hidden, "id": [str(each) for each in ids], **fields})


def statuses(conn: Connection, jobs: dict[str, UUID]) -> dict[str, str]:
    found = {job.id: str(job.status) for job in job_list.get_jobs(conn, jobs.values())}
    return {name: found.get(job, "gone") for name, job in jobs.items()}


LEFT = "had changed meanwhile, or are in another state, and were left alone"


@pytest.mark.parametrize(
    ("verb", "after", "told"),
    [
        ("retry", {"failed_permanent": "queued", "cancelled": "queued"}, {"Queued again: 2 jobs", f"5 {LEFT}"}),
        (
            "cancel",
            {"queued": "cancelled", "retrying": "cancelled"},
            {"Cancelled 2 jobs", "Asked to stop: 1 job", f"4 {LEFT}"},
        ),
        ("run-now", {}, {"Due now: 2 jobs", f"5 {LEFT}"}),
    ],
)
def test_acts_on_the_jobs_whose_state_allows_it(
    browser: Browser, conn: Connection, verb: str, after: dict[str, str], told: set[str]
) -> None:
    jobs = in_all_states(conn)
    other = {"other": enqueue(conn, queue="mail")}

    answer = sent(browser, verb, [*jobs.values(), uuid4(), jobs["queued"]], "/ui/jobs?tag=night")

    assert (answer.status_code, answer.headers["Location"]) == (303, "/ui/jobs?tag=night")
    assert statuses(conn, jobs) == {name: after.get(name, name) for name in jobs}
    assert statuses(conn, other) == {"other": "queued"}
    # In the order in which they were ticked.
    assert set(said(browser).removesuffix(".").split(". ")) == told


def said(browser: Browser) -> str:
    return browser.page("/ui/jobs").one("p", id="said").text


def test_asks_before_it_deletes(browser: Browser, conn: Connection) -> None:
    jobs = in_all_states(conn)

    asked = sent(browser, "delete", jobs.values())
    wrong = sent(browser, "delete", jobs.values(), sure="5")
    unchanged = statuses(conn, jobs)
    done = sent(browser, "delete", jobs.values(), sure="6")

    assert (asked.status_code, wrong.status_code, done.status_code) == (200, 422, 303)
    assert "Delete 6 jobs for good?" in asked.text
    assert unchanged == {name: name for name in jobs}
    ended = ("succeeded", "failed_permanent", "cancelled")
    assert statuses(conn, jobs) == {name: "gone" if name in ended else name for name in jobs}


def test_says_that_nothing_was_ticked(browser: Browser, conn: Connection) -> None:
    enqueue(conn)

    assert sent(browser, "retry", []).status_code == 303
    assert said(browser) == "No job was ticked."


def test_refuses_ids_that_no_page_sends(browser: Browser, conn: Connection) -> None:
    enqueue(conn)

    for ids in (["nonsense"], [uuid4() for _ in range(201)]):
        assert {sent(browser, verb, ids).status_code for verb in ("retry", "cancel", "run-now", "delete")} == {422}


def test_leaves_jobs_of_another_queue_alone(signed_in: SignedIn, conn: Connection) -> None:
    jobs = {"own": enqueue(conn, queue="mail"), "other": enqueue(conn, queue="salmon")}

    sent(signed_in(Scope.ADMIN, queues=["mail"]), "cancel", jobs.values())

    assert statuses(conn, jobs) == {"own": "cancelled", "other": "queued"}


def test_offers_the_acts_that_the_filter_allows(browser: Browser, signed_in: SignedIn, conn: Connection) -> None:
    in_all_states(conn)

    def offered(query: str) -> list[str]:
        buttons = browser.page(f"/ui/jobs{query}").all("button")
        return [each.attrs["formaction"].rpartition("/")[2] for each in buttons if "formaction" in each.attrs]

    check_each(
        offered,
        ("", ["retry", "run-now", "cancel", "delete"]),
        ("?status=succeeded", ["delete"]),
        ("?status=queued&status=running", ["run-now", "cancel"]),
    )
    assert signed_in(Scope.READ).page("/ui/jobs").all("input", type="checkbox") == []


def test_says_how_many_jobs_were_not_reached_in_time(browser: Browser, conn: Connection, monkeypatch) -> None:
    monkeypatch.setattr("app.web.pages.jobs.ticked.MOST_SECONDS", -1.0)
    jobs = in_all_states(conn)

    sent(browser, "cancel", jobs.values())

    assert "6 jobs were not reached in time" in said(browser)
    assert statuses(conn, jobs) == {name: name for name in jobs}
