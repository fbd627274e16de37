"""The pages of schedules, and of pausing many at once: it ..."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any
from uuid import UUID

import pytest
from psycopg2.extensions import connection as Connection

from app.web.words.schedule_words import words_of
from haulier.domain.api_key import Scope
from haulier.domain.outcome import Outcome
from haulier.queue import jobs
from tests.queue.schedules.schedules import plant
from tests.web.browsing import Browser, Element, SignedIn, check_each
from tests.web.jobs import EMAIL, claim, end

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


def test_makes_a_schedule_and_shows_it(browser: Browser, sql) -> None:
    empty = browser.page(LIST).text

    made = make(browser)
    page, listed = browser.page(PATH), browser.page(LIST)

    assert "There are no schedules." in empty
    assert (made.status_code, made.headers["Location"]) == (303, PATH)
    [(cron, zone, overlap, job)] = sql("SELECT cron, time_zone, overlap, job FROM haulier.schedule")
    assert (cron, zone, overlap) == ("0 2 * * *", "Europe/Berlin", "skip")
    assert (job["payload"], job["tags"], job["priority"], job["queue"]) == (EMAIL, ["a", "b"], 7, "default")
    assert len(page.all("section")[0].all("tr")) == 6
    assert "It has not fired yet." in page.text
    assert "every day at 02:00" in listed.text
    assert "Europe/Berlin" in listed.text


def test_previews_the_next_times_and_marks_those_that_clocks_move(browser: Browser, sql) -> None:
    page = browser.refused(browser.page(NEW), NEW, 200, **{**FIELDS, "do": "preview", "cron": "30 2 * 3 0"})

    assert "not saved yet" in page.text
    assert "The clocks skip this time" in page.text
    assert "+01:00" in page.text or "+02:00" in page.text
    assert sql("SELECT count(*) FROM haulier.schedule") == [(0,)]


def test_changes_a_schedule_unless_somebody_has_changed_it_meanwhile(browser: Browser, sql) -> None:
    make(browser)
    page, late = browser.page(f"{PATH}/edit"), browser.page(f"{PATH}/edit")
    fields = {name: text for name, text in FIELDS.items() if name != "name"}

    there_is = browser.refused(browser.page(NEW), NEW, **{**FIELDS, "cron": "0 5 * * *"})
    done = browser.send(page, f"{PATH}/edit", **{**fields, "cron": "0 3 * * *"})
    now = browser.refused(late, f"{PATH}/edit", 409, **{**fields, "cron": "0 4 * * *"})

    assert "A schedule with this name exists" in there_is.text
    assert done.status_code == 303
    assert "Somebody else changed the schedule" in now.text
    assert now.control("cron").attrs["value"] == "0 3 * * *"
    assert sql("SELECT cron FROM haulier.schedule") == [("0 3 * * *",)]


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
    assert "Paused: its ticks are skipped" in page.text
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

    assert "is defined in a file" in page.text
    assert page.actions() & {f"{PATH}/delete", f"{PATH}/run"} == {f"{PATH}/run"}
    assert [each for each in page.all("button") if each.text == "Change…" and "disabled" in each.attrs]
    assert [answer.status_code for answer in answers] == [409, 409]
    assert sql("SELECT count(*) FROM haulier.schedule") == [(1,)]


def test_hides_secrets_in_the_payload_by_their_names(browser: Browser, sql) -> None:
    plant(sql, job={"kind": "odd", "payload": {"api_token": "swordfish", "b": "</pre><script>alert(1)</script>"}})

    hidden, shown = browser.page(PATH), browser.page(f"{PATH}?show=hidden")

    assert ["swordfish" in page.text for page in (hidden, shown)] == [False, True]
    assert [each.text for each in shown.all("script") if each.text] == []


def test_says_in_words_when_it_fires() -> None:
    by_cron = [
        ("0 2 * * *", "every day at 02:00"),
        ("5 * * * *", "every hour at :05"),
        ("*/15 * * * *", "every 15 minutes"),
        ("*/45 * * * *", "every hour at :00 and :45"),
        ("*/7 * * * *", ""),
        ("5 */6 * * *", "every 6 hours at :05"),
        ("5 */7 * * *", "every day at 00:05, 07:05, 14:05 and 21:05"),
        ("5 */6 * * 1", ""),
        ("30 6 * * 1-5", "Monday to Friday at 06:30"),
        ("0 0 1 * *", "on day 1 of the month at 00:00"),
        ("0 0 13 * 5", ""),
    ]
    by_seconds = [(300, "every 5 min"), (3661, "every 3,661 s"), (172_800, "every 48 h")]

    check_each(lambda cron: words_of(cron, None), *by_cron)
    check_each(lambda seconds: words_of(None, seconds), *by_seconds)


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
    return page.named_rows()[name].one("td", **{"data-name": "last"})


def test_says_how_the_last_job_of_each_schedule_is(browser: Browser, conn: Connection, fire: Fire, sql) -> None:
    done = fire("done", Outcome.complete())
    failed = fire("failed", Outcome.fail_for_good("no luck"))
    waiting = fire("waiting")
    jobs.delete(conn, fire("deleted", Outcome.complete()))
    busy = fire("busy")
    sql("SELECT haulier.fire_ticks('{busy}', ARRAY[now() + interval '1 second'], '{skipped_overlap}')")
    plant(sql, "never", every_seconds=3600)

    page = browser.page(LIST)

    cells = {name: last(page, name) for name in ("done", "failed", "waiting", "deleted", "never")}
    told = {name: (cell.text.split()[-1], [a.attrs["href"] for a in cell.all("a")]) for name, cell in cells.items()}
    assert told == {
        "done": ("Succeeded", [f"/ui/jobs/{done}"]),
        "failed": ("Failed", [f"/ui/jobs/{failed}"]),
        "waiting": ("Queued", [f"/ui/jobs/{waiting}"]),
        "deleted": ("kept", []),
        "never": ("–", []),
    }
    # The time of the job, not of the skipped tick.
    cell = last(page, "busy")
    assert (cell.text.startswith("skipped "), cell.one("a").text.split()[0]) == (True, "Queued")
    assert (cell.one("a").attrs["href"], len(cell.one("a").all("time"))) == (f"/ui/jobs/{busy}", 1)


def test_shows_a_schedule_that_skips_with_its_ticks_and_what_to_do(browser: Browser, sql) -> None:
    plant(sql, "nightly", every_seconds=60, overlap="skip", seconds_ago=600)
    sql("UPDATE haulier.schedule SET updated_at = now() - interval '1 hour' RETURNING 1")
    sql(
        "INSERT INTO haulier.tick (schedule, schedule_id, scheduled_at, outcome)"
        " SELECT name, id, now() - make_interval(mins => n), 'skipped_overlap'"
        " FROM haulier.schedule CROSS JOIN generate_series(1, 3) AS n RETURNING 1"
    )

    overview, listed = browser.page("/ui"), browser.page("/ui/schedules")

    assert "Schedule nightly skipped 3 of its last 3 ticks: the previous run was still going" in overview.text
    offered = [each.attrs["href"] for each in overview.all("a", class_="button slim")]
    assert {"/ui/schedules/nightly/edit", "/ui/schedules/nightly#pause"} <= set(offered)
    [dots] = listed.named_rows()["nightly"].one("td", **{"data-name": "last ticks"}).all("svg")
    assert dots.attrs["aria-label"] == "Last 3 ticks: 3 × Skipped: previous run still going"


def test_names_no_job_that_the_key_may_not_see(signed_in: SignedIn, fire: Fire, sql) -> None:
    job = fire("mail")
    sql("UPDATE haulier.job SET queue = 'salmon' WHERE id = %s", str(job))
    browser = signed_in(Scope.READ, queues=["mail"])

    for path in (LIST, f"{LIST}/mail"):
        page = browser.page(path)
        assert (page.all("a", href=f"/ui/jobs/{job}"), "job no longer kept" in page.text) == ([], True)


# Many at once


MANY = "/ui/schedule-pauses"
NAMES = ["a", "b", "c", "d"]
FOR_AN_HOUR = {"for": "1h"}


def ticked(page: Element) -> list[str]:
    return [each.attrs["value"] for each in page.all("input", name="name") if "checked" in each.attrs]


def paused(sql) -> list[str]:
    is_paused = "paused_since IS NOT NULL AND (paused_until IS NULL OR paused_until > now())"
    return [name for (name,) in sql(f"SELECT name FROM haulier.schedule WHERE {is_paused} ORDER BY name")]


@pytest.fixture
def _schedules(sql) -> None:
    for name in NAMES:
        plant(sql, name, job={"kind": "mail", "payload": {}, "queue": "salmon" if name == "a" else "mail"})


@pytest.mark.usefixtures("_schedules")
def test_pauses_all_that_fire_and_resumes_the_selected_ones(browser: Browser, sql) -> None:
    browser.send(browser.page(f"{LIST}/d"), f"{LIST}/d/pause", **{"for": ""})

    page = browser.page(MANY)
    done = browser.send(page, f"{MANY}/pause", name=ticked(page), **FOR_AN_HOUR)
    after = browser.page(MANY)
    browser.send(after, f"{MANY}/pause", name=[])
    known = sql("SELECT extract(epoch FROM paused_until - now())::float FROM haulier.schedule ORDER BY name")
    resumed = browser.act(f"{MANY}/resume", name=["a", "b", "gone"])

    told = browser.page(LIST)
    assert "Resumed 2 schedules. 1 was already deleted." in told.text
    assert told.links("Pause all…") == [MANY]
    assert (ticked(page), ticked(after)) == (["a", "b", "c"], [])
    assert (done.status_code, done.headers["Location"], resumed.status_code) == (303, LIST, 303)
    assert known == [(pytest.approx(3600, abs=60),)] * 3 + [(None,)]
    assert paused(sql) == ["c", "d"]
    assert sql("SELECT count(*) FROM haulier.audit WHERE action = 'pause_schedule'") == [(4,)]


@pytest.mark.usefixtures("_schedules")
def test_pauses_only_schedules_that_the_key_may_see(signed_in: SignedIn, sql) -> None:
    own = signed_in(Scope.READ, Scope.OPERATE, queues=["mail"])

    page = own.page(MANY)
    own.send(page, f"{MANY}/pause", name=NAMES, **FOR_AN_HOUR)

    assert ticked(page) == paused(sql) == ["b", "c", "d"]
    assert signed_in(Scope.READ).page(LIST).links("Pause all…") == []


AT_ONE = """
    CREATE FUNCTION public.at_one() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        IF NEW.name = '{name}' THEN
            {act};
        END IF;
        RETURN NEW;
    END
    $$;
    CREATE TRIGGER at_one BEFORE UPDATE ON haulier.schedule FOR EACH ROW EXECUTE FUNCTION public.at_one()
"""
DIES = "PERFORM pg_terminate_backend(pg_backend_pid()), pg_sleep(10)"


@pytest.fixture
def happens(sql, _schedules: None) -> Iterator[Callable[[str, str], None]]:
    """Give a function that lets something happen when a schedule is paused."""
    yield lambda name, act: sql(AT_ONE.format(name=name, act=act))
    sql("DROP FUNCTION public.at_one CASCADE")


def test_goes_on_after_a_schedule_that_is_refused_and_says_why(browser: Browser, happens: Any, sql) -> None:
    happens("b", "RAISE 'b is not to be touched'")

    answer = browser.send(browser.page(MANY), f"{MANY}/pause", name=NAMES, **FOR_AN_HOUR)

    assert (answer.status_code, answer.headers["Location"]) == (303, LIST)
    assert "Paused 3 schedules. 1 was refused, e.g. b: b is not to be touched." in browser.page(LIST).text
    assert paused(sql) == ["a", "c", "d"]


def test_says_how_far_it_came_if_the_database_goes_away(browser: Browser, happens: Any, sql) -> None:
    happens("c", DIES)

    # Nothing was done of this.
    assert browser.send(browser.page(MANY), f"{MANY}/pause", name=["c"], **FOR_AN_HOUR).status_code == 503
    browser.send(browser.page(MANY), f"{MANY}/pause", name=NAMES, **FOR_AN_HOUR)

    told = browser.page(LIST).text
    assert "Paused 2 schedules. Stopped at c (unknown whether it took effect): " in told
    assert "1 was not reached." in told
    assert paused(sql) == ["a", "b"]
