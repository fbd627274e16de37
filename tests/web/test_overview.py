"""The overview, and what attention goes by there: it ..."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from psycopg2.extensions import connection as Connection

from app.web import facts
from haulier.domain.api_key import Scope
from haulier.domain.checks import Found, Threshold
from haulier.domain.claim import Failure
from haulier.domain.fingerprint import fingerprint
from haulier.domain.outcome import Outcome
from haulier.queue import consume
from haulier.queue.consume.rescue import bury
from haulier.queue.produce import checks, schedule_health
from tests.queue.schedules import plant
from tests.web.browsing import Browser, Element
from tests.web.conftest import SignedIn
from tests.web.jobs import claim, counted, end, enqueue, fail


def told(page: Element) -> list[str]:
    """Return what the notices say first."""
    return [each.all("strong")[0].text for each in page.all("div") if each.given.get("class", "").startswith("notice")]


def test_says_that_jobs_run_past_their_timeout_and_that_a_worker_was_lost(
    browser: Browser, conn: Connection, sql: Any
) -> None:
    enqueue(conn, timeout_seconds=60)
    claim(conn)
    sql("UPDATE haulier.job SET started_at = now() - interval '71 seconds'")
    consume.register(conn, host="lost", pid=8, threads=4, queues=(), lease_seconds=30)
    sql("UPDATE haulier.worker SET beat_at = now() - interval '1 hour' WHERE host = 'lost'")
    bury(conn)

    found = told(browser.page("/ui"))

    assert "1 job runs past the timeout: send_email" in found
    assert "1 worker let the lease run out in the last hour: lost:8" in found


def test_gives_a_job_the_time_after_its_timeout_in_which_it_is_stopped(
    browser: Browser, conn: Connection, sql: Any
) -> None:
    enqueue(conn, timeout_seconds=60)
    claim(conn)
    sql("UPDATE haulier.job SET started_at = now() - interval '65 seconds'")

    assert [text for text in told(browser.page("/ui")) if "timeout" in text] == []


def test_speaks_of_the_database_to_those_alone_who_may_see_its_page(
    signed_in: SignedIn, conn: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(facts.CHECKS, "connections", Threshold("percent", 0))
    viewers = [signed_in(Scope.ADMIN), signed_in(Scope.READ), signed_in(Scope.ADMIN, queues=["mail"])]

    seen = [any(text.startswith("The database: ") for text in told(each.page("/ui"))) for each in viewers]

    assert seen == [True, False, False]


def test_has_the_most_frequent_error_first_and_retries_its_jobs(browser: Browser, conn: Connection) -> None:
    fail(conn, "rare", queue="aaa")
    fail(conn, "common", queue="zzz", times=3)

    page = browser.page("/ui")

    [errors] = [each for each in page.all("table") if "Errors, the most frequent first" in each.text]
    assert [row.all("a")[0].text for row in errors.all("tr")[1:]] == ["common", "rare"]
    assert len(errors.all("svg", class_="spark")) == 2
    assert len(errors.all("button")) == 2


def test_offers_a_reader_no_retry_and_no_pause(signed_in: SignedIn, conn: Connection) -> None:
    enqueue(conn)
    _, [fence] = claim(conn)
    end(conn, fence, Outcome.fail_for_good("x"), Failure(fingerprint("send_email", "x"), "default", "x"))

    page = signed_in(Scope.READ).page("/ui")

    assert [form.given["action"] for form in page.all("form", method="post")] == ["/ui/settings/theme", "/ui/sign-out"]
    assert "x" in [each.text for each in page.all("a", class_="mono")]


def test_draws_the_attempts_that_fail_and_are_tried_again(
    browser: Browser, signed_in: SignedIn, conn: Connection, sql: Any
) -> None:
    fail(conn, "flaky", queue="mail", times=3, delay=60.0)
    fail(conn, "broken", queue="salmon")
    sql("UPDATE haulier.error_count SET minute = minute - interval '10 minutes'")
    counted(conn)

    page, own = browser.page("/ui"), signed_in(Scope.READ, queues=["salmon"]).page("/ui")

    assert attempts(page) == ["For good 0", "To be retried 0", 1, 3]
    assert attempts(own) == ["For good 0", "To be retried 0", 1, 0]
    assert "Failed attempts: 1 for good, 3 to be retried." in str([each.given for each in page.all("div")])
    browser.page("/ui?span=7d")


def attempts(page: Element) -> list[Any]:
    """Return the legend of the chart, and the sums of its columns."""
    [card] = [each for each in page.all("section") if each.all("h2") and each.all("h2")[0].text == "Failed attempts"]
    cells = [[int(cell.text) for cell in row.all("td")] for row in card.all("tr")[1:]]
    return [*(each.text for each in card.all("li")), *map(sum, zip(*cells, strict=True))]


def test_says_which_check_came_too_late_and_makes_the_others(
    browser: Browser, conn: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    def late(conn: Connection) -> Found:
        with conn.cursor() as cursor:
            cursor.execute("SELECT pg_sleep(5)")
        return Found(0.0, "", "")

    monkeypatch.setitem(checks._LOOKS, "transactions", late)
    monkeypatch.setitem(facts.CHECKS, "connections", Threshold("percent", 0))

    page = browser.page("/ui")

    assert [text for text in told(page) if text.startswith("The database: ")] != []
    assert "The database took too long for what its page tells of transactions." in page.text


def test_tells_of_every_schedule_whose_jobs_fail_some_at_a_time(
    browser: Browser, conn: Connection, sql: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schedule_health, "LOOKED_AT", 2)
    monkeypatch.setattr(facts, "MOST_LOOKS", 1)
    for name in ("a", "b", "c"):
        plant(sql, name, every_seconds=3600)
    for seconds in range(3):
        sql("SELECT haulier.fire_ticks('{c}', ARRAY[now() + make_interval(secs => %s)], '{fired}')", seconds)
        _, [fence] = claim(conn)
        end(conn, fence, Outcome.fail_for_good("no luck"))

    seen = []
    for _ in range(3):
        page = browser.page("/ui")
        seen.append((any("failed of 1 schedule: c" in text for text in told(page)), "yet to be looked at" in page.text))
        browser.client.application.extensions["haulier_shelf"].clear()

    assert seen == [(False, True), (True, False), (True, False)]


def figure(page: Element, name: str) -> str:
    """Return what is told beneath this name."""
    [found] = [each.all("dd") for each in page.all("div") if each.all("dt") and each.all("dt")[0].text == name]
    return " ".join(each.text for each in found)


ENDED = """
    INSERT INTO haulier.rollup (step, at, queue, kind, succeeded, failed)
    SELECT 3600, date_bin('1 hour', through, 'epoch') - make_interval(days => %s), %s, 'send_email', %s, %s
    FROM haulier.counting
"""


def test_says_which_share_usually_fails_of_the_queues_that_one_sees(
    browser: Browser, signed_in: SignedIn, conn: Connection, sql: Any
) -> None:
    counted(conn)
    none = figure(browser.page("/ui"), "Failed for good")
    for days, queue, succeeded, failed in ((3, "mail", 991, 9), (3, "salmon", 0, 1000), (8, "mail", 0, 5000)):
        sql(ENDED, days, queue, succeeded, failed)
    browser.client.application.extensions["haulier_shelf"].clear()
    own = signed_in(Scope.READ, queues=["mail"])

    found = [figure(each.page("/ui?span=24h"), "Failed for good") for each in (browser, own)]

    assert none == "0 – 0 cancelled"
    assert found == ["0 – usually 50 % , 0 cancelled", "0 – usually 0.9 % , 0 cancelled"]
    # There it is the share of the span itself.
    assert figure(own.page("/ui?span=7d"), "Failed for good") == "9 0.9 % 0 cancelled"


def test_says_for_how_long_the_longest_has_run_of_the_queues_that_one_sees(
    browser: Browser, signed_in: SignedIn, conn: Connection, sql: Any
) -> None:
    idle = figure(browser.page("/ui"), "Running")
    for queue, seconds in (("salmon", 250), ("mail", 40), ("mail", 30)):
        enqueue(conn, queue=queue)
        _, [fence] = claim(conn, queue)
        ago = "UPDATE haulier.job SET started_at = now() - make_interval(secs => %s) WHERE id = %s"
        sql(ago, seconds, str(fence.id))
    counted(conn)
    browser.client.application.extensions["haulier_shelf"].clear()
    own = signed_in(Scope.READ, queues=["mail"])

    found = [figure(each.page("/ui"), "Running") for each in (browser, own)]

    assert idle == "– 0 workers"
    assert found[0] == "3 of 12 threads 3 workers, longest 4 min"
    assert re.fullmatch(r"2 of 8 threads 2 workers, longest 4\d s", found[1])


def test_is_the_same_page_while_nothing_but_time_goes_by(
    browser: Browser, conn: Connection, eventually: Callable[..., object]
) -> None:
    enqueue(conn)
    claim(conn)
    counted(conn)

    def page() -> Element:
        browser.client.application.extensions.pop("haulier_shelf", None)
        return browser.page("/ui")

    before = page()
    told_before, seen = figure(before, "Running"), before.all("main")[0].given["data-seen"]
    eventually(lambda: figure(page(), "Running") != told_before)
    browser.client.application.extensions.pop("haulier_shelf")

    assert "longest" in told_before
    assert browser.get("/ui", Haulier_Live=seen).status_code == 204
