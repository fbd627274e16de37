"""The search box of each page, and what is found by it: it ..."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import pytest
from psycopg2.extensions import connection as Connection

from app.web.kit.job_list_url import NAMES, read_look
from haulier.domain.api_key import Scope
from haulier.postgres.sql_files import SQL
from haulier.queue import claims
from tests.web.browsing import Browser, Element, SignedIn, check_each, faults, form, read
from tests.web.jobs import claim, enqueue, in_all_states

JOBS, SEARCH, HELP = "/ui/jobs", "/ui/search", "/ui/help"
AN_ID, OF_A_CELL = "0193b1a2-7c5e-7d41-9c3b-2f6a8e0d4b11", "0193b1a2-7c5e-8d41-9c3b-2f6a8e0d4b02"
KNOWN = "INSERT INTO haulier.queue (name) VALUES (%s) ON CONFLICT DO NOTHING"


def search(browser: Browser, typed: str, path: str = SEARCH, **held: str) -> Any:
    return browser.client.get(path, query_string={**held, "q": typed})


def place(browser: Browser, typed: str, path: str = SEARCH, **held: str) -> str | None:
    """Return where the search leads, or None if it answers by a page of its own."""
    answer = search(browser, typed, path, **held)
    assert answer.status_code == (303 if "Location" in answer.headers else 200)
    return answer.headers.get("Location")


def found(browser: Browser, typed: str) -> Element:
    page = read(search(browser, typed).text)
    assert faults(page) == []
    return page


def leads(page: Element) -> list[str]:
    return [each.attrs["href"] for each in page.one("main").all("a")]


def test_leads_to_what_was_typed(browser: Browser, conn: Connection, sql) -> None:
    in_all_states(conn)
    enqueue(conn, tags=["resize_image"])
    sql(KNOWN, "mail")

    by_both = [
        (AN_ID, f"{JOBS}/{AN_ID}"),
        (OF_A_CELL, f"{JOBS}/{OF_A_CELL}"),
        ("kind:send_email status:failed,queued", f"{JOBS}?kind=send_email&status=failed&status=queued"),
        ("payload.order.id=4711", f"{JOBS}?payload.order.id=4711"),
        ("send_email", f"{JOBS}?kind=send_email"),
        ("  ", JOBS),
        ("hlr_abcdefghijkl_" + "x" * 43, f"{JOBS}?unread=key"),
    ]
    by_search = [
        ("error:0123456789abcdef", f"{JOBS}?error=0123456789abcdef"),
        ("mail", "/ui/queues/mail"),
        ("key-running", f"{JOBS}?key=key-running"),
        ("night", f"{JOBS}?tag=night"),
        ("hlr_abcdefghijkl_xyz", f"{JOBS}?unread=key"),
    ]
    check_each(lambda typed: place(browser, typed), *by_both, *by_search)
    check_each(lambda typed: place(browser, typed, JOBS), *by_both)
    assert leads(found(browser, "resize_image")) == [f"{JOBS}?kind=resize_image", f"{JOBS}?tag=resize_image"]
    assert "It was not searched" in browser.page(f"{JOBS}?unread=key").text


def test_finds_a_job_by_the_beginning_of_its_id(
    browser: Browser, signed_in: SignedIn, conn: Connection, monkeypatch
) -> None:
    jobs = in_all_states(conn)
    own, queued = signed_in(Scope.READ, queues=["cancelled", "nowhere"]), str(jobs["queued"])
    paths = [f"{JOBS}/{job}" for job in jobs.values()]
    # Ids of the same minute begin alike.
    alike = sorted(path for path in paths if path.startswith(f"{JOBS}/{queued[:8]}"))

    assert [place(browser, path.rpartition("/")[2][:35]) for path in paths] == paths
    assert leads(found(browser, queued[:8].upper())) == alike
    assert place(own, str(jobs["cancelled"])[:35]) == f"{JOBS}/{jobs['cancelled']}"
    assert "No match for" in found(own, queued[:35]).text
    assert place(browser, queued[:35], JOBS) == f"{SEARCH}?q={queued[:35]}"
    monkeypatch.setattr("app.web.pages.search.MOST_JOBS", 2)
    page = found(browser, queued[:8])
    assert (leads(page), "Type more" in page.text) == (alike[:2], True)


def test_finds_workers_by_their_host_and_name(browser: Browser, signed_in: SignedIn, conn: Connection) -> None:
    workers = [claim(conn, queue, host)[0] for queue, host in (("mail", "dock"), ("mail", "pier"), ("salmon", "pier"))]
    claims.deregister(conn, workers[0])
    own = signed_in(Scope.READ, queues=["mail"])

    assert [place(browser, typed) for typed in ("dock", "dock:7")] == [f"/ui/workers/{workers[0]}"] * 2
    assert place(browser, "worker:dock:7 status:failed") == f"{JOBS}?status=failed&worker={workers[0]}"
    assert set(leads(found(browser, "pier"))) == {f"/ui/workers/{each}" for each in workers[1:]}
    assert set(leads(found(browser, "worker:pier"))) == {f"{JOBS}?worker={each}" for each in workers[1:]}
    assert place(own, "pier") == f"/ui/workers/{workers[1]}"
    assert "No match for" in found(browser, "dock:8").text


def test_finds_errors_by_a_part_of_their_text(browser: Browser, conn: Connection) -> None:
    in_all_states(conn)

    check_each(
        lambda typed: re.sub(r"[0-9a-f]{16}", "ID", place(browser, typed) or ""),
        ('error:"no luck"', f"{JOBS}?error=ID"),
        ("luck", "/ui/failures/ID?span=24h"),
        ("status:failed error:luck", f"{JOBS}?status=failed&error=ID"),
    )


def test_finds_names_by_a_part_and_old_jobs_by_their_idempotency_key(
    browser: Browser, signed_in: SignedIn, conn: Connection, sql, monkeypatch
) -> None:
    job = enqueue(conn, queue="stock-feed", idempotency_key="10023613")
    sql("INSERT INTO haulier.idempotency (key, fingerprint, job_id) VALUES ('hx3k9 10023613', 'x', %s)", str(job))
    for queue in ("stock-feed", "salmon-feed"):
        sql(KNOWN, queue)
    own = signed_in(Scope.READ, queues=["salmon-feed"])

    check_each(
        lambda typed, by: place(by, typed),
        ("Stock", browser, "/ui/queues/stock-feed"),
        ("mage", browser, f"{JOBS}?kind=resize_image"),
        ("feed", own, "/ui/queues/salmon-feed"),
        ("stock", own, None),
        ("10023613", browser, f"{JOBS}?key=10023613"),
    )
    assert leads(found(browser, "feed")) == ["/ui/queues/salmon-feed", "/ui/queues/stock-feed"]
    assert "No match for “ 10023613 ”" in found(own, "10023613").text
    # As if it were older than all jobs that a search looks at.
    monkeypatch.setattr("app.web.pages.search._if_any", lambda *_: iter(()))
    assert place(browser, "10023613") == f"{JOBS}/{job}"
    assert "No match for" in found(own, "10023613").text
    # Sent with HAULIER_API_KEY.
    sql("UPDATE haulier.idempotency SET key = 'env 10023613' WHERE key = '10023613'")
    assert place(browser, "10023613") == f"{JOBS}/{job}"
    monkeypatch.setitem(SQL, "jobs_of_key", "SELECT pg_sleep(1)")
    assert "Old jobs with the idempotency key: the database took longer" in found(browser, "10023613").text


def test_says_that_nothing_matches_and_shows_what_was_typed_as_text(browser: Browser) -> None:
    for typed in ("nowhere", "<script>alert(1)</script>", "%", "' OR 1=1", "01a2108e-9bc5"):
        page = found(browser, typed)

        assert ("No match for" in page.text, box(page)) == (True, (typed, ""))
        assert typed in [each.text for each in page.all("bdi")]
        assert [each.text for each in page.all("script") if each.text] == []


def test_finds_nothing_of_a_queue_that_the_key_may_not_see(signed_in: SignedIn, conn: Connection, sql) -> None:
    enqueue(conn, queue="salmon", tags=["swordfish"], idempotency_key="order-7")
    sql(KNOWN, "salmon")
    browser = signed_in(Scope.ADMIN, queues=["mail"])

    for typed in ("salmon", "swordfish", "order-7"):
        assert "No match for" in found(browser, typed).text


def suggested(page: Element) -> list[str]:
    box = page.one("input", name="q")
    return [each.attrs["value"] for each in page.one("datalist", id=box.attrs["list"]).all("option")]


@pytest.mark.parametrize("path", ["/ui", "/ui/queues", JOBS])
def test_suggests_filters_kinds_and_the_queues_that_pages_have_read(
    browser: Browser, signed_in: SignedIn, conn: Connection, sql, path: str
) -> None:
    own = signed_in(Scope.ADMIN, queues=["mail"])
    for queue in ("mail", "salmon"):
        enqueue(conn, queue=queue)
        sql(KNOWN, queue)
    before, seen = suggested(browser.page(HELP)), browser.seen("/ui/workers")

    browser.page(path)
    after = suggested(browser.page(HELP))

    assert before[: len(NAMES) + 1] == [*(f"{name}:" for name in NAMES), "payload."]
    assert {"status:failed", "status:queued", "kind:send_email", "kind:resize_image"} <= set(before)
    assert {each for each in after if each not in before} == {"queue:mail", "queue:salmon"}
    texts = [each for each in after if each[-1] not in ":."]
    check_each(lambda typed: place(browser, typed), *[(each, f"{JOBS}?{each.replace(':', '=')}") for each in texts])
    assert "queue:mail" in suggested(own.page(HELP))
    assert "salmon" not in own.get(HELP).text
    # It is no news to a page that is open.
    assert browser.poll("/ui/workers", seen) == 204


def box(page: Element) -> tuple[str, str]:
    """Return what stands in the box, and the line that says what is wrong with it."""
    attrs = page.one("input", name="q").attrs
    assert ("aria-invalid" in attrs) is ("aria-describedby" in attrs)
    says = page.all("p", id=attrs.get("aria-describedby", "none"))
    return attrs.get("value", ""), "".join(each.text for each in says)


@pytest.mark.parametrize("path", [SEARCH, JOBS])
def test_keeps_what_it_does_not_understand_and_says_why(browser: Browser, path: str) -> None:
    def kept(typed: str, why: str) -> tuple[str, str, bool]:
        at = place(browser, typed, path) or ""
        query = [pair for pair in parse_qsl(urlsplit(at).query) if pair[0] != "unread"]
        assert "q=" not in at.replace("queue=", "")
        text, line = box(browser.page(at))
        return urlencode(query), text, why in line and bool(line) is bool(text)

    check_each(
        kept,
        ("status:failed quue:mail", "“quue:mail”: unknown filter quue", ("status=failed", "quue:mail", True)),
        ("status:failed,odd", "“status:odd”: no such status", ("status=failed", "status:odd", True)),
        ("queue:mail No!", "“No!”: not a valid kind name", ("queue=mail", "No!", True)),
        ("queue:mail after:soon", "“after:soon”: not a time (e.g. 2h", ("queue=mail", "after:soon", True)),
        ("queue:mail kind:", "“kind:”: needs a value", ("queue=mail", "kind:", True)),
        ("key:a key:b", "“key:b”: too many values", ("key=a", "key:b", True)),
        ("payload.a=1 payload.a=2", "too many values", ("payload.a=1", "payload.a=2", True)),
        ("payload.a..b=1 queue:mail", "needs a payload field", ("queue=mail", "payload.a..b=1", True)),
        ("status:odd x:1 y:2 z:3", "“y:2”: unknown filter y; 1 more", ("", "status:odd x:1 y:2 z:3", True)),
        ("key:abc= queue:mail", "", ("key=abc%3D&queue=mail", "", True)),
    )


def test_adds_what_is_put_right_to_the_filters_that_hold(browser: Browser) -> None:
    def held(page: Element) -> dict[str, str]:
        hidden = page.one("form", role="search").all("input", type="hidden")
        return {each.attrs["name"]: each.attrs["value"] for each in hidden}

    kept = held(browser.page(f"{JOBS}?status=failed&after=2h&unread=quue:mail"))

    assert kept == {"status": "failed_permanent", "after": "2h"}
    check_each(
        lambda typed: place(browser, typed, **kept),
        ("queue:mail", f"{JOBS}?status=failed_permanent&after=2h&queue=mail"),
        ("status:failed after:1h", f"{JOBS}?status=failed_permanent&status=failed&after=1h"),
        ("", f"{JOBS}?status=failed_permanent&after=2h"),
        (AN_ID, f"{JOBS}/{AN_ID}"),
    )
    assert read_look([("status", ["failed_permanent", "failed"])]).pairs == (("status", "failed_permanent"),)
    assert held(browser.page(f"{JOBS}?status=failed")) == {}


def test_acts_on_nothing_until_what_it_does_not_understand_is_left_out(browser: Browser, conn: Connection) -> None:
    enqueue(conn)
    new, ticked = "/ui/operations/new", "/ui/jobs/ticked/retry"
    page = browser.page(f"{JOBS}?kind=send_email&unread=quue:mail")
    [path] = page.links("Remove")
    without = browser.page(path)

    refused = browser.post(new, **{**form(without, ticked), "action": "retry", "unread": "quue:mail"})

    chips = [each.attrs["href"] for nav in page.all("nav", **{"aria-label": "Status"}) for each in nav.all("a")]
    assert [len(each.all("input", name="all")) for each in (page, without)] == [0, 1]
    assert (path, refused.status_code) == (f"{JOBS}?kind=send_email", 422)
    assert [each for each in chips if "unread=quue%3Amail" not in each] == []


def test_keeps_nothing_that_it_understands_and_no_key(browser: Browser) -> None:
    for unread in ("status:failed", "key", "hlr_abcdefghijkl_swordfish x:y", ""):
        page = browser.page(f"{JOBS}?{urlencode({'unread': unread})}")

        assert box(page) == ("", "")
        assert "swordfish" not in page.one("main").text
