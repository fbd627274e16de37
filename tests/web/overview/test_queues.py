"""The pages of queues and kinds: it ..."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from uuid import UUID

import pytest
from psycopg2.extensions import connection as Connection

from haulier.domain.api_key import Scope
from haulier.queue import claims
from tests.web.browsing import Browser, SignedIn, check_each
from tests.web.jobs import counted, enqueue, register

MAIL = "/ui/queues/mail"


def test_draws_the_span_that_the_url_names(browser: Browser, conn: Connection) -> None:
    enqueue(conn, queue="mail")
    counted(conn)

    def drawn(query: str) -> set[tuple[str, str]]:
        pages = [browser.page(f"{path}{query}") for path in (MAIL, "/ui/kinds/send_email")]
        tabs = [each for page in pages for each in page.one("nav", class_="tabs").all("a")]
        spans = [each.text for each in tabs if "aria-current" in each.attrs]
        return set(zip(spans, [re.findall(r"jobs per (\d+) min", page.text)[0] for page in pages], strict=True))

    hour = {("1 hour", "1")}
    check_each(drawn, ("", hour), ("?span=24h", {("24 hours", "15")}), ("?span=nonsense", hour))


def test_pauses_a_queue_for_a_while_or_until_a_time_and_resumes_it(
    browser: Browser, signed_in: SignedIn, conn: Connection, sql
) -> None:
    enqueue(conn, queue="mail")
    viewers = [browser, signed_in(Scope.READ), signed_in(Scope.READ, Scope.OPERATE, queues=["mail"])]
    noon = datetime(2999, 1, 1, 12, tzinfo=UTC)
    found = []

    for sent in ({"for": "15m"}, {"for": ""}, {"for": "until", "until": "2999-01-01T12:00"}):
        done = browser.send(browser.page(MAIL), f"{MAIL}/pause", **sent)
        found += sql("SELECT until, extract(epoch FROM until - now())::float FROM haulier.pause WHERE queue = 'mail'")
        page = browser.page(MAIL)
        assert (done.status_code, done.headers["Location"]) == (303, MAIL)
        assert "Paused: no job in it starts" in page.text
        # Who paused it is for operators.
        browser.forget()
        told = [f"by {browser.key.id}, since" in each.page(MAIL).text for each in viewers]
        assert told == [True, False, True]
        assert browser.send(page, f"{MAIL}/resume").status_code == 303

    [(_, seconds), endless, (until, _)] = found
    assert (seconds, endless, until) == (pytest.approx(900, abs=60), (None, None), noon)
    assert sql("SELECT count(*) FROM haulier.pause") == [(0,)]
    assert sql("SELECT array_agg(action ORDER BY id) FROM haulier.audit WHERE target = 'mail'") == [
        (["pause", "resume"] * 3,)
    ]


def test_says_of_a_kind_that_others_use_what_it_says_of_one_that_nobody_uses(
    signed_in: SignedIn, conn: Connection
) -> None:
    browser = signed_in(Scope.ADMIN, queues=["mail"])
    enqueue(conn, queue="salmon", kind="swim")
    counted(conn)

    missing = [browser.get(path).status_code for path in ("/ui/kinds/No", "/ui/queues/No")]
    used, unused = (browser.get(f"/ui/kinds/{name}").text for name in ("swim", "float"))

    assert missing == [404, 404]
    assert "Unknown kind" in unused
    assert re.sub("swim|data-seen=.*", "", used) == re.sub("float|data-seen=.*", "", unused)


def test_shows_the_kinds_of_one_queue_with_most_due_first(
    browser: Browser, signed_in: SignedIn, conn: Connection
) -> None:
    kinds = {"mail": ["swim", "swim", "send_email"], "salmon": ["run", "run", "run", "swim"]}
    for name, kind in ((name, kind) for name, each in kinds.items() for kind in each):
        enqueue(conn, kind=kind, queue=name)
    counted(conn)
    own = signed_in(Scope.READ, queues=["mail"])

    [path] = browser.page(MAIL).links("Kinds in this queue")

    for page in (browser.page(path), own.page(path)):
        due = [(name, row.all("td")[1].text) for name, row in page.named_rows().items()]
        assert due == [("swim", "2"), ("send_email", "1")]
        assert [each.attrs["href"] for each in page.all("a", class_="chip")] == ["/ui/kinds"]
    assert [own.get(f"/ui/kinds?queue={name}").status_code for name in ("salmon", "No", "mail")] == [404, 404, 200]
    assert "This queue had no jobs recently" in browser.page("/ui/kinds?queue=nowhere").text


def test_marks_a_kind_that_no_live_worker_knows(browser: Browser, conn: Connection, sql) -> None:
    for kind in ("swim", "send_email"):
        enqueue(conn, kind=kind)
    claims.introduce(conn, UUID(register(conn)), kinds=["send_email"])
    counted(conn)

    for is_marked in (False, True):
        browser.forget()
        rows = browser.page("/ui/kinds").named_rows()
        marks = ["No worker knows it" in rows[kind].text for kind in ("swim", "send_email")]
        assert marks == [True, is_marked]
        sql("UPDATE haulier.worker SET beat_at = now() - interval '1 hour'")
