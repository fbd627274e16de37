"""Every act of the dashboard, in Chromium: the buttons and forms of its pages, with and without scripts. It ..."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import expect

from haulier.postgres.connection import connect
from lab.dashboard import url_map
from tests.browser.conftest import JOBS, MakeSite, MakeTab, Site
from tests.browser.tab import LOOKS, Hand, Tab, sign_in
from tests.browser.walking import walk
from tests.conftest import eventually, sql_on
from tests.mounted import FRAMEWORKS

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]

# Enough for each page and act, where the figures do not matter.
FEW_JOBS = 400
# What answers if there is no act.
NO_ACTS = "ui.missing."


@pytest.fixture
def site(make_site: MakeSite) -> Iterator[Site]:
    """Give a dashboard of many jobs in which everything may be changed."""
    with make_site(JOBS) as site:
        yield site


@pytest.mark.parametrize("look", LOOKS)
def test_does_whatever_a_page_offers_in_both_themes_on_desktop_and_phone(
    site: Site, make_tab: MakeTab, look: str
) -> None:
    does_everything(site, Hand(site.url, make_tab(**LOOKS[look]), has_scripts=True))


def test_does_whatever_a_page_offers_without_javascript(site: Site, make_tab: MakeTab) -> None:
    does_everything(site, Hand(site.url, make_tab(java_script_enabled=False), has_scripts=False))


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_shows_every_page_and_does_whatever_it_offers_if_mounted(
    make_site: MakeSite, make_tab: MakeTab, framework: str
) -> None:
    walks, acts = make_tab(), make_tab(**LOOKS["light, 1280 px"])
    with make_site(FEW_JOBS, framework=framework) as site:
        assert site.found.dead == site.found.unreached == []
        assert walk(site, walks, site.firsts, Tab.faults) == {}
        does_everything(site, Hand(site.url, acts, has_scripts=True, checks_access=False))

        assert [each for each in (*walks.asked, *acts.asked) if not each.startswith(f"{site.url}/")] == []


def does_everything(site: Site, hand: Hand) -> None:
    tab = hand.tab
    with closing(connect(site.dsn)) as conn:
        sign_in(tab.page, site.url, conn)
        of_a_job(hand, site)
        for acts in (of_ticked_jobs, of_what_runs_and_queues, of_notices, of_failures, of_schedules, of_keys):
            acts(hand)
        of_operations(hand, sql_on(conn))
        hand.see("/settings")
        hand.press("/settings", zone="Europe/Berlin", theme="dark")
        hand.push(tab.page.locator("form[action$='/settings/theme'] button"), "/settings/theme")
        hand.push(tab.page.get_by_role("button", name="Sign out"), "/sign-out")
        sign_in(tab.page, site.url, conn)
        # It ends its sessions: that of the hand too.
        hand.see("/keys")
        hand.push(tab.page.get_by_role("link", name="ops-anna").first, "one's own key")
        hand.press("/sign-out")

    assert hand.found == {}
    assert tab.said == []
    done, offered = done_and_offered(site.url, tab.sent)
    assert done == offered


def done_and_offered(url: str, sent: list[str]) -> tuple[set[str], set[str]]:
    """Return the endpoints to which something was sent, and those of every act."""
    with url_map(url) as urls:
        acts = {each.endpoint for each in urls.map.iter_rules() if "POST" in (each.methods or ())}
        offered = {each for each in acts if each.startswith("ui.") and not each.startswith(NO_ACTS)}
        paths = {urlsplit(each).path.removeprefix(urlsplit(url).path) for each in sent}
        return {urls.match(path, "POST")[0] for path in paths}, offered


def of_a_job(hand: Hand, site: Site) -> None:
    for status, act in (("queued", "cancel"), ("queued", "retry"), ("retrying", "run-now"), ("succeeded", "copy")):
        hand.see(f"/jobs/{site.jobs[status]}")
        hand.press(f"/{site.jobs[status]}/{act}")
    hand.see(f"/jobs/{site.jobs['queued']}")
    hand.press("/change", priority="42")
    hand.see(f"/jobs/{site.jobs['failed_permanent']}/edit")
    hand.press("/edit", priority="42")
    hand.see(f"/jobs/{site.jobs['succeeded']}")
    hand.press("/delete")
    hand.see("/jobs/new?kind=summarize_text&as=json")
    hand.press("/jobs/new", payload='{"text": "A text."}')


def of_ticked_jobs(hand: Hand) -> None:
    acts = {"retry": "failed_permanent", "run_now": "retrying", "cancel": "queued", "delete": "cancelled"}
    for act, status in acts.items():
        path = act.replace("_", "-")
        hand.see(f"/jobs?status={status}")
        hand.tab.page.locator("tbody input[type=checkbox]").first.check()
        hand.push(hand.tab.page.locator(f"#ticked button[formaction$='/ticked/{path}']"), path)
    hand.press("/ticked/delete", sure="1")
    expect(hand.tab.page.locator("#said")).to_contain_text("Deleted 1 job")
    hand.see("/jobs?status=queued")
    hand.tab.page.locator("tbody input[type=checkbox]").first.check()
    hand.push(hand.tab.page.locator("#ticked button[formaction$='/ticked/change']"), "change")
    hand.press("/ticked/change", to_priority="7")
    expect(hand.tab.page.locator("#said")).to_contain_text("Changed 1 job")


def of_what_runs_and_queues(hand: Hand) -> None:
    hand.see("/running")
    hand.press("/stop")
    hand.see("/workers")
    hand.press("/quiet")
    hand.press("/wake")
    hand.see("/queues/default")
    hand.press("/pause")
    hand.press("/resume")


def of_notices(hand: Hand) -> None:
    hand.see("")
    hand.press("/acknowledge")
    hand.press("/show")


def of_failures(hand: Hand) -> None:
    hand.see("/failures")
    groups = hand.tab.page.locator("main tbody tr").filter(has_not_text="muted until")
    hand.push(groups.locator("a.mono").first, "a group")
    hand.press("/mute")
    hand.press("/unmute")
    hand.see("")
    hand.press("/operations/new", "button[value=retry]")
    expect(hand.tab.page.locator("main")).to_contain_text("by kind", ignore_case=True)


def of_schedules(hand: Hand) -> None:
    hand.see("/schedules/new")
    timed = {"name": "made-here", "cron": "0 4 * * *", "kind": "summarize_text", "payload": '{"text": "A text."}'}
    hand.press("/schedules/new", "button[value=preview]", **timed)
    hand.press("/schedules/new")
    hand.see("/schedules/made-here/edit")
    hand.press("/edit", cron="30 4 * * *")
    for act in ("pause", "resume", "run"):
        hand.see("/schedules/made-here")
        hand.press(f"/{act}")
    of_all_schedules(hand, "Paused 4 schedules", "button:not([formaction])", are_ticked=True)
    of_all_schedules(hand, "Resumed 4 schedules", "button[formaction$='/resume']", are_ticked=False)
    hand.see("/schedules/made-here")
    hand.press("/delete", confirm="made-here")


def of_all_schedules(hand: Hand, said: str, button: str, *, are_ticked: bool) -> None:
    hand.see("/schedules")
    hand.push(hand.tab.page.get_by_role("link", name="Pause all…"), "Pause all…")
    ticks = hand.tab.page.locator("tbody input[name=name]").all()
    # At first those that fire are ticked.
    assert {tick.is_checked() for tick in ticks} == {are_ticked}
    for tick in ticks:
        tick.check()
    hand.press("/schedule-pauses/pause", button)
    expect(hand.tab.page.locator("#said")).to_contain_text(said)


def of_keys(hand: Hand) -> None:
    hand.see("/keys/new")
    hand.press("/keys/new", name="made-here", scopes="read")
    for act, fields in (("rotate", {}), ("revoke", {"confirm": "made-here"})):
        hand.see("/keys")
        hand.push(hand.tab.page.get_by_role("link", name="made-here"), "a key")
        hand.press(f"/{act}", **fields)


def of_operations(hand: Hand, sql: Callable[..., Any]) -> None:
    hand.see("/jobs?status=failed_permanent")
    hand.press("/ticked/retry", "button[value=retry]", all="1")
    hand.press("/operations")
    hand.press("/cancel")
    hand.press("/resume")
    # Nobody but this page is there to work it off.
    sql("DELETE FROM haulier.worker")
    sql("UPDATE haulier.operation SET starts_at = now(), next_at = now() WHERE status IN ('waiting', 'running')")
    eventually(lambda: is_over(hand))


def is_over(hand: Hand) -> bool:
    """Return whether the operation has ended; if no script does, do some more of it."""
    if not hand.has_scripts:
        hand.tab.page.reload()
        if hand.tab.page.locator("form[data-advance]").count():
            hand.press("/advance")
    return "It has ended" in hand.tab.page.locator("main").inner_text()
