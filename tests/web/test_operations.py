"""Operations on all jobs of a filter: it ..."""

from __future__ import annotations

from datetime import UTC
from typing import Any
from urllib.parse import urlencode
from uuid import UUID, uuid4

import pytest
from psycopg2.extensions import connection as Connection

from app.web.bulk import VERBS, read_choices
from haulier.domain.api_key import Scope
from haulier.queue import consume, produce
from haulier.queue.produce.work_off import Worker, work_off
from tests.web.browsing import SAME, Browser, Element, faults, form, read
from tests.web.conftest import MakeSite, SignedIn
from tests.web.jobs import enqueue, in_all_states

NEW = "/ui/operations/new"
Pairs = list[tuple[str, str]]


def previewed(browser: Browser, verb: str, held: Pairs, status: int = 200) -> Element:
    """Return the preview to which the button below a list leads."""
    path = f"/ui/jobs?{urlencode(held)}"
    given: Any = {**form(browser.page(path), NEW), "action": verb}
    answer = browser.client.post(NEW, data=given, headers=SAME, base_url=browser.base_url)
    assert answer.status_code == status, answer.text
    page = read(answer.text)
    assert faults(page) == []
    return page


def started(browser: Browser, verb: str, held: Pairs, **fields: str) -> UUID:
    """Start an operation as its pages lead one, and return its id."""
    answer = browser.send(previewed(browser, verb, held), "/ui/operations", **fields)
    assert answer.status_code == 303, answer.text
    return UUID(answer.headers["Location"].rpartition("/")[2])


def let_begin(sql: Any) -> None:
    """Let the time of what was started have come."""
    sql("UPDATE haulier.operation SET starts_at = now() - interval '1 second', next_at = now() - interval '1 second'")


def worked_off(conn: Connection, sql: Any) -> None:
    """Have everything done that was started."""
    let_begin(sql)
    by = Worker(uuid4(), 15.0, 15.0)
    for _ in range(100):
        if work_off(conn, by) is None:
            return
    raise AssertionError("it never ends")


def test_previews_and_does_nothing(browser: Browser, conn: Connection, sql) -> None:
    for _ in range(7):
        enqueue(conn, queue="mail")
    enqueue(conn, queue="other")
    before = sql("SELECT id, status, updated_at FROM haulier.job ORDER BY id")

    page = previewed(browser, "cancel", [("queue", "mail")])

    assert "7 jobs" in page.text
    assert "7 send_email" in page.text
    assert len([each for each in page.all("tr") if each.all("th", class_="lead")]) == 5
    assert [each.text for each in page.all("button", class_="main")] == ["Cancel 7"]
    assert sql("SELECT id, status, updated_at FROM haulier.job ORDER BY id") == before
    assert sql("SELECT count(*) FROM haulier.operation") == [(0,)]


def test_names_open_operations_that_may_act_on_the_same_jobs(browser: Browser, conn: Connection) -> None:
    enqueue(conn, queue="mail")
    alone = previewed(browser, "cancel", [("queue", "mail")])
    first = started(browser, "change", [("queue", "mail")], to_priority="7")

    [beside] = previewed(browser, "cancel", [("queue", "mail")]).all("p", id="open-operations")

    assert not alone.all("p", id="open-operations")
    assert [each.given["href"] for each in beside.all("a")] == [f"/ui/operations/{first}"]


@pytest.mark.parametrize(
    ("verb", "held", "fields", "after"),
    [
        ("cancel", [("status", "queued")], {}, {"queued": "cancelled"}),
        ("retry", [("kind", "send_email")], {}, {"failed_permanent": "queued", "cancelled": "queued"}),
        (
            "retry",
            [("tag", "night"), ("status", "failed_permanent")],
            {"spread": "10m"},
            {"failed_permanent": "queued"},
        ),
        ("delete", [("status", "succeeded")], {"sure": "1"}, {"succeeded": "gone"}),
        ("run-now", [("status", "retrying")], {}, {}),
        ("change", [("queue", "mail")], {"to_priority": "7"}, {}),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_does_it_to_those_that_match_and_to_no_other(
    browser: Browser, conn: Connection, sql, verb: str, held: Pairs, fields: dict[str, str], after: dict[str, str]
) -> None:
    jobs = in_all_states(conn)

    operation = started(browser, verb, held, **fields)
    worked_off(conn, sql)

    found = {str(job.id): str(job.status) for job in produce.look.get_jobs(conn, jobs.values())}
    assert {name: found.get(str(job), "gone") for name, job in jobs.items()} == {
        name: after.get(name, name) for name in jobs
    }
    page = browser.page(f"/ui/operations/{operation}")
    assert "It has ended" in page.text
    assert "every" not in page.all("main")[0].given
    [[done, actor]] = sql("SELECT done, actor FROM haulier.operation")
    assert done == max(1, len(after))
    assert actor == browser.key.id


def test_changes_what_its_fields_say(browser: Browser, conn: Connection, sql) -> None:
    enqueue(conn, queue="mail")
    enqueue(conn, queue="other")

    started(browser, "change", [("queue", "mail")], to_queue="post", to_priority="7", to_due="2h", spread="5m")
    worked_off(conn, sql)

    assert sql("SELECT queue, priority, run_at > now() + interval '1 hour' FROM haulier.job ORDER BY queue") == [
        ("other", 0, False),
        ("post", 7, True),
    ]


def test_acts_on_none_that_came_after_the_preview(browser: Browser, conn: Connection, sql) -> None:
    early = enqueue(conn, queue="mail")
    page = previewed(browser, "cancel", [("queue", "mail"), ("after", "2h")])
    late = enqueue(conn, queue="mail")

    browser.send(page, "/ui/operations")
    worked_off(conn, sql)

    assert dict(sql("SELECT id::text, status FROM haulier.jobs")) == {str(early): "cancelled", str(late): "queued"}


def test_waits_ten_seconds_in_which_it_can_be_taken_back(browser: Browser, conn: Connection, sql) -> None:
    job = enqueue(conn, queue="mail")
    path = f"/ui/operations/{started(browser, 'cancel', [('queue', 'mail')])}"

    page = browser.page(path)
    taken_back = browser.send(page, f"{path}/cancel")

    assert "It begins" in page.text
    assert sql("SELECT starts_at - created_at BETWEEN '9 seconds' AND '11 seconds' FROM haulier.operation") == [(True,)]
    assert taken_back.status_code == 303
    worked_off(conn, sql)
    assert sql("SELECT id, status FROM haulier.job") == [(job, "queued")]
    again = browser.page(path)
    assert browser.send(again, f"{path}/resume").status_code == 303
    worked_off(conn, sql)
    assert sql("SELECT status FROM haulier.jobs") == [("cancelled",)]


def test_says_where_it_is_over_that_nothing_was_done(browser: Browser, conn: Connection, sql) -> None:
    enqueue(conn, queue="mail")
    path = f"/ui/operations/{started(browser, 'cancel', [('queue', 'mail')])}"
    page = browser.page(path)
    worked_off(conn, sql)

    refused = browser.send(page, f"{path}/cancel")

    assert refused.status_code == 409
    assert "Nothing was done" in refused.text
    assert "It has ended" in refused.text


def test_is_worked_off_by_who_watches_where_no_worker_lives(browser: Browser, conn: Connection, sql) -> None:
    enqueue(conn, queue="mail")
    path = f"/ui/operations/{started(browser, 'cancel', [('queue', 'mail')])}"
    assert browser.page(path).all("form", action=f"{path}/advance") == []
    let_begin(sql)

    page = browser.page(path)
    for _ in range(3):
        assert browser.send(page, f"{path}/advance").status_code == 303

    assert [form.given.get("data-advance") for form in page.all("form", action=f"{path}/advance")] == [""]
    assert sql("SELECT status FROM haulier.operation") == [("done",)]
    assert sql("SELECT status FROM haulier.jobs") == [("cancelled",)]


def test_leaves_it_to_a_worker_where_one_lives(browser: Browser, conn: Connection, sql) -> None:
    enqueue(conn, queue="mail")
    path = f"/ui/operations/{started(browser, 'cancel', [('queue', 'mail')])}"
    consume.register(conn, host="dock", pid=7, threads=4, queues=(), lease_seconds=30)
    let_begin(sql)

    page = browser.page(path)

    assert page.all("form", action=f"{path}/advance") == []


@pytest.mark.parametrize("sure", ["", "2", "all"])
def test_deletes_nothing_unless_it_was_said_how_many(browser: Browser, conn: Connection, sql, sure: str) -> None:
    in_all_states(conn)

    refused = browser.send(previewed(browser, "delete", [("status", "succeeded")]), "/ui/operations", sure=sure)

    assert refused.status_code == 422
    assert "type how many" in refused.text
    assert sql("SELECT count(*) FROM haulier.operation") == [(0,)]


def test_acts_on_every_job_only_where_that_was_said(browser: Browser, conn: Connection, sql) -> None:
    in_all_states(conn)
    page = previewed(browser, "cancel", [])

    refused = browser.send(page, "/ui/operations")
    taken = browser.send(page, "/ui/operations", every="1")

    assert (refused.status_code, taken.status_code) == (422, 303)
    assert sql("SELECT filter FROM haulier.operation") == [({"all": True},)]


@pytest.mark.parametrize(
    ("verb", "fields", "why"),
    [
        ("cancel", {"status": "nonsense", "queue": "mail"}, "no such status"),
        ("cancel", {"queue": "a b"}, "no queue can have this name"),
        ("cancel", {"queue": "mail", "after": "yesterday"}, "not a time"),
        ("cancel", {"payload.a": ["1", "2"]}, "Given more than once"),
        ("retry", {"status": "queued"}, "can be acted on by retry"),
        ("burn", {"queue": "mail"}, "Must be one of"),
    ],
)
def test_takes_no_filter_that_it_does_not_understand(
    browser: Browser, conn: Connection, sql, verb: str, fields: dict[str, Any], why: str
) -> None:
    enqueue(conn, queue="mail")
    hidden = form(browser.page("/ui/jobs"), NEW)
    sent = {**hidden, **fields, "action": verb, "as_of": "2026-01-01T00:00:00+00:00", "every": "1"}

    answers = [browser.post(path, **sent) for path in (NEW, "/ui/operations")]

    assert [each.status_code for each in answers] == [422, 422]
    assert [why in each.text for each in answers] == [True, True]
    assert sql("SELECT count(*) FROM haulier.operation") == [(0,)]


def test_offers_no_preview_of_a_filter_that_is_not_understood(browser: Browser, conn: Connection) -> None:
    enqueue(conn)

    assert browser.page("/ui/jobs").all("form", action=NEW) != []
    assert browser.page("/ui/jobs?status=nonsense").all("form", action=NEW) == []
    assert browser.page(f"{NEW}?status=nonsense&action=retry").all("form", action=NEW) == []


def test_gives_the_fields_back_with_what_is_wrong_in_them(browser: Browser, conn: Connection, sql) -> None:
    enqueue(conn, queue="mail")
    page = previewed(browser, "change", [("queue", "mail")])

    refused = browser.send(page, "/ui/operations", to_priority="many", to_due="soon", spread="ever")

    assert refused.status_code == 422
    assert [word in refused.text for word in ("from -100 to 100", "Must be now, 10m", "at most 7 days")] == [True] * 3
    assert 'value="many"' in refused.text
    assert browser.send(page, "/ui/operations").status_code == 422
    assert sql("SELECT count(*) FROM haulier.operation") == [(0,)]


def test_previews_again_where_the_preview_is_not_kept(browser: Browser, conn: Connection, sql) -> None:
    enqueue(conn, queue="mail")
    page = previewed(browser, "cancel", [("queue", "mail")])
    sql("DELETE FROM haulier.preview")

    refused = browser.send(page, "/ui/operations")

    assert refused.status_code == 422
    assert "No preview of this action" in refused.text
    assert "Cancel 1" in refused.text


def test_lists_operations_with_what_they_are_about(browser: Browser, conn: Connection, sql) -> None:
    for queue in ("mail", "other"):
        enqueue(conn, queue=queue)
        started(browser, "cancel", [("queue", queue), ("payload.subject", "Hi")])
    worked_off(conn, sql)

    page = browser.page("/ui/operations")

    rows = [each.text for each in page.all("tr") if each.given.get("id", "").startswith("operation-")]
    assert ["payload.subject Hi" in each and "Done" in each for each in rows] == [True, True]
    assert ["other" in rows[0], "mail" in rows[1]] == [True, True]
    assert len(browser.page("/ui/operations?older=nonsense").all("tr")) == 3


def test_pages_through_operations(browser: Browser, conn: Connection, monkeypatch) -> None:
    monkeypatch.setattr("app.web.pages.operations.MOST", 1)
    enqueue(conn, queue="mail")
    ids = [started(browser, "cancel", [("queue", "mail")]) for _ in range(3)]

    seen, path = [], "/ui/operations"
    while path:
        page = browser.page(path)
        seen += [each.given["id"] for each in page.all("tr") if "id" in each.given]
        path = next((each.given["href"] for each in page.all("a", rel="next")), "")

    assert seen == [f"operation-{each}" for each in reversed(ids)]


def test_is_closed_to_who_may_not_operate_and_deletes_for_admins_alone(
    browser: Browser, signed_in: SignedIn, make_site: MakeSite, conn: Connection, sql
) -> None:
    in_all_states(conn)
    deletes = started(browser, "delete", [("status", "succeeded")], sure="1")
    reader, operator = signed_in(Scope.READ), signed_in(Scope.READ, Scope.OPERATE)
    read_only = signed_in(Scope.ADMIN, app=make_site(dashboard="read"))

    def sent(by: Browser, path: str, **fields: str) -> int:
        token = by.page("/ui/settings").all("input", name="csrf")[0].given["value"]
        return by.post(path, csrf=token, **fields).status_code

    one = f"/ui/operations/{deletes}"
    assert [reader.get(path).status_code for path in ("/ui/operations", NEW, one)] == [403] * 3
    for by in (reader, read_only):
        paths = (NEW, "/ui/operations", *(f"{one}/{verb}" for verb in ("cancel", "resume", "advance")))
        assert [sent(by, path, action="cancel", queue="mail") for path in paths] == [403] * 5
        assert by.page("/ui/jobs").all("form", action=NEW) == []
    assert [sent(operator, path, action="delete", status="succeeded") for path in (NEW, "/ui/operations")] == [403, 403]
    assert sent(operator, f"{one}/advance") == 403
    assert "Delete" not in operator.page(f"{NEW}?status=succeeded").all("fieldset")[0].text
    assert sent(operator, f"{one}/cancel") == 303
    assert sent(operator, f"{one}/resume") == 403
    assert sql("SELECT status FROM haulier.operation") == [("cancelled",)]


def test_keeps_a_key_of_one_queue_to_that(browser: Browser, signed_in: SignedIn, conn: Connection, sql) -> None:
    own_job, other_job = enqueue(conn, queue="mail"), enqueue(conn, queue="salmon")
    hidden = started(browser, "cancel", [("queue", "salmon")])
    sql("UPDATE haulier.operation SET status = 'cancelled', finished_at = now()")
    own = signed_in(Scope.READ, Scope.OPERATE, queues=["mail"])

    page = previewed(own, "cancel", [("kind", "send_email")])
    moved = own.send(previewed(own, "change", [("kind", "send_email")]), "/ui/operations", to_queue="salmon")
    own.send(page, "/ui/operations")
    worked_off(conn, sql)

    assert "1 job" in page.text
    assert "salmon" not in page.text
    assert moved.status_code == 403
    assert dict(sql("SELECT id::text, status FROM haulier.jobs")) == {
        str(own_job): "cancelled",
        str(other_job): "queued",
    }
    assert own.get(f"/ui/operations/{hidden}").status_code == 404
    assert "salmon" not in own.page("/ui/operations").text


def test_answers_204_until_it_goes_on(browser: Browser, conn: Connection, sql) -> None:
    enqueue(conn, queue="mail")
    path = f"/ui/operations/{started(browser, 'cancel', [('queue', 'mail')])}"
    sql("UPDATE haulier.operation SET starts_at = now() + interval '1 hour'")
    seen = browser.page(path).all("main")[0].given

    assert seen["data-live-every"] == "1"
    assert browser.get(path, Haulier_Live=seen["data-seen"]).status_code == 204
    worked_off(conn, sql)
    fresh = browser.get(path, Haulier_Live=seen["data-seen"])
    assert fresh.status_code == 200
    assert "data-live-every" not in fresh.text


def test_knows_no_other_operation(browser: Browser) -> None:
    browser.page(f"/ui/operations/{uuid4()}", 404)


@pytest.mark.parametrize(
    ("verb", "given", "changes", "spread", "faults"),
    [
        ("retry", {"spread": "2h", "to_queue": "x"}, {}, 7200, set()),
        ("cancel", {"spread": "2h"}, {}, 0, set()),
        ("run-now", {}, {"delay_seconds": 0}, 0, set()),
        ("change", {"to_queue": "x"}, {"queue": "x"}, 0, set()),
        ("change", {"to_queue": "x", "spread": "1h"}, {"queue": "x"}, 3600, {"spread"}),
        ("change", {"to_due": "10m", "spread": "7d"}, {"delay_seconds": 600}, 604_800, set()),
        ("retry", {"spread": "8d"}, {}, 691_200, {"spread"}),
        ("change", {}, {}, 0, {"queue"}),
    ],
)
def test_reads_what_is_filled_in(
    verb: str, given: dict[str, str], changes: dict[str, Any], spread: int, faults: set[str]
) -> None:
    found = read_choices(given, VERBS[verb], UTC)

    assert (dict(found.changes), found.spread_seconds, set(found.faults)) == (changes, spread, faults)
