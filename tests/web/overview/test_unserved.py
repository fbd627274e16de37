"""Jobs that no worker takes, on the pages of a fleet that is dead, quiet or elsewhere; and if nobody counts: it ..."""

from __future__ import annotations

from datetime import timedelta
from importlib import import_module

import pytest
from psycopg2.extensions import connection as Connection

from haulier.domain.api_key import Scope
from tests.web.browsing import Browser, Element, MakeSite, SignedIn
from tests.web.jobs import claim, counted, enqueue, register
from tests.web.overview import PLANTED, headlines, word

AGED = "UPDATE haulier.counting SET through = now() - interval '5 minutes', depth_at = now() - interval '5 minutes'"


def looks(page: Element) -> list[str]:
    found = [each for each in page.all("a", class_="button slim") if each.attrs["href"].startswith("/ui/jobs?")]
    return [each.attrs["href"] for each in found]


def killed(sql) -> None:
    sql("UPDATE haulier.worker SET beat_at = now() - interval '1 hour'")


def overdue(conn: Connection, sql, queue: str) -> None:
    """Have a job that has been due in the queue for longer than a worker that is replaced is away."""
    job = enqueue(conn, queue=queue)
    sql("UPDATE haulier.job SET run_at = now() - interval '20 seconds' WHERE id = %s", str(job))


def test_says_that_no_worker_lives_once_all_were_killed(browser: Browser, conn: Connection, sql) -> None:
    worker = register(conn)
    enqueue(conn, queue="mail")
    counted(conn)
    before = headlines(browser.page("/ui"))
    killed(sql)
    browser.forget()

    page = browser.page("/ui")

    assert [text for text in before if "worker" in text] == []
    assert headlines(page)[:2] == ["1 job is due, but no worker is running", "Worker dock:7 is silent"]
    assert "0 workers" in page.text
    assert "threads" not in page.all("dl", class_="figures")[0].text
    assert [word(browser.page(path), "mail") for path in ("/ui", "/ui/queues")] == ["Unserved"] * 2
    assert "No worker serves this queue." in browser.page("/ui/queues/mail").text
    assert "0 of 0 threads" in browser.page("/ui/running").text
    # As in the API, a worker is silent until another one finds that it is dead.
    assert "Silent" in browser.page("/ui/workers").all("tr", id=f"worker-{worker}")[0].text


@pytest.mark.parametrize("is_counted", [True, False])
def test_finds_due_jobs_that_nobody_takes_and_nobody_has_counted(
    browser: Browser, signed_in: SignedIn, conn: Connection, sql, is_counted: bool
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
    assert [headlines(page)[0] for page in pages] == [
        "Jobs are due, but no worker is running",
        "Jobs are due in queue salmon, but no worker serves it",
    ]
    assert looks(pages[1]) == ["/ui/jobs?queue=salmon&status=queued&status=retrying"]
    assert "mail" not in pages[1].text
    assert "Unserved" in browser.page("/ui/queues/mail").all("div", class_="title")[0].text
    if is_counted:
        assert [word(browser.page("/ui/queues"), name) for name in ("mail", "trout")] == ["Unserved", "Idle"]


@pytest.mark.parametrize("is_counted", [True, False])
def test_ignores_workers_that_take_no_jobs_if_others_do(
    browser: Browser, conn: Connection, sql, is_counted: bool
) -> None:
    served_all = register(conn)
    register(conn, "bulk", host="other")
    if is_counted:
        enqueue(conn, queue="bulk", delay=timedelta(hours=1))
        counted(conn)
        sql(AGED)
    overdue(conn, sql, "mail")

    for how in (
        "quiet = true",
        "quiet = false, stopping = true",
        "stopping = false, beat_at = now() - interval '1 hour'",
    ):
        sql(f"UPDATE haulier.worker SET {how} WHERE id = %s", served_all)
        browser.forget()
        assert headlines(browser.page("/ui"))[0] == "Jobs are due in queue mail, but no worker serves it", how


def test_finds_jobs_in_a_queue_that_was_not_counted_yet(browser: Browser, conn: Connection, sql) -> None:
    register(conn)
    enqueue(conn, queue="bulk", delay=timedelta(hours=1))
    counted(conn)
    killed(sql)
    overdue(conn, sql, "mail")
    sql("UPDATE haulier.job SET status = 'retrying' WHERE queue = 'mail'")

    assert headlines(browser.page("/ui"))[0] == "Jobs are due, but no worker is running"


def test_says_that_some_of_very_many_queues_were_not_looked_at(browser: Browser, conn: Connection, monkeypatch) -> None:
    monkeypatch.setattr(import_module("haulier.queue.health.overview"), "LOOK_SECONDS", 0.0)

    assert "Some of very many queues were not checked" in browser.page("/ui").text


# While nobody counts (COUNTING=off)


@pytest.fixture
def uncounted(make_site: MakeSite, signed_in: SignedIn, conn: Connection, sql) -> Browser:
    """Give a browser of an application with COUNTING=off, though somebody has counted before."""
    enqueue(conn, queue="mail", delay=timedelta(hours=1))
    enqueue(conn, queue="busy")
    claim(conn, "busy")
    register(conn)
    counted(conn)
    sql(PLANTED, "mail", "3 days", 3600, 88, 12)
    return signed_in(Scope.ADMIN, app=make_site(counting="off"))


def figures(page: Element) -> dict[str, str]:
    found = page.one("dl", class_="figures")
    names, values = found.all("dt"), found.all("dd", class_="n")
    return dict(zip([each.text for each in names], [each.text for each in values], strict=True))


def test_says_so_on_the_overview_and_shows_no_old_figure(uncounted: Browser) -> None:
    page = uncounted.page("/ui")

    assert headlines(page) == ["Counting is off"]
    shown = figures(page)
    assert shown.pop("Running") != "–"
    assert set(shown.values()) == {"–"}
    assert page.all("svg", class_="swatch") == []
    assert "usually" not in page.text


def test_knows_no_figure_of_a_queue_or_kind(uncounted: Browser) -> None:
    queue, kind = uncounted.page("/ui/queues/mail"), uncounted.page("/ui/kinds/send_email")

    for path, name in (("/ui", "busy"), ("/ui/queues", "busy"), ("/ui/kinds", "send_email")):
        row = uncounted.page(path).named_rows()[name]
        assert {cell.text for cell in row.all("td", class_="num")} == {"–"}
    assert [word(uncounted.page("/ui/queues"), name) for name in ("busy", "mail")] == ["Unknown"] * 2
    assert "Unknown" in queue.all("div", class_="title")[0].text
    assert {*figures(queue).values(), *figures(kind).values()} == {"–"}


def test_names_jobs_that_nobody_takes_all_the_same(uncounted: Browser, sql) -> None:
    sql("UPDATE haulier.worker SET beat_at = now() - interval '1 hour'")
    sql("UPDATE haulier.job SET run_at = now() - interval '1 minute' WHERE queue = 'mail'")

    assert headlines(uncounted.page("/ui"))[0] == "Jobs are due, but no worker is running"
    assert word(uncounted.page("/ui/queues"), "mail") == "Unserved"
