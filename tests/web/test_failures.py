"""What fails, by error: it ..."""

from __future__ import annotations

import re
from typing import Any

import pytest
from psycopg2.extensions import connection as Connection

from haulier.domain.api_key import Scope
from haulier.queue import produce
from haulier.queue.produce.errors import id_in
from tests.web.browsing import Browser, Element, read
from tests.web.conftest import SignedIn
from tests.web.jobs import fail


def row(page: Element, group: str) -> dict[str, str]:
    [found] = page.all("tr", id=f"error-{group}")
    return {each.given["data-name"]: each.text for each in found.all("td") if "data-name" in each.given}


def names(page: Element) -> list[str]:
    return [each.given["id"].removeprefix("error-") for each in page.all("tr") if "id" in each.given]


def test_shows_groups_the_most_frequent_first(browser: Browser, conn: Connection) -> None:
    many = fail(conn, "Timeout: mail.example.net", times=3)
    few = fail(conn, "Refused: no such user", queue="mail", delay=60.0)

    page = browser.page("/ui/failures")

    assert names(page) == [many, few]
    assert {name: row(page, many)[name] for name in ("failed", "to be retried")} == {
        "failed": "3",
        "to be retried": "0",
    }
    assert {name: row(page, few)[name] for name in ("failed", "to be retried")} == {"failed": "0", "to be retried": "1"}
    assert page.text.count("new") >= 2
    assert "3 for good, 1 to be retried, 2 groups" in page.text


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("kind=send_email", {"Timeout", "Refused"}),
        ("kind=resize_image", set()),
        ("queue=mail", {"Refused"}),
        ("text=timeOUT", {"Timeout"}),
        ("muted=yes", set()),
        ("muted=no&span=7d", {"Timeout", "Refused"}),
        ("span=nonsense&muted=nonsense&from=nonsense", {"Timeout", "Refused"}),
        ("kind=a%20b%3C", {"Timeout", "Refused"}),
    ],
)
def test_shows_what_a_filter_says(browser: Browser, conn: Connection, query: str, found: set[str]) -> None:
    fail(conn, "Timeout: x")
    fail(conn, "Refused: y", queue="mail")

    page = browser.page(f"/ui/failures?{query}")

    assert {word for word in ("Timeout", "Refused") if word in " ".join(each.text for each in page.all("tr"))} == found
    assert ("Ignored: kind a b<" in page.text) is query.startswith("kind=a%20b")


def test_says_that_nothing_has_failed(browser: Browser) -> None:
    assert "Nothing has failed in this time" in browser.page("/ui/failures").text
    assert "No failure matches" in browser.page("/ui/failures?queue=mail").text


def test_goes_on_where_a_page_ends(browser: Browser, conn: Connection, monkeypatch) -> None:
    monkeypatch.setattr("app.web.pages.failures.MOST_GROUPS", 2)
    groups = {fail(conn, f"Error{word}: x", times=times): times for times, word in enumerate("ABCDE", 1)}

    seen, path = [], "/ui/failures"
    while path:
        page = browser.page(path)
        seen.append(names(page))
        path = next((each.given["href"] for each in page.all("a", rel="next")), "")

    most_first = sorted(groups, key=lambda name: -groups[name])
    assert seen == [most_first[:2], most_first[2:4], most_first[4:]]
    assert "15 for good, 0 to be retried, 5 groups" in page.text
    assert "5 to 5 of 5, the most frequent first" in page.text
    assert [each.given["href"] for each in page.all("a", rel="prev")] == ["/ui/failures?span=1h&from=2"]
    assert "No failure matches" in browser.page("/ui/failures?from=999999999").text


def test_fills_a_page_with_what_is_muted_or_not(browser: Browser, conn: Connection, sql, monkeypatch) -> None:
    monkeypatch.setattr("app.web.pages.failures.MOST_GROUPS", 2)
    few, many = [fail(conn, f"Error{word}: x", times=times) for times, word in enumerate("AB", 1)]
    muted = fail(conn, "ErrorC: x", times=3)
    over = fail(conn, "ErrorD: x", times=4)
    until = {muted: "1 hour", over: "-1 hour"}
    for name, interval in until.items():
        sql("UPDATE haulier.error_group SET muted_until = now() + %s::interval WHERE id = %s", interval, id_in(name))

    found = {query: names(browser.page(f"/ui/failures?muted={query}")) for query in ("", "no", "yes")}

    assert found == {"": [over, muted], "no": [over, many], "yes": [muted]}
    assert few not in found["no"]


def test_leads_from_each_group_to_a_preview_of_its_retry(
    browser: Browser, signed_in: SignedIn, conn: Connection
) -> None:
    groups = [fail(conn, f"Error{word}: x", times=times) for times, word in enumerate("BA", 1)][::-1]
    fail(conn, "Error to be retried", delay=60.0)

    page, reader = browser.page("/ui/failures"), signed_in(Scope.READ).page("/ui/failures")

    [form] = [each for each in page.all("form") if each.given.get("id") == "retry-error"]
    buttons = page.all("button", form="retry-error", name="error")
    assert [(each.given["value"], each.text) for each in buttons] == list(
        zip(groups, ["Retry 2…", "Retry 1…"], strict=True)
    )
    preview = browser.send(page, form.given["action"], error=groups[0])
    assert (preview.status_code, "2 jobs" in preview.text) == (200, True)
    assert reader.all("button", form="retry-error") == []
    assert (
        len([each for each in reader.all("button") if each.text.startswith("Retry") and "disabled" in each.given]) == 2
    )


def test_says_on_the_button_how_many_jobs_there_are_to_retry(
    browser: Browser, conn: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.web.error_jobs.MOST_OF_EACH", 2)
    many, few = fail(conn, "Refused: x", times=3), fail(conn, "Timeout: x", times=2)
    gone = fail(conn, "Absent: x")
    for job in produce.list_jobs(conn, produce.JobFilter(error_id=id_in(gone))).jobs:
        produce.retry(conn, job.id)
    [again] = produce.list_jobs(conn, produce.JobFilter(error_id=id_in(few), limit=1)).jobs
    produce.retry(conn, again.id)

    buttons = browser.page("/ui/failures").all("button", form="retry-error", name="error")

    # Of the attempts that failed two were of the second error, and one of the third.
    assert {each.given["value"]: each.text for each in buttons} == {many: "Retry more than 2…", few: "Retry 1…"}


def test_shows_the_beginning_of_a_long_error_and_all_of_it_on_its_page(browser: Browser, conn: Connection) -> None:
    long = " ".join(["word"] * 60)
    group = fail(conn, long)

    [shown] = browser.page("/ui/failures").all("a", id=f"e-{group}")

    assert shown.text == f"{long[:199]}…"
    assert long in browser.page(f"/ui/failures/{group}").text


def test_shows_one_group_with_its_jobs(browser: Browser, conn: Connection) -> None:
    group = fail(conn, "Timeout: job 4711\nat line 3", times=2)
    fail(conn, "Timeout: job 4712", delay=60.0)

    page = browser.page(f"/ui/failures/{group}")

    assert [each.text for each in page.all("pre", class_="error")] == ["Timeout: job 4711 at line 3"]
    assert "in this time; 2 kept" in page.text
    assert "in this time; 1 waits" in page.text
    assert len([each for each in page.all("tr") if each.all("td", class_="state-cell")]) == 3
    assert page.all("div", class_="chart")


def test_says_in_which_queues_and_on_which_workers_a_group_fails(
    browser: Browser, signed_in: SignedIn, conn: Connection
) -> None:
    group = fail(conn, "Timeout: x", queue="mail", times=2, worker="dock:7")
    fail(conn, "Timeout: x", queue="salmon", delay=60.0, worker="pier:8")
    own = signed_in(Scope.READ, queues=["mail"])
    path = f"/ui/failures/{group}"

    page, few = browser.page(path), own.page(path)

    assert where(page) == {"mail": ["2", "0"], "salmon": ["0", "1"]}
    assert "The newest 3 jobs failed on dock:7 (2), pier:8 (1)" in page.text
    assert where(few) == {"mail": ["2", "0"]}
    assert "pier" not in few.text
    assert [each.given["href"] for each in table_of(page).all("a")][0] == f"/ui/jobs?error={group}&queue=mail"


def table_of(page: Element) -> Element:
    [found] = [each for each in page.all("table") if "Queues in which it failed" in each.text]
    return found


def where(page: Element) -> dict[str, list[str]]:
    rows = {each.all("th")[0].text: each.all("td") for each in table_of(page).all("tr")[1:]}
    return {name: [each.text for each in cells if "data-name" in each.given] for name, cells in rows.items()}


def test_draws_each_queue_by_time_on_one_scale(browser: Browser, conn: Connection) -> None:
    group = fail(conn, "Timeout: x", queue="mail", times=4)
    fail(conn, "Timeout: x", queue="salmon", delay=60.0)

    page = browser.page(f"/ui/failures/{group}?span=1h")

    drawn = table_of(page).all("svg", class_="spark")
    assert [each.given["aria-label"] for each in drawn] == ["4 failed attempts in mail", "1 failed attempt in salmon"]
    steps = [re.findall(r"V(\d+)h(\d+)", each.all("path")[0].given["d"]) for each in drawn]
    heights = [sum((100 - int(high)) * int(wide) for high, wide in each) for each in steps]
    assert heights[0] == pytest.approx(4 * heights[1], rel=0.05)


def test_leads_to_the_job_of_the_first_one_while_it_is_kept(browser: Browser, conn: Connection, sql: Any) -> None:
    group = fail(conn, "Timeout: x")
    browser.page("/ui")
    pages = [browser.page(f"/ui/failures/{group}")]
    [link] = [each.given["href"] for each in pages[0].all("a") if each.text == "Its job"]
    status = browser.get(link).status_code
    sql("DELETE FROM haulier.finished_job")
    browser.client.application.extensions["haulier_shelf"].clear()

    pages.append(browser.page(f"/ui/failures/{group}"))

    assert status == 200
    assert [each.text for each in pages[1].all("a") if each.text == "Its job"] == []
    assert "its job is gone" in pages[1].text


def test_finds_a_group_by_what_its_example_alone_has_as_far_as_the_key_may_see_it(
    browser: Browser, signed_in: SignedIn, conn: Connection
) -> None:
    group = fail(conn, "Timeout: job 4711", queue="mail")
    fail(conn, "Timeout: job 4712", queue="salmon")
    of_other = signed_in(Scope.READ, queues=["salmon"])

    found = [each.page("/ui/failures?text=JOB%204711") for each in (browser, of_other)]
    search = [each.get("/ui/search?q=error:4711") for each in (browser, of_other)]

    assert [bool(page.all("tr", id=f"error-{group}")) for page in found] == [True, False]
    assert search[0].headers["Location"] == f"/ui/jobs?error={group}"
    assert (search[1].status_code, "Location" in search[1].headers) == (200, False)


def test_shows_the_newest_fifty_jobs_of_a_group_within_the_bytes_of_a_page(
    browser: Browser, conn: Connection, sql: Any
) -> None:
    group = fail(conn, f"Timeout: {'x' * 2000}", queue="q" * 64, worker=f"{'host-' * 10}:4121")
    like_it = "jsonb_populate_record(job, jsonb_build_object('id', haulier.uuidv7()))"
    sql(f"INSERT INTO haulier.finished_job SELECT ({like_it}).* FROM haulier.finished_job job, generate_series(1, 59)")

    answer = browser.get(f"/ui/failures/{group}")

    assert len([each for each in read(answer.text).all("tr") if each.all("td", class_="state-cell")]) == 50
    # The budget is that without charts and their tables.
    plain = re.sub(r'<section class="card" aria-labelledby="by-time">.*?</section>', "", answer.text, flags=re.DOTALL)
    assert len(plain.encode()) <= 60_000


def test_leads_from_each_group_to_where_it_is_muted(browser: Browser, signed_in: SignedIn, conn: Connection) -> None:
    group, muted = fail(conn, "Timeout: x"), fail(conn, "Refused: x")
    browser.send(browser.page(f"/ui/failures/{muted}"), f"/ui/failures/{muted}/mute", **{"for": "1h"})
    place = f"/ui/failures/{group}#mute"

    pages = [each.page("/ui/failures") for each in (browser, signed_in(Scope.READ))]

    assert [[each.given["href"] for each in page.all("a") if each.text == "Mute…"] for page in pages] == [[place], []]
    assert browser.page(place).all("form", id="mute")


@pytest.mark.parametrize("name", ["0123456789abcdef", "nonsense", "0" * 300])
def test_knows_no_other_group(browser: Browser, name: str) -> None:
    browser.page(f"/ui/failures/{name}", 404)


def test_mutes_and_unmutes(browser: Browser, conn: Connection, sql) -> None:
    group = fail(conn, "Timeout: x", times=12)
    path = f"/ui/failures/{group}"
    assert "fails with a new error" in browser.page("/ui").text

    muted = browser.send(browser.page(path), f"{path}/mute", **{"for": "24h"})
    quiet, told = browser.page("/ui"), browser.page(path)

    assert (muted.status_code, muted.headers["Location"]) == (303, path)
    assert "fails with a new error" not in quiet.text
    assert "muted until" in told.text
    assert names(browser.page("/ui/failures?muted=yes")) == [group]
    assert sql("SELECT muted_until - now() BETWEEN '23:59:00' AND '24:00:00' FROM haulier.error_group") == [(True,)]
    browser.send(told, f"{path}/unmute")
    assert sql("SELECT muted_until FROM haulier.error_group") == [(None,)]
    assert sql("SELECT actor, action FROM haulier.audit WHERE action LIKE '%mute%'") == [
        (browser.key.id, "mute"),
        (browser.key.id, "unmute"),
    ]


def test_mutes_for_no_time_of_which_nobody_was_asked(browser: Browser, conn: Connection, sql) -> None:
    path = f"/ui/failures/{fail(conn, 'Timeout: x')}"

    browser.send(browser.page(path), f"{path}/mute", **{"for": "9999d"})

    assert "Not muted" in browser.page(path).text
    assert sql("SELECT muted_until FROM haulier.error_group") == [(None,)]


@pytest.mark.parametrize(
    ("scopes", "queues"), [((Scope.READ,), None), ((Scope.READ, Scope.OPERATE), ["mail"])], ids=["read", "one queue"]
)
def test_lets_nobody_mute_who_may_not(
    browser: Browser, signed_in: SignedIn, conn: Connection, sql, scopes: Any, queues: Any
) -> None:
    group = fail(conn, "Timeout: x", queue="mail")
    other = signed_in(*scopes, queues=queues)
    token = other.page("/ui/settings").all("input", name="csrf")[0].given["value"]

    page = other.page(f"/ui/failures/{group}")
    refused = [other.post(f"/ui/failures/{group}/{verb}", csrf=token, **{"for": "1h"}) for verb in ("mute", "unmute")]

    assert page.all("form", action=f"/ui/failures/{group}/mute") == []
    assert [each.status_code for each in refused] == [403, 403]
    assert sql("SELECT muted_until FROM haulier.error_group") == [(None,)]


def test_shows_a_key_of_one_queue_what_failed_there_alone(signed_in: SignedIn, conn: Connection) -> None:
    shared = fail(conn, "Timeout: x", queue="salmon", times=2)
    fail(conn, "Timeout: x", queue="mail")
    hidden = fail(conn, "Swordfish: y", queue="salmon")
    own = signed_in(Scope.READ, queues=["mail"])

    page, one = own.page("/ui/failures"), own.page(f"/ui/failures/{shared}")

    assert names(page) == [shared]
    assert row(page, shared)["failed"] == "1"
    assert own.get(f"/ui/failures/{hidden}").status_code == 404
    assert [word for word in ("salmon", "Swordfish") if word in page.text + one.text] == []
    assert names(own.page("/ui/failures?queue=salmon")) == []
    assert "in this time; 1 kept" in one.text


def test_answers_204_exactly_when_nothing_has_changed(browser: Browser, conn: Connection) -> None:
    group = fail(conn, "Timeout: x")
    paths = ("/ui/failures", f"/ui/failures/{group}")
    seen = {path: browser.page(path).all("main")[0].given["data-seen"] for path in paths}
    shelf = browser.client.application.extensions["haulier_shelf"]

    def asks(path: str) -> int:
        return browser.get(path, Haulier_Live=seen[path]).status_code

    assert {asks(path) for path in paths} == {204}
    fail(conn, "Timeout: x")
    shelf.clear()
    assert {asks(path) for path in paths} == {200}


def test_shows_the_rest_where_a_part_is_late(browser: Browser, conn: Connection) -> None:
    group = fail(conn, "Timeout: x")
    with conn.cursor() as cursor:
        cursor.execute("BEGIN")
        cursor.execute("LOCK haulier.finished_job")
        try:
            page = browser.page(f"/ui/failures/{group}")
        finally:
            cursor.execute("ROLLBACK")

    assert "Not available just now" in page.text
    assert "The first one" in page.text
