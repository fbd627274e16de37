"""The search box of each page: it ..."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as some
from psycopg2.extensions import connection as Connection

from app.web.job_list_url import LOOKED_UP, NAMES, UNREAD, read_look, read_search
from app.web.search_box import MOST, MOST_KNOWN, QueuesRead
from haulier.domain.api_key import Scope
from tests.web.browsing import Browser, Element, faults, form, read
from tests.web.conftest import SignedIn
from tests.web.jobs import enqueue

# What it suggests


def suggested(page: Element) -> list[str]:
    [box] = page.all("input", name="q")
    [found] = page.all("datalist", id=box.given["list"])
    return [each.given["value"] for each in found.all("option")]


def test_suggests_filters_kinds_and_the_queues_that_pages_have_read(browser: Browser, conn: Connection) -> None:
    enqueue(conn, queue="mail")
    before = suggested(browser.page("/ui/help"))

    browser.page("/ui/jobs")
    after = suggested(browser.page("/ui/help"))

    assert before[: len(NAMES) + 1] == [*(f"{name}:" for name in NAMES), "payload."]
    assert {"status:failed", "status:queued", "kind:send_email", "kind:resize_image"} <= set(before)
    assert [each for each in after if each not in before] == ["queue:mail"]


@pytest.mark.parametrize("path", ["/ui", "/ui/queues", "/ui/jobs"])
def test_learns_queues_from_pages_that_read_them(browser: Browser, conn: Connection, sql, path: str) -> None:
    enqueue(conn, queue="mail")
    sql("INSERT INTO haulier.queue (name) VALUES ('mail') ON CONFLICT DO NOTHING")

    browser.page(path)

    assert "queue:mail" in suggested(browser.page("/ui/help"))


def test_suggests_what_it_understands(browser: Browser) -> None:
    found = [each for each in suggested(browser.page("/ui/help")) if each[-1] not in ":."]

    leads = {each: browser.client.get("/ui/search", query_string={"q": each}).headers.get("Location") for each in found}

    assert len(found) > 8
    assert leads == {each: f"/ui/jobs?{each.replace(':', '=')}" for each in found}


def test_suggests_no_queue_that_the_key_may_not_see(
    browser: Browser, signed_in: SignedIn, conn: Connection, sql
) -> None:
    own = signed_in(Scope.ADMIN, queues=["mail"])
    for queue in ("mail", "salmon"):
        enqueue(conn, queue=queue)
    for path in ("/ui", "/ui/queues", "/ui/jobs"):
        browser.page(path)

    assert "queue:salmon" in suggested(browser.page("/ui/help"))
    assert "queue:mail" in suggested(own.page("/ui/help"))
    assert "salmon" not in own.get("/ui/help").text


def test_suggests_no_more_than_a_person_reads(browser: Browser) -> None:
    names = [f"q{number:03}" for number in range(300)]
    browser.page("/ui/jobs")
    browser.client.application.extensions["haulier_queues_read"].note(names)

    found = suggested(browser.page("/ui/help"))

    assert len(found) == MOST
    assert [each for each in found if each.startswith("queue:q")]
    assert [each for each in found if each.startswith("kind:")]


def test_is_no_news_to_a_page_that_is_open(browser: Browser, conn: Connection) -> None:
    seen = browser.page("/ui/workers").all("main")[0].given["data-seen"]
    enqueue(conn, queue="mail")
    browser.page("/ui/jobs")

    poll = browser.get("/ui/workers", Haulier_Live=seen)

    assert "queue:mail" in suggested(browser.page("/ui/workers"))
    assert (poll.status_code, poll.text) == (204, "")


def test_forgets_queues_by_time_and_in_the_order_in_which_they_were_read(monkeypatch: pytest.MonkeyPatch) -> None:
    read, old = QueuesRead(), QueuesRead()
    read.note(["first", "again"])
    read.note([f"q{number:03}" for number in range(MOST_KNOWN - 2)])
    read.note(["again", "new"])
    monkeypatch.setattr("app.web.search_box.KNOWN_SECONDS", 0.0)
    old.note(["mail"])

    assert len(read.names()) == MOST_KNOWN
    assert [name for name in ("first", "again", "new") if name in read.names()] == ["again", "new"]
    assert old.names() == []


# What stays in it


def search(browser: Browser, typed: str, path: str = "/ui/search", **held: str) -> Any:
    return browser.client.get(path, query_string={**held, "q": typed})


def box(page: Element) -> tuple[str, str]:
    """Return what stands in the box, and the line that says what is wrong with it."""
    [found] = page.all("input", name="q")
    assert ("aria-invalid" in found.given) is ("aria-describedby" in found.given)
    says = page.all("p", id=found.given.get("aria-describedby", "none"))
    return found.given.get("value", ""), "".join(each.text for each in says)


@pytest.mark.parametrize(
    ("typed", "query", "left", "why"),
    [
        ("status:failed quue:mail", "status=failed", "quue:mail", "“quue:mail”: there is no filter quue"),
        ("status:failed,odd", "status=failed", "status:odd", "“status:odd”: no such status"),
        ("queue:mail No!", "queue=mail", "No!", "“No!”: no kind can have this name"),
        ("queue:mail after:soon", "queue=mail", "after:soon", "“after:soon”: not a time, such as 2h"),
        ("queue:mail kind:", "queue=mail", "kind:", "“kind:”: what is looked for has to follow"),
        ("key:a key:b", "key=a", "key:b", "“key:b”: given more often than can be looked for"),
        ("payload.a=1 payload.a=2", "payload.a=1", "payload.a=2", "given more often than can be looked for"),
        ("payload.a..b=1 queue:mail", "queue=mail", "payload.a..b=1", "needs a place in the payload"),
        ("status:odd x:1 y:2 z:3", "", "status:odd x:1 y:2 z:3", "“y:2”: there is no filter y; 1 more"),
        ("key:abc= queue:mail", "key=abc%3D&queue=mail", "", ""),
    ],
)
@pytest.mark.parametrize("path", ["/ui/search", "/ui/jobs"])
def test_keeps_what_it_does_not_understand_and_says_why(
    browser: Browser, path: str, typed: str, query: str, left: str, why: str
) -> None:
    answer = search(browser, typed, path)
    place = answer.headers["Location"]
    page = browser.page(place)

    found = [pair for pair in parse_qsl(urlsplit(place).query) if pair[0] != "unread"]
    assert (answer.status_code, urlencode(found)) == (303, query)
    assert "q=" not in place.replace("queue=", "")
    text, line = box(page)
    assert text == left
    assert why in line
    assert bool(line) is bool(left)


@given(some.lists(some.one_of(some.text(max_size=12), some.sampled_from(["status:", "key:a", "key:b", "x:y", ","]))))
def test_leaves_the_same_unread_from_a_url_as_from_what_was_typed(words: list[str]) -> None:
    found = read_search(" ".join(words))
    names = dict.fromkeys(name for name, _ in found.query)

    look = read_look((name, [text for each, text in found.query if each == name]) for name in names)

    if not any(name in LOOKED_UP for name, _ in found.pairs):
        assert [each.text for each in look.odd if each.name == UNREAD] == [each.text for each in found.unread]


def test_holds_what_is_put_right_beside_the_rest(browser: Browser) -> None:
    page = browser.page("/ui/jobs?status=failed&after=2h&unread=quue:mail")
    [sent] = page.all("form", role="search")
    held = {each.given["name"]: each.given["value"] for each in sent.all("input", type="hidden")}

    typed = ("queue:mail", "status:failed after:1h", "", "0193b1a2-7c5e-7d41-9c3b-2f6a8e0d4b11")
    leads = [search(browser, each, **held).headers["Location"] for each in typed]

    assert held == {"status": "failed_permanent", "after": "2h"}
    assert leads == [
        "/ui/jobs?status=failed_permanent&after=2h&queue=mail",
        "/ui/jobs?status=failed_permanent&status=failed&after=1h",
        "/ui/jobs?status=failed_permanent&after=2h",
        "/ui/jobs/0193b1a2-7c5e-7d41-9c3b-2f6a8e0d4b11",
    ]
    assert read_look([("status", ["failed_permanent", "failed"])]).pairs == (("status", "failed_permanent"),)
    assert browser.page("/ui/jobs?status=failed").all("form", role="search")[0].all("input", type="hidden") == []


def test_acts_on_nothing_while_something_is_not_understood_until_it_is_left_out(
    browser: Browser, conn: Connection
) -> None:
    enqueue(conn)
    page = browser.page("/ui/jobs?kind=send_email&unread=quue:mail")
    [lead] = [each for each in page.all("a") if each.text == "Leave it out"]
    without = browser.page(lead.given["href"])
    sent = {**form(without, "/ui/operations/new"), "action": "retry", "unread": "quue:mail"}
    refused = browser.post("/ui/operations/new", **sent)

    chips = [each.given["href"] for each in page.all("nav", **{"aria-label": "Status"}) for each in each.all("a")]
    assert page.all("form", action="/ui/operations/new") == []
    assert without.all("form", action="/ui/operations/new")
    assert refused.status_code == 422
    assert lead.given["href"] == "/ui/jobs?kind=send_email"
    assert [place for place in chips if "unread=quue%3Amail" not in place] == []


@pytest.mark.parametrize("query", ["status:failed", "key", "hlr_abcdefghijkl_swordfish x:y", ""])
def test_keeps_nothing_that_it_understands_and_no_key(browser: Browser, query: str) -> None:
    answer = browser.client.get("/ui/jobs", query_string={"unread": query})

    page = read(answer.text)
    assert (answer.status_code, faults(page)) == (200, [])
    assert box(page) == ("", "")
    assert "swordfish" not in page.all("main")[0].text


@pytest.mark.parametrize(
    ("typed", "line"),
    [
        ("nowhere", ""),
        ("No!", ""),
        ("quue:mail", "Not understood: “quue:mail”: there is no filter quue."),
        ("kind:", "Not understood: “kind:”: what is looked for has to follow."),
    ],
)
def test_keeps_what_is_found_nowhere(browser: Browser, typed: str, line: str) -> None:
    page = read(search(browser, typed).text)

    assert "No match for" in page.text
    assert box(page) == (typed, line)


@pytest.mark.parametrize(
    "text", ['x:"><script>alert(1)</script>', "x:" + "W" * 900, "a:\u202etxt.exe", "x:{{ 7 * 7 }}"]
)
def test_keeps_what_others_wrote_as_text(browser: Browser, text: str) -> None:
    place = search(browser, f"status:failed {text}").headers["Location"]

    page = browser.page(place)

    assert [each.text for each in page.all("script") if each.text] == []
    assert box(page)[0] == text[:300]
    assert len(box(page)[1]) < 160
