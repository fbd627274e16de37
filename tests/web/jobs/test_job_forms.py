"""The forms that enqueue and change a job: it ..."""

from __future__ import annotations

import json
import sys
from contextlib import closing
from typing import Any
from uuid import UUID

import pytest
from flask import Flask, g
from psycopg2 import errors
from psycopg2.extensions import connection as Connection

from app.http.acting import changed_as_it_is
from app.http.auth import NOBODY
from app.web.forms.payload_form import fields_of, payload_of, values_of_payload
from app.web.pages.jobs.new_job import without_masks
from haulier.domain.api_key import Scope
from haulier.domain.claim import Failure
from haulier.domain.fingerprint import fingerprint
from haulier.domain.job import Json
from haulier.domain.outcome import Outcome
from haulier.postgres.connection import connect
from haulier.postgres.statements import transaction
from haulier.queue import jobs
from haulier.queue.jobs.change import Changes
from haulier.queue.rows import StoredJob
from tests.web.browsing import Browser, MakeSite, SignedIn, form
from tests.web.jobs import EMAIL, claim, end, enqueue


@pytest.fixture
def job(conn: Connection) -> UUID:
    return enqueue(conn, queue="mail")


@pytest.fixture
def path(job: UUID) -> str:
    return f"/ui/jobs/{job}"


def test_changes_the_fields_that_were_changed_in_the_form(
    browser: Browser, conn: Connection, sql, job: UUID, path: str
) -> None:
    page = browser.page(path)
    # Meanwhile somebody else changes others.
    jobs.change(conn, job, Changes.of(priority=5, queue="post"), actor="ops-bert")

    done = browser.send(page, f"{path}/change", max_attempts="9", due="2h")

    assert done.status_code == 303
    changed = "SELECT priority, queue, max_attempts, run_at > now() + interval '1 hour' FROM haulier.job"
    assert sql(changed) == [(5, "post", 9, True)]


def test_shows_what_a_job_is_now_if_somebody_has_changed_the_same_field(
    browser: Browser, conn: Connection, sql, job: UUID, path: str
) -> None:
    examples: tuple[tuple[dict[str, Json], dict[str, str], dict[str, str]], ...] = (
        ({"queue": "post"}, {"queue": "bulk", "priority": "7"}, {"queue": "post", "priority": "0"}),
        ({"delay_seconds": 3600}, {"due": "2h"}, {"due": ""}),
    )
    old = browser.page(path)
    for theirs, typed, now in examples:
        page = browser.page(path)
        jobs.change(conn, job, Changes.of(**theirs), actor="ops-bert")

        shown = browser.refused(page, f"{path}/change", 409, **typed)
        again = browser.send(shown, f"{path}/change", **typed)

        assert "Somebody else changed this field" in shown.text
        assert {name: form(shown, f"{path}/change")[name] for name in now} == now
        assert again.status_code == 303
    assert sql("SELECT queue, priority, run_at > now() + interval '1 hour' FROM haulier.job") == [("bulk", 7, True)]
    # What somebody else has changed to the same.
    assert browser.send(old, f"{path}/change", priority="7").status_code == 303


def test_compares_with_what_the_form_showed_at_first_if_a_field_is_wrong(
    browser: Browser, conn: Connection, job: UUID, path: str
) -> None:
    refused = browser.refused(browser.page(path), f"{path}/change", priority="many")
    jobs.change(conn, job, Changes.of(priority=5))

    assert browser.send(refused, f"{path}/change", priority="7").status_code == 409


def test_lets_nobody_change_a_job_between_the_look_at_it_and_the_change(
    site: Flask, database: str, sql, job: UUID
) -> None:
    seen: list[int] = []

    def asked(found: StoredJob) -> tuple[Changes, None]:
        seen.append(found.priority)
        if len(seen) == 2:
            with (
                closing(connect(database)) as other,
                pytest.raises(errors.LockNotAvailable),
                transaction(other, lock_seconds=0.1),
            ):
                jobs.change(other, job, Changes.of(priority=5))
        return Changes.of(priority=7), None

    with site.test_request_context():
        g.caller = NOBODY
        changed_as_it_is(job, asked)

    assert seen == [0, 0]
    assert sql("SELECT priority FROM haulier.job") == [(7,)]


def test_moves_no_job_into_other_queues_than_the_api(make_site: MakeSite, signed_in: SignedIn, sql, path: str) -> None:
    browser, new = signed_in(app=make_site(queues_per_key=1)), "/ui/jobs/new"
    own = signed_in(Scope.READ, Scope.OPERATE, queues=["mail"])

    assert own.send(own.page(path), f"{path}/change", queue="salmon").status_code == 403
    done = [browser.send(browser.page(path), f"{path}/change", queue=name).status_code for name in ("one", "two")]
    form = browser.page(f"{new}?kind=send_email")
    done.append(
        browser.send(form, new, queue="three", **{f"p.{name}": text for name, text in EMAIL.items()}).status_code
    )

    assert done == [303, 422, 422]
    assert sql("SELECT queue FROM haulier.job") == [("one",)]


# A new job


NEW = "/ui/jobs/new"
OF_EMAIL = f"{NEW}?kind=send_email"
FILLED = {"p.to": "a@b.c", "p.subject": "Hi", "p.body": "Hello."}


@pytest.mark.parametrize("as_json", [False, True])
def test_enqueues_what_was_typed_once_if_it_is_sent_twice(browser: Browser, sql, as_json: bool) -> None:
    page = browser.page(f"{OF_EMAIL}{'&as=json' if as_json else ''}")
    payload = {"payload": json.dumps(EMAIL)} if as_json else FILLED
    sent = {**payload, "queue": "mail", "priority": "7", "tags": "a, b", "due": "2h", "timeout_seconds": "60"}

    places = [browser.send(page, NEW, **sent).headers["Location"] for _ in range(2)]

    is_later = "run_at > now() + interval '1 hour'"
    [(job, *rest)] = sql(f"SELECT id, payload, queue, priority, tags, timeout_seconds, {is_later} FROM haulier.job")
    assert places == [f"/ui/jobs/{job}"] * 2
    assert rest == [EMAIL, "mail", 7, ["a", "b"], 60, True]


def test_refuses_a_used_idempotency_key_and_a_queue_that_is_not_the_keys(
    browser: Browser, signed_in: SignedIn, sql
) -> None:
    own, sent = signed_in(Scope.ADMIN, queues=["mail"]), {**FILLED, "idempotency_key": "order-7"}
    browser.send(browser.page(OF_EMAIL), NEW, **sent)

    used = browser.refused(browser.page(OF_EMAIL), NEW, **{**sent, "p.subject": "Other"})
    foreign = own.refused(own.page(OF_EMAIL), NEW, **FILLED, queue="salmon")

    assert "Already used for another job." in used.one("span", id="h-idempotency_key").text
    assert "may not use the queue salmon" in foreign.one("span", id="h-queue").text
    assert sql("SELECT count(*) FROM haulier.job") == [(1,)]


def test_fills_the_form_like_a_job_that_the_key_may_see(
    browser: Browser, signed_in: SignedIn, conn: Connection, sql
) -> None:
    hidden = enqueue(conn, {**EMAIL, "subject": "swordfish"}, queue="salmon")
    own = signed_in(Scope.ADMIN, queues=["mail"])
    answers = [own.get(f"{NEW}?like={each}") for each in (hidden, "nonsense")]
    assert [(answer.status_code, "swordfish" in answer.text) for answer in answers] == [(404, False)] * 2
    assert own.page(OF_EMAIL).control("queue").attrs["value"] == "mail"

    job = enqueue(conn, {**EMAIL, "subject": "Once more"}, queue="mail", priority=3, tags=["night"])

    page = browser.page(f"{NEW}?like={job}")
    done = browser.send(page, NEW, **{"p.body": "One\r\n two "})

    assert page.control("p.subject").attrs["value"] == "Once more"
    assert page.control("p.body").text == "Hello."
    assert page.control("tags").attrs["value"] == "night"
    assert done.status_code == 303
    assert sql("SELECT payload, queue, priority FROM haulier.job ORDER BY id DESC LIMIT 1") == [
        ({**EMAIL, "subject": "Once more", "body": "One\n two "}, "mail", 3)
    ]


def test_puts_no_mask_in_the_place_of_a_secret() -> None:
    real = {"a": "swordfish", "b": ["x", "•••"], "c": {"d": 1, "e": "y"}, "f": [1, "z"]}
    seen = {"a": "•••", "b": ["x", "•••"], "c": {"d": 1, "e": "•••"}, "f": [1, "•••"]}

    assert without_masks(seen, real) == ({"b": ["x", "•••"], "c": {"d": 1}, "f": [1, None]}, True)
    assert without_masks(real, real) == (real, False)


SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "short": {"type": "string", "maxLength": 100},
        "long": {"type": "string"},
        "one": {"type": "string", "pattern": r"^[^\x00-\x1f]*$"},
        "n": {"type": "integer"},
        "x": {"type": ["number", "null"]},
        "flag": {"type": "boolean"},
        "pick": {"type": "string", "enum": ["a", "b", None]},
        "more": {"type": "object"},
    },
    "required": ["short"],
}


def test_makes_fields_of_a_schema_and_a_payload_of_what_was_typed() -> None:
    fields = fields_of(SCHEMA)
    payload = {
        "short": "s",
        "long": "l\nl",
        "n": 12345678901234567890,
        "x": 1.5,
        "flag": False,
        "pick": "b",
        "more": {"a": [1]},
    }

    values = values_of_payload(fields, payload)

    assert [each.look for each in fields] == ["line", "lines", "line", "number", "number", "choice", "choice", "json"]
    assert fields[0].label == "short *"
    values["p.n"] = "7"
    del payload["more"], values["p.more"]
    assert payload_of(fields, values, SCHEMA) == {**payload, "n": 7}
    assert payload_of(fields, {}, SCHEMA) == {"short": ""}
    # What a kind may take for true, and what it refuses: neither becomes false.
    assert payload_of(fields, {"p.flag": "yes", "p.pick": "old"}, SCHEMA) == {"short": "", "flag": "yes", "pick": "old"}


DEEP = '{"a": ' * 3000 + "1" + "}" * 3000


def test_says_how_to_enqueue_a_payload_that_no_form_can_show(browser: Browser, sql) -> None:
    [[job]] = sql("INSERT INTO haulier.job (kind, payload) VALUES ('send_email', %s) RETURNING id", DEEP)

    pages = [browser.page(f"{NEW}?like={job}{how}") for how in ("", "&as=json")]
    page = browser.page(f"/ui/jobs/{job}")
    copied = browser.send(page, f"/ui/jobs/{job}/copy")

    assert ["nested too deeply for a form" in each.text for each in pages] == [True, True]
    assert pages[1].control("payload").text == "{}"
    assert copied.status_code == 303
    assert sql("SELECT count(DISTINCT payload), count(*) FROM haulier.job") == [(1, 2)]


def test_masks_a_payload_that_is_too_deep_to_find_its_secrets(
    make_site: MakeSite, signed_in: SignedIn, conn: Connection, sql, own_kinds: None, monkeypatch
) -> None:
    monkeypatch.delitem(sys.modules, "tests.hostile.secretive", raising=False)
    site = make_site(kinds=("tests.hostile.secretive",))
    reader = signed_in(Scope.READ, Scope.ENQUEUE, app=site)
    payload = f'{{"token": "swordfish", "login": {"[" * 3000}{"]" * 3000}}}'
    # As a worker stored it that did not know that this is secret.
    sql("INSERT INTO haulier.job (kind, payload) VALUES ('secretive', %s) RETURNING id", payload)
    _, [fence] = claim(conn)
    error = "Denied: swordfish"
    end(conn, fence, Outcome.fail_for_good(error), Failure(fingerprint("secretive", error), "default", error))

    [[job]] = sql("SELECT id FROM haulier.finished_job")
    [[group]] = sql("SELECT lpad(to_hex(id), 16, '0') FROM haulier.error_group")
    paths = ("/jobs", f"/jobs/{job}", f"/jobs/new?like={job}", "/failures", f"/failures/{group}", "/audit")
    answers = {path: reader.get(f"/ui{path}") for path in paths}

    assert {path: each.status_code for path, each in answers.items()} == dict.fromkeys(paths, 200) | {"/audit": 403}
    assert [path for path, each in answers.items() if "swordfish" in each.text] == []
