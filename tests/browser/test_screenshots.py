"""The pictures of README.md and docs/dashboard.md (`make screenshots` retakes them): it ..."""

from __future__ import annotations

import pytest

from tests.browser.conftest import MakeTab, Site
from tests.browser.pictures import check_picture
from tests.browser.tab import PHONE

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]

DESKTOP = {"width": 1280, "height": 800}
PICTURES = {
    "dashboard-overview": ("/ui", {"color_scheme": "light", "viewport": DESKTOP}),
    "dashboard-job": ("/ui/jobs/{failed_permanent}", {"color_scheme": "light", "viewport": DESKTOP}),
    "dashboard-phone": ("/ui", {"color_scheme": "dark", "viewport": PHONE}),
}


@pytest.mark.parametrize("name", PICTURES)
def test_shows_the_page_as_it_is_now(filled: Site, make_tab: MakeTab, name: str) -> None:
    path, look = PICTURES[name]
    tab = make_tab(**look)
    tab.enter(filled.url, filled.cookies)
    tab.page.goto(f"{filled.url}{path.format(**filled.jobs)}")

    check_picture(tab.page, name)
