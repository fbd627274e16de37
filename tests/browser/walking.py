"""A walk through the pages of a dashboard."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from urllib.parse import urlsplit

from tests.browser.conftest import Site
from tests.browser.tab import Tab


def walk(site: Site, tab: Tab, pages: Iterable[str], check: Callable[[Tab], list[str]]) -> dict[str, list[str]]:
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
