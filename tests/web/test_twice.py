"""Forms that are sent twice, by a double click or since the answer's page was loaded again: it ..."""

from __future__ import annotations

from typing import Any

from psycopg2.extensions import connection as Connection

from haulier.domain.api_key import TOKEN, Scope
from haulier.queue.access import api_keys
from haulier.queue.access.api_keys import NewKey
from tests.queue.schedules import plant
from tests.web.browsing import SAME, Browser, Element, faults, form, read
from tests.web.jobs import EMAIL, enqueue

LIST, NEW_KEY = "/ui/schedules", "/ui/keys/new"


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


def test_makes_one_key_and_says_which(browser: Browser, sql) -> None:
    page = browser.page(NEW_KEY)

    made, again = (browser.send(page, NEW_KEY, name="shop", scopes="read") for _ in range(2))
    other = browser.send(read(again.text), NEW_KEY, name="shop", scopes="read")

    keys = sql("SELECT id FROM haulier.api_key WHERE name = 'shop' ORDER BY created_at")
    assert (made.status_code, again.status_code, other.status_code) == (201, 409, 201)
    assert len(keys) == 2
    assert f"By this form the API key {keys[0][0]} was made before" in again.text
    assert TOKEN.search(again.text) is None
    assert faults(read(again.text)) == []


def test_gives_a_key_one_new_secret_and_keeps_the_old_one_for_as_long_as_was_chosen(
    browser: Browser, conn: Connection, sql
) -> None:
    key, old = api_keys.create(conn, NewKey("shop", [Scope.READ]), actor="test")
    path = f"/ui/keys/{key.id}"
    page = browser.page(path)

    rotated, again = (browser.send(page, f"{path}/rotate", hours="24") for _ in range(2))
    at_once = browser.send(page, f"{path}/rotate", hours="0")
    found = api_keys.find(conn, key.id)

    token = TOKEN.search(rotated.text)
    assert (rotated.status_code, again.status_code, at_once.status_code) == (200, 409, 409)
    assert "another secret meanwhile" in again.text
    assert [found.key.is_opened_by(each) for each in (old, token[0])] == [True, True]
    assert browser.send(read(again.text), f"{path}/rotate", hours="24").status_code == 200
    assert sql("SELECT count(*) FROM haulier.audit WHERE action = 'rotate_key'") == [(2,)]
