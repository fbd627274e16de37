"""The pages of schedules: it ..."""

from __future__ import annotations

import json
from typing import Any

import pytest
from psycopg2.extensions import connection as Connection

from app.web.schedule_words import words_of
from haulier.domain.api_key import Scope
from haulier.queue.firing import fire_due
from tests.queue.schedules import plant
from tests.web.browsing import Browser, Element, faults, read
from tests.web.conftest import MakeSite, SignedIn

EMAIL = {"to": "a@b.c", "subject": "Hi", "body": "Hello."}
ASKED = {
    "name": "nightly",
    "cron": "0 2 * * *",
    "time_zone": "Europe/Berlin",
    "kind": "send_email",
    "payload": json.dumps(EMAIL),
    "overlap": "skip",
    "missed": "last",
    "tags": "a, b",
    "priority": "7",
}
ACTS = ("run", "pause", "resume", "delete", "edit")
LIST, PATH, NEW = "/ui/schedules", "/ui/schedules/nightly", "/ui/schedules/new"


def make(browser: Browser, **changes: str) -> Any:
    return browser.send(browser.page(NEW), NEW, **{**ASKED, **changes})


def test_makes_a_schedule_and_shows_it(browser: Browser, sql: Any) -> None:
    empty = browser.page(LIST).text

    made = make(browser)
    page, listed = browser.page(PATH), browser.page(LIST)

    assert "There is no schedule." in empty
    assert (made.status_code, made.headers["Location"]) == (303, PATH)
    [(cron, zone, overlap, job)] = sql("SELECT cron, time_zone, overlap, job FROM haulier.schedule")
    assert (cron, zone, overlap) == ("0 2 * * *", "Europe/Berlin", "skip")
    assert (job["payload"], job["tags"], job["priority"], job["queue"]) == (EMAIL, ["a", "b"], 7, "default")
    assert len(page.all("section")[0].all("tr")) == 6
    assert "It has not fired yet." in page.text
    assert "every day at 02:00" in listed.text
    assert "Europe/Berlin" in listed.text


@pytest.mark.parametrize(
    ("changes", "name", "why"),
    [
        ({"name": "No"}, "name", "Must begin with"),
        ({"name": "new"}, "name", "cannot be called new"),
        ({"cron": "every day"}, "cron", ""),
        ({"time_zone": "Nowhere/None"}, "time_zone", "time zone"),
        ({"kind": "", "payload": "{}"}, "kind", ""),
        ({"payload": "{"}, "payload", ""),
        ({"payload": '{"to": "a@b.c"}'}, "payload", "subject"),
        ({"priority": "x"}, "priority", ""),
        ({"jitter_seconds": "-1"}, "jitter_seconds", ""),
        ({"queue": "No"}, "queue", "Must begin with"),
    ],
)
def test_gives_the_form_back_with_what_is_wrong_at_its_field(
    browser: Browser, sql: Any, changes: dict[str, str], name: str, why: str
) -> None:
    refused = make(browser, **changes)

    page = read(refused.text)
    assert (refused.status_code, faults(page)) == (422, [])
    [field] = [each for each in page.below() if each.given.get("id") == f"f-{name}"]
    [told] = page.all("span", id=f"h-{name}")
    assert field.given["aria-invalid"] == "true"
    assert why in told.text
    assert value_of(page, "tags") == "a, b"
    assert sql("SELECT count(*) FROM haulier.schedule") == [(0,)]


def value_of(page: Element, name: str) -> str:
    return next(each.given["value"] for each in page.all("input") if each.given.get("id") == f"f-{name}")


def test_makes_none_in_the_place_of_another(browser: Browser, sql: Any) -> None:
    make(browser)

    refused = make(browser, cron="0 3 * * *")

    assert refused.status_code == 422
    assert "There is a schedule of this name" in read(refused.text).text
    assert sql("SELECT cron FROM haulier.schedule") == [("0 2 * * *",)]


def test_shows_the_next_times_and_marks_what_clocks_do_to_them(browser: Browser, sql: Any) -> None:
    shown = make(browser, do="preview", cron="30 2 * 3 0", time_zone="Europe/Berlin")

    page = read(shown.text)
    assert (shown.status_code, faults(page)) == (200, [])
    assert "nothing is stored yet" in page.text
    assert "Clocks skip the time that is meant" in page.text
    assert "+01:00" in page.text or "+02:00" in page.text
    assert sql("SELECT count(*) FROM haulier.schedule") == [(0,)]


def test_changes_a_schedule_and_says_where_somebody_was_first(browser: Browser, sql: Any) -> None:
    make(browser)
    page, late = browser.page(f"{PATH}/edit"), browser.page(f"{PATH}/edit")
    fields = {name: text for name, text in ASKED.items() if name != "name"}

    done = browser.send(page, f"{PATH}/edit", **{**fields, "cron": "0 3 * * *"})
    refused = browser.send(late, f"{PATH}/edit", **{**fields, "cron": "0 4 * * *"})

    assert (done.status_code, refused.status_code) == (303, 409)
    assert faults(read(refused.text)) == []
    assert "Somebody has changed it meanwhile" in read(refused.text).text
    assert value_of(read(refused.text), "cron") == "0 3 * * *"
    assert sql("SELECT cron FROM haulier.schedule") == [("0 3 * * *",)]


def test_pauses_resumes_runs_and_deletes(browser: Browser, sql: Any) -> None:
    make(browser)

    paused = browser.send(browser.page(PATH), f"{PATH}/pause", **{"for": "1h"})
    page = browser.page(PATH)
    resumed = browser.send(page, f"{PATH}/resume")
    ran = browser.send(browser.page(PATH), f"{PATH}/run")
    busy = browser.send(browser.page(PATH), f"{PATH}/run")
    kept = browser.send(browser.page(PATH), f"{PATH}/delete", confirm="nightl")
    deleted = browser.send(browser.page(PATH), f"{PATH}/delete", confirm="nightly")

    [(job,)] = sql("SELECT id FROM haulier.job")
    assert "Paused: its ticks pass" in page.text
    assert [paused.status_code, resumed.status_code, deleted.status_code] == [303] * 3
    assert ran.headers["Location"] == f"/ui/jobs/{job}"
    assert (busy.status_code, kept.status_code) == (409, 422)
    assert "Nothing was done" in read(busy.text).text
    assert sql("SELECT count(*) FROM haulier.schedule") == [(0,)]
    acts = [act for (act,) in sql("SELECT action FROM haulier.audit WHERE target = 'nightly' ORDER BY id")]
    assert acts == ["put_schedule", "pause_schedule", "resume_schedule", "run_schedule", "delete_schedule"]


@pytest.mark.parametrize("until", ["soon", "2001-01-01T00:00"])
def test_pauses_until_no_time_that_is_none(browser: Browser, sql: Any, until: str) -> None:
    make(browser)

    refused = browser.send(browser.page(PATH), f"{PATH}/pause", **{"for": "until", "until": until})

    assert refused.status_code == 422
    assert faults(read(refused.text)) == []
    assert sql("SELECT paused_since FROM haulier.schedule") == [(None,)]


def test_shows_what_became_of_each_tick_page_by_page(browser: Browser, conn: Connection, sql: Any) -> None:
    plant(sql, seconds_ago=120)
    fire_due(conn, retention_days=30)
    [(count,)] = sql("SELECT count(*) FROM haulier.tick")

    found, path = [], PATH
    while path:
        page = browser.page(path)
        [ledger] = [each for each in page.all("section") if each.given.get("aria-labelledby") == "ticks"]
        found += [row.all("time")[0].given["datetime"] for row in ledger.all("tr") if row.all("time")]
        path = next((each.given["href"] for each in page.all("a", rel="next")), "")

    assert count > 100
    assert len(found) == len(set(found)) == count
    assert sorted(found, reverse=True) == found


def test_lets_nobody_edit_what_comes_from_a_file(browser: Browser, sql: Any) -> None:
    plant(sql, source="file")

    page = browser.page(PATH)
    token = page.all("input", name="csrf")[0].given["value"]
    refused = [
        browser.get(f"{PATH}/edit").status_code,
        browser.post(f"{PATH}/delete", csrf=token, confirm="nightly").status_code,
    ]

    assert "comes from a file" in page.text
    assert page.all("form", action=f"{PATH}/delete") == []
    assert page.all("form", action=f"{PATH}/run") != []
    assert [each for each in page.all("button") if each.text == "Change…" and "disabled" in each.given]
    assert refused == [409, 409]
    assert sql("SELECT count(*) FROM haulier.schedule") == [(1,)]


@pytest.mark.parametrize(
    ("scopes", "may"),
    [
        ([Scope.READ], set()),
        ([Scope.READ, Scope.OPERATE], {"run", "pause"}),
        ([Scope.ADMIN], {"run", "pause", "delete"}),
    ],
)
def test_offers_what_the_key_may_do_and_refuses_the_rest(
    signed_in: SignedIn, browser: Browser, sql: Any, scopes: list[Scope], may: set[str]
) -> None:
    make(browser)
    viewer = signed_in(*scopes)
    token = viewer.page("/ui/settings").all("input", name="csrf")[0].given["value"]

    pages = [viewer.page(path) for path in (LIST, PATH)]
    actions = {form.given["action"] for page in pages for form in page.all("form", method="post")}
    offers = {action.removeprefix(f"{PATH}/") for action in actions if action.startswith(PATH)}
    refused = {verb: viewer.post(f"{PATH}/{verb}", csrf=token).status_code for verb in ACTS if verb not in may}

    assert offers == may
    if Scope.ADMIN not in scopes:
        assert {verb: status for verb, status in refused.items() if verb not in ("resume",)} == {
            verb: 403 for verb in ACTS if verb not in (*may, "resume")
        }
        assert viewer.get(NEW).status_code == viewer.get(f"{PATH}/edit").status_code == 403
        assert viewer.post(NEW, csrf=token).status_code == 403


def test_shows_a_key_of_one_queue_nothing_of_another(signed_in: SignedIn, sql: Any) -> None:
    plant(sql, job={"kind": "swim", "payload": {"note": "swordfish"}, "queue": "salmon"})
    plant(sql, "own", job={"kind": "mail", "payload": {}, "queue": "mail"})
    browser = signed_in(Scope.ADMIN, queues=["mail"])
    token = browser.page("/ui/settings").all("input", name="csrf")[0].given["value"]

    listed = browser.page(LIST).text
    answers = [browser.get(path).status_code for path in (PATH, f"{PATH}/edit", NEW, f"{LIST}/own")]
    acts = [browser.post(f"{PATH}/{verb}", csrf=token).status_code for verb in ACTS]

    assert "own" in listed
    assert "nightly" not in listed
    assert "salmon" not in listed
    assert answers == [404, 403, 403, 200]
    assert acts == [404, 404, 404, 403, 403]


def test_does_nothing_where_it_is_for_reading(make_site: MakeSite, signed_in: SignedIn, sql: Any) -> None:
    plant(sql)
    browser = signed_in(Scope.ADMIN, app=make_site(dashboard="read"))
    token = browser.page("/ui/settings").all("input", name="csrf")[0].given["value"]

    assert {browser.post(f"{PATH}/{verb}", csrf=token).status_code for verb in ACTS} == {403}


def test_answers_204_where_nothing_has_changed(browser: Browser) -> None:
    make(browser)
    for path in (LIST, PATH):
        seen = browser.page(path).all("main")[0].given["data-seen"]
        assert browser.get(path, Haulier_Live=seen).status_code == 204, path


def test_shows_the_rest_where_a_part_is_late(browser: Browser, conn: Connection) -> None:
    make(browser)
    with conn.cursor() as cursor:
        cursor.execute("BEGIN; LOCK TABLE haulier.tick IN ACCESS EXCLUSIVE MODE")
        try:
            pages = [browser.page(path).text for path in (LIST, PATH)]
        finally:
            cursor.execute("ROLLBACK")

    assert ["Not available just now" in text for text in pages] == [True, True]
    assert "0 2 * * *" in pages[1]


def test_hides_secrets_of_its_payload_by_name(browser: Browser, sql: Any) -> None:
    plant(sql, job={"kind": "odd", "payload": {"api_token": "swordfish", "b": "</pre><script>alert(1)</script>"}})

    hidden, shown = browser.page(PATH), browser.page(f"{PATH}?show=hidden")

    assert "swordfish" not in hidden.text
    assert "swordfish" in shown.text
    assert [each.text for each in shown.all("script") if each.text] == []


@pytest.mark.parametrize(
    ("cron", "every", "words"),
    [
        ("0 2 * * *", None, "every day at 02:00"),
        ("@daily", None, "every day at 00:00"),
        ("5 * * * *", None, "every hour at :05"),
        ("*/15 * * * *", None, "every 15 minutes"),
        ("* * * * *", None, "every minute"),
        ("*/1 * * * *", None, "every minute"),
        ("*/5 */1 * * *", None, ""),
        ("*/30 * * * *", None, "every 30 minutes"),
        ("*/45 * * * *", None, "every hour at :00 and :45"),
        ("*/25 * * * *", None, "every hour at :00, :25 and :50"),
        ("*/60 * * * *", None, "every hour at :00"),
        ("*/7 * * * *", None, ""),
        ("*/15 9 * * *", None, ""),
        ("5 */6 * * *", None, "every 6 hours at :05"),
        ("5 */1 * * *", None, "every hour at :05"),
        ("5 */7 * * *", None, "every day at 00:05, 07:05, 14:05 and 21:05"),
        ("5 */24 * * *", None, "every day at 00:05"),
        ("5 */5 * * *", None, ""),
        ("5 */6 * * 1", None, ""),
        ("0 0 */2 * *", None, ""),
        ("30 6 * * 1-5", None, "Monday to Friday at 06:30"),
        ("30 6 * * 1", None, "every Monday at 06:30"),
        ("0 0 1 * *", None, "on day 1 of the month at 00:00"),
        ("0 0 L * *", None, "on the last day of the month at 00:00"),
        ("0 0 1 1 *", None, ""),
        ("0 2,3 * * *", None, ""),
        ("0 0 13 * 5", None, ""),
        (None, 300, "every 5 min"),
        (None, 1, "every 1 s"),
        (None, 3661, "every 3,661 s"),
        (None, 172_800, "every 48 h"),
    ],
)
def test_says_in_words_when_it_fires(cron: str | None, every: int | None, words: str) -> None:
    assert words_of(cron, every) == words


# Many at once

MANY = "/ui/schedule-pauses"


def ticked(page: Element) -> list[str]:
    return [each.given["value"] for each in page.all("input", name="name") if "checked" in each.given]


def paused(sql: Any) -> dict[str, float | None]:
    found = sql(
        "SELECT name, extract(epoch FROM paused_until - now())::float FROM haulier.schedule"
        " WHERE paused_since IS NOT NULL AND (paused_until IS NULL OR paused_until > now())"
    )
    return dict(found)


def test_pauses_all_that_fire_and_resumes_those_that_are_ticked(browser: Browser, sql: Any) -> None:
    for name in ("hourly", "nightly", "weekly"):
        make(browser, name=name)
    browser.send(browser.page("/ui/schedules/weekly"), "/ui/schedules/weekly/pause", **{"for": ""})

    page = browser.page(MANY)
    done = browser.send(page, f"{MANY}/pause", name=ticked(page), **{"for": "1h"})
    after = browser.page(MANY)
    browser.send(after, f"{MANY}/pause", name=[])
    known = paused(sql)
    resumed = browser.post(f"{MANY}/resume", csrf=csrf_of(after), name=["hourly", "nightly", "gone"])

    told = browser.page(LIST)
    assert "Resumed 2 schedules. 1 had been deleted meanwhile." in told.text
    assert [each.given["href"] for each in told.all("a") if each.text == "Pause all…"] == [MANY]
    assert ticked(page) == ["hourly", "nightly"]
    assert (done.status_code, done.headers["Location"]) == (303, LIST)
    assert ticked(after) == []
    assert known == {"hourly": pytest.approx(3600, abs=60), "nightly": pytest.approx(3600, abs=60), "weekly": None}
    assert resumed.status_code == 303
    assert paused(sql) == {"weekly": None}
    assert sql("SELECT count(*) FROM haulier.audit WHERE action = 'pause_schedule'") == [(3,)]


def csrf_of(page: Element) -> str:
    return page.all("input", name="csrf")[0].given["value"]


def test_gives_the_form_of_many_pauses_back_with_what_is_wrong(browser: Browser, sql: Any) -> None:
    make(browser)
    make(browser, name="hourly")

    refused = browser.send(browser.page(MANY), f"{MANY}/pause", name=["hourly"], **{"for": "until", "until": "soon"})

    page = read(refused.text)
    assert (refused.status_code, faults(page), ticked(page)) == (422, [], ["hourly"])
    assert "Must be a time" in page.text
    assert paused(sql) == {}


def test_pauses_of_many_only_what_the_key_may_see(signed_in: SignedIn, browser: Browser, sql: Any) -> None:
    make(browser, queue="mail")
    make(browser, name="hourly", queue="salmon")
    own, reader = signed_in(Scope.READ, Scope.OPERATE, queues=["mail"]), signed_in(Scope.READ)

    page = own.page(MANY)
    own.send(page, f"{MANY}/pause", name=["hourly", "nightly"], **{"for": "1h"})

    assert ticked(page) == ["nightly"]
    assert set(paused(sql)) == {"nightly"}
    assert "Pause all…" not in reader.page(LIST).text
    assert reader.get(MANY).status_code == 403
    assert reader.post(f"{MANY}/resume", csrf=csrf_of(reader.page("/ui/settings")), name=["nightly"]).status_code == 403
    assert set(paused(sql)) == {"nightly"}
