"""A tab of a browser, that writes down what it asks for and what goes wrong in it."""

from __future__ import annotations

from functools import cached_property
from typing import Any
from urllib.parse import urlsplit

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import BrowserContext, Page, Request, expect

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
SERIOUS = ("serious", "critical")
# A machine that does much else takes its time.
PATIENCE_MS = 60_000
expect.set_options(timeout=PATIENCE_MS)


class Tab:
    """A context of a browser with one page."""

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
        """Return the page."""
        page = self.context.new_page()
        page.set_default_timeout(PATIENCE_MS)
        return page

    def enter(self, url: str, cookies: Any) -> None:
        """Take over a session."""
        self.context.add_cookies([{"name": name, "value": value, "url": url} for name, value in cookies.items()])

    @property
    def hosts(self) -> set[str]:
        """Return the hosts that it has asked, this machine's included."""
        web = [urlsplit(url) for url in self.asked]
        return {each.netloc for each in web if each.scheme in ("http", "https", "ws", "wss")}

    def too_wide(self) -> list[str]:
        """Return what makes the page scroll sideways."""
        return list(self.page.evaluate(TOO_WIDE))

    def too_small(self) -> list[str]:
        """Return what a finger cannot press."""
        return list(self.page.evaluate(TOO_SMALL))

    def faults(self) -> list[str]:
        """Return what the policy has refused, what has run that others wrote, and what does not fit."""
        state: dict[str, Any] = self.page.evaluate("() => ({violations: window.violations || [], ran: window.ran})")
        return [*state["violations"], *(["a text has run"] if state["ran"] else []), *self.too_wide()]

    def faults_of_access(self) -> list[str]:
        """Return what axe finds serious or worse."""
        found = Axe().run(self.page, options={"resultTypes": ["violations"]}).response["violations"]
        return [
            f"{each['impact']} {each['id']}: {node['html'][:160]} {node['failureSummary'][-200:]}"
            for each in found
            if each["impact"] in SERIOUS
            for node in each["nodes"][:3]
        ]
