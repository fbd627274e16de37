"""Every page of the dashboard, found from the URL map and its links, in Chromium with the network closed: it ..."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import expect

from haulier.domain.job import JobStatus
from haulier.domain.operation import OperationStatus
from lab.dashboard import HOME, SIGN_IN
from tests.browser.conftest import MakeTab, Site
from tests.browser.tab import LOOKS, PHONE, WIDE, Tab

pytestmark = [pytest.mark.browser, pytest.mark.timeout(600)]

# A window of 1280 px at 200 % has half as many.
NARROW: dict[str, dict[str, Any]] = {
    # As narrow as the menu stands beside the page.
    "880 px": {"viewport": {"width": 880, "height": 800}},
    "320 px": {"viewport": {"width": 320, "height": 800}},
    "200 %": {"viewport": {"width": 640, "height": 450}, "device_scale_factor": 2},
}


def walk(site: Site, tab: Tab, pages: list[str], check: Callable[[Tab], list[str]]) -> dict[str, list[str]]:
    """Return what is wrong, by page."""
    tab.enter(site.url, site.cookies)
    found: dict[str, list[str]] = {}
    for path in pages:
        answer = tab.page.goto(f"{site.url}{path}")
        assert answer is not None
        wrong = [f"status {answer.status}"] if answer.status != 200 else []
        wrong += [f"{tab.page.locator('main h1').count()} titles"] if tab.page.locator("main h1").count() != 1 else []
        wrong += [*check(tab), *tab.said]
        tab.said.clear()
        if wrong:
            found[path] = wrong
    assert tab.hosts == {urlsplit(site.url).netloc}
    return found


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
