"""What is done to the jobs that were ticked in a list: it ..."""

from __future__ import annotations

from typing import Any
from uuid import UUID, uuid4

import pytest
from psycopg2.extensions import connection as Connection

from haulier.domain.api_key import Scope
from haulier.queue import produce
from tests.web.browsing import Browser
from tests.web.conftest import SignedIn
from tests.web.jobs import enqueue, in_all_states


def sent(browser: Browser, verb: str, ids: Any, path: str = "/ui/jobs", **fields: str) -> Any:
    """Send the ticks, as a button below the list does."""
    page = browser.page(path)
    hidden = {each.given["name"]: each.given["value"] for each in page.all("form", id="ticked")[0].all("input")}
    return browser.post(f"/ui/jobs/ticked/{verb}", **{**hidden, "id": [str(each) for each in ids], **fields})


def statuses(conn: Connection, jobs: dict[str, UUID]) -> dict[str, str]:
    found = {job.id: str(job.status) for job in produce.look.get_jobs(conn, jobs.values())}
    return {name: found.get(job, "gone") for name, job in jobs.items()}


@pytest.mark.parametrize(
    ("verb", "after", "told"),
    [
        (
            "retry",
            {"failed_permanent": "queued", "cancelled": "queued"},
            "Queued again: 2 jobs. 5 had changed meanwhile, or are in another state, and were left alone.",
        ),
        (
            "cancel",
            {"queued": "cancelled", "retrying": "cancelled"},
            "Cancelled 2 jobs. Asked to stop: 1 job. 4 had changed meanwhile, or are in another state, and were left"
            " alone.",
        ),
        ("run-now", {}, "Due now: 2 jobs. 5 had changed meanwhile, or are in another state, and were left alone."),
    ],
)
def test_does_it_to_those_whose_state_allows_it(
    browser: Browser, conn: Connection, verb: str, after: dict[str, str], told: str
) -> None:
    jobs = in_all_states(conn)
    other = {"other": enqueue(conn, queue="mail")}

    answer = sent(browser, verb, [*jobs.values(), uuid4(), jobs["queued"]], "/ui/jobs?tag=night")

    assert (answer.status_code, answer.headers["Location"]) == (303, "/ui/jobs?tag=night")
    assert statuses(conn, jobs) == {name: after.get(name, name) for name in jobs}
    assert statuses(conn, other) == {"other": "queued"}
    said = browser.page("/ui/jobs").all("p", id="said")[0].text
    # In the order in which they were ticked.
    assert sorted(said.removesuffix(".").split(". ")) == sorted(told.removesuffix(".").split(". "))


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
    assert browser.page("/ui/jobs").all("p", id="said")[0].text == "No job was ticked."


@pytest.mark.parametrize("ids", [["nonsense"], [uuid4() for _ in range(201)]], ids=["no id", "too many"])
def test_refuses_what_no_page_sends(browser: Browser, conn: Connection, ids: list[Any]) -> None:
    enqueue(conn)

    assert {sent(browser, verb, ids).status_code for verb in ("retry", "cancel", "run-now", "delete")} == {422}


def test_leaves_alone_what_is_in_another_queue(signed_in: SignedIn, conn: Connection) -> None:
    jobs = {"own": enqueue(conn, queue="mail"), "other": enqueue(conn, queue="salmon")}

    sent(signed_in(Scope.ADMIN, queues=["mail"]), "cancel", jobs.values())

    assert statuses(conn, jobs) == {"own": "cancelled", "other": "queued"}


def test_offers_what_the_key_may_do_and_the_filter_allows(signed_in: SignedIn, conn: Connection) -> None:
    in_all_states(conn)
    reader, operator, admin = signed_in(Scope.READ), signed_in(Scope.READ, Scope.OPERATE), signed_in(Scope.ADMIN)

    def offers(browser: Browser, query: str = "") -> list[str]:
        page = browser.page(f"/ui/jobs{query}")
        return [
            each.given["formaction"].rpartition("/")[2] for each in page.all("button") if "formaction" in each.given
        ]

    assert offers(reader) == []
    assert reader.page("/ui/jobs").all("input", type="checkbox") == []
    assert offers(operator) == ["retry", "run-now", "cancel"]
    assert offers(admin) == ["retry", "run-now", "cancel", "delete"]
    assert offers(admin, "?status=succeeded") == ["delete"]
    assert offers(admin, "?status=queued&status=running") == ["run-now", "cancel"]
    token = reader.page("/ui/settings").all("input", name="csrf")[0].given["value"]
    assert {reader.post(f"/ui/jobs/ticked/{verb}", csrf=token).status_code for verb in ("retry", "delete")} == {403}


def test_tells_what_it_did_not_reach_in_time(browser: Browser, conn: Connection, monkeypatch) -> None:
    monkeypatch.setattr("app.web.pages.ticked.MOST_SECONDS", -1.0)
    jobs = in_all_states(conn)

    sent(browser, "cancel", jobs.values())

    assert "6 jobs were not reached in time" in browser.page("/ui/jobs").all("p", id="said")[0].text
    assert statuses(conn, jobs) == {name: name for name in jobs}
