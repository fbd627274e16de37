"""The pages of API keys, and the audit: it ..."""

from __future__ import annotations

import csv
import re
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlencode

import pytest
from psycopg2.extensions import connection as Connection

from app.web.pages.audit import _cell, lines_of
from haulier.domain.api_key import TOKEN, Scope
from haulier.queue import consume, produce
from haulier.queue.produce.change import Changes
from haulier.queue.produce.pauses import pause, resume
from tests.http.callers import MakeKey, make_key  # noqa: F401  # fixture
from tests.web.browsing import Browser, faults, read
from tests.web.conftest import MakeSite, SignedIn, new_key
from tests.web.jobs import claim, enqueue, in_all_states

LIST, NEW, AUDIT = "/ui/keys", "/ui/keys/new", "/ui/audit"
ACTS = ("rotate", "revoke", "sign-out")


def shown(text: str) -> str:
    """Return the key that a page shows."""
    found = re.search(TOKEN.pattern, text)
    assert found
    return found[0]


def token_of(browser: Browser) -> str:
    return browser.page("/ui/settings").all("input", name="csrf")[0].given["value"]


def test_makes_a_key_and_shows_it_this_once(browser: Browser, sql: Any, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    made = browser.send(
        browser.page(NEW), NEW, name="shop", scopes=["enqueue", "read"], queues="mail, bulk", rate_limit="50", days="7"
    )

    page = read(made.text)
    token = shown(made.text)
    assert (made.status_code, faults(page)) == (201, [])
    assert made.headers["Cache-Control"] == "no-store"
    asked = "SELECT scopes, queues, rate_limit, expires_at IS NOT NULL FROM haulier.api_key WHERE name = 'shop'"
    assert sql(asked) == [(["enqueue", "read"], ["bulk", "mail"], 50.0, True)]
    assert Browser(browser.client.application).sign_in(token).status_code == 303
    others = [browser.get(path).text for path in (LIST, AUDIT, "/ui/audit.csv", f"{LIST}/{token[4:16]}")]
    assert [text for text in (*others, caplog.text) if token in text or token[17:] in text] == []
    assert "shop" in others[0]


@pytest.mark.parametrize(
    ("sent", "why"),
    [
        ({"name": ""}, "Must be 1 to 100"),
        ({"scopes": []}, "Choose one at least."),
        ({"queues": "No"}, "Must begin with"),
        ({"rate_limit": "x"}, "Not a valid number"),
        ({"days": "0"}, ""),
    ],
)
def test_gives_the_form_back_with_what_is_wrong(browser: Browser, sql: Any, sent: dict[str, Any], why: str) -> None:
    refused = browser.send(browser.page(NEW), NEW, **{"name": "shop", "scopes": ["read"], **sent})

    page = read(refused.text)
    assert (refused.status_code, faults(page)) == (422, [])
    assert why in page.text
    assert page.all("span", class_="small failed") or page.all("p", class_="small failed")
    assert sql("SELECT count(*) FROM haulier.api_key WHERE name = 'shop'") == [(0,)]


def test_gives_a_key_another_secret_and_ends_it(browser: Browser, make_key: MakeKey, sql: Any) -> None:  # noqa: F811
    key, old = new_key(make_key, Scope.READ)
    path = f"{LIST}/{key.id}"

    rotated = browser.send(browser.page(path), f"{path}/rotate", hours="0")
    kept = browser.send(browser.page(path), f"{path}/revoke", confirm="test")
    revoked = browser.send(browser.page(path), f"{path}/revoke", confirm="tests")

    assert (rotated.status_code, faults(read(rotated.text))) == (200, [])
    assert shown(rotated.text) != old
    assert (kept.status_code, faults(read(kept.text))) == (422, [])
    assert (revoked.status_code, revoked.headers["Location"]) == (303, LIST)
    assert sql("SELECT revoked_at IS NOT NULL FROM haulier.api_key WHERE id = %s", key.id) == [(True,)]
    assert browser.get(path).status_code == 404
    assert "Revoked" in browser.page(LIST).all("tr", id=f"key-{key.id}")[0].text


def test_says_that_it_is_ones_own(browser: Browser) -> None:
    assert "You are signed in with this key" in browser.page(f"{LIST}/{browser.key.id}").text
    assert "yours" in browser.page(LIST).all("tr", id=f"key-{browser.key.id}")[0].text


@pytest.mark.parametrize(("scopes", "queues"), [([Scope.READ, Scope.OPERATE], None), ([Scope.ADMIN], ["mail"])])
def test_is_for_those_who_may_make_keys_for_every_queue(
    signed_in: SignedIn, sql: Any, scopes: list[Scope], queues: Any
) -> None:
    browser = signed_in(*scopes, queues=queues)
    own, token = f"{LIST}/{browser.key.id}", token_of(browser)

    read_ = [browser.get(path).status_code for path in (LIST, NEW, own)]
    acts = [browser.post(path, csrf=token).status_code for path in (NEW, *(f"{own}/{act}" for act in ACTS))]

    assert (read_, acts) == ([403] * 3, [403] * 4)
    assert browser.page("/ui/help").all("a", href=LIST) == []
    assert sql("SELECT count(*) FROM haulier.api_key WHERE revoked_at IS NOT NULL") == [(0,)]


def test_makes_none_where_it_is_for_reading(make_site: MakeSite, signed_in: SignedIn, sql: Any) -> None:
    browser = signed_in(Scope.ADMIN, app=make_site(dashboard="read"))

    refused = browser.post(NEW, csrf=token_of(browser), name="shop", scopes=["read"])

    assert refused.status_code == 403
    assert browser.page(LIST).all("a", href=NEW) == []
    assert sql("SELECT count(*) FROM haulier.api_key WHERE name = 'shop'") == [(0,)]


def test_shows_hostile_names_as_text(browser: Browser, make_key: MakeKey, sql: Any) -> None:  # noqa: F811
    key, _ = new_key(make_key, Scope.READ)
    sql("UPDATE haulier.api_key SET name = %s WHERE id = %s", '"><script>alert(1)</script>', key.id)

    for path in (LIST, f"{LIST}/{key.id}"):
        page = browser.page(path)
        assert [each.text for each in page.all("script") if each.text] == []
        assert '"><script>alert(1)</script>' in page.text


# The audit


def test_shows_what_was_done_with_what_changed(browser: Browser, conn: Connection) -> None:
    empty = browser.page(AUDIT)
    job = enqueue(conn)
    produce.change(conn, job, Changes.of(priority=7), actor="ops-anna")
    produce.cancel(conn, job, actor="ops-bert")
    browser.client.application.extensions.pop("haulier_shelf", None)

    page = browser.page(AUDIT)

    rows = [row.text for row in page.all("tr") if row.given.get("id", "").startswith("entry-")]
    assert "create key" in empty.text
    assert "ops-bert cancel" in rows[0]
    assert "priority: 0 → 7" in rows[1]
    assert page.all("a", href=f"/ui/jobs/{job}")


@pytest.mark.parametrize(
    ("query", "actors"),
    [
        ({"actor": "ops-anna"}, ["ops-anna"]),
        ({"action": "cancel"}, ["ops-anna", "ops-bert"]),
        ({"action": "cancel", "actor": "ops-bert"}, ["ops-bert"]),
        ({"action": "retry"}, []),
        ({"after": "1h", "action": "cancel"}, ["ops-anna", "ops-bert"]),
        ({"before": "1h"}, []),
        ({"job": "JOB"}, ["ops-anna"]),
    ],
)
def test_shows_what_a_filter_says(browser: Browser, conn: Connection, query: dict[str, str], actors: list[str]) -> None:
    jobs = {actor: enqueue(conn) for actor in ("ops-anna", "ops-bert")}
    for actor, job in jobs.items():
        produce.cancel(conn, job, actor=actor)
    asked = urlencode({name: str(jobs["ops-anna"]) if text == "JOB" else text for name, text in query.items()})

    page, answer = browser.page(f"{AUDIT}?{asked}"), browser.get(f"/ui/audit.csv?{asked}")

    listed = [row.all("td")[1].text for row in page.all("tr") if "id" in row.given]
    assert sorted(listed) == actors
    assert sorted(row["actor"] for row in csv.DictReader(answer.text.splitlines())) == actors


def test_reads_times_of_a_filter_in_the_zone_of_each_viewer(browser: Browser) -> None:
    began = (datetime.now(UTC) - timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M")

    found = []
    for zone in ("UTC", "Etc/GMT+12"):
        browser.client.set_cookie("haulier-zone", zone)
        found.append(bool([row for row in browser.page(f"{AUDIT}?after={began}").all("tr") if "id" in row.given]))

    assert found == [True, False]


@pytest.mark.parametrize("query", ["job=x", "after=soon", "before=soon", "action=dance", "older=x"])
def test_heeds_no_filter_that_is_none_and_says_so(browser: Browser, query: str) -> None:
    page = browser.page(f"{AUDIT}?{query}")

    assert ("Ignored: " in page.text) == (not query.startswith("older"))
    assert [row for row in page.all("tr") if "id" in row.given]


def test_leads_from_a_queue_to_its_earlier_pauses(browser: Browser, conn: Connection) -> None:
    for name in ("mail", "other"):
        pause(conn, name, actor="ops-anna")
    resume(conn, "mail", actor="ops-bert")

    [place] = [each.given["href"] for each in browser.page("/ui/queues/mail").all("a") if each.text == "Earlier pauses"]
    page = browser.page(place)

    rows = [[cell.text for cell in row.all("td")][1:4] for row in page.all("tr") if "id" in row.given]
    assert rows == [["ops-bert", "resume", "mail"], ["ops-anna", "pause", "mail"]]
    assert page.all("input", id="f-target")[0].given["value"] == "mail"


def test_goes_through_the_record_each_entry_once(browser: Browser, conn: Connection, sql: Any) -> None:
    for _ in range(70):
        produce.cancel(conn, enqueue(conn), actor="ops-anna")

    found, path = [], f"{AUDIT}?actor=ops-anna"
    while path:
        page = browser.page(path)
        found += [row.given["id"] for row in page.all("tr") if "id" in row.given]
        path = next((each.given["href"] for each in page.all("a", rel="next")), "")

    assert len(found) == len(set(found)) == 70


@pytest.mark.parametrize(("scopes", "queues"), [([Scope.READ], None), ([Scope.ADMIN], ["mail"])])
def test_shows_the_record_to_those_alone_who_operate_every_queue(
    signed_in: SignedIn, scopes: list[Scope], queues: Any
) -> None:
    browser = signed_in(*scopes, queues=queues)

    assert [browser.get(path).status_code for path in (AUDIT, "/ui/audit.csv")] == [403, 403]


@pytest.mark.parametrize(
    ("details", "lines"),
    [
        (None, []),
        ({"changes": {"priority": {"old": 0, "new": 7}, "payload": {}}}, ["priority: 0 → 7", "payload changed"]),
        ({"filter": {"kind": ["a"]}}, ['filter: {"kind": ["a"]}']),
        (
            {"changes": {str(n): {"old": 1, "new": 2} for n in range(20)}},
            [*(f"{n}: 1 → 2" for n in range(12)), "and 8 more"],
        ),
    ],
)
def test_tells_details_in_lines(details: Any, lines: list[str]) -> None:
    assert lines_of(details) == lines


def test_lets_no_spreadsheet_take_a_cell_for_a_formula() -> None:
    assert [_cell(text) for text in ("=1+1", "@x", "plain")] == ["'=1+1", "'@x", "plain"]


# The search box


def search(browser: Browser, typed: str) -> Any:
    return browser.client.get("/ui/search", query_string={"q": typed})


@pytest.mark.parametrize(
    ("typed", "leads_to"),
    [
        ("0193b1a2-7c5e-7d41-9c3b-2f6a8e0d4b11", "/ui/jobs/0193b1a2-7c5e-7d41-9c3b-2f6a8e0d4b11"),
        ("kind:send_email status:failed,queued", "/ui/jobs?kind=send_email&status=failed&status=queued"),
        ("payload.order.id=4711", "/ui/jobs?payload.order.id=4711"),
        ("error:0123456789abcdef", "/ui/jobs?error=0123456789abcdef"),
        ("send_email", "/ui/jobs?kind=send_email"),
        ("mail", "/ui/queues/mail"),
        ("key-running", "/ui/jobs?key=key-running"),
        ("night", "/ui/jobs?tag=night"),
        ("  ", "/ui/jobs"),
        ("hlr_abcdefghijkl_xyz", "/ui/jobs?unread=key"),
    ],
)
def test_leads_from_the_search_box_to_what_was_typed(
    browser: Browser, conn: Connection, sql: Any, typed: str, leads_to: str
) -> None:
    in_all_states(conn)
    sql("INSERT INTO haulier.queue (name) VALUES ('mail') ON CONFLICT DO NOTHING")

    answer = search(browser, typed)

    assert (answer.status_code, answer.headers.get("Location")) == (303, leads_to)


def test_finds_a_job_by_the_beginning_of_its_id(browser: Browser, signed_in: SignedIn, conn: Connection) -> None:
    jobs = in_all_states(conn)
    own = signed_in(Scope.READ, queues=["cancelled", "nowhere"])

    found = [search(browser, str(job)[:length]) for job in jobs.values() for length in (35, 36)]
    many = read(search(browser, str(jobs["queued"])[:8].upper()).text)
    few, none = (search(own, str(jobs[status])[:35]) for status in ("cancelled", "queued"))
    by_the_list = browser.client.get("/ui/jobs", query_string={"q": str(jobs["queued"])[:35]})

    places = [f"/ui/jobs/{job}" for job in jobs.values()]
    assert [answer.headers.get("Location") for answer in found] == [place for place in places for _ in range(2)]
    leads = [each.given["href"] for each in many.all("main")[0].all("a")]
    # Ids of the same minute begin alike.
    alike = f"/ui/jobs/{str(jobs['queued'])[:8]}"
    assert leads == sorted(place for place in places if place.startswith(alike))
    assert few.headers.get("Location") == f"/ui/jobs/{jobs['cancelled']}"
    assert "No match for" in none.text
    assert by_the_list.headers["Location"] == f"/ui/search?q={str(jobs['queued'])[:35]}"


def test_finds_workers_by_their_host_and_name(browser: Browser, signed_in: SignedIn, conn: Connection) -> None:
    workers = [claim(conn, queue, host)[0] for queue, host in (("mail", "dock"), ("mail", "pier"), ("salmon", "pier"))]
    consume.deregister(conn, workers[0])
    own = signed_in(Scope.READ, queues=["mail"])

    typed = ("dock", "dock:7", "worker:dock:7 status:failed")
    places = [search(browser, each).headers.get("Location") for each in typed]
    two = [read(search(browser, each).text).all("main")[0].all("a") for each in ("pier", "worker:pier")]
    one, none = search(own, "pier"), search(browser, "dock:8")

    assert places == [f"/ui/workers/{workers[0]}"] * 2 + [f"/ui/jobs?status=failed&worker={workers[0]}"]
    assert [{each.given["href"] for each in links} for links in two] == [
        {f"/ui/workers/{each}" for each in workers[1:]},
        {f"/ui/jobs?worker={each}" for each in workers[1:]},
    ]
    assert one.headers.get("Location") == f"/ui/workers/{workers[1]}"
    assert "No match for" in none.text


def test_says_that_more_ids_begin_so(browser: Browser, conn: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.web.pages.search.MOST_JOBS", 2)
    jobs = sorted(str(enqueue(conn)) for _ in range(3))

    page = read(search(browser, jobs[0][:8]).text)

    assert [each.given["href"] for each in page.all("main")[0].all("a")] == [f"/ui/jobs/{job}" for job in jobs[:2]]
    assert "Type more" in page.text


def test_finds_errors_by_a_part_of_their_text(browser: Browser, conn: Connection) -> None:
    in_all_states(conn)

    found = [search(browser, typed) for typed in ('error:"no luck"', "luck", "status:failed error:luck")]

    places = [answer.headers.get("Location", "") for answer in found]
    assert [re.sub(r"[0-9a-f]{16}", "ID", place) for place in places] == [
        "/ui/jobs?error=ID",
        "/ui/jobs?error=ID",
        "/ui/jobs?status=failed&error=ID",
    ]


def test_asks_which_is_meant_where_it_is_more_than_one(browser: Browser, conn: Connection) -> None:
    enqueue(conn, tags=["send_email"])

    answer = search(browser, "send_email")

    page = read(answer.text)
    assert (answer.status_code, faults(page)) == (200, [])
    leads = [each.given["href"] for each in page.all("main")[0].all("a")]
    assert leads == ["/ui/jobs?kind=send_email", "/ui/jobs?tag=send_email"]


@pytest.mark.parametrize("typed", ["nowhere", "<script>alert(1)</script>", "%", "' OR 1=1", "01a2108e-9bc5"])
def test_says_that_there_is_none(browser: Browser, typed: str) -> None:
    answer = search(browser, typed)

    page = read(answer.text)
    assert (answer.status_code, faults(page)) == (200, [])
    assert "No match for" in page.text
    assert typed in [each.text for each in page.all("b")]
    assert [each.text for each in page.all("script") if each.text] == []


def test_finds_nothing_of_a_queue_that_the_key_may_not_see(signed_in: SignedIn, conn: Connection, sql: Any) -> None:
    enqueue(conn, queue="salmon", tags=["swordfish"], idempotency_key="order-7")
    sql("INSERT INTO haulier.queue (name) VALUES ('salmon') ON CONFLICT DO NOTHING")
    browser = signed_in(Scope.ADMIN, queues=["mail"])

    for typed in ("salmon", "swordfish", "order-7"):
        assert "No match for" in search(browser, typed).text
