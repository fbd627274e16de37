"""The form that retries a job with another payload, and what stays on record of the original: it ..."""

from __future__ import annotations

import json
import re
import sys
from typing import Any
from uuid import UUID

import pytest
from psycopg2.extensions import connection as Connection

from haulier.domain.api_key import Scope
from haulier.domain.outcome import Outcome
from haulier.queue import jobs
from haulier.queue.jobs.change import Changes
from haulier.queue.upkeep.purge import purge_audit
from tests.web.browsing import Browser, Element, MakeSite, SignedIn
from tests.web.jobs import EMAIL, claim, end, enqueue


def failed(conn: Connection, payload: dict[str, Any] | None = None, **options: Any) -> UUID:
    """Return the id of a job that has failed."""
    job = enqueue(conn, payload, **options)
    _, [fence] = claim(conn, options.get("queue", "default"))
    end(conn, fence, Outcome.fail_for_good("no luck"))
    return job


@pytest.fixture
def job(conn: Connection) -> UUID:
    return failed(conn, queue="mail")


@pytest.fixture
def form(job: UUID) -> str:
    return f"/ui/jobs/{job}/edit"


def test_retries_the_job_with_what_was_edited_and_shows_the_original(
    browser: Browser, signed_in: SignedIn, sql, job: UUID, form: str
) -> None:
    operator = signed_in(Scope.READ, Scope.OPERATE)
    page = operator.page(form)

    done = operator.send(page, form, **{"p.subject": "Second try", "p.body": "Hello.", "priority": "7"})

    assert (done.status_code, done.headers["Location"]) == (303, f"/ui/jobs/{job}")
    stored = "SELECT id, status, attempts, priority, payload FROM haulier.job"
    assert sql(stored) == [(job, "queued", 0, 7, {**EMAIL, "subject": "Second try"})]
    shown, reader = browser.page(f"/ui/jobs/{job}"), signed_in(Scope.READ).page(f"/ui/jobs/{job}")
    [changes] = [each.text for each in shown.one("ol", class_="steps").all("ul")]
    assert changes == 'payload.subject: "Hi" → "Second try" priority: 0 → 7'
    original = [each for each in shown.all("details") if "Show the original" in each.text]
    assert json.loads(original[0].one("pre").text) == EMAIL
    assert operator.key is not None
    assert [f"Payload changed by {operator.key.name}" in each.text for each in (shown, reader)] == [True, False]


def test_offers_the_form_for_failed_and_cancelled_jobs_to_operators(
    browser: Browser, signed_in: SignedIn, conn: Connection, job: UUID, form: str
) -> None:
    queued = enqueue(conn, queue="mail")
    reader = signed_in(Scope.READ).page(f"/ui/jobs/{job}")

    [button] = [each for each in reader.all("button") if each.text == "Edit and retry…"]
    assert button.attrs["title"] == "This API key lacks the scope operate."
    assert browser.page(f"/ui/jobs/{job}").links("Edit and retry…") == [form]
    assert browser.page(f"/ui/jobs/{queued}").links("Edit and retry…") == []
    assert "Only failed or cancelled jobs" in browser.page(f"/ui/jobs/{queued}/edit").text
    own = signed_in(Scope.ADMIN, queues=["other"])
    assert (own.get(form).status_code, own.act(form).status_code) == (404, 404)


def test_keeps_masked_secrets_and_shows_none_of_them(
    make_site: MakeSite, signed_in: SignedIn, conn: Connection, sql, own_kinds: None, monkeypatch
) -> None:
    monkeypatch.delitem(sys.modules, "tests.hostile.secretive", raising=False)
    operator = signed_in(Scope.READ, Scope.OPERATE, app=make_site(kinds=("tests.hostile.secretive",)))
    job = failed(conn, {"how": "raise", "token": "swordfish"}, kind="secretive")
    path = f"/ui/jobs/{job}"

    form = operator.page(f"{path}/edit")
    done = operator.send(form, f"{path}/edit", **{"p.how": "return"})

    token = form.control("p.token")
    assert (token.attrs.get("value", token.text), "swordfish" in form.text) == ("•••", False)
    assert done.status_code == 303, done.text
    assert sql("SELECT payload FROM haulier.job") == [({"how": "return", "token": "swordfish"},)]
    page = operator.page(path)
    assert ("swordfish" in page.text, 'payload.how: "raise" → "return"' in page.text) == (False, True)


def test_refuses_what_the_kind_refuses_and_does_nothing(browser: Browser, sql, job: UUID, form: str) -> None:
    page = browser.page(form)

    bad = browser.refused(page, form, **{"p.to": "nobody", "priority": "1000"})
    worse = browser.refused(page, form, **{"p.to": "nobody"})
    as_json = browser.refused(browser.page(f"{form}?as=json"), f"{form}", payload="[]")

    assert "from -100 to 100" in bad.one("span", id="h-priority").text
    assert "address" in worse.one("span", id="h-p.to").text
    assert worse.control("p.to").attrs["value"] == "nobody"
    assert "Must be a JSON object." in as_json.one("span", id="h-payload").text
    assert sql("SELECT count(*) FROM haulier.job") == [(0,)]
    assert sql("SELECT count(*) FROM haulier.audit WHERE job_id = %s", str(job)) == [(0,)]


def test_shows_the_form_again_if_somebody_retried_the_job_meanwhile(
    browser: Browser, conn: Connection, sql, job: UUID, form: str
) -> None:
    page = browser.page(form)
    jobs.retry(conn, job, Changes.of(payload={**EMAIL, "subject": "Theirs"}), actor="ops-bert")
    live = browser.refused(page, form, 409, **{"p.subject": "Mine"})
    _, [fence] = claim(conn, "mail")
    end(conn, fence, Outcome.fail_for_good("no luck"))

    again = browser.refused(page, form, 409, **{"p.subject": "Mine"})

    assert "Nothing was done" in live.text
    assert "Somebody else has retried or changed the job" in again.text
    assert again.control("p.subject").attrs["value"] == "Theirs"
    assert sql("SELECT payload ->> 'subject' FROM haulier.finished_job") == [("Theirs",)]


def test_names_no_queue_in_the_changes_that_the_key_may_not_see(
    signed_in: SignedIn, conn: Connection, job: UUID
) -> None:
    jobs.retry(conn, job, Changes.of(queue="salmon"), actor="ops-bert")
    for queue in ("trout", "own", "salmon", "other"):
        jobs.change(conn, job, Changes.of(queue=queue), actor="ops-bert")

    page = signed_in(Scope.ADMIN, queues=["own", "other"]).page(f"/ui/jobs/{job}")

    shown = [each.text for each in page.one("ol", class_="steps").all("ul")]
    assert shown == ["queue changed", "queue changed", 'queue: → "own"', 'queue: "own" →', 'queue: → "other"']
    assert [name for name in ("mail", "salmon", "trout") if name in page.text.replace("send_email", "")] == []


def test_keeps_of_a_long_payload_what_changed_or_changes_nothing(browser: Browser, conn: Connection, sql) -> None:
    long = {**EMAIL, "body": "x" * 20_000}
    job = failed(conn, long)
    path = f"/ui/jobs/{job}"
    page = browser.page(f"{path}/edit")

    refused = browser.refused(page, f"{path}/edit", **{"p.body": "y" * 20_000})
    done = browser.send(page, f"{path}/edit", **{"p.subject": "Second try", "p.body": long["body"]})

    assert "over 16 KiB" in refused.text
    assert done.status_code == 303
    [[kept]] = sql("SELECT details #> '{changes,payload,old}' FROM haulier.audit WHERE job_id = %s", str(job))
    assert kept == {"subject": "Hi"}
    assert "only the fields that changed are kept" in browser.page(path).text


def sent_by_browsers(page: Element, action: str) -> dict[str, str]:
    """Return what a browser sends of the form if nobody types anything."""
    [form] = page.all("form", action=action)
    sent = {each.attrs["name"]: re.sub(r"[\r\n]", "", each.attrs["value"]) for each in form.all("input")}
    for each in form.all("textarea"):
        text = "".join(str(part) for part in each.children).removeprefix("\n")
        sent[each.attrs["name"]] = re.sub(r"\r\n?|\n", "\r\n", text)
    for each in form.all("select"):
        options = each.all("option")
        selected = [option for option in options if "selected" in option.attrs] or options
        sent[each.attrs["name"]] = selected[0].attrs["value"]
    return sent


def test_changes_no_field_of_a_payload_that_nobody_has_edited(browser: Browser, conn: Connection, sql) -> None:
    payload = {"source": "https://a.b/\rc", "fit": "crop", "format": None, "width": "640", "target": "d\ne"}
    job = failed(conn, {"source": "https://a.b/c"}, kind="resize_image")
    # As an older release of the kind took it.
    sql("UPDATE haulier.finished_job SET payload = %s", json.dumps(payload))
    form = f"/ui/jobs/{job}/edit"
    page = browser.page(form)

    done = browser.post(form, **{**sent_by_browsers(page, form), "priority": "7"})

    assert (page.control("p.fit").one("option", selected="").text, done.status_code) == ("crop", 303)
    assert sql("SELECT payload, priority FROM haulier.job") == [(payload, 7)]


def test_calls_no_payload_the_original_that_was_changed_before(browser: Browser, conn: Connection, job: UUID) -> None:
    # By the API: both payloads are too long for the record.
    long = '{"payload": {"to": "c@d.e", "subject": "Hi", "body": "x"}}', None, '{"old_bytes": 20000}'
    short = '{"payload": {"to": "f@g.h", "subject": "Hi", "body": "x"}}', None, '{"old": {"to": "c@d.e"}, "new": {}}'
    for change in (long, short):
        jobs.retry(conn, job, Changes(*change), actor="ops-bert")
        _, [fence] = claim(conn, "mail")
        end(conn, fence, Outcome.fail_for_good("no luck"))

    page = browser.page(f"/ui/jobs/{job}")

    assert ("c@d.e" in page.text, "too long for the record" in page.text) == (True, True)
    assert "Show the original" not in page.text


def test_shows_no_original_if_the_first_change_may_be_unread(
    browser: Browser, conn: Connection, job: UUID, monkeypatch
) -> None:
    for subject in ("Second", "Third"):
        change = f'{{"payload": {{"subject": "{subject}"}}}}', None, '{"old": {"subject": "Hi"}, "new": {}}'
        jobs.retry(conn, job, Changes(*change), actor="ops-bert")
        _, [fence] = claim(conn, "mail")
        end(conn, fence, Outcome.fail_for_good("no luck"))

    shown = []
    for most in (3, 2):
        monkeypatch.setattr("app.web.pages.jobs.job.MOST_EDITS", most)
        shown.append("Show the original" in browser.page(f"/ui/jobs/{job}").text)

    assert shown == [True, False]


def test_forgets_the_original_payload_no_sooner_than_the_job(conn: Connection, sql, job: UUID) -> None:
    other = failed(conn)
    jobs.retry(conn, job, Changes('{"payload": {"to": "c@d.e"}}', None, '{"old": {}, "new": {}}'), actor="ops-bert")
    jobs.retry(conn, other, actor="ops-bert")
    sql("UPDATE haulier.audit SET at = now() - interval '90 days'")

    purged = [purge_audit(conn, retention_days=30)]
    sql("DELETE FROM haulier.job WHERE id = %s", str(job))
    purged.append(purge_audit(conn, retention_days=30))

    assert purged == [1, 1]
