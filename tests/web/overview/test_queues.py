"""The pages of queues: what is wrong with one is put right there. It ..."""

from __future__ import annotations

from psycopg2.extensions import connection as Connection

from haulier.domain.api_key import Scope
from tests.web.browsing import Browser, Element, SignedIn, form, read
from tests.web.jobs import counted, enqueue, register
from tests.web.overview import fresh, headlines

LIST, QUEUE, PREVIEW = "/ui/queues", "/ui/queues/mail", "/ui/operations/new"


def card(page: Element, name: str) -> Element:
    """Return the part of the page under the title with this id."""
    return page.one("section", **{"aria-labelledby": name})


def producers(page: Element) -> list[Element]:
    """Return the rows that say where due jobs come from."""
    return card(page, "producers").one("tbody").all("tr")


def test_cancels_a_flood_three_clicks_after_its_notice(browser: Browser, conn: Connection, sql) -> None:
    register(conn)
    for queue in ("mail", "mail", "salmon"):
        enqueue(conn, queue=queue)
    sql("UPDATE haulier.job SET run_at = now() - interval '10 minutes' WHERE queue = 'mail'")
    counted(conn)
    fresh(sql)
    overview = browser.page("/ui")
    [headline] = headlines(overview)
    [link] = [each.attrs["href"] for each in overview.all("a") if each.text.startswith("Queue :")]

    preview = browser.send(browser.page(link), PREVIEW, action="cancel")
    started = browser.send(read(preview.text), "/ui/operations")

    assert headline.startswith("Queue mail is late: 2 jobs are due")
    assert link == QUEUE
    assert started.status_code == 303
    assert sql("SELECT action, filter ->> 'queue', matched FROM haulier.operation") == [("cancel", '["mail"]', 2)]


def test_acts_on_a_queue_from_the_top_of_its_page(browser: Browser, signed_in: SignedIn, conn: Connection) -> None:
    enqueue(conn, queue="mail")
    viewers = (browser, signed_in(Scope.READ, queues=["mail"]))

    rows = [each.page(QUEUE).all("div", class_="title")[0] for each in viewers]
    browser.send(browser.page(QUEUE), f"{QUEUE}/pause", **{"for": ""})
    browser.forget()
    paused = [each.page(QUEUE).all("div", class_="title")[0] for each in viewers]

    [console, seen] = [{each.text: "disabled" in each.attrs for each in row.all("button")} for row in rows]
    names = ["Cancel all… jobs in mail", "Move all… jobs in mail", "Pause mail"]
    assert sorted(console) == names
    assert not any(console.values())
    # A reader sees why nothing can be done.
    assert [name.partition("…")[0] for name in sorted(seen)] == ["Cancel all", "Move all", "Pause"]
    assert all(seen.values())
    assert [row.all("button")[0].text for row in paused] == ["Resume", "Resume"]
    assert "by tests , since" in paused[0].text
    assert "by " not in paused[1].text


def test_says_beside_resume_why_a_queue_is_paused(browser: Browser, signed_in: SignedIn, sql) -> None:
    browser.send(browser.page(QUEUE), f"{QUEUE}/pause", **{"for": ""}, reason="receiver <down>")
    browser.forget()
    tops = [each.page(QUEUE).all("div", class_="title")[0] for each in (browser, signed_in(Scope.READ))]

    told = ["until resumed: receiver <down>" in top.text for top in tops]
    changed = browser.send(browser.page(QUEUE), f"{QUEUE}/pause", **{"for": ""})

    assert tops[0].all("button")[0].text == "Resume"
    assert told == [True, False]
    assert changed.status_code == 303
    # The form kept the reason, so nothing has changed.
    details = sql("SELECT details FROM haulier.audit WHERE target = 'mail' ORDER BY id")
    assert details == [({"until": None, "reason": "receiver <down>"},)]


def test_cancels_what_one_tag_brings(browser: Browser, signed_in: SignedIn, conn: Connection, sql) -> None:
    for tags in (["globex"], ["globex"], ["globex"], []):
        enqueue(conn, queue="mail", tags=tags)
    page, reader = browser.page(QUEUE), signed_in(Scope.READ, queues=["mail"]).page(QUEUE)

    shares = {row.all("th")[0].text: row.cells()["share"] for row in producers(page)}
    [row] = [each for each in producers(page) if "globex" in each.text]
    [link] = [each.attrs["href"] for each in row.all("a")]
    preview = browser.post(PREVIEW, **form(row, PREVIEW), action="cancel")

    assert shares["tag globex"] == "75 %"
    assert shares["kind send_email"] == shares["unknown API key, or INSERT"] == "100 %"
    assert link == "/ui/jobs?status=queued&status=retrying&queue=mail&tag=globex"
    assert "Cancel 3" in read(preview.text).text
    # Who enqueues is for operators.
    assert "INSERT" not in " ".join(row.text for row in producers(reader))


def test_shows_the_kinds_of_a_queue_with_how_they_ended(browser: Browser, conn: Connection, sql) -> None:
    enqueue(conn, queue="mail", kind="swim")
    enqueue(conn, queue="salmon", kind="run")
    counted(conn)
    sql(
        "INSERT INTO haulier.rollup (step, at, queue, kind, succeeded, failed)"
        " SELECT 60, date_bin('1 minute', through, 'epoch') - interval '5 minutes', 'mail', 'send_email', 7, 2"
        " FROM haulier.counting"
    )

    rows = card(browser.page(QUEUE), "kinds").named_rows()

    assert {name: list(row.cells().values()) for name, row in rows.items()} == {
        "swim": ["1", "0", "0", "0"],
        "send_email": ["0", "0", "7", "2"],
    }


def test_lists_late_queues_first_with_their_last_hour(browser: Browser, signed_in: SignedIn, conn, sql) -> None:
    register(conn)
    for queue, jobs in (("a", 1), ("b", 3), ("c", 1), ("d", 2)):
        for _ in range(jobs):
            enqueue(conn, queue=queue)
    sql("UPDATE haulier.job SET run_at = now() - interval '10 minutes' WHERE queue IN ('c', 'd')")
    browser.send(browser.page("/ui/queues/a"), "/ui/queues/a/pause", **{"for": ""})
    uncounted = [cell.attrs for cell in browser.page(LIST).all("td") if cell.attrs.get("data-name") == "failed, 10 min"]
    assert uncounted != []
    assert not any("title" in attrs for attrs in uncounted)
    counted(conn)
    fresh(sql)
    sql(
        "INSERT INTO haulier.rollup (step, at, queue, kind, succeeded, failed, due)"
        " SELECT 60, date_bin('1 minute', through, 'epoch') - interval '5 minutes', 'b', 'send_email', 3, 1, 500"
        " FROM haulier.counting"
    )
    browser.forget()
    page, seen = browser.page(LIST), signed_in(Scope.READ).page(LIST)
    rows = page.named_rows()

    assert list(rows) == ["d", "c", "a", "b"]
    assert rows["b"].all("svg", class_="spark")[0].attrs["aria-label"] == "at most 500 due in the last hour"
    assert (rows["b"].cells()["failed, 10 min"], rows["c"].cells()["failed, 10 min"]) == ("25 %", "–")
    assert rows["a"].cells()["empty in"] == f"until resumed by {browser.key.name}"
    assert seen.named_rows()["a"].cells()["empty in"] == "until resumed"
    assert browser.send(page, "/ui/queues/a/resume").status_code == 303
