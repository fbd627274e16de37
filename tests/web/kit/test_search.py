"""The search box of each page, and what is found by it: it ..."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as some
from psycopg2.extensions import connection as Connection

from app.web.kit.job_list_url import LOOKED_UP, NAMES, UNREAD, read_look, read_search
from app.web.kit.search_box import MOST, MOST_KNOWN, QueuesRead
from haulier.domain.api_key import Scope
from haulier.queue import claims
from tests.web.browsing import Browser, Element, faults, form, read
from tests.web.conftest import SignedIn
from tests.web.jobs import claim, enqueue, in_all_states
from tests.web.tables import check_each

JOBS, SEARCH, HELP = "/ui/jobs", "/ui/search", "/ui/help"
AN_ID = "0193b1a2-7c5e-7d41-9c3b-2f6a8e0d4b11"
KNOWN = "INSERT INTO haulier.queue (name) VALUES (%s) ON CONFLICT DO NOTHING"


def search(browser: Browser, typed: str, path: str = SEARCH, **held: str) -> Any:
    return browser.client.get(path, query_string={**held, "q": typed})


def place(browser: Browser, typed: str, path: str = SEARCH, **held: str) -> str | None:
    """Return where the search leads, or None if it answers by a page of its own."""
    answer = search(browser, typed, path, **held)
    assert answer.status_code == (303 if "Location" in answer.headers else 200)
    return answer.headers.get("Location")


def found(browser: Browser, typed: str) -> Element:
    """Return the page that answers a search by itself."""
    page = read(search(browser, typed).text)
    assert faults(page) == []
    return page


def leads(page: Element) -> list[str]:
    return [each.attrs["href"] for each in page.one("main").all("a")]


# If it leads


def test_leads_to_what_was_typed(browser: Browser, conn: Connection, sql) -> None:
    in_all_states(conn)
    sql(KNOWN, "mail")

    by_both = [
        (AN_ID, f"{JOBS}/{AN_ID}"),
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

    places = [place(browser, typed) or "" for typed in ('error:"no luck"', "luck", "status:failed error:luck")]

    by_error = f"{JOBS}?error=ID"
    assert [re.sub(r"[0-9a-f]{16}", "ID", each) for each in places] == [
        by_error,
        by_error,
        f"{JOBS}?status=failed&error=ID",
    ]


def test_asks_which_is_meant_if_several_match(browser: Browser, conn: Connection) -> None:
    enqueue(conn, tags=["send_email"])

    assert leads(found(browser, "send_email")) == [f"{JOBS}?kind=send_email", f"{JOBS}?tag=send_email"]


def test_says_that_nothing_matches_and_shows_what_was_typed_as_text(browser: Browser) -> None:
    for typed in ("nowhere", "<script>alert(1)</script>", "%", "' OR 1=1", "01a2108e-9bc5"):
        page = found(browser, typed)

        assert "No match for" in page.text
        assert typed in [each.text for each in page.all("b")]
        assert [each.text for each in page.all("script") if each.text] == []


def test_finds_nothing_of_a_queue_that_the_key_may_not_see(signed_in: SignedIn, conn: Connection, sql) -> None:
    enqueue(conn, queue="salmon", tags=["swordfish"], idempotency_key="order-7")
    sql(KNOWN, "salmon")
    browser = signed_in(Scope.ADMIN, queues=["mail"])

    for typed in ("salmon", "swordfish", "order-7"):
        assert "No match for" in found(browser, typed).text


# What it suggests


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
    assert "queue:mail" in suggested(own.page(HELP))
    assert "salmon" not in own.get(HELP).text
    # It is no news to a page that is open.
    assert browser.poll("/ui/workers", seen) == 204


def test_understands_what_it_suggests(browser: Browser) -> None:
    texts = [each for each in suggested(browser.page(HELP)) if each[-1] not in ":."]

    assert len(texts) > 8
    check_each(lambda typed: place(browser, typed), *[(each, f"{JOBS}?{each.replace(':', '=')}") for each in texts])


def test_suggests_no_more_than_a_person_reads(browser: Browser) -> None:
    browser.page(JOBS)
    browser.client.application.extensions["haulier_queues_read"].note([f"q{number:03}" for number in range(300)])

    texts = suggested(browser.page(HELP))

    assert len(texts) == MOST
    assert [each for each in texts if each.startswith("queue:q")]
    assert [each for each in texts if each.startswith("kind:")]


def test_forgets_queues_by_time_and_in_the_order_in_which_they_were_read(monkeypatch) -> None:
    known, old = QueuesRead(), QueuesRead()
    known.note(["first", "again"])
    known.note([f"q{number:03}" for number in range(MOST_KNOWN - 2)])
    known.note(["again", "new"])
    monkeypatch.setattr("app.web.kit.search_box.KNOWN_SECONDS", 0.0)
    old.note(["mail"])

    assert len(known.names()) == MOST_KNOWN
    assert [name for name in ("first", "again", "new") if name in known.names()] == ["again", "new"]
    assert old.names() == []


# What stays in it


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
        ("status:failed quue:mail", "“quue:mail”: there is no filter quue", ("status=failed", "quue:mail", True)),
        ("status:failed,odd", "“status:odd”: no such status", ("status=failed", "status:odd", True)),
        ("queue:mail No!", "“No!”: no kind can have this name", ("queue=mail", "No!", True)),
        ("queue:mail after:soon", "“after:soon”: not a time, such as 2h", ("queue=mail", "after:soon", True)),
        ("queue:mail kind:", "“kind:”: what is looked for has to follow", ("queue=mail", "kind:", True)),
        ("key:a key:b", "“key:b”: given more often than can be looked for", ("key=a", "key:b", True)),
        ("payload.a=1 payload.a=2", "given more often than can be", ("payload.a=1", "payload.a=2", True)),
        ("payload.a..b=1 queue:mail", "needs a place in the payload", ("queue=mail", "payload.a..b=1", True)),
        ("status:odd x:1 y:2 z:3", "“y:2”: there is no filter y; 1 more", ("", "status:odd x:1 y:2 z:3", True)),
        ("key:abc= queue:mail", "", ("key=abc%3D&queue=mail", "", True)),
    )


@given(some.lists(some.one_of(some.text(max_size=12), some.sampled_from(["status:", "key:a", "key:b", "x:y", ","]))))
def test_leaves_the_same_unread_from_a_url_as_from_what_was_typed(words: list[str]) -> None:
    parsed = read_search(" ".join(words))
    names = dict.fromkeys(name for name, _ in parsed.query)

    look = read_look((name, [text for each, text in parsed.query if each == name]) for name in names)

    if not any(name in LOOKED_UP for name, _ in parsed.pairs):
        assert [each.text for each in look.odd if each.name == UNREAD] == [each.text for each in parsed.unread]


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
    new = "/ui/operations/new"
    page = browser.page(f"{JOBS}?kind=send_email&unread=quue:mail")
    [path] = page.links("Leave it out")
    without = browser.page(path)

    refused = browser.post(new, **{**form(without, new), "action": "retry", "unread": "quue:mail"})

    chips = [each.attrs["href"] for nav in page.all("nav", **{"aria-label": "Status"}) for each in nav.all("a")]
    assert (new in page.actions(), new in without.actions()) == (False, True)
    assert (path, refused.status_code) == (f"{JOBS}?kind=send_email", 422)
    assert [each for each in chips if "unread=quue%3Amail" not in each] == []


def test_keeps_nothing_that_it_understands_and_no_key(browser: Browser) -> None:
    for unread in ("status:failed", "key", "hlr_abcdefghijkl_swordfish x:y", ""):
        page = browser.page(f"{JOBS}?{urlencode({'unread': unread})}")

        assert box(page) == ("", "")
        assert "swordfish" not in page.one("main").text


def test_keeps_what_it_has_not_found(browser: Browser) -> None:
    check_each(
        lambda typed: box(found(browser, typed)),
        ("nowhere", ("nowhere", "")),
        ("No!", ("No!", "")),
        ("quue:mail", ("quue:mail", "Not understood: “quue:mail”: there is no filter quue.")),
        ("kind:", ("kind:", "Not understood: “kind:”: what is looked for has to follow.")),
    )
