"""Forms that are sent twice, by a double click or since the answer's page was loaded again: it ..."""

from __future__ import annotations

from typing import Any

from psycopg2.extensions import connection as Connection

from tests.queue.schedules import plant
from tests.web.browsing import SAME, Browser, Element, form, read
from tests.web.jobs import EMAIL, enqueue

LIST = "/ui/schedules"


def previewed(browser: Browser, verb: str) -> Element:
    """Return the preview of this for all jobs of the queue mail."""
    new = "/ui/operations/new"
    given: Any = {**form(browser.page("/ui/jobs?queue=mail"), new), "action": verb}
    return read(browser.client.post(new, data=given, headers=SAME, base_url=browser.base_url).text)


def test_starts_one_operation_of_a_preview_which_can_be_taken_back(browser: Browser, conn: Connection, sql) -> None:
    enqueue(conn, queue="mail")
    page = previewed(browser, "cancel")

    first, second = (browser.send(page, "/ui/operations") for _ in range(2))
    place = first.headers["Location"]
    seen = browser.page(place)
    browser.send(seen, f"{place}/cancel")

    assert (second.status_code, second.headers["Location"]) == (303, place)
    assert "It was started before." in seen.text
    assert sql("SELECT status FROM haulier.operation") == [("cancelled",)]


def test_previews_anew_where_the_second_time_other_values_are_sent(browser: Browser, conn: Connection, sql) -> None:
    enqueue(conn, queue="mail")
    page = previewed(browser, "change")

    browser.send(page, "/ui/operations", to_priority="7")
    other = browser.send(page, "/ui/operations", to_priority="8")
    again = browser.send(read(other.text), "/ui/operations", to_priority="8")

    assert (other.status_code, "with other values" in other.text) == (422, True)
    assert again.status_code == 303
    assert sql("SELECT changes FROM haulier.operation ORDER BY id") == [({"priority": 7},), ({"priority": 8},)]


def test_makes_one_copy(browser: Browser, conn: Connection, sql) -> None:
    job = enqueue(conn)
    path = f"/ui/jobs/{job}"
    page, other = browser.page(path), browser.page(path)

    answers = [browser.send(each, f"{path}/copy") for each in (page, page, other)]

    places = [answer.headers["Location"] for answer in answers]
    assert places[0] == places[1] != places[2]
    assert {f"/ui/jobs/{id}" for (id,) in sql("SELECT id FROM haulier.job WHERE copy_of = %s", job)} == set(places)
    assert sql("SELECT count(*) FROM haulier.audit WHERE action = 'copy'") == [(2,)]


def test_runs_a_schedule_once(browser: Browser, conn: Connection, sql) -> None:
    # Of which no second job may run beside the first: who clicks twice is not to read that it is busy.
    plant(sql, "nightly", every_seconds=3600, overlap="skip", job={"kind": "send_email", "payload": EMAIL})
    pages = [browser.page(place) for place in (LIST, f"{LIST}/nightly")]

    answers = [browser.send(pages[0], f"{LIST}/nightly/run") for _ in range(2)]
    busy = browser.send(pages[1], f"{LIST}/nightly/run")

    [(job,)] = sql("SELECT id FROM haulier.job")
    assert [answer.headers["Location"] for answer in answers] == [f"/ui/jobs/{job}"] * 2
    assert busy.status_code == 409


def test_takes_a_form_that_was_sent_without_that_field(browser: Browser, conn: Connection, sql) -> None:
    path = f"/ui/jobs/{enqueue(conn)}"
    sent = {**form(browser.page(path), f"{path}/copy"), "once": ""}

    for _ in range(2):
        browser.post(f"{path}/copy", **sent)

    assert sql("SELECT count(*) FROM haulier.job") == [(3,)]


def test_has_another_field_in_each_page_and_is_the_same_page(browser: Browser, conn: Connection) -> None:
    path = f"/ui/jobs/{enqueue(conn)}"
    one, two = (browser.page(path) for _ in range(2))

    sent = [form(page, f"{path}/copy")["once"] for page in (one, two)]

    assert sent[0] != sent[1]
    assert one.all("main")[0].given["data-seen"] == two.all("main")[0].given["data-seen"]
