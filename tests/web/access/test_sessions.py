"""Sessions of the dashboard: it ..."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from flask import Flask
from psycopg2.extensions import connection as Connection

from haulier.domain.api_key import Scope
from haulier.queue.access import api_keys, sessions
from tests.http.callers import SECRET, MakeKey, door_of
from tests.web.browsing import SAME, Browser, MakeSite, SignedIn, form, new_key


@pytest.fixture
def token(make_key: MakeKey) -> str:
    return new_key(make_key, Scope.ADMIN)[1]


def test_leads_to_the_sign_in_page_and_from_there_to_the_page_one_wanted(site: Flask, token: str) -> None:
    browser = Browser(site)

    asked, polled = browser.get("/ui/settings?x=1"), browser.get("/ui", Haulier_Live="abc")
    entered = browser.send(browser.page(asked.headers["Location"]), "/ui/sign-in", key=token)

    assert (polled.status_code, polled.text) == (401, "")
    assert (asked.status_code, asked.headers["Location"]) == (303, "/ui/sign-in?next=/ui/settings?x%3D1")
    assert (entered.status_code, entered.headers["Location"]) == (303, "/ui/settings?x=1")
    assert browser.get("/ui/settings").status_code == 200
    assert browser.get("/ui/sign-in").headers["Location"] == "/ui"


def test_never_leads_out_of_the_dashboard(site: Flask, token: str) -> None:
    browser = Browser(site)

    odd = ("/uix", "/ui\\evil", "/ui\t//evil", "/ui/\n", "/ui/" + "x" * 2000)
    for place in ("//evil.example", "https://evil.example", "//evil/ui", "/jobs", "x", *odd):
        browser.client.delete_cookie("haulier")
        entered = browser.sign_in(token, next=place)
        assert (entered.status_code, entered.headers["Location"]) == (303, "/ui"), place


def test_gives_a_new_session_to_a_browser_that_comes_with_one(site: Flask, token: str, conn: Connection) -> None:
    browser = Browser(site)
    planted = sessions.open_session(conn, key_id="env", key_hash=b"x" * 32, idle_seconds=60)
    browser.client.set_cookie("haulier", planted)

    browser.sign_in(token)

    assert browser.cookie("haulier") not in (None, planted)
    assert sessions.find_session(conn, planted) is None


def test_keeps_its_cookie_from_scripts_and_other_sites_and_hosts(site: Flask, token: str) -> None:
    def flags(browser: Browser, name: str) -> str:
        set_ = [each.partition("=") for each in browser.sign_in(token).headers.getlist("Set-Cookie")]
        [rest] = [rest for each, _, rest in set_ if each == name]
        return rest.partition("; ")[2]

    secure = Browser(site, base_url="https://localhost")

    assert flags(Browser(site), "haulier") == "HttpOnly; Path=/; SameSite=Strict"
    assert flags(secure, "__Host-haulier") == "Secure; HttpOnly; Path=/; SameSite=Strict"
    assert secure.get("/ui").status_code == 200


def test_ends_in_the_browser_and_the_database_by_signing_out(browser: Browser, sql) -> None:
    stolen, key = browser.cookie("haulier"), browser.key.id

    out = browser.send(browser.page("/ui/settings"), "/ui/sign-out")

    assert (out.status_code, out.headers["Location"]) == (303, "/ui/sign-in")
    assert browser.cookie("haulier") is None
    assert sql("SELECT count(*) FROM haulier.session") == [(0,)]
    recorded = sql("SELECT actor, action, key_id FROM haulier.audit WHERE action LIKE 'sign%' ORDER BY id")
    assert recorded == [(key, "sign_in", key), (key, "sign_out", key)]
    browser.client.set_cookie("haulier", stolen)
    assert browser.get("/ui").status_code == 303


def test_ends_some_hours_after_its_last_use_and_after_seven_days(browser: Browser, sql) -> None:
    def left() -> float:
        [[seconds]] = sql("SELECT extract(epoch FROM expires_at - now())::float FROM haulier.session")
        return seconds

    sql("UPDATE haulier.session SET seen_at = now() - interval '2 hours', expires_at = now() + interval '10 hours'")
    browser.get("/ui/settings", Haulier_Live="x")
    polled = left()
    browser.get("/ui/settings")
    used = left()
    sql(
        "UPDATE haulier.session SET seen_at = now() - interval '1 hour', created_at = now() - interval '167 hours',"
        " expires_at = now() + interval '1 minute'"
    )
    browser.get("/ui/settings")
    in_the_last_hour = left()
    sql("UPDATE haulier.session SET expires_at = now() - interval '1 second'")

    assert polled < 10 * 3600 < 12 * 3600 - 10 < used <= 12 * 3600
    assert 1800 < in_the_last_hour <= 3600
    assert browser.get("/ui/settings").status_code == 303


def test_ends_with_its_key_and_with_the_secret_that_opened_it(
    browser: Browser, site: Flask, conn: Connection, sql
) -> None:
    def is_in(*browsers: Browser) -> list[bool]:
        # What the application knows of keys lasts 5 s.
        door_of(site).keyring._known.clear()
        return [each.get("/ui/settings").status_code == 200 for each in browsers]

    second, third = Browser(site), Browser(site)
    second.sign_in(api_keys.rotate(conn, browser.key.id, overlap=timedelta(hours=1), actor="test"))
    while_both_are_good = is_in(browser, second)
    # At once, although the application still knows the old secret.
    third.sign_in(api_keys.rotate(conn, browser.key.id, overlap=timedelta(0), actor="test"))

    assert while_both_are_good == [True, True]
    assert is_in(browser, second, third) == [False, False, True]
    api_keys.revoke(conn, browser.key.id, actor="test")
    assert is_in(third) == [False]
    assert sql("SELECT count(*) FROM haulier.session") == [(0,)]


def test_is_opened_by_the_first_key_too(make_site: MakeSite) -> None:
    browser = Browser(make_site(haulier_api_key=SECRET))

    browser.sign_in(SECRET)

    assert "HAULIER_API_KEY" in browser.page("/ui/settings").text
    changed = Browser(make_site(haulier_api_key=SECRET[::-1]))
    changed.client.set_cookie("haulier", browser.cookie("haulier"))
    assert changed.get("/ui/settings").status_code == 303


def test_is_opened_by_no_wrong_revoked_or_enqueuing_key(site: Flask, token: str, make_key: MakeKey, sql) -> None:
    of_enqueue = Browser(site).sign_in(new_key(make_key, Scope.ENQUEUE)[1])
    Browser(site).sign_in(token)
    sql("UPDATE haulier.api_key SET revoked_at = now()")

    for key in ("", "hlr_abcdefghijkl_" + "x" * 43, "nonsense", "ü" * 70, token):
        refused = Browser(site).sign_in(key)
        assert (refused.status_code, "unknown, expired or revoked" in refused.text) == (403, True)
        assert key == "" or key not in refused.text

    assert (of_enqueue.status_code, "may only enqueue jobs" in of_enqueue.text) == (403, True)
    assert sql("SELECT count(*) FROM haulier.session") == [(1,)]


def test_is_opened_by_a_good_key_each_time_while_others_try_wrong_ones(site: Flask, make_key: MakeKey) -> None:
    tokens = [new_key(make_key, Scope.READ)[1] for _ in range(25)]
    start, ends = threading.Barrier(4), threading.Event()

    def guess(thread: int) -> list[int]:
        browser, found = Browser(site), list[int]()
        sent = form(browser.page("/ui/sign-in"), "/ui/sign-in")
        start.wait(10)
        while not ends.is_set() or len(found) < 50:
            wrong = f"hlr_{thread}{len(found):011d}_{'x' * 43}"
            found.append(browser.post("/ui/sign-in", **{**sent, "key": wrong}).status_code)
        return found

    with ThreadPoolExecutor(3) as others:
        guesses = [others.submit(guess, thread) for thread in range(3)]
        start.wait(10)
        entered = [Browser(site).sign_in(token).status_code for token in tokens]
        ends.set()
        refused = [status for each in guesses for status in each.result()]

    assert entered == [303] * 25
    assert set(refused) == {403, 429}


def test_bounds_how_often_an_address_can_try_wrong_keys(site: Flask) -> None:
    browser = Browser(site)
    sent = {**form(browser.page("/ui/sign-in"), "/ui/sign-in"), "key": "nonsense"}

    def tried(address: str, times: int) -> list[int]:
        at: dict[str, Any] = {"headers": SAME, "environ_overrides": {"REMOTE_ADDR": address}}
        return [browser.client.post("/ui/sign-in", data=sent, **at).status_code for _ in range(times)]

    assert set(tried("192.0.2.7", 30)) == {403, 429}
    assert tried("192.0.2.8", 2) == [403, 403]


def test_opens_nothing_of_the_api_and_a_key_nothing_of_the_dashboard(browser: Browser, site: Flask, token: str) -> None:
    shown = {"Authorization": f"Bearer {token}"}

    assert browser.client.get("/jobs").status_code == 401
    assert site.test_client().get("/ui/settings", headers=shown).status_code == 303
    assert site.test_client().get("/jobs", headers=shown).status_code == 200


def test_answers_a_link_from_elsewhere_by_loading_it_again_from_here(browser: Browser, site: Flask) -> None:
    stranger = site.test_client()

    first = stranger.get("/ui/jobs?queue=mail", headers={"Sec-Fetch-Site": "cross-site"})
    second = stranger.get("/ui/jobs?queue=mail", headers=SAME)

    assert (first.status_code, 'http-equiv="refresh" content="0"' in first.text) == (200, True)
    assert second.status_code == 303


def test_keeps_its_token_and_the_key_out_of_logs_and_the_database(site: Flask, token: str, sql, caplog) -> None:
    caplog.set_level("DEBUG")
    browser = Browser(site)
    browser.sign_in(token)
    browser.get("/ui/settings?secret=swordfish")

    [[row]] = sql("SELECT row_to_json(session)::text FROM haulier.session")
    for secret in (token.split("_", 2)[2], browser.cookie("haulier")):
        assert (secret in row, secret in caplog.text) == (False, False)
    assert "swordfish" not in caplog.text


def test_needs_no_key_on_a_machine_without_any(make_site: MakeSite, signed_in: SignedIn) -> None:
    app = make_site(host="127.0.0.1")
    neighbour = Browser(app)

    page = neighbour.page("/ui/settings")
    from_elsewhere = neighbour.get("/ui/settings", Host="evil.example")
    saved = neighbour.send(page, "/ui/settings", zone="Europe/Berlin", theme="dark")
    signed_in()  # makes a key, after which it takes one

    assert "everyone who can reach this service" in page.text
    assert from_elsewhere.status_code == 403
    brought = [neighbour.get(path, X_Forwarded_For="1.2.3.4") for path in ("/ui", "/ui/sign-in", "/ui/nowhere")]
    assert [(each.status_code, "create an API key" in each.text) for each in brought] == [(401, True)] * 3
    assert saved.status_code == 303
    door_of(app).keyring._any_until = 0.0
    assert neighbour.get("/ui/settings").status_code == 303


def test_leads_a_key_that_may_only_operate_to_its_first_page(site: Flask, make_key: MakeKey) -> None:
    browser = Browser(site)

    entered = browser.sign_in(new_key(make_key, Scope.OPERATE)[1])
    led = browser.get(entered.headers["Location"])
    page = browser.page(led.headers["Location"])
    closed = browser.page("/ui/jobs", 403)

    assert (led.status_code, led.headers["Location"]) == (303, "/ui/operations")
    assert browser.get("/ui", Haulier_Live="x").status_code == 403
    assert page.all("form", role="search") == []
    assert {each.attrs["href"] for each in page.all("a", class_="brand")} == {"/ui/operations"}
    assert [each.text for each in closed.all("main")[0].all("a")] == ["Go to operations"]
