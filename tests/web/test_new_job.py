"""The form that enqueues a job: it ..."""

from __future__ import annotations

import json
import sys
from typing import Any

import pytest
from psycopg2.extensions import connection as Connection

from app.web.pages.new_job import without_masks
from app.web.payload_form import fields_of, payload_of, values_of_payload
from haulier.domain.api_key import Scope
from haulier.domain.claim import Failure
from haulier.domain.fingerprint import fingerprint
from haulier.domain.outcome import Outcome
from tests.web.browsing import Browser, Element, faults, read
from tests.web.conftest import MakeSite, SignedIn
from tests.web.jobs import EMAIL, claim, end, enqueue

NEW = "/ui/jobs/new"
OF_EMAIL = f"{NEW}?kind=send_email"
FILLED = {"p.to": "a@b.c", "p.subject": "Hi", "p.body": "Hello."}


def by_id(page: Element, name: str) -> Element:
    return next(each for each in page.below() if each.given.get("id") == f"f-{name}")


def test_asks_for_the_kind_first_and_then_for_its_fields(browser: Browser) -> None:
    first, page = browser.page(NEW), browser.page(OF_EMAIL)

    assert first.all("form", action=NEW, method="post") == []
    assert [each.given["name"] for each in page.below() if each.given.get("name", "").startswith("p.")][:3] == [
        "p.to",
        "p.subject",
        "p.body",
    ]
    assert browser.page(f"{OF_EMAIL}&as=json").all("textarea")[0].given["name"] == "payload"


@pytest.mark.parametrize("as_json", [False, True])
def test_enqueues_what_was_typed_once_however_often_it_is_sent(browser: Browser, sql: Any, as_json: bool) -> None:
    page = browser.page(f"{OF_EMAIL}{'&as=json' if as_json else ''}")
    payload = {"payload": json.dumps(EMAIL)} if as_json else FILLED
    sent = {**payload, "queue": "mail", "priority": "7", "tags": "a, b", "due": "2h", "timeout_seconds": "60"}

    answers = [browser.send(page, NEW, **sent) for _ in range(2)]

    is_later = "run_at > now() + interval '1 hour'"
    [(job, *rest)] = sql(f"SELECT id, payload, queue, priority, tags, timeout_seconds, {is_later} FROM haulier.job")
    assert [answer.headers["Location"] for answer in answers] == [f"/ui/jobs/{job}"] * 2
    assert rest == [EMAIL, "mail", 7, ["a", "b"], 60, True]


@pytest.mark.parametrize(
    ("sent", "name", "why"),
    [
        ({"p.to": "nobody"}, "p.to", ""),
        ({"p.to": ""}, "p.to", ""),
        ({"priority": "x"}, "priority", ""),
        ({"priority": "101"}, "priority", ""),
        ({"queue": "No"}, "queue", "Must begin with"),
        ({"due": "soon"}, "due", "Must be now"),
        ({"tags": "a, a"}, "tags", "twice"),
        ({"idempotency_key": "ü"}, "idempotency_key", "visible ASCII"),
    ],
)
def test_gives_the_form_back_with_what_is_wrong_at_its_field(
    browser: Browser, sql: Any, sent: dict[str, str], name: str, why: str
) -> None:
    refused = browser.send(browser.page(OF_EMAIL), NEW, **{**FILLED, "max_attempts": "9", **sent})

    page = read(refused.text)
    assert (refused.status_code, faults(page)) == (422, [])
    assert by_id(page, name).given["aria-invalid"] == "true"
    [told] = page.all("span", id=f"h-{name}")
    assert why in told.text
    assert "failed" in told.given["class"]
    assert by_id(page, "max_attempts").given["value"] == "9"
    assert sql("SELECT count(*) FROM haulier.job") == [(0,)]


@pytest.mark.parametrize("payload", ["{", "[]", '{"to": "a@b.c"}', '{"a": 1, "a": 2}', "NaN", "[" * 200])
def test_says_what_is_wrong_with_json(browser: Browser, sql: Any, payload: str) -> None:
    refused = browser.send(browser.page(f"{OF_EMAIL}&as=json"), NEW, payload=payload)

    page = read(refused.text)
    assert (refused.status_code, faults(page)) == (422, [])
    assert page.all("span", id="h-payload")[0].given["class"].endswith("failed")
    assert by_id(page, "payload").text == payload
    assert sql("SELECT count(*) FROM haulier.job") == [(0,)]


def test_says_that_a_key_was_used_for_another_job(browser: Browser, conn: Connection, sql: Any) -> None:
    browser.send(browser.page(OF_EMAIL), NEW, **FILLED, idempotency_key="order-7")

    refused = browser.send(
        browser.page(OF_EMAIL), NEW, **{**FILLED, "p.subject": "Other", "idempotency_key": "order-7"}
    )

    assert refused.status_code == 422
    assert "Has been used, for another job." in read(refused.text).text
    assert sql("SELECT count(*) FROM haulier.job") == [(1,)]


def test_fills_the_form_like_a_job(browser: Browser, conn: Connection, sql: Any) -> None:
    job = enqueue(conn, {**EMAIL, "subject": "Once more"}, queue="mail", priority=3, tags=["night"])

    page = browser.page(f"{NEW}?like={job}")
    done = browser.send(page, NEW, **{"p.body": "One\r\n two "})

    assert by_id(page, "p.subject").given["value"] == "Once more"
    assert by_id(page, "p.body").text == "Hello."
    assert by_id(page, "tags").given["value"] == "night"
    assert done.status_code == 303
    assert sql("SELECT payload, queue, priority FROM haulier.job ORDER BY id DESC LIMIT 1") == [
        ({**EMAIL, "subject": "Once more", "body": "One\n two "}, "mail", 3)
    ]


def test_puts_no_mask_in_the_place_of_a_secret() -> None:
    real = {"a": "swordfish", "b": ["x", "•••"], "c": {"d": 1, "e": "y"}, "f": [1, "z"]}
    seen = {"a": "•••", "b": ["x", "•••"], "c": {"d": 1, "e": "•••"}, "f": [1, "•••"]}

    assert without_masks(seen, real) == ({"b": ["x", "•••"], "c": {"d": 1}, "f": [1, None]}, True)
    assert without_masks(real, real) == (real, False)


def test_is_like_no_job_that_the_key_may_not_see(signed_in: SignedIn, conn: Connection) -> None:
    job = enqueue(conn, {**EMAIL, "subject": "swordfish"}, queue="salmon")
    browser = signed_in(Scope.ADMIN, queues=["mail"])

    answers = [browser.get(f"{NEW}?like={each}") for each in (job, "nonsense")]

    assert [answer.status_code for answer in answers] == [404, 404]
    assert [answer for answer in answers if "swordfish" in answer.text] == []
    assert by_id(browser.page(OF_EMAIL), "queue").given["value"] == "mail"


def test_brings_no_job_into_a_queue_that_is_not_the_keys(signed_in: SignedIn, sql: Any) -> None:
    browser = signed_in(Scope.ADMIN, queues=["mail"])

    refused = browser.send(browser.page(OF_EMAIL), NEW, **FILLED, queue="salmon")

    assert refused.status_code == 422
    assert "may not use the queue salmon" in read(refused.text).text
    assert sql("SELECT count(*) FROM haulier.job") == [(0,)]


def test_makes_no_more_queues_than_the_api(make_site: MakeSite, signed_in: SignedIn, sql: Any) -> None:
    browser = signed_in(app=make_site(queues_per_key=1))

    done = [browser.send(browser.page(OF_EMAIL), NEW, **FILLED, queue=name) for name in ("one", "two")]

    assert [answer.status_code for answer in done] == [303, 422]
    assert sql("SELECT queue FROM haulier.job") == [("one",)]


def test_is_for_keys_that_may_enqueue(make_site: MakeSite, signed_in: SignedIn, sql: Any) -> None:
    reader, read_only = signed_in(Scope.READ), signed_in(Scope.ADMIN, app=make_site(dashboard="read"))
    tokens = [each.page("/ui/settings").all("input", name="csrf")[0].given["value"] for each in (reader, read_only)]

    assert reader.get(NEW).status_code == 403
    assert reader.page("/ui/jobs").all("a", href=NEW) == []
    sent = {**FILLED, "kind": "send_email"}
    assert [
        each.post(NEW, csrf=token, **sent).status_code for each, token in zip((reader, read_only), tokens, strict=True)
    ] == [
        403,
        403,
    ]
    assert sql("SELECT count(*) FROM haulier.job") == [(0,)]


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


DEEP = '{"a": ' * 3000 + "1" + "}" * 3000


def test_says_of_a_payload_that_no_form_can_show_how_to_enqueue_it(browser: Browser, sql: Any) -> None:
    [[job]] = sql("INSERT INTO haulier.job (kind, payload) VALUES ('send_email', %s) RETURNING id", DEEP)

    pages = [browser.page(f"{NEW}?like={job}{how}") for how in ("", "&as=json")]
    page = browser.page(f"/ui/jobs/{job}")
    copied = browser.send(page, f"/ui/jobs/{job}/copy")

    assert ["nested deeper than a form can show" in each.text for each in pages] == [True, True]
    assert by_id(pages[1], "payload").text == "{}"
    assert copied.status_code == 303
    assert sql("SELECT count(DISTINCT payload), count(*) FROM haulier.job") == [(1, 2)]


def test_masks_all_of_what_is_too_deep_to_be_told_from_its_secrets(
    make_site: MakeSite, signed_in: SignedIn, conn: Connection, sql: Any, own_kinds: None, monkeypatch: Any
) -> None:
    monkeypatch.delitem(sys.modules, "tests.hostile.secretive", raising=False)
    site = make_site(kinds=("tests.hostile.secretive",))
    reader = signed_in(Scope.READ, Scope.ENQUEUE, app=site)
    payload = f'{{"token": "swordfish", "login": {"[" * 3000}{"]" * 3000}}}'
    fail_with(conn, sql, payload)

    [[job]] = sql("SELECT id FROM haulier.finished_job")
    [[group]] = sql("SELECT lpad(to_hex(id), 16, '0') FROM haulier.error_group")
    paths = ("/jobs", f"/jobs/{job}", f"/jobs/new?like={job}", "/failures", f"/failures/{group}", "/audit")
    pages = {path: (answer := reader.get(f"/ui{path}")) and (answer.status_code, answer.text) for path in paths}

    assert {path: status for path, (status, _) in pages.items()} == {path: 200 for path in paths} | {"/audit": 403}
    assert [path for path, (_, text) in pages.items() if "swordfish" in text] == []


def fail_with(conn: Connection, sql: Any, payload: str) -> None:
    """Have a job of this payload fail with what it hides, as a worker stored it that did not know that it is secret."""
    sql("INSERT INTO haulier.job (kind, payload) VALUES ('secretive', %s) RETURNING id", payload)
    _, [fence] = claim(conn)
    error = "Denied: swordfish"
    end(conn, fence, Outcome.fail_for_good(error), Failure(fingerprint("secretive", error), "default", error))
