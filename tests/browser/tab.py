"""A tab of a browser, which writes down what it asks for and what goes wrong in it; and a hand that fills its forms."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any
from urllib.parse import urlsplit

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import BrowserContext, Locator, Page, Request, expect
from psycopg2.extensions import connection as Connection

from haulier.domain.api_key import Scope
from haulier.queue.access import api_keys
from haulier.queue.access.api_keys import NewKey
from lab.dashboard import HOME, SIGN_IN

# Whether `make screenshots` runs.
RETAKES = os.environ.get("SCREENSHOTS") == "retake"

# Runs before any script of a page. Records what the policy refuses, and what moves: which part of the page, and by how
# many pixels.
WATCH = """
    window.violations = []; window.shifts = [];
    document.addEventListener("securitypolicyviolation", (event) =>
        window.violations.push(`${event.effectiveDirective} ${event.blockedURI}`));
    new PerformanceObserver((list) => {
        for (const entry of list.getEntries())
            if (!entry.hadRecentInput) window.shifts.push([
                entry.value,
                Math.max(0, ...entry.sources.map((each) => Math.abs(each.currentRect.top - each.previousRect.top))),
                ...entry.sources.map((each) => (each.node?.outerHTML || each.node?.textContent || "").slice(0, 160))]);
    }).observe({type: "layout-shift", buffered: true});
"""
# What reaches past the right edge of the window, and is not within something that scrolls by itself.
TOO_WIDE = """() => {
    const wide = document.documentElement.clientWidth, found = [];
    if (document.documentElement.scrollWidth <= wide) return found;
    for (const each of document.querySelectorAll("body *")) {
        const box = each.getBoundingClientRect();
        if (box.right > wide + 1 && box.width && !each.closest(".scroll"))
            found.push(`${Math.round(box.right)} px: ${each.outerHTML.slice(0, 140)}`);
    }
    return [`${document.documentElement.scrollWidth} of ${wide} px`, ...found.slice(-4)];
}"""
WIDE, PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 844}
# Each theme and each width once: a theme has the same layout at each width, and a width the same colours in each theme.
LOOKS: dict[str, dict[str, Any]] = {
    "light, 1280 px": {"color_scheme": "light", "viewport": WIDE},
    "dark, 390 px": {"color_scheme": "dark", "viewport": PHONE, "has_touch": True},
}
# What a finger cannot press, but for links within words.
TOO_SMALL = """() => [...document.querySelectorAll(
        "main button, main .button, main a.chip, main .tabs a, main select, main .box, main summary, .head button")]
    .filter((each) => each.checkVisibility() && each.getBoundingClientRect().height < 40)
    .map((each) => `${each.getBoundingClientRect().height} px high: ${each.outerHTML.slice(0, 140)}`).slice(0, 3)"""
# Text that does not fit, in something that cuts it off or has to be scrolled sideways, and no title says it whole.
CUT_OFF = """() => [...document.querySelectorAll("main *")]
    .filter((each) => each.checkVisibility() && each.scrollWidth > each.clientWidth + 1 && each.clientWidth > 1
        && getComputedStyle(each).overflowX !== "visible" && !each.closest("svg, [title], .for-readers"))
    .map((each) => `${each.scrollWidth} of ${each.clientWidth} px: ${each.outerHTML.slice(0, 160)}`).slice(0, 4)"""
# A machine that does much else takes its time.
PATIENCE_MS = 60_000
expect.set_options(timeout=PATIENCE_MS)


class Tab:
    def __init__(self, context: BrowserContext) -> None:
        self.context = context
        self.asked: list[str] = []
        self.sent: list[str] = []
        self.said: list[str] = []
        context.on("request", self._note)
        context.on("console", self._hear)
        context.on("weberror", lambda error: self.said.append(f"error: {error.error}"))
        context.on("dialog", self._dismiss)
        context.add_init_script(WATCH)

    def _note(self, request: Request) -> None:
        self.asked.append(request.url)
        if request.method == "POST":
            self.sent.append(request.url)

    def _hear(self, message: Any) -> None:
        # What Chromium only says to who asks for it: that a form has a password and no name of a user.
        if message.type != "verbose":
            self.said.append(f"{message.type}: {message.text}")

    def _dismiss(self, dialog: Any) -> None:
        self.said.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    @cached_property
    def page(self) -> Page:
        page = self.context.new_page()
        page.set_default_timeout(PATIENCE_MS)
        return page

    def enter(self, url: str, cookies: Any) -> None:
        """Take over a session."""
        self.context.add_cookies([{"name": name, "value": value, "url": f"{url}/"} for name, value in cookies.items()])

    @property
    def hosts(self) -> set[str]:
        """Return the hosts that it has asked, this machine's included."""
        web = [urlsplit(url) for url in self.asked]
        return {each.netloc for each in web if each.scheme in ("http", "https", "ws", "wss")}

    def too_wide(self) -> list[str]:
        """Return what makes the page scroll sideways."""
        return list(self.page.evaluate(TOO_WIDE))

    def cut_off(self) -> list[str]:
        """Return the texts of which a part cannot be seen."""
        return list(self.page.evaluate(CUT_OFF))

    def too_small(self) -> list[str]:
        """Return what a finger cannot press."""
        return list(self.page.evaluate(TOO_SMALL))

    def faults(self) -> list[str]:
        """Return what the policy has refused, what has run that others wrote, and what does not fit."""
        state: dict[str, Any] = self.page.evaluate("() => ({violations: window.violations || [], ran: window.ran})")
        return [*state["violations"], *(["a text has run"] if state["ran"] else []), *self.too_wide()]

    def faults_of_access(self) -> list[str]:
        """Return what axe finds serious or worse, and columns without a name."""
        found = Axe().run(self.page, options={"resultTypes": ["violations"]}).response["violations"]
        return [
            f"{each['impact']} {each['id']}: {node['html'][:160]} {node['failureSummary'][-200:]}"
            for each in found
            if each["impact"] in ("serious", "critical") or each["id"] == "empty-table-header"
            for node in each["nodes"][:3]
        ]


def at(page: Page, path: str) -> None:
    """Wait until the browser is there."""
    page.wait_for_url(lambda url: urlsplit(url).path == path)


def sign_in(page: Page, url: str, conn: Connection) -> None:
    """Sign in with a new key that may do everything."""
    _, token = api_keys.create(conn, NewKey("ops-anna", [Scope.ADMIN]), actor="test")
    root = urlsplit(url).path
    page.goto(f"{url}{HOME}")
    at(page, f"{root}{SIGN_IN}")
    page.locator("#key").fill(token)
    page.get_by_role("button", name="Sign in").click()
    at(page, f"{root}{HOME}")


class Person:
    """Whoever mends it, who only clicks what is shown and goes back. `clicks` counts both."""

    def __init__(self, page: Page) -> None:
        self.page, self.clicks = page, 0

    def click(self, what: Locator | None) -> None:
        """Press it, or without it the key Back."""
        self.clicks += 1
        if what:
            what.click()
        else:
            self.page.go_back()

    def see_overview(self) -> None:
        self.click(self.page.locator("body > .rail").get_by_role("link", name="Overview"))
        at(self.page, "/ui")


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


@dataclass
class Hand:
    """Whoever acts. `found` is what went wrong, by the end of the form's action."""

    url: str
    tab: Tab
    has_scripts: bool
    checks_access: bool = True
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
        if self.has_scripts and self.checks_access and answer.request.method == "POST":
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
