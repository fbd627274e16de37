"""The pages of schedules: it ..."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest
from psycopg2.extensions import connection as Connection

from app.web.words.schedule_words import words_of
from haulier.domain.api_key import Scope
from haulier.domain.outcome import Outcome
from haulier.queue import jobs
from haulier.queue.schedules.fire import fire_due
from tests.queue.schedules.schedules import REFUSED, plant, refused
from tests.web.browsing import Browser, Element
from tests.web.conftest import SignedIn
from tests.web.jobs import EMAIL, claim, end
from tests.web.tables import check_each

FIELDS = {
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
LIST, PATH, NEW = "/ui/schedules", "/ui/schedules/nightly", "/ui/schedules/new"


def make(browser: Browser, **changes: str) -> Any:
    return browser.send(browser.page(NEW), NEW, **{**FIELDS, **changes})


# The form


def test_makes_a_schedule_and_shows_it(browser: Browser, sql) -> None:
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


def test_makes_no_schedule_in_the_place_of_another(browser: Browser, sql) -> None:
    make(browser)

    again = browser.refused(browser.page(NEW), NEW, **{**FIELDS, "cron": "0 3 * * *"})

    assert "There is a schedule of this name" in again.text
    assert sql("SELECT cron FROM haulier.schedule") == [("0 2 * * *",)]


def test_previews_the_next_times_and_marks_those_that_clocks_move(browser: Browser, sql) -> None:
    page = browser.refused(browser.page(NEW), NEW, 200, **{**FIELDS, "do": "preview", "cron": "30 2 * 3 0"})

    assert "nothing is stored yet" in page.text
    assert "Clocks skip the time that is meant" in page.text
    assert "+01:00" in page.text or "+02:00" in page.text
    assert sql("SELECT count(*) FROM haulier.schedule") == [(0,)]


def test_changes_a_schedule_unless_somebody_has_changed_it_meanwhile(browser: Browser, sql) -> None:
    make(browser)
    page, late = browser.page(f"{PATH}/edit"), browser.page(f"{PATH}/edit")
    fields = {name: text for name, text in FIELDS.items() if name != "name"}

    done = browser.send(page, f"{PATH}/edit", **{**fields, "cron": "0 3 * * *"})
    now = browser.refused(late, f"{PATH}/edit", 409, **{**fields, "cron": "0 4 * * *"})

    assert done.status_code == 303
    assert "Somebody has changed it meanwhile" in now.text
    assert now.control("cron").attrs["value"] == "0 3 * * *"
    assert sql("SELECT cron FROM haulier.schedule") == [("0 3 * * *",)]


# Its acts


def test_pauses_resumes_runs_and_deletes_a_schedule(browser: Browser, sql) -> None:
    make(browser)

    paused = browser.send(browser.page(PATH), f"{PATH}/pause", **{"for": "1h"})
    page = browser.page(PATH)
    resumed = browser.send(page, f"{PATH}/resume")
    # Who clicks twice is led to the same job; a second one may not run beside it.
    once = browser.page(PATH)
    ran = [browser.send(once, f"{PATH}/run").headers["Location"] for _ in range(2)]
    busy = browser.refused(browser.page(PATH), f"{PATH}/run", 409)
    browser.refused(browser.page(PATH), f"{PATH}/delete", confirm="nightl")
    deleted = browser.send(browser.page(PATH), f"{PATH}/delete", confirm="nightly")

    [(job,)] = sql("SELECT id FROM haulier.job")
    assert "Paused: its ticks pass" in page.text
    assert [paused.status_code, resumed.status_code, deleted.status_code] == [303] * 3
    assert ran == [f"/ui/jobs/{job}"] * 2
    assert "Nothing was done" in busy.text
    assert sql("SELECT count(*) FROM haulier.schedule") == [(0,)]
    acts = [act for (act,) in sql("SELECT action FROM haulier.audit WHERE target = 'nightly' ORDER BY id")]
    assert acts == ["put_schedule", "pause_schedule", "resume_schedule", "run_schedule", "delete_schedule"]


def test_lets_nobody_edit_a_schedule_that_comes_from_a_file(browser: Browser, sql) -> None:
    plant(sql, source="file")

    page = browser.page(PATH)
    answers = [browser.get(f"{PATH}/edit"), browser.act(f"{PATH}/delete", confirm="nightly")]

    assert "comes from a file" in page.text
    assert page.actions() & {f"{PATH}/delete", f"{PATH}/run"} == {f"{PATH}/run"}
    assert [each for each in page.all("button") if each.text == "Change…" and "disabled" in each.attrs]
    assert [answer.status_code for answer in answers] == [409, 409]
    assert sql("SELECT count(*) FROM haulier.schedule") == [(1,)]


def test_hides_secrets_in_the_payload_by_their_names(browser: Browser, sql) -> None:
    plant(sql, job={"kind": "odd", "payload": {"api_token": "swordfish", "b": "</pre><script>alert(1)</script>"}})

    hidden, shown = browser.page(PATH), browser.page(f"{PATH}?show=hidden")

    assert ["swordfish" in page.text for page in (hidden, shown)] == [False, True]
    assert [each.text for each in shown.all("script") if each.text] == []


# In words


def test_says_in_words_when_it_fires() -> None:
    by_cron = [
        ("0 2 * * *", "every day at 02:00"),
        ("@daily", "every day at 00:00"),
        ("5 * * * *", "every hour at :05"),
        ("*/15 * * * *", "every 15 minutes"),
        ("* * * * *", "every minute"),
        ("*/5 */1 * * *", ""),
        ("*/45 * * * *", "every hour at :00 and :45"),
        ("*/60 * * * *", "every hour at :00"),
        ("*/7 * * * *", ""),
        ("5 */6 * * *", "every 6 hours at :05"),
        ("5 */7 * * *", "every day at 00:05, 07:05, 14:05 and 21:05"),
        ("5 */5 * * *", ""),
        ("5 */6 * * 1", ""),
        ("30 6 * * 1-5", "Monday to Friday at 06:30"),
        ("30 6 * * 1", "every Monday at 06:30"),
        ("0 0 1 * *", "on day 1 of the month at 00:00"),
        ("0 0 L * *", "on the last day of the month at 00:00"),
        ("0 2,3 * * *", ""),
        ("0 0 13 * 5", ""),
    ]
    by_seconds = [(300, "every 5 min"), (1, "every 1 s"), (3661, "every 3,661 s"), (172_800, "every 48 h")]

    check_each(lambda cron: words_of(cron, None), *by_cron)
    check_each(lambda seconds: words_of(None, seconds), *by_seconds)


# Its ticks and jobs

Fire = Callable[..., UUID]


@pytest.fixture
def fire(conn: Connection, sql) -> Fire:
    """Give a function that fires a new schedule into the queue of its name, ends its job, and returns the job's id."""

    def fire(name: str, outcome: Outcome | None = None) -> UUID:
        plant(sql, name, every_seconds=3600, job={"kind": "mail", "payload": {}, "queue": name})
        sql("SELECT haulier.fire_ticks(ARRAY[%s], ARRAY[now()], '{fired}')", name)
        if outcome:
            _, [fence] = claim(conn, name)
            end(conn, fence, outcome)
        [(job,)] = sql("SELECT job_id FROM haulier.tick WHERE schedule = %s", name)
        return UUID(str(job))

    return fire


def last(page: Element, name: str) -> Element:
    """Return the cell with a schedule's last tick and job."""
    return page.named_rows()[name].one("td", **{"data-name": "last"})


def test_says_how_the_last_job_of_each_schedule_is(browser: Browser, conn: Connection, fire: Fire, sql) -> None:
    done = fire("done", Outcome.complete())
    failed = fire("failed", Outcome.fail_for_good("no luck"))
    waiting = fire("waiting")
    jobs.delete(conn, fire("deleted", Outcome.complete()))
    plant(sql, "never", every_seconds=3600)

    page = browser.page(LIST)

    cells = {name: last(page, name) for name in ("done", "failed", "waiting", "deleted", "never")}
    told = {name: (cell.text.split()[-1], [a.attrs["href"] for a in cell.all("a")]) for name, cell in cells.items()}
    assert told == {
        "done": ("Succeeded", [f"/ui/jobs/{done}"]),
        "failed": ("Failed", [f"/ui/jobs/{failed}"]),
        "waiting": ("Queued", [f"/ui/jobs/{waiting}"]),
        "deleted": ("gone", []),
        "never": ("–", []),
    }


def test_says_how_the_last_job_is_if_ticks_have_passed_since(browser: Browser, fire: Fire, sql) -> None:
    job = fire("busy")
    sql("SELECT haulier.fire_ticks('{busy}', ARRAY[now() + interval '1 second'], '{skipped_overlap}')")

    cell = last(browser.page(LIST), "busy")

    link = cell.one("a")
    assert cell.text.startswith("passed ")
    assert (link.attrs["href"], link.text.split()[0]) == (f"/ui/jobs/{job}", "Queued")
    # Its own time, not that of the tick that has passed.
    assert len(link.all("time")) == 1


def test_says_how_the_job_of_each_tick_is(browser: Browser, conn: Connection, fire: Fire, sql) -> None:
    first = fire("often", Outcome.fail_for_good("no luck"))
    sql("SELECT haulier.fire_ticks('{often}', ARRAY[now() + interval '1 second'], '{fired}')")
    jobs.delete(conn, first)

    ledger = browser.page(f"{LIST}/often").one("section", **{"aria-labelledby": "ticks"})

    cells = [row.all("td")[-1] for row in ledger.all("tr")[1:]]
    assert [cell.text.rpartition(" ")[0] for cell in cells] == ["Queued", "its job is gone"]
    assert [len(cell.all("a")) for cell in cells] == [1, 0]
    assert cells[1].text.endswith(str(first))


def test_names_no_job_that_the_key_may_not_see(signed_in: SignedIn, fire: Fire, sql) -> None:
    job = fire("mail")
    sql("UPDATE haulier.job SET queue = 'salmon' WHERE id = %s", str(job))
    browser = signed_in(Scope.READ, queues=["mail"])

    for path in (LIST, f"{LIST}/mail"):
        page = browser.page(path)
        assert (page.all("a", href=f"/ui/jobs/{job}"), "its job is gone" in page.text) == ([], True)


def test_says_why_the_database_refuses_the_job_until_it_is_run_by_hand(browser: Browser, conn: Connection, sql) -> None:
    plant(sql, seconds_ago=20, every_seconds=20, **REFUSED)
    with refused(sql):
        fire_due(conn, retention_days=30, apart=1)
    page, listed = browser.page(PATH), browser.page(LIST)

    browser.send(page, f"{PATH}/run")

    assert "It cannot fire: no such customer" in page.text
    assert "Refused 1 time." in page.text
    assert "Refused" in listed.text
    assert "no such customer" not in browser.page(PATH).text
    assert "Refused" not in browser.page(LIST).text


def test_says_of_a_tick_that_passed_that_the_database_refused_it(browser: Browser, sql) -> None:
    plant(sql, every_seconds=3600)
    sql("SELECT haulier.fire_ticks('{nightly}', ARRAY[now()], '{skipped_refused}')")

    assert "Passed: the database refused its job" in browser.page(PATH).text
