"""Every page of the dashboard, found from the URL map and its links, as it is and while it asks for news: it ..."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
import requests
from playwright.sync_api import Page, expect

from haulier.domain.job import JobStatus, NewJob
from haulier.domain.operation import OperationStatus
from haulier.postgres.connection import connect
from lab.dashboard import HOME, SAME, SIGN_IN, token_of
from tests.browser.conftest import MakeSite, MakeTab, Site
from tests.browser.tab import LOOKS, PHONE, WIDE, Tab, poll
from tests.browser.walking import walk
from tests.conftest import sql_on
from tests.queueing import enqueue

pytestmark = [pytest.mark.browser, pytest.mark.timeout(600)]

# A window of 1280 px at 200 % has half as many.
NARROW: dict[str, dict[str, Any]] = {
    # As narrow as the menu stands beside the page.
    "880 px": {"viewport": {"width": 880, "height": 800}},
    "320 px": {"viewport": {"width": 320, "height": 800}},
    "200 %": {"viewport": {"width": 640, "height": 450}, "device_scale_factor": 2},
}


def in_all(tab: Tab) -> list[str]:
    """Return what is wrong, and what axe finds; on a phone also what is too small for a finger."""
    small = tab.too_small() if tab.page.viewport_size == PHONE else []
    return [*tab.faults(), *tab.faults_of_access(), *small]


def test_finds_every_page_and_no_link_that_leads_nowhere(filled: Site) -> None:
    assert filled.found.dead == []
    assert filled.found.unreached == []
    assert filled.invalid == []
    assert len(filled.pages) > 10
    # Of every state of a job, and of an operation.
    assert len(filled.states) == len(JobStatus) + len(OperationStatus)


@pytest.mark.parametrize("look", LOOKS)
def test_walks_every_page_in_both_themes_on_desktop_and_phone(filled: Site, make_tab: MakeTab, look: str) -> None:
    pages = filled.pages if look == "light, 1280 px" else filled.firsts

    assert walk(filled, make_tab(**LOOKS[look]), pages, in_all) == {}


# As during a flood: numbers of six digits, waits of minutes.
FLOOD = """
    UPDATE haulier.depth SET jobs = jobs + 297359, due = due + 297297 WHERE status <> 'running';
    UPDATE haulier.rollup SET arrived = arrived + 413773, succeeded = succeeded + 219587, failed = failed + 20969,
        cancelled = cancelled + 219587, due = coalesce(due, 0) + 297359;
    UPDATE haulier.error_count SET failed = failed + 23920, retried = retried + 17421;
    UPDATE haulier.operation SET matched = 219580, done = 219527 - skipped
"""


def test_cuts_no_text_off_without_a_title_that_says_it_whole(make_site: MakeSite, tab: Tab) -> None:
    with make_site(JOBS) as site:
        with closing(connect(site.dsn)) as conn:
            sql_on(conn)(FLOOD)
        assert walk(site, tab, site.pages, Tab.cut_off) == {}


def test_shows_the_sign_in_and_a_missing_page(filled: Site, make_tab: MakeTab) -> None:
    tab = make_tab(**LOOKS["dark, 390 px"])

    tab.page.goto(f"{filled.url}{HOME}")
    entering = [urlsplit(tab.page.url).path, *in_all(tab), *tab.said]
    tab.enter(filled.url, filled.cookies)
    tab.page.goto(f"{filled.url}{HOME}/nowhere")

    assert entering == [SIGN_IN]
    assert in_all(tab) == []
    expect(tab.page.locator("main")).to_contain_text("Go to overview")


@pytest.mark.parametrize("how", NARROW)
def test_scrolls_no_page_sideways_when_it_is_narrow_or_enlarged(filled: Site, make_tab: MakeTab, how: str) -> None:
    assert walk(filled, make_tab(**NARROW[how]), filled.pages, Tab.faults) == {}


def test_walks_every_page_without_javascript(filled: Site, make_tab: MakeTab) -> None:
    tab = make_tab(java_script_enabled=False, viewport=PHONE)

    found = walk(filled, tab, filled.pages, Tab.too_wide)

    assert found == {}
    assert not [url for url in tab.asked if urlsplit(url).path.endswith(".js")]


def test_walks_every_page_while_there_is_nothing_yet(empty: Site, make_tab: MakeTab) -> None:
    assert walk(empty, make_tab(**LOOKS["dark, 390 px"]), empty.pages, in_all) == {}


def test_runs_nothing_that_others_have_written_and_keeps_its_shape(hostile: Site, make_tab: MakeTab) -> None:
    assert (hostile.found.dead, hostile.found.unreached, hostile.invalid) == ([], [], [])

    for viewport, check in ((WIDE, in_all), (NARROW["320 px"]["viewport"], Tab.faults)):
        assert walk(hostile, make_tab(viewport=viewport), hostile.pages, check) == {}


JOBS, POLLS = 400, 10
# Of the page over ten polls, as browsers reckon it: they show it as 0.00, and from 0.1 on they call it bad.
MOST_SHARE = 0.002
# Where each cell, and what is told beside a notice, begins once all times are told by this text.
SAYS_OF_TIMES = """(text) => {
    for (const time of document.querySelectorAll("time[data-ago]")) time.textContent = text;
    return [...document.querySelectorAll("main th, main td, main .notice span, main .steps > li > *")].map((each) => {
        const told = document.createRange();
        told.selectNodeContents(each);
        return [Math.round(told.getBoundingClientRect().left),
                ...["left", "top", "height"].map((side) => Math.round(each.getBoundingClientRect()[side]))];
    });
}"""
# What a page that is left open gets to see: figures grow, jobs go on, workers live.
NEWS = """
    UPDATE haulier.job SET priority = CASE priority WHEN -100 THEN 0 ELSE priority - 1 END;
    UPDATE haulier.depth SET jobs = jobs + 9;
    UPDATE haulier.rollup SET succeeded = succeeded + 7, failed = failed + 1;
    UPDATE haulier.error_count SET failed = failed + 3, retried = retried + 2;
    UPDATE haulier.progress SET done = done + 0.25;
    UPDATE haulier.operation SET done = done + 3 WHERE status = 'running';
    UPDATE haulier.worker SET beat_at = now()
"""


@pytest.fixture(scope="module")
def site(make_site: MakeSite) -> Iterator[Site]:
    """Give a dashboard of one process, whose figures may be changed."""
    with make_site(JOBS, WEB_CONCURRENCY="1") as site:
        yield site


@contextmanager
def news_of(site: Site) -> Iterator[Callable[[], None]]:
    """Give a function after which the next poll shows something new."""
    with closing(connect(site.dsn)) as conn, requests.Session() as session:
        session.headers.update(SAME)
        session.cookies.update(dict(site.cookies))
        csrf = token_of(session.get(f"{site.url}{HOME}/settings").text)

        def come() -> None:
            sql_on(conn)(NEWS)
            # Whoever has acted sees what came of it: what is kept for 2 s is forgotten.
            sent = {"csrf": csrf, "theme": "auto", "next": HOME}
            assert session.post(f"{site.url}{HOME}/settings/theme", sent, allow_redirects=False).status_code == 303

        yield come


def enter(site: Site, tab: Tab, path: str = "") -> Page:
    """Return the page, on which time goes by only if a test has it go by."""
    tab.page.clock.install()
    tab.enter(site.url, site.cookies)
    tab.page.goto(f"{site.url}{path or HOME}")
    return tab.page


@pytest.mark.parametrize("look", LOOKS)
def test_moves_nothing_while_pages_load_and_poll(site: Site, make_tab: MakeTab, look: str) -> None:
    """But by a digit, within its line, if a figure has got one more.

    Of a job that runs or waits, one line more may come while time goes by. dashboard.md wants 0.
    """
    tab = make_tab(**LOOKS[look])
    page, polled, moved = enter(site, tab), [], {}
    # How a job looks in each state, and an operation, is seen at one width.
    paths = site.firsts if look == "light, 1280 px" else site.found.firsts
    with news_of(site) as come:
        for path in paths:
            page.goto(f"{site.url}{path}")
            if every := page.locator("main").get_attribute("data-live-every"):
                polled.append(path)
                for _ in range(POLLS):
                    come()
                    poll(page, round(1200 * float(every)))
            shifts = page.evaluate("() => window.shifts")
            if sum(share for share, *_ in shifts) > MOST_SHARE:
                moved[path] = shifts

    assert moved == {}
    assert len(polled) > 12
    assert tab.said == []


@pytest.mark.parametrize("look", LOOKS)
def test_moves_no_cell_while_what_it_shows_grows_older(site: Site, make_tab: MakeTab, look: str) -> None:
    page, moved, cells = enter(site, make_tab(**LOOKS[look])), {}, 0
    for path in site.firsts:
        page.goto(f"{site.url}{path}")
        short, long = (page.evaluate(SAYS_OF_TIMES, text) for text in ("9 s ago", "59 min ago"))
        cells += len(short)
        if differ := [pair for pair in zip(short, long, strict=True) if pair[0] != pair[1]]:
            moved[path] = differ

    assert moved == {}
    assert cells > 200


def test_moves_no_row_while_the_pointer_is_over_it_or_one_is_selected(site: Site, tab: Tab) -> None:
    page = enter(site, tab, f"{HOME}/jobs")
    boxes, live = page.locator("main tbody input[type=checkbox]"), page.locator("[data-live-toggle]")

    def ids() -> list[str | None]:
        return [box.get_attribute("value") for box in boxes.all()]

    with news_of(site) as come, closing(connect(site.dsn)) as conn:
        before = ids()
        boxes.nth(1).check()
        boxes.nth(3).check()
        page.locator("h1").click()
        enqueue(conn, [NewJob("send_email", {}), NewJob("send_email", {})])
        come()
        poll(page)
        expect(live).to_have_text("2 new: show")
        expect(page.locator("[data-ticked]")).to_have_text("2 selected.")
        assert ids() == before
        assert [box.get_attribute("value") for box in boxes.and_(page.locator(":checked")).all()] == before[1:4:2]

        boxes.nth(1).uncheck()
        boxes.nth(3).uncheck()
        # The pointer is still there. It has not asked for the rows yet.
        poll(page)
        expect(live).to_have_text("2 new: show")
        assert ids() == before
        live.click()
        poll(page, 100)
        expect(live).to_have_text("Live")
        assert ids() == [*ids()[:2], *before[:-2]]

        # Nobody is there any more: rows come by themselves.
        enqueue(conn, [NewJob("send_email", {})])
        come()
        poll(page)
        expect(live).to_have_text("Live")
        assert ids()[3:] == before[:-3]


def test_keeps_the_acts_on_selected_jobs_in_sight_and_errors_readable(site: Site, tab: Tab) -> None:
    page = enter(site, tab, f"{HOME}/jobs?status=failed_permanent")
    errors = [cell.bounding_box() for cell in page.locator("main td.cut").all()]

    page.locator("main tbody input[type=checkbox]").last.check()
    page.evaluate("scrollTo(0, document.body.scrollHeight)")
    bar = page.locator("#ticked").bounding_box()

    assert min(box["width"] for box in errors if box) >= 350
    assert bar is not None
    assert page.evaluate("scrollY") > 200
    assert 0 < bar["y"] < 100


@pytest.mark.parametrize("script", [True, False])
def test_shows_every_act_on_an_error_on_a_phone(site: Site, make_tab: MakeTab, script: bool) -> None:
    tab = make_tab(viewport=PHONE, java_script_enabled=script)
    tab.enter(site.url, site.cookies)

    tab.page.goto(f"{site.url}{HOME}/failures")

    acts = [each.bounding_box() for each in tab.page.locator("main .acts > *").all()]
    assert len(acts) > 6
    assert [box for box in acts if box and not 0 <= box["x"] <= box["x"] + box["width"] <= PHONE["width"]] == []


def test_keeps_the_tip_of_a_chart_while_it_is_drawn_anew(site: Site, tab: Tab) -> None:
    page = enter(site, tab)
    area, tip = page.locator("[data-plot]").first, page.locator("[data-plot] .tip")
    area.focus()
    page.keyboard.press("ArrowLeft")
    expect(tip).to_have_count(1)
    told, drawn = tip.inner_text(), area.inner_html()

    with news_of(site) as come:
        for _ in range(3):
            come()
            poll(page)

    expect(area).to_be_focused()
    expect(tip).to_have_count(1)
    assert tip.inner_text().splitlines()[0] == told.splitlines()[0]
    assert area.inner_html() != drawn
    page.keyboard.press("Escape")
    expect(tip).to_have_count(0)


def test_leads_from_a_time_that_is_selected_in_a_chart_to_its_jobs(site: Site, tab: Tab) -> None:
    page = enter(site, tab)
    area, bar = page.locator("[data-plot]").first, page.locator(".picked")
    box = area.bounding_box()
    assert box is not None
    lists = f"{site.url}{HOME}/jobs?"

    def drag(begin: float, end: float) -> None:
        for x, act in ((begin, page.mouse.down), (end, page.mouse.up)):
            page.mouse.move(box["x"] + x * box["width"], box["y"] + box["height"] / 2)
            act()

    drag(0.9, 0.1)
    dragged = bar.inner_text().split()
    failed = bar.locator("a", has_text="Failed").get_attribute("href") or ""
    with news_of(site) as come:
        come()
        tab.asked.clear()
        page.clock.run_for(20_000)
    expect(page.locator("[data-live-toggle]")).to_have_text("Paused: a time is selected")
    asked = [url for url in tab.asked if urlsplit(url).path == HOME]
    bar.locator("button").click()
    expect(page.locator(".band, .picked")).to_have_count(0)
    # One click selects a column, and so do the keys, which go on from there.
    drag(0.5, 0.5)
    area.press("Shift+ArrowRight")
    area.press("Shift+ArrowRight")
    wide = page.locator(".band").evaluate("(each) => each.clientWidth / each.parentElement.clientWidth")
    area.press("Enter")
    expect(bar.locator("a").first).to_be_focused()
    page.keyboard.press("Enter")
    page.wait_for_url(f"{lists}**")

    # From minute 6 to the end of minute 54.
    assert (dragged[1], dragged[3:7]) == ("to", ["All", "that", "ended", "Succeeded"])
    begin, end = (datetime.fromisoformat(text) for text in re.findall("=([^&]+Z)", unquote(failed)))
    assert (end - begin, "status=failed_permanent" in failed) == (timedelta(minutes=49), True)
    assert asked == []
    assert wide == pytest.approx(3 / 60, abs=0.01)
    times = [datetime.fromisoformat(text) for text in re.findall("=([^&]+Z)", unquote(page.url))]
    assert times[1] - times[0] == timedelta(minutes=3)
    assert tab.said == []
