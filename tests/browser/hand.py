"""A hand at the dashboard: it fills forms and presses their buttons, with or without scripts."""

from __future__ import annotations

from dataclasses import dataclass, field
from urllib.parse import urlsplit

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


@dataclass
class Hand:
    """Whoever acts. Shape: found is what went wrong, by the end of the form's action."""

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
