"""The list of jobs: its columns, its orders and its form. It ..."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from urllib.parse import urlencode
from uuid import UUID

import pytest
from psycopg2.extensions import connection as Connection

from app.web.job_list_url import read_look
from haulier.domain.api_key import Scope
from haulier.domain.job import JobStatus
from haulier.domain.outcome import Outcome
from haulier.queue import produce
from haulier.queue.produce.pauses import pause
from tests.conftest import Sql
from tests.web.browsing import Browser, Element
from tests.web.conftest import SignedIn
from tests.web.jobs import claim, end, enqueue, fail, in_all_states

WAITING = "status=queued&status=retrying"
LONG = "deliver_hooks.eu-central"


def ids(page: Element) -> list[str]:
    return [each.given["id"].removeprefix("job-") for each in page.all("tr") if "id" in each.given]


def heads(page: Element) -> list[str]:
    return [each.text for each in page.all("th", scope="col") if each.text]


def cells(page: Element, job: UUID) -> dict[str, str]:
    [row] = page.all("tr", id=f"job-{job}")
    return {each.given["data-name"]: each.text for each in row.all("td") if "data-name" in each.given}


def tabs(page: Element) -> dict[str, str]:
    return {each.text: each.given["href"] for found in page.all("nav", class_="tabs") for each in found.all("a")}


# Columns


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("", ["Attempts", "Created", "Due, began or ended", "Error"]),
        ("status=queued&status=running", ["Attempts", "Created", "Due, began or ended", "Error"]),
        ("status=retrying", ["Priority", "Attempts", "Created", "Due", "Last error"]),
        (f"{WAITING}&queue=mail", ["Priority", "Attempts", "Created", "Due", "Last error"]),
        (f"{WAITING}&queue=mail&sort=due", ["Priority", "Attempts", "Created", "Due"]),
        ("status=running", ["Attempts", "Created", "Claimed", "Time is up", "Worker"]),
        ("status=failed&status=cancelled", ["Attempts", "Created", "Ended", "Took", "Error"]),
    ],
)
def test_has_the_columns_that_the_statuses_ask_for(
    browser: Browser, conn: Connection, query: str, found: list[str]
) -> None:
    in_all_states(conn)

    page = browser.page(f"/ui/jobs?{query}")

    assert heads(page)[-len(found) :] == found
    filled = [len([each for each in row.children if not isinstance(each, str)]) for row in page.all("tr")]
    assert len(set(filled)) == 1, "a row has as many cells as the head"


def test_says_of_what_runs_on_which_worker_and_until_when(
    browser: Browser, signed_in: SignedIn, conn: Connection, sql: Sql
) -> None:
    timed, endless = enqueue(conn, timeout_seconds=90), enqueue(conn, kind="unknown")
    for _ in range(2):
        claim(conn)
    own = signed_in(Scope.READ, queues=["default"])

    page = browser.page("/ui/jobs?status=running")
    sql("DELETE FROM haulier.worker")
    dead = own.page("/ui/jobs?status=running")

    assert cells(page, timed)["worker"] == "dock:7"
    assert cells(page, timed)["time is up"].startswith("in ")
    assert cells(page, endless)["time is up"] == "never"
    assert cells(dead, timed)["worker"] == "–"


def test_says_how_long_the_last_attempt_of_an_ended_job_took(browser: Browser, conn: Connection, sql: Sql) -> None:
    done, failed = enqueue(conn), enqueue(conn)
    for fence in [*claim(conn)[1], *claim(conn)[1]]:
        end(conn, fence, Outcome.complete() if fence.id == done else Outcome.fail("no luck", delay=60.0))
    # It was cancelled while it waited: since its attempt began more than that has passed.
    produce.cancel(conn, failed)
    sql("UPDATE haulier.finished_job SET started_at = finished_at - interval '80 seconds'")

    page = browser.page("/ui/jobs?status=succeeded&status=cancelled")

    assert {job: cells(page, job)["took"] for job in (done, failed)} == {done: "1 min 20 s", failed: "–"}


@pytest.mark.parametrize("query", ["", "status=running", "status=retrying"])
def test_takes_no_more_than_a_page_may_where_names_and_errors_are_long(
    browser: Browser, conn: Connection, sql: Sql, query: str
) -> None:
    for _ in range(50):
        enqueue(conn, queue=LONG, kind="webhook_delivery")
    worker, _ = claim(conn, LONG, "worker-7f9c5d64b8-x2x9k")
    running = "status = 'running', worker_id = %s, claim = gen_random_uuid(), started_at = now()"
    sql(f"UPDATE haulier.job SET {running}", str(worker))
    if query != "status=running":
        sql("UPDATE haulier.job SET status = 'retrying', worker_id = NULL, last_error = repeat('x', 1000)")

    answer = browser.get(f"/ui/jobs?{query}")

    assert answer.text.count('<tr id="job-') == 50
    assert len(re.sub(r"(?s)<svg.*?</svg>", "", answer.text).encode()) <= 60_000


# Orders


def test_shows_what_of_a_queue_runs_next_first(browser: Browser, conn: Connection, sql: Sql) -> None:
    low, later = enqueue(conn, queue="mail"), enqueue(conn, queue="mail", priority=9, delay=timedelta(hours=1))
    high, _ = enqueue(conn, queue="mail", priority=5), enqueue(conn, queue="other")

    offered = tabs(browser.page("/ui/jobs?status=queued&queue=mail"))
    page = browser.page(offered["Next to run first"])
    few = browser.page(f"{offered['Next to run first']}&limit=25")

    assert ids(page) == ids(few) == [str(high), str(low), str(later)]
    assert offered["Next to run first"] == f"/ui/jobs?{WAITING}&queue=mail&sort=due"
    assert tabs(page)["Newest first"] == f"/ui/jobs?{WAITING}&queue=mail"
    assert "run alone, and are not among them" in page.text
    assert [each for each in page.all("a") if each.given.get("rel") == "next"] == []


def test_shows_what_has_run_longest_first(browser: Browser, conn: Connection, sql: Sql) -> None:
    jobs = [enqueue(conn, queue=queue) for queue in ("mail", "other", "mail")]
    workers = [claim(conn, queue)[0] for queue in ("mail", "other", "mail")]
    for place, job in enumerate(jobs):
        began = datetime.now(UTC) - timedelta(minutes=(2, 9, 5)[place])
        sql("UPDATE haulier.job SET started_at = %s WHERE id = %s", began, str(job))

    offered = tabs(browser.page("/ui/jobs?status=running"))
    page = browser.page(offered["Longest first"])
    found = {
        query: ids(browser.page(f"/ui/jobs?status=running&sort=started&{query}"))
        for query in ("queue=mail", "kind=none", f"worker={workers[1]}")
    }

    assert ids(page) == [str(jobs[place]) for place in (1, 2, 0)]
    assert list(found.values()) == [[str(jobs[2]), str(jobs[0])], [], [str(jobs[1])]]
    assert cells(page, jobs[0])["worker"] == "dock:7"


@pytest.mark.parametrize(
    "query",
    [f"{WAITING}&queue=salmon&sort=due", "status=running&sort=started", "status=running&queue=salmon&sort=started"],
)
def test_shows_no_order_of_a_queue_that_the_key_may_not_see(signed_in: SignedIn, conn: Connection, query: str) -> None:
    browser = signed_in(Scope.READ, queues=["mail"])
    enqueue(conn, queue="salmon")
    if "running" in query:
        claim(conn, "salmon")

    assert ids(browser.page(f"/ui/jobs?{query}")) == []


@pytest.mark.parametrize(
    ("query", "why"),
    [
        ("sort=due", "one queue"),
        ("status=queued&queue=mail&sort=due", "one queue"),
        (f"{WAITING}&queue=mail&queue=bulk&sort=due", "one queue"),
        (f"{WAITING}&queue=mail&tag=x&sort=due", "one queue"),
        ("status=queued&sort=started", "running"),
        ("status=running&tag=x&sort=started", "running"),
        ("status=running&sort=nonsense", "no such order"),
    ],
)
def test_marks_an_order_that_its_filters_do_not_fit(browser: Browser, query: str, why: str) -> None:
    page = browser.page(f"/ui/jobs?{query}")

    [odd] = [each for each in page.all("a", class_="chip") if each.text.startswith("sort")]
    assert why in odd.text
    assert "sort" not in odd.given["href"]


def test_leaves_an_order_with_the_filters_that_it_is_of() -> None:
    look = read_look([("status", ["running"]), ("queue", ["mail"]), ("sort", ["started"]), ("limit", ["25"])])

    assert look.query()[-1] == ("sort", "started")
    assert "sort" not in dict(look.without("queue", "mail"))
    assert "sort" not in dict(look.with_status("queued"))
    assert read_look((name, [text]) for name, text in look.query()) == look


def test_counts_all_that_match_where_it_shows_the_first(
    browser: Browser, conn: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.web.job_list_url.LIMITS", (1, 50))
    for _ in range(3):
        enqueue(conn, queue="mail")

    page = browser.page(f"/ui/jobs?{WAITING}&queue=mail&sort=due&limit=1")

    [form] = page.all("form", action="/ui/operations/new")
    assert "With all 1 that match" not in form.text


# The form


def test_takes_a_place_of_the_payload_and_what_is_there(browser: Browser, conn: Connection) -> None:
    job = enqueue(conn, {"to": "x@b.c", "subject": "Hi", "body": "Hello."})
    enqueue(conn)

    page = browser.page(f"/ui/jobs?{urlencode({'path': 'to', 'value': 'x@b.c', 'kind': 'send_email'})}")
    half = browser.page("/ui/jobs?path=to&value=")

    assert ids(page) == [str(job)]
    [chip] = [each for each in page.all("a", class_="chip") if "payload.to" in each.text]
    assert chip.given["href"] == "/ui/jobs?kind=send_email"
    assert "needs a place and what is there" in half.text
    assert half.all("form", action="/ui/operations/new") == []


def test_asks_in_its_form_for_statuses_and_an_error(browser: Browser, conn: Connection) -> None:
    group = fail(conn, "Timeout: x")

    page = browser.page(f"/ui/jobs?status=queued&status=failed&error={group}&worker={UUID(int=7)}")

    [form] = page.all("form", class_="filters")
    [statuses] = form.all("select", name="status")
    hidden = [(each.given["name"], each.given["value"]) for each in form.all("input", type="hidden")]
    assert [each.given["value"] for each in statuses.all("option")] == ["", *JobStatus]
    assert [each.given["value"] for each in statuses.all("option") if "selected" in each.given] == ["queued"]
    assert [each.given["value"] for each in form.all("input", name="error")] == [group]
    assert hidden == [("worker", str(UUID(int=7))), ("status", "failed_permanent")]


# Names that nobody uses


@pytest.mark.parametrize(
    ("query", "marked"),
    [
        ("queue=absent", ["no such queue"]),
        ("kind=absent", ["no such kind"]),
        ("queue=absent&kind=absent&status=failed", ["no such kind", "no such queue"]),
        ("queue=mail&status=failed", []),
        ("queue=idle", []),
        ("queue=past&status=queued", []),
        ("kind=send_email&status=failed&queue=mail", []),
        ("kind=strange&status=failed", []),
        ("queue=mail&queue=absent", []),
    ],
)
def test_marks_a_name_that_nobody_uses(
    browser: Browser, conn: Connection, sql: Sql, query: str, marked: list[str]
) -> None:
    enqueue(conn, queue="mail")
    enqueue(conn, queue="mail", kind="strange")
    produce.cancel(conn, enqueue(conn, queue="past"))
    sql("DELETE FROM haulier.queue")
    pause(conn, "idle", until=None, actor=None)

    page = browser.page(f"/ui/jobs?{query}")

    chips = [each for each in page.all("a", class_="chip") if "remove this filter" in each.text]
    assert [each.text for chip in chips for each in chip.all("span", class_="failed")] == marked


def test_says_the_same_of_a_queue_that_the_key_may_not_see(signed_in: SignedIn, conn: Connection) -> None:
    enqueue(conn, queue="salmon")
    # So that it is known as a queue, which its job alone does not make it.
    pause(conn, "salmon", until=None, actor=None)
    browser = signed_in(Scope.READ, queues=["mail"])

    pages = [browser.page(f"/ui/jobs?queue={name}").text for name in ("salmon", "absent")]

    assert ["no such queue" in text for text in pages] == [True, True]
