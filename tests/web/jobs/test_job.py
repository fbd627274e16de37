"""The page of a job, what runs, and the workers: it ..."""

from __future__ import annotations

import re
import sys
import time
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

from psycopg2.extensions import connection as Connection

from haulier.domain.api_key import Scope
from haulier.domain.outcome import Outcome
from haulier.domain.progress import Progress
from haulier.queue import claims
from haulier.queue import jobs as job_acts
from tests.web.browsing import Browser, Element, MakeSite, SignedIn, check_each, read
from tests.web.jobs import EMAIL, claim, end, enqueue, in_all_states, register

KEPT = "No job has this id. Ended jobs are kept for 30 days"


def verbs(page: Element) -> set[str]:
    """Return the acts on the job that the page offers."""
    acts = {path.rpartition("/")[2] for path in page.actions() if path.startswith("/ui/jobs/")}
    return acts - {"change"}


def test_shows_how_far_a_job_has_come_as_a_bar(browser: Browser, conn: Connection) -> None:
    job = enqueue(conn)
    worker, [fence] = claim(conn)

    def said(done: float, total: float | None, note: str | None, ago: float = 0) -> tuple[str, list[dict[str, Any]]]:
        claims.write_progress(conn, worker, {fence: Progress(done, total, note, time.monotonic() - ago)}, seconds=5)
        browser.forget()
        page = browser.page(f"/ui/jobs/{job}")
        card = page.one("section", **{"aria-labelledby": "progress"})
        in_list = browser.page(RUNNING).rows()[str(job)].one("td", class_="full progress").text
        text = " ".join(each.text for each in card.all("p"))
        assert (in_list, "may not have started" in page.text) == (text, False)
        return text, [{name: bar.attrs[name] for name in ("max", "value")} for bar in card.all("progress")]

    assert "may not have started" in browser.page(f"/ui/jobs/{job}").text
    assert said(21, 380, "mails sent", 3600.0) == ("21 of 380 (5.5 %) mails sent", [{"max": "380", "value": "21"}])
    assert said(140, 380, None)[0] == "140 of 380 (37 %) · 2.0 a minute · about 2 h 1 min left"
    # The handler began to count again.
    assert said(3.25, None, None) == ("3", [])
    # The smallest numbers that a handler may report: no number says how long the rest takes.
    said(0, 1, None, 60.0)
    small = [said(done, 1, None)[0] for done in (5e-324, 1e-310, 1e-9)]
    assert small == ["0 of 1 (< 0.1 %)", *["0 of 1 (< 0.1 %) · 0.0 an hour"] * 2]


def test_shows_no_note_among_running_jobs_that_may_quote_a_secret(
    make_site: MakeSite, signed_in: SignedIn, conn: Connection, own_kinds: None, monkeypatch
) -> None:
    monkeypatch.delitem(sys.modules, "tests.hostile.secretive", raising=False)
    site = make_site(kinds=("tests.hostile.secretive",))
    job = enqueue(conn, {"how": "return", "token": "swordfish"}, kind="secretive")
    worker, [fence] = claim(conn)
    said = Progress(1, 2, "logged in by swordfish", time.monotonic())
    claims.write_progress(conn, worker, {fence: said}, seconds=5)

    pages = {
        (scope, path): signed_in(scope, app=site).page(path).text
        for scope in (Scope.READ, Scope.ADMIN)
        for path in (RUNNING, f"/ui/jobs/{job}")
    }

    shows_it = {at for at, text in pages.items() if "swordfish" in text}
    assert shows_it == {(Scope.ADMIN, RUNNING), (Scope.ADMIN, f"/ui/jobs/{job}")}
    assert "logged in by •••" in pages[Scope.READ, f"/ui/jobs/{job}"]
    assert all("1 of 2 (50 %)" in text for text in pages.values())


def test_shows_a_job_in_every_state(browser: Browser, conn: Connection) -> None:
    jobs = in_all_states(conn)

    pages = {status: browser.page(f"/ui/jobs/{job}") for status, job in jobs.items()}

    shapes = {status: "failed" if status == "failed_permanent" else status for status in jobs}
    assert [status for status, shape in shapes.items() if not pages[status].all("span", class_=f"state {shape}")] == []
    assert "by ops-anna" in pages["cancelled"].text
    assert "dock:7 has claimed it" in pages["running"].text
    assert "Failed permanently" in pages["failed_permanent"].text
    assert pages["failed_permanent"].one("pre", class_="error").text == "no luck"
    assert len(pages["failed_permanent"].links("with the same error")) == 1
    assert "No live worker serves the queue mail" in pages["queued"].text
    assert '"sent" : true' in pages["succeeded"].text


def test_says_the_same_of_no_job_and_of_one_that_the_key_may_not_see(signed_in: SignedIn, conn: Connection) -> None:
    browser = signed_in(Scope.ADMIN, queues=["mail"])
    other, own = enqueue(conn, queue="salmon"), enqueue(conn, queue="mail")

    answers = [browser.get(f"/ui/jobs/{job}") for job in (UUID(int=other.int ^ 1), other, own)]

    assert [answer.status_code for answer in answers] == [404, 404, 200]
    texts = [re.sub(r"[0-9a-f-]{32,36}|data-now=.*", "", answer.text) for answer in answers[:2]]
    assert texts[0] == texts[1]
    assert KEPT in texts[0]


def test_says_from_when_the_id_of_a_job_is_that_is_gone(browser: Browser) -> None:
    start, never = "0193b1a2-7c5e", "ffffffff-7c5e"
    ids = [f"{start}-7d41-9c3b-2f6a8e0d4b11", f"{start}-8d41-9c3b-2f6a8e0d4b02", f"{never}-8d41-9c3b-2f6a8e0d4b02"]

    texts = [browser.get(f"/ui/jobs/{job}").text for job in ids]

    assert [f"{KEPT}; this id dates from 10 Dec 2024 17:33:56" in text for text in texts] == [True, True, False]
    assert f"{KEPT}." in texts[2]


def test_says_of_an_ended_job_how_long_it_took_and_is_kept(browser: Browser, conn: Connection) -> None:
    job = enqueue(conn)
    live = browser.page(f"/ui/jobs/{job}").text
    _, [fence] = claim(conn)
    end(conn, fence, Outcome.fail_for_good("no luck"))

    page = browser.page(f"/ui/jobs/{job}")
    ended = page.text

    strip = page.one("svg", class_="bar strip").attrs["aria-label"]
    assert re.fullmatch(r"Waited [0-9.]+ m?s, ran [0-9.]+ m?s", strip)
    assert [each.text for each in page.one("ul", class_="legend").all("li")] == ["waited", "ran and failed"]
    took = re.compile(r"What happened [0-9.]+ m?s: waited [0-9.]+ m?s, ran [0-9.]+ m?s ")
    assert [(bool(took.search(text)), "Kept until" in text) for text in (live, ended)] == [(False,) * 2, (True,) * 2]
    assert f"haulier jobs cancel {job}" in live
    assert f"haulier jobs retry {job}" in ended


def test_shows_when_each_step_was_by_the_clock_of_the_viewer(browser: Browser, conn: Connection, sql) -> None:
    job = enqueue(conn, max_attempts=1)
    _, [fence] = claim(conn)
    running = browser.page(f"/ui/jobs/{job}").one("section", **{"aria-labelledby": "why"}).text
    end(conn, fence, Outcome.fail("no luck", delay=1.0))
    browser.send(browser.page("/ui/settings"), "/ui/settings", zone="Asia/Tokyo")

    page = browser.page(f"/ui/jobs/{job}")

    steps = [(step.all("time")[0].text, step.one("p").text) for step in page.one("ol", class_="steps").all("li")]
    local = "to_char(%s AT TIME ZONE 'Asia/Tokyo', 'HH24:MI:SS.MS')"
    [times] = sql(f"SELECT {local % 'created_at'}, {local % 'finished_at'} FROM haulier.finished_job")
    assert [steps[0][0][-10:], steps[-1][0][-10:]] == [text[:-2] for text in times]
    assert steps[-1][1] == "Failed permanently: 1 of 1 attempt used"
    assert "All times in Asia/Tokyo" in page.text
    assert re.search(r"may not have started yet\. claimed (now|\d+ s ago) · times out in \d+ (s|min)", running)


def test_says_of_a_running_job_who_asked_it_to_stop(browser: Browser, signed_in: SignedIn, conn: Connection) -> None:
    job, other = enqueue(conn), enqueue(conn)
    for _ in range(2):
        claim(conn)
    job_acts.cancel(conn, job, actor="ops-anna")

    operator, reader = (each.page(f"/ui/jobs/{job}").text for each in (browser, signed_in(Scope.READ)))
    rows = browser.page("/ui/jobs?status=running").rows()

    assert re.search(r"Cancel requested by ops-anna \. \d+ (s|min) ago|by ops-anna \. now", operator)
    assert ("Cancel requested." in reader, "ops-anna" in reader) == (True, False)
    assert {name: "cancel requested" in row.text for name, row in rows.items()} == {str(job): True, str(other): False}
    assert browser.page("/ui/jobs?status=running&sort=started").text.count("cancel requested") == 1


def test_offers_the_acts_that_the_state_allows_and_does_them(
    browser: Browser, signed_in: SignedIn, conn: Connection
) -> None:
    jobs, runs = in_all_states(conn), "It is running. Cancel it first."
    no_retry = "Only failed or cancelled jobs can be retried."
    reasons = {"Retry": no_retry, "Delete…": "It has not ended. Cancel it first.", "Run now": runs, "Change…": runs}
    assert disabled(browser.page(f"/ui/jobs/{jobs['running']}")) == reasons
    told = disabled(signed_in(Scope.READ).page(f"/ui/jobs/{jobs['queued']}"))
    assert told.keys() >= {"Cancel", "Change…", "Delete…", "Retry", "Run now"}
    assert told["Cancel"] == "This API key lacks the scope operate."
    jobs["later"] = enqueue(conn, delay=timedelta(hours=1))
    ended = {"failed_permanent", "cancelled"}
    allowed = {
        "cancel": {"queued", "running", "retrying", "later"},
        "retry": ended,
        "run-now": {"later", "retrying"},
        "copy": set(jobs),
        "delete": {"succeeded", *ended},
    }

    offered = {status: verbs(browser.page(f"/ui/jobs/{job}")) for status, job in jobs.items()}

    assert offered == {status: {verb for verb, states in allowed.items() if status in states} for status in jobs}
    # In an order in which each state still allows it.
    done = {
        (verb, status): browser.send(browser.page(path := f"/ui/jobs/{jobs[status]}"), f"{path}/{verb}").status_code
        for verb, statuses in (
            ("copy", jobs),
            ("run-now", ("later", "retrying")),
            ("cancel", ("queued", "running", "later", "retrying")),
            ("retry", ("failed_permanent", "cancelled")),
            ("delete", ("succeeded", "later")),
        )
        for status in statuses
    }
    assert {at: status for at, status in done.items() if status != 303} == {}


def disabled(page: Element) -> dict[str, str]:
    """Return the acts that cannot be done, with what is said of each to those who hear the page."""
    acts = ("Run now", "Change…", "Cancel", "Retry", "Delete…")
    buttons = [each for each in page.all("button") if "disabled" in each.attrs and each.text in acts]
    told = {each.attrs.get("id"): each.text for each in page.below()}
    return {each.text: told[each.attrs["aria-describedby"]] for each in buttons}


def test_hides_values_with_secret_names_until_one_asks(
    browser: Browser, make_site: MakeSite, signed_in: SignedIn, conn: Connection
) -> None:
    path = f"/ui/jobs/{enqueue(conn, {**EMAIL, 'iban': 'swordfish', 'nested': {'token': 'trout'}})}"

    def shown(*fields: str) -> list[bool]:
        page = signed_in(Scope.READ, app=make_site(hide_fields=fields)).get(path).text
        return ["swordfish" in page, "trout" in page]

    hidden = browser.get(path).text
    assert ("trout" in hidden, "hidden, 5 characters" in hidden) == (False, True)
    assert "trout" in browser.get(f"{path}?show=hidden").text
    # The setting names others in the place of those.
    assert (shown("iban"), shown()) == ([False, True], [True, True])


def test_says_of_a_masked_secret_neither_a_length_nor_that_it_can_be_shown(
    make_site: MakeSite, signed_in: SignedIn, conn: Connection, own_kinds: None, monkeypatch
) -> None:
    monkeypatch.delitem(sys.modules, "tests.hostile.secretive", raising=False)
    site = make_site(kinds=("tests.hostile.secretive",))
    path = f"/ui/jobs/{enqueue(conn, {'how': 'return', 'token': 'swordfish'}, kind='secretive')}"

    reader, admin = (signed_in(scope, app=site).page(path) for scope in (Scope.READ, Scope.ADMIN))

    said = [[each.text for each in page.all("span", class_="masked")] for page in (reader, admin)]
    assert said == [["hidden"], ["hidden, 9 characters"]]
    assert [len(page.links("Show hidden values")) for page in (reader, admin)] == [0, 1]


def test_answers_204_until_the_job_changes_and_polls_no_more_once_it_ended(browser: Browser, conn: Connection) -> None:
    path = f"/ui/jobs/{enqueue(conn)}"
    seen = browser.seen(path)

    same = browser.get(path, Haulier_Live=seen)
    _, [fence] = claim(conn)
    changed = browser.get(path, Haulier_Live=seen)
    end(conn, fence, Outcome.complete())
    ended = browser.get(path, Haulier_Live=seen)

    assert (same.status_code, same.text, changed.status_code) == (204, "", 200)
    [main] = [each for each in read(changed.text).children if not isinstance(each, str)]
    assert (main.tag, main.attrs["data-live-every"]) == ("main", "2")
    assert "<html" not in changed.text
    assert "data-live-every" not in ended.text


def test_makes_one_copy_of_a_job_for_each_page_with_the_form(browser: Browser, conn: Connection, sql) -> None:
    job = enqueue(conn)
    path = f"/ui/jobs/{job}"
    page, other = browser.page(path), browser.page(path)

    places = [browser.send(each, f"{path}/copy").headers["Location"] for each in (page, page, other)]
    without = [browser.send(page, f"{path}/copy", once="").headers["Location"] for _ in range(2)]

    assert places[0] == places[1] != places[2]
    assert {f"/ui/jobs/{id}" for (id,) in sql("SELECT id FROM haulier.job WHERE copy_of = %s", job)} == {
        *places,
        *without,
    }
    assert sql("SELECT count(*) FROM haulier.audit WHERE action = 'copy'") == [(4,)]
    # The field in which the pages differ is no news.
    assert page.one("main").attrs["data-seen"] == other.one("main").attrs["data-seen"]


def test_shows_what_a_job_is_now_if_it_changed_before_an_act(browser: Browser, conn: Connection) -> None:
    path = f"/ui/jobs/{enqueue(conn)}"
    page = browser.page(path)
    _, [fence] = claim(conn)
    end(conn, fence, Outcome.complete())

    now = browser.refused(page, f"{path}/cancel", 409)

    assert "Nothing was done" in now.text
    assert "delete" in verbs(now)


RUNNING, WORKERS = "/ui/running", "/ui/workers"


def run(conn: Connection, sql, queue: str = "default", *, since: str = "1 second", **options: Any) -> str:
    """Have a job run since some time; return its id."""
    job = enqueue(conn, queue=queue, **options)
    claim(conn, queue)
    sql("UPDATE haulier.job SET started_at = now() - %s::interval WHERE id = %s", since, job)
    return str(job)


def test_shows_the_jobs_that_run_longest_first(browser: Browser, conn: Connection, sql) -> None:
    short = run(conn, sql, "mail", since="3 seconds")
    long = run(conn, sql, "other", since="2 hours", timeout_seconds=60)
    middle = run(conn, sql, "post", since="50 minutes", timeout_seconds=3600)
    enqueue(conn, queue="waits")

    page = browser.page(RUNNING)

    rows = {job: row.text for job, row in page.rows().items()}
    assert list(rows) == [long, middle, short]
    assert "past it" in rows[long]
    assert "nearly used up" in rows[middle]
    assert [word for word in ("past it", "nearly used up") if word in rows[short]] == []
    assert "dock:7" in rows[short]
    assert "3 of 12 threads" in page.text


def test_shows_the_running_jobs_that_match_a_filter(
    browser: Browser, signed_in: SignedIn, conn: Connection, sql
) -> None:
    own = signed_in(Scope.READ, queues=["mail"])
    none = browser.page(RUNNING).text
    queues = {run(conn, sql, name): name for name in ("mail", "other")}
    browser.forget()

    def shown(query: str, by: Browser = browser) -> list[str]:
        return sorted(queues[job] for job in by.page(f"{RUNNING}?{query}").rows())

    assert "Nothing is running right now" in none
    check_each(
        shown,
        ("queue=mail", ["mail"]),
        ("kind=send_email", ["mail", "other"]),
        ("kind=resize_image&by=worker", []),
        ("by=worker&queue=a%20b", ["mail", "other"]),
        (f"worker={uuid4()}", []),
        ("", own, ["mail"]),
        ("queue=other", own, []),
    )
    assert "Ignored: queue a b" in browser.page(f"{RUNNING}?queue=a%20b").text


def test_cancels_a_running_job_and_leads_back(browser: Browser, conn: Connection, sql) -> None:
    job, path = run(conn, sql, "mail"), f"{RUNNING}?queue=mail"

    done = browser.send(browser.page(path), f"{RUNNING}/{job}/stop")
    page = browser.page(path)

    assert (done.status_code, done.headers["Location"]) == (303, path)
    assert "Cancel requested" in page.one("p", id="said").text
    assert "cancel requested" in page.rows()[job].text
    assert f"{RUNNING}/{job}/stop" not in page.actions()
    assert sql("SELECT cancel_requested FROM haulier.job") == [(True,)]


def test_shows_each_worker_and_those_that_are_gone(browser: Browser, conn: Connection, sql) -> None:
    none = browser.page(WORKERS).text
    one, silent, gone = register(conn, "mail", "post"), register(conn, host="pier"), register(conn, host="quay")
    job, (holds, _) = enqueue(conn, queue="bulk"), claim(conn, "bulk", "hold")
    claims.introduce(conn, holds, kinds=["send_email"])
    claims.introduce(conn, UUID(one), kinds=("send_email", "resize_image"))
    sql("UPDATE haulier.worker SET beat_at = now() - interval '500 seconds' WHERE id = %s", silent)
    sql("DELETE FROM haulier.worker WHERE id = %s", gone)
    browser.forget()

    page = browser.page(WORKERS)

    assert "No worker is running. Jobs wait; nothing is lost." in none
    rows = page.rows()
    assert [word in rows[one].text for word in ("dock:7", "mail, post")] == [True, True]
    assert "Silent" in rows[silent].text
    assert "3 workers, 12 threads" in page.text
    assert "quay:7 Stopped" in page.text
    assert "it stopped" in browser.page(f"{WORKERS}/{gone}").text
    browser.page(f"{WORKERS}/{uuid4()}", 404)
    of_one = browser.page(f"{WORKERS}/{holds}").text
    assert (str(job) in of_one, "Known only to other workers: resize_image" in of_one) == (True, True)
