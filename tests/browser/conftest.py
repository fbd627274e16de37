"""For tests that drive a real Chromium, with no network but this machine."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from tests.browser.tab import Tab
from tests.web import Server, gunicorn

FLAGS = (
    "--disable-gpu",
    "--disable-quic",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    # Whatever is not on this machine has no address.
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
)

MakeTab = Callable[..., Tab]


@pytest.fixture
def server(database: str, eventually: Callable[..., Any]) -> Iterator[Server]:
    """Give a gunicorn in the test's database."""
    with gunicorn(database, eventually) as server:
        yield server


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    """Give Debian's Chromium. Each test has contexts of its own in it, which share nothing."""
    path = shutil.which("chromium")
    if not path:
        pytest.fail("needs chromium: `make test-browser` installs it on Debian")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def make_tab(chromium: Browser) -> Iterator[MakeTab]:
    """Give a function that opens a tab without any cookie; it takes the options of Playwright's contexts."""
    made: list[Tab] = []

    def make(**options: Any) -> Tab:
        made.append(
            Tab(chromium.new_context(viewport=options.pop("viewport", {"width": 1280, "height": 900}), **options))
        )
        return made[-1]

    yield make
    for tab in made:
        tab.context.close()


@pytest.fixture
def tab(make_tab: MakeTab) -> Tab:
    """Give such a tab."""
    return make_tab()


@pytest.fixture
def page(tab: Tab) -> Page:
    """Give the page in it."""
    return tab.page
