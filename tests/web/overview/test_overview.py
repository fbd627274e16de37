"""The overview, what fails in groups by error, and the pages of queues and kinds: it ..."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
from psycopg2.extensions import connection as Connection

from haulier.domain.api_key import Scope
from haulier.queue import claims, jobs, search
from haulier.queue.failures.error_groups import id_in
from tests.web.browsing import Browser, Element, SignedIn, check_each
from tests.web.jobs import claim, counted, enqueue, fail, register
from tests.web.overview import due, figure, fresh


def test_has_the_figures_and_charts_of_the_queue_and_kind_in_the_url(
    browser: Browser, signed_in: SignedIn, conn: Connection, sql
) -> None:
    for queue, kind in (("mail", "send_email"), ("mail", "swim"), ("salmon", "swim"), ("salmon", "swim")):
        enqueue(conn, queue=queue, kind=kind)
    fail(conn, "flaky", queue="trout", delay=600.0)
    claim(conn, "elsewhere")
    sql("UPDATE haulier.error_count SET minute = minute - interval '10 minutes'")
    counted(conn)
    fresh(sql)
    sql(
        "INSERT INTO haulier.rollup (queue, at, step, kind, succeeded)"
        " SELECT queue, now() - interval '9 minutes', 60, kind, count(*) FROM haulier.job GROUP BY queue, kind"
    )
    own = signed_in(Scope.READ, queues=["mail"])

    def shown(query: str) -> tuple[str, list[str], bool]:
        page = browser.page(f"/ui?{query}")
        charts = [
            each.all("h2")[0].text for each in page.all("section", class_="card") if each.all("div", class_="chart")
        ]
        filters = [each.attrs["href"] for each in page.all("a", class_="chip")]
        tab = page.one("nav", class_="tabs").all("a")[0].attrs["href"]
        assert [each for each in query.split("&") if each not in tab and not each.startswith("span")] == []
        assert ("thread" in page.one("dl", class_="figures").text) is not bool(filters)
        # What needs attention is of every queue all the same.
        assert "are due in queues mail, salmon" in page.text
        assert "Throughput" in charts
        return due(page), filters, "Failed attempts" in charts

    check_each(
        shown,
        ("", ("4", [], True)),
        ("queue=mail", ("2", ["/ui?span=1h"], False)),
        ("queue=trout", ("0", ["/ui?span=1h"], True)),
        ("kind=swim&span=6h", ("3", ["/ui?span=6h"], False)),
        ("queue=mail&kind=swim", ("1", ["/ui?span=1h&kind=swim", "/ui?span=1h&queue=mail"], False)),
    )
    assert [own.get(f"/ui?{query}").status_code for query in ("queue=salmon", "queue=No", "kind=No")] == [404] * 3
    assert due(own.page("/ui?kind=swim")) == "1"


def test_draws_the_attempts_that_fail_and_are_retried(
    browser: Browser, signed_in: SignedIn, conn: Connection, sql
) -> None:
    fail(conn, "flaky", queue="mail", times=3, delay=60.0)
    fail(conn, "broken", queue="salmon")
    sql("UPDATE haulier.error_count SET minute = minute - interval '10 minutes'")
    counted(conn)

    def attempts(page: Element) -> list[Any]:
        """Return the legend of the chart, and the sums of its columns."""
        [card] = [
            each for each in page.all("section") if [title.text for title in each.all("h2")] == ["Failed attempts"]
        ]
        cells = [[int(cell.text) for cell in row.all("td")] for row in card.all("tr")[1:]]
        return [*(each.text for each in card.all("li")), *map(sum, zip(*cells, strict=True))]

    page, own = browser.page("/ui"), signed_in(Scope.READ, queues=["salmon"]).page("/ui")

    assert attempts(page) == ["Failed 0", "Retried 0", 1, 3]
    assert attempts(own) == ["Failed 0", "Retried 0", 1, 0]
    assert "Attempts: 1 failed, 3 retried." in str([each.attrs for each in page.all("div")])


ENDED = """
    INSERT INTO haulier.rollup (step, at, queue, kind, succeeded, failed)
    SELECT 3600, date_bin('1 hour', through, 'epoch') - make_interval(days => %s), %s, 'send_email', %s, %s
    FROM haulier.counting
"""


def test_says_which_share_usually_fails_of_the_queues_that_one_sees(
    browser: Browser, signed_in: SignedIn, conn: Connection, sql
) -> None:
    counted(conn)
    none = figure(browser.page("/ui"), "Failed")
    for days, queue, succeeded, failed in ((3, "mail", 991, 9), (3, "salmon", 0, 1000), (8, "mail", 0, 5000)):
        sql(ENDED, days, queue, succeeded, failed)
    # What fails today is not usual.
    sql(
        "INSERT INTO haulier.rollup (step, at, queue, kind, failed)"
        " SELECT 60, through - interval '1 minute', 'mail', 'send_email', 500 FROM haulier.counting"
    )
    browser.forget()
    own = signed_in(Scope.READ, queues=["mail"])

    shares = [figure(each.page("/ui?span=24h"), "Failed") for each in (browser, own)]

    assert none == "0 – 0 cancelled"
    assert shares == ["500 100 % usually 50 % , 0 cancelled", "500 100 % usually 0.9 % , 0 cancelled"]
    # There it is the share of the span itself.
    assert figure(own.page("/ui?span=7d"), "Failed") == "509 34 % 0 cancelled"


def test_says_how_long_the_longest_has_run_of_the_queues_that_one_sees(
    browser: Browser, signed_in: SignedIn, conn: Connection, sql
) -> None:
    idle = figure(browser.page("/ui"), "Running")
    for queue, seconds in (("salmon", 250), ("mail", 40), ("mail", 30)):
        enqueue(conn, queue=queue)
        _, [fence] = claim(conn, queue)
        ago = "UPDATE haulier.job SET started_at = now() - make_interval(secs => %s) WHERE id = %s"
        sql(ago, seconds, str(fence.id))
    counted(conn)
    browser.forget()

    all_, own = (figure(each.page("/ui"), "Running") for each in (browser, signed_in(Scope.READ, queues=["mail"])))

    assert idle == "– 0 workers"
    assert all_ == "3 of 12 threads 3 workers longest 4 min"
    assert re.fullmatch(r"2 of 8 threads 2 workers longest 4\d s", own)


MAIL = "/ui/queues/mail"


def test_pauses_a_queue_for_a_while_or_until_a_time_and_resumes_it(
    browser: Browser, signed_in: SignedIn, conn: Connection, sql
) -> None:
    enqueue(conn, queue="mail")
    viewers = [browser, signed_in(Scope.READ), signed_in(Scope.READ, Scope.OPERATE, queues=["mail"])]
    noon = datetime(2999, 1, 1, 12, tzinfo=UTC)
    found = []

    for sent in ({"for": "15m"}, {"for": ""}, {"for": "until", "until": "2999-01-01T12:00"}):
        done = browser.send(browser.page(MAIL), f"{MAIL}/pause", **sent)
        found += sql("SELECT until, extract(epoch FROM until - now())::float FROM haulier.pause WHERE queue = 'mail'")
        page = browser.page(MAIL)
        assert (done.status_code, done.headers["Location"]) == (303, MAIL)
        assert "No job in it starts" in page.text
        # Who paused it is for operators.
        browser.forget()
        # A key of some queues does not see the name of a key that may use others.
        told = [re.findall(r"by (\S+) , since", each.page(MAIL).text) for each in viewers]
        assert told == [["tests"], [], [browser.key.id]]
        assert browser.send(page, f"{MAIL}/resume").status_code == 303

    [(_, seconds), endless, (until, _)] = found
    assert (seconds, endless, until) == (pytest.approx(900, abs=60), (None, None), noon)
    assert sql("SELECT count(*) FROM haulier.pause") == [(0,)]
    assert sql("SELECT array_agg(action ORDER BY id) FROM haulier.audit WHERE target = 'mail'") == [
        (["pause", "resume"] * 3,)
    ]


def test_says_of_a_kind_that_others_use_what_it_says_of_one_that_nobody_uses(
    signed_in: SignedIn, conn: Connection
) -> None:
    browser = signed_in(Scope.ADMIN, queues=["mail"])
    enqueue(conn, queue="salmon", kind="swim")
    counted(conn)

    missing = [browser.get(path).status_code for path in ("/ui/kinds/No", "/ui/queues/No")]
    used, unused = (browser.get(f"/ui/kinds/{name}").text for name in ("swim", "float"))

    assert missing == [404, 404]
    assert "Unknown kind" in unused
    assert re.sub("swim|data-seen=.*", "", used) == re.sub("float|data-seen=.*", "", unused)


def test_shows_the_kinds_of_one_queue_with_most_due_first(
    browser: Browser, signed_in: SignedIn, conn: Connection
) -> None:
    kinds = {"mail": ["swim", "swim", "send_email"], "salmon": ["run", "run", "run", "swim"]}
    for name, kind in ((name, kind) for name, each in kinds.items() for kind in each):
        enqueue(conn, kind=kind, queue=name)
    counted(conn)
    own = signed_in(Scope.READ, queues=["mail"])

    [path] = browser.page(MAIL).links("Kinds in this queue")

    for page in (browser.page(path), own.page(path)):
        due = [(name, row.all("td")[1].text) for name, row in page.named_rows().items()]
        assert due == [("swim", "2"), ("send_email", "1")]
        assert [each.attrs["href"] for each in page.all("a", class_="chip")] == ["/ui/kinds"]
    assert [own.get(f"/ui/kinds?queue={name}").status_code for name in ("salmon", "No", "mail")] == [404, 404, 200]
    assert "This queue had no jobs recently" in browser.page("/ui/kinds?queue=nowhere").text


def test_marks_a_kind_that_no_live_worker_knows(browser: Browser, conn: Connection, sql) -> None:
    for kind in ("swim", "send_email"):
        enqueue(conn, kind=kind)
    claims.introduce(conn, UUID(register(conn)), kinds=["send_email"])
    counted(conn)

    for is_marked in (False, True):
        browser.forget()
        rows = browser.page("/ui/kinds").named_rows()
        marks = ["No worker knows it" in rows[kind].text for kind in ("swim", "send_email")]
        assert marks == [True, is_marked]
        sql("UPDATE haulier.worker SET beat_at = now() - interval '1 hour'")


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


def test_draws_each_figure_and_says_how_many_succeed_a_minute(browser: Browser, conn: Connection, sql) -> None:
    unknown = figure(browser.page("/ui"), "Succeeded")
    counted(conn)
    sql(
        "INSERT INTO haulier.rollup (step, at, queue, kind, succeeded)"
        " SELECT 60, date_bin('1 minute', through - interval '1 us', 'epoch') - make_interval(mins => n), 'mail',"
        " 'swim', 500 * n FROM haulier.counting CROSS JOIN generate_series(1, 2) AS n"
    )
    browser.forget()

    page = browser.page("/ui")

    assert unknown == "– – in the last hour"
    assert figure(page, "Succeeded") == "500 a minute 1,500 in the last hour"
    assert figure(browser.page("/ui?span=6h"), "Succeeded").endswith("1,500 in the last 6 hours")
    assert len(page.one("dl", class_="figures").all("svg", class_="spark")) == 5
