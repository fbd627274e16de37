"""The dashboard in a real browser with the network closed, with and without JavaScript: it ..."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from psycopg2.extensions import connection as Connection
from selenium.webdriver import Chrome, ChromeOptions
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

from haulier.domain.api_key import Scope
from haulier.queue.access import api_keys
from haulier.queue.access.api_keys import NewKey
from tests.browser.conftest import FLAGS
from tests.web import Server
from tests.web.jobs import enqueue, in_all_states

pytestmark = pytest.mark.browser

HOSTILE = '</pre><script>window.ran = 1</script><img src=x onerror="window.ran = 1">'


@pytest.fixture(params=["scripts", "no scripts"])
def browser(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Chrome]:
    """Give a new Chromium, with JavaScript or without."""
    options = ChromeOptions()
    options.binary_location = shutil.which("chromium") or pytest.fail("needs chromium: see `make test-browser`")
    for flag in (*FLAGS, f"--user-data-dir={tmp_path / 'profile'}"):
        options.add_argument(flag)
    if request.param == "no scripts":
        options.add_experimental_option("prefs", {"profile.managed_default_content_settings.javascript": 2})
    options.set_capability("goog:loggingPrefs", {"performance": "ALL", "browser": "ALL"})
    browser = Chrome(options=options, service=Service(shutil.which("chromedriver")))
    try:
        yield browser
    finally:
        browser.quit()


def find(browser: Chrome, selector: str) -> Any:
    """Return the first element of this selector, waited for."""
    return WebDriverWait(browser, 20).until(lambda it: it.find_element(By.CSS_SELECTOR, selector))


def at(browser: Chrome, path: str) -> None:
    """Wait until the browser is there."""
    WebDriverWait(browser, 20).until(lambda it: urlsplit(it.current_url).path == path)


def press(browser: Chrome, selector: str) -> None:
    find(browser, selector).click()


def sign_in(browser: Chrome, server: Server, conn: Connection) -> None:
    _, token = api_keys.create(conn, NewKey("ops-anna", [Scope.ADMIN]), actor="test")
    browser.get(f"{server.url}/ui")
    at(browser, "/ui/sign-in")
    find(browser, "#key").send_keys(token)
    press(browser, "form[action='/ui/sign-in'] button")
    at(browser, "/ui")


def test_signs_in_walks_every_page_and_acts_with_nothing_in_the_console(
    server: Server, browser: Chrome, requested: Callable[[], list[str]], conn: Connection
) -> None:
    jobs = in_all_states(conn)
    jobs["hostile"] = enqueue(conn, {HOSTILE: HOSTILE})
    sign_in(browser, server, conn)

    for path in (
        "/ui",
        "/ui?span=7d",
        "/ui/jobs",
        "/ui/jobs?status=failed&kind=send_email",
        "/ui/settings",
        "/ui/help",
    ):
        browser.get(f"{server.url}{path}")
        assert find(browser, "main h1").text
    for job in jobs.values():
        browser.get(f"{server.url}/ui/jobs/{job}")
        assert find(browser, "main h1").text == "send_email"
    path = f"/ui/jobs/{jobs['queued']}"
    browser.get(f"{server.url}{path}")
    press(browser, f"form[action='{path}/cancel'] button")
    WebDriverWait(browser, 20).until(lambda it: it.find_element(By.ID, "said").text == "Cancelled.")
    press(browser, f"form[action='{path}/retry'] button")
    WebDriverWait(browser, 20).until(lambda it: "Queued again" in it.find_element(By.ID, "said").text)
    press(browser, "form[action='/ui/settings/theme'] button")
    assert find(browser, "html").get_attribute("data-theme") == "light"
    press(browser, "form[action='/ui/sign-out'] button")
    at(browser, "/ui/sign-in")

    assert browser.get_log("browser") == []
    web = [url for url in requested() if urlsplit(url).scheme in ("http", "https", "ws", "wss")]
    assert {urlsplit(url).netloc for url in web} == {urlsplit(server.url).netloc}


@pytest.mark.parametrize("browser", ["scripts"], indirect=True)
def test_stays_fresh_and_keeps_what_a_person_has_opened(server: Server, browser: Chrome, conn: Connection) -> None:
    job = enqueue(conn)
    sign_in(browser, server, conn)
    path = f"/ui/jobs/{job}"
    browser.get(f"{server.url}{path}")
    press(browser, "details.card summary")
    button = find(browser, f"form[action='{path}/cancel'] button")
    browser.execute_script("arguments[0].focus(); window.here = true", button)

    with conn.cursor() as cursor:
        cursor.execute("UPDATE haulier.job SET priority = 42")

    WebDriverWait(browser, 20).until(lambda it: "\n42\n" in it.find_element(By.CSS_SELECTOR, "dl.facts").text)
    assert browser.execute_script("return window.here") is True
    assert find(browser, "details.card").get_attribute("open") is not None
    assert browser.execute_script("return document.activeElement.textContent") == "Cancel"
    assert browser.execute_script("return window.ran") is None
    assert browser.get_log("browser") == []


@pytest.mark.parametrize("browser", ["scripts"], indirect=True)
def test_goes_by_keys_and_runs_no_script_but_its_own(server: Server, browser: Chrome, conn: Connection) -> None:
    job = enqueue(conn)
    sign_in(browser, server, conn)

    find(browser, "body").send_keys("gj")
    at(browser, "/ui/jobs")
    find(browser, "body").send_keys("/")
    find(browser, "#q").send_keys(f"{job}\n")
    at(browser, f"/ui/jobs/{job}")
    assert browser.get_log("browser") == []
    blocked = browser.execute_script(
        "try { document.body.innerHTML = '<b>x</b>'; return 'not blocked'; } catch (error) { return error.name; }"
    )

    assert blocked == "TypeError"
