"""The dashboard in a real browser with the network closed, with and without JavaScript: it ..."""

from __future__ import annotations

from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Page, Route, expect
from psycopg2.extensions import connection as Connection

from haulier.queue.access import api_keys
from tests.browser.conftest import MakeTab
from tests.browser.tab import Tab, at, poll, sign_in
from tests.web import Server
from tests.web.jobs import enqueue, in_all_states

pytestmark = [pytest.mark.browser, pytest.mark.timeout(600)]

# Runs no script but its own: trusted types forbid this.
WRITES = """() => {
    try { document.body.innerHTML = "<b>x</b>"; return "not blocked"; } catch (error) { return error.name; }
}"""


@pytest.mark.parametrize("has_scripts", [True, False], ids=["scripts", "no scripts"])
def test_signs_in_acts_and_signs_out(server: Server, make_tab: MakeTab, conn: Connection, has_scripts: bool) -> None:
    tab = make_tab(java_script_enabled=has_scripts)
    page, jobs = tab.page, in_all_states(conn)
    sign_in(page, server.url, conn)
    said = page.locator("#said")

    path = f"/ui/jobs/{jobs['queued']}"
    page.goto(f"{server.url}{path}")
    page.locator(f"form[action='{path}/cancel'] button").click()
    expect(said).to_have_text("Cancelled. Retry")
    said.get_by_role("button", name="Retry").click()
    expect(said).to_contain_text("Retried")
    page.locator("details", has_text="Change…").locator("summary").click()
    page.locator("#f-priority").fill("42")
    page.get_by_role("button", name="Change", exact=True).click()
    expect(page.locator("dl.facts")).to_contain_text("42")
    page.goto(f"{server.url}/ui/jobs/{jobs['running']}")
    page.get_by_role("button", name="Cancel", exact=True).click()
    expect(said).to_contain_text("Cancel requested")
    page.goto(f"{server.url}/ui/jobs/{jobs['failed_permanent']}")
    page.locator("details", has_text="Delete…").locator("summary").click()
    page.get_by_role("button", name="Delete this job").click()
    at(page, "/ui/jobs")
    page.locator("#q").fill("status:cancelled queue:cancelled")
    page.locator("#q").press("Enter")
    expect(page.locator("main tbody tr")).to_have_count(1)
    page.locator("form[action='/ui/settings/theme'] button").click()
    expect(page.locator("html")).to_have_attribute("data-theme", "light")
    page.get_by_role("button", name="Sign out").click()
    at(page, "/ui/sign-in")

    assert tab.said == []
    assert tab.hosts == {urlsplit(server.url).netloc}
    if has_scripts:
        assert page.evaluate(WRITES) == "TypeError"


def test_sends_a_form_once_by_a_double_click_and_again_after_going_back(
    server: Server, tab: Tab, conn: Connection
) -> None:
    page, path = tab.page, f"/ui/jobs/{enqueue(conn)}"
    button, said = page.locator(f"form[action='{path}/copy'] button"), page.locator("#said")
    sign_in(page, server.url, conn)
    page.goto(f"{server.url}{path}")
    before = len(tab.sent)

    # The second click comes when the first one's form is on its way: of two at once Chromium sends one by itself.
    held: list[Route] = []
    page.route("**/copy", lambda route: held.append(route))
    button.evaluate("button => { button.click(); setTimeout(() => button.click(), 300); }")
    page.wait_for_timeout(1000)
    by_two_clicks = len(tab.sent) - before
    held[-1].continue_()
    page.unroute("**/copy")
    expect(said).to_have_text("Copied. This is the copy.")
    page.go_back()
    button.click()
    expect(said).to_contain_text("opied")

    assert by_two_clicks == 1
    assert len(tab.sent) - before == 2
    assert tab.said == []


def test_stays_fresh_and_keeps_what_a_person_has_opened(server: Server, page: Page, tab: Tab, conn: Connection) -> None:
    job = enqueue(conn)
    page.clock.install()
    sign_in(page, server.url, conn)
    path = f"/ui/jobs/{job}"
    page.goto(f"{server.url}{path}")
    page.locator("details.card summary").first.click()
    button = page.locator(f"form[action='{path}/cancel'] button")
    button.focus()
    page.evaluate("() => { window.here = true; }")

    for priority in range(42, 45):
        with conn.cursor() as cursor:
            cursor.execute("UPDATE haulier.job SET priority = %s", [priority])
        poll(page)
        # What is kept for 2 s must have been read anew.
        page.wait_for_timeout(2100)
        poll(page)
        expect(page.locator("dl.facts")).to_contain_text(f"{priority}")

    assert page.evaluate("() => window.here")
    assert page.locator("details.card").first.get_attribute("open") is not None
    expect(button).to_be_focused()
    # While text is selected it waits.
    page.evaluate("() => getSelection().selectAllChildren(document.querySelector('h1'))")
    tab.asked.clear()
    page.clock.run_for(20_000)
    expect(page.locator("[data-live-toggle]")).to_have_text("Paused")
    assert [url for url in tab.asked if "/ui/jobs" in url] == []
    page.evaluate("() => getSelection().removeAllRanges()")
    poll(page)
    expect(page.locator("[data-live-toggle]")).to_have_text("Live")
    assert tab.said == []


def test_says_that_it_is_not_current_and_recovers(server: Server, tab: Tab, conn: Connection) -> None:
    page = tab.page
    page.clock.install()
    sign_in(page, server.url, conn)
    before = page.locator("main").inner_text()

    tab.context.set_offline(True)
    page.clock.run_for(8000)
    expect(page.locator("[data-live-toggle]")).to_have_text("Out of date: retrying")
    during = page.locator("main").inner_text()
    tab.context.set_offline(False)
    page.clock.run_for(60_000)

    expect(page.locator("[data-live-toggle]")).to_have_text("Live")
    assert during == before


def test_ends_at_the_sign_in_page_once_the_key_is_revoked(server: Server, page: Page, conn: Connection) -> None:
    page.clock.install()
    sign_in(page, server.url, conn)
    [key] = api_keys.list_keys(conn)
    api_keys.revoke(conn, key.id, actor="test")

    # By then no process knows the key any more.
    page.wait_for_timeout(5200)
    page.clock.run_for(8000)

    at(page, "/ui/sign-in")
    assert page.locator("main").inner_text().count("Queues") == 0
