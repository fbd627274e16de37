"""The dashboard in a real browser with the network closed, by its pages and by the keyboard alone: it ..."""

from __future__ import annotations

from contextlib import closing

import pytest
from playwright.sync_api import Page, Route, expect
from psycopg2.extensions import connection as Connection

from haulier.domain.api_key import Scope
from haulier.postgres.connection import connect
from haulier.queue.access import api_keys
from haulier.queue.access.api_keys import NewKey
from tests.browser.conftest import JOBS, MakeSite, Site
from tests.browser.tab import Tab, at, poll, sign_in, tab_to
from tests.conftest import sql_on
from tests.web import Server
from tests.web.jobs import enqueue, in_all_states

pytestmark = [pytest.mark.browser, pytest.mark.timeout(600)]

# Runs no script but its own: trusted types forbid this.
WRITES = """() => {
    try { document.body.innerHTML = "<b>x</b>"; return "not blocked"; } catch (error) { return error.name; }
}"""


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
    page.locator(".folded summary").first.click()
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
    assert page.locator(".folded details").first.get_attribute("open") is not None
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
    assert page.evaluate(WRITES) == "TypeError"


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


# As dashboard.md has them: overview, jobs, running, failures, queues, schedules, workers, database, kinds.
LETTERS = set("ojrfqswdk")


def test_is_worked_by_the_keyboard_alone(server: Server, tab: Tab, conn: Connection) -> None:
    in_all_states(conn)
    page, keys = tab.page, tab.page.keyboard
    _, token = api_keys.create(conn, NewKey("ops-anna", [Scope.ADMIN]), actor="test")

    page.goto(f"{server.url}/ui")
    at(page, "/ui/sign-in")
    # The page's field has it only once the page is drawn.
    expect(page.locator("#key")).to_be_focused()
    keys.type(token)
    keys.press("Enter")
    at(page, "/ui")
    keys.type("gj")
    at(page, "/ui/jobs")
    keys.type("/")
    keys.type("status:failed queue:failed-permanent")
    keys.press("Enter")
    expect(page.locator("main tbody tr")).to_have_count(1)
    keys.type("j")
    keys.press("Enter")
    expect(page.locator("h1")).to_have_text("send_email")
    unseen = tab_to(page, "Retry")
    keys.press("Enter")
    expect(page.locator("#said")).to_contain_text("Retried")
    unseen += tab_to(page, "Sign out")
    keys.press("Enter")
    at(page, "/ui/sign-in")

    assert unseen == []
    assert tab.said == []


def test_opens_each_page_of_the_menu_that_has_a_key(filled: Site, tab: Tab) -> None:
    tab.enter(filled.url, filled.cookies)
    tab.page.goto(f"{filled.url}/ui/help")
    links = tab.page.locator("body > .rail a[data-go]")
    places = {str(each.get_attribute("data-go")): str(each.get_attribute("href")) for each in links.all()}

    for letter, path in places.items():
        tab.page.keyboard.type(f"g{letter}")
        at(tab.page, path)
        expect(tab.page.locator("body > .rail a[aria-current=page]")).to_have_attribute("href", path)

    assert places.keys() == LETTERS
    assert (tab.said, tab.sent) == ([], [])


def test_retries_all_that_match_a_filter_among_many_jobs(make_site: MakeSite, tab: Tab) -> None:
    page, keys = tab.page, tab.page.keyboard
    with make_site(JOBS) as site, closing(connect(site.dsn)) as conn:
        sql = sql_on(conn)
        [[failed]] = sql("SELECT count(*) FROM haulier.jobs WHERE status = 'failed_permanent' AND kind = 'send_email'")
        # Nobody but the page works it off.
        sql("DELETE FROM haulier.worker")
        sql("UPDATE haulier.operation SET status = 'cancelled' WHERE status IN ('waiting', 'running')")
        sign_in(page, site.url, conn)

        # Filter.
        keys.type("gj")
        at(page, "/ui/jobs")
        keys.type("/status:failed kind:send_email")
        keys.press("Enter")
        expect(page.locator("main .chip", has_text="send_email")).to_be_visible()
        # Select: one, up to the third, all of the page, none of it.
        keys.type("jx")
        expect(page.locator("[data-ticked]")).to_have_text("1 selected.")
        keys.type("jj")
        keys.press("Shift+X")
        expect(page.locator("[data-ticked]")).to_have_text("3 selected.")
        keys.type("a")
        rows = page.locator("main tbody tr")
        expect(page.locator("[data-ticked]")).to_have_text(f"{rows.count()} selected.")
        keys.type("a")
        expect(page.locator("[data-ticked]")).to_have_text("Select jobs to act on them.")
        # All that match: the preview, the start.
        keys.type("b")
        keys.press("Space")
        unseen = tab_to(page, "Retry")
        keys.press("Enter")
        expect(page.locator("h1")).to_have_text("Retry jobs")
        unseen += tab_to(page, f"Retry {failed:,}")
        keys.press("Enter")
        expect(page.get_by_role("button", name="Undo")).to_be_visible()
        sql("UPDATE haulier.operation SET starts_at = now(), next_at = now() WHERE status = 'waiting'")
        expect(page.locator("main")).to_contain_text("It has ended")

        assert sql("SELECT status, done FROM haulier.operation ORDER BY id DESC LIMIT 1") == [("done", failed)]
        assert sql("SELECT 1 FROM haulier.jobs WHERE status = 'failed_permanent' AND kind = 'send_email'") == []
    assert failed > 100
    assert (unseen, tab.said) == ([], [])
