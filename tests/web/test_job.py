"""What the page of a job says of others, and of when it is gone: it ..."""

from __future__ import annotations

import re
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from flask import Flask, g
from hypothesis import given
from hypothesis import strategies as some
from psycopg2 import errors
from psycopg2.extensions import connection as Connection

from app.http.acting import changed_as_it_is
from app.http.door import NOBODY
from app.web.history import LOOKS, stretches, summary, told
from haulier.domain.api_key import Scope
from haulier.domain.job import Json
from haulier.domain.outcome import Outcome
from haulier.domain.timeline import Step, What, Why
from haulier.postgres.connection import connect
from haulier.postgres.statements import transaction
from haulier.queue import produce
from haulier.queue.access import sessions
from haulier.queue.produce.change import Changes
from haulier.queue.rows import StoredJob
from tests.conftest import Sql
from tests.web.browsing import Browser, Element, faults, form, read
from tests.web.conftest import SignedIn
from tests.web.jobs import claim, end, enqueue, fail, in_all_states

KEPT = "No job has this id. Jobs that have ended are kept for 30 days"


@pytest.mark.parametrize(
    ("job", "said"),
    [
        ("0192b1a2-7c5e-7d41-9c3b-2f6a8e0d4b11", f"{KEPT}; this id was made on 22 Oct 2024 00:31:08."),
        ("0192b1a2-7c5e-4d41-9c3b-2f6a8e0d4b11", f"{KEPT}."),
        ("ffffffff-ffff-7fff-bfff-ffffffffffff", f"{KEPT}."),
    ],
)
def test_says_of_an_id_that_is_none_when_it_was_made(browser: Browser, job: str, said: str) -> None:
    assert said in browser.page(f"/ui/jobs/{job}", 404).text


def test_says_the_same_of_a_job_that_the_key_may_not_see(signed_in: SignedIn, conn: Connection) -> None:
    browser = signed_in(Scope.ADMIN, queues=["mail"])

    page = browser.page(f"/ui/jobs/{enqueue(conn, queue='salmon')}", 404)

    assert KEPT in page.text
    assert "salmon" not in page.text


def test_says_until_when_a_job_is_kept_that_has_ended(browser: Browser, conn: Connection) -> None:
    job = enqueue(conn)
    live = browser.page(f"/ui/jobs/{job}").text
    _, [fence] = claim(conn)
    end(conn, fence, Outcome.fail_for_good("no luck"))

    ended = browser.page(f"/ui/jobs/{job}").text

    assert "Kept until" not in live
    assert f"haulier jobs cancel {job}" in live
    assert "Kept until" in ended
    assert f"haulier jobs retry {job}" in ended


def test_leads_to_the_error_while_the_job_is_in_its_group(browser: Browser, conn: Connection) -> None:
    group = fail(conn, "Timeout: x")
    [job] = produce.list_jobs(conn, produce.JobFilter()).jobs
    before = browser.page(f"/ui/jobs/{job.id}")

    browser.send(before, f"/ui/jobs/{job.id}/retry")
    after = browser.page(f"/ui/jobs/{job.id}")

    assert [each.text for each in before.all("a", href=f"/ui/failures/{group}")] == ["with the same error"]
    assert after.all("a", href=f"/ui/failures/{group}") == []
    assert [each.given["href"] for each in after.all("a") if each.text == "of this kind, queued"] == [
        "/ui/jobs?kind=send_email&status=queued"
    ]


@pytest.mark.parametrize(
    ("steps", "seconds", "said"),
    [
        ([(What.WAITED, Why.TURN, 2.0), (What.FAILED, None, 1.0), (What.WAITED, Why.BACK_OFF, 60.0),
          (What.BEGAN, None, None), (What.SUCCEEDED, None, 3.0)], 66.0, "1 min 6 s: waited 1 min 2 s, ran 4.0 s"),
        ([(What.WAITED, Why.TURN, 2.0), (What.CANCELLED, None, None)], 2.0, "2.0 s: waited 2.0 s, ran 0 ms"),
        # It was retried by hand a minute after it had failed.
        ([(What.WAITED, Why.TURN, 2.0), (What.FAILED, None, 1.0), (What.RETRIED, None, None)], 63.0, ""),
        ([(What.WAITED, Why.SNOOZED, 2.0), (What.SUCCEEDED, None, 1.0)], 3.0, ""),
        ([(What.WAITED, Why.NOT_KNOWN, 2.0), (What.SUCCEEDED, None, 1.0)], 3.0, ""),
    ],
)  # fmt: skip
def test_says_how_long_a_job_waited_and_ran_where_that_is_known(
    steps: list[tuple[What, Why | None, float | None]], seconds: float, said: str
) -> None:
    at = datetime(2026, 11, 26, tzinfo=UTC)

    assert summary([Step(at, what, why=why, seconds=took) for what, why, took in steps], seconds) == said


def test_says_it_on_the_page_of_a_job_that_has_ended(browser: Browser, conn: Connection) -> None:
    job = enqueue(conn)
    live = browser.page(f"/ui/jobs/{job}").text
    _, [fence] = claim(conn)
    end(conn, fence, Outcome.complete())

    ended = browser.page(f"/ui/jobs/{job}").text

    told = re.compile(r"What happened [0-9.]+ m?s: waited [0-9.]+ m?s, ran [0-9.]+ m?s ")
    assert [bool(told.search(text)) for text in (live, ended)] == [False, True]


def test_draws_how_much_of_its_timeout_a_running_job_has_used_up(browser: Browser, conn: Connection, sql: Sql) -> None:
    timed, endless = enqueue(conn, timeout_seconds=90), enqueue(conn, kind="unknown")
    for _ in range(2):
        claim(conn)
    sql("UPDATE haulier.job SET started_at = now() - interval '81 seconds'")

    pages = [browser.page(f"/ui/jobs/{job}") for job in (timed, endless)]

    assert [[each.given["aria-label"] for each in page.all("svg", class_="bar")] for page in pages] == [
        ["90 % of its timeout"],
        [],
    ]


# The strip above the steps

AT = datetime(2026, 11, 26, tzinfo=UTC)


def steps(*given: tuple[What, float, float | None], why: Why = Why.TURN) -> list[Step]:
    """Return steps: what, at which second, and how long."""
    made = [Step(AT + timedelta(seconds=at), what, why=why, seconds=took) for what, at, took in given]
    return [Step(AT, What.ENQUEUED), *made]


@pytest.mark.parametrize(
    ("found", "drawn", "said"),
    [
        (steps(), [], "Nothing has finished yet"),
        # What waits or runs goes on: the same at each look.
        (steps((What.WAITED, 0, None)), [], "Nothing has finished yet"),
        (steps((What.WAITED, 0, 2), (What.BEGAN, 2, None)), [("queued", 2)], "Waited 2.0 s"),
        (
            steps((What.WAITED, 0, 2), (What.BEGAN, 2, None), (What.FAILED, 12, 10), (What.WAITED, 12, 8),
                  (What.BEGAN, 20, None), (What.SUCCEEDED, 25, 5)),
            [("queued", 2), ("failed", 10), ("queued", 8), ("succeeded", 5)],
            "Waited 2.0 s, ran 10 s, waited 8.0 s, ran 5.0 s",
        ),
        # It was retried by hand a minute after it had failed.
        (
            steps((What.WAITED, 0, 1), (What.FAILED, 3, 2), (What.FAILED_PERMANENT, 3, None), (What.RETRIED, 63, None),
                  (What.WAITED, 63, 1), (What.CANCELLED, 65, 1)),
            [("queued", 1), ("failed", 2), ("", 60), ("queued", 1), ("cancelled", 1)],
            "Waited 1.0 s, ran 2.0 s, neither 1 min, waited 1.0 s, ran 1.0 s",
        ),
        (
            steps((What.WAITED, 0, 4), (What.SNOOZED, 6, 2), why=Why.NOT_KNOWN),
            [("", 4), ("retrying", 2)],
            "Neither 4.0 s, ran 2.0 s",
        ),
        # By their clocks the second attempt began before the first had ended, and the third ran for no time.
        (
            steps((What.FAILED, 5, 5), (What.FAILED, 9, 6), (What.FAILED, 9, 0), (What.FAILED, 4, 2)),
            [("failed", 5), ("failed", 4)],
            "Ran 5.0 s, ran 4.0 s",
        ),
        (
            steps(*[(what, 3 * turn + at, took) for turn in range(6)
                    for what, at, took in ((What.WAITED, 0, 1), (What.FAILED, 3, 2))]),
            [("queued", 1), ("failed", 2)] * 6,
            "Waited 6.0 s, ran 12 s, in 12 stretches",
        ),
    ],
)  # fmt: skip
def test_divides_what_is_over_into_stretches(found: list[Step], drawn: list[tuple[str, float]], said: str) -> None:
    over = stretches(found)

    assert [(each.look, each.seconds) for each in over] == drawn
    assert told(over) == said


TIMED = some.tuples(some.sampled_from(What), some.floats(0, 1e6), some.none() | some.floats(0, 1e6))


@given(some.lists(TIMED, max_size=30))
def test_draws_no_stretch_of_less_than_no_time(given: list[tuple[What, float, float | None]]) -> None:
    over = stretches(steps(*given))

    assert [each for each in over if each.seconds <= 0 or each.look not in LOOKS] == []
    assert sum(each.seconds for each in over) <= 2e6 + 1
    assert told(over)


def strip(browser: Browser, job: object) -> str:
    [found] = browser.page(f"/ui/jobs/{job}").all("svg", class_="bar strip")
    return found.given["aria-label"]


def test_draws_how_the_time_of_a_job_was_divided_and_again_only_when_something_happens(
    browser: Browser, conn: Connection, sql: Sql, monkeypatch: pytest.MonkeyPatch
) -> None:
    job, find = enqueue(conn, kind="unknown"), sessions.find_session
    waits = strip(browser, job)
    sql("UPDATE haulier.job SET created_at = now() - interval '10 seconds', run_at = now() - interval '10 seconds'")
    _, [fence] = claim(conn)
    runs = strip(browser, job)
    seen = browser.page(f"/ui/jobs/{job}").all("main")[0].given["data-seen"]

    def later(*args: Any) -> Any:
        found = find(*args)
        return found and replace(found, now=found.now + timedelta(minutes=1))

    monkeypatch.setattr(sessions, "find_session", later)
    poll = browser.get(f"/ui/jobs/{job}", Haulier_Live=seen)
    end(conn, fence, Outcome.complete())
    page = browser.page(f"/ui/jobs/{job}")

    assert waits == "Nothing has finished yet"
    assert re.fullmatch(r"Waited 1\d s", runs)
    assert poll.status_code == 204
    assert re.fullmatch(r"Waited 1\d s, ran [0-9.]+ m?s", strip(browser, job))
    [legend] = page.all("ul", class_="legend")
    assert [each.text for each in legend.all("li")] == ["waited", "ran and succeeded"]


def change_of(page: Element, path: str, **typed: str) -> dict[str, str]:
    return {**form(page, f"{path}/change"), **typed}


def test_changes_what_was_changed_in_the_form_and_nothing_that_others_have_changed(
    browser: Browser, conn: Connection, sql: Sql
) -> None:
    job = enqueue(conn, queue="mail")
    path = f"/ui/jobs/{job}"
    page = browser.page(path)
    produce.change(conn, job, Changes.of(priority=5, queue="post", delay_seconds=3600), actor="ops-bert")

    changed = browser.post(f"{path}/change", **change_of(page, path, max_attempts="9"))

    assert changed.status_code == 303
    assert sql("SELECT priority, queue, max_attempts, run_at > now() FROM haulier.job") == [(5, "post", 9, True)]


@pytest.mark.parametrize(
    ("theirs", "typed", "now"),
    [
        ({"priority": 5}, {"priority": "7"}, {"priority": "5"}),
        ({"queue": "post"}, {"queue": "bulk", "priority": "7"}, {"queue": "post", "priority": "0"}),
        ({"delay_seconds": 3600}, {"due": "2h"}, {"due": ""}),
    ],
)
def test_says_what_it_is_now_where_somebody_else_has_changed_the_same(
    browser: Browser, conn: Connection, sql: Sql, theirs: dict[str, Json], typed: dict[str, str], now: dict[str, str]
) -> None:
    job = enqueue(conn, queue="mail")
    path = f"/ui/jobs/{job}"
    page = browser.page(path)
    produce.change(conn, job, Changes.of(**theirs), actor="ops-bert")

    clash = browser.post(f"{path}/change", **change_of(page, path, **typed))
    shown = read(clash.text)
    again = browser.post(f"{path}/change", **change_of(shown, path, **typed))

    assert (clash.status_code, faults(shown)) == (409, [])
    assert "Somebody has changed this meanwhile" in shown.text
    assert {name: form(shown, f"{path}/change")[name] for name in now} == now
    assert again.status_code == 303
    assert sql("SELECT count(*) FROM haulier.audit WHERE action = 'change'") == [(2,)]


def test_takes_a_change_that_somebody_else_has_made_too(browser: Browser, conn: Connection) -> None:
    path = f"/ui/jobs/{enqueue(conn)}"
    page = browser.page(path)

    answers = [browser.post(f"{path}/change", **change_of(page, path, priority="7")) for _ in range(2)]

    assert [answer.status_code for answer in answers] == [303, 303]


def test_keeps_what_the_form_has_shown_where_a_field_is_wrong(browser: Browser, conn: Connection) -> None:
    job = enqueue(conn)
    path = f"/ui/jobs/{job}"

    refused = browser.post(f"{path}/change", **change_of(browser.page(path), path, priority="many"))
    produce.change(conn, job, Changes.of(priority=5))
    clash = browser.post(f"{path}/change", **change_of(read(refused.text), path, priority="7"))

    assert (refused.status_code, clash.status_code) == (422, 409)


def test_lets_nobody_change_a_job_between_the_look_at_it_and_the_change(
    site: Flask, conn: Connection, database: str, sql: Sql
) -> None:
    job, seen = enqueue(conn), []

    def asked(found: StoredJob) -> tuple[Changes, None]:
        seen.append(found.priority)
        if len(seen) == 2:
            with (
                closing(connect(database)) as other,
                pytest.raises(errors.LockNotAvailable),
                transaction(other, lock_seconds=0.1),
            ):
                produce.change(other, job, Changes.of(priority=5))
        return Changes.of(priority=7), None

    with site.test_request_context():
        g.caller = NOBODY
        changed_as_it_is(job, asked)

    assert seen == [0, 0]
    assert sql("SELECT priority FROM haulier.job") == [(7,)]


def test_leads_to_its_kind_though_that_was_retired(browser: Browser, conn: Connection) -> None:
    page = browser.page(f"/ui/jobs/{enqueue(conn, kind='retired')}")

    [link] = [each.given["href"] for each in page.all("a") if each.text == "the kind"]

    assert "Nothing here knows a kind of this name" in browser.page(link).text


ACTS = ("Run now", "Change it…", "Cancel", "Ask it to stop", "Retry", "Delete it…")


@pytest.mark.parametrize(
    ("status", "forbidden"),
    [
        ("queued", {"Run now": "Its time has come already.",
          "Retry": "Only a job that has failed or was cancelled can be queued again.",
          "Delete it…": "It is live: cancel it first."}),
        ("running", {"Run now": "It runs: ask it to stop first.", "Change it…": "It runs: ask it to stop first.",
          "Retry": "Only a job that has failed or was cancelled can be queued again.",
          "Delete it…": "It is live: cancel it first."}),
        ("failed_permanent", {"Run now": "It has ended.", "Change it…": "It has ended.", "Cancel": "It has ended."}),
    ],
)  # fmt: skip
def test_shows_what_the_state_forbids_with_the_reason(
    browser: Browser, signed_in: SignedIn, conn: Connection, status: str, forbidden: dict[str, str]
) -> None:
    job = in_all_states(conn)[status]

    page, reader = browser.page(f"/ui/jobs/{job}"), signed_in(Scope.READ).page(f"/ui/jobs/{job}")

    assert disabled(page) == forbidden
    assert disabled(reader).keys() >= {"Change it…", "Delete it…", "Retry", "Run now"}
    assert disabled(reader)["Delete it…"].startswith("This API key lacks")


def disabled(page: Element) -> dict[str, str]:
    """Return the acts that cannot be done, with what is said of each to those who hear the page."""
    buttons = [each for each in page.all("button") if "disabled" in each.given and each.text in ACTS]
    told = {each.given.get("id"): each.text for each in page.below()}
    return {each.text: told[each.given["aria-describedby"]] for each in buttons}


def test_says_the_timeout_also_where_it_is_that_of_the_kind(browser: Browser, conn: Connection) -> None:
    own, of_kind, strange = enqueue(conn, timeout_seconds=90), enqueue(conn), enqueue(conn, kind="strange")

    told = [fact(browser.page(f"/ui/jobs/{job}"), "Timeout") for job in (own, of_kind, strange)]

    assert told == ["1 min 30 s", "2 min, the kind’s own", "the kind’s own, which is not known here"]


def fact(page: Element, name: str) -> str:
    [facts] = page.all("dl", class_="facts")
    told = [each.text for each in facts.below() if each.tag in ("dt", "dd")]
    return told[told.index(name) + 1]


def test_says_of_a_running_job_who_asked_it_to_stop(browser: Browser, signed_in: SignedIn, conn: Connection) -> None:
    job, other = enqueue(conn), enqueue(conn)
    for _ in range(2):
        claim(conn)
    produce.cancel(conn, job, actor="ops-anna")

    pages = [each.page(f"/ui/jobs/{job}").text for each in (browser, signed_in(Scope.READ))]
    listed = {each.given["id"]: each.text for each in browser.page("/ui/jobs?status=running").all("tr") if each.given}
    longest = browser.page("/ui/jobs?status=running&sort=started").text

    assert re.search(r"It was asked to stop by ops-anna\. \d+ (s|min) ago|by ops-anna\. now", pages[0])
    assert "It was asked to stop." in pages[1]
    assert "ops-anna" not in pages[1]
    assert {name: "asked to stop" in text for name, text in listed.items()} == {
        f"job-{job}": True,
        f"job-{other}": False,
    }
    assert longest.count("asked to stop") == 1
