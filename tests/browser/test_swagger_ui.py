"""Swagger UI in a real browser with the network closed: it renders, and "Try it out" enqueues a job."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.browser.tab import RETAKES, Tab
from tests.mounted import shop
from tests.web import ROOT, Server, gunicorn

pytestmark = [pytest.mark.browser, pytest.mark.timeout(600)]

SCREENSHOT = ROOT / "docs" / "images" / "swagger-ui.png"
POST = "#operations-jobs-enqueue_job"


def try_it(page: Page, url: str) -> Locator:
    """Open the page, enqueue the example of a kind, and return the status that is shown."""
    page.goto(f"{url}/docs")
    page.locator(f"{POST} .opblock-summary-control").click()
    page.locator(f"{POST} .try-out__btn").click()
    page.locator(f"{POST} .examples-select select").first.select_option("summarize_text")
    return execute(page)


def execute(page: Page) -> Locator:
    page.locator(f"{POST} .execute").click()
    return page.locator(f"{POST} .live-responses-table tbody .response-col_status").first


def test_try_it_out_enqueues_a_job_with_the_network_closed(server: Server, tab: Tab, sql) -> None:
    page = tab.page
    status = try_it(page, server.url).inner_text()
    page.evaluate("window.scrollTo(0, 0)")
    call, answer = (page.locator(each).bounding_box() for each in (POST, f"{POST} .live-responses-table"))
    assert call is not None
    assert answer is not None
    clip = {**call, "height": answer["y"] + answer["height"] - call["y"]}
    screenshot = page.screenshot(full_page=True, clip=clip)
    # Kept until `make screenshots`: ids and times differ each time.
    if RETAKES or not SCREENSHOT.exists():
        SCREENSHOT.write_bytes(screenshot)

    assert status.split()[0] == "201"
    assert sql("SELECT kind, status FROM haulier.job") == [("summarize_text", "queued")]
    assert f"{server.url}/jobs" in tab.asked
    assert tab.hosts == {urlsplit(server.url).netloc}
    assert [line for line in tab.said if line.startswith("error")] == []
    assert len(screenshot) > 20_000


def test_the_page_runs_and_loads_nothing_of_anybody_elses(server: Server, tab: Tab) -> None:
    page = tab.page
    page.goto(f"{server.url}/docs")
    page.locator(".info .renderedMarkdown").wait_for()
    assert tab.said == []

    page.evaluate(
        """() => {
            const script = document.createElement('script'); script.textContent = 'window.ran = true';
            document.body.append(script);
            document.body.insertAdjacentHTML('beforeend', '<img src=http://127.0.0.1:1/x onerror="window.ran = true">');
        }"""
    )
    sent = page.evaluate("() => fetch('http://127.0.0.1:1/').then(() => 'sent', () => 'refused')")

    assert page.evaluate("() => window.ran") is None
    assert sent == "refused"
    for directive in ("script-src", "img-src", "connect-src"):
        assert [line for line in tab.said if directive in line], (directive, tab.said)


@pytest.mark.parametrize("framework", ["", "flask"])
def test_authorize_gives_the_key_to_every_call(
    framework: str, tmp_path: Path, database: str, eventually: Callable[..., Any], page: Page, sql
) -> None:
    secret = "0123456789abcdef" * 2
    serve = partial(shop, framework, tmp_path) if framework else gunicorn
    with serve(database, eventually, HAULIER_API_KEY=secret) as server:
        without = try_it(page, server.url).inner_text()
        page.locator(".scheme-container .authorize").click()
        page.locator(".auth-container input").fill(secret)
        page.locator(".auth-btn-wrapper .authorize").click()
        page.locator(".auth-btn-wrapper .btn-done").click()
        expect(execute(page)).to_contain_text("201")

    assert without.split()[0] == "401"
    assert sql("SELECT kind FROM haulier.job") == [("summarize_text",)]
