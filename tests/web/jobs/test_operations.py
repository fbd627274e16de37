"""Operations on all jobs of a filter: it ..."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode
from uuid import UUID, uuid4

import pytest
from psycopg2.extensions import connection as Connection

from haulier.domain.api_key import Scope
from haulier.queue import claims
from haulier.queue.operations.work_off import Worker, work_off
from haulier.queue.search import job_list
from tests.web.browsing import Browser, Element, SignedIn, faults, form, read
from tests.web.jobs import enqueue, fail, in_all_states

LIST, NEW, TICKED = "/ui/operations", "/ui/operations/new", "/ui/jobs/ticked"
MAIL = [("queue", "mail")]
Pairs = list[tuple[str, str]]


def previewed(browser: Browser, verb: str, held: Pairs) -> Element:
    """Return the preview to which a button of a list leads if all that match are selected."""
    page = browser.page(f"/ui/jobs?{urlencode(held)}")
    answer = browser.send(page, f"{TICKED}/retry", action=verb, all="1")
    # A browser sends the same form to where it is led.
    assert (answer.status_code, answer.headers["Location"]) == (307, NEW)
    sent = {**form(page, f"{TICKED}/retry"), "action": verb}
    found = read(browser.post(NEW, **sent).text)
    assert faults(found) == []
    return found


def started(browser: Browser, verb: str, held: Pairs, **fields: str) -> UUID:
    """Start an operation as its pages lead one, and return its id."""
    answer = browser.send(previewed(browser, verb, held), LIST, **fields)
    assert answer.status_code == 303, answer.text
    return UUID(answer.headers["Location"].rpartition("/")[2])


def let_begin(sql) -> None:
    sql("UPDATE haulier.operation SET starts_at = now() - interval '1 second', next_at = now() - interval '1 second'")


def worked_off(conn: Connection, sql) -> None:
    let_begin(sql)
    by = Worker(uuid4(), 15.0, 15.0)
    for _ in range(100):
        if work_off(conn, by) is None:
            return
    raise AssertionError("it never ends")


@pytest.fixture
def job(conn: Connection) -> UUID:
    return enqueue(conn, queue="mail")


@pytest.fixture
def path(browser: Browser, job: UUID) -> str:
    """Give the path of an operation that cancels it in ten seconds."""
    return f"{LIST}/{started(browser, 'cancel', MAIL)}"


def test_previews_and_does_nothing(browser: Browser, conn: Connection, sql) -> None:
    for queue in ["mail"] * 7 + ["other"]:
        enqueue(conn, queue=queue)
    jobs = "SELECT id, status, updated_at FROM haulier.job ORDER BY id"
    before = sql(jobs)

    page = previewed(browser, "cancel", MAIL)

    assert "7 jobs" in page.text
    assert "7 send_email" in page.text
    assert len([each for each in page.all("tr") if each.all("th", class_="lead")]) == 5
    assert [each.text for each in page.all("button", class_="main")] == ["Cancel 7"]
    assert sql(jobs) == before
    assert sql("SELECT count(*) FROM haulier.operation") == [(0,)]


def test_takes_no_filter_that_it_does_not_understand(browser: Browser, job: UUID, sql) -> None:
    hidden = form(browser.page("/ui/jobs"), f"{TICKED}/retry")

    for verb, fields, why in (
        ("cancel", {"status": "nonsense", "queue": "mail"}, "no such status"),
        ("cancel", {"queue": "a b"}, "not a valid queue name"),
        ("cancel", {"queue": "mail", "after": "yesterday"}, "not a time"),
        ("cancel", {"payload.a": ["1", "2"]}, "Must be given only once"),
        ("retry", {"status": "queued"}, "can be acted on by retry"),
        ("burn", {"queue": "mail"}, "Must be one of"),
    ):
        sent: Any = {**hidden, **fields, "action": verb, "as_of": "2026-01-01T00:00:00+00:00", "every": "1"}
        answers = [browser.post(path, **sent) for path in (NEW, LIST)]
        assert [(each.status_code, why in each.text) for each in answers] == [(422, True)] * 2, fields

    assert sql("SELECT count(*) FROM haulier.operation") == [(0,)]
    offers = [len(browser.page(f"/ui/jobs{query}").all("input", name="all")) for query in ("", "?status=nonsense")]
    assert offers == [1, 0]
    assert NEW not in browser.page(f"{NEW}?status=nonsense&action=retry").actions()


ACTS: dict[str, tuple[str, Pairs, dict[str, str], dict[str, str]]] = {
    "cancel": ("cancel", [("status", "queued")], {}, {"queued": "cancelled"}),
    "retry": ("retry", [("kind", "send_email")], {}, {"failed_permanent": "queued", "cancelled": "queued"}),
    "spread": (
        "retry",
        [("tag", "night"), ("status", "failed")],
        {"spread": "10m", "to_max_attempts": "9"},
        {"failed_permanent": "queued"},
    ),
    "delete": ("delete", [("status", "succeeded")], {"sure": "1"}, {"succeeded": "gone"}),
    "run now": ("run-now", [("status", "retrying")], {}, {}),
    "change": ("change", [("queue", "retrying")], {"to_priority": "7", "to_due": "2h", "spread": "5m"}, {}),
}


@pytest.mark.parametrize("name", ACTS)
def test_acts_on_the_jobs_that_match_and_on_no_other(browser: Browser, conn: Connection, sql, name: str) -> None:
    verb, held, fields, after = ACTS[name]
    jobs = in_all_states(conn)

    page = previewed(browser, verb, held)
    late = enqueue(conn)
    place = browser.send(page, LIST, **fields).headers["Location"]
    worked_off(conn, sql)

    found = {str(job.id): str(job.status) for job in job_list.get_jobs(conn, [*jobs.values(), late])}
    assert {name: found.get(str(job), "gone") for name, job in jobs.items()} == {
        name: after.get(name, name) for name in jobs
    }
    assert found[str(late)] == "queued"
    changed = sql("SELECT queue FROM haulier.job WHERE priority = 7 AND run_at > now() + interval '1 hour'")
    assert changed == ([("retrying",)] if verb == "change" else [])
    assert sql("SELECT count(*) FROM haulier.job WHERE max_attempts = 9") == [(int(name == "spread"),)]
    assert "It has ended" in browser.page(place).text
    assert sql("SELECT done FROM haulier.operation") == [(max(1, len(after)),)]


def test_asks_again_before_it_acts_on_every_job_or_deletes(browser: Browser, conn: Connection, sql) -> None:
    in_all_states(conn)
    every, deletion = previewed(browser, "cancel", []), previewed(browser, "delete", [("status", "succeeded")])

    browser.refused(every, LIST)
    for sure in ("", "2", "all"):
        assert "Type the number of jobs" in browser.refused(deletion, LIST, sure=sure).text
    taken = browser.send(every, LIST, every="1")
    beside = previewed(browser, "cancel", MAIL).one("p", id="open-operations")

    assert sql("SELECT filter FROM haulier.operation") == [({"all": True},)]
    assert [each.attrs["href"] for each in beside.all("a")] == [taken.headers["Location"]]


def test_starts_one_operation_if_the_form_is_sent_twice(browser: Browser, job: UUID, sql) -> None:
    page = previewed(browser, "change", MAIL)

    first, second = (browser.send(page, LIST, to_priority="7").headers["Location"] for _ in range(2))
    seen = browser.page(second)
    other = browser.refused(page, LIST, to_priority="8")
    again = browser.send(other, LIST, to_priority="8")

    assert first == second
    assert "Already started." in seen.text
    assert f"{first}/cancel" in seen.actions()
    assert ("with other values" in other.text, again.status_code) == (True, 303)
    assert sql("SELECT changes FROM haulier.operation ORDER BY id") == [({"priority": 7},), ({"priority": 8},)]
    # It previews again if the preview is gone.
    page = previewed(browser, "cancel", MAIL)
    sql("DELETE FROM haulier.preview")
    gone = browser.refused(page, LIST).text
    assert ("There is no stored preview" in gone, "Cancel 1" in gone) == (True, True)


def test_waits_ten_seconds_in_which_it_can_be_taken_back(
    browser: Browser, conn: Connection, sql, job: UUID, path: str
) -> None:
    page = browser.page(path)
    taken_back = browser.send(page, f"{path}/cancel")

    assert "Starts in" in page.text
    assert sql("SELECT starts_at - created_at BETWEEN '9 seconds' AND '11 seconds' FROM haulier.operation") == [(True,)]
    assert taken_back.status_code == 303
    worked_off(conn, sql)
    assert sql("SELECT id, status FROM haulier.job") == [(job, "queued")]
    assert browser.send(browser.page(path), f"{path}/resume").status_code == 303
    page = browser.page(path)
    worked_off(conn, sql)
    assert sql("SELECT status FROM haulier.jobs") == [("cancelled",)]
    # Too late.
    refused = browser.refused(page, f"{path}/cancel", 409)
    assert ("Nothing was done" in refused.text, "It has ended" in refused.text) == (True, True)
    assert "data-live-every" not in refused.one("main").attrs
    assert "queue mail" in next(iter(browser.page(LIST).rows().values())).text


def test_is_worked_off_by_the_page_that_watches_it_unless_a_worker_lives(
    browser: Browser, conn: Connection, sql, path: str
) -> None:
    advance = f"{path}/advance"
    waits = browser.page(path)
    let_begin(sql)
    page = browser.page(path)
    worker = claims.register(conn, host="dock", pid=7, threads=4, queues=(), lease_seconds=600)
    browser.forget()
    beside = browser.page(path)
    claims.deregister(conn, worker)
    browser.forget()

    for _ in range(3):
        assert browser.send(page, advance).status_code == 303

    assert [advance in each.actions() for each in (waits, page, beside)] == [False, True, False]
    assert page.one("form", action=advance).attrs["data-advance"] == ""
    assert sql("SELECT status FROM haulier.operation") == [("done",)]
    assert sql("SELECT status FROM haulier.jobs") == [("cancelled",)]


def test_lets_nobody_proceed_with_a_deletion_but_admins(
    browser: Browser, signed_in: SignedIn, conn: Connection, sql
) -> None:
    in_all_states(conn)
    one = f"{LIST}/{started(browser, 'delete', [('status', 'succeeded')], sure='1')}"
    operator = signed_in(Scope.READ, Scope.OPERATE)
    wanted = {"action": "delete", "status": "succeeded"}

    answers = [operator.act(path, **wanted) for path in (NEW, LIST)]
    answers += [operator.act(f"{one}/{act}") for act in ("advance", "cancel", "resume")]

    assert [each.status_code for each in answers] == [403, 403, 403, 303, 403]
    assert "Delete" not in operator.page(f"{NEW}?status=succeeded").all("fieldset")[0].text
    assert sql("SELECT status FROM haulier.operation") == [("cancelled",)]


def timed(sql, **values: object) -> None:
    """Have every operation run for 500 s now, with these values."""
    columns = {"status": "running", "matched": 10_000, "matched_is": "exact", "done": 1_000, "timed_from": 0, **values}
    sql(
        f"UPDATE haulier.operation SET timed_since = now() - interval '500 seconds', starts_at = now(),"
        f" {', '.join(f'{name} = %s' for name in columns)}",
        *columns.values(),
    )


def test_estimates_by_how_fast_the_last_operation_was(browser: Browser, conn: Connection, sql) -> None:
    jobs = [enqueue(conn, queue="mail") for _ in range(8)]
    first = previewed(browser, "cancel", MAIL).text
    started(browser, "cancel", MAIL)
    timed(sql, status="done", finished_at=datetime.now(UTC))

    second = previewed(browser, "cancel", MAIL).text
    other = previewed(browser, "change", MAIL).text
    sql("UPDATE haulier.operation SET done = 100")
    too_few = previewed(browser, "cancel", MAIL).text

    assert "not known yet" in first
    assert "It takes about 4.0 s: the last cancel did 2 jobs a second, " in second
    assert "It takes about 4.0 s: the last cancel did 2 jobs a second, " in other
    assert "not known yet" in too_few
    assert len(jobs) == 8


def test_shows_percent_and_time_left_only_of_a_known_total(browser: Browser, sql, path: str) -> None:
    def shown(**values: object) -> tuple[str, str, int]:
        timed(sql, **values)
        browser.forget()
        page = browser.page(path)
        header = page.one("section", **{"aria-labelledby": "progress"}).all("header")[0]
        done = browser.page(LIST).rows()[path.rpartition("/")[2]].cells()["done"]
        return header.text, done, len(page.all("progress"))

    assert shown() == ("10 % 2 jobs a second, about 1 h 15 min left", "1,000 10 %", 1)
    # It was resumed 500 s ago: the time before that says nothing.
    assert shown(done=9_000, timed_from=4_000)[0] == "90 % 10 jobs a second, about 1 min 40 s left"
    assert shown(done=9_999, matched_is="about")[0] == "about 99 % 20 jobs a second, about 0 ms left"
    assert shown(matched_is="more_than", matched=1_000) == ("Running 2 jobs a second", "1,000", 0)
    # More than were counted.
    assert shown(matched_is="about", matched=999) == ("Running 2 jobs a second", "1,000", 0)


def test_shows_the_text_of_an_error_and_the_words_of_states(browser: Browser, conn: Connection) -> None:
    group = fail(conn, "No route to the shop")
    held = [("status", "failed"), ("error", group)]

    preview = previewed(browser, "retry", held)
    path = f"{LIST}/{started(browser, 'retry', held)}"

    for page in (preview, browser.page(path)):
        chips = {each.text for each in page.all("span", class_="chip")}
        assert chips == {"status failed", "error No route to the shop"}
        assert page.all("b", title=group)
    [row] = browser.page(LIST).rows().values()
    assert "error No route to the shop , status failed" in row.text
