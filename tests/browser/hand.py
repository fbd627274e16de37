"""A hand at the dashboard: it fills forms and presses their buttons, with or without scripts."""

from __future__ import annotations

from dataclasses import dataclass, field
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Locator, Page
from psycopg2.extensions import connection as Connection

from haulier.domain.api_key import Scope
from haulier.queue.access import api_keys
from haulier.queue.access.api_keys import NewKey
from lab.dashboard import HOME, SIGN_IN
from tests.browser.tab import Tab


def at(page: Page, path: str) -> None:
    """Wait until the browser is there."""
    page.wait_for_url(lambda url: urlsplit(url).path == path)


def sign_in(page: Page, url: str, conn: Connection) -> None:
    """Sign in with a new key that may do everything."""
    _, token = api_keys.create(conn, NewKey("ops-anna", [Scope.ADMIN]), actor="test")
    page.goto(f"{url}{HOME}")
    at(page, SIGN_IN)
    page.locator("#key").fill(token)
    page.get_by_role("button", name="Sign in").click()
    at(page, HOME)


FOCUS = """() => {
    const at = document.activeElement, style = getComputedStyle(at), box = at.getBoundingClientRect();
    return {
        name: (at.getAttribute("aria-label") || at.textContent || at.id || at.tagName).trim().slice(0, 40),
        isBody: at === document.body,
        isSeen: box.width > 0 && box.height > 0 && (style.outlineStyle !== "none" || at.matches(".skip")),
    };
}"""


def tab_to(page: Page, name: str) -> list[str]:
    """Press Tab until what has a name that begins so has the focus; return what had it before, and did not look so."""
    unseen: list[str] = []
    for _ in range(120):
        page.keyboard.press("Tab")
        focused = page.evaluate(FOCUS)
        unseen += [] if focused["isSeen"] or focused["isBody"] else [focused["name"]]
        if focused["name"].startswith(name):
            return unseen
    pytest.fail(f"Tab never comes to {name}")


def poll(page: Page, milliseconds: int = 8000) -> None:
    """Have the page ask for news, as it does by itself after some seconds."""
    with page.expect_response(lambda answer: "haulier-live" in answer.request.headers) as answer:
        page.clock.run_for(milliseconds)
    answer.value.finished()
    # What the page keeps of an answer, it has done with by the next frame.
    page.evaluate("() => new Promise(requestAnimationFrame)")


def polled(page: Page) -> None:
    """Have the page ask until what is kept for 2 s must have been read anew."""
    poll(page)
    page.wait_for_timeout(2100)
    poll(page)


@dataclass
class Hand:
    """Whoever acts. `found` is what went wrong, by the end of the form's action."""

    url: str
    tab: Tab
    has_scripts: bool
    found: dict[str, list[str]] = field(default_factory=dict)

    def see(self, path: str) -> None:
        """Go to a page of the dashboard."""
        self.tab.page.goto(f"{self.url}{HOME}{path}")

    def press(self, action: str, button: str = "button", **fields: str) -> None:
        """Fill the first form whose action ends so, open what it is folded into, and press its button."""
        form = self.tab.page.locator(f"main form[method=post][action$='{action}']").first
        folded = self.tab.page.locator(f"main details:not([open]):has(form[action$='{action}'])")
        if folded.count():
            folded.locator("summary").first.click()
        for name, value in fields.items():
            _fill(form.locator(f"[name='{name}']"), value)
        self.push(form.locator(button).first, action)

    def push(self, button: Locator, name: str) -> None:
        """Press a button, and look at the page that answers."""
        with self.tab.page.expect_navigation() as answered:
            button.click()
        answer = answered.value
        assert answer is not None
        wrong = [] if answer.status in (200, 201) else [f"status {answer.status}"]
        wrong += self.tab.faults()
        # All others are walked as they are.
        if self.has_scripts and answer.request.method == "POST":
            wrong += self.tab.faults_of_access()
        if wrong:
            self.found[name] = wrong


def _fill(control: Locator, value: str) -> None:
    kind = control.first.get_attribute("type")
    if kind in ("checkbox", "radio"):
        control.and_(control.page.locator(f"[value='{value}']")).check()
    elif kind is None and control.first.evaluate("(each) => each.localName") == "select":
        control.select_option(value)
    else:
        control.fill(value)
