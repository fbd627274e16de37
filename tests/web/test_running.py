"""What runs, and the workers: it ..."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest
from psycopg2.extensions import connection as Connection

from haulier.domain.api_key import Scope
from haulier.domain.outcome import Outcome
from haulier.queue import consume
from tests.web.browsing import Browser, Element
from tests.web.conftest import SignedIn
from tests.web.jobs import claim, end, enqueue


def running(page: Element) -> list[str]:
    return [each.given["id"].removeprefix("job-") for each in page.all("tr") if "id" in each.given]


def text_of(page: Element, row: str) -> str:
    [found] = page.all("tr", id=row)
    return found.text


def run(conn: Connection, sql: Any, queue: str = "default", *, since: str = "1 second", **options: Any) -> str:
    """Have a job run since some time; return its id."""
    job = enqueue(conn, queue=queue, **options)
    claim(conn, queue)
    sql("UPDATE haulier.job SET started_at = now() - %s::interval WHERE id = %s", since, job)
    return str(job)


def test_shows_what_runs_longest_first(browser: Browser, conn: Connection, sql) -> None:
    short = run(conn, sql, "mail", since="3 seconds")
    long = run(conn, sql, "other", since="2 hours", timeout_seconds=60)
    middle = run(conn, sql, "post", since="50 minutes", timeout_seconds=3600)
    enqueue(conn, queue="waits")

    page = browser.page("/ui/running")

    assert running(page) == [long, middle, short]
    assert "past it" in text_of(page, f"job-{long}")
    assert "nearly over" in text_of(page, f"job-{middle}")
    assert [word for word in ("past it", "nearly over") if word in text_of(page, f"job-{short}")] == []
    assert "dock:7" in text_of(page, f"job-{short}")
    assert "3 of 12 threads" in page.text


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("queue=mail", {"mail"}),
        ("kind=send_email", {"mail", "other"}),
        ("kind=resize_image", set()),
        ("by=worker", {"mail", "other"}),
        ("queue=a%20b", {"mail", "other"}),
        ("worker=0193b1a2-7c5e-7d41-9c3b-2f6a8e0d4b11", set()),
    ],
)
def test_shows_what_a_filter_says(browser: Browser, conn: Connection, sql, query: str, found: set[str]) -> None:
    jobs = {name: run(conn, sql, name) for name in ("mail", "other")}

    page = browser.page(f"/ui/running?{query}")

    assert set(running(page)) == {jobs[name] for name in found}
    assert ("Ignored: queue a b" in page.text) is ("a%20b" in query)


def test_says_that_nothing_runs(browser: Browser) -> None:
    assert "Nothing runs at this moment" in browser.page("/ui/running").text
    assert "None of these runs" in browser.page("/ui/running?queue=mail").text


def test_asks_a_job_to_stop_and_leads_back(browser: Browser, conn: Connection, sql) -> None:
    job = run(conn, sql, "mail")
    path = "/ui/running?queue=mail"
    page = browser.page(path)

    asked = browser.send(page, f"/ui/running/{job}/stop")
    told = browser.page(path)

    assert (asked.status_code, asked.headers["Location"]) == (303, path)
    assert "was asked to stop" in told.all("p", id="said")[0].text
    assert "asked to stop" in text_of(told, f"job-{job}")
    assert told.all("form", action=f"/ui/running/{job}/stop") == []
    assert sql("SELECT cancel_requested FROM haulier.job") == [(True,)]


def test_says_that_a_job_had_ended(browser: Browser, conn: Connection) -> None:
    job = enqueue(conn)
    _, [fence] = claim(conn)
    page = browser.page("/ui/running")
    end(conn, fence, Outcome.complete(None))

    browser.send(page, f"/ui/running/{job}/stop")

    assert browser.page("/ui/running").all("p", id="said")[0].text == "It had ended already."


def test_shows_a_key_of_one_queue_what_runs_there_alone(signed_in: SignedIn, conn: Connection, sql) -> None:
    own, other = run(conn, sql, "mail"), run(conn, sql, "salmon")
    browser = signed_in(Scope.READ, Scope.OPERATE, queues=["mail"])
    token = browser.page("/ui/settings").all("input", name="csrf")[0].given["value"]

    pages = [browser.page(path) for path in ("/ui/running", "/ui/workers")]

    assert running(pages[0]) == [own]
    assert ["salmon" in page.text for page in pages] == [False, False]
    assert running(browser.page("/ui/running?queue=salmon")) == []
    assert browser.post(f"/ui/running/{other}/stop", csrf=token).status_code == 404


def test_offers_no_stop_to_who_may_not(signed_in: SignedIn, conn: Connection, sql) -> None:
    job = run(conn, sql)
    browser = signed_in(Scope.READ)
    token = browser.page("/ui/settings").all("input", name="csrf")[0].given["value"]

    assert browser.page("/ui/running").all("form", action=f"/ui/running/{job}/stop") == []
    assert browser.post(f"/ui/running/{job}/stop", csrf=token).status_code == 403
    assert sql("SELECT cancel_requested FROM haulier.job") == [(False,)]


def test_answers_204_until_what_runs_changes(browser: Browser, conn: Connection, sql) -> None:
    run(conn, sql, since="10 seconds", timeout_seconds=3600)
    seen = browser.page("/ui/running").all("main")[0].given["data-seen"]
    shelf = browser.client.application.extensions["haulier_shelf"]

    shelf.clear()
    assert browser.get("/ui/running", Haulier_Live=seen).status_code == 204
    run(conn, sql)
    shelf.clear()
    assert browser.get("/ui/running", Haulier_Live=seen).status_code == 200


def register(conn: Connection, host: str, queues: tuple[str, ...] = (), *, kinds: tuple[str, ...] = ()) -> str:
    worker = consume.register(conn, host=host, pid=7, threads=4, queues=queues, lease_seconds=30)
    consume.introduce(conn, worker, kinds=kinds)
    return str(worker)


def test_shows_each_worker_and_those_that_are_gone(browser: Browser, conn: Connection, sql) -> None:
    one = register(conn, "dock", ("mail", "post"))
    silent = register(conn, "pier")
    sql("UPDATE haulier.worker SET beat_at = now() - interval '25 seconds' WHERE id = %s", silent)
    gone = register(conn, "quay")
    sql("DELETE FROM haulier.worker WHERE id = %s", gone)

    page = browser.page("/ui/workers")

    assert "dock:7" in text_of(page, f"worker-{one}")
    assert "mail, post" in text_of(page, f"worker-{one}")
    assert "Silent" in text_of(page, f"worker-{silent}")
    assert "2 workers, 8 threads" in page.text
    assert "quay:7 stopped" in page.text
    assert "it stopped" in browser.page(f"/ui/workers/{gone}").text
    browser.page(f"/ui/workers/{uuid4()}", 404)


def test_says_that_no_worker_lives(browser: Browser) -> None:
    assert "No worker lives. Jobs wait; nothing is lost." in browser.page("/ui/workers").text


def test_shows_what_a_worker_holds_and_lacks(browser: Browser, conn: Connection) -> None:
    job = enqueue(conn)
    worker, _ = claim(conn)
    consume.introduce(conn, worker, kinds=["send_email"])
    register(conn, "pier", kinds=("send_email", "resize_image"))

    page = browser.page(f"/ui/workers/{worker}")

    assert str(job) in page.text
    assert "Others know, and it does not: resize_image" in page.text


@pytest.mark.parametrize("path", ["/ui/workers", "/ui/workers/{}"])
def test_quiets_and_wakes(browser: Browser, conn: Connection, sql, path: str) -> None:
    worker = register(conn, "dock")
    place = path.format(worker)

    quieted = browser.send(browser.page(place), f"/ui/workers/{worker}/quiet")
    is_quiet = sql("SELECT quiet FROM haulier.worker")
    woken = browser.send(browser.page(place), f"/ui/workers/{worker}/wake")

    assert [each.headers["Location"] for each in (quieted, woken)] == [place, place]
    assert (is_quiet, sql("SELECT quiet FROM haulier.worker")) == ([(True,)], [(False,)])
    assert sql("SELECT DISTINCT actor FROM haulier.audit WHERE target = %s", worker) == [(browser.key.id,)]


@pytest.mark.parametrize(
    ("scopes", "queues"), [((Scope.READ,), None), ((Scope.ADMIN,), ["mail"])], ids=["read", "one queue"]
)
def test_quiets_for_nobody_who_may_not(signed_in: SignedIn, conn: Connection, sql, scopes: Any, queues: Any) -> None:
    worker = register(conn, "dock")
    browser = signed_in(*scopes, queues=queues)
    token = browser.page("/ui/settings").all("input", name="csrf")[0].given["value"]

    pages = [browser.page(path) for path in ("/ui/workers", f"/ui/workers/{worker}")]
    refused = [browser.post(f"/ui/workers/{worker}/{verb}", csrf=token).status_code for verb in ("quiet", "wake")]

    assert [page.all("form", action=f"/ui/workers/{worker}/quiet") for page in pages] == [[], []]
    assert refused == [403, 403]
    assert sql("SELECT quiet FROM haulier.worker") == [(False,)]


def test_pages_through_workers(browser: Browser, conn: Connection, monkeypatch) -> None:
    monkeypatch.setattr("app.web.pages.workers.MOST", 2)
    ids = [register(conn, f"dock-{number}") for number in range(5)]

    seen, path = [], "/ui/workers"
    while path:
        page = browser.page(path)
        seen += [each.given["id"].removeprefix("worker-") for each in page.all("tr") if "id" in each.given]
        path = next((each.given["href"] for each in page.all("a", rel="next")), "")

    assert seen == list(reversed(ids))
