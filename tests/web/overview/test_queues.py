"""The pages of queues and kinds: it ..."""

from __future__ import annotations

import re
from datetime import UTC, datetime

import pytest
from psycopg2.extensions import connection as Connection

from haulier.domain.api_key import Scope
from haulier.queue import claims
from haulier.queue.queues.pauses import pause
from tests.queue.schedules.schedules import plant
from tests.web.browsing import Browser
from tests.web.conftest import SignedIn
from tests.web.jobs import counted, enqueue, in_all_states

MAIL = "/ui/queues/mail"
PAGES = ("/ui/queues", MAIL, "/ui/kinds", "/ui/kinds/send_email")


def test_shows_queues_and_kinds_with_and_without_jobs(browser: Browser, conn: Connection) -> None:
    before = [browser.page(path).text for path in PAGES]
    in_all_states(conn)
    browser.forget()

    _, _, kinds, kind = (browser.page(path) for path in PAGES)

    assert "No queue has been used lately." in before[0]
    assert "This queue has no live job" in before[1]
    assert "send_email" in kinds.text
    assert '"subject"' in kind.text


def test_draws_the_span_that_the_url_names(browser: Browser, conn: Connection) -> None:
    enqueue(conn, queue="mail")
    counted(conn)

    told = {}
    for path in (MAIL, "/ui/kinds/send_email"):
        for query in ("", "?span=24h", "?span=nonsense"):
            page = browser.page(f"{path}{query}")
            [span] = [each.text for each in page.one("nav", class_="tabs").all("a") if "aria-current" in each.attrs]
            told[path, query] = (span, re.findall(r"jobs in (\d+) min", page.text)[0])

    hour, day = ("1 hour", "1"), ("24 hours", "15")
    expected = {"": hour, "?span=24h": day, "?span=nonsense": hour}
    assert told == {(path, query): expected[query] for path, query in told}


def test_knows_no_other_queue_or_kind(browser: Browser) -> None:
    assert "Nothing here knows a kind of this name" in browser.page("/ui/kinds/nothing").text
    assert browser.get("/ui/kinds/No").status_code == 404
    assert browser.get("/ui/queues/No").status_code == 404


def test_pauses_a_queue_for_a_while_or_until_a_time_and_resumes_it(browser: Browser, conn: Connection, sql) -> None:
    enqueue(conn, queue="mail")
    noon = datetime(2999, 1, 1, 12, tzinfo=UTC)
    found = []

    for sent in ({"for": "15m"}, {"for": ""}, {"for": "until", "until": "2999-01-01T12:00"}):
        done = browser.send(browser.page(MAIL), f"{MAIL}/pause", **sent)
        found += sql("SELECT until, extract(epoch FROM until - now())::float FROM haulier.pause WHERE queue = 'mail'")
        page = browser.page(MAIL)
        assert (done.status_code, done.headers["Location"]) == (303, MAIL)
        assert "Paused: no job of it starts" in page.text
        assert browser.send(page, f"{MAIL}/resume").status_code == 303

    [(_, seconds), endless, (until, _)] = found
    assert (seconds, endless, until) == (pytest.approx(900, abs=60), (None, None), noon)
    assert sql("SELECT count(*) FROM haulier.pause") == [(0,)]
    assert sql("SELECT array_agg(action ORDER BY id) FROM haulier.audit WHERE target = 'mail'") == [
        (["pause", "resume"] * 3,)
    ]


def test_says_since_when_and_to_operators_by_whom_a_queue_is_paused(
    browser: Browser, signed_in: SignedIn, conn: Connection
) -> None:
    pause(conn, "mail", actor="ops-anna")
    readers = [signed_in(Scope.READ), signed_in(Scope.READ, Scope.OPERATE, queues=["mail"])]

    told = [each.page(MAIL).text for each in (browser, *readers)]

    assert ["by ops-anna, since" in text for text in told] == [True, False, True]
    assert all("until it is resumed" in text and "since" in text for text in told)


def test_says_of_a_kind_that_others_use_what_it_says_of_one_that_nobody_uses(
    signed_in: SignedIn, conn: Connection
) -> None:
    browser = signed_in(Scope.ADMIN, queues=["mail"])
    enqueue(conn, queue="salmon", kind="swim")
    counted(conn)

    used, unused = (browser.get(f"/ui/kinds/{name}").text for name in ("swim", "float"))

    assert re.sub("swim|data-seen=.*", "", used) == re.sub("float|data-seen=.*", "", unused)


def test_shows_the_kinds_of_one_queue_with_most_due_first(
    browser: Browser, signed_in: SignedIn, conn: Connection
) -> None:
    kinds = {"mail": ["swim", "swim", "send_email"], "salmon": ["run", "run", "run", "swim"]}
    for name, kind in ((name, kind) for name, each in kinds.items() for kind in each):
        enqueue(conn, kind=kind, queue=name)
    counted(conn)
    own = signed_in(Scope.READ, queues=["mail"])

    [path] = browser.page(MAIL).links("Its kinds")

    for page in (browser.page(path), own.page(path)):
        due = [(name, row.all("td")[1].text) for name, row in page.named_rows().items()]
        assert due == [("swim", "2"), ("send_email", "1")]
        assert [each.attrs["href"] for each in page.all("a", class_="chip")] == ["/ui/kinds"]
    assert [own.get(f"/ui/kinds?queue={name}").status_code for name in ("salmon", "No", "mail")] == [404, 404, 200]
    assert "No job of this queue was counted lately" in browser.page("/ui/kinds?queue=nowhere").text


def test_marks_a_kind_that_no_live_worker_knows(browser: Browser, conn: Connection, sql) -> None:
    for kind in ("swim", "send_email"):
        enqueue(conn, kind=kind)
    worker = claims.register(conn, host="dock", pid=7, threads=4, queues=(), lease_seconds=600)
    claims.introduce(conn, worker, kinds=["send_email"])
    counted(conn)

    def marked() -> dict[str, bool]:
        browser.forget()
        rows = browser.page("/ui/kinds").named_rows()
        return {kind: "No live worker knows it" in rows[kind].text for kind in ("swim", "send_email")}

    lives = marked()
    sql("UPDATE haulier.worker SET beat_at = now() - interval '1 hour'")

    assert (lives, marked()) == ({"swim": True, "send_email": False}, {"swim": True, "send_email": True})


@pytest.mark.parametrize("of", ["queues", "schedules"])
def test_says_how_many_are_paused_on_a_page_and_leads_to_the_first(
    browser: Browser, conn: Connection, sql, monkeypatch, of: str
) -> None:
    for name in ("a", "b", "c"):
        plant(sql, name)
        enqueue(conn, queue=name)
        pause(conn, name, until=None, actor=None)
    sql("UPDATE haulier.schedule SET paused_since = now()")
    whole = browser.page(f"/ui/{of}")
    for module, most in (("queues", "MOST_QUEUES"), ("schedules.schedules", "MOST")):
        monkeypatch.setattr(f"app.web.pages.{module}.{most}", 2)
    browser.forget()

    first, last, past = (browser.page(f"/ui/{of}{query}") for query in ("", "?after=b", "?after=z"))

    assert ("3 paused" in whole.text, "on this page" in whole.text) == (True, False)
    assert ("2 paused on this page" in first.text, "1 paused on this page" in last.text) == (True, True)
    assert [page.links("First page") for page in (first, last, past)] == [[], [f"/ui/{of}"], [f"/ui/{of}"]]
    assert [page.links("Next") for page in (first, last, past)] == [[f"/ui/{of}?after=b"], [], []]
