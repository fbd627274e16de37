"""The pictures of README.md and docs/dashboard.md: it takes each that is missing. Remove one to have it taken anew."""

from __future__ import annotations

import pytest

from tests.browser.conftest import MakeTab
from tests.browser.site import Site
from tests.browser.tab import PHONE
from tests.web import ROOT

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]

IMAGES = ROOT / "docs" / "images"
MOST_BYTES = 150_000
DESKTOP = {"width": 1280, "height": 800}
PICTURES = {
    "dashboard-overview": ("/ui", {"color_scheme": "light", "viewport": DESKTOP}),
    "dashboard-job": ("/ui/jobs/{failed_permanent}", {"color_scheme": "light", "viewport": DESKTOP}),
    "dashboard-phone": ("/ui", {"color_scheme": "dark", "viewport": PHONE}),
}


@pytest.mark.parametrize("name", PICTURES)
def test_takes_the_picture(filled: Site, make_tab: MakeTab, name: str) -> None:
    path, look = PICTURES[name]
    tab, file = make_tab(**look), IMAGES / f"{name}.png"
    tab.enter(filled.url, filled.cookies)
    tab.page.goto(f"{filled.url}{path.format(**filled.jobs)}")

    taken = tab.page.screenshot(animations="disabled")
    if not file.exists():
        file.write_bytes(taken)

    assert len(taken) > 20_000
    assert file.stat().st_size <= MOST_BYTES
