"""The settings of a person: it ..."""

from __future__ import annotations

from tests.web.browsing import Browser


def test_turns_single_keys_off_and_on_again(browser: Browser) -> None:
    before = browser.page("/ui/help").all("html")[0].given

    done = browser.send(browser.page("/ui/settings"), "/ui/settings", keys="0")
    off, page = browser.page("/ui/help").all("html")[0].given, browser.page("/ui/settings")
    browser.send(page, "/ui/settings", keys="1")

    assert done.status_code == 303
    assert "data-no-keys" not in before
    assert "data-no-keys" in off
    assert [each.given.get("checked") for each in page.all("input", name="keys")] == [None]
    assert "data-no-keys" not in browser.page("/ui/help").all("html")[0].given
