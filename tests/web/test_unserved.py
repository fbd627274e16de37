"""Jobs that no worker takes, on the pages of a fleet that is dead, quiet or elsewhere: it ..."""

from __future__ import annotations

from datetime import timedelta
from importlib import import_module
from typing import Any

import pytest
from psycopg2.extensions import connection as Connection

from haulier.domain.api_key import Scope
from haulier.queue import consume
from tests.web.browsing import Browser, Element
from tests.web.conftest import SignedIn
from tests.web.jobs import counted, enqueue
from tests.web.overviews import told, word

AGED = "UPDATE haulier.counting SET through = now() - interval '5 minutes', depth_at = now() - interval '5 minutes'"


def looks(page: Element) -> list[str]:
    """Return where the notices lead to jobs."""
    found = [each for each in page.all("a", class_="button slim") if each.given["href"].startswith("/ui/jobs?")]
    return [each.given["href"] for each in found]


def register(conn: Connection, *queues: str, host: str = "dock") -> str:
    return str(consume.register(conn, host=host, pid=7, threads=4, queues=queues, lease_seconds=600))


def killed(sql: Any) -> None:
    sql("UPDATE haulier.worker SET beat_at = now() - interval '1 hour'")


def overdue(conn: Connection, sql: Any, queue: str) -> None:
    """Have a job that has been due in the queue for longer than a worker that is replaced is away."""
    job = enqueue(conn, queue=queue)
    sql("UPDATE haulier.job SET run_at = now() - interval '20 seconds' WHERE id = %s", str(job))


def test_says_that_no_worker_lives_once_all_were_killed(browser: Browser, conn: Connection, sql: Any) -> None:
    worker = register(conn)
    enqueue(conn, queue="mail")
    counted(conn)
    before = told(browser.page("/ui"))
    killed(sql)
    browser.client.application.extensions["haulier_shelf"].clear()

    page = browser.page("/ui")

    assert [text for text in before if "worker" in text] == []
    assert told(page)[:2] == ["1 job is due, and no worker lives", "The worker dock:7 is silent"]
    assert "0 workers" in page.text
    assert "threads" not in page.all("dl", class_="figures")[0].text
    assert [word(browser.page(path), "mail") for path in ("/ui", "/ui/queues")] == ["Unserved"] * 2
    assert "No live worker serves it." in browser.page("/ui/queues/mail").text
    assert "0 of 0 threads" in browser.page("/ui/running").text
    # The row of a worker is as the API tells it, until another one finds that it is dead.
    assert "Silent" in browser.page("/ui/workers").all("tr", id=f"worker-{worker}")[0].text


def test_calls_no_kind_known_that_dead_workers_knew(browser: Browser, conn: Connection, sql: Any) -> None:
    worker = consume.register(conn, host="dock", pid=7, threads=4, queues=(), lease_seconds=600)
    consume.introduce(conn, worker, kinds=["swim"])
    enqueue(conn, kind="swim")
    counted(conn)
    killed(sql)

    assert word(browser.page("/ui/kinds"), "swim") == "No live worker knows it"


@pytest.mark.parametrize("how", ["quiet", "stopping"])
def test_says_that_the_workers_that_live_take_no_jobs(browser: Browser, conn: Connection, sql: Any, how: str) -> None:
    register(conn)
    sql(f"UPDATE haulier.worker SET {how} = true")
    enqueue(conn, queue="mail")
    counted(conn)

    page = browser.page("/ui")

    assert told(page)[:1] == ["1 job is due, and no worker takes any"]
    assert word(page, "mail") == "Unserved"


@pytest.mark.parametrize("is_counted", [True, False])
def test_finds_what_nobody_takes_where_nobody_has_counted_it(
    browser: Browser, signed_in: SignedIn, conn: Connection, sql: Any, is_counted: bool
) -> None:
    own = signed_in(Scope.READ, queues=["salmon"])
    for name in ("mail", "salmon", "trout"):
        enqueue(conn, queue=name, delay=timedelta(hours=1))
    if is_counted:
        counted(conn)
        sql(AGED)
    register(conn, "trout")
    killed(sql)
    sql("UPDATE haulier.job SET run_at = now() - interval '20 seconds' WHERE queue <> 'trout'")
    sql("UPDATE haulier.job SET run_at = now() - interval '5 seconds' WHERE queue = 'trout'")

    pages = [each.page("/ui") for each in (browser, own)]

    # A key of one queue does not see whether workers of others live.
    assert [told(page)[0] for page in pages] == [
        "Jobs are due, and no worker lives",
        "No live worker serves the queue salmon, where jobs are due",
    ]
    assert looks(pages[1]) == ["/ui/jobs?queue=salmon&status=queued&status=retrying"]
    assert "mail" not in pages[1].text
    assert "Unserved" in browser.page("/ui/queues/mail").all("div", class_="title")[0].text
    if is_counted:
        assert [word(browser.page("/ui/queues"), name) for name in ("mail", "trout")] == ["Unserved", "Idle"]


@pytest.mark.parametrize("how", ["quiet = true", "stopping = true", "beat_at = now() - interval '1 hour'"])
@pytest.mark.parametrize("is_counted", [True, False])
def test_goes_by_no_worker_that_takes_no_jobs_where_others_do(
    browser: Browser, conn: Connection, sql: Any, how: str, is_counted: bool
) -> None:
    served_all = register(conn)
    register(conn, "bulk", host="other")
    sql(f"UPDATE haulier.worker SET {how} WHERE id = %s", served_all)
    if is_counted:
        enqueue(conn, queue="bulk", delay=timedelta(hours=1))
        counted(conn)
        sql(AGED)
    overdue(conn, sql, "mail")

    assert told(browser.page("/ui"))[0] == "No live worker serves the queue mail, where jobs are due"


def test_finds_what_has_come_into_a_queue_since_others_were_counted(
    browser: Browser, conn: Connection, sql: Any
) -> None:
    register(conn)
    enqueue(conn, queue="bulk", delay=timedelta(hours=1))
    counted(conn)
    killed(sql)
    overdue(conn, sql, "mail")

    assert told(browser.page("/ui"))[0] == "Jobs are due, and no worker lives"


def test_leads_to_what_is_due_also_where_it_waits_to_be_tried_again(
    browser: Browser, conn: Connection, sql: Any
) -> None:
    job = enqueue(conn, queue="mail")
    sql("UPDATE haulier.job SET status = 'retrying'")
    counted(conn)

    page = browser.page("/ui")
    [look] = looks(page)

    assert "1 job is due, and no worker lives" in told(page)
    assert str(job) in browser.page(look).text


def test_says_that_some_of_very_many_queues_were_not_looked_at(
    browser: Browser, conn: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(import_module("haulier.queue.produce.overview"), "LOOK_SECONDS", 0.0)

    assert "Of very many queues some were not looked at" in browser.page("/ui").text
