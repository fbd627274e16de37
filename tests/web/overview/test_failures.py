"""What fails, in groups by error: it ..."""

from __future__ import annotations

from psycopg2.extensions import connection as Connection

from haulier.domain.api_key import Scope
from haulier.queue import jobs, search
from haulier.queue.failures.error_groups import id_in
from tests.web.browsing import Browser, Element, SignedIn, check_each
from tests.web.jobs import fail

LIST = "/ui/failures"


def test_shows_the_groups_that_match_a_filter_with_the_most_frequent_first(browser: Browser, conn: Connection) -> None:
    none = browser.page(LIST).text
    few, many = fail(conn, "Refused: y", queue="mail", delay=60.0), fail(conn, "Timeout: x", times=3)
    groups, texts = {few: "Refused", many: "Timeout"}, {}
    browser.forget()
    page = browser.page(LIST)
    counts = [(name, row.cells()["failed"], row.cells()["retried"]) for name, row in page.rows().items()]

    def shown(query: str) -> set[str]:
        page = browser.page(f"{LIST}?{query}")
        texts[query] = page.text
        return {groups[name] for name in page.rows()}

    assert "Nothing failed in this period" in none
    assert counts == [(many, "3", "0"), (few, "0", "1")]
    assert "3 failed, 1 retried, 2 groups" in page.text
    either = {"Timeout", "Refused"}
    check_each(
        shown,
        ("kind=send_email", either),
        ("kind=resize_image", set()),
        ("queue=mail", {"Refused"}),
        ("text=timeOUT", {"Timeout"}),
        ("muted=yes", set()),
        ("muted=no&span=7d", either),
        ("span=nonsense&muted=nonsense&from=nonsense", either),
        ("kind=a%20b%3C", either),
    )
    assert [query for query, text in texts.items() if "Ignored: kind a b<" in text] == ["kind=a%20b%3C"]
    none_match = [query for query, text in texts.items() if "No failures match" in text]
    assert none_match == ["kind=resize_image", "muted=yes"]


def test_leads_from_each_group_to_a_preview_of_its_retry_and_to_its_mute(
    browser: Browser, signed_in: SignedIn, conn: Connection, monkeypatch
) -> None:
    monkeypatch.setattr("app.web.lists.error_jobs.MOST_OF_EACH", 2)
    many, few, gone = (
        fail(conn, f"{word}: x", times=4 - n) for n, word in enumerate(("Refused", "Timeout", "Absent"), 1)
    )
    fail(conn, "Error to be retried", delay=60.0)
    # Of the attempts that failed two were of the second error, and one of the third.
    for group in (few, gone):
        jobs.retry(conn, search.list_jobs(conn, search.JobFilter(error_id=id_in(group))).jobs[0].id)

    page, reader = browser.page(LIST), signed_in(Scope.READ).page(LIST)

    buttons = page.all("button", form="retry-error", name="error")
    assert [(each.attrs["value"], each.text) for each in buttons] == [(many, "Retry 2+…"), (few, "Retry 1…")]
    preview = browser.send(page, page.one("form", id="retry-error").attrs["action"], error=few)
    assert (preview.status_code, "1 job" in preview.text) == (200, True)
    assert page.links("Mute…")[0] == f"{LIST}/{many}#mute"
    assert browser.page(f"{LIST}/{many}").all("form", id="mute")
    assert (reader.all("button", form="retry-error"), reader.links("Mute…")) == ([], [])


def test_shows_one_group_with_its_jobs(browser: Browser, conn: Connection, sql) -> None:
    long = f"Timeout: job 4711 {' '.join(['word'] * 60)}\nat line 3"
    group = fail(conn, long, times=2)
    fail(conn, long.replace("4711", "4712"), delay=60.0)

    shown, page = browser.page(LIST).one("a", id=f"e-{group}"), browser.page(f"{LIST}/{group}")

    assert (shown.text.endswith("…"), len(shown.text)) == (True, 200)
    assert page.one("pre", class_="error").text == " ".join(long.split())
    assert "in this period; 2 still failed" in page.text
    assert "in this period; 1 waiting for a retry" in page.text
    assert len(page.all("td", class_="state-cell")) == 3
    assert page.all("div", class_="chart")
    [job] = page.links("View job")
    assert browser.get(job).status_code == 200
    sql("DELETE FROM haulier.finished_job")
    browser.forget()
    gone = browser.page(f"{LIST}/{group}")
    assert (gone.links("View job"), "job no longer kept" in gone.text) == ([], True)
    for name in ("0123456789abcdef", "nonsense", "0" * 300):
        browser.page(f"{LIST}/{name}", 404)


def test_says_in_which_queues_and_on_which_workers_a_group_fails(
    browser: Browser, signed_in: SignedIn, conn: Connection
) -> None:
    path = f"{LIST}/{fail(conn, 'Timeout: x', queue='mail', times=4, worker='dock:7')}"
    fail(conn, "Timeout: x", queue="salmon", delay=60.0, worker="pier:8")
    own = signed_in(Scope.READ, queues=["mail"])

    page, few = browser.page(f"{path}?span=1h"), own.page(path)

    assert where(page) == {"mail": ["4", "0"], "salmon": ["0", "1"]}
    assert "The newest 5 jobs failed on dock:7 (4), pier:8 (1)" in page.text
    assert (where(few), "pier" in few.text) == ({"mail": ["4", "0"]}, False)
    assert table_of(page).all("a")[0].attrs["href"] == f"/ui/jobs?error={path.rpartition('/')[2]}&queue=mail"


def table_of(page: Element) -> Element:
    [found] = [each for each in page.all("table") if "Queues in which it failed" in each.text]
    return found


def where(page: Element) -> dict[str, list[str]]:
    rows = {each.all("th")[0].text: each for each in table_of(page).all("tr")[1:]}
    return {name: list(row.cells().values()) for name, row in rows.items()}


def test_mutes_and_unmutes_a_group(browser: Browser, conn: Connection, sql) -> None:
    group = fail(conn, "Timeout: x", times=12)
    path = f"{LIST}/{group}"
    assert "New error in" in browser.page("/ui").text

    muted = browser.send(browser.page(path), f"{path}/mute", **{"for": "24h"})
    quiet, page = browser.page("/ui"), browser.page(path)

    assert (muted.status_code, muted.headers["Location"]) == (303, path)
    assert "New error in" not in quiet.text
    assert "muted until" in page.text
    assert list(browser.page(f"{LIST}?muted=yes").rows()) == [group]
    assert sql("SELECT muted_until - now() BETWEEN '23:59:00' AND '24:00:00' FROM haulier.error_group") == [(True,)]
    browser.send(page, f"{path}/unmute")
    # For no time that the form does not have.
    browser.send(browser.page(path), f"{path}/mute", **{"for": "9999d"})
    assert "Not muted" in browser.page(path).text
    assert sql("SELECT muted_until FROM haulier.error_group") == [(None,)]


def test_shows_a_key_of_one_queue_only_what_failed_there(
    browser: Browser, signed_in: SignedIn, conn: Connection
) -> None:
    shared = fail(conn, "Timeout: x", queue="salmon", times=2)
    fail(conn, "Timeout: x", queue="mail")
    hidden = fail(conn, "Swordfish: y", queue="salmon")
    fail(conn, "Refused: job 4711", queue="salmon")
    fail(conn, "Refused: job 4712", queue="mail", times=2)
    own = signed_in(Scope.READ, queues=["mail"])

    page, one = own.page(LIST), own.page(f"{LIST}/{shared}")

    assert {row.cells()["failed"] for row in page.rows().values()} == {"1", "2"}
    # The example of the last group is of a queue that this key may not see.
    assert [len(each.page(f"{LIST}?text=JOB%204711").rows()) for each in (browser, own)] == [1, 0]
    assert ["Location" in each.get("/ui/search?q=error:4711").headers for each in (browser, own)] == [True, False]
    assert own.get(f"{LIST}/{hidden}").status_code == 404
    assert [word for word in ("salmon", "Swordfish") if word in page.text + one.text] == []
    assert own.page(f"{LIST}?queue=salmon").rows() == {}
    assert "in this period; 1 still failed" in one.text
