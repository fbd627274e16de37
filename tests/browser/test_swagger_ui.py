"""Swagger UI in a real browser with the network closed: it renders, and "Try it out" enqueues a job."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import pytest
from psycopg2.extensions import connection as Connection
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import Select, WebDriverWait

from tests.web import ROOT, Server, gunicorn

pytestmark = pytest.mark.browser

SCREENSHOT = ROOT / "docs" / "images" / "swagger-ui.png"


def find(browser: Chrome, selector: str) -> Any:
    """Return the first element of this selector, waited for."""
    return WebDriverWait(browser, 20).until(lambda it: it.find_element(By.CSS_SELECTOR, selector))


def click(browser: Chrome, selector: str) -> None:
    element = find(browser, selector)
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'}); arguments[0].click()", element)


def test_try_it_out_enqueues_a_job_with_the_network_closed(
    server: Server, browser: Chrome, requested: Callable[[], list[str]], conn: Connection
) -> None:
    browser.get(f"{server.url}/docs")
    post = "#operations-jobs-enqueue_job"
    click(browser, f"{post} .opblock-summary-control")
    click(browser, f"{post} .try-out__btn")
    Select(find(browser, f"{post} .examples-select select")).select_by_value("summarize_text")
    click(browser, f"{post} .execute")

    status = find(browser, f"{post} .live-responses-table tbody .response-col_status").text
    browser.execute_script("arguments[0].scrollIntoView(); window.scrollBy(0, -20)", find(browser, post))
    screenshot = browser.get_screenshot_as_png()
    # Taken anew once it was removed: ids and times differ each time.
    if not SCREENSHOT.exists():
        SCREENSHOT.parent.mkdir(parents=True, exist_ok=True)
        SCREENSHOT.write_bytes(screenshot)

    assert status.split()[0] == "201"
    with conn.cursor() as cursor:
        cursor.execute("SELECT kind, status FROM haulier.job")
        assert cursor.fetchall() == [("summarize_text", "queued")]
    urls = requested()
    own = urlsplit(server.url).netloc
    assert f"{server.url}/jobs" in urls
    web = [url for url in urls if urlsplit(url).scheme in ("http", "https", "ws", "wss")]
    assert {urlsplit(url).netloc for url in web} == {own}
    assert [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"] == []
    assert len(screenshot) > 20_000


def test_the_page_runs_and_loads_nothing_of_anybody_elses(server: Server, browser: Chrome) -> None:
    browser.get(f"{server.url}/docs")
    find(browser, ".info .renderedMarkdown")
    assert browser.get_log("browser") == []

    browser.execute_script(
        "const script = document.createElement('script'); script.textContent = 'window.ran = true';"
        "document.body.append(script);"
        "document.body.insertAdjacentHTML('beforeend', '<img src=http://127.0.0.1:1/x onerror=\"window.ran = true\">')"
    )
    sent = browser.execute_async_script(
        "const done = arguments[0]; fetch('http://127.0.0.1:1/').then(() => done('sent'), () => done('refused'))"
    )

    refused = [entry["message"] for entry in browser.get_log("browser")]
    assert browser.execute_script("return window.ran") is None
    assert sent == "refused"
    for directive in ("script-src", "img-src", "connect-src"):
        assert [message for message in refused if directive in message], (directive, refused)


def test_the_page_tells_of_the_api_alone_and_not_of_the_system_it_follows(server: Server, browser: Chrome) -> None:
    browser.get(f"{server.url}/docs")

    told = find(browser, ".info .renderedMarkdown")

    assert "It then runs at least once" in told.text
    # docs/api.md says where Haulier differs.
    assert told.find_elements(By.CSS_SELECTOR, "table") == []


def test_authorize_gives_the_key_to_every_call(
    database: str, eventually: Callable[..., Any], browser: Chrome, conn: Connection
) -> None:
    secret, post = "0123456789abcdef" * 2, "#operations-jobs-enqueue_job"
    with gunicorn(database, eventually, HAULIER_API_KEY=secret) as server:
        browser.get(f"{server.url}/docs")
        click(browser, f"{post} .opblock-summary-control")
        click(browser, f"{post} .try-out__btn")
        Select(find(browser, f"{post} .examples-select select")).select_by_value("summarize_text")
        click(browser, f"{post} .execute")
        without = find(browser, f"{post} .live-responses-table tbody .response-col_status").text
        click(browser, ".scheme-container .authorize")
        find(browser, ".auth-container input").send_keys(secret)
        click(browser, ".auth-btn-wrapper .authorize")
        click(browser, ".auth-btn-wrapper .btn-done")
        click(browser, f"{post} .execute")

        def status() -> str:
            return str(find(browser, f"{post} .live-responses-table tbody .response-col_status").text)

        eventually(lambda: status().split()[0] == "201", within=20)

    assert without.split()[0] == "401"
    with conn.cursor() as cursor:
        cursor.execute("SELECT kind FROM haulier.job")
        assert cursor.fetchall() == [("summarize_text",)]
